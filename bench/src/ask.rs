//! Requests, one after the other on each connection.

use std::time::{Duration, Instant};

use anyhow::ensure;
use futures::future::try_join_all;
use memchr::memmem::Finder;
use serde::Serialize;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cast::at_least_one;
use crate::client::{Message, Said, Target, is_success, lossy};
use crate::processes::{self, Spent, Used};
use crate::talk::{connect, not_negative, positive};

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// The event, which takes an empty payload.
    #[arg(long, default_value = "conversation:get")]
    event: String,
    /// Users who ask.
    #[arg(long, default_value_t = 50, value_parser = at_least_one())]
    users: usize,
    /// Conversations that each user has, a message in each, and as many notifications.
    #[arg(long, default_value_t = 20, value_parser = at_least_one())]
    entries: usize,
    #[arg(long, default_value_t = 2.0, value_parser = not_negative)]
    warm_up: f64,
    #[arg(long, default_value_t = 5.0, value_parser = positive)]
    seconds: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    answers_per_second: f64,
    cpu_us_per_answer: f64,
    bytes_per_answer: f64,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let name = Uuid::now_v7().simple().to_string();
    let users: Vec<_> = (0..args.users).map(|number| format!("asks-{number}-{name}")).collect();
    // Their notifications come of what was sent while they were away.
    let writer = [format!("writes-{name}")];
    let mut writing = connect(&args.target, &writer).await?;
    for user in &users {
        for entry in 0..args.entries {
            let conversation = format!("{user}-{entry}");
            let said = Said { voice: 0, number: 1, at: 0 };
            let message =
                Message { run: 0, said, conversation: &conversation, target: user, bytes: 100 };
            let answer = writing[0].ask("message:send", &message.payload()).await?;
            ensure!(is_success(&answer), "not sent: {}", lossy(&answer));
        }
    }
    let mut connections = connect(&args.target, &users).await?;
    // Until everybody has all.
    let ids = Finder::new("\"_id\"");
    let full = |answer: &[u8]| ids.find_iter(answer).count() >= args.entries;
    try_join_all(connections.iter_mut().map(async |connection| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = connection.ask(&args.event, "{}").await?;
            if full(&answer) {
                return anyhow::Ok(());
            }
            ensure!(Instant::now() < end, "not all {} are there", args.entries);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }))
    .await?;

    let begun = Instant::now() + Duration::from_secs_f64(args.warm_up);
    let end = begun + Duration::from_secs_f64(args.seconds);
    let mut tasks = JoinSet::new();
    for mut connection in connections {
        let event = args.event.clone();
        tasks.spawn_local(async move {
            let (mut answers, mut bytes) = (0_u64, 0_u64);
            loop {
                let answer = connection.ask(&event, "{}").await?;
                ensure!(is_success(&answer), "refused: {}", lossy(&answer));
                let now = Instant::now();
                if now >= end {
                    connection.close().await?;
                    return anyhow::Ok((answers, bytes));
                }
                if now >= begun {
                    answers += 1;
                    bytes += answer.len() as u64;
                }
            }
        });
    }
    tokio::time::sleep_until(begun.into()).await;
    let before = processes::look(&args.target.processes)?;
    tokio::time::sleep_until(end.into()).await;
    let Spent { processes, cpu_seconds, load_cpu_seconds } = before.until_now()?;
    let (mut answers, mut bytes) = (0, 0);
    while let Some(ended) = tasks.join_next().await {
        let (more, more_bytes) = ended??;
        answers += more;
        bytes += more_bytes;
    }
    Ok(Report {
        answers_per_second: answers as f64 / args.seconds,
        cpu_us_per_answer: cpu_seconds * 1e6 / answers as f64,
        bytes_per_answer: bytes as f64 / answers as f64,
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
            Cli::try_parse_from(["ask", "--server", "host:1"].iter().chain(arguments))
        };
        assert!(parse(&[]).is_ok());
        for bad in [["--users", "0"], ["--entries", "0"], ["--warm-up", "-1"], ["--seconds", "0"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }
}
