//! Rows and errors, as the port has them.

use sqlx::postgres::PgRow;
use sqlx::{Decode, Postgres, Row, Type};

use verbatim_protocol::client::Notification;

use crate::Error;
use crate::rows::Columns;

/// A broken constraint or an unreadable value is an event or a row that can't be; everything else may
/// pass.
impl From<verbatim_postgres::Error> for Error {
    fn from(error: verbatim_postgres::Error) -> Self {
        match error {
            verbatim_postgres::Error::Refused(error) if damaged(&error) => {
                Self::Corrupt(error.to_string())
            }
            other => Self::Unavailable(Box::new(other)),
        }
    }
}

/// Class 23 of `PostgreSQL`'s codes are broken constraints.
fn damaged(error: &sqlx::Error) -> bool {
    matches!(error, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_))
        || error
            .as_database_error()
            .and_then(sqlx::error::DatabaseError::code)
            .is_some_and(|code| code.starts_with("23"))
}

pub(super) fn column<'r, T>(row: &'r PgRow, index: usize) -> Result<T, Error>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
{
    row.try_get(index).map_err(|error| Error::Corrupt(error.to_string()))
}

impl Columns for PgRow {
    fn integer(&self, index: usize) -> Result<Option<i64>, Error> {
        column(self, index)
    }

    fn word(&self, index: usize) -> Result<Option<&str>, Error> {
        column(self, index)
    }

    fn written(&self, index: usize) -> Result<Option<String>, Error> {
        let bytes: Option<&[u8]> = column(self, index)?;
        bytes
            .map(|bytes| String::from_utf8(bytes.to_vec()))
            .transpose()
            .map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
    }

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, Error> {
        column(self, index)
    }

    fn excerpt(&self, index: usize) -> Result<String, Error> {
        // The last character may be cut; it lies beyond those that are shown.
        let beginning: &[u8] = column(self, index)?;
        Ok(Notification::excerpt(&String::from_utf8_lossy(beginning)).to_owned())
    }
}
