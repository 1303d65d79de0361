//! What goes to everybody: events, frames, presence. Lost messages are noticed by their own numbers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::connection::Link;
use super::outgoing::{Backlog, Ticket};
use super::parts::{self, Assembly, Malformed, PART};
use super::tasks::Tasks;
use super::throttle::Throttle;
use super::wire::Wire;
use crate::Subscription;
use crate::fan_out::FanOut;

/// A server that doesn't take a message by then will lose it; nobody wants it late.
const PUBLISH_WITHIN: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Topic<T> {
    name: &'static str,
    link: Link,
    queue: mpsc::Sender<(T, Ticket)>,
    backlog: Backlog,
    /// `None` where this process doesn't listen.
    fan_out: Option<Arc<FanOut<T>>>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    unsent: AtomicU64,
    malformed: AtomicU64,
    unsent_warning: Throttle,
    malformed_warning: Throttle,
}

/// Where a topic's messages go.
pub(super) struct Settings<'a> {
    pub(super) name: &'static str,
    pub(super) subject: String,
    /// Messages that wait for one subscriber, or to be published.
    pub(super) capacity: usize,
    pub(super) link: &'a Link,
    pub(super) tasks: &'a Tasks,
    pub(super) backlog: &'a Backlog,
}

impl<T: Wire> Topic<T> {
    pub(super) fn new(settings: Settings<'_>, subscriber: Option<Subscriber>) -> Self {
        let Settings { name, subject, capacity, link, tasks, backlog } = settings;
        let counts = Arc::<Counts>::default();
        let (queue, outgoing) = mpsc::channel(capacity);
        tasks.spawn(name, write(name, subject, outgoing, link.clone(), Arc::clone(&counts)));
        let fan_out = subscriber.map(|subscriber| {
            let fan_out = Arc::new(FanOut::new(name, capacity));
            tasks.spawn(name, read(name, subscriber, Arc::clone(&fan_out), Arc::clone(&counts)));
            fan_out
        });
        Self { name, link: link.clone(), queue, backlog: backlog.clone(), fan_out, counts }
    }

    /// Never blocks: where there is no room or no connection, it drops.
    pub(super) fn publish(&self, message: T) {
        if !self.link.is_connected() {
            self.counts.unsent(self.name, "there is no connection");
        } else if self.queue.try_send((message, self.backlog.enter())).is_err() {
            self.counts.unsent(self.name, "too many wait");
        }
    }

    pub(super) fn subscribe(&self) -> Subscription<T> {
        if let Some(fan_out) = &self.fan_out {
            return fan_out.subscribe();
        }
        tracing::error!(topic = self.name, "this process does not listen to what it subscribes to");
        mpsc::channel(1).1
    }

    /// What subscribers missed.
    pub(super) fn dropped(&self) -> u64 {
        self.fan_out.as_ref().map_or(0, |fan_out| fan_out.dropped())
    }

    pub(super) fn unsent(&self) -> u64 {
        self.counts.unsent.load(Ordering::Relaxed)
    }

    pub(super) fn malformed(&self) -> u64 {
        self.counts.malformed.load(Ordering::Relaxed)
    }
}

impl Counts {
    fn unsent(&self, topic: &'static str, reason: &str) {
        let total = self.unsent.fetch_add(1, Ordering::Relaxed) + 1;
        if self.unsent_warning.allows() {
            tracing::warn!(topic, total, reason, "a message was not published");
        }
    }

    fn malformed(&self, topic: &'static str, reason: &str) {
        let total = self.malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if self.malformed_warning.allows() {
            tracing::warn!(topic, total, reason, "a message can't be read");
        }
    }
}

async fn write<T: Wire>(
    name: &'static str,
    subject: String,
    mut queue: mpsc::Receiver<(T, Ticket)>,
    link: Link,
    counts: Arc<Counts>,
) {
    // Names of messages that are cut, unlike any other process's.
    let process = format!("{:032x}", rand::random::<u128>());
    let mut number = 0_u64;
    while let Some((message, _ticket)) = queue.recv().await {
        let payload = match message.encode() {
            Ok(payload) => Bytes::from(payload),
            Err(error) => {
                tracing::error!(topic = name, error, "a message can't be written");
                counts.unsent(name, "it can't be written");
                continue;
            }
        };
        number += 1;
        let id = format!("{process}-{number}");
        let Some(parts) = parts::cut(&id, payload, link.client().max_payload()) else {
            counts.unsent(name, "it is too large");
            continue;
        };
        for (part, payload) in parts {
            let publishing = async {
                match part {
                    None => link.client().publish(subject.clone(), payload).await,
                    Some(part) => {
                        let mut headers = HeaderMap::new();
                        headers.insert(PART, part.to_string());
                        link.client().publish_with_headers(subject.clone(), headers, payload).await
                    }
                }
            };
            let is_sent = link.is_connected()
                && matches!(timeout(PUBLISH_WITHIN, publishing).await, Ok(Ok(())));
            if !is_sent {
                counts.unsent(name, "the connection doesn't take it");
                break;
            }
        }
    }
}

async fn read<T: Wire>(
    name: &'static str,
    mut subscriber: Subscriber,
    fan_out: Arc<FanOut<T>>,
    counts: Arc<Counts>,
) {
    let mut assembly = Assembly::default();
    while let Some(message) = subscriber.next().await {
        match whole(&mut assembly, message) {
            Ok(None) => {}
            Ok(Some(payload)) => match T::decode(&payload) {
                Ok(message) => fan_out.publish(&message),
                Err(error) => counts.malformed(name, &error.to_string()),
            },
            Err(Malformed) => counts.malformed(name, "a part without the others"),
        }
    }
}

fn whole(assembly: &mut Assembly, message: Message) -> Result<Option<Bytes>, Malformed> {
    let part = message.headers.as_ref().and_then(|headers| headers.get(PART));
    let Some(part) = part else { return Ok(Some(message.payload)) };
    assembly.take(&part.as_str().parse()?, message.payload, Instant::now())
}
