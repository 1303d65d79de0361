//! The bus of a deployment in many processes: commands through `JetStream`, all else through core
//! NATS.
//!
//! # On the server
//!
//! | subject | what | who publishes | who listens |
//! | --- | --- | --- | --- |
//! | `verbatim.commands.<lane>` | commands as JSON, a line for each of those that were ready at once, kept by the stream `VERBATIM_COMMANDS` for fifteen seconds; the header `Verbatim-Reply` says where their replies go | gateway, projection | the lane's owner, by a consumer |
//! | `verbatim.replies.<role>.<process>.>` | a process's inboxes: replies (those that are ready at once as one message), acknowledgements, what the server answers | aggregate, the server | that process |
//! | `verbatim.events` | committed events | aggregate | projection |
//! | `verbatim.frames` | push frames | projection | gateway |
//! | `verbatim.presence` | who is connected where | gateway | gateway, projection |
//! | `verbatim.roundtrip` | nothing; a request that nobody serves tells that the server has processed what came before | all | nobody |
//!
//! `verbatim` stands for the configured prefix. Messages above the server's `max_payload` go in
//! numbered parts (the header `Verbatim-Part`), except commands and replies, which are refused.
//!
//! # Permissions
//!
//! What each role's login needs; a process of all roles needs all.
//!
//! | role | publish | subscribe |
//! | --- | --- | --- |
//! | `gateway` | `verbatim.commands.*`, `verbatim.presence`, `verbatim.roundtrip` | `verbatim.replies.gateway.>`, `verbatim.frames`, `verbatim.presence` |
//! | `aggregate` | `verbatim.replies.*.*.command.reply.*`, `verbatim.events`, `verbatim.roundtrip`, `$JS.API.STREAM.INFO.VERBATIM_COMMANDS`, `$JS.API.STREAM.MSG.GET.VERBATIM_COMMANDS`, `$JS.API.CONSUMER.CREATE.VERBATIM_COMMANDS.>`, `$JS.API.CONSUMER.DELETE.VERBATIM_COMMANDS.*`, `$JS.API.CONSUMER.MSG.NEXT.VERBATIM_COMMANDS.*` | `verbatim.replies.aggregate.>` |
//! | `projection` | `verbatim.commands.*`, `verbatim.frames`, `verbatim.presence`, `verbatim.roundtrip` | `verbatim.replies.projection.>`, `verbatim.events`, `verbatim.presence` |
//! | who makes the stream (as a rule `aggregate`) | besides, `$JS.API.STREAM.CREATE.VERBATIM_COMMANDS`, `$JS.API.STREAM.UPDATE.VERBATIM_COMMANDS` | |
//!
//! # What it guarantees
//!
//! Commands reach the stream in their lane's order of the calls, none after its deadline passed while
//! it waited here. A lane is read in the stream's order from behind a cursor, whatever becomes of
//! connection, server and consumer; where the stream doesn't reach the cursor any more, all that it
//! holds is read, and the commands' keys tell what was handled before. All else may be lost, and is
//! noticed by its numbers.
//!
//! A request that is dropped unanswered is answered as unavailable, unless its lane was left since:
//! then the lane's next owner answers.

mod commands;
mod connection;
mod error;
mod lane;
mod lanes;
mod options;
mod outgoing;
mod parts;
mod publishing;
mod replies;
mod stream;
mod subjects;
mod tasks;
mod throttle;
mod topic;
mod waiting;
mod wire;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_nats::{Client, Subscriber};
use verbatim_protocol::{CommandEnvelope, Frame, Recorded};

use crate::{Bus, CommandSource, PresenceMessage, ReplyFuture, Subscription};
use commands::Commands;
use connection::{Events, Link};
use lane::Readers;
use lanes::Lanes;
use outgoing::{Backlog, Publisher};
use replies::Replies;
use stream::CommandStream;
use subjects::Subjects;
use tasks::Tasks;
use throttle::Throttle;
use topic::Topic;
use waiting::Waiting;

pub use error::Error;
pub use options::{Login, NatsOptions, StreamOptions, Tls, Topics};
pub use publishing::NatsPublisher;

/// What was lost since the start; each of it is made up for, but costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Batches of events that slow subscribers missed, summed over them.
    pub events: u64,
    /// Frames that slow subscribers missed, summed over them.
    pub frames: u64,
    /// Announcements that slow subscribers missed, summed over them.
    pub presence: u64,
    /// Of all kinds, what could not be published: no connection, no room, no time left.
    pub unsent: u64,
    /// Of all kinds, what came and can't be read.
    pub malformed: u64,
    /// What the client dropped because this process did not keep up with it.
    pub slow_consumers: u64,
}

/// The [`Bus`] over a NATS server. Ends, and its tasks with it, when dropped.
pub struct Nats {
    link: Link,
    events_of_client: Arc<Events>,
    tasks: Tasks,
    backlog: Backlog,
    commands: Commands,
    publishers: [Publisher; 2],
    malformed_answers: Arc<AtomicU64>,
    readers: Arc<Readers>,
    events: Topic<Arc<[Arc<Recorded>]>>,
    frames: Topic<Arc<Frame>>,
    presence: Topic<PresenceMessage>,
}

impl Nats {
    /// Connects, and subscribes to what the options name. The server has processed that when this
    /// returns. From then on a lost connection is made again for ever.
    ///
    /// # Errors
    /// [`Error::Options`] and [`Error::Credentials`] for what is configured wrongly;
    /// [`Error::Connect`] and [`Error::Silent`] within some seconds if there is no server that takes
    /// this process.
    pub async fn connect(options: NatsOptions) -> Result<Self, Error> {
        options.validate()?;
        let subjects = Arc::new(Subjects::new(&options.prefix, &options.role));
        let (client, events_of_client) = connection::connect(&options, &subjects).await?;
        let subscribed = subscribe(&client, &options, &subjects).await?;
        connection::round_trip(&client, &options, &subjects).await?;

        let tasks = Tasks::new();
        let (link, watching) = Link::new(client.clone(), Arc::clone(&events_of_client));
        tasks.spawn("bus connection", watching);
        let backlog = Backlog::default();
        let capacity = options.capacity;
        let publisher = |name, packing| {
            let (link, backlog) = (link.clone(), backlog.clone());
            Publisher::spawn(&tasks, name, link, capacity.commands, backlog, packing)
        };
        let publishers = [
            publisher("bus commands", commands::packing(Arc::clone(&subjects))),
            publisher("bus replies", replies::packing()),
        ];
        let [commands, replies] = publishers.clone();

        let waiting = Arc::new(Waiting::new(capacity.commands));
        let malformed_answers = Arc::<AtomicU64>::default();
        let answers = commands::read_answers(
            subscribed.answers,
            Arc::clone(&subjects),
            Arc::clone(&waiting),
            Arc::clone(&malformed_answers),
        );
        tasks.spawn("bus answers", answers);
        let commands = Commands::new(link.clone(), Arc::clone(&subjects), commands, waiting);

        let lanes = Arc::new(Lanes::new(Replies::new(replies)));
        tasks.at_end({
            let lanes = Arc::clone(&lanes);
            move || lanes.close()
        });
        let readers = Arc::new(Readers {
            link: link.clone(),
            stream: CommandStream::new(client, &subjects, &options.stream),
            subjects: Arc::clone(&subjects),
            lanes,
            tasks: tasks.clone(),
            window: options.lane_window,
            malformed: AtomicU64::new(0),
            malformed_warning: Throttle::default(),
        });

        let topic = |name, capacity| topic::Settings {
            name,
            subject: subjects.topic(name),
            capacity,
            link: &link,
            tasks: &tasks,
            backlog: &backlog,
        };
        let events = Topic::new(topic("events", capacity.events), subscribed.events);
        let frames = Topic::new(topic("frames", capacity.frames), subscribed.frames);
        let presence = Topic::new(topic("presence", capacity.presence), subscribed.presence);
        Ok(Self {
            link,
            events_of_client,
            tasks,
            backlog,
            commands,
            publishers,
            malformed_answers,
            readers,
            events,
            frames,
            presence,
        })
    }

    /// Makes the stream of commands if it is missing, and mends its settings if they are others than
    /// configured and may be changed. Only who follows lanes needs it, and does it again should the
    /// stream get lost.
    ///
    /// # Errors
    /// [`Error::Stream`]: the server doesn't answer, has no room, or permits neither to see the
    /// stream nor to make it.
    pub async fn ensure_stream(&self) -> Result<(), Error> {
        self.readers.stream.ensure().await.map(drop)
    }

    /// Refuses commands from now on, and takes none from the server. What was taken can still be
    /// given out, then the source ends.
    pub fn close(&self) {
        self.commands.close();
        self.readers.lanes.close();
    }

    /// Waits until all that was published so far is written to the connection, such as the last
    /// replies before a process ends. Not longer than `time`: whether it came to that.
    pub async fn flush(&self, time: Duration) -> bool {
        let flushing = async {
            self.backlog.emptied().await;
            self.link.client().flush().await.is_ok()
        };
        tokio::time::timeout(time, flushing).await.unwrap_or(false)
    }

    /// Whether there is a connection. One whose server hangs is seen as lost after twelve seconds.
    pub fn is_connected(&self) -> bool {
        self.link.is_connected()
    }

    /// Resolves if the bus has ended by a defect of its own, with the name of the task that
    /// panicked.
    pub async fn failed(&self) -> &'static str {
        self.tasks.failed().await
    }

    /// Commands of this process that wait for their replies.
    pub fn waiting_commands(&self) -> usize {
        self.commands.waiting()
    }

    pub fn dropped(&self) -> Dropped {
        let unsent: u64 = self.publishers.iter().map(Publisher::dropped).sum();
        let malformed = self.malformed_answers.load(Ordering::Relaxed);
        Dropped {
            events: self.events.dropped(),
            frames: self.frames.dropped(),
            presence: self.presence.dropped(),
            unsent: unsent + self.events.unsent() + self.frames.unsent() + self.presence.unsent(),
            malformed: malformed
                + self.readers.malformed.load(Ordering::Relaxed)
                + self.events.malformed()
                + self.frames.malformed()
                + self.presence.malformed(),
            slow_consumers: self.events_of_client.slow_consumers(),
        }
    }
}

struct Subscribed {
    answers: Subscriber,
    events: Option<Subscriber>,
    frames: Option<Subscriber>,
    presence: Option<Subscriber>,
}

async fn subscribe(
    client: &Client,
    options: &NatsOptions,
    subjects: &Subjects,
) -> Result<Subscribed, Error> {
    let subscribe = async |subject: String| {
        client.subscribe(subject.clone()).await.map_err(|error| Error::Silent {
            addresses: options.addresses().join(","),
            subject,
            source: error.into(),
        })
    };
    let topic = async |name: &str, is_wanted: bool| {
        if is_wanted { subscribe(subjects.topic(name)).await.map(Some) } else { Ok(None) }
    };
    let Topics { events, frames, presence } = options.topics;
    Ok(Subscribed {
        answers: subscribe(subjects.answers()).await?,
        events: topic("events", events).await?,
        frames: topic("frames", frames).await?,
        presence: topic("presence", presence).await?,
    })
}

impl Bus for Nats {
    fn send(&self, command: CommandEnvelope) -> ReplyFuture {
        self.commands.send(&command)
    }

    fn commands(&self) -> Box<dyn CommandSource> {
        let readers = Arc::clone(&self.readers);
        let start = move |lane, after, following| lane::spawn(&readers, lane, after, following);
        Lanes::take_over(&self.readers.lanes, Box::new(start))
    }

    fn publish_events(&self, events: Arc<[Arc<Recorded>]>) {
        self.events.publish(events);
    }

    fn subscribe_events(&self) -> Subscription<Arc<[Arc<Recorded>]>> {
        self.events.subscribe()
    }

    fn publish_frame(&self, frame: Arc<Frame>) {
        self.frames.publish(frame);
    }

    fn subscribe_frames(&self) -> Subscription<Arc<Frame>> {
        self.frames.subscribe()
    }

    fn publish_presence(&self, message: PresenceMessage) {
        self.presence.publish(message);
    }

    fn subscribe_presence(&self) -> Subscription<PresenceMessage> {
        self.presence.subscribe()
    }

    fn queued_commands(&self) -> usize {
        self.readers.lanes.queued()
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.tasks.end();
    }
}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nats")
            .field("is_connected", &self.is_connected())
            .field("queued_commands", &self.queued_commands())
            .field("dropped", &self.dropped())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
