//! Failures of `SQLite`, sorted by what the caller does about them.

use std::sync::Arc;

use verbatim_sqlite::Closed;

use crate::Error;

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`, without what extends them.
const CORRUPT: [i32; 2] = [11, 26];

/// A failure that can be told to each who waited for the same transaction.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Unavailable(Arc<dyn std::error::Error + Send + Sync>),
    #[error("{0}")]
    Corrupt(String),
}

impl Failed {
    fn new(error: impl std::error::Error + Send + Sync + 'static, corrupt: bool) -> Self {
        if corrupt { Self::Corrupt(error.to_string()) } else { Self::Unavailable(Arc::new(error)) }
    }
}

impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        let corrupt = match &error {
            sqlx::Error::Database(error) => error
                .code()
                .and_then(|code| code.parse::<i32>().ok())
                .is_some_and(|code| CORRUPT.contains(&(code & 0xff))),
            sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => true,
            _ => false,
        };
        Self::new(error, corrupt)
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::Error as E;
        let corrupt = match &error {
            E::SqliteFailure(error, _) => CORRUPT.contains(&(error.extended_code & 0xff)),
            E::FromSqlConversionFailure(..)
            | E::IntegralValueOutOfRange(..)
            | E::Utf8Error(_)
            | E::InvalidColumnType(..) => true,
            _ => false,
        };
        Self::new(error, corrupt)
    }
}

impl From<Closed> for Failed {
    fn from(error: Closed) -> Self {
        Self::new(error, false)
    }
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(error) => Self::Unavailable(error.into()),
            Error::Corrupt(what) => Self::Corrupt(what),
        }
    }
}

impl From<Failed> for Error {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Unavailable(error) => Self::Unavailable(Box::new(error)),
            Failed::Corrupt(what) => Self::Corrupt(what),
        }
    }
}
