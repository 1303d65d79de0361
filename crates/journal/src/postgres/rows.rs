//! Rows to events.

use std::sync::Arc;

use sqlx::Row;
use sqlx::postgres::PgRow;
use verbatim_protocol::Recorded;

use super::Failed;
use crate::stored::{Stored, unreadable};

/// Reads an event back, from the columns in the order of `read_after.sql`, the `first` of the row on.
pub(super) fn recorded(row: &PgRow, first: usize) -> Result<Arc<Recorded>, Failed> {
    let position: i64 = row.try_get(first)?;
    let at = |error: &dyn std::error::Error| Failed::Corrupt(unreadable(position, error));
    let text = |column: usize| row.try_get::<&str, _>(first + column).map_err(|error| at(&error));
    let number = |column: usize| row.try_get::<i64, _>(first + column).map_err(|error| at(&error));
    let issuer: Option<&str> = row.try_get(first + 9).map_err(|error| at(&error))?;
    let key: Option<&[u8]> = row.try_get(first + 10).map_err(|error| at(&error))?;
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
        issuer,
        key: key.map(str::from_utf8).transpose().map_err(|error| at(&error))?,
    };
    stored.read().map_err(Failed::Corrupt)
}
