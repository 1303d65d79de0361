//! How many were connected, from the record of when that changed.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use verbatim_domain::connections::ConnectionsSampled;
use verbatim_protocol::Timestamp;

use crate::figures::{Figure, Figures};
use crate::key::Unit;

/// The last sample, which stands until the next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    sampled: ConnectionsSampled,
    /// The figures of the time from here on are not made yet, in seconds since the Unix epoch.
    from: u64,
}

impl Standing {
    /// A sample comes: gives what stands now. `add` is handed the figures of the time that is over.
    pub fn next(
        before: Option<&Self>,
        sampled: &ConnectionsSampled,
        mut add: impl FnMut(Unit, Timestamp, Figures),
    ) -> Self {
        let mut begun = sampled.at.saturating_sub(sampled.seconds);
        if let Some(before) = before {
            for unit in Unit::ALL {
                fill(unit, &before.sampled, (before.from, begun), &mut add);
            }
            begun = begun.max(before.sampled.at);
        }
        // Of an empty time it is known only at its end which buckets it is a part of.
        if is_empty(sampled) {
            return Self { sampled: sampled.clone(), from: begun };
        }
        for unit in Unit::ALL {
            fill(unit, sampled, (begun, sampled.at), &mut add);
        }
        Self { sampled: sampled.clone(), from: sampled.at }
    }

    /// The figures of the time since, until the log's last event.
    pub fn until(&self, unit: Unit, recorded_at: Timestamp) -> BTreeMap<Timestamp, Figures> {
        let period = self.sampled.seconds.max(1);
        let mut last = u64::try_from(recorded_at.0 / 1_000).unwrap_or_default() / period * period;
        if is_empty(&self.sampled) {
            // No bucket begins in which nobody has been.
            last = last.min(self.from.div_ceil(seconds(unit)) * seconds(unit));
        }
        let mut filled = BTreeMap::new();
        fill(unit, &self.sampled, (self.from, last), &mut |_, start, figures| {
            filled.insert(start, figures);
        });
        filled
    }
}

fn is_empty(sampled: &ConnectionsSampled) -> bool {
    (sampled.sockets, sampled.peak_sockets) == (0, 0)
}

/// Adds what a sample says to each bucket of a time in which it stood, in seconds; where nobody was
/// connected, only to those at the two ends, which other times have a part in.
fn fill(
    unit: Unit,
    sampled: &ConnectionsSampled,
    (from, to): (u64, u64),
    add: &mut impl FnMut(Unit, Timestamp, Figures),
) {
    let length = seconds(unit);
    let mut begun = from;
    while begun < to {
        let end = ((begun / length + 1) * length).min(to);
        let lasted = end - begun;
        if !(is_empty(sampled) && lasted == length) {
            let mut figures = Figures::default();
            figures.count(Figure::Seconds, lasted);
            figures.count(Figure::SocketSeconds, sampled.sockets.saturating_mul(lasted));
            figures.count(Figure::UserSeconds, sampled.users.saturating_mul(lasted));
            figures.count(Figure::PeakSockets, sampled.peak_sockets);
            figures.count(Figure::PeakUsers, sampled.users);
            add(unit, start(begun / length * length), figures);
        }
        begun = if is_empty(sampled) { end.max((to - 1) / length * length) } else { end };
        if end == to {
            return;
        }
    }
}

fn seconds(unit: Unit) -> u64 {
    unit.length() as u64 / 1_000
}

fn start(seconds: u64) -> Timestamp {
    Timestamp(i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: u64 = 3_600;

    fn sampled(at: u64, sockets: u64, peak_sockets: u64) -> ConnectionsSampled {
        ConnectionsSampled { at, seconds: 60, sockets, users: sockets, peak_sockets }
    }

    /// Of each hour the seconds that are known, the sockets' seconds, and the peak.
    fn hours(samples: &[ConnectionsSampled], until: u64) -> Vec<(u64, u64, u64, u64)> {
        let mut hours = BTreeMap::<Timestamp, Figures>::new();
        let mut standing = None;
        for sampled in samples {
            standing = Some(Standing::next(standing.as_ref(), sampled, |unit, start, figures| {
                if unit == Unit::Hour {
                    hours.entry(start).or_default().merge(&figures);
                }
            }));
        }
        let rest = standing.expect("a sample").until(Unit::Hour, start(until));
        for (start, figures) in rest {
            hours.entry(start).or_default().merge(&figures);
        }
        let figures = |(start, figures): (&Timestamp, &Figures)| {
            let hour = start.0 as u64 / 1_000 / HOUR;
            let get = |figure| figures.get(figure);
            (hour, get(Figure::Seconds), get(Figure::SocketSeconds), get(Figure::PeakSockets))
        };
        hours.iter().map(figures).collect()
    }

    #[test]
    fn a_sample_stands_until_the_next() {
        let samples = [sampled(60, 2, 3), sampled(2 * HOUR + 60, 4, 4)];
        let expected = [(0, HOUR, 2 * HOUR, 3), (1, HOUR, 2 * HOUR, 3), (2, 120, 480, 4)];
        assert_eq!(hours(&samples, 2 * HOUR + 125), expected);
    }

    #[test]
    fn hours_in_which_nobody_was_there_are_left_out() {
        let samples = [
            sampled(60, 2, 3),
            sampled(120, 0, 3),
            sampled(180, 0, 0),
            sampled(5 * HOUR + 120, 1, 1),
            sampled(6 * HOUR, 0, 1),
            sampled(6 * HOUR + 60, 0, 0),
        ];
        let expected = [(0, HOUR, 120, 3), (5, HOUR, HOUR - 60 - 60, 1)];
        assert_eq!(hours(&samples, 9 * HOUR), expected);
        assert_eq!(hours(&samples[..3], 600), [(0, 600, 120, 3)], "the hour is not over");
    }

    #[test]
    fn a_sample_that_overlaps_the_one_before_counts_from_its_end() {
        let samples =
            [sampled(60, 1, 1), ConnectionsSampled { seconds: 3_600, ..sampled(3_600, 2, 2) }];
        assert_eq!(hours(&samples, HOUR), [(0, HOUR, 60 + 2 * (HOUR - 60), 2)]);
    }
}
