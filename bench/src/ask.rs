//! Requests, one after the other on each connection.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;
use uuid::Uuid;

use crate::cast::at_least_one;
use crate::client::{Message, Said, Target, is_success, lossy};
use crate::processes::{self, Processors, Spent, Used};
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
    /// Answers of another length than the one before that was looked through.
    wrong: u64,
    processors: Processors,
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
    // Until everybody has all. What each is answered from then on is as long.
    let lengths = try_join_all(connections.iter_mut().map(async |connection| {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            let answer = connection.ask(&args.event, "{}").await?;
            if entries(&answer)? == args.entries {
                return anyhow::Ok(answer.len());
            }
            ensure!(Instant::now() < end, "not all {} are there", args.entries);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }))
    .await?;
    processes::quiet(&args.target.processes).await?;

    let begun = Instant::now() + Duration::from_secs_f64(args.warm_up);
    let end = begun + Duration::from_secs_f64(args.seconds);
    let mut tasks = JoinSet::new();
    for (mut connection, length) in connections.into_iter().zip(lengths) {
        let event = args.event.clone();
        tasks.spawn_local(async move {
            let (mut answers, mut bytes, mut wrong) = (0_u64, 0_u64, 0_u64);
            loop {
                let answer = connection.ask(&event, "{}").await?;
                ensure!(is_success(&answer), "refused: {}", lossy(&answer));
                wrong += u64::from(answer.len() != length);
                let now = Instant::now();
                if now >= end {
                    connection.close().await?;
                    return anyhow::Ok((answers, bytes, wrong));
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
    let Spent { processes, cpu_seconds, load_cpu_seconds, processors } = before.until_now()?;
    let (mut answers, mut bytes, mut wrong) = (0, 0, 0);
    while let Some(ended) = tasks.join_next().await {
        let (more, more_bytes, more_wrong) = ended??;
        answers += more;
        bytes += more_bytes;
        wrong += more_wrong;
    }
    Ok(Report {
        answers_per_second: answers as f64 / args.seconds,
        cpu_us_per_answer: cpu_seconds * 1e6 / answers as f64,
        bytes_per_answer: bytes as f64 / answers as f64,
        wrong,
        processors,
        processes,
        load_cpu_seconds,
    })
}

/// How many entries the list has that was asked for.
fn entries(answer: &[u8]) -> anyhow::Result<usize> {
    let answer: Value = serde_json::from_slice(answer)?;
    let list = answer[0]["data"].as_array();
    list.map(Vec::len).with_context(|| format!("no list: {answer}"))
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
    fn entries_are_those_of_the_list_alone() {
        let list = br#"[{"success":true,"data":[{"_id":"a","lastMessage":{"_id":"b"}}]}]"#;
        assert_eq!(entries(list).expect("a list"), 1);
        for bad in [&b"[]"[..], br#"[{"success":false,"error":{}}]"#, b"nonsense"] {
            assert!(entries(bad).is_err(), "{}", lossy(bad));
        }
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
