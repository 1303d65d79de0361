//! Applies messages to views in a temporary folder, asks them for what gateways ask, and prints how
//! long it took.
//!
//! `cargo run --release -p verbatim-views --example apply -- [messages] [batch] [conversations]`

use std::sync::Arc;
use std::time::{Duration, Instant};

use uuid::Uuid;
use verbatim_domain::conversation::{
    ConversationKind, ConversationStarted, MemberJoined, MessageSent, PersonalMessage,
    PersonalTitle,
};
use verbatim_domain::{ConversationEvent, ConversationId, MessageId, StreamId, UserId};
use verbatim_protocol::{JournalId, Recorded, Timestamp};
use verbatim_views::{PageRequest, SqliteViews, Views};

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// A journal's events, one after the other.
#[derive(Default)]
struct Events {
    position: u64,
    waiting: Vec<Arc<Recorded>>,
}

impl Events {
    fn add(&mut self, id: &ConversationId, event: ConversationEvent) {
        self.position += 1;
        self.waiting.push(Arc::new(Recorded {
            position: self.position,
            stream: StreamId::conversation(id),
            sequence: self.position,
            recorded_at: Timestamp(1_704_103_200_000 + self.position as i64),
            command: None,
            metadata: Arc::from("{}"),
            event: event.into(),
            original: None,
        }));
    }

    fn start(&mut self, id: &ConversationId, members: &[UserId]) {
        self.add(
            id,
            ConversationEvent::ConversationStarted(ConversationStarted {
                kind: ConversationKind::Direct,
                created_by: members[0].clone(),
                personal: PersonalTitle { title: None },
                imported: None,
            }),
        );
        for member in members {
            let joined = MemberJoined { member_id: member.clone() };
            self.add(id, ConversationEvent::MemberJoined(joined));
        }
    }

    fn say(&mut self, id: &ConversationId, sequence: u64, sender: &UserId) -> Result<(), Failure> {
        let sent = MessageSent {
            message_id: MessageId(Uuid::now_v7()),
            sequence,
            sender_id: sender.clone(),
            sender_role: "user".to_owned(),
            client_message_id: Some(format!("message-{}", self.position).parse()?),
            personal: PersonalMessage {
                content: "Hello there, this is a message of a quite ordinary length.".to_owned(),
                attachments: Vec::new(),
                email: Some("someone@example.com".to_owned()),
            }
            .into(),
            imported: None,
        };
        self.add(id, ConversationEvent::MessageSent(sent));
        Ok(())
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let mut argument = |default| arguments.next().unwrap_or(Ok(default));
    let messages = argument(300_000)?.clamp(1, 10_000_000);
    let batch = argument(1_000)?.clamp(1, 10_000);
    let conversations = argument(1_000)?.clamp(1, 100_000);

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("views.sqlite");
    let views = SqliteViews::open(&path, JournalId(Uuid::now_v7())).await?;
    let mut events = Events::default();
    let ann: UserId = "ann".parse()?;
    let mut talks = Vec::with_capacity(conversations);
    for number in 0..conversations {
        let id: ConversationId = format!("conversation-{number}").parse()?;
        let members = [ann.clone(), format!("user-{number}").parse()?];
        events.start(&id, &members);
        talks.push((id, members, 0));
    }
    for chunk in events.waiting.chunks(batch) {
        views.apply(chunk).await?;
    }

    let mut applying = Duration::ZERO;
    let mut sent = 0;
    while sent < messages {
        events.waiting.clear();
        for _ in 0..batch.min(messages - sent) {
            // Steps that spread over all conversations, the same in every run.
            let talk = sent.wrapping_mul(7_919) % conversations;
            let (id, members, count) = &mut talks[talk];
            *count += 1;
            events.say(id, *count, &members[sent % 2])?;
            sent += 1;
        }
        let started = Instant::now();
        views.apply(&events.waiting).await?;
        applying += started.elapsed();
    }
    let rate = messages as f64 / applying.as_secs_f64();
    println!(
        "applied {messages} messages of {conversations} conversations in batches of {batch}: \
         {rate:.0}/s"
    );

    let head = events.position;
    let page = PageRequest { cursor: None, limit: 200 };
    let started = Instant::now();
    views.conversations(&ann, &page).await?;
    println!("a page of 200 conversations: {:?}", started.elapsed());
    for behind in [0, 1, 1_000, head] {
        let started = Instant::now();
        let found = views.stream(&ann, head - behind.min(head), head, 200).await?;
        println!(
            "a stream {behind} events behind, {} messages: {:?}",
            found.len(),
            started.elapsed()
        );
    }
    let started = Instant::now();
    let pushes = views.pushes(head - head.min(1_000), head, 1_000).await?;
    println!("{} pushes: {:?}", pushes.len(), started.elapsed());
    views.close().await?;
    Ok(())
}
