//! What the stores below Verbatim can take at the most: its own events, put straight into them.

mod jetstream;
mod postgres;
pub mod sqlite;

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use verbatim_protocol::Recorded;

use crate::cast::{Cast, at_least_one};
use crate::events::Events;
use crate::processes::{Look, Spent, Used, Watched};

#[derive(Debug, clap::Subcommand)]
pub enum Limit {
    /// Events into `PostgreSQL`: one insert a batch, each committed to the disk; then all out by COPY.
    Postgres(postgres::Args),
    /// Events into `SQLite`, a transaction a batch, each committed to the disk; then all read.
    Sqlite(Rows),
    /// Commands into a `JetStream` stream on the disk, many under way at once.
    Jetstream(jetstream::Args),
}

#[derive(Debug, Clone, clap::Args)]
pub struct Rows {
    /// Processes whose processor time and memory are told, with all that they started.
    #[arg(long = "process", value_name = "NAME=PID")]
    processes: Vec<Watched>,
    /// How many in all.
    #[arg(long = "rows", default_value_t = 300_000, value_parser = at_least_one())]
    count: usize,
    /// Rows in a transaction.
    #[arg(long, default_value_t = 100, value_parser = at_least_one())]
    batch: usize,
    /// Bytes of a message's content.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    rows: usize,
    refused: usize,
    rows_per_second: f64,
    /// Of the watched processes, or of this one where there are none.
    cpu_us_per_row: f64,
    load_cpu_us_per_row: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    read_rows_per_second: Option<f64>,
    processes: Vec<Used>,
}

/// An event, its payload written down.
struct Row {
    event: Arc<Recorded>,
    payload: String,
}

pub async fn run(limit: Limit) -> anyhow::Result<Report> {
    match limit {
        Limit::Postgres(args) => postgres::run(args).await,
        Limit::Sqlite(rows) => sqlite::run(rows).await,
        Limit::Jetstream(args) => jetstream::run(args).await,
    }
}

impl Rows {
    /// Made before anything is measured.
    fn batches(&self) -> anyhow::Result<Vec<Vec<Row>>> {
        let mut events = Events::new(Cast::new(100), self.bytes, 1);
        let batch = |_| -> anyhow::Result<Vec<Row>> {
            let events = events.batch(self.batch)?.into_iter();
            events.map(|event| Ok(Row { payload: event.event.payload()?, event })).collect()
        };
        (0..self.count.div_ceil(self.batch)).map(batch).collect()
    }
}

/// What it took to store all since `before` and `begun`.
fn report(before: &Look<'_>, begun: Instant, rows: usize) -> anyhow::Result<Report> {
    let seconds = begun.elapsed().as_secs_f64();
    let Spent { processes, cpu_seconds, load_cpu_seconds, .. } = before.until_now()?;
    let cpu_seconds = if processes.is_empty() { load_cpu_seconds } else { cpu_seconds };
    Ok(Report {
        rows,
        refused: 0,
        rows_per_second: rows as f64 / seconds,
        cpu_us_per_row: cpu_seconds * 1e6 / rows as f64,
        load_cpu_us_per_row: load_cpu_seconds * 1e6 / rows as f64,
        read_rows_per_second: None,
        processes,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(subcommand)]
        _limit: Limit,
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        assert!(Cli::try_parse_from(["limit", "sqlite"]).is_ok());
        for bad in [
            &["sqlite", "--rows", "0"][..],
            &["sqlite", "--batch", "0"],
            &["sqlite", "--bytes", "-1"],
            &["sqlite", "--process", "x"],
            &["postgres"],
            &["postgres", "--database", "x", "--connections", "0"],
            &["jetstream"],
            &["jetstream", "--url", "x", "--under-way", "0"],
        ] {
            assert!(Cli::try_parse_from([&["limit"], bad].concat()).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn all_rows_are_stored_and_read_again() {
        let rows = Rows { processes: Vec::new(), count: 25, batch: 10, bytes: 10 };
        let report = sqlite::run(rows).await.expect("stored");
        assert_eq!(report.rows, 30, "whole batches");
        assert!(report.read_rows_per_second.is_some_and(|rows| rows > 0.0));
    }

    #[tokio::test]
    async fn servers_that_are_not_there_are_told_of() {
        let rows = || Rows { processes: Vec::new(), count: 1, batch: 1, bytes: 1 };
        let nowhere = "127.0.0.1:1";
        let database = format!("postgres://{nowhere}/x");
        let postgres = postgres::Args { database, connections: 1, rows: rows() };
        assert!(postgres::run(postgres).await.is_err());
        let url = nowhere.to_owned();
        assert!(jetstream::run(jetstream::Args { url, under_way: 1, rows: rows() }).await.is_err());
    }
}
