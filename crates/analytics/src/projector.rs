//! Events in, rows and checkpoint out, in one transaction.

use std::ops::RangeBounds;
use std::panic::resume_unwind;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use verbatim_protocol::Recorded;

use crate::difference::Stretches;
use crate::fold::{Fold, Needed};
use crate::store::{At, Store};
use crate::{Difference, Error, Reports, unavailable};

/// Rows of a transaction, about: once there are so many, it is closed before the next event. Messages
/// arrive by a quarter of that, each row of up to [`STRETCH`](crate::state::STRETCH); where one event alone
/// has more arrive, they are stored in several transactions before it is passed.
const ROWS_AT_ONCE: usize = 10_000;

/// Events of a transaction at most.
const EVENTS_AT_ONCE: usize = 10_000;

/// Differences that may wait to be told.
const WAITING: usize = 64;

/// The highest position that somebody has waited for.
pub(crate) type Wanted = watch::Sender<u64>;

/// The analytics of a journal, to write them.
#[derive(Clone)]
pub struct Analytics {
    store: Arc<dyn Store>,
    wanted: Wanted,
    rows_at_once: usize,
}

impl Analytics {
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, wanted: Wanted::default(), rows_at_once: ROWS_AT_ONCE }
    }

    #[cfg(any(test, feature = "conformance"))]
    #[must_use]
    pub fn storing_at_once(self, rows_at_once: usize) -> Self {
        Self { rows_at_once, ..self }
    }

    /// Reports on these, in this process: whoever waits for them is noticed here.
    #[must_use]
    pub fn reports(&self, journal: verbatim_protocol::JournalId) -> Reports {
        Reports::new(self.store.clone(), journal, self.wanted.clone())
    }

    /// The last position whose event they show.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        Ok(self.store.live().await?.checkpoint)
    }

    /// Takes in events that follow on the checkpoint; those at or below it are skipped. Several
    /// processes may do so at once: each event counts once.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at a hole; [`Error::Unavailable`]: try again.
    pub async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        loop {
            let at = self.store.live().await?;
            if self.take(at, events).await? {
                return Ok(());
            }
        }
    }

    /// Resolves once the highest position that anybody in this process has waited for is one of these.
    pub async fn wanted(&self, positions: impl RangeBounds<u64>) {
        let mut wanted = self.wanted.subscribe();
        let found = wanted.wait_for(|wanted| positions.contains(wanted)).await;
        found.expect("the sender is this object's");
    }

    /// Gives an empty set of figures, to make them anew beside those in use.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_rebuild(&self) -> Result<Rebuild, Error> {
        self.sweep_or_leave().await;
        let generation = self.store.begin().await?;
        Ok(Rebuild { analytics: self.clone(), generation })
    }

    async fn give_up(&self, generation: u64) -> Result<(), Error> {
        self.store.give_up(generation).await?;
        self.sweep().await
    }

    async fn sweep_or_leave(&self) {
        if let Err(error) = self.sweep().await {
            tracing::warn!(%error, "analytics that were replaced are removed by the next rebuild");
        }
    }

    /// Removes what is in use no more.
    ///
    /// # Errors
    /// [`Error`].
    async fn sweep(&self) -> Result<(), Error> {
        while self.store.sweep().await? {}
        Ok(())
    }

    /// Takes in some of the events that follow on a generation's checkpoint; `true` if there are none.
    async fn take(&self, at: At, events: &[Arc<Recorded>]) -> Result<bool, Error> {
        let At { generation, checkpoint, .. } = at;
        let events = following(checkpoint, events)?;
        if events.is_empty() {
            return Ok(true);
        }
        let mut events = events[..events.len().min(EVENTS_AT_ONCE)].to_vec();
        let most = self.rows_at_once.div_ceil(4);
        let (keys, arrived, is_all) = loop {
            let needed;
            (events, needed) = aside(move || {
                let needed = Needed::by(&events);
                (events, needed)
            })
            .await?;
            let Needed { keys, ranges, firsts } = needed;
            let mut arrived = Vec::new();
            if !ranges.is_empty() {
                let ranges = ranges.into_iter().collect();
                arrived = self.store.scan(generation, ranges, most + 1, most + 1).await?;
            }
            let is_all = arrived.len() <= most;
            if !is_all && events.len() > 1 {
                events.truncate(events.len() / 2);
                continue;
            }
            // The rest when this event is taken in again: what has been stored is gone by then.
            arrived.truncate(most);
            if is_all && !firsts.is_empty() {
                let firsts = Vec::from_iter(firsts);
                arrived.extend(self.store.scan(generation, firsts, 1, events.len()).await?);
            }
            break (keys, arrived, is_all);
        };
        let known = self.store.get(generation, keys.into_iter().collect()).await?;
        let rows_at_once = self.rows_at_once;
        let folding = aside(move || {
            let mut fold = Fold::new(known.into_iter().chain(arrived))?;
            let mut to = checkpoint;
            for recorded in &events {
                fold.take(recorded)?;
                if is_all {
                    to = recorded.position;
                }
                if fold.rows() >= rows_at_once {
                    break;
                }
            }
            let cells = fold.changed_cells();
            Ok::<_, Error>((fold, to, cells))
        });
        let (fold, to, cells) = folding.await??;
        let cells = self.store.get(generation, cells).await?;
        let rows = aside(move || fold.finish(cells)).await??;
        // If somebody else has gone on meanwhile, what is known now is no longer so.
        self.store.commit(at, to, rows).await?;
        Ok(false)
    }
}

/// Does this on a thread for such work: so many events take tens of milliseconds, in which a thread
/// that messages wait for would do nothing else.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    spawn_blocking(work).await.map_err(|error| match error.try_into_panic() {
        Ok(panic) => resume_unwind(panic),
        Err(error) => unavailable(error),
    })
}

/// Figures that are being made anew; empty at first. Dropped, they are given up.
pub struct Rebuild {
    analytics: Analytics,
    generation: u64,
}

impl Drop for Rebuild {
    fn drop(&mut self) {
        // Without a runtime the next rebuild removes them. Those that are in use by now stay.
        let Ok(runtime) = Handle::try_current() else { return };
        let (analytics, generation) = (self.analytics.clone(), self.generation);
        runtime.spawn(async move {
            if let Err(error) = analytics.give_up(generation).await {
                tracing::warn!(%error, "abandoned analytics are removed by the next rebuild");
            }
        });
    }
}

impl Rebuild {
    /// Takes in events that follow on the checkpoint, as [`Analytics::apply`] does.
    ///
    /// # Errors
    /// As there; [`Error::GivenUp`] once another rebuild has begun.
    pub async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        loop {
            let at = self.analytics.store.at(self.generation).await?;
            if self.analytics.take(at, events).await? {
                return Ok(());
            }
        }
    }

    /// The last position whose event they show.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        Ok(self.analytics.store.at(self.generation).await?.checkpoint)
    }

    /// Tells of each row in which those in use differ from these, as fast as it is heard. Nobody is held up.
    ///
    /// # Errors
    /// [`Error::Behind`] if those in use show another position by now: bring these there and try again.
    /// [`Error::GivenUp`] once another rebuild has begun; [`Error::Unavailable`].
    pub async fn differences(&self, tell: &mpsc::Sender<Difference>) -> Result<(), Error> {
        let (sender, mut found) = mpsc::channel(WAITING);
        let finding = self.analytics.store.differences(self.generation, sender);
        let telling = async {
            let mut stretches = Stretches::default();
            while let Some((key, live, rebuilt)) = found.recv().await {
                let differences = match stretches.take(&key, live.as_deref(), rebuilt.as_deref()) {
                    Some(differences) => differences,
                    None => vec![Difference::of(&key, live.as_deref(), rebuilt.as_deref())],
                };
                for difference in differences {
                    tell.send(difference).await.map_err(unavailable)?;
                }
            }
            for difference in stretches.end() {
                tell.send(difference).await.map_err(unavailable)?;
            }
            Ok(())
        };
        tokio::try_join!(finding, telling).map(drop)
    }

    /// Ends the rebuild without an exchange, and removes these.
    ///
    /// # Errors
    /// [`Error`]; the next rebuild removes them.
    pub async fn give_up(self) -> Result<(), Error> {
        self.analytics.give_up(self.generation).await
    }

    /// Puts these in place of those in use.
    ///
    /// # Errors
    /// [`Error::Behind`] if they show less than those in use: both stay as they are, and the exchange
    /// can be tried again once these have caught up. [`Error::GivenUp`] once another rebuild has begun.
    pub async fn exchange(&self) -> Result<(), Error> {
        if !self.analytics.store.exchange(self.generation).await? {
            return Err(Error::Behind);
        }
        self.analytics.sweep_or_leave().await;
        Ok(())
    }
}

/// Those of the events that lie above a position.
///
/// # Errors
/// [`Error::Corrupt`] if they don't follow on it, or on each other.
fn following(checkpoint: u64, events: &[Arc<Recorded>]) -> Result<&[Arc<Recorded>], Error> {
    let known = events.iter().take_while(|event| event.position <= checkpoint).count();
    let events = &events[known..];
    match events.iter().zip(checkpoint + 1..).find(|(event, expected)| event.position != *expected)
    {
        Some((event, expected)) => {
            Err(Error::Corrupt(format!("position {} came where {expected} is due", event.position)))
        }
        None => Ok(events),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;
    use verbatim_protocol::JournalId;

    use super::*;
    use crate::Memory;

    #[tokio::test]
    async fn a_position_that_is_waited_for_is_wanted_until_it_is_shown() {
        let analytics = Analytics::new(Arc::new(Memory::default()));
        let reports = analytics.reports(JournalId(uuid::Uuid::nil()));
        for position in [3, 2] {
            let reached = reports.reached(position, Duration::ZERO).await;
            assert!(matches!(reached, Err(Error::Behind)));
        }
        for _ in 0..2 {
            // Whoever has shown 2 hears that there is more to do, as often as they ask.
            timeout(Duration::from_secs(5), analytics.wanted(3..)).await.expect("it is wanted");
        }
        assert!(timeout(Duration::from_millis(20), analytics.wanted(4..)).await.is_err());
        assert!(timeout(Duration::from_millis(20), analytics.wanted(1..=2)).await.is_err());
    }
}
