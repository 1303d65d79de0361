//! The analytics in the schema `analytics` of a `PostgreSQL` database.
//!
//! Whoever writes compares first how often the rows were changed, in the transaction of the rows: of
//! several that do the same each event counts once.

#[cfg(test)]
mod tests;

use async_trait::async_trait;
use futures::TryStreamExt;
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor};
use tokio::sync::mpsc;
use verbatim_postgres::{Database, OUTLAST_VACUUM};
use verbatim_protocol::JournalId;

use crate::store::{At, Differing, Key, Reading, Store, Value};
use crate::{Error, VERSION, unavailable};

const MIGRATIONS: [(&str, &str); 1] = [(
    "create analytics",
    include_str!("../../../migrations/postgres/analytics/0001_create_analytics.sql"),
)];

/// What `PostgreSQL` says of a table that isn't there.
const UNDEFINED_TABLE: &str = "42P01";

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
                    let others: Vec<i64> =
                        sqlx::query_scalar("select generation from analytics.generations")
                            .fetch_all(&mut *transaction)
                            .await?;
                    for generation in others {
                        remove(generation, &mut transaction).await?;
                    }
                    (&mut *transaction).execute("delete from analytics.source").await?;
                    let sql = "insert into analytics.source (journal, version, live)
                               values ($1, $2, $3)";
                    let live = begin(&mut transaction).await?;
                    sqlx::query(sql)
                        .bind(id)
                        .bind(VERSION)
                        .bind(live)
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

/// Makes an empty generation.
async fn begin(connection: &mut PgConnection) -> Result<i64, sqlx::Error> {
    let sql = "insert into analytics.generations default values returning generation";
    let generation: i64 = sqlx::query_scalar(sql).fetch_one(&mut *connection).await?;
    let table = rows_of(generation);
    let sql = format!("create table {table} (key bytea primary key, value bytea not null)");
    connection.execute(&*sql).await?;
    Ok(generation)
}

/// Removes a generation and its rows; waits for who reads them, and fails if that takes long.
async fn remove(generation: i64, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    connection.execute(OUTLAST_VACUUM).await?;
    // In the order in which whoever writes locks them.
    let sql = "delete from analytics.generations where generation = $1";
    sqlx::query(sql).bind(generation).execute(&mut *connection).await?;
    connection.execute(&*format!("drop table if exists {}", rows_of(generation))).await.map(drop)
}

/// The table of a generation's rows.
fn rows_of(generation: i64) -> String {
    format!("analytics.rows_{generation}")
}

/// Rows that were read; none of a generation that was removed meanwhile.
fn found(
    read: Result<Vec<(Key, Value)>, verbatim_postgres::Error>,
) -> Result<Vec<(Key, Value)>, Error> {
    match read {
        Err(verbatim_postgres::Error::Refused(sqlx::Error::Database(error)))
            if error.code().as_deref() == Some(UNDEFINED_TABLE) =>
        {
            Ok(Vec::new())
        }
        read => Ok(read?),
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
        // Each key by itself: however few rows the planner believes there are, it goes by the index.
        let sql = format!(
            "select key, value
             from unnest($1::bytea[]) as wanted (wanted_key)
             cross join lateral (
                 select key, value from {} where key = wanted_key limit 1
             ) as found",
            rows_of(generation as i64)
        );
        let read = self.database.run(|connection| {
            Box::pin(async move { sqlx::query_as(&sql).bind(keys).fetch_all(connection).await })
        });
        found(read.await)
    }

    async fn scan(
        &self,
        generation: u64,
        ranges: Vec<(Key, Key)>,
        each: usize,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error> {
        let (low, high): (Vec<_>, Vec<_>) = ranges.into_iter().unzip();
        let sql = format!(
            "select key, value
             from unnest($1::bytea[], $2::bytea[]) as wanted (low, high)
             cross join lateral (
                 select key, value from {} where key >= low and key < high order by key limit $4
             ) as found
             order by key limit $3",
            rows_of(generation as i64)
        );
        let read = self.database.run(|connection| {
            Box::pin(async move {
                sqlx::query_as(&sql)
                    .bind(low)
                    .bind(high)
                    .bind(limit as i64)
                    .bind(each as i64)
                    .fetch_all(connection)
                    .await
            })
        });
        found(read.await)
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
                    let table = rows_of(generation);
                    if !removed.is_empty() {
                        // Each by itself, as they are read.
                        let sql = format!(
                            "delete from {table} where ctid = any(array(
                                 select found.ctid from unnest($1::bytea[]) as gone (gone_key)
                                 cross join lateral (
                                     select ctid from {table} where key = gone_key limit 1
                                 ) as found))"
                        );
                        sqlx::query(&sql).bind(removed).execute(&mut *transaction).await?;
                    }
                    let sql = format!(
                        "insert into {table} (key, value)
                         select * from unnest($1::bytea[], $2::bytea[])
                         on conflict (key) do update set value = excluded.value"
                    );
                    sqlx::query(&sql).bind(keys).bind(values).execute(&mut *transaction).await?;
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
                    let generation = begin(&mut transaction).await?;
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
        let sql = format!(
            "select key, live.value, other.value
             from {} as live full join {} as other using (key)
             where live.value is distinct from other.value
             order by key",
            rows_of(live.0),
            rows_of(generation as i64)
        );
        let mut rows = sqlx::query_as(&sql).fetch(&mut *transaction);
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
                    // Several may do so at once.
                    let given_up = "select generation from analytics.generations
                                    where is_given_up limit 1 for update skip locked";
                    let mut transaction = connection.begin().await?;
                    let found: Option<i64> =
                        sqlx::query_scalar(given_up).fetch_optional(&mut *transaction).await?;
                    let Some(generation) = found else { return Ok(false) };
                    remove(generation, &mut transaction).await?;
                    transaction.commit().await?;
                    Ok(true)
                })
            })
            .await?)
    }
}
