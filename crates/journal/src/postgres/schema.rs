//! Whether the schema is there and of this version, and how it comes to be.

use sqlx::Row;
use verbatim_postgres::Database;
use verbatim_protocol::JournalId;

use super::Failed;
use crate::Error;

const MIGRATIONS: [(&str, &str); 3] = [
    (
        "create journal",
        include_str!("../../../../migrations/postgres/journal/0001_create_journal.sql"),
    ),
    ("create lanes", include_str!("../../../../migrations/postgres/journal/0002_create_lanes.sql")),
    ("append", include_str!("../../../../migrations/postgres/journal/0003_append.sql")),
];

pub(super) async fn migrate(database: &Database) -> Result<(), Error> {
    verbatim_postgres::migrate(database, "journal", &MIGRATIONS)
        .await
        .map_err(|error| Error::Unavailable(Box::new(error)))
}

/// The journal's id, if all migrations have been made, and no others.
pub(super) async fn check(database: &Database) -> Result<JournalId, Error> {
    let is_there: bool = database
        .run(|connection| {
            let sql = "select to_regclass('journal._sqlx_migrations') is not null";
            Box::pin(sqlx::query_scalar(sql).fetch_one(connection))
        })
        .await?;
    if !is_there {
        return Err(refused("is missing: migrate the database first"));
    }
    let made: Vec<i64> = database
        .run(|connection| {
            let sql = "select version from journal._sqlx_migrations where success order by version";
            Box::pin(sqlx::query_scalar(sql).fetch_all(connection))
        })
        .await?;
    let mut known = 1..=MIGRATIONS.len() as i64;
    if let Some(newer) = made.iter().find(|version| !known.contains(version)) {
        return Err(refused(&format!("is a newer version's: it knows of migration {newer}")));
    }
    if let Some(missing) = known.find(|version| !made.contains(version)) {
        return Err(refused(&format!("is an older version's: migration {missing} is to be made")));
    }
    let row = database
        .run(|connection| {
            let sql = "select id::text, current_setting('fsync') = 'on' from journal.journal";
            Box::pin(sqlx::query(sql).fetch_one(connection))
        })
        .await?;
    if !row.try_get::<bool, _>(1).map_err(Failed::from)? {
        tracing::warn!("the database has fsync turned off: a power loss may destroy the journal");
    }
    let id: &str = row.try_get(0).map_err(Failed::from)?;
    let id = id.parse().map_err(|_| Error::Corrupt(format!("{id:?} is no journal's id")))?;
    Ok(JournalId(id))
}

fn refused(why: &str) -> Error {
    Error::Unavailable(format!("the schema journal {why}").into())
}
