//! The keys in `PostgreSQL`, in the schema `keys`. Several processes may have it open.

use async_trait::async_trait;
use futures::future::BoxFuture;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;
use verbatim_domain::{KeyId, UserId};
use verbatim_postgres::Database;
use verbatim_protocol::Timestamp;

use crate::{Error, KeyStore, Stored};

const MIGRATIONS: [(&str, &str); 1] =
    [("create keys", include_str!("../../../migrations/postgres/keys/0001_create_keys.sql"))];

/// The keys in a database that other processes use, too.
#[derive(Debug, Clone)]
pub struct PostgresKeys {
    database: Database,
}

impl PostgresKeys {
    /// Makes the tables where they are missing, and brings them up to date.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        verbatim_postgres::migrate(database, "keys", &MIGRATIONS).await.map_err(failed)
    }

    /// The keys in a database whose tables are there.
    #[must_use]
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl for<'c> FnOnce(&'c mut PgConnection) -> BoxFuture<'c, Result<T, sqlx::Error>>
        + Send
        + 'static,
    ) -> Result<T, Error> {
        self.database.run_to_end(work).await.map_err(failed)
    }
}

#[async_trait]
impl KeyStore for PostgresKeys {
    async fn in_use(&self, mut offered: Vec<Stored>) -> Result<Vec<Stored>, Error> {
        // In one order, so that two who insert at once don't wait for each other.
        offered.sort_unstable_by(|one, other| one.subject.cmp(&other.subject));
        let subjects: Vec<_> = offered.iter().map(|key| key.subject.to_string()).collect();
        let keys = Columns::of(offered);
        self.run(move |connection| {
            Box::pin(async move {
                durably(connection).await?;
                sqlx::query(include_str!("postgres/offer_keys.sql"))
                    .bind(keys.ids)
                    .bind(keys.subjects)
                    .bind(keys.wrapped)
                    .bind(Timestamp::now().0)
                    .execute(&mut *connection)
                    .await?;
                // Another statement, which sees what others have stored meanwhile.
                sqlx::query(
                    "select id::text, subject, wrapped from keys.keys \
                     where subject = any($1) and in_use",
                )
                .bind(subjects)
                .fetch_all(connection)
                .await
            })
        })
        .await
        .and_then(|rows| all(&rows))
    }

    async fn find(&self, ids: Vec<KeyId>) -> Result<Vec<Stored>, Error> {
        let ids: Vec<_> = ids.iter().map(KeyId::to_string).collect();
        let select = "select id::text, subject, wrapped from keys.keys where id = any($1::uuid[])";
        self.run(move |connection| Box::pin(sqlx::query(select).bind(ids).fetch_all(connection)))
            .await
            .and_then(|rows| all(&rows))
    }

    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error> {
        let subject = subject.to_string();
        let select = "select id::text, subject, wrapped from keys.keys where subject = $1";
        self.run(move |connection| {
            Box::pin(sqlx::query(select).bind(subject).fetch_all(connection))
        })
        .await
        .and_then(|rows| all(&rows))
    }

    async fn destroy(&self, subject: &UserId, ids: Vec<KeyId>) -> Result<(), Error> {
        let destroyed =
            ids.into_iter().map(|id| Stored { id, subject: subject.clone(), wrapped: None });
        self.take_in(destroyed.collect()).await?;
        // The table still holds the rows as they were.
        let vacuumed = self
            .run(|connection| Box::pin(sqlx::query("vacuum keys.keys").execute(connection)))
            .await;
        if let Err(error) = vacuumed {
            tracing::warn!(%error, "destroyed keys stay in the table's file until it is vacuumed");
        }
        Ok(())
    }

    async fn destroyed(&self) -> Result<Vec<Stored>, Error> {
        let select = "select id::text, subject, wrapped from keys.keys where wrapped is null order by subject";
        self.run(move |connection| Box::pin(sqlx::query(select).fetch_all(connection)))
            .await
            .and_then(|rows| all(&rows))
    }

    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error> {
        let after = after.map_or(Uuid::nil(), |after| after.0).to_string();
        let select = "select id::text, subject, wrapped from keys.keys where id > $1::uuid order by id limit $2";
        self.run(move |connection| {
            Box::pin(sqlx::query(select).bind(after).bind(i64::from(limit)).fetch_all(connection))
        })
        .await
        .and_then(|rows| all(&rows))
    }

    async fn take_in(&self, keys: Vec<Stored>) -> Result<(), Error> {
        let keys = Columns::of(keys);
        self.run(move |connection| {
            Box::pin(async move {
                durably(connection).await?;
                sqlx::query(include_str!("postgres/take_in_keys.sql"))
                    .bind(keys.ids)
                    .bind(&keys.subjects)
                    .bind(keys.wrapped)
                    .bind(Timestamp::now().0)
                    .execute(&mut *connection)
                    .await?;
                sqlx::query(include_str!("postgres/use_keys.sql"))
                    .bind(&keys.subjects)
                    .execute(connection)
                    .await
                    .map(drop)
            })
        })
        .await
    }

    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error> {
        self.run(move |connection| {
            Box::pin(async move {
                durably(connection).await?;
                if let Some(offered) = offered {
                    sqlx::query(
                        "insert into keys.master (proof) values ($1) on conflict do nothing",
                    )
                    .bind(offered)
                    .execute(&mut *connection)
                    .await?;
                }
                sqlx::query_scalar("select proof from keys.master").fetch_optional(connection).await
            })
        })
        .await
    }
}

/// A server may be set to answer before a commit is on the disk; ours are waited for.
async fn durably(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("set synchronous_commit = on").execute(connection).await.map(drop)
}

/// Keys, column by column.
struct Columns {
    ids: Vec<String>,
    subjects: Vec<String>,
    wrapped: Vec<Option<Vec<u8>>>,
}

impl Columns {
    fn of(keys: Vec<Stored>) -> Self {
        let mut columns = Self { ids: Vec::new(), subjects: Vec::new(), wrapped: Vec::new() };
        for key in keys {
            columns.ids.push(key.id.to_string());
            columns.subjects.push(key.subject.to_string());
            columns.wrapped.push(key.wrapped);
        }
        columns
    }
}

fn all(rows: &[PgRow]) -> Result<Vec<Stored>, Error> {
    let stored = |row: &PgRow| {
        let subject: &str = row.try_get(1).map_err(failed)?;
        let subject = subject
            .parse()
            .map_err(|error| Error::Corrupt(format!("a key of {subject:?}: {error}")))?;
        let id: &str = row.try_get(0).map_err(failed)?;
        let id = id.parse().map_err(failed)?;
        Ok(Stored { id, subject, wrapped: row.try_get(2).map_err(failed)? })
    };
    rows.iter().map(stored).collect()
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}

#[cfg(test)]
mod tests {
    use verbatim_postgres::testing::TestDatabase;

    use super::*;
    use crate::conformance::Place;

    struct Server(Database);

    impl Place for Server {
        type Store = PostgresKeys;

        async fn new() -> Self {
            let database = TestDatabase::create().await.connect().await;
            PostgresKeys::migrate(&database).await.expect("tables");
            Self(database)
        }

        async fn open(&self) -> PostgresKeys {
            PostgresKeys::new(self.0.clone())
        }

        async fn close(&self, _: PostgresKeys) {}
    }

    crate::conformance_tests!(Server);
}
