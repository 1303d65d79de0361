//! The state in one `SQLite` file.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};
use serde::Serialize;
use verbatim_domain::UserId;
use verbatim_protocol::JournalId;
use verbatim_sqlite::{Database, Durability};

use crate::{Epoch, Error, State, Watch, latest};

/// Connections that read.
const READERS: u32 = 2;

const MIGRATIONS: [(&str, &str); 1] =
    [("create state", include_str!("../../../migrations/sqlite/state/0001_create_state.sql"))];

/// The state in one file, which this process alone has open.
#[derive(Debug)]
pub struct SqliteState {
    database: Arc<Database>,
}

impl SqliteState {
    /// Opens the file, or makes it. What it says of another journal than this one is forgotten;
    /// epochs go on.
    ///
    /// # Errors
    /// [`Error`], also when a newer version made the file.
    pub async fn open(path: &Path, journal: JournalId) -> Result<Self, Error> {
        let database =
            Database::open(path, Durability::Full, READERS, &MIGRATIONS).await.map_err(failed)?;
        let file = path.to_owned();
        let belongs = database.write(move |connection| belong_to(connection, &file, journal));
        belongs.await.map_err(failed)?.map_err(failed)?;
        Ok(Self { database: Arc::new(database) })
    }

    /// Folds the write-ahead log into the file. Call when nothing is saved any more.
    ///
    /// # Errors
    /// The last checkpoint's; nothing saved is lost.
    pub async fn close(&self) -> Result<(), Error> {
        self.database.fold().await.map_err(failed)
    }
}

#[async_trait]
impl State for SqliteState {
    async fn checkpoint(&self, reactor: &str) -> Result<Option<u64>, Error> {
        let sql = "select checkpoint from reactors where name = ?";
        let readers = self.database.readers();
        let found = readers.rows(sql, [reactor.to_owned()], |row| row.get::<_, i64>(0));
        Ok(found.await.map_err(failed)?.pop().map(|checkpoint| checkpoint as u64))
    }

    async fn watches(&self, reactor: &str) -> Result<Vec<(UserId, u64)>, Error> {
        let sql = "select user_id, from_position from watches where reactor = ?";
        let found = self.database.readers().rows(sql, [reactor.to_owned()], |row| {
            Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)? as u64))
        });
        let found = found.await.map_err(failed)?.into_iter();
        found.map(|(user, from)| Ok((user.parse().map_err(failed)?, from))).collect()
    }

    async fn save(&self, reactor: &str, checkpoint: u64, watches: &[Watch]) -> Result<(), Error> {
        let change = Change::new(reactor, checkpoint, watches).map_err(failed)?;
        let saved = self.database.write(move |connection| change.save(connection));
        saved.await.map_err(failed)?.map_err(failed)
    }

    async fn next_epoch(&self, role: &str) -> Result<Epoch, Error> {
        let role = role.to_owned();
        let raised = self.database.write(move |connection| {
            let sql = include_str!("sqlite/raise_epoch.sql");
            connection.query_row(sql, [role], |row| row.get::<_, i64>(0))
        });
        Ok(raised.await.map_err(failed)?.map_err(failed)? as u64)
    }
}

/// Forgets what another journal's events have led to: its positions mean nothing in this one.
fn belong_to(
    connection: &mut Connection,
    path: &Path,
    journal: JournalId,
) -> Result<(), rusqlite::Error> {
    let known: Option<String> =
        connection.query_row("select id from journal", [], |row| row.get(0)).optional()?;
    let id = journal.to_string();
    if known.as_ref() == Some(&id) {
        return Ok(());
    }
    if let Some(known) = known {
        tracing::warn!(path = %path.display(), known, id, "another journal: reactors start anew");
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch("delete from reactors; delete from watches; delete from journal")?;
    transaction.execute("insert into journal (one, id) values (1, ?)", [id])?;
    transaction.commit()
}

/// What one [`State::save`] stores; the watches as JSON, for one statement each.
struct Change {
    reactor: String,
    checkpoint: i64,
    /// `[[user, from], …]`
    going_on: Option<String>,
    /// `[user, …]`
    ended: Option<String>,
}

impl Change {
    fn new(reactor: &str, checkpoint: u64, watches: &[Watch]) -> serde_json::Result<Self> {
        let (going_on, ended) = latest(watches);
        Ok(Self {
            reactor: reactor.to_owned(),
            checkpoint: checkpoint as i64,
            going_on: json(&going_on)?,
            ended: json(&ended)?,
        })
    }

    fn save(self, connection: &mut Connection) -> Result<(), rusqlite::Error> {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction
            .prepare_cached(include_str!("sqlite/save_checkpoint.sql"))?
            .execute(params![self.reactor, self.checkpoint])?;
        for (sql, users) in [
            (include_str!("sqlite/save_watches.sql"), self.going_on),
            (include_str!("sqlite/end_watches.sql"), self.ended),
        ] {
            if let Some(users) = users {
                transaction.prepare_cached(sql)?.execute(params![self.reactor, users])?;
            }
        }
        transaction.commit()
    }
}

/// `None` for an empty list.
fn json<T: Serialize>(list: &[T]) -> serde_json::Result<Option<String>> {
    if list.is_empty() { Ok(None) } else { serde_json::to_string(list).map(Some) }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}
