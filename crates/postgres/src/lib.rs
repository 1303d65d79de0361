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
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgPool, PgPoolOptions};
use sqlx::{ConnectOptions, Connection, Postgres};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use migrate::migrate;

/// How long a call may take in all, whatever becomes of the server: who waits for it is told within
/// five seconds that it is unavailable.
pub const PATIENCE: Duration = Duration::from_millis(4_500);

/// For a transaction that removes what nobody needs any more, and may wait for who still has it: longer than
/// the second (`deadlock_timeout`) after which the server calls an automatic vacuum off.
pub const OUTLAST_VACUUM: &str = "set local lock_timeout = '1200ms'";

/// How long each may take: to have a place, to have a connection, and then the work on it.
const STEP: Duration = Duration::from_secs(4);

/// How long a transaction may wait for its next statement before the server gives it up, with its
/// locks: a process that is frozen must not hold up the one that takes over from it.
const IDLE_TRANSACTION: &str = "5s";

/// A connection that lay idle for longer is tried before it is lent.
const FRESH: Duration = Duration::from_secs(1);

/// A connection that the pool gave so long ago is closed after use: its server's process has kept much.
const OLD: Duration = Duration::from_mins(30);

/// Connections beyond those that may be used at once, for work that looks after itself.
const UNCOUNTED: u32 = 4;

/// A connection that nobody needed for so long may be closed.
const LONG_IDLE: Duration = Duration::from_mins(1);

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
    kept: Arc<Kept>,
}

/// Connections that nobody uses, the last used at the end. The pool asks the server after each use
/// whether the connection is all right, which is as much work as most questions are; after a mere
/// question it is, and is kept here. To the pool all of these are in use.
#[derive(Debug)]
struct Kept {
    /// As many as may be used at once. Given back only after the connection: who has a place finds one
    /// here, or the pool has room.
    places: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
}

#[derive(Debug)]
struct Idle {
    /// When the pool gave it.
    since: Instant,
    used: Instant,
    connection: PoolConnection<Postgres>,
}

/// A connection that was lent and is unharmed.
struct Unharmed {
    since: Instant,
    connection: PoolConnection<Postgres>,
    /// Given back last.
    place: OwnedSemaphorePermit,
}

impl Database {
    /// Reaches the database at `url`, with up to `connections` for work that is [run](Self::run) at once.
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
            .max_connections(connections + UNCOUNTED)
            .acquire_timeout(STEP)
            .test_before_acquire(false)
            .before_acquire(|connection, meta| {
                Box::pin(async move {
                    if meta.idle_for >= FRESH {
                        connection.ping().await?;
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
        let kept =
            Kept { places: Arc::new(Semaphore::new(connections as usize)), idle: Mutex::default() };
        let database = Self { pool, kept: Arc::new(kept) };
        database.run(|connection| connection.ping()).await?;
        Ok(database)
    }

    /// Runs `work` on a connection, within [`PATIENCE`] in all. For statements that are each a transaction by
    /// themselves: if the caller goes away, what it has begun is cut short, and a transaction that it left
    /// open would stay so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn run<T, W>(&self, work: W) -> Result<T, Error>
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        patiently(self.run_within(STEP, work)).await
    }

    /// As [`run`](Self::run), to its end whatever becomes of the caller: for what changes something. A
    /// transaction that it leaves open is rolled back.
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
        let running = async move {
            let changing = async {
                let (outcome, lent) = database.lend(STEP, work).await;
                // Back to the pool, which tries it before, and would wait for the answer of a frozen
                // server without a bound.
                if let Some(Unharmed { mut connection, place, .. }) = lent {
                    tokio::spawn(async move {
                        drop(tokio::time::timeout(STEP, connection.return_to_pool()).await);
                        drop(place);
                    });
                }
                outcome
            };
            patiently(changing).await
        };
        let running = running.boxed();
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
        let (outcome, lent) = self.lend(limit, work).await;
        if let Some(unharmed) = lent {
            self.keep(unharmed);
        }
        outcome
    }

    /// Lends `work` a connection, and gives it back if it is unharmed.
    async fn lend<T, W>(&self, limit: Duration, work: W) -> (Result<T, Error>, Option<Unharmed>)
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>,
    {
        let place = Arc::clone(&self.kept.places).acquire_owned();
        let Ok(Ok(place)) = tokio::time::timeout(STEP, place).await else {
            return (Err(Error::Unreachable(sqlx::Error::PoolTimedOut)), None);
        };
        let (since, mut lent) = match self.take().await {
            Ok((since, connection)) => (since, Lent(Some(connection))),
            Err(error) => return (Err(error), None),
        };
        let Some(connection) = &mut lent.0 else { unreachable!("it was put there just now") };
        let outcome = match tokio::time::timeout(limit, work(connection)).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(error)) if !is_broken(&error) => Err(Error::Refused(error)),
            Ok(Err(error)) => return (Err(Error::Unknown(error)), None),
            Err(_) => return (Err(timed_out()), None),
        };
        let unharmed = lent.0.take().map(|connection| Unharmed { since, connection, place });
        (outcome, unharmed)
    }

    /// A connection for work that looks after itself. Prefer [`run`](Self::run).
    ///
    /// # Errors
    /// [`Error::Unreachable`].
    pub async fn acquire(&self) -> Result<PoolConnection<Postgres>, Error> {
        self.take().await.map(|(_, connection)| connection)
    }

    /// A connection, and when the pool gave it.
    async fn take(&self) -> Result<(Instant, PoolConnection<Postgres>), Error> {
        let taking = async {
            loop {
                let Some(Idle { since, used, connection }) = self.kept.idle().pop() else {
                    let connection = self.pool.acquire().await.map_err(Error::Unreachable)?;
                    return Ok((Instant::now(), connection));
                };
                let mut lent = Lent(Some(connection));
                let Some(connection) = &mut lent.0 else { unreachable!("it was put there") };
                let is_good = used.elapsed() < FRESH || connection.ping().await.is_ok();
                if is_good && let Some(connection) = lent.0.take() {
                    return Ok((since, connection));
                }
            }
        };
        let taken = tokio::time::timeout(STEP, taking).await;
        taken.unwrap_or(Err(Error::Unreachable(sqlx::Error::PoolTimedOut)))
    }

    /// Keeps a connection for the next who asks, unless it is old, and closes one that was long not
    /// needed.
    fn keep(&self, Unharmed { since, connection, place }: Unharmed) {
        let mut closing = Vec::new();
        if since.elapsed() < OLD && !self.pool.is_closed() {
            let mut idle = self.kept.idle();
            idle.push(Idle { since, used: Instant::now(), connection });
            if idle[0].used.elapsed() >= LONG_IDLE {
                closing.push(idle.remove(0).connection);
            }
        } else {
            closing.push(connection);
        }
        drop(place);
        if self.pool.is_closed() {
            closing.extend(self.kept.take_all());
        }
        for connection in closing {
            tokio::spawn(tokio::time::timeout(STEP, connection.close()));
        }
    }

    /// What is lent, and how it is set up.
    #[must_use]
    pub fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// Closes all connections.
    pub async fn close(&self) {
        let closing = self.pool.close();
        let closed =
            |connection: PoolConnection<Postgres>| tokio::time::timeout(STEP, connection.close());
        futures::future::join_all(self.kept.take_all().map(closed)).await;
        closing.await;
    }
}

impl Kept {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_all(&self) -> impl Iterator<Item = PoolConnection<Postgres>> + use<> {
        std::mem::take(&mut *self.idle()).into_iter().map(|idle| idle.connection)
    }
}

/// # Errors
/// Those of the work; [`Error::Unknown`] after [`PATIENCE`].
async fn patiently<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(timed_out()))
}

fn timed_out() -> Error {
    Error::Unknown(io::Error::from(io::ErrorKind::TimedOut).into())
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
