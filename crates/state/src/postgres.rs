//! The state in `PostgreSQL`, in the schema `state`, and who runs which role.
//!
//! Several processes may have it open. What one of them saves counts only while the role that it
//! was opened with is its own: a process that slept through the end of its lease changes nothing.

mod leases;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use async_trait::async_trait;
use sqlx::Row;
use tokio::sync::Mutex;
use uuid::Uuid;
use verbatim_domain::UserId;
use verbatim_postgres::Database;
use verbatim_protocol::JournalId;

pub use leases::Leases;

use crate::{Epoch, Error, State, Watch, latest};

const MIGRATIONS: [(&str, &str); 1] =
    [("create state", include_str!("../../../migrations/postgres/state/0001_create_state.sql"))];

/// The state in a database that other processes use, too.
#[derive(Debug)]
pub struct PostgresState {
    database: Database,
    journal: String,
    fence: Option<(String, Epoch)>,
    saver: String,
    saves: Arc<AtomicI64>,
    /// Held by the save under way: they go out in the order of their numbers.
    saving: Arc<Mutex<()>>,
}

impl PostgresState {
    /// Makes the tables where they are missing, and brings them up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        verbatim_postgres::migrate(database, "state", &MIGRATIONS).await.map_err(failed)
    }

    /// Opens the state, whose tables are there, for one journal. What it says of another journal is
    /// forgotten; epochs go on.
    ///
    /// With a fence, a role and the epoch that [`Leases::acquire`] gave for it, it changes only
    /// while that is the role's epoch: what would change it later gives [`Error::Fenced`]. So does
    /// saving, with a fence or without, once another process has opened it for another journal.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn open(
        database: &Database,
        journal: JournalId,
        fence: Option<(String, Epoch)>,
    ) -> Result<Self, Error> {
        let state = Self {
            database: database.clone(),
            journal: journal.to_string(),
            fence,
            saver: Uuid::now_v7().to_string(),
            saves: Arc::default(),
            saving: Arc::default(),
        };
        let (id, (role, epoch)) = (state.journal.clone(), state.fence());
        let row = database
            .run_to_end(move |connection| {
                Box::pin(
                    sqlx::query("select replaced, is_fenced from state.belong_to($1, $2, $3)")
                        .bind(id)
                        .bind(role)
                        .bind(epoch)
                        .fetch_one(connection),
                )
            })
            .await?;
        if row.try_get(1).map_err(failed)? {
            return Err(state.fenced());
        }
        if let Some(known) = row.try_get::<Option<&str>, _>(0).map_err(failed)? {
            tracing::warn!(known, id = state.journal, "another journal: reactors start anew");
        }
        Ok(state)
    }

    /// As the functions in the database take it.
    fn fence(&self) -> (Option<String>, Option<i64>) {
        self.fence.clone().map(|(role, epoch)| (role, epoch as i64)).unzip()
    }

    fn fenced(&self) -> Error {
        Error::Fenced(match &self.fence {
            Some((role, epoch)) => format!("the role {role} after epoch {epoch}"),
            None => "the role".to_owned(),
        })
    }
}

#[async_trait]
impl State for PostgresState {
    async fn checkpoint(&self, reactor: &str) -> Result<Option<u64>, Error> {
        let checkpoint: Option<i64> = self
            .database
            .run(|connection| {
                Box::pin(
                    sqlx::query_scalar("select checkpoint from state.reactors where name = $1")
                        .bind(reactor.to_owned())
                        .fetch_optional(connection),
                )
            })
            .await?;
        Ok(checkpoint.map(|checkpoint| checkpoint as u64))
    }

    async fn watches(&self, reactor: &str) -> Result<Vec<(UserId, u64)>, Error> {
        let select = "select user_id, from_position from state.watches where reactor = $1";
        let reactor = reactor.to_owned();
        let rows = self
            .database
            .run(|connection| Box::pin(sqlx::query(select).bind(reactor).fetch_all(connection)))
            .await
            .map_err(failed)?;
        rows.iter()
            .map(|row| {
                let user: &str = row.try_get(0).map_err(failed)?;
                let from: i64 = row.try_get(1).map_err(failed)?;
                Ok((user.parse().map_err(failed)?, from as u64))
            })
            .collect()
    }

    async fn save(&self, reactor: &str, checkpoint: u64, watches: &[Watch]) -> Result<(), Error> {
        let (going_on, ended) = latest(watches);
        let users = |users: Vec<&UserId>| -> Vec<_> {
            users.into_iter().map(|user| user.as_str().to_owned()).collect()
        };
        let (going_on, from): (Vec<_>, Vec<_>) =
            going_on.into_iter().map(|(user, from)| (user, from as i64)).unzip();
        let (going_on, ended) = (users(going_on), users(ended));
        let (database, saving) = (self.database.clone(), Arc::clone(&self.saving));
        let (reactor, journal, saver) =
            (reactor.to_owned(), self.journal.clone(), self.saver.clone());
        let (count, (role, epoch)) = (Arc::clone(&self.saves), self.fence());
        // In a task of its own, so that the next one waits though its caller goes away.
        let refusal = tokio::spawn(async move {
            let _turn = saving.lock().await;
            let number = count.fetch_add(1, Ordering::Relaxed) + 1;
            database
                .run(|connection| {
                    Box::pin(
                        sqlx::query_scalar::<_, Option<String>>(
                            "select state.save($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                        )
                        .bind(reactor)
                        .bind(checkpoint as i64)
                        .bind(going_on)
                        .bind(from)
                        .bind(ended)
                        .bind(journal)
                        .bind(saver)
                        .bind(number)
                        .bind(role)
                        .bind(epoch)
                        .fetch_one(connection),
                    )
                })
                .await
        });
        match refusal.await.map_err(failed)??.as_deref() {
            None => Ok(()),
            Some("role") => Err(self.fenced()),
            Some("journal") => Err(Error::Fenced("the state for another journal".to_owned())),
            Some(why) => Err(Error::Unavailable(format!("not saved: {why}").into())),
        }
    }

    async fn next_epoch(&self, role: &str) -> Result<Epoch, Error> {
        let role = role.to_owned();
        let (fence_role, fence_epoch) = self.fence();
        let raised: Option<i64> = self
            .database
            .run_to_end(move |connection| {
                Box::pin(
                    sqlx::query_scalar("select state.raise_epoch($1, $2, $3)")
                        .bind(role)
                        .bind(fence_role)
                        .bind(fence_epoch)
                        .fetch_one(connection),
                )
            })
            .await?;
        raised.map(|epoch| epoch as u64).ok_or_else(|| self.fenced())
    }
}

impl From<verbatim_postgres::Error> for Error {
    fn from(error: verbatim_postgres::Error) -> Self {
        failed(error)
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}
