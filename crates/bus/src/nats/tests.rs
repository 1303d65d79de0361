use std::collections::HashMap;
use std::time::Instant;

use uuid::Uuid;
use verbatim_domain::{ConversationCommand, LANES, conversation::MarkRead};
use verbatim_protocol::{Command, CommandKey, Committed, ErrorCode, LaneCursor, Reply, Timestamp};

use super::*;
use crate::conformance::{Limits, Subject};
use crate::in_process::Capacity;
use crate::{Request, Taken};
use server::{PATIENCE, Server};

mod commands;
mod lanes;
mod login;
mod outage;
mod roles;
mod server;
mod topics;

mod conformance {
    use super::*;

    async fn make(limits: Limits) -> Subject {
        let mut options = options();
        options.capacity = Capacity {
            commands: limits.commands,
            events: limits.subscription,
            frames: limits.subscription,
            presence: limits.subscription,
        };
        let bus = Arc::new(open(options).await);
        let closing = Arc::clone(&bus);
        Subject { bus, close: Box::new(move || closing.close()) }
    }

    crate::conformance_tests!(make);
}

/// The test server, with subjects and a stream that no other test uses.
fn options() -> NatsOptions {
    let url = std::env::var("VERBATIM_TEST_NATS_URL").expect(
        "VERBATIM_TEST_NATS_URL is not set: `eval \"$(scripts/services start)\"` starts a server",
    );
    NatsOptions {
        prefix: format!("test-{:032x}", rand::random::<u128>()),
        stream: StreamOptions { max_bytes: 4 << 20, ..StreamOptions::default() },
        ..NatsOptions::new(url)
    }
}

fn options_for(server: &Server) -> NatsOptions {
    NatsOptions::new(server.url())
}

async fn open(options: NatsOptions) -> Nats {
    let nats = Nats::connect(options).await.expect("a connection");
    nats.ensure_stream().await.expect("a stream");
    nats
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A conversation of each lane.
fn conversations() -> Vec<String> {
    let mut found = vec![None; usize::from(LANES)];
    let mut left = found.len();
    for n in 0.. {
        let id = format!("conv_{n}");
        let stream = verbatim_domain::StreamId::conversation(&id.parse().expect("an id"));
        let slot = &mut found[usize::from(stream.lane())];
        if slot.is_none() {
            *slot = Some(id);
            left -= 1;
        }
        if left == 0 {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// The `number`th command to a conversation.
fn command(conversation: &str, number: u64, time: Duration) -> CommandEnvelope {
    let command = MarkRead { reader: "ann".parse().expect("a user id"), through: Some(number) };
    CommandEnvelope {
        command_id: Uuid::from_u128(number.into()),
        key: CommandKey { issuer: "$test".into(), key: format!("{conversation}/{number}").into() },
        deadline: Timestamp(Timestamp::now().0 + time.as_millis() as i64),
        traceparent: None,
        command: Command::Conversation {
            id: conversation.parse().expect("an id"),
            command: ConversationCommand::MarkRead(command),
        },
    }
}

/// The lane of [`one`]'s commands.
fn lane() -> u16 {
    one(1).command.stream().lane()
}

/// The `number`th command to one conversation.
fn one(number: u64) -> CommandEnvelope {
    command("conv_1", number, PATIENCE)
}

fn number(request: &Request) -> u64 {
    request.command.command_id.as_u128() as u64
}

fn cursor(request: &Request) -> LaneCursor {
    request.place.expect("a place").cursor.expect("it stands alone")
}

async fn take(source: &mut dyn CommandSource, count: usize) -> Vec<Request> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = soon(source.next(count - taken.len())).await.expect("the bus is open");
        taken.extend(more.into_iter().filter_map(Taken::request));
    }
    taken
}

fn numbers(requests: &[Request]) -> Vec<u64> {
    requests.iter().map(number).collect()
}

fn done(position: u64) -> Committed {
    Committed { position, duplicate: false, message: None }
}

fn is_unavailable(reply: &Reply) -> bool {
    reply.as_ref().is_err_and(|failure| {
        failure.code == ErrorCode::Unavailable && failure.retry_after_ms.is_some()
    })
}

/// Sends so many commands to one conversation, each in a message of its own, whose replies nobody waits
/// for, and waits until the stream has them.
async fn fill(nats: &Nats, commands: std::ops::RangeInclusive<u64>) {
    let before = stored(nats).await;
    let count = commands.end() + 1 - commands.start();
    for number in commands {
        drop(nats.send(one(number)));
        soon(nats.backlog.emptied()).await;
    }
    eventually("the stream has them", async || stored(nats).await >= before + count).await;
}

/// The sequence of the last command in the stream.
async fn stored(nats: &Nats) -> u64 {
    stream(nats).await.cached_info().state.last_sequence
}

async fn stream(nats: &Nats) -> async_nats::jetstream::stream::Stream {
    let stream = &nats.readers.stream;
    stream.context.get_stream(&stream.name).await.expect("the stream is there")
}

async fn delete_stream(nats: &Nats) {
    let stream = &nats.readers.stream;
    stream.context.delete_stream(&stream.name).await.expect("the stream was there");
}
