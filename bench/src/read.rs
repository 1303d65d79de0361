//! All of a journal's events out of its database, as fast as it gives them.

use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Context;
use clap::ValueEnum;
use futures::TryStreamExt;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde::Serialize;
use sqlx::{Connection as _, PgConnection};
use verbatim_proof::leaf_hash;

use crate::processes;

const COLUMNS: &str = "position, aggregate_type, aggregate_id, sequence, event_type, event_version, \
                       payload, metadata, recorded_at, issuer, key";

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A data folder.
    #[arg(long, required_unless_present = "database", conflicts_with = "database")]
    pub data_dir: Option<PathBuf>,
    /// A `PostgreSQL` database.
    #[arg(long, value_name = "URL")]
    pub database: Option<String>,
    /// What is done with them.
    #[arg(long)]
    pub to: Aim,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Aim {
    /// Lines of text, thrown away: what COPY gives.
    Text,
    /// The same, and the hash of each line.
    Hash,
}

#[derive(Debug, Serialize)]
pub struct Report {
    events: u64,
    events_per_second: f64,
    cpu_us_per_event: f64,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let before = processes::look(&[])?;
    let begun = Instant::now();
    let events = match (args.data_dir, args.database) {
        (Some(folder), _) => sqlite(&folder.join("journal.sqlite"), args.to)?,
        (_, Some(url)) => postgres(&url, args.to).await?,
        (None, None) => anyhow::bail!("--data-dir or --database is wanted"),
    };
    let seconds = begun.elapsed().as_secs_f64();
    let cpu_seconds = before.until_now()?.load_cpu_seconds;
    Ok(Report {
        events,
        events_per_second: events as f64 / seconds,
        cpu_us_per_event: cpu_seconds * 1e6 / events as f64,
    })
}

fn sqlite(path: &Path, to: Aim) -> anyhow::Result<u64> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| format!("--data-dir: {}", path.display()))?;
    let mut select =
        connection.prepare(&format!("select {COLUMNS} from events order by position"))?;
    let columns = select.column_count();
    let mut rows = select.query([])?;
    let (mut events, mut line) = (0, Vec::new());
    while let Some(row) = rows.next()? {
        line.clear();
        for column in 0..columns {
            match row.get_ref(column)? {
                ValueRef::Text(text) | ValueRef::Blob(text) => line.extend_from_slice(text),
                ValueRef::Integer(number) => line.extend_from_slice(number.to_string().as_bytes()),
                ValueRef::Real(_) | ValueRef::Null => line.extend_from_slice(b"\\N"),
            }
            line.push(b'\t');
        }
        dispose(&line, to);
        events += 1;
    }
    Ok(events)
}

async fn postgres(url: &str, to: Aim) -> anyhow::Result<u64> {
    let mut connection = PgConnection::connect(url).await.context("--database")?;
    let copy = format!("copy (select {COLUMNS} from journal.events order by position) to stdout");
    let mut copied = connection.copy_out_raw(&copy).await?;
    let mut events = 0;
    while let Some(bytes) = copied.try_next().await? {
        // A message of the protocol holds one line.
        dispose(&bytes, to);
        events += memchr::memchr_iter(b'\n', &bytes).count() as u64;
    }
    Ok(events)
}

fn dispose(line: &[u8], to: Aim) {
    match to {
        Aim::Text => {
            black_box(line);
        }
        Aim::Hash => {
            black_box(leaf_hash(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn one_place_is_wanted() {
        assert!(Cli::try_parse_from(["read", "--data-dir", "x", "--to", "text"]).is_ok());
        for bad in [
            &["--to", "text"][..],
            &["--data-dir", "x"],
            &["--data-dir", "x", "--to", "nothing"],
            &["--data-dir", "x", "--database", "y", "--to", "hash"],
        ] {
            assert!(Cli::try_parse_from([&["read"], bad].concat()).is_err(), "{bad:?}");
        }
    }

    #[tokio::test]
    async fn a_journal_that_is_not_there_is_told_of() {
        let nowhere = Args { data_dir: Some("/proc".into()), database: None, to: Aim::Text };
        let told = run(nowhere).await.expect_err("there is none").to_string();
        assert!(told.contains("/proc/journal.sqlite"), "{told}");
    }
}
