//! Everybody comes back at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::client::{Connection, Packet, Reader, Said, Target, is_success, message, parse};
use crate::processes::{self, Used};
use crate::talk::connect;

/// What one client may take to catch up.
const PATIENCE: Duration = Duration::from_mins(1);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 10_000)]
    clients: usize,
    /// Messages that each of them missed.
    #[arg(long, default_value_t = 10)]
    missed: usize,
    /// Connections that are being opened at once.
    #[arg(long, default_value_t = 256)]
    opening: usize,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// Until all were connected who had missed nothing.
    connect_seconds: f64,
    /// Until all were connected and had what they had missed.
    caught_up_seconds: f64,
    wrong: u64,
    processes: Vec<Used>,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let target = &args.target;
    let name = Uuid::now_v7().simple().to_string();
    let users: Vec<_> = (0..args.clients).map(|number| format!("back-{number}-{name}")).collect();
    let mut cursors = vec![None; args.clients];
    // The first time makes the users known; the second is measured.
    all_back(target, &users, &mut cursors, 0, args.opening).await?;
    let begun = Instant::now();
    all_back(target, &users, &mut cursors, 0, args.opening).await?;
    let connect_seconds = begun.elapsed().as_secs_f64();

    let writers: Vec<_> = (0..32).map(|number| format!("writes-{number}-{name}")).collect();
    let writing = connect(target, &writers).await?;
    let each = args.clients.div_ceil(writers.len());
    let written = writing
        .into_iter()
        .zip(users.chunks(each))
        .map(|(connection, users)| write(connection, users, args.missed));
    futures::future::try_join_all(written).await?;

    let before = processes::look(&target.processes)?;
    let begun = Instant::now();
    let wrong = all_back(target, &users, &mut cursors, args.missed, args.opening).await?;
    let caught_up_seconds = begun.elapsed().as_secs_f64();
    let after = processes::look(&target.processes)?;
    let processes = processes::between(&target.processes, &before, &after);
    Ok(Report { connect_seconds, caught_up_seconds, wrong, processes })
}

/// Each of these users is sent so many messages, while away.
async fn write(mut connection: Connection, users: &[String], count: usize) -> anyhow::Result<()> {
    for user in users {
        for number in 1..=count as u64 {
            let said = Said { sender: 0, number, at: 0 };
            connection.feed(message(said, Some(number), &format!("to-{user}"), user, 100)).await?;
        }
        connection.flush().await?;
        let mut answers = 0;
        while answers < count {
            if let Packet::Ack { body, .. } = parse(&connection.next().await?) {
                ensure!(is_success(body), "not sent: {body}");
                answers += 1;
            }
        }
    }
    Ok(())
}

/// Connects everybody behind their cursors; once all have had `missed` messages all leave. How many
/// messages were others than those that had to come.
async fn all_back(
    target: &Target,
    users: &[String],
    cursors: &mut [Option<String>],
    missed: usize,
    opening: usize,
) -> anyhow::Result<u64> {
    let back = users.iter().zip(&*cursors).enumerate().map(|(number, (user, cursor))| async move {
        let mut connection = target.connect_at(user, number, cursor.as_deref()).await?;
        let ready = timeout(PATIENCE, catch_up(&mut connection, missed)).await;
        let (cursor, wrong) =
            ready.with_context(|| format!("{user} was not brought up to date"))??;
        anyhow::Ok((connection, cursor, wrong))
    });
    let back: Vec<_> = stream::iter(back).buffered(opening).try_collect().await?;
    let mut all_wrong = 0;
    let mut leaving = Vec::new();
    for (slot, (connection, cursor, wrong)) in cursors.iter_mut().zip(back) {
        *slot = Some(cursor);
        all_wrong += wrong;
        leaving.push(connection.close());
    }
    stream::iter(leaving).buffer_unordered(opening).try_collect::<()>().await?;
    Ok(all_wrong)
}

/// Reads until the server says that this was all, and gives the cursor behind it.
async fn catch_up(connection: &mut Connection, missed: usize) -> anyhow::Result<(String, u64)> {
    let reader = Reader::default();
    let (mut came, mut wrong) = (0, 0);
    loop {
        let text = connection.next().await?;
        let Packet::Event(event) = parse(&text) else { continue };
        if let Some(said) = reader.read(event) {
            came += 1;
            wrong += u64::from(said.number != came);
        } else if event.starts_with("[\"stream:ready\"") {
            let event: Value = serde_json::from_str(event)?;
            let cursor = event[1]["data"]["cursor"].as_str().context("no cursor")?;
            return Ok((cursor.to_owned(), wrong + came.abs_diff(missed as u64)));
        }
    }
}
