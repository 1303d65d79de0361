//! The analytics in a `SQLite` file of their own.

#[cfg(test)]
mod tests;

use std::path::Path;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use tokio::sync::mpsc;
use verbatim_protocol::JournalId;
use verbatim_sqlite::{Database, Durability, OpenError, ReadError, Readers};

use crate::store::{At, Differing, Key, Reading, Store, Value};
use crate::{Error, VERSION, unavailable};

const MIGRATIONS: [(&str, &str); 1] = [(
    "create analytics",
    include_str!("../../../migrations/sqlite/analytics/0001_create_analytics.sql"),
)];

/// Connections for reports.
const READERS: u32 = 2;

/// Rows that are removed at once.
const SWEPT: i64 = 10_000;

/// [`Store`] in a file, which this process alone writes.
pub struct SqliteAnalytics {
    database: Database,
    journal: JournalId,
}

impl SqliteAnalytics {
    /// Opens or makes the analytics of a journal. Those of another journal or version, and those that
    /// can't be read, are replaced by empty ones.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file can't be opened or made.
    pub async fn open(path: &Path, journal: JournalId) -> Result<Self, Error> {
        match Self::open_file(path, journal).await {
            Err(Refused::Damaged(why)) => {
                tracing::warn!(path = %path.display(), why, "the analytics start anew");
                remove(path).await?;
                Self::open_file(path, journal).await.map_err(Error::from)
            }
            opened => opened.map_err(Error::from),
        }
    }

    async fn open_file(path: &Path, journal: JournalId) -> Result<Self, Refused> {
        // They can be made anew: a commit need not wait for the disk.
        let opened = Database::open(path, Durability::Normal, READERS, &MIGRATIONS).await;
        let database = opened.map_err(|error| {
            if is_damaged(&error) {
                Refused::Damaged(error.to_string())
            } else {
                Refused::Other(unavailable(error))
            }
        })?;
        let belongs = database.write(move |connection| belongs_to(connection, journal)).await;
        let why = match belongs.map_err(unavailable)? {
            Ok(true) => return Ok(Self { database, journal }),
            Ok(false) => "made from another journal or by another version".to_owned(),
            Err(error) => error.to_string(),
        };
        drop(database.close().await);
        Err(Refused::Damaged(why))
    }

    /// Has what is written leave the processors to others: nobody waits for it.
    ///
    /// # Errors
    /// [`Error::Unavailable`] once it is closed.
    pub async fn yield_to_others(&self) -> Result<(), Error> {
        self.database.yield_to_others().await.map_err(unavailable)
    }

    /// Folds the write-ahead log into the file. Call when nothing is written any more.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; nothing is lost by that.
    pub async fn close(&self) -> Result<(), Error> {
        self.database.fold().await.map_err(unavailable)
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.database.write(work).await.map_err(unavailable)?
    }
}

/// Why a file isn't opened.
enum Refused {
    /// It is no database, one that can't be read, or another's.
    Damaged(String),
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Damaged(why) => Self::Corrupt(why),
            Refused::Other(error) => error,
        }
    }
}

/// `SQLite`'s primary result codes of a damaged file and of one that is none.
const DAMAGED: [i32; 2] = [11, 26];

fn is_damaged(error: &OpenError) -> bool {
    match error {
        OpenError::Migrate { .. } => true,
        OpenError::Open { source, .. } => source
            .as_database_error()
            .and_then(|error| error.code()?.parse::<i32>().ok())
            .is_some_and(|code| DAMAGED.contains(&(code & 0xff))),
        _ => false,
    }
}

/// Removes a closed file and what `SQLite` keeps beside it.
async fn remove(path: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        match tokio::fs::remove_file(name).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(unavailable(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether the rows are a journal's and of this version; new ones become so.
fn belongs_to(connection: &mut Connection, journal: JournalId) -> Result<bool, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let id = journal.0.as_bytes().to_vec();
    let known = transaction
        .query_row("select journal, version from source", [], |row| {
            Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, i64>(1)?))
        })
        .optional()?;
    if let Some(known) = known {
        return Ok(known == (id, VERSION));
    }
    let live = begin(&transaction)?;
    transaction.execute(
        "insert into source (only_row, journal, version, live) values (1, ?, ?, ?)",
        params![id, VERSION, live],
    )?;
    transaction.commit()?;
    Ok(true)
}

fn begin(transaction: &Transaction<'_>) -> Result<i64, rusqlite::Error> {
    let sql = "insert into generations default values returning generation";
    transaction.query_row(sql, [], |row| row.get(0))
}

fn failed(error: rusqlite::Error) -> Error {
    Error::Unavailable(Box::new(error))
}

fn at(connection: &Connection, generation: u64) -> Result<At, Error> {
    let sql = "select revision, checkpoint from generations
               where generation = ? and not is_given_up";
    let at = |row: &rusqlite::Row<'_>| {
        let (revision, checkpoint) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
        Ok(At { generation, revision, checkpoint })
    };
    let found = connection.query_row(sql, [generation as i64], at).optional();
    found.map_err(failed)?.ok_or(Error::GivenUp)
}

async fn live(readers: &Readers, journal: JournalId) -> Result<At, Error> {
    let sql = "select live, revision, checkpoint from source join generations on generation = live
               where journal = ? and version = ?";
    let found = readers.rows(sql, (journal.0.as_bytes().to_vec(), VERSION), |row| {
        let number = |index| row.get::<_, i64>(index).map(|n| n as u64);
        Ok(At { generation: number(0)?, revision: number(1)?, checkpoint: number(2)? })
    });
    found.await.map_err(unavailable)?.pop().ok_or(Error::Behind)
}

async fn page(
    readers: &Readers,
    generation: u64,
    low: &[u8],
    high: &[u8],
    limit: usize,
) -> Result<Vec<(Key, Value)>, Error> {
    let bounds = (generation as i64, low.to_vec(), high.to_vec(), limit as i64);
    readers.rows(PAGE, bounds, |row| row.try_into()).await.map_err(unavailable)
}

const PAGE: &str = "select key, value from rows
                    where generation = ? and key >= ? and key < ? order by key limit ?";

#[async_trait]
impl Reading for SqliteAnalytics {
    async fn live(&self) -> Result<At, Error> {
        live(self.database.readers(), self.journal).await
    }

    async fn page(
        &self,
        generation: u64,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        page(self.database.readers(), generation, low, high, limit).await
    }
}

#[async_trait]
impl Store for SqliteAnalytics {
    async fn at(&self, generation: u64) -> Result<At, Error> {
        self.write(move |connection| at(connection, generation)).await
    }

    async fn get(&self, generation: u64, keys: Vec<Key>) -> Result<Vec<(Key, Value)>, Error> {
        self.write(move |connection| {
            let sql = "select value from rows where generation = ? and key = ?";
            let mut select = connection.prepare_cached(sql).map_err(failed)?;
            let mut found = Vec::new();
            for key in keys {
                let value = select.query_row(params![generation as i64, key], |row| row.get(0));
                if let Some(value) = value.optional().map_err(failed)? {
                    found.push((key, value));
                }
            }
            Ok(found)
        })
        .await
    }

    async fn scan(
        &self,
        generation: u64,
        ranges: Vec<(Key, Key)>,
        each: usize,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        self.write(move |connection| {
            let mut select = connection.prepare_cached(PAGE).map_err(failed)?;
            let mut found = Vec::new();
            for (low, high) in ranges {
                let left = each.min(limit - found.len()) as i64;
                let rows = select.query_map(params![generation as i64, low, high, left], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                });
                for row in rows.map_err(failed)? {
                    found.push(row.map_err(failed)?);
                }
            }
            Ok(found)
        })
        .await
    }

    async fn commit(
        &self,
        at: At,
        to: u64,
        rows: Vec<(Key, Option<Value>)>,
    ) -> Result<bool, Error> {
        self.write(move |connection| commit(connection, at, to as i64, rows).map_err(failed)).await
    }

    async fn begin(&self) -> Result<u64, Error> {
        self.write(|connection| {
            let mut begun = || {
                let transaction =
                    connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let others = "update generations set is_given_up = 1
                              where generation <> (select live from source)";
                transaction.execute(others, [])?;
                let generation = begin(&transaction)?;
                transaction.commit()?;
                Ok(generation as u64)
            };
            begun().map_err(failed)
        })
        .await
    }

    async fn exchange(&self, generation: u64) -> Result<bool, Error> {
        self.write(move |connection| {
            let transaction = connection
                .transaction_with_behavior(TransactionBehavior::Immediate)
                .map_err(failed)?;
            let next = at(&transaction, generation)?.checkpoint;
            let exchanged = || {
                let sql = "update source set live = ? where ? >=
                           (select checkpoint from generations where generation = live)";
                if transaction.execute(sql, [generation as i64, next as i64])? == 0 {
                    return Ok(false);
                }
                let others = "update generations set is_given_up = 1 where generation <> ?";
                transaction.execute(others, [generation as i64])?;
                transaction.commit()?;
                Ok(true)
            };
            exchanged().map_err(failed)
        })
        .await
    }

    async fn differences(
        &self,
        generation: u64,
        tell: mpsc::Sender<Differing>,
    ) -> Result<(), Error> {
        let reading = self
            .database
            .readers()
            .read(move |connection| Ok::<_, ReadError>(differences(connection, generation, &tell)));
        reading.await.map_err(unavailable)?
    }

    async fn give_up(&self, generation: u64) -> Result<(), Error> {
        self.write(move |connection| {
            let sql = "update generations set is_given_up = 1
                       where generation = ? and generation <> (select live from source)";
            connection.execute(sql, [generation as i64]).map(drop).map_err(failed)
        })
        .await
    }

    async fn sweep(&self) -> Result<bool, Error> {
        self.write(|connection| {
            let given_up = "select generation from generations where is_given_up limit 1";
            let swept = || {
                let found = connection.query_row(given_up, [], |row| row.get::<_, i64>(0));
                let Some(generation) = found.optional()? else { return Ok(false) };
                let rows = "delete from rows where generation = ?1 and key in (
                                select key from rows where generation = ?1 limit ?2)";
                if connection.execute(rows, [generation, SWEPT])? == 0 {
                    connection
                        .execute("delete from generations where generation = ?", [generation])?;
                }
                Ok(true)
            };
            swept().map_err(failed)
        })
        .await
    }
}

fn differences(
    connection: &Connection,
    generation: u64,
    tell: &mpsc::Sender<Differing>,
) -> Result<(), Error> {
    // What its statements see is of one moment.
    let transaction = connection.unchecked_transaction().map_err(failed)?;
    let live: i64 =
        transaction.query_row("select live from source", [], |row| row.get(0)).map_err(failed)?;
    if at(&transaction, live as u64)?.checkpoint != at(&transaction, generation)?.checkpoint {
        return Err(Error::Behind);
    }
    let mut select = transaction
        .prepare(
            "select live.key, live.value, other.value from rows as live
             left join rows as other on other.generation = ?2 and other.key = live.key
             where live.generation = ?1 and live.value is not other.value
             union all
             select key, null, value from rows as other
             where generation = ?2 and not exists (
                 select 1 from rows where generation = ?1 and key = other.key)
             order by 1",
        )
        .map_err(failed)?;
    let rows = select
        .query_map([live, generation as i64], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)));
    for row in rows.map_err(failed)? {
        tell.blocking_send(row.map_err(failed)?).map_err(unavailable)?;
    }
    Ok(())
}

fn commit(
    connection: &mut Connection,
    at: At,
    to: i64,
    rows: Vec<(Key, Option<Value>)>,
) -> Result<bool, rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let moved = "update generations set checkpoint = ?, revision = revision + 1
                 where generation = ? and revision = ? and not is_given_up";
    let generation = at.generation as i64;
    if transaction.execute(moved, [to, generation, at.revision as i64])? == 0 {
        return Ok(false);
    }
    {
        let mut put = transaction.prepare_cached(
            "insert or replace into rows (generation, key, value) values (?, ?, ?)",
        )?;
        let mut remove =
            transaction.prepare_cached("delete from rows where generation = ? and key = ?")?;
        for (key, value) in rows {
            match value {
                Some(value) => put.execute(params![generation, key, value])?,
                None => remove.execute(params![generation, key])?,
            };
        }
    }
    transaction.commit()?;
    Ok(true)
}

/// What reports need, of a file that another process may be writing.
pub struct SqliteReports {
    readers: Readers,
    journal: JournalId,
}

impl SqliteReports {
    /// Opens the file for reading alone.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when there is no such file, or another version made it.
    pub fn open(path: &Path, journal: JournalId) -> Result<Self, Error> {
        let readers = Readers::of_version(path, READERS, &MIGRATIONS);
        Ok(Self { readers: readers.map_err(unavailable)?, journal })
    }
}

#[async_trait]
impl Reading for SqliteReports {
    async fn live(&self) -> Result<At, Error> {
        live(&self.readers, self.journal).await
    }

    async fn page(
        &self,
        generation: u64,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        page(&self.readers, generation, low, high, limit).await
    }
}
