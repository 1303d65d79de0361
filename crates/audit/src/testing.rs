//! A log that is what a test says.

use std::sync::Arc;

use verbatim_domain::conversation::{
    ConversationKind, ConversationRead, ConversationStarted, MemberJoined, MessageSent,
    PersonalMessage, PersonalTitle,
};
use verbatim_domain::{ConversationEvent, Event, MessageId, StreamId, UserId};
use verbatim_journal::{Error, Log};
use verbatim_protocol::{JournalId, Recorded, Timestamp};

/// Events in memory; position n was recorded at n milliseconds unless told otherwise.
#[derive(Default)]
pub struct Fixed(pub Vec<Arc<Recorded>>);

impl Fixed {
    pub fn add(&mut self, stream: StreamId, event: impl Into<Event>) -> &mut Self {
        let position = self.0.len() as u64 + 1;
        let sequence = self.0.iter().filter(|event| event.stream == stream).count() as u64 + 1;
        self.0.push(Arc::new(Recorded {
            position,
            stream,
            sequence,
            recorded_at: Timestamp(position as i64),
            command: None,
            metadata: "{}".into(),
            event: event.into(),
            original: None,
        }));
        self
    }

    pub fn says(&mut self, conversation: &str, sequence: u64, sender: &str) -> &mut Self {
        self.add(of(conversation), said(sequence, sender))
    }
}

pub fn log_at(times: &[i64]) -> Fixed {
    let mut log = Fixed::default();
    for (time, sequence) in times.iter().zip(1..) {
        log.says("conv", sequence, "ann");
        let last = log.0.last_mut().expect("it was added");
        Arc::get_mut(last).expect("nobody has it yet").recorded_at = Timestamp(*time);
    }
    log
}

pub fn of(conversation: &str) -> StreamId {
    StreamId::conversation(&conversation.parse().expect("an id"))
}

pub fn user(id: &str) -> UserId {
    id.parse().expect("an id")
}

pub fn started(by: &str, title: Option<&str>) -> ConversationEvent {
    ConversationEvent::ConversationStarted(ConversationStarted {
        kind: ConversationKind::Group,
        created_by: user(by),
        personal: PersonalTitle { title: title.map(str::to_owned) },
        imported: None,
    })
}

pub fn joined(member: &str) -> ConversationEvent {
    ConversationEvent::MemberJoined(MemberJoined { member_id: user(member) })
}

pub fn said(sequence: u64, sender: &str) -> ConversationEvent {
    ConversationEvent::MessageSent(MessageSent {
        message_id: MessageId(uuid::Uuid::from_u128(u128::from(sequence))),
        sequence,
        sender_id: user(sender),
        sender_role: "user".to_owned(),
        client_message_id: None,
        personal: PersonalMessage {
            content: format!("message {sequence}"),
            attachments: Vec::new(),
            email: None,
        }
        .into(),
        imported: None,
    })
}

pub fn read(reader: &str, through: u64) -> ConversationEvent {
    ConversationEvent::ConversationRead(ConversationRead { reader_id: user(reader), through })
}

#[async_trait::async_trait]
impl Log for Fixed {
    fn id(&self) -> JournalId {
        JournalId(uuid::Uuid::from_u128(1))
    }

    async fn head(&self) -> Result<u64, Error> {
        Ok(self.0.len() as u64)
    }

    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error> {
        Ok(self.0.iter().skip(after as usize).take(limit).cloned().collect())
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error> {
        let stream = self.0.iter().filter(|event| event.stream == *stream);
        Ok(stream.skip(after as usize).take(limit).cloned().collect())
    }
}
