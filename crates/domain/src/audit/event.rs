//! What auditors have looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, UserId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum AuditEvent {
    AuditAccessed(AuditAccessed),
}

/// Somebody asked to be shown a part of the log. It is recorded before it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuditAccessed {
    pub accessor_id: UserId,
    pub accessed: Accessed,
}

impl AuditAccessed {
    /// The first version knows nothing of the seal.
    pub(crate) fn version(&self) -> &'static str {
        match self.accessed {
            Accessed::Events(_) | Accessed::Conversation(_) => "1",
            Accessed::Seal(_) => "2",
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Accessed {
    Events(EventsAccessed),
    Conversation(ConversationAccessed),
    Seal(SealAccessed),
}

/// Events of the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EventsAccessed {
    /// The first position that could be shown.
    pub from: u64,
    /// The last one.
    pub to: u64,
    /// Only of this type.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Only what this user brought about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_id: Option<UserId>,
}

/// A conversation as it stood.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationAccessed {
    pub conversation_id: ConversationId,
    /// A position.
    pub as_of: u64,
}

/// Signed checkpoints of the log, what leads from one to another, or the keys that they were signed
/// with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealAccessed {
    /// How many events the earliest checkpoint speaks of; 0 where none was shown.
    pub from: u64,
    /// How many the latest one speaks of.
    pub to: u64,
}
