//! A cluster's journal for one process alone: all lanes, so that no aggregate worker writes to it
//! meanwhile.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{bail, ensure};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use uuid::Uuid;
use verbatim_domain::LANES;
use verbatim_journal::{Append, Claim, Journal, LaneProgress, Lanes, PostgresJournal};

/// How long the lanes stay this process's after it was last heard. Shorter than a worker's: nobody
/// waits for its answer.
const LEASE: Duration = Duration::from_secs(4);
const RENEW_EVERY: Duration = Duration::from_secs(1);

/// How soon it is asked for lanes again that it hasn't got.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

const IN_USE: &str = "aggregate workers write to it: stop them, wait ten seconds, and try again; \
     gateways and projection workers may go on";

/// All lanes, for as long as their lease is renewed.
pub struct Held {
    journal: Arc<PostgresJournal>,
    claims: Vec<Claim>,
    renewing: JoinHandle<()>,
}

impl Held {
    /// # Errors
    /// Somebody else has some of them; the journal's.
    pub async fn take(journal: &Arc<PostgresJournal>) -> anyhow::Result<Self> {
        // Asked first, so that workers don't make room for one who won't stay.
        ensure!(journal.check_writable().await.is_err(), IN_USE);
        let worker = Uuid::now_v7();
        // A worker that ended a moment ago may count as living until its lease has run out.
        let patience = Instant::now() + verbatim_aggregate::Settings::default().lease;
        let claims = loop {
            let owned = journal.renew(worker, LEASE).await?.owned;
            let claims: Vec<_> = owned.into_iter().map(|owned| owned.claim).collect();
            if claims.len() == usize::from(LANES) {
                break claims;
            }
            if Instant::now() >= patience {
                journal.release(&claims).await?;
                bail!(IN_USE);
            }
            sleep(LOOK_AGAIN).await;
        };
        let renewing = tokio::spawn(renew(Arc::clone(journal), worker));
        Ok(Self { journal: Arc::clone(journal), claims, renewing })
    }

    /// What fences an append, for the lanes that it is in.
    pub fn progress(&self, appends: &[Append]) -> Vec<LaneProgress> {
        let is_needed =
            |claim: &&Claim| appends.iter().any(|append| append.stream.lane() == claim.lane);
        let progress =
            |claim: &Claim| LaneProgress { claim: *claim, cursor: None, dead: Vec::new() };
        self.claims.iter().filter(is_needed).map(progress).collect()
    }

    pub async fn release(self) -> anyhow::Result<()> {
        self.renewing.abort();
        Ok(self.journal.release(&self.claims).await?)
    }
}

/// Says that this process lives. If it can't, its appends are fenced in time.
async fn renew(journal: Arc<PostgresJournal>, worker: Uuid) {
    loop {
        sleep(RENEW_EVERY).await;
        if let Err(error) = journal.renew(worker, LEASE).await {
            tracing::debug!(%error, "the lanes' leases were not renewed");
        }
    }
}
