//! Views made anew beside those in use, and the exchange of the two.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sqlx::postgres::PgConnection;
use verbatim_protocol::{JournalId, Recorded};

use super::schema::{self, Schema};
use super::{PostgresViews, store};
use crate::Error;
use crate::batch::following;
use verbatim_postgres::Database;

/// Held by the one who rebuilds, whichever process that is.
const REBUILDING: i64 = 0x7665_7262_7265_6275;

/// Views that are being made anew in a schema of their own; empty at first.
#[derive(Debug)]
pub struct Rebuild {
    database: Database,
    journal: JournalId,
    checkpoint: AtomicU64,
    /// Has the lock, which ends with it.
    _holder: PgConnection,
}

impl Rebuild {
    /// The last position whose event the new views show.
    #[must_use]
    pub fn checkpoint(&self) -> u64 {
        self.checkpoint.load(Ordering::Acquire)
    }

    /// Takes in events that follow on the checkpoint, as [`Views::apply`](crate::Views::apply) does.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at a hole; [`Error::Unavailable`].
    pub async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
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

impl PostgresViews {
    /// Begins to make the views anew.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also while another rebuild is under way.
    pub async fn begin_rebuild(&self) -> Result<Rebuild, Error> {
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
        Ok(Rebuild {
            database: self.database.clone(),
            journal: self.journal,
            checkpoint: AtomicU64::new(0),
            _holder: holder,
        })
    }

    /// Puts the new views in place of those in use.
    ///
    /// # Errors
    /// [`Error::Behind`] if those in use show more: let the new ones take that in, and try again.
    pub async fn swap(&self, _rebuild: &mut Rebuild) -> Result<(), Error> {
        let checkpoint = schema::exchange(&self.database).await?;
        self.checkpoint.fetch_max(checkpoint, Ordering::AcqRel);
        Ok(())
    }
}
