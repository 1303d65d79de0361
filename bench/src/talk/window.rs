//! What is measured of a talk in a stretch of time.

use hdrhistogram::Histogram;
use serde::Serialize;

/// A stretch of a run. A message's time counts in the one in which it was due, however late it
/// arrives; else the slowest would be left out.
pub struct Window {
    from: u64,
    until: u64,
    /// What came meanwhile.
    pub messages: u64,
    pub copies: u64,
    pub answers: u64,
    pub to_ack: Histogram<u64>,
    pub to_receipt: Histogram<u64>,
    /// Of what was read beside the messages.
    pub to_answer: Histogram<u64>,
}

/// Of microseconds, up to a minute.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

impl Window {
    /// Times are in nanoseconds of the run.
    pub fn open(from: u64) -> anyhow::Result<Self> {
        Ok(Self {
            from,
            until: u64::MAX,
            messages: 0,
            copies: 0,
            answers: 0,
            to_ack: histogram()?,
            to_receipt: histogram()?,
            to_answer: histogram()?,
        })
    }

    pub fn close(&mut self, until: u64) {
        self.until = until;
    }

    pub fn is_open(&self) -> bool {
        self.until == u64::MAX
    }

    pub fn holds(&self, at: u64) -> bool {
        (self.from..self.until).contains(&at)
    }

    pub fn seconds(&self) -> f64 {
        (self.until - self.from) as f64 / 1e9
    }
}

/// Takes note of how long something took, in nanoseconds.
pub fn record(times: &mut Histogram<u64>, nanoseconds: u64) {
    times.saturating_record(nanoseconds / 1_000);
}

/// In microseconds.
#[derive(Debug, Serialize)]
pub struct Times {
    pub count: u64,
    pub p50: u64,
    p90: u64,
    pub p99: u64,
    p999: u64,
    pub max: u64,
}

impl From<&Histogram<u64>> for Times {
    fn from(times: &Histogram<u64>) -> Self {
        Self {
            count: times.len(),
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_holds_what_was_due_in_it() {
        let mut window = Window::open(10).expect("a window");
        assert!(window.is_open() && window.holds(u64::MAX - 1));
        window.close(20);
        let held: Vec<_> = [9, 10, 19, 20].into_iter().map(|at| window.holds(at)).collect();
        assert_eq!(held, [false, true, true, false]);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_times_to_a_thousandth() {
        let mut times = histogram().expect("a histogram");
        let mut taken: Vec<u64> =
            (0..10_000).map(|n| (n * 7_919 % 10_007) * (n % 13 + 1)).collect();
        for time in &taken {
            record(&mut times, time * 1_000);
        }
        taken.sort_unstable();
        let Times { count, p50, p90, p99, p999, max } = Times::from(&times);
        assert_eq!(count, 10_000);
        for (told, quantile) in [(p50, 0.5), (p90, 0.9), (p99, 0.99), (p999, 0.999), (max, 1.0)] {
            let exact = taken[(quantile * 10_000.0) as usize - 1];
            assert!(told.abs_diff(exact) <= exact / 1_000 + 1, "{quantile}: {told}, {exact}");
        }
    }

    #[test]
    fn what_takes_longer_than_a_minute_is_not_left_out() {
        let mut times = histogram().expect("a histogram");
        record(&mut times, 3_600_000_000_000);
        assert!(Times::from(&times).max >= 60_000_000);
    }
}
