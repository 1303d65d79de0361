//! Making views anew: the journal from its beginning, into views that nobody uses yet.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;
use verbatim_analytics::Analytics;
use verbatim_journal::Log;
use verbatim_protocol::Recorded;
use verbatim_views::{Difference, Rebuild, Rebuildable};

use crate::retry::{Transient, until_available};
use crate::tail::journal_head;

/// How many events are read and applied at once.
const BATCH: usize = 1_000;

/// How far the views in use may be ahead of those that they are compared with when they are held
/// still.
const CLOSE: u64 = 10_000;

/// Makes the views anew beside those in use, and exchanges them; gives the last position that they
/// show. `progress` hears, after each batch, how far it has come and how far the journal reaches.
///
/// # Errors
/// The journal or the views are corrupt, or another rebuild is under way.
pub async fn rebuild<V: Rebuildable>(
    journal: &dyn Log,
    views: &V,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let mut rebuild = views.begin_rebuild().await?;
    loop {
        let (fresh, from) = (&rebuild, rebuild.checkpoint());
        let apply = |events: Arc<[_]>| async move { fresh.apply(&events).await };
        fill(journal, from, None, apply, &mut progress).await?;
        match views.swap(&mut rebuild).await {
            // The views in use took in an event that came after the last reading.
            Err(verbatim_views::Error::Behind) => {}
            swapped => {
                swapped?;
                return Ok(rebuild.checkpoint());
            }
        }
    }
}

/// Makes views anew beside those in use, and tells of each row in which the two differ; gives the
/// position that was compared at. Those in use stay, and nobody is held up. `progress` as in
/// [`rebuild`].
///
/// # Errors
/// The journal or the views are corrupt, or another rebuild is under way.
pub async fn check<V: Rebuildable>(
    journal: &dyn Log,
    views: &V,
    mut progress: impl FnMut(u64, u64),
    tell: &mpsc::Sender<Difference>,
) -> anyhow::Result<u64> {
    let rebuild = views.begin_rebuild().await?;
    loop {
        let mut comparison = views.compare(&rebuild).await?;
        let (fresh, from, through) = (&rebuild, rebuild.checkpoint(), comparison.checkpoint());
        if through - from > CLOSE {
            // The views in use are held still for no longer than the rest takes.
            drop(comparison);
            let apply = |events: Arc<[_]>| async move { fresh.apply(&events).await };
            fill(journal, from, Some(through), apply, &mut progress).await?;
            continue;
        }
        let mut done = from;
        while done < through {
            let batch = journal.read_after(done, BATCH.min((through - done) as usize)).await?;
            let last = batch.last().context("the journal ends before the views do")?.position;
            comparison.apply(&batch).await?;
            done = last;
        }
        comparison.differences(tell).await?;
        return Ok(through);
    }
}

/// Makes the analytics anew beside those in use, and exchanges them; gives the last position that they
/// show. `progress` as in [`rebuild`].
///
/// # Errors
/// The journal or the analytics are corrupt, or another rebuild has begun meanwhile.
pub async fn rebuild_analytics(
    journal: &dyn Log,
    analytics: &Analytics,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let rebuild = analytics.begin_rebuild().await?;
    let mut done = 0;
    loop {
        let fresh = &rebuild;
        let apply = |events: Arc<[_]>| async move { fresh.apply(&events).await };
        done = fill(journal, done, None, apply, &mut progress).await?;
        match rebuild.exchange().await {
            // Those in use took in an event that came after the last reading.
            Err(verbatim_analytics::Error::Behind) => {}
            exchanged => {
                exchanged?;
                return Ok(done);
            }
        }
    }
}

/// Has the analytics take in what they don't show yet, whoever does so beside; gives the number of
/// events. `progress` as in [`rebuild`].
///
/// # Errors
/// The journal or the analytics are corrupt.
pub async fn catch_up(
    journal: &dyn Log,
    analytics: &Analytics,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let checkpoint = analytics.checkpoint().await?;
    let apply = |events: Arc<[_]>| async move { analytics.apply(&events).await };
    Ok(fill(journal, checkpoint, None, apply, progress).await? - checkpoint)
}

/// Feeds `apply` with every event above `checkpoint`, in order and in batches, until what it has
/// applied reaches `until`, or else the journal's head; gives the last position. `progress` hears, after each batch,
/// how far it has come and how far the journal reaches. Where journal or views are unavailable,
/// they are tried again.
///
/// The journal may have grown when this returns. If an exchange with the views in use finds the new
/// ones behind, call it again from the position that it gave.
///
/// # Errors
/// The journal or the views are corrupt.
async fn fill<A, E>(
    journal: &dyn Log,
    checkpoint: u64,
    until: Option<u64>,
    mut apply: impl FnMut(Arc<[Arc<Recorded>]>) -> A,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64>
where
    A: Future<Output = Result<(), E>>,
    E: Transient + std::error::Error + Send + Sync + 'static,
{
    let mut done = checkpoint;
    let mut head = end(journal, until).await?;
    while done < head {
        let limit = BATCH.min((head - done) as usize);
        let batch = until_available("journal.read_after", || journal.read_after(done, limit))
            .await
            .with_context(|| format!("reading the journal after position {done}"))?;
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { break };
        ensure!(first.position == done + 1, "the journal has a hole at position {}", done + 1);
        let last = last.position;
        let batch: Arc<[_]> = batch.into();
        until_available("apply", || apply(batch.clone()))
            .await
            .with_context(|| format!("applying positions {} to {last}", done + 1))?;
        done = last;
        head = end(journal, until).await?;
        progress(done, head);
    }
    Ok(done)
}

async fn end(journal: &dyn Log, until: Option<u64>) -> anyhow::Result<u64> {
    match until {
        Some(until) => Ok(until),
        None => journal_head(journal).await,
    }
}

#[cfg(test)]
mod tests {
    use verbatim_views::Views;

    use super::*;
    use crate::world::{World, said};

    #[tokio::test]
    async fn new_views_get_every_event_and_progress_is_told() {
        let world = World::new();
        world.commit((0..2_500).map(|_| said("c", "ann")).collect());
        world.journal.faults.fail(1);
        world.views.faults.fail(1);
        let mut steps = Vec::new();
        let views = &world.views;
        let apply = |events: Arc<[Arc<Recorded>]>| async move { views.apply(&events).await };
        let done = fill(&*world.journal, 0, None, apply, |done, head| steps.push((done, head)));
        assert_eq!(done.await.expect("it works"), 2_500);
        assert_eq!(steps, [(1_000, 2_500), (2_000, 2_500), (2_500, 2_500)]);
        assert_eq!(views.checkpoint(), 2_500);
        world.commit(vec![said("c", "ann")]);
        let done = fill(&*world.journal, 2_500, None, apply, |_, _| {}).await.expect("it goes on");
        assert_eq!((done, views.checkpoint()), (2_501, 2_501));
    }

    #[tokio::test]
    async fn what_is_committed_meanwhile_is_rebuilt_too() {
        let world = World::new();
        world.commit(vec![said("c", "ann")]);
        let views = &world.views;
        let apply = |events: Arc<[Arc<Recorded>]>| {
            if world.journal.last() < 3 {
                world.commit(vec![said("c", "ann")]);
            }
            async move { views.apply(&events).await }
        };
        let done = fill(&*world.journal, 0, None, apply, |_, _| {}).await.expect("it works");
        assert_eq!((done, views.checkpoint()), (3, 3));
    }

    #[tokio::test]
    async fn an_unknown_event_ends_the_rebuild() {
        let world = World::new();
        world.commit(vec![said("c", "ann")]);
        world.journal.corrupt_from(1);
        let views = &world.views;
        let apply = |events: Arc<[Arc<Recorded>]>| async move { views.apply(&events).await };
        let error = fill(&*world.journal, 0, None, apply, |_, _| {}).await.expect_err("unreadable");
        assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
    }
}
