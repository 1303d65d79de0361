//! Rows and errors, as the port has them.

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Params, Row};

use crate::Error;
use crate::rows::{Columns, number, word};

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

impl From<rusqlite::Error> for Error {
    fn from(error: rusqlite::Error) -> Self {
        if file_damaged(&error) {
            Self::Corrupt(error.to_string())
        } else {
            Self::Unavailable(Box::new(error))
        }
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

/// The first that a statement gives, if it gives any.
pub(super) fn first<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, Error>,
) -> Result<Option<T>, Error> {
    let mut select = connection.prepare_cached(sql)?;
    select.query(params)?.next()?.map(read).transpose()
}

/// The number that a statement always gives.
pub(super) fn only(connection: &Connection, sql: &str, params: impl Params) -> Result<u64, Error> {
    let found = first(connection, sql, params, |row| number(row, 0))?;
    found.ok_or_else(|| Error::Corrupt("a number is missing".to_owned()))
}

fn unexpected<T>(index: usize, value: ValueRef<'_>) -> Result<T, Error> {
    Err(Error::Corrupt(format!("column {index} holds {}", value.data_type())))
}

impl Columns for Row<'_> {
    fn integer(&self, index: usize) -> Result<Option<i64>, Error> {
        match self.get_ref(index)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(value) => Ok(Some(value)),
            other => unexpected(index, other),
        }
    }

    fn word(&self, index: usize) -> Result<Option<&str>, Error> {
        match self.get_ref(index)? {
            ValueRef::Null => Ok(None),
            ValueRef::Text(value) => {
                let word = str::from_utf8(value);
                word.map(Some).map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
            }
            other => unexpected(index, other),
        }
    }

    fn written(&self, index: usize) -> Result<Option<String>, Error> {
        Ok(self.word(index)?.map(str::to_owned))
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        match self.get_ref(index)? {
            ValueRef::Null => Ok(None),
            ValueRef::Blob(value) => Ok(Some(value)),
            other => unexpected(index, other),
        }
    }

    fn excerpt(&self, index: usize) -> Result<String, Error> {
        word(self, index).map(str::to_owned)
    }
}
