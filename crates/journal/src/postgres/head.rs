//! The journal's head, asked for by many at once.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::timeout;
use verbatim_postgres::PATIENCE;

use crate::Error;

/// When the next may be begun although one is under way: its connection may be dead.
const SLOW: Duration = Duration::from_millis(250);

/// Has the head read once for all who wait for it. Nobody gets what was read before they asked.
#[derive(Debug, Default)]
pub(super) struct Head {
    asked: AtomicU64,
    reading: Mutex<Reading>,
}

#[derive(Debug, Default)]
struct Reading {
    head: u64,
    /// How many had asked when it began.
    answers: u64,
}

impl Head {
    /// The head, as `read` gives it, or as somebody else does who began after this was called. Nobody waits
    /// long for another's reading: one that is [`SLOW`] goes on by itself.
    ///
    /// # Errors
    /// Those of `read`; [`Error::Unavailable`] after [`PATIENCE`].
    pub async fn get(&self, read: impl AsyncFnOnce() -> Result<u64, Error>) -> Result<u64, Error> {
        let turn = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        let getting = async {
            let mut reading = self.reading.lock().await;
            if reading.answers >= turn {
                return Ok(reading.head);
            }
            let answers = self.asked.load(Ordering::SeqCst);
            let mut read = std::pin::pin!(read());
            if let Ok(head) = timeout(SLOW, &mut read).await {
                let head = head?;
                *reading = Reading { head, answers };
                return Ok(head);
            }
            drop(reading);
            read.await
        };
        timeout(PATIENCE, getting).await.unwrap_or_else(|_| {
            Err(Error::Unavailable("the journal's head was not read in time".into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn who_comes_while_it_is_read_shares_the_next_reading() {
        let (head, stored, reads) = (Head::default(), Cell::new(0), Cell::new(0));
        let read = async || {
            reads.set(reads.get() + 1);
            let seen = stored.get();
            sleep(Duration::from_millis(10)).await;
            Ok(seen)
        };
        let ask = async |after: u64| {
            sleep(Duration::from_millis(after)).await;
            let before = stored.get();
            let seen = head.get(read).await.expect("it is read");
            assert!(seen >= before, "read before it was asked for");
        };
        let commit = async {
            for position in 1..=40 {
                stored.set(position);
                sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::join!(join_all((0..40).map(ask)), commit);
        assert!(reads.get() <= 6, "{} readings for forty who asked in 40 ms", reads.get());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reading_that_fails_or_hangs_holds_up_nobody_for_long() {
        let head = Head::default();
        let refuse = async || Err(Error::Unavailable("no".into()));
        let hang = async || std::future::pending().await;
        assert!(head.get(refuse).await.is_err());
        let begun = Instant::now();
        let (failed, read) = tokio::join!(head.get(hang), head.get(async || Ok(7)));
        assert!(matches!(failed, Err(Error::Unavailable(_))));
        assert_eq!(read.expect("its own reading"), 7);
        assert_eq!(begun.elapsed(), PATIENCE, "the one that hung");
        let (failed, after) = tokio::join!(head.get(hang), async {
            head.get(async || Ok(8)).await.expect("its own reading");
            begun.elapsed()
        });
        assert!(failed.is_err() && after < PATIENCE + SLOW * 2, "{after:?}");
    }
}
