//! The schema of the views in use, and of those that are made anew beside them.

use std::borrow::Cow;
use std::time::Duration;

use sqlx::postgres::PgConnection;
use sqlx::{Connection, Executor, Row};
use tokio::time::{sleep, timeout};
use verbatim_postgres::{Database, OUTLAST_VACUUM};
use verbatim_protocol::JournalId;

use crate::Error;
use crate::difference::TABLES;

/// Stands for the schema and for what the projector makes of events. Raised with either; views of an
/// older version are made anew.
const VIEWS_VERSION: i64 = 3;

const CREATE: &str = include_str!("../../../../migrations/postgres/views/create_views.sql");

/// Who changes what the name `views` stands for holds this lock alone, who writes into the views
/// holds it shared: taken before the name is used.
const EXCHANGE: i64 = 0x7665_7262_7669_6577;

/// How long the planner may look at the new views; longer only where the server doesn't answer at all.
const ANALYZING: Duration = Duration::from_secs(65);

/// How often the replaced views are tried to be removed, and how long after a failure.
const DROP_TRIES: u32 = 10;
const DROP_PAUSE: Duration = Duration::from_millis(200);

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Schema {
    Live,
    Next,
}

impl Schema {
    fn name(self) -> &'static str {
        match self {
            Self::Live => "views",
            Self::Next => "views_next",
        }
    }

    /// How a transaction is to be committed. Nobody has seen the new views before they are exchanged,
    /// and that commit waits for all before it.
    pub(super) fn durability(self) -> &'static str {
        match self {
            Self::Live => "set local synchronous_commit = on",
            Self::Next => "set local synchronous_commit = off",
        }
    }

    /// The statement for this one; it is written for `views`.
    pub(super) fn of(self, sql: &'static str) -> Cow<'static, str> {
        match self {
            Self::Live => Cow::Borrowed(sql),
            Self::Next => Cow::Owned(sql.replace("views.", "views_next.")),
        }
    }
}

/// Until the transaction ends, nobody exchanges the views.
pub(super) async fn hold(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = sqlx::query("select pg_advisory_xact_lock_shared($1)").bind(EXCHANGE);
    lock.execute(connection).await.map(drop)
}

/// Until the transaction ends, nobody else writes into the views or exchanges them.
async fn hold_alone(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let lock = sqlx::query("select pg_advisory_xact_lock($1)").bind(EXCHANGE);
    lock.execute(connection).await.map(drop)
}

/// Which views there are.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// Tables whose journal isn't known yet.
    Empty,
    Views {
        journal: Vec<u8>,
        version: i64,
        checkpoint: u64,
    },
}

impl Found {
    /// The checkpoint, if these are a journal's, and of this version.
    pub(super) fn checkpoint(&self, of: JournalId) -> Option<u64> {
        match self {
            Self::Views { journal, version, checkpoint }
                if journal == of.0.as_bytes() && *version == VIEWS_VERSION =>
            {
                Some(*checkpoint)
            }
            _ => None,
        }
    }

    /// A newer version's are nobody's to remove.
    pub(super) fn is_newer(&self) -> bool {
        matches!(self, Self::Views { version, .. } if *version > VIEWS_VERSION)
    }
}

pub(super) async fn look(connection: &mut PgConnection) -> Result<Found, sqlx::Error> {
    let is_there: bool = sqlx::query_scalar("select to_regclass('views.source') is not null")
        .fetch_one(&mut *connection)
        .await?;
    if !is_there {
        return Ok(Found::Nothing);
    }
    let row = sqlx::query("select journal, version, checkpoint from views.source")
        .fetch_optional(connection)
        .await?;
    let Some(row) = row else { return Ok(Found::Empty) };
    Ok(Found::Views {
        journal: row.try_get(0)?,
        version: row.try_get(1)?,
        checkpoint: row.try_get::<i64, _>(2)? as u64,
    })
}

/// Makes empty views in a schema, in place of what is there.
async fn create(connection: &mut PgConnection, schema: Schema) -> Result<(), sqlx::Error> {
    let name = schema.name();
    // The search path counts for this transaction only.
    let sql = format!(
        "drop schema if exists {name} cascade; create schema {name}; \
         set local search_path = {name}; {CREATE}; set local search_path = public"
    );
    (&mut *connection).execute(&*sql).await.map(drop)
}

/// Says whose views these are; they show nothing yet.
async fn name(
    connection: &mut PgConnection,
    schema: Schema,
    journal: JournalId,
) -> Result<(), sqlx::Error> {
    let sql = "insert into views.source (journal, version, checkpoint) values ($1, $2, 0)";
    sqlx::query(&schema.of(sql))
        .bind(journal.0.as_bytes().to_vec())
        .bind(VIEWS_VERSION)
        .execute(connection)
        .await
        .map(drop)
}

/// Makes the tables where they are missing or an older version's.
pub(super) async fn migrate(database: &Database) -> Result<(), Error> {
    let found = database
        .run_to_end(|connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                hold_alone(&mut transaction).await?;
                let found = look(&mut transaction).await?;
                let outdated = match &found {
                    Found::Nothing => true,
                    Found::Empty => false,
                    Found::Views { version, .. } => *version < VIEWS_VERSION,
                };
                if outdated {
                    create(&mut transaction, Schema::Live).await?;
                }
                transaction.commit().await?;
                Ok(found)
            })
        })
        .await?;
    if found.is_newer() {
        return Err(Error::Unavailable("the schema views is a newer version's".into()));
    }
    Ok(())
}

/// The checkpoint of a journal's views, which are made anew if they are another's.
pub(super) async fn open(database: &Database, journal: JournalId) -> Result<u64, Error> {
    migrate(database).await?;
    Ok(database
        .run_to_end(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                hold_alone(&mut transaction).await?;
                let found = look(&mut transaction).await?;
                let checkpoint = found.checkpoint(journal);
                if checkpoint.is_none() {
                    if found != Found::Empty {
                        tracing::warn!("the views are another journal's: they start anew");
                        create(&mut transaction, Schema::Live).await?;
                    }
                    name(&mut transaction, Schema::Live, journal).await?;
                }
                transaction.commit().await?;
                Ok(checkpoint.unwrap_or(0))
            })
        })
        .await?)
}

/// Makes empty views of a journal beside those in use, which are empty if there were none.
pub(super) async fn begin_next(database: &Database, journal: JournalId) -> Result<(), Error> {
    Ok(database
        .run_to_end(move |connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                hold_alone(&mut transaction).await?;
                if look(&mut transaction).await? == Found::Nothing {
                    create(&mut transaction, Schema::Live).await?;
                }
                create(&mut transaction, Schema::Next).await?;
                name(&mut transaction, Schema::Next, journal).await?;
                transaction.commit().await
            })
        })
        .await?)
}

/// Removes views that were begun beside those in use.
pub(super) async fn remove_next(database: &Database) -> Result<(), Error> {
    database
        .run_to_end(|connection| {
            Box::pin(connection.execute("drop schema if exists views_next cascade"))
        })
        .await?;
    Ok(())
}

/// Has the planner know the new views, as it will not hear of them by itself before they are in use.
/// It may take longer than other statements may.
pub(super) async fn analyze_next(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let tables = TABLES.map(|(table, _)| format!("views_next.{table}")).join(", ");
    let sql = format!("set local statement_timeout = '60s'; analyze {tables}");
    let analyzing = timeout(ANALYZING, connection.execute(&*sql)).await;
    analyzing
        .unwrap_or_else(|_| Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())))
        .map(drop)
}

/// Puts the new views in place of those in use, unless they are behind. Queries under way end on the
/// old ones; the next find the new.
pub(super) async fn exchange(database: &Database) -> Result<u64, Error> {
    let exchanged = database
        .run_to_end(|connection| {
            Box::pin(async move {
                let mut transaction = connection.begin().await?;
                hold_alone(&mut transaction).await?;
                // There may be none in use yet, or another journal's.
                let (live, next): (i64, i64) = sqlx::query_as(
                    "select coalesce(live.checkpoint, 0), next.checkpoint
                 from views_next.source as next left join views.source as live
                 on live.journal = next.journal and live.version = next.version",
                )
                .fetch_one(&mut *transaction)
                .await?;
                if next < live {
                    transaction.rollback().await?;
                    return Ok(None);
                }
                sqlx::query(Schema::Live.durability()).execute(&mut *transaction).await?;
                (&mut *transaction)
                    .execute(
                        "drop schema if exists views_old cascade;
                     alter schema views rename to views_old;
                     alter schema views_next rename to views",
                    )
                    .await?;
                transaction.commit().await?;
                Ok(Some(next as u64))
            })
        })
        .await?;
    let Some(checkpoint) = exchanged else { return Err(Error::Behind) };
    drop_old(database).await;
    Ok(checkpoint)
}

/// Removes the views that were replaced. Apart from the exchange, because it waits for the queries
/// that still read them; not for long, because such a query might wait for what this has locked. When
/// those have surely ended, longer than an automatic vacuum does.
async fn drop_old(database: &Database) {
    let mut tries = 0;
    loop {
        let patience = if tries < 3 { "set local lock_timeout = '500ms'" } else { OUTLAST_VACUUM };
        // Several statements at once are one transaction.
        let sql = format!("{patience}; drop schema if exists views_old cascade");
        let dropped = database
            .run_to_end(|connection| Box::pin(async move { connection.execute(&*sql).await }))
            .await;
        tries += 1;
        match dropped {
            Ok(_) => return,
            Err(_) if tries < DROP_TRIES => sleep(DROP_PAUSE).await,
            Err(error) => {
                tracing::warn!(%error, "the replaced views are removed by the next rebuild");
                return;
            }
        }
    }
}
