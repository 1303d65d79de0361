//! What is counted in a cell, and how durations are summed up.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;
use crate::store::Value;

/// What is counted. The numbers are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Figure {
    Messages = 1,
    Users = 2,
    Recipients = 3,
    Acknowledged = 4,
    Presumed = 5,
    /// Recipients who were noted as offline.
    Noted = 6,
    /// Those of them to whom it was delivered since.
    NotedDelivered = 7,
    Questions = 8,
    Durations = 9,
    DurationsMs = 10,
    Seconds = 11,
    SocketSeconds = 12,
    UserSeconds = 13,
    // Of these the highest counts.
    LongestMs = 100,
    PeakSockets = 101,
    PeakUsers = 102,
}

const HIGHEST: std::ops::Range<u16> = 100..200;
/// Where the numbers of a histogram's buckets begin.
const BUCKETS: u16 = 1_000;

impl Figure {
    const ALL: [Self; 16] = [
        Self::Messages,
        Self::Users,
        Self::Recipients,
        Self::Acknowledged,
        Self::Presumed,
        Self::Noted,
        Self::NotedDelivered,
        Self::Questions,
        Self::Durations,
        Self::DurationsMs,
        Self::Seconds,
        Self::SocketSeconds,
        Self::UserSeconds,
        Self::LongestMs,
        Self::PeakSockets,
        Self::PeakUsers,
    ];
}

/// The figures of a cell; those that aren't there are 0.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures(BTreeMap<u16, u64>);

impl Figures {
    pub fn get(&self, figure: Figure) -> u64 {
        self.0.get(&(figure as u16)).copied().unwrap_or(0)
    }

    /// Adds to a figure, or raises it where the highest counts.
    pub fn count(&mut self, figure: Figure, n: u64) {
        self.put(figure as u16, n);
    }

    fn put(&mut self, number: u16, n: u64) {
        let figure = self.0.entry(number).or_default();
        *figure = if HIGHEST.contains(&number) { n.max(*figure) } else { figure.saturating_add(n) };
    }

    /// Takes a duration in, in milliseconds.
    pub fn take(&mut self, ms: u64) {
        self.count(Figure::Durations, 1);
        self.count(Figure::DurationsMs, ms);
        self.count(Figure::LongestMs, ms);
        self.put(BUCKETS + bucket(ms), 1);
    }

    pub fn merge(&mut self, other: &Self) {
        for (number, n) in &other.0 {
            self.put(*number, *n);
        }
    }

    /// What is known of the durations, if there were any.
    pub fn durations(&self) -> Option<Durations> {
        let count = self.get(Figure::Durations);
        let longest = self.get(Figure::LongestMs);
        let reaches = |share: f64| {
            let wanted = ((count as f64 * share).ceil() as u64).max(1);
            let mut seen = 0;
            for (number, n) in self.0.range(BUCKETS..) {
                seen += n;
                if seen >= wanted {
                    return upper_end(number - BUCKETS).min(longest);
                }
            }
            longest
        };
        Some(Durations {
            mean_ms: self.get(Figure::DurationsMs).checked_div(count)?,
            p50_ms: reaches(0.5),
            p90_ms: reaches(0.9),
            p99_ms: reaches(0.99),
            max_ms: longest,
        })
    }

    pub fn read(stored: &[u8]) -> Result<Self, Error> {
        let pairs: Vec<(u16, u64)> =
            serde_json::from_slice(stored).map_err(|error| Error::Corrupt(error.to_string()))?;
        Ok(Self(pairs.into_iter().collect()))
    }

    pub fn write(&self) -> Value {
        let pairs: Vec<_> = self.0.iter().collect();
        serde_json::to_vec(&pairs).expect("numbers can be written")
    }
}

/// For people: what each of the two has of that in which they differ.
pub fn differing(one: &Figures, other: &Figures) -> [String; 2] {
    let numbers: BTreeSet<_> = one.0.keys().chain(other.0.keys()).copied().collect();
    let differ: Vec<_> =
        numbers.into_iter().filter(|number| one.0.get(number) != other.0.get(number)).collect();
    [one, other].map(|figures| {
        let named = differ.iter().map(|number| {
            format!("{} = {}", name(*number), figures.0.get(number).copied().unwrap_or(0))
        });
        named.collect::<Vec<_>>().join(", ")
    })
}

fn name(number: u16) -> String {
    match Figure::ALL.iter().find(|figure| **figure as u16 == number) {
        Some(figure) => format!("{figure:?}"),
        None if number >= BUCKETS => format!("of up to {} ms", upper_end(number - BUCKETS)),
        None => number.to_string(),
    }
}

/// What is known of some durations, in milliseconds. Mean and maximum are exact, the mean rounded down;
/// a percentile may be too long by up to 1/32 of itself, and is never too short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    pub mean_ms: u64,
    /// Half of them were this long at most.
    pub p50_ms: u64,
    pub p90_ms: u64,
    pub p99_ms: u64,
    pub max_ms: u64,
}

/// Below 2 to the power of this each millisecond has a bucket; above, each power of two has as many.
const FINE: u32 = 5;

/// The bucket of a histogram that a duration falls into; longer ones fall into higher buckets.
fn bucket(ms: u64) -> u16 {
    if ms < 1 << FINE {
        return ms as u16;
    }
    let power = ms.ilog2() - FINE;
    (u64::from(power << FINE) + (ms >> power)) as u16
}

/// The longest duration that falls into a bucket.
fn upper_end(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    if bucket < 1 << FINE {
        return bucket;
    }
    let power = (bucket >> FINE) - 1;
    let leading = bucket - (power << FINE);
    (leading << power) | ((1 << power) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_no_wider_than_a_thirty_second_part_of_what_falls_into_it() {
        let near = |power: u32| (0..3).map(move |n| (1_u64 << power) - 1 + n);
        for ms in (0..5_000).chain((5..63).flat_map(near)).chain([u64::MAX]) {
            let end = upper_end(bucket(ms));
            assert!(end >= ms && end - ms <= ms / 32, "{ms}: {end}");
            assert_eq!(bucket(end), bucket(ms));
            assert!(end == u64::MAX || bucket(end + 1) == bucket(ms) + 1, "{ms}");
        }
    }

    #[test]
    fn durations_are_summed_up() {
        let mut figures = Figures::default();
        assert_eq!(figures.durations(), None);
        for ms in 1..=100 {
            figures.take(ms);
        }
        let durations = figures.durations().expect("there are some");
        assert_eq!(
            durations,
            Durations { mean_ms: 50, p50_ms: 50, p90_ms: 91, p99_ms: 99, max_ms: 100 }
        );
        let mut one = Figures::default();
        one.take(1_000_000);
        let durations = one.durations().expect("there is one");
        assert_eq!(durations.p50_ms, 1_000_000, "never longer than the longest");
    }

    #[test]
    fn figures_are_added_and_of_peaks_the_highest_counts() {
        let of = |messages, peak| {
            let mut figures = Figures::default();
            figures.count(Figure::Messages, messages);
            figures.count(Figure::PeakSockets, peak);
            figures
        };
        let mut figures = of(2, 7);
        figures.merge(&of(3, 5));
        assert_eq!(figures, of(5, 7));
        assert_eq!(Figures::read(&figures.write()).expect("as written"), figures);
        assert!(matches!(Figures::read(b"nonsense"), Err(Error::Corrupt(_))));
    }
}
