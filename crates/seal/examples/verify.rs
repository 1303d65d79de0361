//! Fills a new journal, seals it, and prints how long it takes to read it, to read and hash it, and to
//! verify it, and the memory that was needed most. The journal is in a temporary folder, or in the
//! database whose URL is given.
//!
//! `cargo run --release -p verbatim-seal --example verify -- [events] [url]`

use std::sync::Arc;
use std::time::Instant;

use uuid::Uuid;
use verbatim_domain::conversation::{MessageSent, PersonalMessage};
use verbatim_domain::{ConversationEvent, MessageId, StreamId};
use verbatim_journal::{Append, Journal, PostgresJournal, Rows, SqliteJournal};
use verbatim_postgres::Database;
use verbatim_proof::{Frontier, Signer, leaf_hash};
use verbatim_protocol::{CommandKey, Timestamp};
use verbatim_seal::{
    Evidence, PostgresSeal, Sealer, SqliteSeal, Store, Trust, Verdict, line, verify,
};

const PAGE: usize = 2_000;
const STREAMS: u64 = 1_000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let events = arguments.next().map_or(Ok(100_000), |events| events.parse::<u64>())?;
    let folder = tempfile::tempdir()?;
    match arguments.next() {
        None => {
            let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).await?;
            let store = SqliteSeal::open(&folder.path().join("seal.sqlite")).await?;
            run(Arc::new(journal), Arc::new(store), events).await
        }
        Some(url) => {
            let database = Database::connect(&url, 4).await?;
            PostgresJournal::migrate(&database).await?;
            PostgresSeal::migrate(&database).await?;
            let journal = PostgresJournal::open(database.clone()).await?;
            run(Arc::new(journal), Arc::new(PostgresSeal::new(database)), events).await
        }
    }
}

async fn run<J: Journal + Rows>(
    journal: Arc<J>,
    store: Arc<dyn Store>,
    events: u64,
) -> Result<(), Failure> {
    for begin in (0..events).step_by(PAGE) {
        let batch = (begin..events.min(begin + PAGE as u64)).map(message).collect::<Result<_, _>>();
        journal.append(batch?).await?;
    }

    let started = Instant::now();
    let mut after = 0;
    while after < events as i64 {
        after += journal.rows_after(after, PAGE).await?.len() as i64;
    }
    let reading = told("read", events, started);

    let started = Instant::now();
    let (mut tree, mut bytes) = (Frontier::default(), Vec::new());
    while tree.size() < events {
        for row in journal.rows_after(tree.size() as i64, PAGE).await? {
            let event = row.stored?;
            bytes.clear();
            line(&event, tree.size() + 1, event.sequence, &mut bytes)?;
            tree.push(leaf_hash(&bytes), |_, _| {});
        }
    }
    let hashing = told("read and hashed", events, started);

    let signer = Arc::new(Signer::from_pem("log", &Signer::generate()?)?);
    let started = Instant::now();
    let mut sealer =
        Sealer::resume(journal.clone(), Arc::clone(&store), signer, &Trust::default()).await?;
    while sealer.take(PAGE).await? > 0 {
        sealer.seal(Timestamp::now()).await?;
    }
    told("sealed", events, started);

    let before = peak_memory()?;
    let started = Instant::now();
    let evidence = Evidence { store: Some(&*store), verifiers: Vec::new(), outside: Vec::new() };
    let verdict = verify(&*journal, evidence, |_, _| {}).await?;
    assert!(matches!(verdict, Verdict::Sound(_)), "{verdict:?}");
    let verifying = told("verified", events, started);
    println!(
        "verifying takes {:.2} × reading, {:.2} × reading and hashing; memory {before}, then {}",
        verifying / reading,
        verifying / hashing,
        peak_memory()?
    );
    Ok(())
}

fn message(number: u64) -> Result<Append, Failure> {
    let (stream, sequence) = (number % STREAMS, number / STREAMS + 1);
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
        stream: StreamId::conversation(&format!("conv_{stream}").parse()?),
        expected: sequence - 1,
        events: vec![ConversationEvent::MessageSent(sent).into()],
        key: CommandKey { issuer: "$gateway".into(), key: message_id.to_string().into() },
        metadata: format!("{{\"commandId\":\"{message_id}\"}}").into(),
    })
}

fn told(what: &str, count: u64, since: Instant) -> f64 {
    let seconds = since.elapsed().as_secs_f64();
    println!("{count} {what} in {seconds:.2} s: {:.0}/s", count as f64 / seconds);
    seconds
}

/// As the system counts it.
fn peak_memory() -> Result<String, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    Ok(line.unwrap_or_default().trim().to_owned())
}
