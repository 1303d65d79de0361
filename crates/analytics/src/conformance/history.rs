//! A journal's events, made up for the tests.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::connections::ConnectionsSampled;
use verbatim_domain::conversation::{MemberJoined, MessageSent, PersonalMessage};
use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome, NotificationCreated};
use verbatim_domain::{
    ConnectionsEvent, ConversationEvent, Event, InboxEvent, MessageId, NotificationId, StreamId,
};
use verbatim_protocol::{Recorded, Timestamp};

/// Events that follow on each other, at times of the caller's.
pub struct History {
    pub now: Timestamp,
    events: Vec<Arc<Recorded>>,
    /// The last position of those that were taken out.
    taken: u64,
    sequences: HashMap<StreamId, u64>,
}

impl History {
    /// # Panics
    /// `now` is no time.
    #[must_use]
    pub fn at(now: &str) -> Self {
        Self { now: time(now), events: Vec::new(), taken: 0, sequences: HashMap::new() }
    }

    #[must_use]
    pub fn events(&self) -> &[Arc<Recorded>] {
        &self.events
    }

    #[must_use]
    pub fn after(&self, position: u64) -> &[Arc<Recorded>] {
        &self.events[(position - self.taken) as usize..]
    }

    #[must_use]
    pub fn head(&self) -> u64 {
        self.taken + self.events.len() as u64
    }

    /// Takes the events out that have been added since the last time.
    pub fn take(&mut self) -> Vec<Arc<Recorded>> {
        self.taken = self.head();
        std::mem::take(&mut self.events)
    }

    /// Lets time pass.
    pub fn wait(&mut self, ms: i64) -> &mut Self {
        self.now.0 += ms;
        self
    }

    fn add(&mut self, stream: StreamId, event: impl Into<Event>) -> u64 {
        let position = self.head() + 1;
        let sequence = self.sequences.entry(stream.clone()).or_default();
        *sequence += 1;
        self.events.push(Arc::new(Recorded {
            position,
            stream,
            sequence: *sequence,
            recorded_at: self.now,
            command: None,
            metadata: Arc::from("{}"),
            event: event.into(),
            original: None,
        }));
        position
    }

    pub fn join(&mut self, conversation: &str, member: &str) {
        let joined = MemberJoined { member_id: member.parse().expect("an id") };
        self.add(talk(conversation), ConversationEvent::MemberJoined(joined));
    }

    /// A message, by a user in a role; gives its position.
    pub fn say(&mut self, conversation: &str, sender: &str, role: &str) -> u64 {
        let number = self.sequences.get(&talk(conversation)).copied().unwrap_or(0);
        let sent = MessageSent {
            message_id: MessageId(Uuid::from_u128(u128::from(self.head()))),
            sequence: number,
            sender_id: sender.parse().expect("an id"),
            sender_role: role.to_owned(),
            client_message_id: None,
            personal: PersonalMessage::text("Hello!").into(),
            imported: None,
        };
        self.add(talk(conversation), ConversationEvent::MessageSent(sent))
    }

    pub fn note(&mut self, user: &str, conversation: &str, message_position: u64) {
        let created = NotificationCreated {
            notification_id: NotificationId(Uuid::nil()),
            conversation_id: conversation.parse().expect("an id"),
            message_id: MessageId(Uuid::nil()),
            message_position,
            sender_id: "somebody".parse().expect("an id"),
        };
        self.add(inbox(user), InboxEvent::NotificationCreated(created));
    }

    pub fn deliver(&mut self, user: &str, through: u64, outcome: DeliveryOutcome) {
        let advanced = DeliveryAdvanced { through, outcome };
        self.add(inbox(user), InboxEvent::DeliveryAdvanced(advanced));
    }

    /// A sample of the minute that has just ended.
    pub fn sample(&mut self, sockets: u64, users: u64, peak_sockets: u64) {
        let at = self.now.0 as u64 / 60_000 * 60;
        let sampled = ConnectionsSampled { at, seconds: 60, sockets, users, peak_sockets };
        self.add(StreamId::connections(), ConnectionsEvent::ConnectionsSampled(sampled));
    }
}

/// # Panics
/// It is none.
#[must_use]
pub fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn talk(id: &str) -> StreamId {
    StreamId::conversation(&id.parse().expect("an id"))
}

fn inbox(user: &str) -> StreamId {
    StreamId::inbox(&user.parse().expect("an id"))
}
