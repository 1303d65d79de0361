//! What may be asked of an inbox.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DeliveryOutcome, ReadScope};
use crate::{ConversationId, MessageId, NotificationId, UserId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub enum InboxCommand {
    Notify(Notify),
    ReadNotifications(ReadNotifications),
    AdvanceDelivery(AdvanceDelivery),
}

/// Notes a message for a user who had no socket when it was to be pushed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Notify {
    pub notification_id: NotificationId,
    pub conversation_id: ConversationId,
    pub message_id: MessageId,
    /// The message's position in the journal.
    pub message_position: u64,
    pub sender_id: UserId,
}

/// Marks notifications as read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReadNotifications {
    pub scope: ReadScope,
}

/// Moves the delivered mark forward.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AdvanceDelivery {
    /// A position in the journal.
    pub through: u64,
    pub outcome: DeliveryOutcome,
}
