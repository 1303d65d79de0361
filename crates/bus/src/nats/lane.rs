//! Reads one lane's commands from the stream, in order and without loss, whatever becomes of the
//! connection, the consumer or the stream.
//!
//! Each lane has a pull consumer of its own: what is asked for has room, so nothing is dropped here
//! when its handler is slow, and the server keeps the rest. A consumer is given up at the first doubt
//! (a hole in its numbers, silence, another connection), and a new one begins behind the last
//! command that came, once the stream was found to still reach it. (async-nats' own ordered
//! consumers don't look whether the stream is the same as before.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::{Message, StatusCode, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use verbatim_protocol::{CommandEnvelope, LaneCursor, Place};

use super::commands;
use super::connection::Link;
use super::error::Cause;
use super::lanes::{Following, Held, Lanes, Undecodable};
use super::replies::ReplyTo;
use super::stream::{CommandStream, Life};
use super::subjects::{REPLY_TO, Subjects};
use super::tasks::Tasks;
use super::throttle::Throttle;
use super::wire;

/// A server that has nothing says so this often while it owes something.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Silence after which a consumer is given up.
const SILENCE: Duration = Duration::from_secs(11);
const PULL_EXPIRES: Duration = Duration::from_secs(30);
/// A consumer that nobody pulls from is removed by the server after this.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
const RETRY_FIRST_MS: u64 = 50;
const RETRY_AT_MOST_MS: u64 = 2_000;

/// What all lanes' readers share.
pub(super) struct Readers {
    pub(super) link: Link,
    pub(super) stream: CommandStream,
    pub(super) subjects: Arc<Subjects>,
    pub(super) lanes: Arc<Lanes>,
    pub(super) tasks: Tasks,
    /// Messages of one lane that are read ahead, of up to [`commands::MOST`] commands.
    pub(super) window: usize,
    /// What came to a lane's inbox and is not the server's.
    pub(super) malformed: AtomicU64,
    pub(super) malformed_warning: Throttle,
}

impl Readers {
    fn count_malformed(&self, reason: &str) {
        let total = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.malformed_warning.allows() {
            tracing::warn!(total, reason, "something else than a command came");
        }
    }
}

struct Reader {
    shared: Arc<Readers>,
    link: Link,
    lane: u16,
    following: Arc<Following>,
    /// The last command that came, or that the lane's owner had handled.
    after: Option<LaneCursor>,
    /// Counts this lane's consumers.
    serial: u64,
    /// The consumer on the server, to be removed.
    consumer: Option<String>,
}

struct Consumer {
    name: String,
    inbox: Subject,
    subscriber: Subscriber,
    life: Life,
    /// The connection that it was made on.
    connection: u64,
    /// Its number of the last message.
    delivered: u64,
    /// Asked for and not come.
    owed: usize,
    heard: Instant,
}

/// Why a consumer was given up.
type Reason = &'static str;

pub(super) fn spawn(
    readers: &Arc<Readers>,
    lane: u16,
    after: Option<LaneCursor>,
    following: Arc<Following>,
) {
    let mut reader = Reader {
        shared: Arc::clone(readers),
        link: readers.link.clone(),
        lane,
        following,
        after,
        serial: 0,
        consumer: None,
    };
    readers.tasks.spawn("bus lane", async move {
        let stop = reader.following.stop.clone();
        tokio::select! {
            () = stop.cancelled() => {}
            () = reader.run() => {}
        }
        reader.remove_consumer().await;
    });
}

impl Reader {
    async fn run(&mut self) {
        let mut failures = 0;
        loop {
            self.link.connected().await;
            let reason = match self.open().await {
                Ok(consumer) => {
                    failures = 0;
                    self.read(consumer).await
                }
                Err(error) => {
                    failures += 1;
                    // The first may be a server that has only just started.
                    if failures > 1 {
                        tracing::warn!(lane = self.lane, failures, error, "a lane can't be read");
                    }
                    sleep(retry_delay(failures)).await;
                    continue;
                }
            };
            tracing::debug!(lane = self.lane, reason, "making a lane's consumer anew");
            let removed = self.consumer.take();
            let shared = Arc::clone(&self.shared);
            self.shared.tasks.spawn("bus consumer removal", async move {
                remove(&shared, removed).await;
            });
        }
    }

    /// Begins behind the cursor; at the stream's first message if it doesn't reach the cursor.
    async fn open(&mut self) -> Result<Consumer, Cause> {
        let connection = self.link.number();
        let (life, reaches) = self.shared.stream.look(self.after).await?;
        if !reaches {
            tracing::warn!(
                lane = self.lane,
                cursor = ?self.after,
                stream = ?life,
                "the command stream was made anew or set back: reading all that it holds"
            );
            self.after = None;
        }
        self.serial += 1;
        let inbox = self.shared.subjects.lane(self.lane, self.serial);
        let subscriber = self.link.client().subscribe(inbox.clone()).await?;
        let name = self.create_consumer().await?;
        self.consumer = Some(name.clone());
        // It might have been replaced between the look and the making.
        if !self.shared.stream.has_only_grown(life).await? {
            return Err("the stream was replaced meanwhile".into());
        }
        Ok(Consumer {
            name,
            inbox: inbox.into(),
            subscriber,
            life,
            connection,
            delivered: 0,
            owed: 0,
            heard: Instant::now(),
        })
    }

    async fn create_consumer(&self) -> Result<String, Cause> {
        let stream = &self.shared.stream;
        let deliver_policy = match self.after {
            Some(after) => DeliverPolicy::ByStartSequence { start_sequence: after.sequence + 1 },
            None => DeliverPolicy::All,
        };
        let config = pull::Config {
            name: Some(format!("lane-{}-{:032x}", self.lane, rand::random::<u128>())),
            deliver_policy,
            ack_policy: AckPolicy::None,
            filter_subject: self.shared.subjects.command(self.lane).to_string(),
            inactive_threshold: FORGOTTEN_AFTER,
            num_replicas: 1,
            memory_storage: true,
            ..pull::Config::default()
        };
        let made = stream.context.create_consumer_on_stream(config, &stream.name).await?;
        Ok(made.cached_info().name.clone())
    }

    async fn read(&mut self, mut consumer: Consumer) -> Reason {
        loop {
            if let Err(error) = self.pull(&mut consumer).await {
                tracing::debug!(lane = self.lane, %error, "a pull failed");
                return "the pull failed";
            }
            let is_owed = consumer.owed > 0;
            tokio::select! {
                message = consumer.subscriber.next() => {
                    let Some(message) = message else { return "the subscription ended" };
                    consumer.heard = Instant::now();
                    if let Err(reason) = self.take(&mut consumer, message) {
                        return reason;
                    }
                    // Those that came with it need no look at clock and connection.
                    while let Some(Some(message)) = consumer.subscriber.next().now_or_never() {
                        if let Err(reason) = self.take(&mut consumer, message) {
                            return reason;
                        }
                    }
                }
                () = self.following.room.notified(), if !is_owed => {}
                () = sleep_until(consumer.heard + SILENCE), if is_owed => {
                    return "nothing was heard of it";
                }
                () = self.link.changed() => if self.link.number() != consumer.connection {
                    return "the connection is another";
                },
            }
        }
    }

    /// Asks for as much as there is room for, once that is half of the window.
    async fn pull(&self, consumer: &mut Consumer) -> Result<(), async_nats::PublishError> {
        let room = self.shared.window.saturating_sub(self.following.held() + consumer.owed);
        if room == 0 || room * 2 < self.shared.window {
            return Ok(());
        }
        let stream = &self.shared.stream;
        let subject = format!("CONSUMER.MSG.NEXT.{}.{}", stream.name, consumer.name);
        let wanted = serde_json::json!({
            "batch": room,
            "expires": PULL_EXPIRES.as_nanos() as u64,
            "idle_heartbeat": HEARTBEAT.as_nanos() as u64,
        });
        let request = async_nats::Request::new()
            .inbox(consumer.inbox.to_string())
            .payload(Bytes::from(wanted.to_string()));
        stream.context.send_request(subject, request).await?;
        if consumer.owed == 0 {
            consumer.heard = Instant::now();
        }
        consumer.owed += room;
        Ok(())
    }

    /// Takes in what the server sent: commands, or how it stands with what it owes.
    fn take(&mut self, consumer: &mut Consumer, message: Message) -> Result<(), Reason> {
        match message.status {
            None => self.take_commands(consumer, message),
            Some(StatusCode::IDLE_HEARTBEAT) => Ok(()),
            Some(_) => {
                let pending = message.headers.as_ref().and_then(|headers| {
                    headers.get("Nats-Pending-Messages")?.as_str().parse::<usize>().ok()
                });
                // A pull's end: not all came that it asked for. Anything else is the consumer's.
                let pending = pending.ok_or("the server ended it")?;
                consumer.owed = consumer.owed.saturating_sub(pending);
                Ok(())
            }
        }
    }

    fn take_commands(&mut self, consumer: &mut Consumer, message: Message) -> Result<(), Reason> {
        let context = self.shared.stream.context.clone();
        let message = jetstream::Message { message, context };
        let Ok(info) = message.info() else {
            self.shared.count_malformed("not the server's");
            return Ok(());
        };
        if info.consumer != consumer.name {
            self.shared.count_malformed("another consumer's");
            return Ok(());
        }
        if info.consumer_sequence != consumer.delivered + 1 {
            return Err("a message is missing");
        }
        let cursor = LaneCursor {
            stream: consumer.life.created,
            sequence: info.stream_sequence,
            at: info.published.unix_timestamp_nanos() as i64,
        };
        consumer.delivered += 1;
        consumer.owed = consumer.owed.saturating_sub(1);
        if self.after.is_some_and(|after| cursor.sequence <= after.sequence) {
            return Ok(());
        }
        let before = self.after.replace(cursor);
        self.shared.lanes.push(&self.following, self.held(before, cursor, &message.message));
        Ok(())
    }

    /// The commands of a message, a line each.
    fn held(&self, before: Option<LaneCursor>, cursor: LaneCursor, message: &Message) -> Vec<Held> {
        let reply_to = message.headers.as_ref().and_then(|headers| headers.get(REPLY_TO));
        let reply_to = reply_to.and_then(|to| self.shared.subjects.reply_inbox(to.as_str()));
        let (inbox, numbers) = reply_to.unzip();
        let mut numbers = numbers.into_iter().flatten();
        let mut lines: Vec<&[u8]> =
            message.payload.split(|byte| *byte == b'\n').take(commands::MOST + 1).collect();
        if lines.len() > commands::MOST {
            // None of ours.
            lines = vec![&message.payload];
        }
        let last = lines.len() - 1;
        let held = lines.into_iter().enumerate().map(|(index, line)| {
            let cursor = if index == last { Some(cursor) } else { before };
            let command = decode(self.lane, line)
                .map_err(|reason| Undecodable { command: line.to_vec(), reason });
            let reply_to = inbox.clone().zip(numbers.next());
            Held {
                place: Place { lane: self.lane, cursor },
                command,
                reply_to: reply_to.map(|(inbox, number)| ReplyTo { inbox, number }),
                goes_on: index < last,
            }
        });
        held.collect()
    }

    async fn remove_consumer(&mut self) {
        remove(&self.shared, self.consumer.take()).await;
    }
}

fn decode(lane: u16, payload: &[u8]) -> Result<CommandEnvelope, String> {
    let command: CommandEnvelope = serde_json::from_slice(payload).map_err(wire::where_only)?;
    let own = command.command.stream().lane();
    // Handled here, its aggregate would have two writers.
    if own == lane { Ok(command) } else { Err(format!("it belongs to lane {own}")) }
}

/// As good as it can be: the server removes what nobody pulls from.
async fn remove(shared: &Readers, consumer: Option<String>) {
    let Some(consumer) = consumer else { return };
    let stream = &shared.stream;
    let removing = stream.context.delete_consumer_from_stream(&consumer, &stream.name);
    timeout(HEARTBEAT, removing).await.ok();
}

fn retry_delay(failures: u32) -> Duration {
    let bound = RETRY_AT_MOST_MS.min(RETRY_FIRST_MS << failures.min(8));
    Duration::from_millis(rand::random_range(bound / 2..=bound))
}
