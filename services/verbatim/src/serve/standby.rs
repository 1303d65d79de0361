//! The projection service where several processes can do it: one does, the others stand by.
//!
//! Whoever holds the lease runs the service, under the lease's epoch; the stores refuse what an older
//! epoch writes, so one that was frozen and wakes does no harm.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_analytics::{Analytics, PostgresAnalytics};
use verbatim_bus::Bus;
use verbatim_journal::{Log, PostgresJournal};
use verbatim_keys::Vault;
use verbatim_postgres::Database;
use verbatim_projection::{Ports, Projection, Sealing};
use verbatim_state::{Leases, PostgresState};
use verbatim_views::PostgresViews;

const ROLE: &str = "projection";
/// How long the role stays with a process that was last heard then.
const LEASE: Duration = Duration::from_secs(6);
const RENEW: Duration = Duration::from_secs(2);
/// How often who stands by looks whether the role is free.
const LOOK: Duration = Duration::from_millis(500);

/// What the service reads from and writes to.
pub struct Standby {
    pub service: Projection,
    pub database: Database,
    pub journal: Arc<PostgresJournal>,
    pub bus: Arc<dyn Bus>,
    pub keys: Arc<Vault>,
    /// Without it the log isn't sealed.
    pub sealing: Option<Sealing>,
}

/// Why a turn is over.
enum Over {
    /// Somebody else has the role, or may have.
    Lost,
    Ended,
}

impl Standby {
    /// Runs the service whenever it is this process's turn, until `end`.
    ///
    /// # Errors
    /// What halted the service: a corrupt journal, corrupt views, a panic.
    pub async fn run(self, end: CancellationToken) -> anyhow::Result<()> {
        let leases = Leases::new(&self.database);
        let worker = Uuid::now_v7();
        while let Some(epoch) = end.run_until_cancelled(acquire(&leases, worker)).await {
            tracing::info!(epoch, "projecting is this process's turn");
            let over = self.turn(&leases, worker, epoch, &end).await;
            if let Err(error) = leases.release(ROLE, worker, epoch).await {
                tracing::warn!(%error, "the role is not given up before its lease ends");
            }
            match over? {
                Over::Ended => break,
                Over::Lost => tracing::warn!(epoch, "another process's turn"),
            }
        }
        Ok(())
    }

    async fn turn(
        &self,
        leases: &Leases,
        worker: Uuid,
        epoch: u64,
        end: &CancellationToken,
    ) -> anyhow::Result<Over> {
        let ports = match self.ports(epoch).await {
            Ok(ports) => ports,
            Err(error) => {
                tracing::warn!(error = %format_args!("{error:#}"), "the stores don't open");
                sleep(LOOK).await;
                return Ok(Over::Lost);
            }
        };
        let stop = end.child_token();
        let mut service = std::pin::pin!(self.service.run(ports, stop.clone()));
        tokio::select! {
            ended = &mut service => {
                if end.is_cancelled() {
                    return ended.map(|()| Over::Ended);
                }
                // What a fenced store refuses looks like a failure.
                match leases.renew(ROLE, worker, epoch, LEASE).await {
                    Ok(true) => ended.map(|()| Over::Ended),
                    Ok(false) | Err(_) => Ok(Over::Lost),
                }
            }
            () = keep(leases, worker, epoch) => {
                stop.cancel();
                if let Err(error) = service.await {
                    tracing::warn!(error = %format_args!("{error:#}"), "not ended cleanly");
                }
                Ok(Over::Lost)
            }
        }
    }

    async fn ports(&self, epoch: u64) -> anyhow::Result<Ports> {
        // What was erased in another's turn was told to others.
        self.keys.forget_all();
        let id = self.journal.id();
        let views = PostgresViews::open(self.database.clone(), id).await?;
        let state = PostgresState::open(&self.database, id, Some((ROLE.to_owned(), epoch))).await?;
        let analytics = PostgresAnalytics::open(self.database.clone(), id).await?;
        Ok(Ports {
            journal: self.journal.clone(),
            bus: self.bus.clone(),
            views: Arc::new(views),
            state: Arc::new(state),
            keys: self.keys.clone(),
            sealing: self.sealing.clone(),
            analytics: Analytics::new(Arc::new(analytics)),
        })
    }
}

/// Waits until the role is this process's.
async fn acquire(leases: &Leases, worker: Uuid) -> u64 {
    let mut failed = false;
    loop {
        match leases.acquire(ROLE, worker, LEASE).await {
            Ok(Some(epoch)) => return epoch,
            Ok(None) => failed = false,
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "it can't be seen whose turn it is");
                }
                failed = true;
            }
        }
        sleep(LOOK).await;
    }
}

/// Keeps the role; returns once it is lost.
async fn keep(leases: &Leases, worker: Uuid, epoch: u64) {
    let mut beat = interval(RENEW);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        match leases.renew(ROLE, worker, epoch, LEASE).await {
            Ok(true) => {}
            Ok(false) => return,
            // While the database is away nobody else can take the role.
            Err(error) => tracing::warn!(%error, "the role's lease can't be renewed"),
        }
    }
}
