//! Every event there is, and how it is written down.
//!
//! The journal stores type, version and payload apart: a payload is the event's fields alone, so
//! that whoever queries the log reads `payload->>'senderId'` and not a wrapper.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{AggregateType, AuditEvent, ConnectionsEvent, ConversationEvent, InboxEvent};

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Conversation(ConversationEvent),
    Inbox(InboxEvent),
    Audit(AuditEvent),
    Connections(ConnectionsEvent),
}

/// Why a stored event can't be read.
#[derive(Debug, thiserror::Error)]
pub enum UnknownEvent {
    #[error("unknown event {aggregate_type}/{event_type} version {event_version}")]
    Type { aggregate_type: AggregateType, event_type: String, event_version: String },
    #[error("event {event_type} version {event_version} has a payload that doesn't fit")]
    Payload {
        event_type: String,
        event_version: String,
        #[source]
        source: serde_json::Error,
    },
}

macro_rules! events {
    ($($variant:ident: $inner:ident { $($name:ident = $version:literal),+ $(,)? })+) => {
        impl Event {
            /// Name and version of every event that there is.
            pub const TYPES: &[(&str, &str)] = &[$($((stringify!($name), $version)),+),+];

            #[must_use]
            pub const fn aggregate_type(&self) -> AggregateType {
                match self { $(Self::$variant(_) => AggregateType::$variant),+ }
            }

            /// The type's name, as the journal stores it.
            #[must_use]
            pub const fn event_type(&self) -> &'static str {
                match self { $($(Self::$variant($inner::$name(_)) => stringify!($name)),+),+ }
            }

            /// The version of the type's schema.
            #[must_use]
            pub const fn event_version(&self) -> &'static str {
                match self { $($(Self::$variant($inner::$name(_)) => $version),+),+ }
            }

            /// The payload, as JSON.
            ///
            /// # Errors
            /// None that today's types can bring about; serde's signature has one.
            pub fn payload(&self) -> Result<String, serde_json::Error> {
                match self { $($(Self::$variant($inner::$name(fields)) => serde_json::to_string(fields)),+),+ }
            }

            /// Reads an event back.
            ///
            /// # Errors
            /// [`UnknownEvent`]: a reader that meets it halts, because what it would skip may matter.
            pub fn decode(
                aggregate_type: AggregateType,
                event_type: &str,
                event_version: &str,
                payload: &str,
            ) -> Result<Self, UnknownEvent> {
                match (aggregate_type, event_type, event_version) {
                    $($((AggregateType::$variant, stringify!($name), $version) => {
                        fields(event_type, event_version, payload)
                            .map(|fields| Self::$variant($inner::$name(fields)))
                    })+)+
                    _ => Err(UnknownEvent::Type {
                        aggregate_type,
                        event_type: event_type.to_owned(),
                        event_version: event_version.to_owned(),
                    }),
                }
            }
        }

        $(impl cqrs_es::DomainEvent for $inner {
            fn event_type(&self) -> String {
                match self { $(Self::$name(_) => stringify!($name).to_owned()),+ }
            }

            fn event_version(&self) -> String {
                match self { $(Self::$name(_) => $version.to_owned()),+ }
            }
        })+
    };
}

events! {
    Conversation: ConversationEvent {
        ConversationStarted = "1",
        MemberJoined = "1",
        MessageSent = "1",
        ConversationRead = "1",
    }
    Inbox: InboxEvent {
        NotificationCreated = "1",
        NotificationRead = "1",
        DeliveryAdvanced = "1",
    }
    Audit: AuditEvent {
        AuditAccessed = "1",
    }
    Connections: ConnectionsEvent {
        ConnectionsSampled = "1",
    }
}

fn fields<T: DeserializeOwned>(
    event_type: &str,
    event_version: &str,
    payload: &str,
) -> Result<T, UnknownEvent> {
    serde_json::from_str(payload).map_err(|source| UnknownEvent::Payload {
        event_type: event_type.to_owned(),
        event_version: event_version.to_owned(),
        source,
    })
}

impl From<ConversationEvent> for Event {
    fn from(event: ConversationEvent) -> Self {
        Self::Conversation(event)
    }
}

impl From<InboxEvent> for Event {
    fn from(event: InboxEvent) -> Self {
        Self::Inbox(event)
    }
}

impl From<AuditEvent> for Event {
    fn from(event: AuditEvent) -> Self {
        Self::Audit(event)
    }
}

impl From<ConnectionsEvent> for Event {
    fn from(event: ConnectionsEvent) -> Self {
        Self::Connections(event)
    }
}
