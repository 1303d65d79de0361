//! Views made anew beside those in use, and the exchange of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::Connection;
use sqlx::postgres::PgConnection;
use tokio::time::timeout;
use verbatim_postgres::{Database, PATIENCE};
use verbatim_protocol::{JournalId, Recorded};

use super::schema::{self, Schema};
use super::{PostgresViews, store};
use crate::batch::following;
use crate::{Error, Rebuild, Rebuildable};

/// Held by the one who rebuilds, whichever process that is.
const REBUILDING: i64 = 0x7665_7262_7265_6275;

/// Views that are being made anew in a schema of their own; empty at first.
#[derive(Debug)]
pub struct PostgresRebuild {
    database: Database,
    journal: JournalId,
    checkpoint: AtomicU64,
    /// Has the lock, which ends with it.
    holder: PgConnection,
}

#[async_trait]
impl Rebuild for PostgresRebuild {
    fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        let from = self.checkpoint();
        let events = following(from, events)?.to_vec();
        let Some(through) = events.last().map(|last| last.position) else { return Ok(()) };
        if !store(&self.database, Schema::Next, self.journal, from, events).await? {
            return Err(Error::Corrupt("the new views were changed by somebody else".to_owned()));
        }
        self.checkpoint.store(through, Ordering::Release);
        Ok(())
    }
}

#[async_trait]
impl Rebuildable for PostgresViews {
    type Rebuild = PostgresRebuild;

    async fn begin_rebuild(&self) -> Result<PostgresRebuild, Error> {
        let unreachable = verbatim_postgres::Error::Unreachable;
        let holder = self.database.pool().acquire().await.map_err(unreachable)?;
        let mut holder = holder.detach();
        let is_free: bool = sqlx::query_scalar("select pg_try_advisory_lock($1)")
            .bind(REBUILDING)
            .fetch_one(&mut holder)
            .await
            .map_err(unreachable)?;
        if !is_free {
            return Err(Error::Unavailable("another rebuild is under way".into()));
        }
        schema::begin_next(&self.database, self.journal).await?;
        Ok(PostgresRebuild {
            database: self.database.clone(),
            journal: self.journal,
            checkpoint: AtomicU64::new(0),
            holder,
        })
    }

    async fn swap(&self, rebuild: &mut PostgresRebuild) -> Result<(), Error> {
        let is_held = timeout(PATIENCE, rebuild.holder.ping()).await;
        if !is_held.is_ok_and(|answer| answer.is_ok()) {
            // The new views may be another's by now.
            return Err(Error::Unavailable("the rebuild has lost its lock".into()));
        }
        let checkpoint = schema::exchange(&self.database).await?;
        self.checkpoint.fetch_max(checkpoint, Ordering::AcqRel);
        Ok(())
    }
}
