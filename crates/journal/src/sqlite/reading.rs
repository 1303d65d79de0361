//! Reading the journal, also beside the process that writes it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{Row as _, SqlitePool};
use verbatim_domain::StreamId;
use verbatim_protocol::{JournalId, Recorded};

use super::rows::{as_stored, recorded};
use super::{Failed, MIGRATIONS};
use crate::stored::{LAST, page};
use crate::{Error, Log, Row, Rows};

/// Connections: one that reads, and one for whoever looks something up meanwhile.
const READERS: u32 = 2;

/// The journal of a file that another process may be writing.
#[derive(Debug)]
pub struct SqliteLog {
    id: JournalId,
    readers: SqlitePool,
}

impl SqliteLog {
    /// Opens the file for reading alone. No lock is taken that a writer would wait for.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when there is no such file, or another version made it;
    /// [`Error::Corrupt`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let readers = verbatim_sqlite::open_reader(path, READERS, &MIGRATIONS)
            .await
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        let id: String = sqlx::query_scalar("select id from journal")
            .fetch_one(&readers)
            .await
            .map_err(Failed::from)?;
        let id = journal_id(&id)?;
        Ok(Self { id, readers })
    }
}

#[async_trait]
impl Log for SqliteLog {
    fn id(&self) -> JournalId {
        self.id
    }

    async fn head(&self) -> Result<u64, Error> {
        let row = sqlx::query(include_str!("read_head.sql"))
            .fetch_optional(&self.readers)
            .await
            .map_err(Failed::from)?;
        let position: i64 = row.map_or(Ok(0), |row| row.try_get(0)).map_err(Failed::from)?;
        Ok(position as u64)
    }

    async fn read_after(&self, position: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        after(&self.readers, position, limit).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        // Which keys are in no index table yet, only the writer has in memory.
        let sql = include_str!("read_stream_beside.sql");
        of_stream(&self.readers, sql, stream, after, limit).await
    }
}

#[async_trait]
impl Rows for SqliteLog {
    async fn rows_after(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error> {
        rows_after(&self.readers, after, limit).await
    }
}

pub(super) fn journal_id(id: &str) -> Result<JournalId, Failed> {
    let id = id.parse().map_err(|_| Failed::Corrupt(format!("{id:?} is no journal's id")))?;
    Ok(JournalId(id))
}

pub(super) async fn after(
    readers: &SqlitePool,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<Recorded>>, Error> {
    let after = after.min(LAST);
    let rows = sqlx::query(include_str!("read_after.sql"))
        .bind(after as i64)
        .bind(limit as i64)
        .fetch_all(readers)
        .await
        .map_err(Failed::from)?;
    page(rows.iter().map(recorded), after, |event| event.position)
}

pub(super) async fn rows_after(
    readers: &SqlitePool,
    after: i64,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let rows = sqlx::query(include_str!("read_after.sql"))
        .bind(after)
        .bind(limit as i64)
        .fetch_all(readers)
        .await
        .map_err(Failed::from)?;
    Ok(rows.iter().map(as_stored).collect::<Result<_, _>>()?)
}

/// What the statement, which is given stream, sequence and limit, finds of a stream.
pub(super) async fn of_stream(
    readers: &SqlitePool,
    sql: &'static str,
    stream: &StreamId,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<Recorded>>, Error> {
    let after = after.min(LAST);
    let rows = sqlx::query(sql)
        .bind(stream.aggregate_type.as_str())
        .bind(&*stream.aggregate_id)
        .bind(after as i64)
        .bind(limit as i64)
        .fetch_all(readers)
        .await
        .map_err(Failed::from)?;
    page(rows.iter().map(recorded), after, |event| event.sequence)
}
