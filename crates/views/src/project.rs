//! What an event changes in the read models. No I/O: adapters store the changes.

use verbatim_domain::conversation::{ConversationKind, MessageSent};
use verbatim_domain::inbox::{DeliveryOutcome, NotificationCreated, ReadScope};
use verbatim_domain::{ConversationEvent, ErasureEvent, Event, InboxEvent, UserId};
use verbatim_protocol::{Recorded, Timestamp};

/// A change of the read models; it borrows from its event.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'a> {
    ConversationAdded {
        position: u64,
        conversation_id: &'a str,
        kind: ConversationKind,
        title: Option<&'a str>,
        created_by: &'a UserId,
        /// When it began, wherever that was.
        at: Timestamp,
    },
    /// In a group, the member's list of conversations is pushed whole.
    MemberAdded {
        position: u64,
        conversation_id: &'a str,
        user_id: &'a UserId,
    },
    MessageAdded {
        position: u64,
        conversation_id: &'a str,
        sent: &'a MessageSent,
        /// When it was said, wherever that was.
        at: Timestamp,
    },
    /// The reader's list of conversations is pushed whole.
    ReadMarkMoved {
        position: u64,
        conversation_id: &'a str,
        reader_id: &'a UserId,
        through: u64,
    },
    NotificationAdded {
        position: u64,
        user_id: &'a str,
        created: &'a NotificationCreated,
        at: Timestamp,
    },
    /// Those below `position` that are unread; the list of notifications is pushed whole.
    NotificationsRead {
        position: u64,
        user_id: &'a str,
        scope: &'a ReadScope,
        at: Timestamp,
    },
    /// Nothing of it is shown here; whoever has the user's key in memory is told.
    SubjectErased {
        position: u64,
        user_id: &'a UserId,
    },
    DeliveryAdvanced {
        user_id: &'a str,
        through: u64,
        outcome: DeliveryOutcome,
        at: Timestamp,
    },
}

/// What the event changes, if anything.
#[must_use]
pub fn project(recorded: &Recorded) -> Option<Change<'_>> {
    let position = recorded.position;
    let at = recorded.happened_at();
    let id: &str = &recorded.stream.aggregate_id;
    Some(match &recorded.event {
        Event::Erasures(ErasureEvent::SubjectErased(erased)) => {
            Change::SubjectErased { position, user_id: &erased.subject_id }
        }
        // Audits show in the log alone, samples in the analytics.
        Event::Audit(_) | Event::Connections(_) => return None,
        Event::Conversation(event) => match event {
            ConversationEvent::ConversationStarted(started) => Change::ConversationAdded {
                position,
                conversation_id: id,
                kind: started.kind,
                title: started.personal.title.as_deref(),
                created_by: &started.created_by,
                at,
            },
            ConversationEvent::MemberJoined(joined) => {
                Change::MemberAdded { position, conversation_id: id, user_id: &joined.member_id }
            }
            ConversationEvent::MessageSent(sent) => {
                Change::MessageAdded { position, conversation_id: id, sent, at }
            }
            ConversationEvent::ConversationRead(read) => Change::ReadMarkMoved {
                position,
                conversation_id: id,
                reader_id: &read.reader_id,
                through: read.through,
            },
        },
        Event::Inbox(event) => match event {
            InboxEvent::NotificationCreated(created) => {
                Change::NotificationAdded { position, user_id: id, created, at }
            }
            InboxEvent::NotificationRead(read) => {
                Change::NotificationsRead { position, user_id: id, scope: &read.scope, at }
            }
            InboxEvent::DeliveryAdvanced(advanced) => Change::DeliveryAdvanced {
                user_id: id,
                through: advanced.through,
                outcome: advanced.outcome,
                at,
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use verbatim_domain::StreamId;
    use verbatim_domain::conversation::ConversationRead;
    use verbatim_domain::inbox::NotificationRead;

    use super::*;

    fn recorded(stream: StreamId, event: Event) -> Recorded {
        Recorded {
            position: 7,
            stream,
            sequence: 3,
            recorded_at: Timestamp(11),
            command: None,
            metadata: Arc::from("{}"),
            event,
            original: None,
        }
    }

    #[test]
    fn an_event_of_a_conversation_changes_the_conversation_that_its_stream_names() {
        let reader_id: UserId = "ann".parse().expect("an id");
        let read = ConversationRead { reader_id: reader_id.clone(), through: 2 };
        let stream = StreamId::conversation(&"conv_1".parse().expect("an id"));
        let event = recorded(stream, ConversationEvent::ConversationRead(read).into());
        assert_eq!(
            project(&event),
            Some(Change::ReadMarkMoved {
                position: 7,
                conversation_id: "conv_1",
                reader_id: &reader_id,
                through: 2
            })
        );
    }

    #[test]
    fn an_event_of_an_inbox_changes_what_its_user_sees() {
        let stream = StreamId::inbox(&"ann".parse().expect("an id"));
        let read = NotificationRead { scope: ReadScope::All };
        let event = recorded(stream, InboxEvent::NotificationRead(read).into());
        assert_eq!(
            project(&event),
            Some(Change::NotificationsRead {
                position: 7,
                user_id: "ann",
                scope: &ReadScope::All,
                at: Timestamp(11)
            })
        );
    }
}
