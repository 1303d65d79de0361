//! Events to rows and back.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Row, params};
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, Recorded};

use super::Failed;
use super::recent::Entries;
use crate::stored::{Stored, unreadable};

/// An event to insert, its payload already written down.
#[derive(Debug)]
pub(super) struct NewRow {
    pub recorded: Arc<Recorded>,
    pub payload: String,
}

/// Inserts events.
pub(super) fn append_events(
    connection: &Connection,
    rows: &[NewRow],
) -> Result<(), rusqlite::Error> {
    let mut append = connection.prepare_cached(include_str!("append_event.sql"))?;
    for NewRow { recorded, payload } in rows {
        let Recorded { position, stream, sequence, recorded_at, command, metadata, event, .. } =
            &**recorded;
        append.execute(params![
            *position as i64,
            stream.aggregate_type.as_str(),
            &*stream.aggregate_id,
            *sequence as i64,
            event.event_type(),
            recorded.event_version(),
            payload,
            &**metadata,
            recorded_at.0,
            command.as_ref().map(|command| &*command.issuer),
            command.as_ref().map(|command| &*command.key),
        ])?;
    }
    Ok(())
}

/// Inserts keys into the index tables.
pub(super) fn enter(connection: &Connection, entries: &Entries) -> Result<(), rusqlite::Error> {
    let mut enter = connection.prepare_cached(include_str!("enter_event.sql"))?;
    for ((stream, sequence), position) in &entries.streams {
        enter.execute(params![
            stream.aggregate_type.as_str(),
            &*stream.aggregate_id,
            *sequence as i64,
            *position as i64,
        ])?;
    }
    let mut enter = connection.prepare_cached(include_str!("enter_command.sql"))?;
    for (key, position) in &entries.commands {
        enter.execute(params![&*key.issuer, &*key.key, *position as i64])?;
    }
    Ok(())
}

/// The last event of the command that used this key and is entered.
pub(super) fn find_command(
    connection: &Connection,
    key: &CommandKey,
) -> Result<Option<Arc<Recorded>>, Failed> {
    let mut find = connection.prepare_cached(include_str!("find_command.sql"))?;
    let mut rows = find.query(params![&*key.issuer, &*key.key])?;
    rows.next()?.map(recorded).transpose()
}

/// The event at this position.
pub(super) fn read_position(
    connection: &Connection,
    position: u64,
) -> Result<Option<Arc<Recorded>>, Failed> {
    let mut read = connection.prepare_cached(include_str!("read_position.sql"))?;
    let mut rows = read.query([position as i64])?;
    rows.next()?.map(recorded).transpose()
}

/// The last sequence of a stream that is entered, 0 if none is.
pub(super) fn find_head(
    connection: &Connection,
    stream: &StreamId,
) -> Result<u64, rusqlite::Error> {
    connection
        .prepare_cached(include_str!("find_head.sql"))?
        .query_row(params![stream.aggregate_type.as_str(), &*stream.aggregate_id], |row| {
            row.get::<_, Option<i64>>(0)
        })
        .optional()
        .map(|head| head.flatten().unwrap_or(0) as u64)
}

/// Where an event stands, and whose it is.
pub(super) struct Place {
    pub position: u64,
    pub stream: StreamId,
    pub sequence: u64,
    pub command: Option<CommandKey>,
}

/// Reads position, stream, sequence and key, in this order.
pub(super) fn place(row: &Row<'_>) -> Result<Place, Failed> {
    let position: i64 = row.get(0)?;
    let aggregate_type = row.text(1)?;
    let aggregate_type =
        aggregate_type.parse().map_err(|error| Failed::Corrupt(unreadable(position, &error)))?;
    let key = row.optional(4)?.zip(row.optional(5)?);
    Ok(Place {
        position: position as u64,
        stream: StreamId { aggregate_type, aggregate_id: row.text(2)?.into() },
        sequence: row.get::<_, i64>(3)? as u64,
        command: key.map(|(issuer, key)| CommandKey { issuer: issuer.into(), key: key.into() }),
    })
}

/// A column's text, as it lies in the row.
trait Columns {
    fn text(&self, column: usize) -> Result<&str, rusqlite::Error>;
    fn optional(&self, column: usize) -> Result<Option<&str>, rusqlite::Error>;
}

impl Columns for Row<'_> {
    fn text(&self, column: usize) -> Result<&str, rusqlite::Error> {
        Ok(self.get_ref(column)?.as_str()?)
    }

    fn optional(&self, column: usize) -> Result<Option<&str>, rusqlite::Error> {
        Ok(self.get_ref(column)?.as_str_or_null()?)
    }
}

/// Reads an event back, from the columns in the table's order.
pub(super) fn recorded(row: &Row<'_>) -> Result<Arc<Recorded>, Failed> {
    stored(row)?.read().map_err(Failed::Corrupt)
}

/// A row as it is, from the columns in the table's order.
pub(super) fn as_stored(row: &Row<'_>) -> Result<crate::Row, Failed> {
    let position = row.get(0)?;
    let stored = stored(row).map(Stored::to_owned).map_err(|failed| failed.to_string());
    Ok(crate::Row { position, stored })
}

fn stored<'r>(row: &'r Row<'_>) -> Result<Stored<'r>, Failed> {
    let position = row.get(0)?;
    let at = |error: rusqlite::Error| Failed::Corrupt(unreadable(position, &error));
    Ok(Stored {
        position,
        aggregate_type: row.text(1).map_err(at)?,
        aggregate_id: row.text(2).map_err(at)?,
        sequence: row.get(3).map_err(at)?,
        event_type: row.text(4).map_err(at)?,
        event_version: row.text(5).map_err(at)?,
        payload: row.text(6).map_err(at)?,
        metadata: row.text(7).map_err(at)?,
        recorded_at: row.get(8).map_err(at)?,
        issuer: row.optional(9).map_err(at)?,
        key: row.optional(10).map_err(at)?,
    })
}
