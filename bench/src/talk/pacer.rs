//! The clock of an open loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

/// Tells senders when to send, by the clock alone: an answer that is late holds up no later message,
/// and its lateness counts for all that were due meanwhile.
pub struct Pacer(Arc<AtomicBool>);

impl Pacer {
    /// `rate` messages a second of all together, in turn. Times are nanoseconds since `begun`.
    pub fn start(begun: Instant, rate: f64, senders: Vec<mpsc::UnboundedSender<u64>>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        // A thread of its own: the runtime's clock goes in milliseconds.
        thread::spawn(move || {
            let first = begun.elapsed().as_secs_f64();
            for number in 0_u64.. {
                let due = Duration::from_secs_f64(first + number as f64 / rate);
                thread::sleep(due.saturating_sub(begun.elapsed()));
                let sender = &senders[number as usize % senders.len()];
                if ended.load(Ordering::Relaxed) || sender.send(due.as_nanos() as u64).is_err() {
                    return;
                }
            }
        });
        Self(end)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn senders_are_told_in_turn_at_the_rate_whether_they_listen_or_not() {
        let (senders, mut dues): (Vec<_>, Vec<_>) =
            (0..2).map(|_| mpsc::unbounded_channel()).unzip();
        let pacer = Pacer::start(Instant::now(), 1_000.0, senders);
        // Nobody takes anything meanwhile.
        thread::sleep(Duration::from_millis(100));
        let mut due = |sender: usize| dues[sender].try_recv().expect("it was due");
        let times: Vec<_> = (0..40).map(|number| due(number % 2)).collect();
        drop(pacer);
        for pair in times.windows(2) {
            assert!((999_000..=1_001_000).contains(&(pair[1] - pair[0])), "{times:?}");
        }
    }
}
