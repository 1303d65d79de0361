//! Into the journal's own schema in a `SQLite` file, and out of it.

use std::time::Instant;

use anyhow::ensure;
use futures::TryStreamExt;
use sqlx::{Row as _, SqliteConnection};
use verbatim_sqlite::{Database, Durability, begin, commit};

use super::{Report, Row, Rows, report};
use crate::processes;

const SCHEMA: [(&str, &str); 1] = [(
    "create journal",
    include_str!("../../../migrations/sqlite/journal/0001_create_journal.sql"),
)];

/// The statement with which the journal takes rows.
const INSERT: &str = include_str!("../../../crates/journal/src/sqlite/append_events.sql");

pub async fn run(args: Rows) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal.sqlite");
    let database = Database::open(&path, Durability::Full, 1, &SCHEMA).await?;
    let batches = args.batches()?;
    let rows = batches.iter().map(Vec::len).sum();
    let insert =
        INSERT.replace("{rows}", &vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"; args.batch].join(", "));
    let mut writer = database.writer().lock().await;
    let before = processes::look(&args.processes)?;
    let begun = Instant::now();
    for batch in batches {
        store(&mut writer, &insert, batch).await?;
    }
    let mut report = report(&before, begun, rows)?;
    drop(writer);

    let begun = Instant::now();
    let mut all = sqlx::query("select * from events order by position").fetch(database.readers());
    let mut read = 0;
    while let Some(row) = all.try_next().await? {
        read += usize::from(!row.try_get::<&str, _>("payload")?.is_empty());
    }
    ensure!(read == rows, "{read} of {rows} rows came out");
    report.read_rows_per_second = Some(rows as f64 / begun.elapsed().as_secs_f64());
    drop(all);
    database.close().await?;
    Ok(report)
}

async fn store(writer: &mut SqliteConnection, insert: &str, batch: Vec<Row>) -> anyhow::Result<()> {
    begin(writer).await?;
    let mut query = sqlx::query(insert);
    for Row { event, payload } in &batch {
        let command = event.command.as_ref();
        query = query
            .bind(event.position as i64)
            .bind(event.stream.aggregate_type.as_str())
            .bind(&*event.stream.aggregate_id)
            .bind(event.sequence as i64)
            .bind(event.event.event_type())
            .bind(event.event.event_version())
            .bind(payload)
            .bind(&*event.metadata)
            .bind(event.recorded_at.0)
            .bind(command.map(|command| &*command.issuer))
            .bind(command.map(|command| &*command.key));
    }
    query.execute(&mut *writer).await?;
    Ok(commit(writer).await?)
}
