//! The views as one would write them without any thought of speed.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_domain::conversation::{ConversationKind, ConversationStarted};
use verbatim_domain::inbox::{NotificationCreated, ReadScope};
use verbatim_domain::{
    ConversationEvent, ConversationId, ErasureEvent, Event, InboxEvent, MessageId, NotificationId,
    UserId,
};
use verbatim_protocol::client::{
    Conversation, Delivery, DeliveryStatus, Message, Notification, NotificationKind,
};
use verbatim_protocol::{Erased, List, MessagePush, Push, Recorded, Refresh, Timestamp};

use crate::{Member, StreamMessage};

/// Everything that events tell.
#[derive(Default)]
pub struct Model {
    pub talks: Vec<Talk>,
    notices: Vec<Notice>,
    advances: Vec<(UserId, u64, Timestamp)>,
    refreshes: Vec<Push>,
}

/// A conversation.
pub struct Talk {
    pub id: ConversationId,
    position: u64,
    at: Timestamp,
    started: ConversationStarted,
    pub members: Vec<Member>,
    pub messages: Vec<StreamMessage>,
    marks: HashMap<UserId, u64>,
    /// The position of the last message that was said elsewhere, 0 without any.
    history: u64,
    /// The sequence of the last such that everyone has read.
    read_history: u64,
}

/// A notification.
struct Notice {
    user: UserId,
    created: NotificationCreated,
    at: Timestamp,
    read_at: Option<Timestamp>,
}

impl Talk {
    #[must_use]
    pub fn kind(&self) -> ConversationKind {
        self.started.kind
    }

    fn activity(&self) -> u64 {
        self.messages.last().map_or(self.position, |last| last.position)
    }

    #[must_use]
    pub fn has(&self, user: &UserId) -> bool {
        self.members.iter().any(|member| member.user_id == *user)
    }

    fn recipients(&self, position: u64) -> impl Iterator<Item = &UserId> {
        let there = move |member: &&Member| member.joined_position < position;
        self.members.iter().filter(there).map(|member| &member.user_id)
    }

    fn seen_by(&self, reader: &UserId) -> Conversation {
        let mark = self.marks.get(reader).copied().unwrap_or(0).max(self.read_history);
        let unread = |message: &&StreamMessage| {
            message.message.sequence > mark && message.message.sender_id != *reader
        };
        let last = self.messages.last().map(|last| last.message.clone());
        Conversation {
            id: self.id.clone(),
            kind: self.started.kind,
            title: self.started.personal.title.clone(),
            member_ids: self.members.iter().map(|member| member.user_id.clone()).collect(),
            created_by: self.started.created_by.clone(),
            unread_count: self.messages.iter().filter(unread).count() as u64,
            created_at: self.at,
            updated_at: last.as_ref().map_or(self.at, |last| last.created_at),
            last_message: last,
        }
    }
}

impl Model {
    #[must_use]
    pub fn of(events: &[Arc<Recorded>]) -> Self {
        let mut model = Self::default();
        for event in events {
            model.add(event);
        }
        model
    }

    fn add(&mut self, recorded: &Recorded) {
        let (position, at) = (recorded.position, recorded.recorded_at);
        let id = &*recorded.stream.aggregate_id;
        match &recorded.event {
            Event::Conversation(ConversationEvent::ConversationStarted(started)) => {
                self.talks.push(Talk {
                    id: id.parse().expect("a conversation id"),
                    position,
                    at: recorded.happened_at(),
                    started: started.clone(),
                    members: Vec::new(),
                    messages: Vec::new(),
                    marks: HashMap::new(),
                    history: 0,
                    read_history: 0,
                });
            }
            Event::Conversation(event) => {
                let talk = self.talks.iter_mut().find(|talk| talk.id.as_str() == id);
                let talk = talk.expect("a conversation that has started");
                if let Some(user_id) = talk.add(event, position, at) {
                    let list = List::Conversations;
                    self.refreshes.push(Push::Refresh(Refresh { position, list, user_id }));
                }
            }
            Event::Inbox(event) => {
                let user: UserId = id.parse().expect("a user id");
                self.add_to_inbox(user, event, position, at);
            }

            Event::Erasures(ErasureEvent::SubjectErased(erased)) => {
                let user_id = erased.subject_id.clone();
                self.refreshes.push(Push::Erased(Erased { position, user_id }));
            }
            Event::Audit(_) | Event::Connections(_) => {}
        }
    }

    fn add_to_inbox(&mut self, user: UserId, event: &InboxEvent, position: u64, at: Timestamp) {
        match event {
            InboxEvent::NotificationCreated(created) => {
                let created = created.clone();
                self.notices.push(Notice { user, created, at, read_at: None });
            }
            InboxEvent::NotificationRead(read) => {
                for notice in self.notices.iter_mut().filter(|notice| notice.user == user) {
                    let meant = match &read.scope {
                        ReadScope::All => true,
                        ReadScope::Ids(ids) => ids.contains(&notice.created.notification_id),
                    };
                    if meant {
                        notice.read_at = notice.read_at.or(Some(at));
                    }
                }
                let list = List::Notifications;
                self.refreshes.push(Push::Refresh(Refresh { position, list, user_id: user }));
            }
            InboxEvent::DeliveryAdvanced(advanced) => {
                self.advances.push((user, advanced.through, at));
            }
        }
    }

    #[must_use]
    pub fn conversations(&self, reader: &UserId) -> Vec<Conversation> {
        let mut talks: Vec<_> = self.talks.iter().filter(|talk| talk.has(reader)).collect();
        talks.sort_by_key(|talk| std::cmp::Reverse(talk.activity()));
        talks.into_iter().map(|talk| talk.seen_by(reader)).collect()
    }

    #[must_use]
    pub fn stream(&self, user: &UserId, after: u64, through: u64) -> Vec<StreamMessage> {
        let mut stream = Vec::new();
        for talk in &self.talks {
            for message in &talk.messages {
                let inside =
                    message.position > after.max(talk.history) && message.position <= through;
                if inside && talk.recipients(message.position).any(|member| member == user) {
                    stream.push(message.clone());
                }
            }
        }
        stream.sort_by_key(|message| message.position);
        stream
    }

    #[must_use]
    pub fn pushes(&self) -> Vec<Push> {
        let mut pushes: Vec<Push> = self.refreshes.clone();
        for talk in &self.talks {
            let said_here = talk.messages.iter().filter(|message| message.position > talk.history);
            for StreamMessage { position, message } in said_here {
                pushes.push(Push::Message(MessagePush {
                    position: *position,
                    message_id: message.id,
                    conversation_id: talk.id.clone(),
                    sender_id: message.sender_id.clone(),
                    recipients: talk.recipients(*position).cloned().collect(),
                    message: serde_json::to_string(message).expect("JSON").into(),
                }));
            }
        }
        pushes.sort_by_key(Push::position);
        pushes
    }

    /// A message, and its conversation.
    #[must_use]
    pub fn message(&self, id: MessageId) -> Option<(&Talk, &StreamMessage)> {
        let messages =
            self.talks.iter().flat_map(|talk| talk.messages.iter().map(move |m| (talk, m)));
        messages.into_iter().find(|(_, message)| message.message.id == id)
    }

    #[must_use]
    pub fn delivered_through(&self, user: &UserId) -> u64 {
        let own = self.advances.iter().filter(|(who, ..)| who == user);
        own.map(|(_, through, _)| *through).max().unwrap_or(0)
    }

    /// Newest first.
    #[must_use]
    pub fn notifications(&self, user: &UserId, unread_only: bool) -> Vec<Notification> {
        let wanted =
            |notice: &&Notice| notice.user == *user && !(unread_only && notice.read_at.is_some());
        let shown = |notice: &Notice| {
            let (talk, message) = self.message(notice.created.message_id).expect("its message");
            Notification {
                id: notice.created.notification_id,
                user_id: user.clone(),
                kind: NotificationKind::Message,
                conversation_id: talk.id.clone(),
                message_id: message.message.id,
                sender_id: message.message.sender_id.clone(),
                sender_info: message.message.sender_info.clone(),
                content: message.message.content.chars().take(140).collect(),
                unreadable: None,
                sealed: message.message.sealed.clone(),
                is_read: notice.read_at.is_some(),
                read_at: notice.read_at,
                created_at: notice.at,
            }
        };
        self.notices.iter().rev().filter(wanted).map(shown).collect()
    }

    #[must_use]
    pub fn notification_ids(&self) -> Vec<(UserId, NotificationId)> {
        let id = |notice: &Notice| (notice.user.clone(), notice.created.notification_id);
        self.notices.iter().map(id).collect()
    }

    #[must_use]
    pub fn deliveries(&self, id: MessageId) -> Vec<Delivery> {
        let (talk, message) = self.message(id).expect("a message");
        let others =
            talk.recipients(message.position).filter(|user| **user != message.message.sender_id);
        others.map(|user| self.delivery(user, talk, message)).collect()
    }

    fn delivery(&self, user: &UserId, talk: &Talk, message: &StreamMessage) -> Delivery {
        let covering = |(who, through, _): &&(UserId, u64, Timestamp)| {
            who == user && *through >= message.position
        };
        let about = |notice: &&Notice| {
            notice.user == *user && notice.created.message_id == message.message.id
        };
        let (status, updated_at) = if message.position <= talk.history {
            (DeliveryStatus::Delivered, message.message.created_at)
        } else if let Some((.., at)) = self.advances.iter().find(covering) {
            (DeliveryStatus::Delivered, *at)
        } else if let Some(notice) = self.notices.iter().find(about) {
            (DeliveryStatus::Offline, notice.at)
        } else {
            (DeliveryStatus::Pending, message.message.created_at)
        };
        Delivery { user_id: user.clone(), status, updated_at }
    }
}

impl Talk {
    /// Takes an event in; gives whose list of conversations is to be pushed.
    fn add(&mut self, event: &ConversationEvent, position: u64, at: Timestamp) -> Option<UserId> {
        match event {
            ConversationEvent::ConversationStarted(_) => None,
            ConversationEvent::MemberJoined(joined) => {
                let user_id = joined.member_id.clone();
                self.members.push(Member { user_id: user_id.clone(), joined_position: position });
                (self.started.kind == ConversationKind::Group).then_some(user_id)
            }
            ConversationEvent::MessageSent(sent) => {
                if let Some(imported) = sent.imported {
                    self.history = position;
                    if !imported.unread {
                        self.read_history = sent.sequence;
                    }
                }
                let message = Message::new(self.id.clone(), sent.clone(), at);
                self.messages.push(StreamMessage { position, message });
                None
            }
            ConversationEvent::ConversationRead(read) => {
                self.marks.insert(read.reader_id.clone(), read.through);
                Some(read.reader_id.clone())
            }
        }
    }
}
