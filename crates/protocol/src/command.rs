//! Commands on their way to an aggregate, and what comes back.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use verbatim_domain::{
    AuditCommand, ConnectionsCommand, ConversationCommand, ConversationId, ErasureCommand,
    InboxCommand, StreamId, UserId, conversation::MessageSent,
};

use crate::recorded::CommandKey;
use crate::{Failure, Timestamp};

/// How long a command may take until the gateway answers `unavailable`, in milliseconds.
pub const COMMAND_DEADLINE_MS: u64 = 5_000;

/// A command and the aggregate that it is for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Command {
    Conversation { id: ConversationId, command: ConversationCommand },
    Inbox { user: UserId, command: InboxCommand },
    Audit { accessor: UserId, command: AuditCommand },
    Erasures { command: ErasureCommand },
    Connections { command: ConnectionsCommand },
}

impl Command {
    /// The stream of the aggregate that decides.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        match self {
            Self::Conversation { id, .. } => StreamId::conversation(id),
            Self::Inbox { user, .. } => StreamId::inbox(user),
            Self::Audit { accessor, .. } => StreamId::audit(accessor),
            Self::Erasures { .. } => StreamId::erasures(),
            Self::Connections { .. } => StreamId::connections(),
        }
    }
}

/// A command as the bus carries it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommandEnvelope {
    pub command_id: Uuid,
    pub key: CommandKey,
    /// Past it the sender has stopped waiting, and the command must not be handled any more.
    pub deadline: Timestamp,
    /// W3C trace context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<Arc<str>>,
    pub command: Command,
}

/// What became of a command; said only once it is settled in the journal.
pub type Reply = Result<Committed, Failure>;

/// A command that was carried out, now or before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// A view that has reached this position shows what the command did.
    pub position: u64,
    /// Nothing was appended: the same had been asked for before.
    pub duplicate: bool,
    /// The message that a send made, now or before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<CommittedMessage>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CommittedMessage {
    pub conversation_id: ConversationId,
    pub position: u64,
    pub recorded_at: Timestamp,
    pub sent: MessageSent,
}
