//! Users who talk: closed loop (so many messages under way a sender) or open loop (a fixed rate).

mod order;
mod pacer;
mod session;
#[cfg(test)]
mod tests;
mod window;

use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::cast::{Cast, at_least_one};
use crate::client::{Connection, Target, is_success, lossy};
use crate::processes::{self, Processors, Spent, Used};
use order::Order;
use pacer::Pacer;
use session::{Pace, Run, Sending, Session};

pub use window::{Times, Window};

/// Connections that are being opened at once.
const OPENING: usize = 32;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    #[command(flatten)]
    plan: Plan,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 2.0, value_parser = not_negative)]
    warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0, value_parser = positive)]
    seconds: f64,
}

/// Who talks, and how much.
#[derive(Debug, Clone, clap::Args)]
pub struct Plan {
    #[command(flatten)]
    pub cast: Cast,
    /// Instead: one conversation of so many members online, in which --pairs of them send.
    #[arg(long, value_parser = at_least_one(), conflicts_with = "conversations")]
    pub group: Option<usize>,
    /// Closed loop: messages that each sender has under way.
    #[arg(long, default_value_t = 8, value_parser = at_least_one())]
    pub in_flight: usize,
    /// Open loop: messages a second of all senders, timed by the clock and not by the answers.
    #[arg(long, value_parser = positive)]
    pub rate: Option<f64>,
    /// Requests that senders make for each of their messages: conversation:get and notification:get,
    /// in turn.
    #[arg(long, default_value_t = 0.0, value_parser = not_negative)]
    pub reads: f64,
    /// Bytes of a message's content.
    #[arg(long, default_value_t = 100)]
    pub bytes: usize,
    /// Seconds that what was sent may take to arrive after the last was sent.
    #[arg(long, default_value_t = 20.0, value_parser = not_negative)]
    pub drain: f64,
}

impl Default for Plan {
    /// As if no argument were given.
    fn default() -> Self {
        Self {
            cast: Cast::new(100),
            group: None,
            in_flight: 8,
            rate: None,
            reads: 0.0,
            bytes: 100,
            drain: 20.0,
        }
    }
}

/// Parses a number above 0, within reason.
pub fn positive(text: &str) -> Result<f64, String> {
    match not_negative(text)? {
        0.0 => Err("must be above 0".to_owned()),
        value => Ok(value),
    }
}

/// Parses a number of 0 or more, within reason.
pub fn not_negative(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.0..=1e9).contains(&value) { Ok(value) } else { Err("must be from 0 to 1e9".to_owned()) }
}

/// What came of it.
#[derive(Debug, Serialize)]
pub struct Report {
    seconds: f64,
    #[serde(flatten)]
    pub outcome: Outcome,
    messages_per_second: f64,
    copies_per_second: f64,
    answers_per_second: f64,
    to_ack: Times,
    to_receipt: Times,
    to_answer: Times,
    cpu_us_per_message: f64,
    /// Of all that was sent, before and after it was measured too, with what was put off until later.
    cpu_us_per_message_in_all: f64,
    /// For how long the servers went on once all had come; none if they did for a minute.
    settled_seconds: Option<f64>,
    processors: Processors,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
    load_cpu_us_per_message: f64,
}

/// What became of all that was sent, before and after it was measured too.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Outcome {
    pub sent: u64,
    pub refused: u64,
    pub unanswered: u64,
    pub lost: u64,
    pub duplicated: u64,
    pub out_of_order: u64,
    /// Members of a group who saw another order than its first.
    pub disagreeing: u64,
}

/// Opens connections of these users, many at once, in order.
pub async fn connect(target: &Target, users: &[String]) -> anyhow::Result<Vec<Connection>> {
    let opening = users.iter().enumerate().map(|(number, user)| target.connect(user, number));
    stream::iter(opening).buffered(OPENING).try_collect().await
}

/// A talk under way.
pub struct Talk {
    run: Rc<Run>,
    sessions: JoinSet<anyhow::Result<Session>>,
    end: watch::Sender<bool>,
    pacer: Option<Pacer>,
    /// How many connections receive each message, the sender's included.
    copies: u64,
    drain: Duration,
}

impl Talk {
    pub async fn begin(target: &Target, plan: &Plan) -> anyhow::Result<Self> {
        let Plan { group, in_flight, rate, reads, bytes, .. } = *plan;
        let cast = Rc::new(plan.cast.clone());
        let senders = cast.pairs;
        let others = group.map_or(senders, |members| members.saturating_sub(senders));
        let everybody: Vec<_> = (0..senders)
            .map(|number| cast.sender(number))
            .chain((0..others).map(|number| cast.recipient(number)))
            .collect();
        let mut connections = connect(target, &everybody).await?;
        if group.is_some() {
            make_group(&mut connections[0], &cast.group(), &everybody[1..]).await?;
        }

        let run = Rc::new(Run::new(senders));
        let (end, ended) = watch::channel(false);
        let mut clocked = Vec::new();
        let mut sessions = JoinSet::new();
        for (number, connection) in connections.into_iter().enumerate() {
            let sending = (number < senders).then(|| {
                let pace = if rate.is_some() {
                    let (due, dues) = mpsc::unbounded_channel();
                    clocked.push(due);
                    Pace::Open(dues)
                } else {
                    Pace::Closed(in_flight)
                };
                let (conversation, target) = match group {
                    Some(_) => (cast.group(), String::new()),
                    None => (cast.conversation(number), cast.recipient(number)),
                };
                let mut sending = Sending::new(number, conversation, target, pace);
                if cast.conversations() > senders {
                    sending.wander(Rc::clone(&cast));
                }
                (sending.bytes, sending.reads) = (bytes, reads);
                sending
            });
            let session = Session::new(&run, sending);
            sessions.spawn_local(session.run(Rc::clone(&run), connection, ended.clone()));
        }
        let pacer = rate.map(|rate| Pacer::start(run.begun, rate, clocked));
        let copies = if group.is_some() { everybody.len() as u64 } else { 2 };
        let drain = Duration::from_secs_f64(plan.drain);
        Ok(Self { run, sessions, end, pacer, copies, drain })
    }

    /// What `work` gives, while the talk goes on.
    pub async fn during<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        tokio::select! {
            done = work => done,
            Some(ended) = self.sessions.join_next() => {
                ended??;
                bail!("a connection ended by itself");
            }
        }
    }

    /// As [`during`](Self::during), and it becomes one of the windows that [`end`](Self::end) gives.
    pub async fn measure<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<T> {
        let window = Window::open(self.run.now())?;
        self.run.windows.borrow_mut().push(window);
        let done = self.during(work).await?;
        let now = self.run.now();
        if let Some(window) = self.run.windows.borrow_mut().last_mut() {
            window.close(now);
        }
        Ok(done)
    }

    /// Stops sending, waits for what is still to come, and tells what became of everything.
    pub async fn end(mut self) -> anyhow::Result<(Outcome, Vec<Window>)> {
        let run = Rc::clone(&self.run);
        drop(self.pacer.take());
        run.stopped.set(true);
        let end = Instant::now() + self.drain;
        let asked = || run.sent.get() + run.reads.get();
        let expected = || run.sent.get().saturating_sub(run.refused.get()) * self.copies;
        while Instant::now() < end && (run.settled.get() < asked() || run.copies.get() < expected())
        {
            sleep(Duration::from_millis(20)).await;
        }
        // What comes now comes twice.
        sleep(Duration::from_millis(200)).await;
        self.end.send_replace(true);
        let mut sessions = Vec::new();
        while let Some(ended) = self.sessions.join_next().await {
            sessions.push(ended??);
        }
        let outcome = outcome(&run, self.copies, &sessions);
        Ok((outcome, run.windows.take()))
    }
}

async fn make_group(
    connection: &mut Connection,
    group: &str,
    others: &[String],
) -> anyhow::Result<()> {
    let made = json!({ "conversationId": group, "memberIds": others }).to_string();
    let answer = connection.ask("conversation:create", &made).await?;
    ensure!(is_success(&answer), "no group was made: {}", lossy(&answer));
    Ok(())
}

/// Each message had to come in so many `copies`.
fn outcome(run: &Run, copies: u64, sessions: &[Session]) -> Outcome {
    let expected = run.sent.get().saturating_sub(run.refused.get()) * copies;
    let sending = sessions.iter().filter_map(|session| session.sending.as_ref());
    let said: HashMap<u32, u64> = sending
        .flat_map(|sending| &sending.voices)
        .map(|voice| (voice.number, voice.said))
        .collect();
    let orders = || sessions.iter().flat_map(|session| &session.orders);
    let of_all = |count: fn(&Order) -> u64| orders().map(|(_, order)| count(order)).sum();
    let holes: u64 = orders()
        .map(|(voice, order)| order.lost(said.get(voice).copied().unwrap_or_default()))
        .sum();
    let refused = run.refused.get();
    Outcome {
        sent: run.sent.get(),
        refused: refused + run.refused_reads.get(),
        unanswered: run.sent.get() + run.reads.get() - run.settled.get(),
        // The first counts those that never got anything, too.
        lost: expected.saturating_sub(run.copies.get()).max(holes.saturating_sub(refused * copies)),
        duplicated: of_all(|order| order.duplicated),
        out_of_order: of_all(|order| order.late),
        disagreeing: if copies == 2 { 0 } else { disagreeing(sessions) },
    }
}

fn disagreeing(sessions: &[Session]) -> u64 {
    let first = sessions.first().map(|session| session.seen);
    sessions.iter().filter(|session| Some(session.seen) != first).count() as u64
}

/// Work that only takes its time.
pub async fn pause(time: Duration) -> anyhow::Result<()> {
    sleep(time).await;
    Ok(())
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let Args { target, plan, warm_up, seconds } = args;
    processes::quiet(&target.processes).await?;
    let mut talk = Talk::begin(&target, &plan).await?;
    let begun = processes::look(&target.processes)?;
    talk.during(pause(Duration::from_secs_f64(warm_up))).await?;
    let before = processes::look(&target.processes)?;
    talk.measure(pause(Duration::from_secs_f64(seconds))).await?;
    let Spent { processes, cpu_seconds, load_cpu_seconds, processors } = before.until_now()?;
    let (outcome, windows) = talk.end().await?;
    let settled_seconds = processes::quiet(&target.processes).await?;
    let in_all = begun.until_now()?.cpu_seconds * 1e6 / (outcome.sent - outcome.refused) as f64;
    let window = &windows[0];
    let (seconds, messages) = (window.seconds(), window.messages as f64);
    Ok(Report {
        seconds,
        outcome,
        messages_per_second: messages / seconds,
        copies_per_second: window.copies as f64 / seconds,
        answers_per_second: window.answers as f64 / seconds,
        to_ack: Times::from(&window.to_ack),
        to_receipt: Times::from(&window.to_receipt),
        to_answer: Times::from(&window.to_answer),
        cpu_us_per_message: cpu_seconds * 1e6 / messages,
        cpu_us_per_message_in_all: in_all,
        settled_seconds,
        processors,
        processes,
        load_cpu_seconds,
        load_cpu_us_per_message: load_cpu_seconds * 1e6 / messages,
    })
}
