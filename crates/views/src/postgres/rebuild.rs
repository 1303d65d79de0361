//! Views made anew beside those in use, and the exchange of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::{sleep, timeout};
use verbatim_postgres::{Database, PATIENCE};
use verbatim_protocol::{JournalId, Recorded};

use super::compare::PostgresComparison;
use super::schema::{self, Schema};
use super::{PostgresViews, store};
use crate::batch::following;
use crate::{Comparison, Error, Rebuild, Rebuildable};

/// Held by the one who rebuilds, whichever process that is.
const REBUILDING: i64 = 0x7665_7262_7265_6275;

/// How often its lock is tried for: the server notices a little late that a holder has gone.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(50);

/// Views that are being made anew in a schema of their own; empty at first.
#[derive(Debug)]
pub struct PostgresRebuild {
    database: Database,
    journal: JournalId,
    checkpoint: AtomicU64,
    /// Has the lock, which ends with it; gone with the exchange.
    holder: Option<PgConnection>,
    is_analyzed: bool,
}

#[async_trait]
impl Rebuild for PostgresRebuild {
    fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        if self.holder.is_none() {
            return Err(is_over());
        }
        let from = self.checkpoint();
        let events = following(from, events)?.to_vec();
        let Some(through) = events.last().map(|last| last.position) else { return Ok(()) };
        if !store(&self.database, Schema::Next, self.journal, from, events).await? {
            return Err(Error::Corrupt("the new views were changed by somebody else".to_owned()));
        }
        self.checkpoint.store(through, Ordering::Release);
        Ok(())
    }

    async fn give_up(mut self) -> Result<(), Error> {
        // Without the lock they are another's by now, or were exchanged.
        let Some(holder) = self.holder.take() else { return Ok(()) };
        let removed = schema::remove_next(&self.database).await;
        drop(holder);
        removed
    }
}

#[async_trait]
impl Rebuildable for PostgresViews {
    type Rebuild = PostgresRebuild;

    async fn begin_rebuild(&self) -> Result<PostgresRebuild, Error> {
        let unreachable = verbatim_postgres::Error::Unreachable;
        let holder = self.database.acquire().await?;
        let mut holder = holder.detach();
        if !lock(&mut holder).await.map_err(unreachable)? {
            return Err(Error::Unavailable("another rebuild is under way".into()));
        }
        schema::begin_next(&self.database, self.journal).await?;
        Ok(PostgresRebuild {
            database: self.database.clone(),
            journal: self.journal,
            checkpoint: AtomicU64::new(0),
            holder: Some(holder),
            is_analyzed: false,
        })
    }

    async fn swap(&self, rebuild: &mut PostgresRebuild) -> Result<(), Error> {
        let holder = rebuild.holder.as_mut().ok_or_else(is_over)?;
        // Once: those in use go on meanwhile, and an exchange that finds these behind is tried again.
        if !std::mem::replace(&mut rebuild.is_analyzed, true)
            && let Err(error) = schema::analyze_next(holder).await
        {
            tracing::warn!(%error, "the planner will come to know the new views by itself");
        }
        let is_held = timeout(PATIENCE, holder.ping()).await;
        if !is_held.is_ok_and(|answer| answer.is_ok()) {
            // The new views may be another's by now.
            return Err(Error::Unavailable("the rebuild has lost its lock".into()));
        }
        let checkpoint = schema::exchange(&self.database).await?;
        self.checkpoint.fetch_max(checkpoint, Ordering::AcqRel);
        rebuild.holder = None;
        Ok(())
    }

    async fn compare<'v>(
        &'v self,
        rebuild: &'v PostgresRebuild,
    ) -> Result<Box<dyn Comparison + 'v>, Error> {
        let connection = self.database.acquire().await?.detach();
        Ok(Box::new(PostgresComparison::begin(connection, rebuild.checkpoint()).await?))
    }
}

/// Takes the lock of who rebuilds, unless another has it.
async fn lock(holder: &mut PgConnection) -> Result<bool, sqlx::Error> {
    let mut tries = 0;
    loop {
        let sql = "select pg_try_advisory_lock($1)";
        let is_ours = sqlx::query_scalar(sql).bind(REBUILDING).fetch_one(&mut *holder).await?;
        tries += 1;
        if is_ours || tries == LOCK_TRIES {
            return Ok(is_ours);
        }
        sleep(LOCK_PAUSE).await;
    }
}

fn is_over() -> Error {
    Error::Unavailable("the rebuild is over".into())
}
