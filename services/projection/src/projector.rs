//! Keeps the views: events in, changes and checkpoint out, in one transaction of theirs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug_span, info, warn};
use verbatim_protocol::{Recorded, Timestamp};
use verbatim_views::Views;

use crate::metrics::ProjectorMetrics;
use crate::retry::{Backoff, Transient};
use crate::tail::Tail;
use crate::{Ports, Settings};

/// How much longer than a write the pause after it is at most.
const RESTS: u32 = 20;

/// Applies events to the views until `shutdown`.
///
/// # Errors
/// Journal or views are corrupt.
pub(crate) async fn run(
    ports: Ports,
    settings: Arc<Settings>,
    metrics: ProjectorMetrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let checkpoint = ports.views.checkpoint();
    info!(checkpoint, "projecting");
    let mut tail = Tail::new(&ports, &settings, checkpoint);
    let projector = Projector { views: ports.views, metrics };
    while let Some(batch) = shutdown.run_until_cancelled(tail.next()).await {
        let batch = batch?;
        // A write under way is finished even if the shutdown comes meanwhile.
        let begun = Instant::now();
        projector.apply(&batch, tail.head(), &shutdown).await?;
        if batch.len() >= settings.batch_events {
            // There are more than can be written together.
            continue;
        }
        let rest = rest(&*projector.views, begun.elapsed(), settings.longest_rest);
        shutdown.run_until_cancelled(rest).await;
    }
    Ok(())
}

/// The pause after a write, which is over when somebody waits for the views.
async fn rest(views: &dyn Views, took: Duration, longest: Duration) {
    let rest = (took * RESTS).min(longest);
    let _ = timeout(rest, views.wanted()).await;
}

struct Projector {
    views: Arc<dyn Views>,
    metrics: ProjectorMetrics,
}

impl Projector {
    /// Applies a batch, trying again until the views take it or `shutdown` comes.
    async fn apply(
        &self,
        batch: &[Arc<Recorded>],
        head: u64,
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        self.metrics.batch_events.observe(batch.len() as f64);
        let mut backoff = Backoff::default();
        loop {
            self.measure_lag(first.position - 1, head, first.recorded_at);
            let begun = Instant::now();
            let span = debug_span!("projection.apply", from = first.position, to = last.position);
            match self.views.apply(batch).instrument(span).await {
                Ok(()) => {
                    self.metrics.apply_seconds.observe(begun.elapsed().as_secs_f64());
                    self.measure_lag(last.position, head, last.recorded_at);
                    return Ok(());
                }
                Err(error) if error.is_transient() => {
                    if backoff.is_new() {
                        warn!(%error, position = first.position, "the views failed, trying again");
                    }
                    if shutdown.run_until_cancelled(backoff.wait()).await.is_none() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("applying positions {} to {}", first.position, last.position)
                    });
                }
            }
        }
    }

    /// `oldest`: when the oldest event that is not shown was recorded, or one before it.
    fn measure_lag(&self, shown: u64, head: u64, oldest: Timestamp) {
        let events = head.saturating_sub(shown);
        let age = Timestamp::now().0.saturating_sub(oldest.0).max(0);
        self.metrics.lag_events.set(events as i64);
        self.metrics.lag_seconds.set(if events == 0 { 0.0 } else { age as f64 / 1_000.0 });
    }
}

#[cfg(test)]
mod tests;
