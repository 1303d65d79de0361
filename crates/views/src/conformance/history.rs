//! A journal's events, made up for the tests.

use std::collections::HashMap;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::conversation::{
    Attachment, ConversationKind, ConversationRead, ConversationStarted, ImportedMessage,
    ImportedStart, MemberJoined, MessageSent, PersonalMessage, PersonalTitle,
};
use verbatim_domain::erasure::SubjectErased;
use verbatim_domain::inbox::{
    DeliveryAdvanced, DeliveryOutcome, NotificationCreated, NotificationRead, ReadScope,
};
use verbatim_domain::{
    Ciphertext, ConversationEvent, ConversationId, ErasureEvent, Event, InboxEvent, KeyId,
    MessageId, NotificationId, Personal, Sealed, StreamId, Time, UserId,
};
use verbatim_protocol::{Recorded, Timestamp};

/// When the first event was recorded.
pub const START: Timestamp = Timestamp(1_704_103_200_000);

/// Two events share a millisecond, as they do in a log that many write to.
#[must_use]
pub fn recorded_at(position: u64) -> Timestamp {
    Timestamp(START.0 + (position / 2) as i64)
}

#[must_use]
pub fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

#[must_use]
pub fn conversation(id: &str) -> ConversationId {
    id.parse().expect("a conversation id")
}

/// Events that follow on each other.
#[derive(Default)]
pub struct History {
    events: Vec<Arc<Recorded>>,
    sequences: HashMap<StreamId, u64>,
    /// How many messages each conversation has.
    messages: HashMap<ConversationId, u64>,
    sent: HashMap<MessageId, (u64, ConversationId, UserId)>,
}

impl History {
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn events(&self) -> &[Arc<Recorded>] {
        &self.events
    }

    /// The events above a position.
    #[must_use]
    pub fn after(&self, position: u64) -> &[Arc<Recorded>] {
        &self.events[position as usize..]
    }

    /// The last event's position.
    #[must_use]
    pub fn head(&self) -> u64 {
        self.events.len() as u64
    }

    /// Adds an event and gives its position.
    pub fn add(&mut self, stream: StreamId, event: impl Into<Event>) -> u64 {
        let position = self.head() + 1;
        let sequence = self.sequences.entry(stream.clone()).or_default();
        *sequence += 1;
        self.events.push(Arc::new(Recorded {
            position,
            stream,
            sequence: *sequence,
            recorded_at: recorded_at(position),
            command: None,
            metadata: Arc::from("{}"),
            event: event.into(),
            original: None,
        }));
        position
    }

    pub fn direct(&mut self, id: &str, creator: &str, target: &str) {
        self.start(id, ConversationKind::Direct, None, creator);
        self.join(id, creator);
        self.join(id, target);
    }

    pub fn group(&mut self, id: &str, title: Option<&str>, members: &[&str]) {
        self.start(id, ConversationKind::Group, title, members[0]);
        for member in members {
            self.join(id, member);
        }
    }

    pub fn start(&mut self, id: &str, kind: ConversationKind, title: Option<&str>, by: &str) {
        let started = ConversationStarted {
            kind,
            created_by: user(by),
            personal: PersonalTitle { title: title.map(str::to_owned) },
            imported: None,
        };
        self.in_conversation(id, ConversationEvent::ConversationStarted(started));
    }

    /// A group of another system's, begun there at `at`.
    pub fn import(&mut self, id: &str, at: i64, unread: bool, members: &[&str]) {
        let started = ConversationStarted {
            kind: ConversationKind::Group,
            created_by: user(members[0]),
            personal: PersonalTitle { title: None },
            imported: Some(ImportedStart { created_at: Some(Time(at)), unread }),
        };
        self.in_conversation(id, ConversationEvent::ConversationStarted(started));
        for member in members {
            self.join(id, member);
        }
    }

    /// A message of it, said there at `at`.
    pub fn import_message(&mut self, id: &str, sender: &str, at: i64, unread: bool) -> MessageId {
        self.send(id, sender, "Said elsewhere", |sent| {
            sent.imported = Some(ImportedMessage { sent_at: Time(at), unread });
        })
    }

    pub fn join(&mut self, id: &str, member: &str) -> u64 {
        let joined = MemberJoined { member_id: user(member) };
        self.in_conversation(id, ConversationEvent::MemberJoined(joined))
    }

    pub fn say(&mut self, id: &str, sender: &str, content: &str) -> MessageId {
        self.send(id, sender, content, |_| {})
    }

    /// Adds a message that `change` has changed.
    pub fn send(
        &mut self,
        id: &str,
        sender: &str,
        content: &str,
        change: impl FnOnce(&mut MessageSent),
    ) -> MessageId {
        let message_id = MessageId(Uuid::from_u128(0x1000_0000 + u128::from(self.head())));
        let number = self.messages.entry(conversation(id)).or_default();
        *number += 1;
        let mut sent = MessageSent {
            message_id,
            sequence: *number,
            sender_id: user(sender),
            sender_role: "user".to_owned(),
            client_message_id: None,
            personal: said(content, None).into(),
            imported: None,
        };
        change(&mut sent);
        let position = self.in_conversation(id, ConversationEvent::MessageSent(sent));
        self.sent.insert(message_id, (position, conversation(id), user(sender)));
        message_id
    }

    /// Adds a message that nobody here can read.
    pub fn seal(&mut self, id: &str, sender: &str, sealed: &[u8]) -> MessageId {
        let (key, sealed) = (KeyId(Uuid::from_u128(7)), Ciphertext(sealed.to_vec()));
        let personal = Personal::Sealed(Sealed { key, sealed });
        self.send(id, sender, "", |sent| sent.personal = personal)
    }

    pub fn erase(&mut self, subject: &str) -> u64 {
        let keys = vec![KeyId(Uuid::from_u128(7))];
        let erased = SubjectErased { subject_id: user(subject), keys, erased_by: None };
        self.add(StreamId::erasures(), ErasureEvent::SubjectErased(erased))
    }

    pub fn read(&mut self, id: &str, reader: &str, through: u64) -> u64 {
        let read = ConversationRead { reader_id: user(reader), through };
        self.in_conversation(id, ConversationEvent::ConversationRead(read))
    }

    pub fn notify(&mut self, recipient: &str, message_id: MessageId) -> NotificationId {
        let notification_id =
            NotificationId(Uuid::from_u128(0x2000_0000 + u128::from(self.head())));
        let (message_position, conversation_id, sender_id) = self.sent[&message_id].clone();
        let created = NotificationCreated {
            notification_id,
            conversation_id,
            message_id,
            message_position,
            sender_id,
        };
        self.in_inbox(recipient, InboxEvent::NotificationCreated(created));
        notification_id
    }

    pub fn read_notifications(&mut self, reader: &str, scope: ReadScope) -> u64 {
        self.in_inbox(reader, InboxEvent::NotificationRead(NotificationRead { scope }))
    }

    pub fn advance(&mut self, recipient: &str, through: u64) -> u64 {
        let outcome = DeliveryOutcome::Acknowledged;
        let advanced = DeliveryAdvanced { through, outcome };
        self.in_inbox(recipient, InboxEvent::DeliveryAdvanced(advanced))
    }

    /// The position of a message.
    #[must_use]
    pub fn position_of(&self, message: MessageId) -> u64 {
        self.sent[&message].0
    }

    /// How many messages a conversation has.
    #[must_use]
    pub fn count(&self, id: &str) -> u64 {
        self.messages.get(&conversation(id)).copied().unwrap_or(0)
    }

    fn in_conversation(&mut self, id: &str, event: ConversationEvent) -> u64 {
        self.add(StreamId::conversation(&conversation(id)), event)
    }

    fn in_inbox(&mut self, id: &str, event: InboxEvent) -> u64 {
        self.add(StreamId::inbox(&user(id)), event)
    }
}

/// What somebody says.
#[must_use]
pub fn said(content: &str, email: Option<&str>) -> PersonalMessage {
    let email = email.map(str::to_owned);
    PersonalMessage { content: content.to_owned(), attachments: Vec::new(), email }
}

/// Ann, Bob and Cy in a direct conversation and a group, with a bit of everything.
#[must_use]
pub fn varied() -> History {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let hello = history.say("talk", "ann", "Hello!");
    history.notify("bob", hello);
    history.group("team", Some("Team"), &["bob", "ann", "cy"]);
    let plan = history.send("team", "cy", "The plan", |sent| {
        sent.sender_role = "agent".into();
        let attachments = vec![Attachment {
            name: "plan.pdf".to_owned(),
            url: "https://example.com/plan.pdf".to_owned(),
            mime_type: Some("application/pdf".to_owned()),
            size: Some(1_024),
        }];
        let plan = said("The plan", Some("cy@example.com"));
        sent.personal = PersonalMessage { attachments, ..plan }.into();
    });
    history.notify("ann", plan);
    history.notify("bob", plan);
    history.say("talk", "bob", "Hello, Ann");
    history.read("talk", "ann", 2);
    history.read_notifications("bob", ReadScope::All);
    history.advance("bob", history.position_of(plan));
    history.join("team", "dee");
    history.say("team", "dee", "What did I miss?");
    let sealed = history.seal("team", "ann", &[7; 40]);
    history.notify("bob", sealed);
    history.group("empty", None, &["cy", "ann"]);
    history.erase("ann");
    history.read("team", "cy", 1);
    history
}
