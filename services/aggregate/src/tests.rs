//! The service between a real in-process bus and a journal in memory that fails on request.

mod chaos;
mod duplicates;
mod failures;
mod isolation;
mod memory;
mod numbering;
mod snapshots;
mod sqlite;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_bus::{Bus, InProcess, ReplyFuture};
use verbatim_domain::conversation::{Author, CreateGroup, PersonalMessage, SendMessage};
use verbatim_domain::{
    ConversationCommand, ConversationEvent, Event, InboxCommand, MessageId, StreamId, UserId,
};
use verbatim_journal::Journal;
use verbatim_protocol::{
    Command, CommandEnvelope, CommandKey, Committed, ErrorCode, Recorded, Reply, Timestamp,
};

use crate::state::{Decide, State};
use crate::{Aggregate, Settings};
use memory::MemoryJournal;

/// Nothing takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(50);

/// A running service.
struct Service<J: Journal = MemoryJournal> {
    bus: Arc<InProcess>,
    journal: Arc<J>,
    registry: Registry,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Service {
    fn new() -> Self {
        Self::start(Arc::new(MemoryJournal::default()), Settings::default())
    }

    fn with(settings: Settings) -> Self {
        Self::start(Arc::new(MemoryJournal::default()), settings)
    }
}

impl<J: Journal> Service<J> {
    fn start(journal: Arc<J>, settings: Settings) -> Self {
        Self::deciding(journal, settings, State::decide)
    }

    fn deciding(journal: Arc<J>, settings: Settings, decide: Decide) -> Self {
        let bus = Arc::new(InProcess::default());
        let mut registry = Registry::default();
        let (port, lanes) = (Arc::clone(&journal) as Arc<_>, Arc::clone(&bus) as Arc<_>);
        let aggregate =
            Aggregate { decide, ..Aggregate::new(port, lanes, settings, &mut registry) };
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(aggregate.run(shutdown.clone()));
        Self { bus, journal, registry, shutdown, task }
    }

    /// Ends the service; what it had cached is gone.
    async fn stop(self) -> Arc<J> {
        self.shutdown.cancel();
        soon(self.task).await.expect("no panic").expect("a clean end");
        self.journal
    }

    fn give(&self, envelope: CommandEnvelope) -> ReplyFuture {
        self.bus.send(envelope)
    }

    fn say(&self, from: &str, conversation: &str, content: &str) -> ReplyFuture {
        self.give(say(from, conversation, content))
    }

    /// Starts a direct conversation, which is hot then.
    async fn start_conversation(&self, from: &str, to: &str, conversation: &str) {
        let first = say(from, conversation, "first");
        accepted(soon(self.give(to_target(first, to))).await);
    }

    /// Waits until the service has taken, and so decided or parked, all that it was given.
    async fn taken(&self) {
        until(|| self.bus.queued_commands() == 0).await;
    }

    fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).expect("a text");
        text
    }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

async fn until(mut condition: impl FnMut() -> bool) {
    soon(async {
        while !condition() {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

async fn all(replies: impl IntoIterator<Item = ReplyFuture>) -> Vec<Reply> {
    soon(futures::future::join_all(replies)).await
}

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

fn envelope(key: CommandKey, command: Command) -> CommandEnvelope {
    CommandEnvelope {
        command_id: Uuid::now_v7(),
        key,
        deadline: Timestamp(Timestamp::now().0 + 30_000),
        traceparent: None,
        command,
    }
}

fn service_key() -> CommandKey {
    CommandKey { issuer: "$gateway".into(), key: Uuid::now_v7().to_string().into() }
}

fn say(from: &str, conversation: &str, content: &str) -> CommandEnvelope {
    let send = SendMessage {
        message_id: MessageId(Uuid::now_v7()),
        author: Author { user_id: user(from), role: "user".into() },
        target: None,
        client_message_id: None,
        personal: PersonalMessage::text(content).into(),
    };
    let id = conversation.parse().expect("a conversation id");
    let command = ConversationCommand::SendMessage(send);
    envelope(service_key(), Command::Conversation { id, command })
}

fn change_send(
    mut envelope: CommandEnvelope,
    change: impl FnOnce(&mut SendMessage),
) -> CommandEnvelope {
    if let Command::Conversation { command: ConversationCommand::SendMessage(send), .. } =
        &mut envelope.command
    {
        change(send);
    }
    envelope
}

fn to_target(envelope: CommandEnvelope, target: &str) -> CommandEnvelope {
    change_send(envelope, |send| send.target = Some(user(target)))
}

/// A send with the sender's own name for it.
fn named(from: &str, conversation: &str, content: &str, key: &str) -> CommandEnvelope {
    let mut named = change_send(say(from, conversation, content), |send| {
        send.client_message_id = Some(key.parse().expect("a client message id"));
    });
    named.key = CommandKey { issuer: from.into(), key: key.into() };
    named
}

fn group(conversation: &str, creator: &str, members: &[String]) -> CommandEnvelope {
    let create = CreateGroup {
        creator: user(creator),
        members: members.iter().map(|member| user(member)).collect(),
        title: None,
    };
    let id = conversation.parse().expect("a conversation id");
    let command = ConversationCommand::CreateGroup(create);
    envelope(service_key(), Command::Conversation { id, command })
}

fn inbox(owner: &str, command: InboxCommand) -> CommandEnvelope {
    envelope(service_key(), Command::Inbox { user: user(owner), command })
}

fn accepted(reply: Reply) -> Committed {
    reply.expect("it was carried out")
}

fn sequence(reply: Reply) -> u64 {
    accepted(reply).message.expect("a message").sent.sequence
}

fn refusal(reply: Reply) -> ErrorCode {
    reply.expect_err("it was refused").code
}

fn conversation(id: &str) -> StreamId {
    StreamId::conversation(&id.parse().expect("a conversation id"))
}

/// What was said in a conversation, in order; panics unless it is numbered densely.
async fn said(journal: &impl Journal, id: &str) -> Vec<String> {
    let mut said = Vec::new();
    for recorded in stream(journal, id).await {
        if let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event {
            said.push(sent.personal.plain().expect("it was plain").content.clone());
            assert_eq!(sent.sequence, said.len() as u64, "the messages of {id} are dense");
        }
    }
    said
}

async fn stream(journal: &impl Journal, id: &str) -> Vec<Arc<Recorded>> {
    let events = journal.read_stream(&conversation(id), 0, 1_000_000).await.expect("the events");
    for (n, recorded) in (1..).zip(&events) {
        assert_eq!(recorded.sequence, n, "the events of {id} are dense");
    }
    events
}
