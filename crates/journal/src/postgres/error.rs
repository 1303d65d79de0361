//! Failures of `PostgreSQL`, sorted by what the caller does about them.

use std::sync::Arc;

use verbatim_postgres::Error as Postgres;

use crate::Error;

/// `data_corrupted` and `index_corrupted`.
const CORRUPT: [&str; 2] = ["XX001", "XX002"];

/// A failure that can be told to each who waited for the same call.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Failed {
    #[error(transparent)]
    Unavailable(Arc<Postgres>),
    #[error("{0}")]
    Corrupt(String),
}

impl Failed {
    /// Whether the database could not be reached or did not answer, as opposed to having refused.
    pub(super) fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(error) => {
                matches!(**error, Postgres::Unreachable(_) | Postgres::Unknown(_))
            }
            Self::Corrupt(_) => false,
        }
    }
}

impl From<Postgres> for Failed {
    fn from(error: Postgres) -> Self {
        let corrupt = match &error {
            Postgres::Refused(sqlx::Error::Database(error)) => {
                error.code().is_some_and(|code| CORRUPT.contains(&&*code))
            }
            Postgres::Refused(sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => true,
            _ => false,
        };
        if corrupt { Self::Corrupt(error.to_string()) } else { Self::Unavailable(Arc::new(error)) }
    }
}

/// What is wrong with an answer.
impl From<sqlx::Error> for Failed {
    fn from(error: sqlx::Error) -> Self {
        Postgres::Refused(error).into()
    }
}

impl From<Postgres> for Error {
    fn from(error: Postgres) -> Self {
        Failed::from(error).into()
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
