//! What happened to an inbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{ConversationId, MessageId, NotificationId, UserId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum InboxEvent {
    NotificationCreated(NotificationCreated),
    NotificationRead(NotificationRead),
    DeliveryAdvanced(DeliveryAdvanced),
}

/// A message found its recipient offline. The message's text is looked up, never repeated here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotificationCreated {
    pub notification_id: NotificationId,
    pub conversation_id: ConversationId,
    pub message_id: MessageId,
    /// The message's position in the journal.
    pub message_position: u64,
    pub sender_id: UserId,
}

/// The user has read notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NotificationRead {
    pub scope: ReadScope,
}

/// Which notifications: all that the user has had so far, or these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ReadScope {
    All,
    Ids(Vec<NotificationId>),
}

/// Every message of the user's stream up to position `through` has arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DeliveryAdvanced {
    pub through: u64,
    pub outcome: DeliveryOutcome,
}

/// How the arrival is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum DeliveryOutcome {
    /// The client said that it has applied it.
    Acknowledged,
    /// The socket lived on past a whole heartbeat after the write, or its client closed it cleanly.
    Presumed,
}
