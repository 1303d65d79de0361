//! What a projection worker pushes to every gateway.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use verbatim_domain::{ConversationId, MessageId, UserId};

/// The pushes of the journal's positions `from` to `to`, both inclusive. Frames follow each other
/// without gaps: the next one's `from` is this one's `to` + 1. One without new positions
/// (`from` = `to` + 1) is a heartbeat.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Frame {
    /// The push reactor's epoch: frames of an older one are refused.
    pub epoch: u64,
    pub from: u64,
    pub to: u64,
    /// In ascending position.
    pub pushes: Vec<Push>,
}

/// One thing that gateways tell their sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Push {
    /// A message, to every socket of its recipients, each at most once.
    Message(MessagePush),
    /// Lists that changed: each user's sockets get the whole list anew.
    Refresh(Refresh),
    /// A user's content was erased: their key is to be destroyed, and forgotten.
    Erased(Erased),
}

/// A message and who is to have it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessagePush {
    pub position: u64,
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub sender_id: UserId,
    /// The conversation's members when the message was appended, the sender among them.
    pub recipients: Arc<[UserId]>,
    /// The wire contract's message with its `cursor`, as JSON.
    pub message: Arc<str>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Refresh {
    pub position: u64,
    pub list: List,
    pub user_id: UserId,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Erased {
    pub position: u64,
    pub user_id: UserId,
}

/// A list that gateways push whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum List {
    /// The user became a member of a group, or read a conversation.
    Conversations,
    /// The user read notifications.
    Notifications,
}

impl Push {
    #[must_use]
    pub fn position(&self) -> u64 {
        match self {
            Self::Message(push) => push.position,
            Self::Refresh(refresh) => refresh.position,
            Self::Erased(erased) => erased.position,
        }
    }
}
