//! The journal in one `SQLite` file.

mod backup;
mod error;
mod heads;
mod reading;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use sqlx::Row;
use sqlx::sqlite::SqliteConnection;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, JournalId, Recorded, Timestamp};
use verbatim_sqlite::{Database, Durability};

pub use backup::{Summary, restore, verify};
use error::Failed;
pub use reading::SqliteLog;
use rows::recorded;
use writer::{Work, Writer};

use crate::import::another;
use crate::prepared::Prepared;
use crate::{Append, Appended, Error, Import, Journal, LaneProgress, Log, Snapshot};

/// Requests that wait for the writer; the next waits for room.
const QUEUE: usize = 256;

/// Connections that read.
const READERS: u32 = 4;

const MIGRATIONS: [(&str, &str); 1] = [(
    "create journal",
    include_str!("../../../migrations/sqlite/journal/0001_create_journal.sql"),
)];

/// The journal in one file, which this process alone has open.
///
/// Appends of several callers are merged: one task commits all that waits in one transaction. A
/// caller that goes away takes nothing back; what it handed in is committed whole.
#[derive(Debug)]
pub struct SqliteJournal {
    id: JournalId,
    database: Arc<Database>,
    head: Arc<AtomicU64>,
    work: mpsc::Sender<Work>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl SqliteJournal {
    /// Opens the file, or makes a new journal there, and starts its writer, which ends with this
    /// handle or with [`close`](Self::close).
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made the file; [`Error::Corrupt`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::open(path, Durability::Full, READERS, &MIGRATIONS)
            .await
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        let id = identify(&mut *database.writer().lock().await).await?;
        let database = Arc::new(database);
        let writer = Writer::new(Arc::clone(&database)).await.map_err(Failed::from)?;
        let head = writer.head();
        let (work, queue) = mpsc::channel(QUEUE);
        let running = tokio::spawn(async move {
            if let Err(error) = tokio::spawn(writer.run(queue)).await {
                tracing::error!(%error, "the journal's writer has ended; nothing can be appended");
            }
        });
        Ok(Self { id, database, head, work, writer: Mutex::new(Some(running)) })
    }

    /// Takes in nothing more, waits until what was taken in is committed, and folds the write-ahead
    /// log into the file.
    ///
    /// # Errors
    /// The last checkpoint's; nothing committed is lost.
    pub async fn close(&self) -> Result<(), Error> {
        // An error means that the writer has ended already.
        drop(self.work.send(Work::Close).await);
        if let Some(writer) = self.writer.lock().await.take() {
            writer.await.map_err(|error| Error::Unavailable(Box::new(error)))?;
        }
        Ok(self.database.fold().await.map_err(Failed::from)?)
    }

    /// Writes a consistent copy of the journal to a new file, while it is in use.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when `to` exists.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        backup::write(Arc::clone(&self.database), to.to_owned()).await
    }

    async fn hand_in<T>(
        &self,
        work: impl FnOnce(oneshot::Sender<Result<T, Error>>) -> Work,
    ) -> Result<T, Error> {
        let (reply, answer) = oneshot::channel();
        self.work.send(work(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

#[async_trait]
impl Import for SqliteJournal {
    async fn adopt(&mut self, id: JournalId) -> Result<(), Error> {
        if self.id == id {
            return Ok(());
        }
        let adopted =
            sqlx::query("update journal set id = ? where not exists (select 1 from events)")
                .bind(id.to_string())
                .execute(&mut *self.database.writer().lock().await)
                .await
                .map_err(Failed::from)?;
        if adopted.rows_affected() == 0 {
            return Err(another(self.id));
        }
        self.id = id;
        Ok(())
    }

    async fn import(&self, events: Vec<Arc<Recorded>>) -> Result<(), Error> {
        self.hand_in(|reply| Work::Import { events, reply }).await
    }
}

/// The journal's id, made if this is a new one.
async fn identify(connection: &mut SqliteConnection) -> Result<JournalId, Failed> {
    sqlx::query(
        "insert into journal (one, id, created_at) values (1, ?, ?) on conflict do nothing",
    )
    .bind(Uuid::now_v7().to_string())
    .bind(Timestamp::now().0)
    .execute(&mut *connection)
    .await?;
    reading::id(connection).await
}

fn closed() -> Error {
    Error::Unavailable("the journal is closed".into())
}

#[async_trait]
impl Log for SqliteJournal {
    fn id(&self) -> JournalId {
        self.id
    }

    async fn head(&self) -> Result<u64, Error> {
        if self.work.is_closed() {
            return Err(closed());
        }
        Ok(self.head.load(Ordering::Acquire))
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        reading::after(self.database.readers(), after, limit).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        reading::of_stream(self.database.readers(), stream, after, limit).await
    }
}

#[async_trait]
impl Journal for SqliteJournal {
    async fn append_in_lanes(
        &self,
        batch: Vec<Append>,
        lanes: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, Error> {
        if !lanes.is_empty() {
            return Err(Error::Unavailable("a journal in one file has no lanes".into()));
        }
        if batch.is_empty() {
            return Ok(Vec::new());
        }
        let appends = batch
            .into_iter()
            .map(Prepared::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        self.hand_in(|reply| Work::Append { appends, reply }).await
    }

    async fn check_writable(&self) -> Result<(), Error> {
        self.hand_in(|reply| Work::Check { reply }).await
    }

    async fn find_by_key(&self, key: &CommandKey) -> Result<Option<Arc<Recorded>>, Error> {
        let mut reader = self.database.readers().acquire().await.map_err(Failed::from)?;
        let found = rows::find_commands(&mut reader, &[key]).await.map_err(Failed::from)?;
        Ok(found.first().map(recorded).transpose()?)
    }

    async fn load_snapshot(&self, stream: &StreamId) -> Result<Option<Snapshot>, Error> {
        let row = sqlx::query(include_str!("sqlite/load_snapshot.sql"))
            .bind(stream.aggregate_type.as_str())
            .bind(&*stream.aggregate_id)
            .fetch_optional(self.database.readers())
            .await
            .map_err(Failed::from)?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Snapshot {
            stream: stream.clone(),
            sequence: row.try_get::<i64, _>(0).map_err(Failed::from)? as u64,
            state: row.try_get(1).map_err(Failed::from)?,
        }))
    }

    async fn save_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        self.hand_in(|reply| Work::Snapshots { snapshots, reply }).await
    }
}
