//! Every event there is, how it is written down, and how older versions of it are read.
//!
//! The journal stores type, version and payload apart: a payload is the event's fields alone, so
//! that whoever queries the log reads `payload->>'senderId'` and not a wrapper.
//!
//! What was stored once stays as it is, in the version that it has. Reading brings it up to today's
//! type, step by step; what is published of each version is in `schemas/`, and how one is added is
//! in its README.

use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use crate::audit::AuditAccessed;
use crate::conversation::{ConversationStarted, MessageSent};
use crate::{
    AggregateType, AuditEvent, ConnectionsEvent, ConversationEvent, ErasureEvent, InboxEvent,
};

/// An event of any aggregate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Event {
    Conversation(ConversationEvent),
    Inbox(InboxEvent),
    Audit(AuditEvent),
    Erasures(ErasureEvent),
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

/// How a payload of one version becomes one of the next.
#[derive(Debug, Clone, Copy)]
pub enum Step {
    /// It is one already: what the next version has besides may be missing.
    Same,
    /// By a pure function.
    Upcast(Upcast),
}

/// A payload in the next version's form; an error if it isn't what its own version says.
pub type Upcast = fn(Value) -> Result<Value, serde_json::Error>;

/// The versions of an event, the older ones with what leads to the one after, the oldest first.
#[derive(Debug, Clone, Copy)]
struct Versions {
    older: &'static [(&'static str, Step)],
    newest: &'static str,
}

impl Versions {
    /// 0 for the oldest.
    fn rank(&self, version: &str) -> Option<usize> {
        if version == self.newest {
            return Some(self.older.len());
        }
        self.older.iter().position(|(older, _)| *older == version)
    }

    /// Reads the payload of the version with this rank as today's type. `written` is the version that
    /// what was read would be written as.
    fn read<T: DeserializeOwned>(
        &self,
        rank: usize,
        payload: &str,
        written: fn(&T) -> &'static str,
    ) -> Result<T, serde_json::Error> {
        let steps = &self.older[rank..];
        if steps.iter().any(|(_, step)| matches!(step, Step::Upcast(_))) {
            let stored = serde_json::from_str(payload)?;
            let upcast = steps.iter().try_fold(stored, |payload, (_, step)| match step {
                Step::Same => Ok(payload),
                Step::Upcast(upcast) => upcast(payload),
            });
            return serde_json::from_value(upcast?);
        }
        let fields = serde_json::from_str(payload)?;
        if self.rank(written(&fields)) > Some(rank) {
            return Err(serde_json::Error::custom("it holds what only a later version has"));
        }
        Ok(fields)
    }
}

/// Each type of event: its newest version, and the older ones with what leads to the next. Where the
/// version depends on the value, `by` names the function that gives it.
macro_rules! events {
    ($($variant:ident: $inner:ident { $(
        $name:ident = $newest:literal $(by $version:path)? $({ $($older:literal => $step:expr),+ $(,)? })?
    ),+ $(,)? })+) => {
        impl Event {
            /// Every type that there is, and each of its versions, the oldest first. All can be read.
            pub const TYPES: &[(&str, &[&str])] =
                &[$($((stringify!($name), &[$($($older,)+)? $newest])),+),+];

            #[must_use]
            pub const fn aggregate_type(&self) -> AggregateType {
                match self { $(Self::$variant(_) => AggregateType::$variant),+ }
            }

            /// The type's name, as the journal stores it.
            #[must_use]
            pub const fn event_type(&self) -> &'static str {
                match self { $($(Self::$variant($inner::$name(_)) => stringify!($name)),+),+ }
            }

            /// The version that it is written in: the newest, unless an older one says it all.
            #[must_use]
            pub fn event_version(&self) -> &'static str {
                match self {
                    $($(Self::$variant($inner::$name(fields)) => events!(@version fields $newest $($version)?)),+),+
                }
            }

            /// The payload in that version, as JSON. One that was stored in another is what its record
            /// says.
            ///
            /// # Errors
            /// None that today's types can bring about; serde's signature has one.
            pub fn payload(&self) -> Result<String, serde_json::Error> {
                match self { $($(Self::$variant($inner::$name(fields)) => serde_json::to_string(fields)),+),+ }
            }

            /// Writes the same payload as part of something larger.
            ///
            /// # Errors
            /// The serializer's.
            pub fn serialize_payload<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $($(Self::$variant($inner::$name(fields)) => fields.serialize(serializer)),+),+ }
            }

            /// Reads an event back, from whichever version.
            ///
            /// # Errors
            /// [`UnknownEvent`]: a reader that meets it halts, because what it would skip may matter.
            pub fn decode(
                aggregate_type: AggregateType,
                event_type: &str,
                event_version: &str,
                payload: &str,
            ) -> Result<Self, UnknownEvent> {
                let read = match (aggregate_type, event_type) {
                    $($((AggregateType::$variant, stringify!($name)) => {
                        let versions =
                            Versions { older: &[$($(($older, $step)),+)?], newest: $newest };
                        versions.rank(event_version).map(|rank| {
                            versions
                                .read(rank, payload, |_fields| events!(@version _fields $newest $($version)?))
                                .map(|fields| Self::$variant($inner::$name(fields)))
                        })
                    })+)+
                    _ => None,
                };
                match read {
                    Some(read) => read.map_err(|source| UnknownEvent::Payload {
                        event_type: event_type.to_owned(),
                        event_version: event_version.to_owned(),
                        source,
                    }),
                    None => Err(UnknownEvent::Type {
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
                match self {
                    $(Self::$name(_fields) => events!(@version _fields $newest $($version)?).to_owned()),+
                }
            }
        })+
    };
    (@version $fields:ident $newest:literal) => {{
        let _ = $fields;
        $newest
    }};
    (@version $fields:ident $newest:literal $version:path) => { $version($fields) };
}

events! {
    Conversation: ConversationEvent {
        ConversationStarted = "2" by ConversationStarted::version { "1" => Step::Same },
        MemberJoined = "1",
        MessageSent = "2" by MessageSent::version { "1" => Step::Same },
        ConversationRead = "1",
    }
    Inbox: InboxEvent {
        NotificationCreated = "1",
        NotificationRead = "1",
        DeliveryAdvanced = "1",
    }
    Audit: AuditEvent {
        AuditAccessed = "2" by AuditAccessed::version { "1" => Step::Same },
    }
    Erasures: ErasureEvent {
        SubjectErased = "1",
    }
    Connections: ConnectionsEvent {
        ConnectionsSampled = "1",
    }
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

impl From<ErasureEvent> for Event {
    fn from(event: ErasureEvent) -> Self {
        Self::Erasures(event)
    }
}

#[cfg(test)]
mod tests;
impl From<ConnectionsEvent> for Event {
    fn from(event: ConnectionsEvent) -> Self {
        Self::Connections(event)
    }
}
