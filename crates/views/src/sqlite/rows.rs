//! Rows and errors, as the port has them.

use sqlx::sqlite::SqliteRow;
use sqlx::{Decode, Row, Sqlite, Type};

use crate::Error;
use crate::rows::Columns;

/// `SQLite`'s primary result codes of a damaged file, a broken constraint and a file that is none.
const DAMAGED: [i32; 3] = [11, 19, 26];

/// The one of a statement that doesn't fit the schema, among others.
pub(super) const GENERIC_ERROR: i32 = 1;

/// How an error of the database reads: a broken constraint or an unreadable value is an event or a
/// row that can't be; everything else may pass.
pub(super) fn failed(error: sqlx::Error) -> Error {
    if damaged(&error) {
        Error::Corrupt(error.to_string())
    } else {
        Error::Unavailable(Box::new(error))
    }
}

/// As [`failed`], on the connection that writes.
pub(super) fn not_written(error: rusqlite::Error) -> Error {
    if file_damaged(&error) {
        Error::Corrupt(error.to_string())
    } else {
        Error::Unavailable(Box::new(error))
    }
}

pub(super) fn file_damaged(error: &rusqlite::Error) -> bool {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(error, _) => DAMAGED.contains(&(error.extended_code & 0xff)),
        E::FromSqlConversionFailure(..)
        | E::IntegralValueOutOfRange(..)
        | E::InvalidColumnType(..)
        | E::Utf8Error(_) => true,
        _ => false,
    }
}

pub(super) fn damaged(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        || primary_code(error).is_some_and(|code| DAMAGED.contains(&code))
}

/// `SQLite`'s result code, without what extends it.
pub(super) fn primary_code(error: &sqlx::Error) -> Option<i32> {
    let code = error.as_database_error()?.code()?;
    code.parse::<i32>().ok().map(|code| code & 0xff)
}

pub(super) fn column<'r, T>(row: &'r SqliteRow, index: usize) -> Result<T, Error>
where
    T: Decode<'r, Sqlite> + Type<Sqlite>,
{
    row.try_get(index).map_err(failed)
}

impl Columns for SqliteRow {
    fn integer(&self, index: usize) -> Result<Option<i64>, Error> {
        column(self, index)
    }

    fn word(&self, index: usize) -> Result<Option<&str>, Error> {
        column(self, index)
    }

    fn written(&self, index: usize) -> Result<Option<String>, Error> {
        column(self, index)
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        column(self, index)
    }

    fn excerpt(&self, index: usize) -> Result<String, Error> {
        column(self, index)
    }
}
