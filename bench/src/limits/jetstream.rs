//! Into a `JetStream` stream, as a gateway publishes commands.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::HeaderMap;
use async_nats::jetstream::stream::{Config, DiscardPolicy, StorageType};
use bytes::Bytes;
use futures::StreamExt;
use memchr::memmem;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use uuid::Uuid;
use verbatim_protocol::{CommandEnvelope, CommandKey, Timestamp};

use super::{Report, Rows, report};
use crate::cast::{Cast, at_least_one};
use crate::events::Events;
use crate::processes;

/// Commands that differ; they are published over and over.
const COMMANDS: usize = 1_000;
const LANES: usize = 64;
/// What all of it may take.
const PATIENCE: Duration = Duration::from_mins(2);

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    /// The server.
    #[arg(long)]
    pub url: String,
    /// Publishes that wait for their acknowledgements at once.
    #[arg(long, default_value_t = 1_024, value_parser = at_least_one())]
    pub under_way: usize,
    #[command(flatten)]
    pub rows: Rows,
}

pub async fn run(args: Args) -> anyhow::Result<Report> {
    let client = async_nats::connect(&args.url).await.context("--url")?;
    let config = Config {
        name: "LIMIT".to_owned(),
        subjects: vec!["limit.*".to_owned()],
        storage: StorageType::File,
        // Verbatim's refuses what is too much; here it is to go on.
        discard: DiscardPolicy::Old,
        max_bytes: 256 << 20,
        max_messages: 500_000,
        ..Config::default()
    };
    async_nats::jetstream::new(client.clone()).create_stream(config).await?;
    let inbox = client.new_inbox();
    let mut acks = client.subscribe(inbox.clone()).await?;
    let commands = commands(args.rows.bytes)?;
    let subjects: Vec<_> = (0..LANES).map(|lane| format!("limit.{lane}")).collect();
    let mut headers = HeaderMap::new();
    headers.insert("Verbatim-Reply", inbox.as_str());

    let rows = args.rows.count;
    let room = Semaphore::new(args.under_way);
    let before = processes::look(&args.rows.processes)?;
    let begun = Instant::now();
    let publish = async {
        for number in 0..rows {
            room.acquire().await?.forget();
            let subject = subjects[number % LANES].clone();
            let command = commands[number % COMMANDS].clone();
            let (inbox, headers) = (inbox.clone(), headers.clone());
            client.publish_with_reply_and_headers(subject, inbox, headers, command).await?;
        }
        anyhow::Ok(client.flush().await?)
    };
    let settle = async {
        let mut refused = 0;
        for _ in 0..rows {
            let ack = acks.next().await.context("the connection has ended")?;
            refused += usize::from(memmem::find(&ack.payload, b"\"error\"").is_some());
            room.add_permits(1);
        }
        anyhow::Ok(refused)
    };
    let all = timeout(PATIENCE, async { tokio::try_join!(publish, settle) });
    let ((), refused) = all.await.context("not all were acknowledged")??;
    ensure!(refused < rows, "all were refused");
    Ok(Report { refused, ..report(&before, begun, rows)? })
}

fn commands(bytes: usize) -> anyhow::Result<Vec<Bytes>> {
    let events = Events::new(Cast::new(100), bytes, 1);
    let command = |_| {
        let command_id = Uuid::now_v7();
        let envelope = CommandEnvelope {
            command_id,
            key: CommandKey { issuer: "$gateway".into(), key: command_id.to_string().into() },
            deadline: Timestamp::now(),
            traceparent: None,
            command: events.command()?,
        };
        anyhow::Ok(serde_json::to_vec(&envelope)?.into())
    };
    (0..COMMANDS).map(command).collect()
}
