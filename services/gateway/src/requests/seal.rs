//! What proves to auditors that the log is what it was. Each access is an event itself, which is
//! committed before anything is shown.

use std::future::Future;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use verbatim_domain::audit::{Accessed, EventsAccessed, SealAccessed};
use verbatim_proof::Proof;
use verbatim_protocol::client::{DEFAULT_PAGE, More, NoExtra};
use verbatim_protocol::{ErrorCode, Failure, Timestamp};
use verbatim_seal::{Error, Prover, Signed};

use super::audit::{admins_only, record_access};
use super::payload::{AuditCheckpointsGet, AuditConsistencyGet, AuditProofGet, parse, refused};
use super::reading::{journal_failure, views_failure};
use super::{Answer, Caller, Core};

/// When a message that has no checkpoint yet may have one.
const RETRY_AFTER_MS: u64 = 1_000;

/// A checkpoint, and when it was signed.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SealedCheckpoint {
    /// The log that it is of.
    pub log: String,
    /// How many events it speaks of.
    pub size: u64,
    pub signed_at: Timestamp,
    /// The signed note, byte for byte.
    pub checkpoint: String,
}

/// Public keys: NAME+HASH+BASE64 each.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The log that they are of.
    pub log: String,
    pub public_keys: Vec<String>,
}

impl From<Signed> for SealedCheckpoint {
    fn from(Signed { log, size, signed_at, note, .. }: Signed) -> Self {
        Self { log: log.to_string(), size, signed_at, checkpoint: note }
    }
}

pub(super) fn proof(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let AuditProofGet { message_id } = parse(payload)?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        core.caught_up().await?;
        let found = core.ports.views.message(message_id).await;
        let Some(found) = found.map_err(|error| views_failure(&error))? else {
            return Err(Failure::new(ErrorCode::NotFound, "Message not found"));
        };
        let proof = prover(&core)?.inclusion(found.position).await;
        let Some(proof) = proof.map_err(|error| failure(&error))? else {
            return Err(Failure::unavailable("No checkpoint speaks of the message yet")
                .retry_after(RETRY_AFTER_MS));
        };
        let record = EventsAccessed {
            from: found.position,
            to: found.position,
            event_type: None,
            conversation_id: Some(found.message.conversation_id),
            actor_id: None,
        };
        record_access(&core, &caller, Accessed::Events(record)).await?;
        Ok(Answer::new(Proof::Inclusion(proof), NoExtra {}))
    })
}

pub(super) fn consistency(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let AuditConsistencyGet { from, to } = parse(payload)?;
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(refused("from", "must not be above `to`"));
    }
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let prover = prover(&core)?;
        let latest = prover.store.latest(prover.log()).await.map_err(|error| failure(&error))?;
        let Some(latest) = latest else { return Err(nothing_sealed()) };
        let to = of_size(prover, "to", to.unwrap_or(latest.size), &latest).await?;
        let from = if let Some(from) = from {
            of_size(prover, "from", from, &latest).await?
        } else {
            let first = prover.store.after(prover.log(), 0, 1).await;
            let mut first = first.map_err(|error| failure(&error))?;
            first.pop().filter(|first| first.size <= to.size).unwrap_or_else(|| to.clone())
        };
        if from.size > to.size {
            return Err(refused("from", "must not be above `to`"));
        }
        let record = SealAccessed { from: from.size, to: to.size };
        let proof = prover.consistency(from, to).await.map_err(|error| failure(&error))?;
        record_access(&core, &caller, Accessed::Seal(record)).await?;
        Ok(Answer::new(Proof::Consistency(proof), NoExtra {}))
    })
}

pub(super) fn checkpoints(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let get: AuditCheckpointsGet = parse(payload)?;
    get.check()?;
    let before = match &get.cursor {
        Some(cursor) => cursor
            .parse::<u64>()
            .map_err(|_| refused("cursor", "must be a nextCursor of this list"))?,
        None => u64::MAX,
    };
    let limit = get.limit.unwrap_or(DEFAULT_PAGE) as usize;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let mut page = match &core.ports.seal {
            Some(prover) => prover.store.before(before, limit + 1).await,
            None => Ok(Vec::new()),
        }
        .map_err(|error| failure(&error))?;
        let more = page.len() > limit;
        page.truncate(limit);
        let sizes = || page.iter().map(|signed| signed.size);
        let (from, to) = (sizes().min().unwrap_or(0), sizes().max().unwrap_or(0));
        record_access(&core, &caller, Accessed::Seal(SealAccessed { from, to })).await?;
        let next_cursor = page.last().filter(|_| more).map(|last| last.id.to_string());
        let count = page.len();
        let data: Vec<_> = page.into_iter().map(SealedCheckpoint::from).collect();
        Ok(Answer::new(data, More { next_cursor }).counting(count))
    })
}

pub(super) fn keys(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    _: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let log = core.ports.journal.id();
        let public_keys = match &core.ports.seal {
            Some(prover) => prover.store.verifiers(log).await,
            None => Ok(Vec::new()),
        }
        .map_err(|error| failure(&error))?;
        record_access(&core, &caller, Accessed::Seal(SealAccessed { from: 0, to: 0 })).await?;
        Ok(Answer::new(Keys { log: log.to_string(), public_keys }, NoExtra {}))
    })
}

fn prover(core: &Core) -> Result<&Prover, Failure> {
    core.ports.seal.as_ref().ok_or_else(nothing_sealed)
}

fn nothing_sealed() -> Failure {
    Failure::new(ErrorCode::NotFound, "Nothing is sealed here")
}

/// The checkpoint of a size, which is to be one of this log's.
async fn of_size(
    prover: &Prover,
    field: &str,
    size: u64,
    latest: &Signed,
) -> Result<Signed, Failure> {
    if size == 0 || size > latest.size {
        let rule = format!("must be the size of a checkpoint, {} at most", latest.size);
        return Err(refused(field, &rule));
    }
    let found = prover.store.of_size(prover.log(), size).await.map_err(|error| failure(&error))?;
    found.ok_or_else(|| refused(field, "must be the size of a checkpoint"))
}

fn failure(error: &Error) -> Failure {
    match error {
        Error::Journal(error) => journal_failure(error),
        Error::Unavailable(_) | Error::Moved => {
            tracing::warn!(%error, "a proof can't be made");
            Failure::unavailable("The seal is unavailable")
        }
        Error::Tampered(_) => {
            tracing::error!(%error, "there is nothing to prove: run `verbatim verify`");
            Failure::internal()
        }
    }
}
