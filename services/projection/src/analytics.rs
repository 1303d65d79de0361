//! Keeps the analytics: the same events, in large batches and at a pace of its own, so that neither
//! sending nor the views have to wait for it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span, info};
use verbatim_analytics::Analytics;
use verbatim_protocol::Recorded;

use crate::metrics::AnalyticsMetrics;
use crate::retry::until_available;
use crate::tail::Tail;
use crate::{Ports, Settings};

/// Events that are taken in at once.
const LARGEST_BATCH: usize = 10_000;

/// How much longer than a write the pause after it is: of a busy processor this takes a part only.
const RESTS: u32 = 4;
const LONGEST_REST: Duration = Duration::from_secs(5);

/// Takes events in until `shutdown`.
///
/// # Errors
/// Journal or analytics are corrupt.
pub(crate) async fn run(
    ports: Ports,
    settings: Arc<Settings>,
    metrics: AnalyticsMetrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let analytics = ports.analytics.clone();
    let opening = until_available("analytics.checkpoint", || analytics.checkpoint());
    let Some(checkpoint) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let checkpoint = checkpoint.context("loading the analytics' checkpoint")?;
    info!(checkpoint, "counting");
    let mut tail = Tail::new(&ports, &settings, checkpoint);
    loop {
        let gathering = gather(&mut tail, &analytics, settings.analytics_pause);
        let Some(events) = shutdown.run_until_cancelled(gathering).await else { return Ok(()) };
        let events = events?;
        let (begun, position) = (Instant::now(), tail.position());
        metrics.lag_events.set((tail.head() + events.len() as u64 - position) as i64);
        let applying = until_available("analytics.apply", || analytics.apply(&events))
            .instrument(debug_span!("analytics.apply", to = position));
        let Some(applied) = shutdown.run_until_cancelled(applying).await else { return Ok(()) };
        applied.with_context(|| format!("counting up to position {position}"))?;
        metrics.lag_events.set((tail.head() - position) as i64);
        metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
        let rest = (begun.elapsed() * RESTS).min(LONGEST_REST);
        let rest = timeout(rest, analytics.wanted(position + 1..));
        shutdown.run_until_cancelled(rest).await;
    }
}

/// Waits for events, and for more of them, until there are many, or all that somebody waits for, or the
/// pause is over.
async fn gather(
    tail: &mut Tail,
    analytics: &Analytics,
    pause: Duration,
) -> anyhow::Result<Vec<Arc<Recorded>>> {
    let shown = tail.position();
    let mut events = tail.next().await?;
    let mut over = std::pin::pin!(sleep(pause));
    while events.len() < LARGEST_BATCH {
        let gathered = tail.position();
        tokio::select! {
            biased;
            () = &mut over => break,
            () = analytics.wanted(shown + 1..=gathered) => break,
            more = tail.next() => events.append(&mut more?),
        }
    }
    Ok(events)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::task::JoinHandle;
    use verbatim_analytics::{By, Messages, Report, Request, Users};
    use verbatim_domain::conversation::ConversationKind;
    use verbatim_protocol::JournalId;

    use super::*;
    use crate::world::{World, said, settings, started};

    const PATIENCE: Duration = Duration::from_secs(20);

    fn start(
        world: &World,
        pause: Duration,
    ) -> (CancellationToken, JoinHandle<anyhow::Result<()>>) {
        let stop = CancellationToken::new();
        let settings = Settings { analytics_pause: pause, ..settings() };
        let metrics = world.metrics.analytics.clone();
        let task = tokio::spawn(run(world.ports(), Arc::new(settings), metrics, stop.clone()));
        (stop, task)
    }

    async fn counted<R: Report>(world: &World) -> Vec<R> {
        let reports = world.analytics.reports(JournalId(uuid::Uuid::nil()));
        let head = world.journal.last();
        reports.reached(head, PATIENCE).await.expect("it comes");
        let request = Request { from: None, to: None, by: By::DAY, cursor: None, limit: 200 };
        let page = reports.page(&request).await.expect("a page");
        page.data.into_iter().map(|row| row.figures).collect()
    }

    #[tokio::test]
    async fn what_is_committed_is_counted_once_over_several_lives() {
        let world = World::new();
        world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
        for life in 1..=3 {
            let (stop, task) = start(&world, Duration::from_millis(10));
            world.commit(vec![said("c", "ann")]);
            world.record(vec![said("c", "ann")]);
            let messages: u64 =
                counted::<Messages>(&world).await.iter().map(|of| of.messages).sum();
            assert_eq!(messages, life * 2);
            stop.cancel();
            task.await.expect("no panic").expect("no error");
        }
        assert!(counted::<Users>(&world).await.iter().all(|of| of.users == 1));
    }

    #[tokio::test]
    async fn who_waits_for_the_figures_ends_the_pause() {
        let world = World::new();
        let (stop, task) = start(&world, Duration::from_hours(1));
        world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
        world.record(vec![said("c", "ann")]);
        assert_eq!(counted::<Messages>(&world).await, [Messages { messages: 1 }]);
        stop.cancel();
        task.await.expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn an_event_that_cannot_be_read_halts_it() {
        let world = World::new();
        world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
        let (_stop, task) = start(&world, Duration::ZERO);
        world.journal.corrupt_from(4);
        world.record(vec![said("c", "ann")]);
        let error = task.await.expect("no panic").expect_err("it can't be read");
        assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
    }
}
