//! Into the journal's own schema in a `PostgreSQL` database, and out of it.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::TryStreamExt;
use futures::future::try_join_all;
use sqlx::{Connection, PgConnection};
use verbatim_journal::PostgresJournal;
use verbatim_postgres::Database;

use super::{Report, Row, Rows, report};
use crate::cast::at_least_one;
use crate::processes;

/// The one statement with which the journal takes rows as they are.
const INSERT: &str = include_str!("../../../crates/journal/src/postgres/import_events.sql");

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The database, which holds no journal yet.
    #[arg(long, value_name = "URL")]
    pub database: String,
    /// Connections that insert at once.
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    pub connections: usize,
    #[command(flatten)]
    pub rows: Rows,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let url = &args.database;
    let database = Database::connect(url, 1).await.context("--database")?;
    PostgresJournal::migrate(&database).await?;
    let connections = (0..args.connections).map(|_| PgConnection::connect(url));
    let mut connections = try_join_all(connections).await?;
    let is_empty: bool = sqlx::query_scalar("select not exists (select from journal.events)")
        .fetch_one(&mut connections[0])
        .await?;
    ensure!(is_empty, "--database: holds events already");

    let batches = args.rows.batches()?;
    let rows = batches.iter().map(Vec::len).sum();
    let rest = RefCell::new(batches.into_iter());
    let next = || rest.borrow_mut().next();
    let before = processes::look(&args.rows.processes)?;
    let begun = Instant::now();
    let writing = connections.iter_mut().map(async |connection| {
        while let Some(batch) = next() {
            insert(connection, &batch).await?;
        }
        anyhow::Ok(())
    });
    try_join_all(writing).await?;
    let mut report = report(&before, begun, rows)?;

    let begun = Instant::now();
    let mut copied = connections[0].copy_out_raw("copy journal.events to stdout").await?;
    let mut lines = 0;
    while let Some(bytes) = copied.try_next().await? {
        lines += memchr::memchr_iter(b'\n', &bytes).count();
    }
    ensure!(lines == rows, "{lines} of {rows} rows came out");
    report.read_rows_per_second = Some(rows as f64 / begun.elapsed().as_secs_f64());
    Ok(report)
}

async fn insert(connection: &mut PgConnection, batch: &[Row]) -> anyhow::Result<()> {
    let texts = |text: fn(&Row) -> &str| batch.iter().map(text).collect::<Vec<_>>();
    let numbers = |number: fn(&Row) -> i64| batch.iter().map(number).collect::<Vec<_>>();
    let keys = || batch.iter().map(|row| row.event.command.as_ref());
    sqlx::query(INSERT)
        .bind(texts(|row| row.event.stream.aggregate_type.as_str()))
        .bind(texts(|row| &row.event.stream.aggregate_id))
        .bind(numbers(|row| row.event.sequence as i64))
        .bind(texts(|row| row.event.event.event_type()))
        .bind(texts(|row| row.event.event_version()))
        .bind(texts(|row| &row.payload))
        .bind(texts(|row| &row.event.metadata))
        .bind(numbers(|row| row.event.position as i64))
        .bind(numbers(|row| row.event.recorded_at.0))
        .bind(keys().map(|key| key.map(|key| &*key.issuer)).collect::<Vec<_>>())
        .bind(keys().map(|key| key.map(|key| key.key.as_bytes())).collect::<Vec<_>>())
        .execute(connection)
        .await?;
    Ok(())
}
