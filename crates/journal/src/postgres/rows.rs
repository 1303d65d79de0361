//! Rows to events.

use std::sync::Arc;

use sqlx::Row as _;
use sqlx::postgres::PgRow;
use verbatim_protocol::Recorded;

use super::Failed;
use crate::Row;
use crate::stored::{Stored, unreadable};

/// Reads an event back, from the columns in the order of `read_after.sql`, the `first` of the row on.
pub(super) fn recorded(row: &PgRow, first: usize) -> Result<Arc<Recorded>, Failed> {
    stored(row, first)?.read().map_err(Failed::Corrupt)
}

/// A row as it is, from the same columns.
pub(super) fn as_stored(row: &PgRow) -> Result<Row, Failed> {
    let position = row.try_get(0)?;
    let stored = stored(row, 0).map(Stored::to_owned).map_err(|failed| failed.to_string());
    Ok(Row { position, stored })
}

fn stored(row: &PgRow, first: usize) -> Result<Stored<'_>, Failed> {
    let position: i64 = row.try_get(first)?;
    let at = |error: &dyn std::error::Error| Failed::Corrupt(unreadable(position, error));
    let text = |column: usize| row.try_get::<&str, _>(first + column).map_err(|error| at(&error));
    let number = |column: usize| row.try_get::<i64, _>(first + column).map_err(|error| at(&error));
    let issuer: Option<&str> = row.try_get(first + 9).map_err(|error| at(&error))?;
    let key: Option<&[u8]> = row.try_get(first + 10).map_err(|error| at(&error))?;
    Ok(Stored {
        position,
        aggregate_type: text(1)?,
        aggregate_id: text(2)?,
        sequence: number(3)?,
        event_type: text(4)?,
        event_version: text(5)?,
        payload: text(6)?,
        metadata: text(7)?,
        recorded_at: number(8)?,
        issuer,
        key: key.map(str::from_utf8).transpose().map_err(|error| at(&error))?,
    })
}
