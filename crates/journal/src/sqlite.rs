//! The journal in one `SQLite` file.

mod backup;
mod error;
mod heads;
mod reading;
mod recent;
mod rows;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension};
use tokio::sync::oneshot;
use uuid::Uuid;
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, JournalId, Recorded, Timestamp};
use verbatim_sqlite::{Database, Durability, select};

pub use backup::{Summary, restore, verify};
use error::Failed;
pub use reading::SqliteLog;
use rows::{find_command, recorded};
use writer::{Work, Writer};

use crate::import::another;
use crate::prepared::Prepared;
use crate::stored::{LAST, page};
use crate::{
    Append, Appended, Error, Import, Journal, LaneProgress, Latest, Log, Row, Rows, Snapshot,
};

/// Connections that read.
const READERS: u32 = 4;

const MIGRATIONS: [(&str, &str); 2] = [
    ("create journal", include_str!("../../../migrations/sqlite/journal/0001_create_journal.sql")),
    (
        "index in tables",
        include_str!("../../../migrations/sqlite/journal/0002_index_in_tables.sql"),
    ),
];

/// The journal in one file, which this process alone has open.
///
/// Appends of several callers are merged: all that waits is committed in one transaction. A
/// caller that goes away takes nothing back; what it handed in is committed whole.
#[derive(Debug)]
pub struct SqliteJournal {
    id: JournalId,
    database: Arc<Database>,
    writer: Arc<Writer>,
}

impl SqliteJournal {
    /// Opens the file, or makes a new journal there.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made the file; [`Error::Corrupt`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::open(path, Durability::Full, READERS, &MIGRATIONS)
            .await
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        let writer = Arc::new(Writer::default());
        let opening = Arc::clone(&writer);
        let opened = database.write(move |connection| {
            let id = identify(connection)?;
            opening.open(connection)?;
            Ok::<_, Failed>(id)
        });
        let id = opened.await.map_err(Failed::from)??;
        Ok(Self { id, database: Arc::new(database), writer })
    }

    /// Takes in nothing more, waits until what was taken in is committed, and folds the write-ahead
    /// log into the file.
    ///
    /// # Errors
    /// The last checkpoint's; nothing committed is lost.
    pub async fn close(&self) -> Result<(), Error> {
        if !self.writer.is_closed.swap(true, Ordering::AcqRel) {
            let writer = Arc::clone(&self.writer);
            let finished = self.database.write(move |connection| writer.finish(connection));
            finished.await.map_err(Failed::from)?;
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
        let place = self.database.place().await.map_err(Failed::from)?;
        if self.is_closed() {
            return Err(closed());
        }
        self.writer.wait(work(reply));
        let writer = Arc::clone(&self.writer);
        place.run(move |connection| writer.settle(connection));
        answer.await.map_err(|_| closed())?
    }

    fn is_closed(&self) -> bool {
        self.writer.is_closed.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Import for SqliteJournal {
    async fn adopt(&mut self, id: JournalId) -> Result<(), Error> {
        if self.id == id {
            return Ok(());
        }
        let adopted = self.database.write(move |connection| {
            connection.execute(
                "update journal set id = ? where not exists (select 1 from events)",
                [id.to_string()],
            )
        });
        if adopted.await.map_err(Failed::from)?.map_err(Failed::from)? == 0 {
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
fn identify(connection: &Connection) -> Result<JournalId, Failed> {
    connection.execute(
        "insert into journal (one, id, created_at) values (1, ?, ?) on conflict do nothing",
        (Uuid::now_v7().to_string(), Timestamp::now().0),
    )?;
    let id: String = connection.query_row("select id from journal", [], |row| row.get(0))?;
    reading::journal_id(&id)
}

/// The events at these positions, in their order, without those that aren't there.
fn at_positions(connection: &Connection, positions: &[u64]) -> Result<Vec<Arc<Recorded>>, Failed> {
    let positions = serde_json::to_string(positions).expect("numbers are JSON");
    select(connection, include_str!("sqlite/read_positions.sql"), [positions], recorded)
}

fn load_snapshot(connection: &Connection, stream: &StreamId) -> Result<Option<Snapshot>, Failed> {
    let mut select = connection.prepare_cached(include_str!("sqlite/load_snapshot.sql"))?;
    let key = (stream.aggregate_type.as_str(), &*stream.aggregate_id);
    let found = select.query_row(key, |row| Ok((row.get::<_, i64>(0)?, row.get(1)?))).optional()?;
    Ok(found.map(|(sequence, state)| Snapshot {
        stream: stream.clone(),
        sequence: sequence as u64,
        state,
    }))
}

/// A stream, and where its last events are, whose keys may not be in the index table yet.
struct Stream {
    id: StreamId,
    recent: Vec<(u64, u64)>,
}

impl Stream {
    fn read(
        &self,
        connection: &Connection,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Failed> {
        let sql = include_str!("sqlite/read_stream.sql");
        let mut events = reading::of_stream(connection, sql, &self.id, after, limit)?;
        let reached = events.last().map_or(after, |last| last.sequence);
        let further = self.recent.iter().filter(|(sequence, _)| *sequence > reached);
        let positions: Vec<_> =
            further.map(|(_, position)| *position).take(limit - events.len()).collect();
        if !positions.is_empty() {
            let found = at_positions(connection, &positions)?;
            // If their commit has failed, others may stand there by now.
            let ours = found.into_iter().take_while(|event| event.stream == self.id).collect();
            events.extend(page(ours, reached, |event| event.sequence)?);
        }
        Ok(events)
    }
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
        if self.is_closed() {
            return Err(closed());
        }
        Ok(self.writer.head.load(Ordering::Acquire))
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
        let after = after.min(LAST);
        // Asked first: what is no longer there by now, the table has.
        let recent = self.writer.recent().of_stream(stream, after).take(limit).collect();
        let stream = Stream { id: stream.clone(), recent };
        let reading = self.database.readers().read(move |reader| stream.read(reader, after, limit));
        Ok(reading.await?)
    }
}

#[async_trait]
impl Rows for SqliteJournal {
    async fn rows_after(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error> {
        reading::rows_after(self.database.readers(), after, limit).await
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
        // Asked first: what is no longer there by now, the table has.
        let recent = self.writer.recent().of_command(key);
        if let Some(position) = recent {
            let reading =
                self.database.readers().read(move |reader| at_positions(reader, &[position]));
            let found = reading.await?.pop();
            // If its commit has failed, another's may stand there by now.
            return Ok(found.filter(|event| event.command.as_ref() == Some(key)));
        }
        let key = key.clone();
        Ok(self.database.readers().read(move |connection| find_command(connection, &key)).await?)
    }

    async fn load(&self, streams: &[StreamId], limit: usize) -> Result<Vec<Latest>, Error> {
        let streams: Vec<_> = {
            // Asked first: what is no longer there by now, the table has.
            let recent = self.writer.recent();
            let whole = |id: &StreamId| Stream {
                id: id.clone(),
                recent: recent.of_stream(id, 0).collect(),
            };
            streams.iter().map(whole).collect()
        };
        let reading = self.database.readers().read(move |reader| {
            let load = |stream: &Stream| {
                let snapshot = load_snapshot(reader, &stream.id)?;
                let after = snapshot.as_ref().map_or(0, |snapshot| snapshot.sequence);
                Ok(Latest { events: stream.read(reader, after, limit)?, snapshot })
            };
            streams.iter().map(load).collect::<Result<_, Failed>>()
        });
        Ok(reading.await?)
    }

    async fn save_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        self.hand_in(|reply| Work::Snapshots { snapshots, reply }).await
    }
}
