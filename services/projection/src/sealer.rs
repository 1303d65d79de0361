//! Seals the log: takes events in behind everyone else, and signs checkpoints.
//!
//! Nobody waits for it. What it meets that isn't as it was sealed ends sealing, and nothing else: the
//! alarm is for people, and what is signed afterwards would vouch for what was altered.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use verbatim_journal::Rows;
use verbatim_proof::{Checkpoint, Signer, Verifier};
use verbatim_protocol::Timestamp;
use verbatim_seal::{Error, Sealer, Store, Trust};

use crate::metrics::SealMetrics;
use crate::publisher::{Destination, last_note};
use crate::retry::{Backoff, Transient};

/// Events that are taken in at once.
const PAGE: usize = 2_000;
/// How often it looks whether there is something to seal.
const LOOK: Duration = Duration::from_millis(250);
/// The longest pause between two pages while it is behind.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// What the log is sealed with.
#[derive(Clone)]
pub struct Sealing {
    pub rows: Arc<dyn Rows>,
    pub store: Arc<dyn Store>,
    pub signer: Arc<Signer>,
    /// Public keys that the log was sealed with before.
    pub old_keys: Vec<Verifier>,
    pub settings: SealSettings,
}

/// When checkpoints are signed, and where they go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealSettings {
    /// A checkpoint is signed once so many events have none; while the sealer is behind it may be
    /// as many as are read at once.
    pub every_events: u64,
    /// Or once so much time has passed since the last one, if there is any event without one.
    pub every: Duration,
    /// Where checkpoints are kept besides.
    pub checkpoints_to: Option<Destination>,
}

/// Seals until `shutdown`.
pub(crate) async fn run(sealing: Sealing, metrics: SealMetrics, shutdown: CancellationToken) {
    let mut backoff = Backoff::default();
    // What this process itself has signed last, whatever the store says of it.
    let mut signed = None;
    loop {
        let going_on = seal(&sealing, &metrics, &mut signed, &mut backoff);
        let Some(ended) = shutdown.run_until_cancelled(going_on).await else { return };
        match ended {
            Error::Moved => debug!("another process has sealed meanwhile"),
            failed if failed.is_transient() => {
                if backoff.is_new() {
                    warn!(error = %failed, "sealing failed, trying again");
                }
            }
            alarm => {
                metrics.halted.set(1);
                error!(error = %alarm, "sealing has stopped: run `verbatim verify`");
                shutdown.cancelled().await;
                return;
            }
        }
        if shutdown.run_until_cancelled(backoff.wait()).await.is_none() {
            return;
        }
    }
}

/// Goes on from what is stored until something fails.
async fn seal(
    sealing: &Sealing,
    metrics: &SealMetrics,
    signed: &mut Option<Checkpoint>,
    backoff: &mut Backoff,
) -> Error {
    let Sealing { rows, store, signer, old_keys, settings } = sealing;
    let mut trust = Trust { keys: old_keys.clone(), checkpoints: Vec::new() };
    trust.checkpoints.extend(signed.clone());
    trust.checkpoints.extend(kept(sealing).await);
    let (rows, store) = (Arc::clone(rows), Arc::clone(store));
    let resumed = Sealer::resume(Arc::clone(&rows), store, Arc::clone(signer), &trust).await;
    let mut sealer = match resumed {
        Ok(sealer) => sealer,
        Err(error) => return error,
    };
    info!(sealed = sealer.sealed(), "sealing");
    let mut due = Instant::now();
    loop {
        let head = match rows.head().await {
            Ok(head) => head,
            Err(error) => return error.into(),
        };
        let waiting = head.saturating_sub(sealer.sealed());
        metrics.lag_events.set(waiting as i64);
        let is_due = waiting >= settings.every_events || (waiting > 0 && Instant::now() >= due);
        if head < sealer.sealed() {
            return Error::Tampered(format!(
                "it ends at position {head}, and {} events were sealed",
                sealer.sealed()
            ));
        }
        if !is_due {
            sleep(LOOK.min(settings.every)).await;
            continue;
        }
        match seal_next(&mut sealer, head, settings.every_events).await {
            Ok(checkpoint) => *signed = Some(checkpoint),
            Err(error) => return error,
        }
        *backoff = Backoff::default();
        due = Instant::now() + settings.every;
        metrics.checkpoints.inc();
        metrics.lag_events.set(head.saturating_sub(sealer.sealed()) as i64);
    }
}

/// Takes in what is there, up to `head`, or as many as make a checkpoint, and signs one.
async fn seal_next(sealer: &mut Sealer, head: u64, every_events: u64) -> Result<Checkpoint, Error> {
    let enough = sealer.sealed() + every_events.max(PAGE as u64);
    while sealer.taken() < head.min(enough) {
        let begun = Instant::now();
        if sealer.take(PAGE).await? == 0 {
            let lacking = sealer.taken() + 1;
            return Err(Error::Tampered(format!("position {lacking} is missing, of {head}")));
        }
        if sealer.taken() < head {
            // The processor is others' as well.
            sleep(begun.elapsed().min(LONGEST_REST)).await;
        }
    }
    sealer.seal(Timestamp::now()).await
}

/// The last checkpoint in the file that they are kept in, if it is one of this log's.
async fn kept(sealing: &Sealing) -> Option<Checkpoint> {
    let Some(Destination::File(path)) = sealing.settings.checkpoints_to.clone() else {
        return None;
    };
    let note = tokio::task::spawn_blocking(move || last_note(&path)).await.ok()??;
    let mut keys = sealing.old_keys.clone();
    keys.push(sealing.signer.verifier().clone());
    Checkpoint::open(&keys, &note).ok()
}

#[cfg(test)]
pub(crate) mod tests;
