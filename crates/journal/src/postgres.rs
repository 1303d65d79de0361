//! The journal in a `PostgreSQL` database, which any number of processes share.
//!
//! All that writes is one call of a function in the database, a transaction by itself: no lock waits
//! for a client. Several processes append to one journal; who may write what, the lanes say.

mod dead_letters;
mod error;
mod group;
mod head;
mod import;
mod lanes;
mod replay;
mod rows;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::sync::Arc;

use async_trait::async_trait;
use sqlx::Row as _;
use sqlx::postgres::PgRow;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;
use verbatim_domain::StreamId;
use verbatim_postgres::Database;
use verbatim_protocol::{CommandKey, JournalId, Recorded};

pub use dead_letters::SetAside;
use error::Failed;
use group::Request;
use head::Head;
use rows::{as_stored, recorded};
use writer::{Work, Writer};

use crate::prepared::Prepared;
use crate::stored::{LAST, page};
use crate::{Append, Appended, Error, Journal, LaneProgress, Latest, Log, Row, Rows, Snapshot};

/// Requests that wait for the writer; the next waits for room.
const QUEUE: usize = 256;

/// A journal in the schema `journal` of a database.
///
/// Appends of several callers in this process are merged: one task hands all that waits to the
/// database in one call. A caller that goes away takes nothing back; what it handed in is committed
/// whole.
#[derive(Debug)]
pub struct PostgresJournal {
    id: JournalId,
    database: Database,
    head: Head,
    work: mpsc::Sender<Work>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

impl PostgresJournal {
    /// Opens the journal that [`migrate`](Self::migrate) has made, and starts its writer, which ends
    /// with this handle or with [`close`](Self::close).
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when the schema is missing, or not of this version.
    pub async fn open(database: Database) -> Result<Self, Error> {
        let id = schema::check(&database).await?;
        let (work, queue) = mpsc::channel(QUEUE);
        let writer = Writer::new(database.clone());
        let running = tokio::spawn(async move {
            if let Err(error) = tokio::spawn(writer.run(queue)).await {
                tracing::error!(%error, "the journal's writer has ended; nothing can be appended");
            }
        });
        Ok(Self { id, database, head: Head::default(), work, writer: Mutex::new(Some(running)) })
    }

    /// Makes the journal, or brings it up to date. Several may call this at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made the schema.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        schema::migrate(database).await
    }

    /// Takes in nothing more, and waits until what was taken in is committed. The database stays
    /// open.
    ///
    /// # Errors
    /// The writer's, if it broke down.
    pub async fn close(&self) -> Result<(), Error> {
        // An error means that the writer has ended already.
        drop(self.work.send(Work::Close).await);
        if let Some(writer) = self.writer.lock().await.take() {
            writer.await.map_err(|error| Error::Unavailable(Box::new(error)))?;
        }
        Ok(())
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

fn closed() -> Error {
    Error::Unavailable("the journal is closed".into())
}

/// Which of the arrays' entries a row is of.
fn ordinality(row: &PgRow) -> Result<usize, Failed> {
    Ok(row.try_get::<i64, _>(0)? as usize - 1)
}

/// A limit as the database takes it.
fn bounded(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

#[async_trait]
impl Log for PostgresJournal {
    fn id(&self) -> JournalId {
        self.id
    }

    async fn head(&self) -> Result<u64, Error> {
        if self.work.is_closed() {
            return Err(closed());
        }
        let read = async || {
            let reading = self.database.run(|connection| {
                let sql = "select position from journal.journal_head";
                Box::pin(sqlx::query_scalar::<_, i64>(sql).fetch_one(connection))
            });
            Ok(reading.await? as u64)
        };
        self.head.get(read).await
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        let after = after.min(LAST);
        let query = sqlx::query(include_str!("postgres/read_after.sql"))
            .bind(after as i64)
            .bind(bounded(limit));
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        let events = rows.iter().map(|row| recorded(row, 0)).collect::<Result<_, _>>()?;
        page(events, after, |event| event.position)
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        let after = after.min(LAST);
        let query = sqlx::query(include_str!("postgres/read_stream.sql"))
            .bind(stream.aggregate_type.as_str())
            .bind(stream.aggregate_id.to_string())
            .bind(after as i64)
            .bind(bounded(limit));
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        let events = rows.iter().map(|row| recorded(row, 0)).collect::<Result<_, _>>()?;
        page(events, after, |event| event.sequence)
    }
}

#[async_trait]
impl Rows for PostgresJournal {
    async fn rows_after(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error> {
        let query =
            sqlx::query(include_str!("postgres/read_after.sql")).bind(after).bind(bounded(limit));
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        Ok(rows.iter().map(as_stored).collect::<Result<_, _>>()?)
    }
}

#[async_trait]
impl Journal for PostgresJournal {
    async fn append_in_lanes(
        &self,
        batch: Vec<Append>,
        lanes: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, Error> {
        if batch.is_empty() && lanes.is_empty() {
            return Ok(Vec::new());
        }
        let appends = batch
            .into_iter()
            .map(Prepared::new)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        let request = Request { appends, lanes };
        self.hand_in(|reply| Work::Append { request, reply }).await
    }

    async fn check_writable(&self) -> Result<(), Error> {
        match self.hand_in(|reply| Work::Check { reply }).await? {
            0 => Ok(()),
            orphans => Err(Error::Unavailable(
                format!("{orphans} lanes have no living owner: nothing is written there").into(),
            )),
        }
    }

    async fn find_by_key(&self, key: &CommandKey) -> Result<Option<Arc<Recorded>>, Error> {
        let query = sqlx::query(include_str!("postgres/find_command.sql"))
            .bind(key.issuer.to_string())
            .bind(key.key.as_bytes().to_vec());
        let row =
            self.database.run(|connection| Box::pin(query.fetch_optional(connection))).await?;
        Ok(row.map(|row| recorded(&row, 0)).transpose()?)
    }

    async fn load(&self, streams: &[StreamId], limit: usize) -> Result<Vec<Latest>, Error> {
        let types: Vec<_> = streams.iter().map(|id| id.aggregate_type.as_str()).collect();
        let ids: Vec<_> = streams.iter().map(|id| id.aggregate_id.to_string()).collect();
        let query = sqlx::query(include_str!("postgres/load_snapshots.sql"))
            .bind(types.clone())
            .bind(ids.clone());
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        let mut latest = vec![Latest::default(); streams.len()];
        let mut after = vec![0_i64; streams.len()];
        for row in rows {
            let number = ordinality(&row)?;
            after[number] = row.try_get(1).map_err(Failed::from)?;
            latest[number].snapshot = Some(Snapshot {
                stream: streams[number].clone(),
                sequence: after[number] as u64,
                state: row.try_get(2).map_err(Failed::from)?,
            });
        }
        let query = sqlx::query(include_str!("postgres/read_streams.sql"))
            .bind(types)
            .bind(ids)
            .bind(after.clone())
            .bind(bounded(limit));
        let rows = self.database.run(|connection| Box::pin(query.fetch_all(connection))).await?;
        for row in rows {
            latest[ordinality(&row)?].events.push(recorded(&row, 1)?);
        }
        for (latest, after) in latest.iter_mut().zip(after) {
            let events = std::mem::take(&mut latest.events);
            latest.events = page(events, after as u64, |event| event.sequence)?;
        }
        Ok(latest)
    }

    async fn save_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), Error> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let (mut types, mut ids) = (Vec::new(), Vec::new());
        let (mut sequences, mut states) = (Vec::new(), Vec::new());
        for Snapshot { stream, sequence, state } in snapshots {
            types.push(stream.aggregate_type.as_str());
            ids.push(stream.aggregate_id.to_string());
            sequences.push(sequence as i64);
            states.push(state);
        }
        let query = sqlx::query(include_str!("postgres/save_snapshots.sql"))
            .bind(types)
            .bind(ids)
            .bind(sequences)
            .bind(states);
        self.database.run_to_end(|connection| Box::pin(query.execute(connection))).await?;
        Ok(())
    }
}
