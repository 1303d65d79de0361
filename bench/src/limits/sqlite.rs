//! Into the journal's own schema in a `SQLite` file, and out of it.

use std::time::Instant;

use anyhow::ensure;
use rusqlite::{Connection, TransactionBehavior, params};
use verbatim_sqlite::{Database, Durability, ReadError};

use super::{Report, Row, Rows, report};
use crate::processes;

pub const SCHEMA: [(&str, &str); 1] = [(
    "create journal",
    include_str!("../../../migrations/sqlite/journal/0001_create_journal.sql"),
)];

/// The statement with which the journal takes rows.
pub const INSERT: &str = include_str!("../../../crates/journal/src/sqlite/append_event.sql");

pub async fn run(args: Rows) -> anyhow::Result<Report> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("journal.sqlite");
    let database = Database::open(&path, Durability::Full, 1, &SCHEMA).await?;
    let batches = args.batches()?;
    let rows = batches.iter().map(Vec::len).sum();
    let before = processes::look(&args.processes)?;
    let begun = Instant::now();
    let stored = database
        .write(move |connection| batches.iter().try_for_each(|batch| store(connection, batch)));
    stored.await??;
    let mut report = report(&before, begun, rows)?;

    let begun = Instant::now();
    let reading = database.readers().read(|connection| {
        let mut select = connection.prepare("select * from events order by position")?;
        let mut all = select.query([])?;
        let mut read = 0;
        while let Some(row) = all.next()? {
            let payload: String = row.get("payload")?;
            read += usize::from(!payload.is_empty());
        }
        Ok::<_, ReadError>(read)
    });
    let read = reading.await?;
    ensure!(read == rows, "{read} of {rows} rows came out");
    report.read_rows_per_second = Some(rows as f64 / begun.elapsed().as_secs_f64());
    database.close().await?;
    Ok(report)
}

fn store(connection: &mut Connection, batch: &[Row]) -> Result<(), rusqlite::Error> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let mut insert = transaction.prepare_cached(INSERT)?;
    for Row { event, payload } in batch {
        let command = event.command.as_ref();
        insert.execute(params![
            event.position as i64,
            event.stream.aggregate_type.as_str(),
            &*event.stream.aggregate_id,
            event.sequence as i64,
            event.event.event_type(),
            event.event_version(),
            payload,
            &*event.metadata,
            event.recorded_at.0,
            command.map(|command| &*command.issuer),
            command.map(|command| &*command.key),
        ])?;
    }
    drop(insert);
    transaction.commit()
}
