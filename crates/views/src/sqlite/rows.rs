//! Rows and errors, as the port has them.

use rusqlite::types::Value;
use rusqlite::{Connection, Params};

use crate::Error;
use crate::rows::{Columns, word};

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

/// A row of a statement that was read.
pub(super) struct Row(Vec<Value>);

/// All rows that a statement gives.
pub(super) fn select(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<Vec<Row>, Error> {
    let mut select = connection.prepare_cached(sql)?;
    let columns = select.column_count();
    let rows = select.query_map(params, |row| {
        (0..columns).map(|index| row.get(index)).collect::<Result<_, _>>().map(Row)
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn unexpected<T>(index: usize, value: &Value) -> Result<T, Error> {
    Err(Error::Corrupt(format!("column {index} holds {}", value.data_type())))
}

impl Columns for Row {
    fn integer(&self, index: usize) -> Result<Option<i64>, Error> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Integer(value) => Ok(Some(*value)),
            other => unexpected(index, other),
        }
    }

    fn word(&self, index: usize) -> Result<Option<&str>, Error> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Text(value) => Ok(Some(value)),
            other => unexpected(index, other),
        }
    }

    fn written(&self, index: usize) -> Result<Option<String>, Error> {
        Ok(self.word(index)?.map(str::to_owned))
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        match &self.0[index] {
            Value::Null => Ok(None),
            Value::Blob(value) => Ok(Some(value)),
            other => unexpected(index, other),
        }
    }

    fn excerpt(&self, index: usize) -> Result<String, Error> {
        word(self, index).map(str::to_owned)
    }
}
