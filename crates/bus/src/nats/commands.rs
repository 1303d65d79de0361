//! Commands on their way to their lanes, and the replies that come back.
//!
//! Commands to the same lane that wait at the same time, such as those that came in one packet, go as one
//! message: a line each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_nats::{HeaderMap, StatusCode, Subscriber};
use bytes::Bytes;
use futures::StreamExt;
use serde::Deserialize;
use verbatim_protocol::{CommandEnvelope, ErrorCode, Failure, Reply};

use super::connection::Link;
use super::outgoing::{Message, Outgoing, Packing, Publisher};
use super::parts::HEADER_ROOM;
use super::subjects::{Answers, REPLY_TO, Subjects};
use super::throttle::Throttle;
use super::waiting::{Waiting, remaining};
use super::{replies, wire};
use crate::ReplyFuture;
use crate::refusal::{answered, refused, unavailable};

/// The most commands in one message: their numbers are part of a subject.
pub(super) const MOST: usize = 64;

#[derive(Debug)]
pub(super) struct Commands {
    link: Link,
    subjects: Arc<Subjects>,
    publisher: Publisher,
    waiting: Arc<Waiting>,
    closed: AtomicBool,
}

impl Commands {
    pub(super) fn new(
        link: Link,
        subjects: Arc<Subjects>,
        publisher: Publisher,
        waiting: Arc<Waiting>,
    ) -> Self {
        Self { link, subjects, publisher, waiting, closed: AtomicBool::new(false) }
    }

    pub(super) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn send(&self, command: &CommandEnvelope) -> ReplyFuture {
        let Some(deadline) = remaining(command.deadline) else {
            return refused("The command's time is up");
        };
        if self.closed.load(Ordering::Relaxed) {
            return refused("The service is shutting down");
        }
        let payload = match serde_json::to_vec(command) {
            Ok(payload) => payload,
            Err(error) => {
                tracing::error!(%error, command_id = %command.command_id, "a command can't be written");
                return answered(Failure::internal());
            }
        };
        if payload.len() + HEADER_ROOM > self.link.client().max_payload() {
            return answered(Failure::new(ErrorCode::PayloadTooLarge, "The command is too large"));
        }
        let Some(mut slot) = self.waiting.enter() else {
            return refused("The service is overloaded");
        };
        let outgoing = Outgoing {
            to: self.subjects.command(command.command.stream().lane()),
            number: slot.number,
            payload: payload.into(),
            deadline,
        };
        if self.publisher.publish(outgoing).is_err() {
            return refused("The service is overloaded");
        }
        Box::pin(async move {
            match tokio::time::timeout_at(deadline, &mut slot.reply).await {
                Ok(Ok(reply)) => reply,
                Ok(Err(_)) => Err(unavailable("The command was not handled")),
                Err(_) => Err(unavailable("The command was not settled in time")),
            }
        })
    }
}

/// How commands to the same lane become one message.
pub(super) fn packing(subjects: Arc<Subjects>) -> Packing {
    let pack = move |commands: &[Outgoing]| {
        let numbers: Vec<_> = commands.iter().map(|command| command.number).collect();
        let mut headers = HeaderMap::new();
        headers.insert(REPLY_TO, subjects.replies(&numbers));
        let payload = match commands {
            [command] => command.payload.clone(),
            // JSON as it is written here has no line breaks of its own.
            commands => {
                let lines: Vec<&[u8]> = commands.iter().map(|command| &*command.payload).collect();
                Bytes::from(lines.join(&b'\n'))
            }
        };
        let subject = commands[0].to.clone();
        Message { subject, answered: Some((subjects.ack(&numbers), headers)), payload }
    };
    Packing { most: MOST, pack: Box::new(pack) }
}

/// What the server says of commands that were published to a stream.
#[derive(Deserialize)]
struct PubAck {
    error: Option<PubError>,
}

#[derive(Deserialize)]
struct PubError {
    err_code: u64,
}

/// Hands answers to who waits for them.
pub(super) async fn read_answers(
    mut subscriber: Subscriber,
    subjects: Arc<Subjects>,
    waiting: Arc<Waiting>,
    malformed: Arc<AtomicU64>,
) {
    let (junk, refusals) = (Throttle::default(), Throttle::default());
    let unread = |reason: String| {
        let total = malformed.fetch_add(1, Ordering::Relaxed) + 1;
        if junk.allows() {
            tracing::warn!(total, reason, "an answer can't be read");
        }
    };
    let settled = |answer: Result<(u64, Reply), String>| match answer {
        Ok((number, reply)) => {
            waiting.answer(number, reply);
        }
        Err(reason) => unread(reason),
    };
    while let Some(message) = subscriber.next().await {
        match subjects.parse_answer(&message.subject) {
            Some(Answers::Stored(numbers)) => match is_stored(&message) {
                Ok(Stored::Yes) => {}
                Ok(Stored::No(reason)) => {
                    if refusals.allows() {
                        tracing::warn!(reason, "the command stream doesn't take commands");
                    }
                    for number in numbers {
                        waiting.answer(number, Err(unavailable("The service is overloaded")));
                    }
                }
                Err(reason) => unread(reason),
            },
            Some(Answers::Settled(number)) => {
                let reply = serde_json::from_slice(&message.payload).map_err(wire::where_only);
                settled(reply.map(|reply| (number, reply)));
            }
            Some(Answers::SettledMany) => replies::unpack(&message.payload).for_each(&settled),
            None => unread("no number".to_owned()),
        }
    }
}

enum Stored {
    Yes,
    No(String),
}

/// # Errors
/// The server's answer can't be read.
fn is_stored(message: &async_nats::Message) -> Result<Stored, String> {
    if message.status == Some(StatusCode::NO_RESPONDERS) {
        return Ok(Stored::No("there is none".to_owned()));
    }
    let ack: PubAck = serde_json::from_slice(&message.payload).map_err(wire::where_only)?;
    Ok(match ack.error {
        None => Stored::Yes,
        Some(error) => Stored::No(format!("JetStream error {}", error.err_code)),
    })
}
