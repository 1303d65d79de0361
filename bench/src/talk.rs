//! Users who talk: closed loop (so many messages under way a sender) or open loop (a fixed rate).

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use uuid::Uuid;

use crate::client::{Connection, Packet, Reader, Said, Target, is_success, message, parse};
use crate::processes::{self, Used};

/// How long what was sent may take to arrive after the last was sent.
const DRAIN: Duration = Duration::from_secs(20);
/// Connections that are being opened at once.
const OPENING: usize = 32;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: Target,
    /// Senders, each of whom talks to a recipient of their own.
    #[arg(long, default_value_t = 100)]
    pairs: usize,
    /// Instead: one conversation of so many members online, in which --pairs of them send.
    #[arg(long)]
    group: Option<usize>,
    /// Closed loop: messages that each sender has under way.
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
    /// Open loop: messages a second of all senders, timed by the clock and not by the answers.
    #[arg(long)]
    rate: Option<f64>,
    /// Bytes of a message's content.
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 2.0)]
    warm_up: f64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
}

/// What came of it. Times are in microseconds.
#[derive(Debug, Serialize)]
pub struct Report {
    seconds: f64,
    /// In all, before and after it was measured too; as are those that follow.
    sent: u64,
    refused: u64,
    unanswered: u64,
    lost: u64,
    duplicated: u64,
    out_of_order: u64,
    messages_per_second: f64,
    copies_per_second: f64,
    to_ack: Times,
    to_receipt: Times,
    cpu_us_per_message: f64,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
}

#[derive(Debug, Serialize)]
struct Times {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl From<&Histogram<u64>> for Times {
    fn from(times: &Histogram<u64>) -> Self {
        Self {
            count: times.len(),
            p50: times.value_at_quantile(0.5),
            p90: times.value_at_quantile(0.9),
            p99: times.value_at_quantile(0.99),
            p999: times.value_at_quantile(0.999),
            max: times.max(),
        }
    }
}

/// What all connections of a run share.
struct Run {
    begun: Instant,
    measuring: Cell<bool>,
    sent: Cell<u64>,
    /// Answered, one way or the other.
    settled: Cell<u64>,
    refused: Cell<u64>,
    /// Copies that came, those to the sender included.
    copies: Cell<u64>,
    measured_messages: Cell<u64>,
    measured_copies: Cell<u64>,
    to_ack: RefCell<Histogram<u64>>,
    to_receipt: RefCell<Histogram<u64>>,
}

/// What the connections are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Send,
    /// Read only.
    Drain,
    End,
}

fn add(cell: &Cell<u64>) {
    cell.set(cell.get() + 1);
}

/// Of microseconds, up to a minute.
fn histogram() -> anyhow::Result<Histogram<u64>> {
    Ok(Histogram::new_with_bounds(1, 60_000_000, 3)?)
}

impl Run {
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            begun: Instant::now(),
            measuring: Cell::new(false),
            sent: Cell::new(0),
            settled: Cell::new(0),
            refused: Cell::new(0),
            copies: Cell::new(0),
            measured_messages: Cell::new(0),
            measured_copies: Cell::new(0),
            to_ack: RefCell::new(histogram()?),
            to_receipt: RefCell::new(histogram()?),
        })
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_nanos() as u64
    }

    fn took(&self, times: &RefCell<Histogram<u64>>, since: u64) {
        times.borrow_mut().saturating_record(self.now().saturating_sub(since) / 1_000);
    }
}

/// In which order one sender's messages came to one connection.
#[derive(Debug, Default)]
struct Order {
    last: u64,
    missing: HashSet<u64>,
    duplicated: u64,
    late: u64,
}

impl Order {
    fn came(&mut self, number: u64) {
        if number > self.last {
            self.missing.extend(self.last + 1..number);
            self.last = number;
        } else if self.missing.remove(&number) {
            self.late += 1;
        } else {
            self.duplicated += 1;
        }
    }

    fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.last)
    }
}

/// What a connection sends, and where.
struct Sending {
    sender: u32,
    conversation: String,
    target: String,
    bytes: usize,
    pace: Pace,
    /// When each was begun, by its number; taken out by its answer.
    begun: Vec<Option<u64>>,
    under_way: usize,
    refused: u64,
}

enum Pace {
    Closed(usize),
    /// When each is due, told once it is.
    Open(mpsc::UnboundedReceiver<u64>),
}

impl Sending {
    async fn send(
        &mut self,
        run: &Run,
        connection: &mut Connection,
        at: u64,
    ) -> anyhow::Result<()> {
        self.begun.push(Some(at));
        let number = self.begun.len() as u64;
        let said = Said { sender: self.sender, number, at };
        let packet = message(said, Some(number), &self.conversation, &self.target, self.bytes);
        connection.feed(packet).await?;
        self.under_way += 1;
        add(&run.sent);
        Ok(())
    }

    fn answered(&mut self, run: &Run, id: u64, body: &str) -> anyhow::Result<()> {
        let begun = self.begun.get_mut(id as usize - 1).and_then(Option::take);
        let begun = begun.with_context(|| format!("a second ack of {id}"))?;
        self.under_way -= 1;
        add(&run.settled);
        if !is_success(body) {
            self.refused += 1;
            add(&run.refused);
        } else if run.measuring.get() {
            run.took(&run.to_ack, begun);
        }
        Ok(())
    }

    /// Waits until a message is due, in an open loop.
    async fn due(sending: &mut Option<Self>) -> Option<u64> {
        match sending {
            Some(Self { pace: Pace::Open(due), .. }) => due.recv().await,
            _ => std::future::pending().await,
        }
    }
}

/// What a connection has seen by the end.
struct Seen {
    orders: HashMap<u32, Order>,
    sending: Option<Sending>,
}

async fn talk(
    run: Rc<Run>,
    mut connection: Connection,
    mut sending: Option<Sending>,
    mut phase: watch::Receiver<Phase>,
) -> anyhow::Result<Seen> {
    let own = sending.as_ref().map(|sending| sending.sender);
    let mut orders: HashMap<u32, Order> = HashMap::new();
    let reader = Reader::default();
    loop {
        let now = *phase.borrow_and_update();
        if now == Phase::End {
            // Not to be taken for a lost connection: what it received would count as missed.
            connection.close().await?;
            return Ok(Seen { orders, sending });
        }
        if let Some(sending) = &mut sending
            && let Pace::Closed(in_flight) = sending.pace
            && now == Phase::Send
        {
            while sending.under_way < in_flight {
                sending.send(&run, &mut connection, run.now()).await?;
            }
            connection.flush().await?;
        }
        let mut next = tokio::select! {
            text = connection.next() => Some(text?),
            Some(at) = Sending::due(&mut sending) => {
                if let Some(sending) = &mut sending {
                    sending.send(&run, &mut connection, at).await?;
                    connection.flush().await?;
                }
                None
            }
            changed = phase.changed() => {
                changed?;
                None
            }
        };
        // What came together is taken together.
        while let Some(text) = next {
            match parse(&text) {
                Packet::Ack { id, body } => {
                    let sending = sending.as_mut().context("an ack that nobody asked for")?;
                    sending.answered(&run, id, body)?;
                }
                Packet::Event(event) => {
                    if let Some(said) = reader.read(event) {
                        orders.entry(said.sender).or_default().came(said.number);
                        add(&run.copies);
                        if run.measuring.get() {
                            add(&run.measured_copies);
                            if own == Some(said.sender) {
                                add(&run.measured_messages);
                            } else {
                                run.took(&run.to_receipt, said.at);
                            }
                        }
                    }
                }
                Packet::Other => {}
            }
            next = connection.now().transpose()?;
        }
    }
}

/// Opens connections of these users, many at once, in order.
pub async fn connect(target: &Target, users: &[String]) -> anyhow::Result<Vec<Connection>> {
    let opening = users.iter().enumerate().map(|(number, user)| target.connect(user, number));
    stream::iter(opening).buffered(OPENING).try_collect().await
}

/// Who talks to whom.
struct Cast {
    senders: Vec<String>,
    recipients: Vec<String>,
    /// The one conversation of all, if it is one.
    group: Option<String>,
    name: String,
}

impl Cast {
    fn new(args: &Args) -> Self {
        let name = Uuid::now_v7().simple().to_string();
        let users = |kind: &str, count: usize| {
            (0..count).map(|number| format!("{kind}-{number}-{name}")).collect()
        };
        let others = args.group.map_or(args.pairs, |members| members.saturating_sub(args.pairs));
        Self {
            senders: users("sender", args.pairs),
            recipients: users("recipient", others),
            group: args.group.map(|_| format!("group-{name}")),
            name,
        }
    }

    /// Everybody's connection, the senders' first.
    async fn connect(&self, target: &Target) -> anyhow::Result<Vec<Connection>> {
        let everybody: Vec<_> = self.senders.iter().chain(&self.recipients).cloned().collect();
        let mut connections = connect(target, &everybody).await?;
        if let Some(group) = &self.group {
            let made = json!({ "conversationId": group, "memberIds": &everybody[1..] }).to_string();
            let answer = connections[0].ask("conversation:create", &made).await?;
            ensure!(is_success(&answer), "no group was made: {answer}");
        }
        Ok(connections)
    }

    /// How many connections receive each message, the sender's included.
    fn copies(&self) -> u64 {
        if self.group.is_some() { (self.senders.len() + self.recipients.len()) as u64 } else { 2 }
    }

    fn sending(&self, number: usize, bytes: usize, pace: Pace) -> Sending {
        let (conversation, target) = match &self.group {
            Some(group) => (group.clone(), String::new()),
            None => (format!("talk-{number}-{}", self.name), self.recipients[number].clone()),
        };
        Sending {
            sender: number as u32,
            conversation,
            target,
            bytes,
            pace,
            begun: Vec::new(),
            under_way: 0,
            refused: 0,
        }
    }
}

/// What was used while it was measured.
struct Measured {
    seconds: f64,
    processes: Vec<Used>,
    load_cpu_seconds: f64,
}

async fn measure(run: &Run, args: &Args) -> anyhow::Result<Measured> {
    let watched = &args.target.processes;
    sleep(Duration::from_secs_f64(args.warm_up)).await;
    let (before, own_before) = (processes::look(watched)?, processes::own_cpu()?);
    run.measuring.set(true);
    let begun = Instant::now();
    sleep(Duration::from_secs_f64(args.seconds)).await;
    run.measuring.set(false);
    let seconds = begun.elapsed().as_secs_f64();
    let (after, own_after) = (processes::look(watched)?, processes::own_cpu()?);
    let processes = processes::between(watched, &before, &after);
    Ok(Measured { seconds, processes, load_cpu_seconds: own_after - own_before })
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    ensure!(args.pairs > 0 && args.rate.is_none_or(|rate| rate > 0.0), "nobody sends anything");
    let run = Rc::new(Run::new()?);
    let cast = Cast::new(&args);
    let connections = cast.connect(&args.target).await?;

    let (tell, phase) = watch::channel(Phase::Send);
    let mut clocked = Vec::new();
    let mut tasks = JoinSet::new();
    for (number, connection) in connections.into_iter().enumerate() {
        let sending = (number < args.pairs).then(|| {
            let pace = if args.rate.is_some() {
                let (due, dues) = mpsc::unbounded_channel();
                clocked.push(due);
                Pace::Open(dues)
            } else {
                Pace::Closed(args.in_flight)
            };
            cast.sending(number, args.bytes, pace)
        });
        tasks.spawn_local(talk(Rc::clone(&run), connection, sending, phase.clone()));
    }
    let pacer = args.rate.map(|rate| Pacer::start(run.begun, rate, clocked));
    let measured = tokio::select! {
        measured = measure(&run, &args) => measured?,
        Some(ended) = tasks.join_next() => {
            ended??;
            bail!("a connection ended by itself");
        }
    };
    drop(pacer);
    tell.send_replace(Phase::Drain);
    let end = Instant::now() + DRAIN;
    let expected = || (run.sent.get() - run.refused.get()) * cast.copies();
    while Instant::now() < end
        && (run.settled.get() < run.sent.get() || run.copies.get() < expected())
    {
        sleep(Duration::from_millis(20)).await;
    }
    // What comes now comes twice.
    sleep(Duration::from_millis(200)).await;
    tell.send_replace(Phase::End);
    let mut seen = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        seen.push(ended??);
    }
    Ok(report(&run, measured, &seen, expected()))
}

fn report(run: &Run, measured: Measured, seen: &[Seen], expected: u64) -> Report {
    let Measured { seconds, processes, load_cpu_seconds } = measured;
    let sent: HashMap<u32, u64> = seen
        .iter()
        .filter_map(|seen| seen.sending.as_ref())
        .map(|sending| (sending.sender, sending.begun.len() as u64 - sending.refused))
        .collect();
    let orders = || seen.iter().flat_map(|seen| &seen.orders);
    let messages = run.measured_messages.get();
    let cpu: f64 = processes.iter().map(|used| used.cpu_seconds).sum();
    let holes: u64 = orders().map(|(sender, order)| order.lost(sent[sender])).sum();
    Report {
        seconds,
        sent: run.sent.get(),
        refused: run.refused.get(),
        unanswered: run.sent.get() - run.settled.get(),
        // The first counts those that never got anything, too.
        lost: expected.saturating_sub(run.copies.get()).max(holes),
        duplicated: orders().map(|(_, order)| order.duplicated).sum(),
        out_of_order: orders().map(|(_, order)| order.late).sum(),
        messages_per_second: messages as f64 / seconds,
        copies_per_second: run.measured_copies.get() as f64 / seconds,
        to_ack: Times::from(&*run.to_ack.borrow()),
        to_receipt: Times::from(&*run.to_receipt.borrow()),
        cpu_us_per_message: cpu * 1e6 / messages as f64,
        processes,
        load_cpu_seconds,
    }
}

/// Tells senders when to send, by the clock alone: an answer that is late holds up no later message,
/// and its lateness counts for all that were due meanwhile.
struct Pacer(Arc<AtomicBool>);

impl Pacer {
    /// `rate` messages a second of all together, in turn.
    fn start(begun: Instant, rate: f64, senders: Vec<mpsc::UnboundedSender<u64>>) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&end);
        // A thread of its own: the runtime's clock goes in milliseconds.
        thread::spawn(move || {
            let first = begun.elapsed().as_secs_f64();
            for number in 0_u64.. {
                let due = Duration::from_secs_f64(first + number as f64 / rate);
                thread::sleep(due.saturating_sub(begun.elapsed()));
                let sender = &senders[number as usize % senders.len()];
                if ended.load(Ordering::Relaxed) || sender.send(due.as_nanos() as u64).is_err() {
                    return;
                }
            }
        });
        Self(end)
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_tell_lost_from_late_and_twice() {
        let mut order = Order::default();
        for number in [1, 2, 5, 4, 4, 6] {
            order.came(number);
        }
        assert_eq!((order.duplicated, order.late, order.lost(6), order.lost(8)), (1, 1, 1, 3));
    }
}
