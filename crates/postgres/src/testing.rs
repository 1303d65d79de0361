//! Databases for tests, and a way to them that can be blocked.

mod proxy;

use std::str::FromStr;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgDatabaseError};
use sqlx::{Connection, Executor};
use uuid::Uuid;

pub use proxy::Proxy;

use crate::Database;

/// Where the server is, as `scripts/services start` says.
pub const SERVER: &str = "VERBATIM_TEST_DATABASE_URL";

/// A new, empty database on the test server, which is removed with the server.
#[derive(Debug, Clone)]
pub struct TestDatabase {
    options: PgConnectOptions,
    url: String,
}

impl TestDatabase {
    /// # Panics
    /// Without a server to make it on: no test passes because it could not be tried.
    pub async fn create() -> Self {
        let server = std::env::var(SERVER)
            .unwrap_or_else(|_| panic!("{SERVER} is not set: eval \"$(scripts/services start)\""));
        let name = format!("test_{}", Uuid::now_v7().simple());
        let options = PgConnectOptions::from_str(&server).expect("the test server's URL");
        let mut connection =
            PgConnection::connect_with(&options).await.expect("the test server answers");
        // Copying the template by its files would make the whole server wait for a checkpoint.
        let create = format!("create database {name} strategy wal_log");
        connection.execute(create.as_str()).await.expect("a database is made");
        let (base, _) = server.rsplit_once('/').expect("the URL names a database");
        Self { options: options.database(&name), url: format!("{base}/{name}") }
    }

    /// Connects to it.
    pub async fn connect(&self) -> Database {
        Database::connect_with(self.options.clone(), 16).await.expect("the database answers")
    }

    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }
}

/// The name of the broken constraint, where that is what an error is about.
#[must_use]
pub fn broken_constraint(error: &sqlx::Error) -> Option<&str> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?.constraint()
}
