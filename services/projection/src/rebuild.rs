//! Making views and analytics anew: the journal from its beginning, into some that nobody uses yet.

use std::future::Future;
use std::sync::Arc;

use anyhow::{Context, ensure};
use tokio::sync::mpsc;
use verbatim_analytics::Analytics;
use verbatim_journal::Log;
use verbatim_protocol::Recorded;
use verbatim_views::{Difference, Rebuild, Rebuildable};

use crate::retry::until_available;
use crate::tail::journal_head;

/// How many events are read and applied at once.
const BATCH: usize = 2_000;

/// How many batches wait for views or analytics while the other is at its own.
const WAITING: usize = 2;

/// How far the views in use may be ahead of those that they are compared with when they are held
/// still.
const CLOSE: u64 = 10_000;

/// Makes views and analytics anew beside those in use, in one reading, and exchanges both; gives the
/// last position that they show. `progress` hears, after each batch, how far the journal has been read,
/// which is a few batches more than they show, and how far it reaches.
///
/// # Errors
/// The journal, the views or the analytics are corrupt, or another rebuild is under way.
pub async fn rebuild<V: Rebuildable>(
    journal: &dyn Log,
    views: &V,
    analytics: &Analytics,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let mut shown = Some(views.begin_rebuild().await?);
    let counted = analytics.begin_rebuild().await?;
    let mut done = 0;
    // Where new ones were found to be behind those in use.
    let mut behind = None;
    loop {
        // Views that were exchanged take no more: those in use do.
        done = fill_both(journal, done, None, shown.as_ref(), &counted, &mut progress).await?;
        ensure!(behind != Some(done), "those in use show more than the journal holds");
        if let Some(fresh) = &mut shown {
            match views.swap(fresh).await {
                // Those in use took in an event that came after the last reading.
                Err(verbatim_views::Error::Behind) => {
                    behind = Some(done);
                    continue;
                }
                swapped => swapped?,
            }
            shown = None;
        }
        match counted.exchange().await {
            Err(verbatim_analytics::Error::Behind) => behind = Some(done),
            exchanged => {
                exchanged?;
                return Ok(done);
            }
        }
    }
}

/// The positions that views and analytics were compared at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    pub views: u64,
    pub analytics: u64,
}

/// Makes views and analytics anew beside those in use, and tells of each row in which these differ. Those
/// in use stay, and nobody is held up. `progress` as in [`rebuild`].
///
/// # Errors
/// The journal, the views or the analytics are corrupt, or another rebuild is under way.
pub async fn check<V: Rebuildable>(
    journal: &dyn Log,
    views: &V,
    analytics: &Analytics,
    mut progress: impl FnMut(u64, u64),
    tell: &mpsc::Sender<Difference>,
) -> anyhow::Result<Compared> {
    // Those of another version are not begun beside.
    analytics.checkpoint().await.context("the analytics in use")?;
    let fresh = views.begin_rebuild().await?;
    let counted = analytics.begin_rebuild().await?;
    let comparing = async {
        // As far as both in use have come, one reading is enough for the two.
        let shown = views.compare(&fresh).await?.checkpoint();
        let both = shown.min(analytics.checkpoint().await?);
        fill_both(journal, 0, Some(both), Some(&fresh), &counted, &mut progress).await?;
        Ok(Compared {
            views: check_views(journal, views, &fresh, &mut progress, tell).await?,
            analytics: check_analytics(journal, analytics, &counted, &mut progress, tell).await?,
        })
    };
    let compared = comparing.await;
    if let Err(error) = fresh.give_up().await {
        tracing::warn!(%error, "the views made anew are removed by the next rebuild");
    }
    if let Err(error) = counted.give_up().await {
        tracing::warn!(%error, "the analytics made anew are removed by the next rebuild");
    }
    compared
}

async fn check_views<V: Rebuildable>(
    journal: &dyn Log,
    views: &V,
    fresh: &V::Rebuild,
    mut progress: impl FnMut(u64, u64),
    tell: &mpsc::Sender<Difference>,
) -> anyhow::Result<u64> {
    loop {
        let mut comparison = views.compare(fresh).await?;
        let (from, through) = (fresh.checkpoint(), comparison.checkpoint());
        if through - from > CLOSE {
            // The views in use are held still for no longer than the rest takes.
            drop(comparison);
            let apply = async |events: Arc<[_]>| show(fresh, &events).await;
            let done = fill(journal, from, Some(through), apply, &mut progress).await?;
            ensure!(done == through, "the journal ends before the views do");
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

async fn check_analytics(
    journal: &dyn Log,
    analytics: &Analytics,
    counted: &verbatim_analytics::Rebuild,
    mut progress: impl FnMut(u64, u64),
    tell: &mpsc::Sender<Difference>,
) -> anyhow::Result<u64> {
    let (sender, mut found) = mpsc::channel(1);
    let telling = async {
        while let Some(found) = found.recv().await {
            let verbatim_analytics::Difference { table, row, live, rebuilt } = found;
            let table = format!("analytics {table}");
            tell.send(Difference::new(table, row, live.as_deref(), rebuilt.as_deref())).await?;
        }
        anyhow::Ok(())
    };
    let comparing = async {
        let tell = sender;
        let mut done = counted.checkpoint().await?;
        loop {
            let through = analytics.checkpoint().await?;
            let apply = async |events: Arc<[_]>| count(counted, &events).await;
            done = fill(journal, done, Some(through), apply, &mut progress).await?;
            ensure!(done == through, "the journal ends before the analytics do");
            match counted.differences(&tell).await {
                // Those in use have gone on meanwhile. Their pauses are longer than this took.
                Err(verbatim_analytics::Error::Behind) => {}
                compared => return Ok(compared.map(|()| done)?),
            }
        }
    };
    tokio::try_join!(comparing, telling).map(|(done, ())| done)
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
    let apply = async |events: Arc<[_]>| {
        anyhow::Ok(until_available("analytics.apply", || analytics.apply(&events)).await?)
    };
    Ok(fill(journal, checkpoint, None, apply, progress).await? - checkpoint)
}

/// As [`fill`], into views, if there are any, and analytics: each at its own pace, so that neither waits
/// for the other's transactions.
async fn fill_both(
    journal: &dyn Log,
    checkpoint: u64,
    until: Option<u64>,
    fresh: Option<&impl Rebuild>,
    figures: &verbatim_analytics::Rebuild,
    progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64> {
    let (to_views, mut shown) = mpsc::channel::<Arc<[Arc<Recorded>]>>(WAITING);
    let (to_figures, mut counted) = mpsc::channel::<Arc<[Arc<Recorded>]>>(WAITING);
    let filling = async move {
        let apply = async |events: Arc<[_]>| {
            for taker in [&to_views, &to_figures] {
                if taker.send(Arc::clone(&events)).await.is_err() {
                    // It has failed, and says why.
                    std::future::pending::<()>().await;
                }
            }
            Ok(())
        };
        fill(journal, checkpoint, until, apply, progress).await
    };
    let showing = async {
        while let Some(events) = shown.recv().await {
            if let Some(fresh) = fresh {
                show(fresh, &events).await.with_context(|| applied("shown", &events))?;
            }
        }
        anyhow::Ok(())
    };
    let counting = async {
        while let Some(events) = counted.recv().await {
            count(figures, &events).await.with_context(|| applied("counted", &events))?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(filling, showing, counting).map(|(done, (), ())| done)
}

fn applied(what: &str, events: &[Arc<Recorded>]) -> String {
    let position = |event: Option<&Arc<Recorded>>| event.map_or(0, |event| event.position);
    let (first, last) = (position(events.first()), position(events.last()));
    format!("positions {first} to {last} can't be {what}")
}

/// Feeds `apply` with every event above `checkpoint`, in order and in batches, until what it has
/// applied reaches `until`, or else the journal's head; gives the last position. `progress` hears, after each batch,
/// how far it has come and how far the journal reaches. Where the journal is unavailable, it is tried
/// again.
///
/// The journal may have grown when this returns. If an exchange with the views in use finds the new
/// ones behind, call it again from the position that it gave.
///
/// # Errors
/// The journal is corrupt; `apply`'s.
async fn fill<A>(
    journal: &dyn Log,
    checkpoint: u64,
    until: Option<u64>,
    mut apply: impl FnMut(Arc<[Arc<Recorded>]>) -> A,
    mut progress: impl FnMut(u64, u64),
) -> anyhow::Result<u64>
where
    A: Future<Output = anyhow::Result<()>>,
{
    let mut done = checkpoint;
    let mut head = end(journal, until).await?;
    let mut ahead = Vec::new();
    while done < head {
        if ahead.is_empty() {
            ahead = read(journal, done, head).await?;
        }
        let batch: Arc<[_]> = std::mem::take(&mut ahead).into();
        let Some(last) = batch.last().map(|last| last.position) else { break };
        let applied = async {
            apply(batch).await.with_context(|| format!("applying positions {} to {last}", done + 1))
        };
        // The next batch is read while this one is applied.
        (ahead, ()) = tokio::try_join!(read(journal, last, head), applied)?;
        done = last;
        head = end(journal, until).await?;
        progress(done, head);
    }
    Ok(done)
}

/// The next batch after a position, up to another; none if that is the same.
async fn read(journal: &dyn Log, after: u64, to: u64) -> anyhow::Result<Vec<Arc<Recorded>>> {
    let limit = BATCH.min(to.saturating_sub(after) as usize);
    if limit == 0 {
        return Ok(Vec::new());
    }
    let batch = until_available("journal.read_after", || journal.read_after(after, limit))
        .await
        .with_context(|| format!("reading the journal after position {after}"))?;
    if let Some(first) = batch.first() {
        ensure!(first.position == after + 1, "the journal has a hole at position {}", after + 1);
    }
    Ok(batch)
}

async fn show(views: &impl Rebuild, events: &[Arc<Recorded>]) -> anyhow::Result<()> {
    Ok(until_available("views.apply", || views.apply(events)).await?)
}

async fn count(
    analytics: &verbatim_analytics::Rebuild,
    events: &[Arc<Recorded>],
) -> anyhow::Result<()> {
    Ok(until_available("analytics.apply", || analytics.apply(events)).await?)
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

    async fn take(views: &dyn Views, events: Arc<[Arc<Recorded>]>) -> anyhow::Result<()> {
        Ok(until_available("views.apply", || views.apply(&events)).await?)
    }

    #[tokio::test]
    async fn new_views_get_every_event_and_progress_is_told() {
        let world = World::new();
        world.commit((0..5_000).map(|_| said("c", "ann")).collect());
        world.journal.faults.fail(1);
        world.views.faults.fail(1);
        let mut steps = Vec::new();
        let views = &*world.views;
        let apply = |events| take(views, events);
        let done = fill(&*world.journal, 0, None, apply, |done, head| steps.push((done, head)));
        assert_eq!(done.await.expect("it works"), 5_000);
        assert_eq!(steps, [(2_000, 5_000), (4_000, 5_000), (5_000, 5_000)]);
        assert_eq!(views.checkpoint(), 5_000);
        world.commit(vec![said("c", "ann")]);
        let done = fill(&*world.journal, 5_000, None, apply, |_, _| {}).await.expect("it goes on");
        assert_eq!((done, views.checkpoint()), (5_001, 5_001));
    }

    #[tokio::test]
    async fn what_is_committed_meanwhile_is_rebuilt_too() {
        let world = World::new();
        world.commit(vec![said("c", "ann")]);
        let views = &*world.views;
        let apply = |events: Arc<[Arc<Recorded>]>| {
            if world.journal.last() < 3 {
                world.commit(vec![said("c", "ann")]);
            }
            take(views, events)
        };
        let done = fill(&*world.journal, 0, None, apply, |_, _| {}).await.expect("it works");
        assert_eq!((done, views.checkpoint()), (3, 3));
    }

    #[tokio::test]
    async fn an_unknown_event_ends_the_rebuild() {
        let world = World::new();
        world.commit(vec![said("c", "ann")]);
        world.journal.corrupt_from(1);
        let views = &*world.views;
        let apply = |events| take(views, events);
        let error = fill(&*world.journal, 0, None, apply, |_, _| {}).await.expect_err("unreadable");
        assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
    }
}
