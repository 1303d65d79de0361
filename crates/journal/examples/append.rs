//! Appends messages to a new journal, reads them back, and prints both rates. The journal is in a
//! temporary folder, or in the database whose URL is given.
//!
//! `cargo run --release -p verbatim-journal --example append -- [batch] [appends] [callers] [streams] [url]`

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use verbatim_domain::conversation::{MessageSent, PersonalMessage};
use verbatim_domain::{ConversationEvent, ConversationId, MessageId, StreamId};
use verbatim_journal::{Append, Appended, Journal, PostgresJournal, SqliteJournal};
use verbatim_postgres::Database;
use verbatim_protocol::CommandKey;

const PAGE: usize = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let mut argument =
        |default| arguments.next().map_or(Ok(default), |argument| argument.parse::<usize>());
    let batch = argument(200)?.clamp(1, 10_000);
    let appends = argument(50_000)?.clamp(1, 10_000_000);
    let callers = argument(4)?.clamp(1, 64);
    let streams = argument(1_000)?.clamp(callers, 1_000_000);

    let folder = tempfile::tempdir()?;
    let journal: Arc<dyn Journal> = match arguments.next() {
        None => Arc::new(SqliteJournal::open(&folder.path().join("journal.sqlite")).await?),
        Some(url) => {
            let database = Database::connect(&url, 8).await?;
            PostgresJournal::migrate(&database).await?;
            Arc::new(PostgresJournal::open(database).await?)
        }
    };
    let started = Instant::now();
    let running: Vec<_> = (0..callers)
        .map(|caller| {
            let journal = Arc::clone(&journal);
            let (streams, appends) = (streams / callers, appends / callers);
            tokio::spawn(async move { append(&*journal, caller, streams, appends, batch).await })
        })
        .collect();
    for caller in running {
        caller.await??;
    }
    let head = journal.head().await?;
    rate("appends", head, started);

    let started = Instant::now();
    let mut position = 0;
    while position < head {
        position += journal.read_after(position, PAGE).await?.len() as u64;
    }
    rate("reads", head, started);
    Ok(())
}

async fn append(
    journal: &dyn Journal,
    caller: usize,
    streams: usize,
    appends: usize,
    batch: usize,
) -> Result<(), Failure> {
    let mut heads = vec![0; streams];
    let mut done = 0;
    while done < appends {
        let size = batch.min(appends - done);
        let batch = (done..done + size)
            .map(|n| {
                // Neighbours in time are no neighbours in the index.
                let number = n.wrapping_mul(7_919) % streams;
                heads[number] += 1;
                message(&format!("conv_{caller}_{number}"), heads[number])
            })
            .collect::<Result<_, _>>()?;
        let outcomes = journal.append(batch).await?;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
        done += size;
    }
    Ok(())
}

fn message(conversation: &str, sequence: u64) -> Result<Append, Failure> {
    let id: ConversationId = conversation.parse()?;
    let message_id = Uuid::now_v7();
    let sent = MessageSent {
        message_id: MessageId(message_id),
        sequence,
        sender_id: "user_1".parse()?,
        sender_role: "user".to_owned(),
        client_message_id: None,
        personal: PersonalMessage {
            content: "Hello there, how are you doing today?".to_owned(),
            attachments: Vec::new(),
            email: Some("user_1@example.com".to_owned()),
        }
        .into(),
        imported: None,
    };
    Ok(Append {
        stream: StreamId::conversation(&id),
        expected: sequence - 1,
        events: vec![ConversationEvent::MessageSent(sent).into()],
        key: CommandKey { issuer: "$gateway".into(), key: message_id.to_string().into() },
        metadata: format!("{{\"commandId\":\"{message_id}\"}}").into(),
    })
}

fn rate(what: &str, count: u64, since: Instant) {
    let seconds = since.elapsed().as_secs_f64();
    println!("{count} {what} in {seconds:.2} s: {:.0}/s", count as f64 / seconds);
}
