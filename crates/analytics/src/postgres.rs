//! The analytics in the schema `analytics` of a `PostgreSQL` database.
//!
//! Whoever writes compares first how often the rows were changed, in the transaction of the rows: of
//! several that do the same each event counts once.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::Connection;
use tokio::sync::mpsc;
use verbatim_postgres::Database;
use verbatim_protocol::JournalId;

use crate::store::{At, Differing, Key, Reading, Store, Value};
use crate::{Error, VERSION, unavailable};

const MIGRATIONS: [(&str, &str); 1] = [(
    "create analytics",
    include_str!("../../../migrations/postgres/analytics/0001_create_analytics.sql"),
)];

/// Rows that are removed at once.
const SWEPT: i64 = 10_000;

/// [`Store`] in a database that other processes use, too.
#[derive(Debug, Clone)]
pub struct PostgresAnalytics {
    database: Database,
    journal: JournalId,
}

impl From<verbatim_postgres::Error> for Error {
    fn from(error: verbatim_postgres::Error) -> Self {
        unavailable(error)
    }
}

impl PostgresAnalytics {
    /// Makes the tables where they are missing. Several may call this at once.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn migrate(database: &Database) -> Result<(), Error> {
        Ok(verbatim_postgres::migrate(database, "analytics", &MIGRATIONS).await?)
    }

    /// Opens the analytics of a journal to write them; the tables are there. Those of another journal
    /// or an older version are replaced by empty ones.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when a newer version made them.
    pub async fn open(database: Database, journal: JournalId) -> Result<Self, Error> {
        let id = journal.0.as_bytes().to_vec();
        let found = database
            .run_to_end(move |connection| {
                Box::pin(async move {
                    let mut transaction = connection.begin().await?;
                    sqlx::query("lock table analytics.source in exclusive mode")
                        .execute(&mut *transaction)
                        .await?;
                    let known: Option<(Vec<u8>, i64)> =
                        sqlx::query_as("select journal, version from analytics.source")
                            .fetch_optional(&mut *transaction)
                            .await?;
                    let is_ours =
                        |(known, version): &(Vec<u8>, i64)| *known == id && *version == VERSION;
                    if known.as_ref().is_some_and(|known| known.1 > VERSION || is_ours(known)) {
                        return Ok(known);
                    }
                    for sql in [
                        "truncate analytics.source, analytics.generations, analytics.rows",
                        "insert into analytics.generations default values",
                    ] {
                        sqlx::query(sql).execute(&mut *transaction).await?;
                    }
                    sqlx::query(
                        "insert into analytics.source (journal, version, live)
                         select $1, $2, generation from analytics.generations",
                    )
                    .bind(id)
                    .bind(VERSION)
                    .execute(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                    Ok(known)
                })
            })
            .await?;
        match found {
            Some((_, version)) if version > VERSION => {
                return Err(Error::Unavailable("the analytics are a newer version's".into()));
            }
            Some((known, version)) if known != journal.0.as_bytes() || version != VERSION => {
                tracing::warn!("the analytics are another journal's or version's: they start anew");
            }
            _ => {}
        }
        Ok(Self { database, journal })
    }

    /// Opens the analytics of a journal to read them.
    #[must_use]
    pub fn reader(database: Database, journal: JournalId) -> Self {
        Self { database, journal }
    }
}

fn at((generation, revision, checkpoint): (i64, i64, i64)) -> At {
    let [generation, revision, checkpoint] = [generation, revision, checkpoint].map(|n| n as u64);
    At { generation, revision, checkpoint }
}

#[async_trait]
impl Reading for PostgresAnalytics {
    async fn live(&self) -> Result<At, Error> {
        let id = self.journal.0.as_bytes().to_vec();
        let found: Option<(i64, i64, i64)> = self
            .database
            .run(|connection| {
                Box::pin(
                    sqlx::query_as(
                        "select live, revision, checkpoint from analytics.source
                         join analytics.generations on generation = live
                         where journal = $1 and version = $2",
                    )
                    .bind(id)
                    .bind(VERSION)
                    .fetch_optional(connection),
                )
            })
            .await?;
        found.map(at).ok_or(Error::Behind)
    }

    async fn page(
        &self,
        generation: u64,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        self.scan(generation, vec![(low.to_vec(), high.to_vec())], limit, limit).await
    }
}

#[async_trait]
impl Store for PostgresAnalytics {
    async fn at(&self, generation: u64) -> Result<At, Error> {
        let found: Option<(i64, i64, i64)> = self
            .database
            .run(|connection| {
                let sql = "select generation, revision, checkpoint from analytics.generations
                           where generation = $1 and not is_given_up";
                Box::pin(sqlx::query_as(sql).bind(generation as i64).fetch_optional(connection))
            })
            .await?;
        found.map(at).ok_or(Error::GivenUp)
    }

    async fn get(&self, generation: u64, keys: Vec<Key>) -> Result<Vec<(Key, Value)>, Error> {
        Ok(self
            .database
            .run(|connection| {
                let sql = "select key, value from analytics.rows
                           where generation = $1 and key = any($2)";
                Box::pin(
                    sqlx::query_as(sql).bind(generation as i64).bind(keys).fetch_all(connection),
                )
            })
            .await?)
    }

    async fn scan(
        &self,
        generation: u64,
        ranges: Vec<(Key, Key)>,
        each: usize,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        let (low, high): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
        Ok(self
            .database
            .run(|connection| {
                Box::pin(
                    sqlx::query_as(
                        "select key, value
                         from unnest($2::bytea[], $3::bytea[]) as wanted(low, high)
                         cross join lateral (
                             select key, value from analytics.rows
                             where generation = $1 and key >= low and key < high
                             order by key limit $5
                         ) as found
                         order by key limit $4",
                    )
                    .bind(generation as i64)
                    .bind(low)
                    .bind(high)
                    .bind(limit as i64)
                    .bind(each as i64)
                    .fetch_all(connection),
                )
            })
            .await?)
    }

    async fn commit(
        &self,
        at: At,
        to: u64,
        rows: Vec<(Key, Option<Value>)>,
    ) -> Result<bool, Error> {
        let (generation, revision) = (at.generation as i64, at.revision as i64);
        Ok(self
            .database
            .run_to_end(move |connection| {
                Box::pin(async move {
                    let mut transaction = connection.begin().await?;
                    let sql = "update analytics.generations
                               set checkpoint = $3, revision = revision + 1
                               where generation = $1 and revision = $2 and not is_given_up";
                    let moved = sqlx::query(sql)
                        .bind(generation)
                        .bind(revision)
                        .bind(to as i64)
                        .execute(&mut *transaction)
                        .await?;
                    if moved.rows_affected() == 0 {
                        transaction.rollback().await?;
                        return Ok(false);
                    }
                    let (mut keys, mut values, mut removed) = (Vec::new(), Vec::new(), Vec::new());
                    for (key, value) in rows {
                        match value {
                            Some(value) => {
                                keys.push(key);
                                values.push(value);
                            }
                            None => removed.push(key),
                        }
                    }
                    sqlx::query(
                        "delete from analytics.rows where generation = $1 and key = any($2)",
                    )
                    .bind(generation)
                    .bind(removed)
                    .execute(&mut *transaction)
                    .await?;
                    sqlx::query(
                        "insert into analytics.rows (generation, key, value)
                         select $1, * from unnest($2::bytea[], $3::bytea[])
                         on conflict (generation, key) do update set value = excluded.value",
                    )
                    .bind(generation)
                    .bind(keys)
                    .bind(values)
                    .execute(&mut *transaction)
                    .await?;
                    transaction.commit().await?;
                    Ok(true)
                })
            })
            .await?)
    }

    async fn begin(&self) -> Result<u64, Error> {
        let generation: i64 = self
            .database
            .run_to_end(|connection| {
                Box::pin(async move {
                    let mut transaction = connection.begin().await?;
                    sqlx::query(
                        "update analytics.generations set is_given_up = true
                         where generation not in (select live from analytics.source)",
                    )
                    .execute(&mut *transaction)
                    .await?;
                    let sql = "insert into analytics.generations default values
                               returning generation";
                    let generation = sqlx::query_scalar(sql).fetch_one(&mut *transaction).await?;
                    transaction.commit().await?;
                    Ok(generation)
                })
            })
            .await?;
        Ok(generation as u64)
    }

    async fn exchange(&self, generation: u64) -> Result<bool, Error> {
        let exchanged = self
            .database
            .run_to_end(move |connection| {
                Box::pin(async move {
                    let mut transaction = connection.begin().await?;
                    // Nobody moves a checkpoint until this is over.
                    let rows: Vec<(i64, i64)> = sqlx::query_as(
                        "select generation, checkpoint from analytics.generations
                         where not is_given_up order by generation for update",
                    )
                    .fetch_all(&mut *transaction)
                    .await?;
                    let live: i64 =
                        sqlx::query_scalar("select live from analytics.source for update")
                            .fetch_one(&mut *transaction)
                            .await?;
                    let checkpoint = |of| {
                        let found = rows.iter().find(|(generation, _)| *generation == of);
                        found.map(|(_, checkpoint)| *checkpoint)
                    };
                    let shown = checkpoint(live);
                    let Some(next) = checkpoint(generation as i64) else { return Ok(None) };
                    if Some(next) < shown {
                        return Ok(Some(false));
                    }
                    sqlx::query("update analytics.source set live = $1")
                        .bind(generation as i64)
                        .execute(&mut *transaction)
                        .await?;
                    sqlx::query("update analytics.generations set is_given_up = true where generation <> $1")
                        .bind(generation as i64)
                        .execute(&mut *transaction)
                        .await?;
                    transaction.commit().await?;
                    Ok(Some(true))
                })
            })
            .await?;
        exchanged.ok_or(Error::GivenUp)
    }

    async fn differences(
        &self,
        generation: u64,
        tell: mpsc::Sender<Differing>,
    ) -> Result<(), Error> {
        // It may take long, and somebody listens.
        let mut connection = self.database.acquire().await?.detach();
        let mut transaction = connection
            .begin_with(
                "begin isolation level repeatable read read only; \
                 set local idle_in_transaction_session_timeout = '60s'",
            )
            .await
            .map_err(unavailable)?;
        let checkpoints: Vec<(i64, i64, bool)> = sqlx::query_as(
            "select generation, checkpoint, generation = live
             from analytics.generations cross join analytics.source
             where not is_given_up and (generation = live or generation = $1)",
        )
        .bind(generation as i64)
        .fetch_all(&mut *transaction)
        .await
        .map_err(unavailable)?;
        let live = checkpoints.iter().find(|(.., is_live)| *is_live).ok_or(Error::Behind)?;
        let other = checkpoints.iter().find(|(known, ..)| *known == generation as i64);
        if other.ok_or(Error::GivenUp)?.1 != live.1 {
            return Err(Error::Behind);
        }
        let sql = "select key, live.value, other.value
                   from (select key, value from analytics.rows where generation = $1) as live
                   full join (select key, value from analytics.rows where generation = $2) as other
                   using (key)
                   where live.value is distinct from other.value
                   order by key";
        let mut rows =
            sqlx::query_as(sql).bind(live.0).bind(generation as i64).fetch(&mut *transaction);
        while let Some(row) = rows.try_next().await.map_err(unavailable)? {
            tell.send(row).await.map_err(unavailable)?;
        }
        Ok(())
    }

    async fn give_up(&self, generation: u64) -> Result<(), Error> {
        Ok(self
            .database
            .run_to_end(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "update analytics.generations set is_given_up = true
                         where generation = $1
                         and generation not in (select live from analytics.source)",
                    )
                    .bind(generation as i64)
                    .execute(connection)
                    .await
                    .map(drop)
                })
            })
            .await?)
    }

    async fn sweep(&self) -> Result<bool, Error> {
        Ok(self
            .database
            .run_to_end(|connection| {
                Box::pin(async move {
                    let given_up = "select generation from analytics.generations
                                    where is_given_up limit 1";
                    let found: Option<i64> =
                        sqlx::query_scalar(given_up).fetch_optional(&mut *connection).await?;
                    let Some(generation) = found else { return Ok(false) };
                    let swept = sqlx::query(
                        "delete from analytics.rows where generation = $1 and key in (
                             select key from analytics.rows where generation = $1 limit $2)",
                    )
                    .bind(generation)
                    .bind(SWEPT)
                    .execute(&mut *connection)
                    .await?;
                    if swept.rows_affected() == 0 {
                        let gone = "delete from analytics.generations where generation = $1";
                        sqlx::query(gone).bind(generation).execute(connection).await?;
                    }
                    Ok(true)
                })
            })
            .await?)
    }
}
