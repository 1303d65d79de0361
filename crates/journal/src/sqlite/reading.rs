//! Reading the journal, also beside the process that writes it.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use rusqlite::{Connection, OptionalExtension, params};
use verbatim_domain::StreamId;
use verbatim_protocol::{JournalId, Recorded};
use verbatim_sqlite::{Readers, select};

use super::rows::{as_stored, recorded};
use super::{Failed, MIGRATIONS};
use crate::stored::{LAST, page};
use crate::{Error, Log, Row, Rows};

/// Connections: three that read pages, and one for whoever looks something up meanwhile.
const READERS: u32 = 4;

/// The journal of a file that another process may be writing.
#[derive(Debug)]
pub struct SqliteLog {
    id: JournalId,
    readers: Readers,
}

impl SqliteLog {
    /// Opens the file for reading alone. No lock is taken that a writer would wait for.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when there is no such file, or another version made it;
    /// [`Error::Corrupt`].
    pub async fn open(path: &Path) -> Result<Self, Error> {
        let readers = Readers::of_version(path, READERS, &MIGRATIONS)
            .map_err(|error| Error::Unavailable(Box::new(error)))?;
        let id: String = readers
            .read(|connection| {
                let id = connection.query_row("select id from journal", [], |row| row.get(0));
                id.map_err(Failed::from)
            })
            .await?;
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
        let head = self.readers.read(|connection| {
            let mut select = connection.prepare_cached(include_str!("read_head.sql"))?;
            let position = select.query_row([], |row| row.get::<_, i64>(0)).optional()?;
            Ok::<_, Failed>(position.unwrap_or(0) as u64)
        });
        Ok(head.await?)
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
        let (stream, after) = (stream.clone(), after.min(LAST));
        let reading =
            self.readers.read(move |reader| of_stream(reader, sql, &stream, after, limit));
        Ok(reading.await?)
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
    readers: &Readers,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<Recorded>>, Error> {
    let after = after.min(LAST);
    let reading = readers.read(move |connection| {
        let bounds = params![after as i64, limit as i64];
        select(connection, include_str!("read_after.sql"), bounds, recorded)
    });
    page(reading.await?, after, |event| event.position)
}

pub(super) async fn rows_after(
    readers: &Readers,
    after: i64,
    limit: usize,
) -> Result<Vec<Row>, Error> {
    let reading = readers.read(move |connection| {
        let bounds = params![after, limit as i64];
        select(connection, include_str!("read_after.sql"), bounds, as_stored)
    });
    Ok(reading.await?)
}

/// What the statement, which is given stream, sequence and limit, finds of a stream.
pub(super) fn of_stream(
    connection: &Connection,
    sql: &str,
    stream: &StreamId,
    after: u64,
    limit: usize,
) -> Result<Vec<Arc<Recorded>>, Failed> {
    let StreamId { aggregate_type, aggregate_id } = stream;
    let bounds = params![aggregate_type.as_str(), &**aggregate_id, after as i64, limit as i64];
    let found = select(connection, sql, bounds, recorded)?;
    Ok(page(found, after, |event| event.sequence)?)
}
