//! Who runs a role.

use std::time::Duration;

use uuid::Uuid;
use verbatim_postgres::Database;

use crate::{Epoch, Error};

/// The roles of which one process at a time may do the work, and who has them. A lease ends by the
/// database's clock.
#[derive(Debug, Clone)]
pub struct Leases {
    database: Database,
}

impl Leases {
    /// The leases in a database with the tables of [`PostgresState`](super::PostgresState).
    #[must_use]
    pub fn new(database: &Database) -> Self {
        Self { database: database.clone() }
    }

    /// Takes the role if it is nobody's, or its lease has run out, or it is this worker's already,
    /// and raises its epoch. `None` if it is another's.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the role may have been taken all the same.
    pub async fn acquire(
        &self,
        role: &str,
        worker: Uuid,
        lease: Duration,
    ) -> Result<Option<Epoch>, Error> {
        let role = role.to_owned();
        let raised: Option<i64> = self
            .database
            .run_to_end(move |connection| {
                Box::pin(
                    sqlx::query_scalar(
                        "select state.acquire_role($1, $2, make_interval(secs => $3))",
                    )
                    .bind(role)
                    .bind(worker.to_string())
                    .bind(lease.as_secs_f64())
                    .fetch_one(connection),
                )
            })
            .await?;
        Ok(raised.map(|epoch| epoch as u64))
    }

    /// Makes the lease end so much later than now. `false` if the role is no longer the worker's.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn renew(
        &self,
        role: &str,
        worker: Uuid,
        epoch: Epoch,
        lease: Duration,
    ) -> Result<bool, Error> {
        let role = role.to_owned();
        let renewed = self
            .database
            .run_to_end(move |connection| {
                Box::pin(
                    sqlx::query(include_str!("renew_role.sql"))
                        .bind(role)
                        .bind(worker.to_string())
                        .bind(epoch as i64)
                        .bind(lease.as_secs_f64())
                        .execute(connection),
                )
            })
            .await?;
        Ok(renewed.rows_affected() == 1)
    }

    /// Gives the role back, so that another need not wait for the lease's end. What is no longer
    /// the worker's stays as it is.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    pub async fn release(&self, role: &str, worker: Uuid, epoch: Epoch) -> Result<(), Error> {
        let role = role.to_owned();
        self.database
            .run_to_end(move |connection| {
                Box::pin(
                    sqlx::query(include_str!("release_role.sql"))
                        .bind(role)
                        .bind(worker.to_string())
                        .bind(epoch as i64)
                        .execute(connection),
                )
            })
            .await?;
        Ok(())
    }
}
