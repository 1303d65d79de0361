//! Connections that do nothing.

use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use tokio::time::sleep;
use uuid::Uuid;

use crate::cast::at_least_one;
use crate::client::{Connection, Target};
use crate::processes::{self, Spent, Used};
use crate::talk::not_negative;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one())]
    connections: usize,
    /// Connections that are being opened at once.
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    opening: usize,
    /// Seconds for which they are held before memory is measured.
    #[arg(long, default_value_t = 5.0, value_parser = not_negative)]
    hold: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    connects_per_second: f64,
    cpu_us_per_connect: f64,
    /// Resident memory that came with the connections, of all processes, for each.
    kib_per_connection: f64,
    /// Connections that were not open any more at the end.
    lost: usize,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let target = &args.target;
    let name = Uuid::now_v7().simple();
    // What the first connections bring about counts for none of them.
    let first: Vec<_> = (0..10)
        .map(
            |number| async move { target.connect(&format!("first-{number}-{name}"), number).await },
        )
        .collect();
    let _first = futures::future::try_join_all(first).await?;
    sleep(Duration::from_secs(1)).await;
    let before = processes::look(&target.processes)?;
    let begun = Instant::now();
    let opening = (0..args.connections).map(|number| async move {
        target.connect(&format!("idle-{number}-{name}"), number).await
    });
    let mut opened: Vec<_> =
        stream::iter(opening).buffer_unordered(args.opening).try_collect().await?;
    let seconds = begun.elapsed().as_secs_f64();
    let Spent { processes, cpu_seconds, load_cpu_seconds, .. } = before.until_now()?;
    sleep(Duration::from_secs_f64(args.hold)).await;
    let held = processes::look(&target.processes)?;
    let lost = opened.iter_mut().map(Connection::is_over).filter(|is_over| *is_over).count();
    let count = opened.len() as f64;
    let came = held.resident_kib() as f64 - before.resident_kib() as f64;
    Ok(Report {
        connects_per_second: count / seconds,
        cpu_us_per_connect: cpu_seconds * 1e6 / count,
        kib_per_connection: came / count,
        lost,
        processes,
        load_cpu_seconds,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Cli {
        #[command(flatten)]
        _args: Args,
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from(["idle", "--server", "host:1"].iter().chain(arguments))
        };
        assert!(parse(&[]).is_ok());
        for bad in [["--connections", "0"], ["--opening", "0"], ["--hold", "-1"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
