//! The database, within a bound.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use verbatim_postgres::{Database, Error};

use super::Failed;

/// How long the database may take in all, to be reached and to answer: a caller is told that it is
/// unavailable within 5 s.
pub(super) const PATIENCE: Duration = Duration::from_millis(4_500);

/// What is asked of a connection.
pub(super) type Asked<'c, T> = Pin<Box<dyn Future<Output = Result<T, sqlx::Error>> + Send + 'c>>;

#[derive(Debug, Clone)]
pub(super) struct Reach(pub(super) Database);

impl Reach {
    /// Asks something that changes nothing.
    pub(super) async fn ask<T, W>(&self, work: W) -> Result<T, Failed>
    where
        W: for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T>,
    {
        match tokio::time::timeout(PATIENCE, self.0.run(work)).await {
            Ok(outcome) => Ok(outcome?),
            Err(_) => Err(Error::Unknown(io::Error::from(io::ErrorKind::TimedOut).into()).into()),
        }
    }

    /// Has something done, by a task, so that a caller that goes away leaves nothing half done.
    pub(super) async fn tell<T, W>(&self, work: W) -> Result<T, Failed>
    where
        T: Send + 'static,
        W: for<'c> FnOnce(&'c mut PgConnection) -> Asked<'c, T> + Send + 'static,
    {
        let reach = self.clone();
        match tokio::spawn(async move { reach.ask(work).await }).await {
            Ok(outcome) => outcome,
            Err(error) => Err(Error::Unknown(io::Error::other(error).into()).into()),
        }
    }
}
