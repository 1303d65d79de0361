//! Everybody comes back at once.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use crate::cast::{Cast, at_least_one};
use crate::client::{Connection, Message, Packet, Reader, Said, Target, is_success, lossy, parse};
use crate::processes::{self, Spent, Used};
use crate::talk::{Outcome, Plan, Talk, Times, connect, pause, positive};

/// What one client may take to catch up.
const PATIENCE: Duration = Duration::from_mins(1);
/// For how long it is measured how others talk while nothing else happens.
const CALM: Duration = Duration::from_secs(5);
/// How long all stay before they leave: what comes twice or late comes in this time, and what they have
/// been sent counts as received when they say goodbye.
const STAY: Duration = Duration::from_secs(4);
/// Who writes while the clients are away.
const WRITERS: usize = 32;
/// The most clients that are told of.
const TOLD: usize = 10;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[arg(long, default_value_t = 10_000, value_parser = at_least_one())]
    clients: usize,
    /// Messages that each of them missed.
    #[arg(long, default_value_t = 10)]
    missed: usize,
    /// Connections that are being opened at once.
    #[arg(long, default_value_t = 256, value_parser = at_least_one())]
    opening: usize,
    /// Messages a second of ten pairs of others, who talk all the time.
    #[arg(long, default_value_t = 500.0, value_parser = positive)]
    others: f64,
}

#[derive(Debug, Serialize)]
pub struct Report {
    /// Until all were connected who had missed nothing.
    connect_seconds: f64,
    /// Until all were connected and had what they had missed, behind the cursor that each had kept.
    caught_up_seconds: f64,
    /// The same without a cursor: the server knows what each has received.
    caught_up_without_cursor_seconds: f64,
    /// Messages that came other than they had to.
    wrong: u64,
    /// Some of those to whom they came so.
    wrong_for: Vec<String>,
    /// How others talked meanwhile.
    others: Others,
    #[serde(flatten)]
    outcome: Outcome,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
}

/// In microseconds from send to receipt.
#[derive(Debug, Serialize)]
struct Others {
    calm: Times,
    connecting: Times,
    catching_up: Times,
    catching_up_without_cursor: Times,
}

/// Those who come back.
struct Clients<'t> {
    target: &'t Target,
    users: Vec<String>,
    /// Where each of them was last.
    cursors: Vec<Option<String>>,
    opening: usize,
}

/// One who has come back.
struct Back {
    connection: Connection,
    cursor: String,
    caught_up: CaughtUp,
}

/// What came to clients other than it had to.
#[derive(Debug, Default)]
struct Wrong {
    messages: u64,
    clients: Vec<String>,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let target = &args.target;
    let name = Uuid::now_v7().simple().to_string();
    let users = (0..args.clients).map(|number| format!("back-{number}-{name}")).collect();
    let cursors = vec![None; args.clients];
    let mut clients = Clients { target, users, cursors, opening: args.opening };
    // The first time makes the users known; the second is measured.
    let back = clients.all_back().await?;
    clients.leave(back, 0).await?;
    processes::quiet(&target.processes).await?;

    let plan = Plan { cast: Cast::new(10), rate: Some(args.others), ..Plan::default() };
    let mut others = Talk::begin(target, &plan).await?;
    others.measure(pause(CALM)).await?;
    let (connect_seconds, back) = others.measure(timed(clients.all_back())).await?;
    let mut wrong = others.during(clients.leave(back, 0)).await?;
    others.during(clients.miss(args.missed)).await?;
    let before = processes::look(&target.processes)?;
    let (caught_up_seconds, back) = others.measure(timed(clients.all_back())).await?;
    let Spent { processes, load_cpu_seconds, .. } = before.until_now()?;
    wrong.add(others.during(clients.leave(back, args.missed)).await?);
    others.during(clients.miss(args.missed)).await?;
    clients.cursors.fill(None);
    let (caught_up_without_cursor_seconds, back) =
        others.measure(timed(clients.all_back())).await?;
    wrong.add(others.during(clients.leave(back, args.missed)).await?);
    let (outcome, windows) = others.end().await?;
    let times = |number: usize| Times::from(&windows[number].to_receipt);
    let others = Others {
        calm: times(0),
        connecting: times(1),
        catching_up: times(2),
        catching_up_without_cursor: times(3),
    };
    Ok(Report {
        connect_seconds,
        caught_up_seconds,
        caught_up_without_cursor_seconds,
        wrong: wrong.messages,
        wrong_for: wrong.clients,
        others,
        outcome,
        processes,
        load_cpu_seconds,
    })
}

/// How many seconds it took, and what came of it.
async fn timed<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(f64, T)> {
    let begun = Instant::now();
    let done = work.await?;
    Ok((begun.elapsed().as_secs_f64(), done))
}

impl Clients<'_> {
    /// Each is sent so many messages, while away; then nothing of it is being worked on any more.
    async fn miss(&self, count: usize) -> anyhow::Result<()> {
        let name = Uuid::now_v7().simple();
        let writers: Vec<_> =
            (0..WRITERS).map(|number| format!("writes-{number}-{name}")).collect();
        let each = self.users.len().div_ceil(writers.len());
        let written = connect(self.target, &writers)
            .await?
            .into_iter()
            .zip(self.users.chunks(each))
            .map(|(connection, users)| write(connection, users, count));
        futures::future::try_join_all(written).await?;
        pause(Duration::from_secs(2)).await
    }

    /// Connects everybody behind their cursors, until all have caught up.
    async fn all_back(&self) -> anyhow::Result<Vec<Back>> {
        let Self { target, users, cursors, opening } = self;
        let back = users.iter().zip(cursors).enumerate();
        let back = back.map(|(number, (user, cursor))| async move {
            let mut connection = target.connect_at(user, number, cursor.as_deref()).await?;
            let ready = timeout(PATIENCE, catch_up(&mut connection)).await;
            let (cursor, caught_up) =
                ready.with_context(|| format!("{user} was not brought up to date"))??;
            anyhow::Ok((number, Back { connection, cursor, caught_up }))
        });
        let mut all: Vec<_> = stream::iter(back).buffer_unordered(*opening).try_collect().await?;
        all.sort_by_key(|(number, _)| *number);
        Ok(all.into_iter().map(|(_, back)| back).collect())
    }

    /// All leave, and keep their cursors. What was wrong with how they caught up with what they had
    /// `missed`.
    async fn leave(&mut self, back: Vec<Back>, missed: usize) -> anyhow::Result<Wrong> {
        pause(STAY).await?;
        let reader = Reader::new(0);
        let mut wrong = Wrong::default();
        let mut leaving = Vec::new();
        let back = self.users.iter().zip(&mut self.cursors).zip(back);
        for ((user, slot), Back { mut connection, cursor, mut caught_up }) in back {
            while let Some(more) = connection.next().now_or_never() {
                if let Packet::Event(event) = parse(more?) {
                    caught_up.late.extend(reader.read(event).map(|said| said.number));
                }
            }
            let messages = caught_up.wrong(missed);
            if messages > 0 {
                let start = if slot.is_some() { "with" } else { "without" };
                wrong.add(Wrong {
                    messages,
                    clients: vec![format!("{user}, {start} a cursor, at {cursor}: {caught_up:?}")],
                });
            }
            *slot = Some(cursor);
            leaving.push(connection.close());
        }
        stream::iter(leaving).buffer_unordered(self.opening).try_collect::<()>().await?;
        Ok(wrong)
    }
}

/// Each of these users is sent so many messages.
async fn write(mut connection: Connection, users: &[String], count: usize) -> anyhow::Result<()> {
    let mut packet = Vec::new();
    for user in users {
        let conversation = format!("to-{user}-{}", Uuid::now_v7().simple());
        for number in 1..=count as u64 {
            let said = Said { voice: 0, number, at: 0 };
            let message =
                Message { run: 0, said, conversation: &conversation, target: user, bytes: 100 };
            message.write(&mut packet, Some(number));
            connection.feed(&packet);
        }
        let mut answers = 0;
        while answers < count {
            if let Packet::Ack { body, .. } = parse(connection.next().await?) {
                ensure!(is_success(body), "not sent: {}", lossy(body));
                answers += 1;
            }
        }
    }
    connection.close().await
}

impl Wrong {
    fn add(&mut self, more: Self) {
        self.messages += more.messages;
        self.clients.extend(more.clients);
        self.clients.truncate(TOLD);
    }
}

/// The numbers of the messages that one client got.
#[derive(Debug, Default)]
struct CaughtUp {
    /// Until the server said that these were all.
    came: Vec<u64>,
    /// After that.
    late: Vec<u64>,
}

impl CaughtUp {
    /// How many messages came other than 1, 2, 3 …, `missed` of them and nothing after.
    fn wrong(&self, missed: usize) -> u64 {
        let other = self.came.iter().zip(1..).filter(|(came, number)| *came != number).count();
        (other + self.came.len().abs_diff(missed) + self.late.len()) as u64
    }
}

/// Reads until the server says that this was all, and gives the cursor behind it.
async fn catch_up(connection: &mut Connection) -> anyhow::Result<(String, CaughtUp)> {
    let reader = Reader::new(0);
    let mut caught_up = CaughtUp::default();
    loop {
        let Packet::Event(event) = parse(connection.next().await?) else { continue };
        if let Some(said) = reader.read(event) {
            caught_up.came.push(said.number);
        } else if event.starts_with(b"[\"stream:ready\"") {
            let event: Value = serde_json::from_slice(event)?;
            let cursor = event[1]["data"]["cursor"].as_str().context("no cursor")?;
            return Ok((cursor.to_owned(), caught_up));
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
        _args: Args,
    }

    #[test]
    fn arguments_that_make_no_sense_are_refused() {
        let parse = |arguments: &[&str]| {
            Cli::try_parse_from(["storm", "--server", "host:1"].iter().chain(arguments))
        };
        assert!(parse(&[]).is_ok());
        for bad in [["--clients", "0"], ["--missed", "-1"], ["--opening", "0"], ["--others", "0"]] {
            assert!(parse(&bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_is_missing_comes_twice_or_in_another_order_is_wrong() {
        let wrong = |came: &[u64], late: &[u64]| {
            CaughtUp { came: came.to_vec(), late: late.to_vec() }.wrong(3)
        };
        assert_eq!(wrong(&[1, 2, 3], &[]), 0);
        for bad in [&[][..], &[1, 2], &[2, 3], &[1, 3, 2], &[1, 2, 2, 3], &[1, 2, 3, 4]] {
            assert!(wrong(bad, &[]) > 0, "{bad:?}");
        }
        assert_eq!(
            wrong(&[1, 2], &[3]),
            2,
            "missing when it should have been there, and then late"
        );
    }
}
