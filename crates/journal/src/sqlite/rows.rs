//! Events to rows and back.

use std::sync::{Arc, LazyLock};

use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};
use sqlx::{Arguments, Row};
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, Recorded};

use super::Failed;
use crate::stored::{Stored, unreadable};

/// The most rows that one statement inserts or looks for. A statement is prepared for each power of
/// two up to it: few enough that all stay prepared.
const MAX_ROWS: usize = 256;

static APPEND_EVENTS: LazyLock<Vec<String>> = LazyLock::new(|| {
    statements(include_str!("append_events.sql"), "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)")
});
static FIND_COMMANDS: LazyLock<Vec<String>> =
    LazyLock::new(|| statements(include_str!("find_commands.sql"), "(?, ?)"));
static FIND_HEADS: LazyLock<Vec<String>> =
    LazyLock::new(|| statements(include_str!("find_heads.sql"), "(?, ?, ?)"));

/// The statement for 1, 2, 4 … [`MAX_ROWS`] rows.
fn statements(sql: &str, row: &str) -> Vec<String> {
    (0..=MAX_ROWS.ilog2())
        .map(|power| sql.replace("{rows}", &vec![row; 1 << power].join(", ")))
        .collect()
}

/// An event to insert, its payload already written down.
#[derive(Debug)]
pub(super) struct NewRow {
    pub recorded: Arc<Recorded>,
    pub payload: String,
}

/// Inserts events, their payloads taken out of them.
pub(super) async fn append_events(
    connection: &mut SqliteConnection,
    rows: &mut [NewRow],
) -> Result<(), sqlx::Error> {
    let mut rest = rows;
    while !rest.is_empty() {
        let power = rest.len().min(MAX_ROWS).ilog2();
        let (chunk, after) = rest.split_at_mut(1 << power);
        rest = after;
        let mut values = SqliteArguments::default();
        values.reserve(chunk.len() * 11, 0);
        for row in chunk {
            let Recorded { position, stream, sequence, recorded_at, command, metadata, event } =
                &*row.recorded;
            add(&mut values, *position as i64)?;
            add(&mut values, stream.aggregate_type.as_str())?;
            add(&mut values, &*stream.aggregate_id)?;
            add(&mut values, *sequence as i64)?;
            add(&mut values, event.event_type())?;
            add(&mut values, event.event_version())?;
            add(&mut values, std::mem::take(&mut row.payload))?;
            add(&mut values, &**metadata)?;
            add(&mut values, recorded_at.0)?;
            add(&mut values, command.as_ref().map(|command| &*command.issuer))?;
            add(&mut values, command.as_ref().map(|command| &*command.key))?;
        }
        let sql = &APPEND_EVENTS[power as usize];
        sqlx::query_with(sql, values).execute(&mut *connection).await?;
    }
    Ok(())
}

/// The last events of the commands that used these keys, in no order.
pub(super) async fn find_commands(
    connection: &mut SqliteConnection,
    keys: &[&CommandKey],
) -> Result<Vec<SqliteRow>, sqlx::Error> {
    let mut found = Vec::new();
    for chunk in keys.chunks(MAX_ROWS) {
        // The rows that are left over stay null, and null equals nothing.
        let mut values = SqliteArguments::default();
        values.reserve(chunk.len() * 2, 0);
        for key in chunk {
            add(&mut values, &*key.issuer)?;
            add(&mut values, &*key.key)?;
        }
        let sql = &FIND_COMMANDS[power_for(chunk.len())];
        found.append(&mut sqlx::query_with(sql, values).fetch_all(&mut *connection).await?);
    }
    Ok(found)
}

/// The last sequence of each stream, 0 for a new one, in the order given.
pub(super) async fn find_heads(
    connection: &mut SqliteConnection,
    streams: &[StreamId],
) -> Result<Vec<u64>, sqlx::Error> {
    let mut heads = vec![0; streams.len()];
    for (chunk, heads) in streams.chunks(MAX_ROWS).zip(heads.chunks_mut(MAX_ROWS)) {
        let mut values = SqliteArguments::default();
        values.reserve(chunk.len() * 3, 0);
        for (number, stream) in chunk.iter().enumerate() {
            add(&mut values, number as i64)?;
            add(&mut values, stream.aggregate_type.as_str())?;
            add(&mut values, &*stream.aggregate_id)?;
        }
        let sql = &FIND_HEADS[power_for(chunk.len())];
        for row in sqlx::query_with(sql, values).fetch_all(&mut *connection).await? {
            let number: i64 = row.try_get(0)?;
            let head: i64 = row.try_get(1)?;
            heads[number as usize] = head as u64;
        }
    }
    Ok(heads)
}

/// Which of the statements takes this many rows.
fn power_for(rows: usize) -> usize {
    rows.next_power_of_two().ilog2() as usize
}

fn add<'q, T>(values: &mut SqliteArguments<'q>, value: T) -> Result<(), sqlx::Error>
where
    T: 'q + sqlx::Encode<'q, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
{
    values.add(value).map_err(sqlx::Error::Encode)
}

/// Reads an event back, from the columns in the table's order.
pub(super) fn recorded(row: &SqliteRow) -> Result<Arc<Recorded>, Failed> {
    let position: i64 = row.try_get(0)?;
    let at = |error: sqlx::Error| Failed::Corrupt(unreadable(position, &error));
    let text = |column: usize| row.try_get::<&str, _>(column).map_err(at);
    let number = |column: usize| row.try_get::<i64, _>(column).map_err(at);
    let optional = |column: usize| row.try_get::<Option<&str>, _>(column).map_err(at);
    let stored = Stored {
        position,
        aggregate_type: text(1)?,
        aggregate_id: text(2)?,
        sequence: number(3)?,
        event_type: text(4)?,
        event_version: text(5)?,
        payload: text(6)?,
        metadata: text(7)?,
        recorded_at: number(8)?,
        issuer: optional(9)?,
        key: optional(10)?,
    };
    stored.read().map_err(Failed::Corrupt)
}
