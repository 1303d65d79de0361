//! How Verbatim reaches `PostgreSQL`.
//!
//! Invariants:
//! - nothing waits for the server without a bound: one that is frozen reads as unavailable;
//! - a connection whose work was cut short, by its caller or by the bound, is closed, never lent
//!   again: nobody knows what it would answer next.

mod migrate;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;

use std::io;
use std::str::FromStr;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::ConnectOptions;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};

pub use migrate::migrate;

/// How long a call may take in all, whatever becomes of the server: who waits for it is told within
/// five seconds that it is unavailable.
pub const PATIENCE: Duration = Duration::from_millis(4_500);

/// How long a connection may take to be had, and then the work on it.
const STEP: Duration = Duration::from_secs(4);

/// How long a transaction may wait for its next statement before the server gives it up, with its
/// locks: a process that is frozen must not hold up the one that takes over from it.
const IDLE_TRANSACTION: &str = "5s";

/// A connection that lay idle for longer is tried before it is lent.
const FRESH: Duration = Duration::from_secs(1);

/// Why the server didn't do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("PostgreSQL can't be reached: {0}")]
    Unreachable(#[source] sqlx::Error),
    /// The connection was lost or given up on: what was asked for may have been done, or may yet be.
    #[error("PostgreSQL did not answer: {0}")]
    Unknown(#[source] sqlx::Error),
    /// It answered, with an error: nothing was done.
    #[error("PostgreSQL refused: {0}")]
    Refused(#[source] sqlx::Error),
    /// The schema is a newer version's, or can't be brought up to date.
    #[error("cannot bring the schema {schema} up to date: {source}")]
    Migrate {
        schema: &'static str,
        #[source]
        source: sqlx::migrate::MigrateError,
    },
}

/// A database, and some connections to it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Database {
    pool: PgPool,
}

impl Database {
    /// Reaches the database at `url` with up to `connections` at once.
    ///
    /// # Errors
    /// [`Error::Unreachable`], also when the URL is none.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let options = PgConnectOptions::from_str(url)
            .map_err(Error::Unreachable)?
            .application_name("verbatim");
        Self::connect_with(options, connections).await
    }

    /// As [`connect`](Self::connect), with options of the caller's.
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn connect_with(options: PgConnectOptions, connections: u32) -> Result<Self, Error> {
        let pool = PgPoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(STEP)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= FRESH {
                        sqlx::Connection::ping(connection).await?;
                    }
                    Ok(true)
                })
            })
            .connect_lazy_with(
                options
                    .options([("idle_in_transaction_session_timeout", IDLE_TRANSACTION)])
                    .statement_cache_capacity(256)
                    .disable_statement_logging(),
            );
        let database = Self { pool };
        database.run(|connection| Box::pin(sqlx::Connection::ping(connection))).await?;
        Ok(database)
    }

    /// Runs `work` on a connection, within [`PATIENCE`] in all. For what only asks: if the caller goes
    /// away, what it has begun is cut short.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run<T, W>(&self, work: W) -> Result<T, Error>
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        match tokio::time::timeout(PATIENCE, self.run_within(STEP, work)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Unknown(io::Error::from(io::ErrorKind::TimedOut).into())),
        }
    }

    /// As [`run`](Self::run), to its end whatever becomes of the caller: for what changes something.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_to_end<T, W>(&self, work: W) -> Result<T, Error>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>
            + Send
            + 'static,
    {
        let database = self.clone();
        // Boxed: the runtime's part is compiled anew for each type of task.
        let running = async move { database.run(work).await }.boxed();
        match tokio::spawn(running).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Unknown(io::Error::other(error).into())),
        }
    }

    /// As [`run`](Self::run), with a bound of the caller's on the work.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run_within<T, W>(&self, limit: Duration, work: W) -> Result<T, Error>
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        let connection = self.pool.acquire().await.map_err(Error::Unreachable)?;
        let mut lent = Lent(Some(connection));
        let Some(connection) = &mut lent.0 else { unreachable!("it was put there just now") };
        let outcome = match tokio::time::timeout(limit, work(connection)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(sqlx::Error::Io(io::ErrorKind::TimedOut.into())),
        };
        match outcome {
            Err(error) if is_broken(&error) => Err(Error::Unknown(error)),
            outcome => {
                // Unharmed: back to the others. The pool tries it before, and would wait for the
                // answer of a frozen server without a bound.
                if let Some(mut connection) = lent.0.take() {
                    tokio::spawn(tokio::time::timeout(STEP, connection.return_to_pool()));
                }
                outcome.map_err(Error::Refused)
            }
        }
    }

    /// Connections for work that looks after itself. Prefer [`run`](Self::run).
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes all connections.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// A connection that is closed unless it is taken out unharmed.
struct Lent(Option<PoolConnection<Postgres>>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// Whether an error tells of the connection rather than of what was asked.
fn is_broken(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Database(error) => {
            // The server is going down, or took the connection away.
            error.code().is_some_and(|code| code.starts_with("57P") || code.starts_with("08"))
        }
        sqlx::Error::RowNotFound
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnIndexOutOfBounds { .. }
        | sqlx::Error::ColumnNotFound(_)
        | sqlx::Error::ColumnDecode { .. }
        | sqlx::Error::Decode(_)
        | sqlx::Error::Encode(_) => false,
        _ => true,
    }
}
