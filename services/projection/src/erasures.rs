//! What was erased stays erased, whichever of journal and key store was restored from an older
//! backup, and whoever ended halfway: before anything is read or written, keys that the journal says were
//! destroyed are destroyed ([`destroy_erased`]), and again whenever the service begins; then erasures that
//! only the key store knows of are journalled again. What is erased later the push reactor destroys, if it
//! isn't by then.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Context;
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use uuid::Uuid;
use verbatim_domain::erasure::{EraseSubject, SubjectErased};
use verbatim_domain::{ErasureCommand, ErasureEvent, Event, KeyId, StreamId, UserId};
use verbatim_journal::Log;
use verbatim_keys::{Stored, Vault};
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Timestamp};

use crate::Ports;
use crate::retry::{Backoff, until_available};

/// Who gives these commands.
const ISSUER: &str = "$erasures";

/// Erasures that are read at once.
const PAGE: usize = 500;

/// Has the journal know of every erasure, then waits for `shutdown`.
///
/// # Errors
/// The journal or the key store is corrupt.
pub(crate) async fn run(ports: Ports, shutdown: CancellationToken) -> anyhow::Result<()> {
    let agreed = shutdown.run_until_cancelled(agree(&ports)).await;
    shutdown.cancelled().await;
    agreed.unwrap_or(Ok(()))
}

async fn agree(ports: &Ports) -> anyhow::Result<()> {
    // The store first: what is erased meanwhile is then known to the journal.
    let destroyed = until_available("keys.destroyed", || ports.keys.store().destroyed()).await;
    let destroyed = destroyed.context("reading which keys are destroyed")?;
    let erasures = until_available("journal.read_stream", || journalled(&*ports.journal)).await;
    let erasures = erasures.context("reading the erasures")?;
    // Whoever had one journalled may have ended before it was done.
    for SubjectErased { subject_id, keys, .. } in undone(&erasures, &destroyed) {
        let destroying =
            until_available("keys.destroy", || ports.keys.destroy(subject_id, keys)).await;
        destroying.with_context(|| format!("erasing what {subject_id} has said"))?;
    }
    let journalled: HashSet<KeyId> =
        erasures.into_iter().flat_map(|erasure| erasure.keys).collect();
    let mut missing: BTreeMap<UserId, Vec<KeyId>> = BTreeMap::new();
    for key in destroyed.into_iter().filter(|key| !journalled.contains(&key.id)) {
        missing.entry(key.subject).or_default().push(key.id);
    }
    for (user, keys) in missing {
        info!(%user, "an erasure that the journal doesn't know is journalled again");
        journal(ports, user, keys).await;
    }
    Ok(())
}

/// Destroys what the journal says was destroyed. To be called before anybody uses the keys.
///
/// # Errors
/// Journal or key store can't be read or written.
pub async fn destroy_erased(journal: &dyn Log, keys: &Vault) -> anyhow::Result<()> {
    let erasures = journalled(journal).await?;
    if erasures.is_empty() {
        return Ok(());
    }
    let destroyed = keys.store().destroyed().await?;
    for SubjectErased { subject_id, keys: erased, .. } in undone(&erasures, &destroyed) {
        keys.destroy(subject_id, erased).await?;
    }
    Ok(())
}

/// Erasures of which not all keys are destroyed.
fn undone<'e>(
    erasures: &'e [SubjectErased],
    destroyed: &[Stored],
) -> impl Iterator<Item = &'e SubjectErased> {
    let destroyed: HashSet<KeyId> = destroyed.iter().map(|key| key.id).collect();
    let undone = erasures
        .iter()
        .filter(move |erasure| erasure.keys.iter().any(|key| !destroyed.contains(key)));
    undone.inspect(|erasure| {
        info!(user = %erasure.subject_id, "what the journal says is erased is erased again");
    })
}

/// Everything that the journal says was erased.
async fn journalled(journal: &dyn Log) -> Result<Vec<SubjectErased>, verbatim_journal::Error> {
    let stream = StreamId::erasures();
    let mut erasures: Vec<SubjectErased> = Vec::new();
    loop {
        let page = journal.read_stream(&stream, erasures.len() as u64, PAGE).await?;
        if page.is_empty() {
            return Ok(erasures);
        }
        erasures.extend(page.iter().filter_map(|recorded| match &recorded.event {
            Event::Erasures(ErasureEvent::SubjectErased(erased)) => Some(erased.clone()),
            _ => None,
        }));
    }
}

/// However long it takes. The key makes it once for ever.
async fn journal(ports: &Ports, subject_id: UserId, keys: Vec<KeyId>) {
    let key: Arc<str> = keys.iter().map(KeyId::to_string).collect::<Vec<_>>().join(" ").into();
    let erase = EraseSubject { subject_id, keys, erased_by: None };
    let mut backoff = Backoff::default();
    loop {
        let reply = ports.bus.send(CommandEnvelope {
            command_id: Uuid::now_v7(),
            key: CommandKey { issuer: ISSUER.into(), key: Arc::clone(&key) },
            deadline: Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64),
            traceparent: None,
            command: Command::Erasures { command: ErasureCommand::EraseSubject(erase.clone()) },
        });
        match reply.await {
            Ok(_) => return,
            Err(failure) if failure.retryable => backoff.wait().await,
            Err(failure) => {
                error!(user = %erase.subject_id, ?failure, "an erasure can't be journalled");
                return;
            }
        }
    }
}
