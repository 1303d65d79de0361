//! Prints how many messages a second go from the bus into a real journal and back as replies.
//!
//! `cargo run --release -p verbatim-aggregate --example throughput -- [messages] [window] [conversations]`

use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_aggregate::{Aggregate, Settings};
use verbatim_bus::{Bus, InProcess};
use verbatim_domain::conversation::{Author, PersonalMessage, SendMessage};
use verbatim_domain::{ConversationCommand, MessageId};
use verbatim_journal::Journal;
use verbatim_journal::sqlite::SqliteJournal;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Timestamp};

const DEADLINE_MS: i64 = 60_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut next = |default| arguments.next().unwrap_or(Ok(default));
    let (messages, window, conversations) = (next(100_000)?, next(2_000)?, next(100)?);
    anyhow::ensure!(
        window > 0 && conversations > 0,
        "the window and the conversations count from 1"
    );

    let folder = tempfile::tempdir()?;
    let journal = Arc::new(SqliteJournal::open(&folder.path().join("journal.sqlite")).await?);
    let bus = Arc::new(InProcess::default());
    let shutdown = CancellationToken::new();
    let aggregate = Aggregate::new(
        Arc::clone(&journal) as Arc<dyn Journal>,
        Arc::clone(&bus) as Arc<dyn Bus>,
        Settings::default(),
        &mut Registry::default(),
    );
    let service = tokio::spawn(aggregate.run(shutdown.clone()));

    let start = Instant::now();
    let mut replies = FuturesUnordered::new();
    let mut latencies = Vec::with_capacity(messages);
    for n in 0..messages {
        if replies.len() >= window {
            latencies.push(replies.next().await.context("a reply is awaited")??);
        }
        let given = Instant::now();
        let reply = bus.send(say(n, n % conversations)?);
        replies.push(async move { reply.await.map(|_| given.elapsed()) });
    }
    while let Some(latency) = replies.next().await {
        latencies.push(latency?);
    }
    let seconds = start.elapsed().as_secs_f64();
    latencies.sort_unstable();
    println!(
        "{:.0} messages/s ({messages} in {seconds:.2} s, {window} at once, {conversations} conversations)",
        messages as f64 / seconds,
    );
    println!(
        "latency: median {:?}, 99th percentile {:?}",
        latencies[messages / 2],
        latencies[messages * 99 / 100],
    );
    shutdown.cancel();
    service.await??;
    journal.close().await?;
    Ok(())
}

fn say(n: usize, conversation: usize) -> anyhow::Result<CommandEnvelope> {
    let client_message_id = format!("message {n}");
    let send = SendMessage {
        message_id: MessageId(Uuid::now_v7()),
        author: Author { user_id: "ann".parse()?, role: "user".into() },
        target: Some("bob".parse()?),
        client_message_id: Some(client_message_id.parse()?),
        personal: PersonalMessage::text(
            "Hello! This is about as long as what people write to each other.",
        )
        .into(),
    };
    Ok(CommandEnvelope {
        command_id: Uuid::now_v7(),
        key: CommandKey { issuer: "ann".into(), key: client_message_id.into() },
        deadline: Timestamp(Timestamp::now().0 + DEADLINE_MS),
        traceparent: None,
        command: Command::Conversation {
            id: format!("conv_{conversation}").parse()?,
            command: ConversationCommand::SendMessage(send),
        },
    })
}
