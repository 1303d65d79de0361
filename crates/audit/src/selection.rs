//! Which events.

use std::borrow::Cow;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use verbatim_domain::audit::Accessed;
use verbatim_domain::{
    AuditEvent, ConversationEvent, ConversationId, ErasureEvent, Event, InboxEvent, UserId,
};
use verbatim_protocol::Recorded;

/// The name of a type of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventType(&'static str);

impl JsonSchema for EventType {
    fn schema_name() -> Cow<'static, str> {
        "EventType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": known().collect::<Vec<_>>() })
    }
}

/// No event has this type.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no such type of event; there are {}", known().collect::<Vec<_>>().join(", "))]
pub struct UnknownType;

impl EventType {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl FromStr for EventType {
    type Err = UnknownType;

    fn from_str(name: &str) -> Result<Self, UnknownType> {
        known().find(|known| *known == name).map(Self).ok_or(UnknownType)
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    Event::TYPES.iter().map(|(name, _)| *name)
}

/// What events must be to be chosen: one of each list that isn't empty.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    pub types: Vec<EventType>,
    /// Of these conversations, notifications and audits included.
    pub conversations: Vec<ConversationId>,
    /// Brought about by these users.
    pub actors: Vec<UserId>,
    /// Brought about by these users, or about them.
    pub users: Vec<UserId>,
}

impl Selection {
    /// Whether it chooses every event.
    #[must_use]
    pub fn is_everything(&self) -> bool {
        self.types.is_empty()
            && self.conversations.is_empty()
            && self.actors.is_empty()
            && self.users.is_empty()
    }

    #[must_use]
    pub fn chooses(&self, recorded: &Recorded) -> bool {
        let event_type = recorded.event.event_type();
        (self.types.is_empty() || self.types.iter().any(|wanted| wanted.0 == event_type))
            && any(&self.conversations, |wanted| conversation(recorded) == Some(wanted))
            && any(&self.actors, |wanted| actor(recorded) == Some(wanted))
            && any(&self.users, |wanted| concerns(recorded, wanted))
    }
}

/// Whether nothing is wanted in particular, or something that fits.
fn any<T: AsRef<str>>(wanted: &[T], fits: impl Fn(&str) -> bool) -> bool {
    wanted.is_empty() || wanted.iter().any(|wanted| fits(wanted.as_ref()))
}

/// The conversation that an event is of.
#[must_use]
pub fn conversation(recorded: &Recorded) -> Option<&str> {
    match &recorded.event {
        Event::Conversation(_) => Some(&recorded.stream.aggregate_id),
        Event::Inbox(InboxEvent::NotificationCreated(created)) => {
            Some(created.conversation_id.as_str())
        }
        Event::Inbox(InboxEvent::NotificationRead(_) | InboxEvent::DeliveryAdvanced(_))
        | Event::Erasures(_)
        | Event::Connections(_) => None,
        Event::Audit(AuditEvent::AuditAccessed(audit)) => match &audit.accessed {
            Accessed::Conversation(accessed) => Some(accessed.conversation_id.as_str()),
            Accessed::Events(accessed) => accessed.conversation_id.as_ref().map(AsRef::as_ref),
            Accessed::Seal(_) => None,
        },
    }
}

/// The user who brought an event about, where it was one: members are made by whoever starts the
/// conversation, notifications by the server.
#[must_use]
pub fn actor(recorded: &Recorded) -> Option<&str> {
    match &recorded.event {
        Event::Conversation(event) => match event {
            ConversationEvent::ConversationStarted(started) => Some(started.created_by.as_str()),
            ConversationEvent::MessageSent(sent) => Some(sent.sender_id.as_str()),
            ConversationEvent::ConversationRead(read) => Some(read.reader_id.as_str()),
            ConversationEvent::MemberJoined(_) => None,
        },
        Event::Inbox(InboxEvent::NotificationCreated(_)) | Event::Connections(_) => None,
        Event::Inbox(InboxEvent::NotificationRead(_) | InboxEvent::DeliveryAdvanced(_)) => {
            Some(&recorded.stream.aggregate_id)
        }
        Event::Audit(AuditEvent::AuditAccessed(audit)) => Some(audit.accessor_id.as_str()),
        Event::Erasures(ErasureEvent::SubjectErased(erased)) => {
            erased.erased_by.as_ref().map(UserId::as_str)
        }
    }
}

/// Whether a user brought an event about, or it is about them.
fn concerns(recorded: &Recorded, user: &str) -> bool {
    match &recorded.event {
        Event::Conversation(ConversationEvent::MemberJoined(joined)) => {
            joined.member_id.as_str() == user
        }
        Event::Inbox(InboxEvent::NotificationCreated(created)) => {
            created.sender_id.as_str() == user || *recorded.stream.aggregate_id == *user
        }
        Event::Erasures(ErasureEvent::SubjectErased(erased)) => {
            erased.subject_id.as_str() == user || actor(recorded) == Some(user)
        }
        Event::Conversation(_) | Event::Inbox(_) | Event::Audit(_) | Event::Connections(_) => {
            actor(recorded) == Some(user)
        }
    }
}

#[cfg(test)]
mod tests {
    use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome, NotificationCreated};
    use verbatim_domain::{MessageId, NotificationId, StreamId};

    use super::*;
    use crate::testing::{Fixed, joined, of, read, said, started, user};

    fn log() -> Fixed {
        let mut log = Fixed::default();
        log.add(of("one"), started("ann", None))
            .add(of("one"), joined("ben"))
            .add(of("one"), said(1, "ann"))
            .add(of("two"), said(1, "ben"))
            .add(of("one"), read("ben", 1))
            .add(
                StreamId::inbox(&user("ben")),
                InboxEvent::NotificationCreated(NotificationCreated {
                    notification_id: NotificationId(uuid::Uuid::nil()),
                    conversation_id: "one".parse().expect("an id"),
                    message_id: MessageId(uuid::Uuid::nil()),
                    message_position: 3,
                    sender_id: user("ann"),
                }),
            )
            .add(
                StreamId::inbox(&user("ann")),
                InboxEvent::DeliveryAdvanced(DeliveryAdvanced {
                    through: 3,
                    outcome: DeliveryOutcome::Presumed,
                }),
            );
        log
    }

    fn chosen(selection: &Selection) -> Vec<u64> {
        let log = log();
        let events = log.0.iter().filter(|event| selection.chooses(event));
        events.map(|event| event.position).collect()
    }

    #[test]
    fn an_unknown_type_is_refused_and_the_known_ones_are_named() {
        for bad in ["", "messagesent", "Message", "MessageSent "] {
            let refused = bad.parse::<EventType>().expect_err("there is none");
            assert!(refused.to_string().contains("MessageSent, ConversationRead"), "{refused}");
        }
    }

    #[test]
    fn without_a_wish_everything_is_chosen() {
        assert!(Selection::default().is_everything());
        assert_eq!(chosen(&Selection::default()), [1, 2, 3, 4, 5, 6, 7]);
    }

    #[test]
    fn of_a_conversation_are_its_stream_and_the_notifications() {
        let conversations = vec!["one".parse().expect("an id")];
        assert_eq!(chosen(&Selection { conversations, ..Selection::default() }), [1, 2, 3, 5, 6]);
    }

    #[test]
    fn an_actor_brought_it_about() {
        let of = |name| Selection { actors: vec![user(name)], ..Selection::default() };
        assert_eq!(chosen(&of("ann")), [1, 3, 7]);
        assert_eq!(chosen(&of("ben")), [4, 5]);
    }

    #[test]
    fn of_a_user_is_what_they_brought_about_or_what_is_about_them() {
        let of = |name| Selection { users: vec![user(name)], ..Selection::default() };
        assert_eq!(chosen(&of("ann")), [1, 3, 6, 7]);
        assert_eq!(chosen(&of("ben")), [2, 4, 5, 6]);
        assert_eq!(chosen(&of("eve")), [0; 0]);
    }

    #[test]
    fn wishes_are_added_up_and_each_may_name_several() {
        let types = vec![
            "MessageSent".parse().expect("a type"),
            "ConversationRead".parse().expect("a type"),
        ];
        assert_eq!(chosen(&Selection { types: types.clone(), ..Selection::default() }), [3, 4, 5]);
        let conversations = vec!["one".parse().expect("an id")];
        let users = vec![user("ben")];
        assert_eq!(chosen(&Selection { types, conversations, users, ..Selection::default() }), [5]);
    }
}
