//! Journals that are large before anything is measured.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use serde::Serialize;
use verbatim_journal::{Import, Journal, SqliteJournal};
use verbatim_keys::{SqliteKeys, Vault};

use crate::cast::{Cast, at_least_one};
use crate::events::Events;

/// That with which the keys of those who talk are encrypted: in 32 bytes of hexadecimal, as a data folder
/// has its own.
const MASTER_KEY: &str = "5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e5e";

/// Events that are stored in one transaction, about.
const BATCH: usize = 10_000;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// A data folder of the embedded form that holds no journal yet. Views are to be made by
    /// `verbatim rebuild`.
    #[arg(long)]
    data_dir: PathBuf,
    #[command(flatten)]
    cast: Cast,
    /// Messages in all, in one conversation after the other: the databases take that several times
    /// faster than all of them in turn.
    #[arg(long, value_parser = at_least_one())]
    messages: usize,
    /// Bytes of a message's content.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    events: u64,
    seconds: f64,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let begun = Instant::now();
    let folder = &args.data_dir;
    std::fs::create_dir_all(folder).with_context(|| format!("--data-dir {}", folder.display()))?;
    let path = folder.join("journal.sqlite");
    ensure!(!path.exists(), "--data-dir: {} is there already", path.display());
    let journal = SqliteJournal::open(&path).await?;
    let in_a_row = args.messages.div_ceil(args.cast.conversations());
    let mut events = Events::new(args.cast, args.bytes, in_a_row);
    std::fs::write(folder.join("master_key"), MASTER_KEY)?;
    let keys = Arc::new(SqliteKeys::open(&folder.join("keys.sqlite")).await?);
    events.encrypt(&Vault::open(keys.clone(), MASTER_KEY.parse()?).await?).await?;
    let mut batch = Vec::with_capacity(BATCH);
    for number in 1..=args.messages {
        batch.append(&mut events.message()?);
        // Else each would be sent it when they connect.
        if number % in_a_row == 0 || number == args.messages {
            batch.append(&mut events.received()?);
        }
        if batch.len() >= BATCH {
            journal.import(std::mem::take(&mut batch)).await?;
        }
    }
    batch.append(&mut events.received_by_senders()?);
    journal.import(batch).await?;
    journal.save_snapshots(events.snapshots()?).await?;
    journal.close().await?;
    keys.close().await?;
    Ok(Report { events: events.position(), seconds: begun.elapsed().as_secs_f64() })
}

#[cfg(test)]
mod tests {
    use verbatim_journal::Log;

    use super::*;

    fn args(folder: PathBuf) -> Args {
        Args { data_dir: folder, cast: Cast::new(3), messages: 7, bytes: 10 }
    }

    #[tokio::test]
    async fn a_journal_is_filled_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path().join("data");
        let report = run(args(folder.clone())).await.expect("filled");
        // Three starts of three events, seven messages, and that six people have them.
        assert_eq!(report.events, 9 + 7 + 6);
        let journal = SqliteJournal::open(&folder.join("journal.sqlite")).await.expect("opened");
        assert_eq!(journal.head().await.expect("its head"), report.events);
        assert_eq!(journal.read_after(0, 100).await.expect("events").len(), 22);
        let again = run(args(folder)).await.expect_err("refused").to_string();
        assert!(again.contains("is there already"), "{again}");
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_told_of() {
        let refused = run(args("/proc/nowhere".into())).await.expect_err("refused").to_string();
        assert!(refused.contains("/proc/nowhere"), "{refused}");
    }
}
