//! Everything that can be asked for, by name.

/// What can be asked for: an event of the wire contract's sections 1 and 5, or what REST alone has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    NotificationGet,
    NotificationRead,
    ConnectionGet,
    ConversationGet,
    ConversationCreate,
    ConversationRead,
    MessageSend,
    MessageGet,
    StreamGet,
    StreamAck,
    /// REST only, as are those below.
    DeliveriesGet,
    AuditEventsGet,
    AuditConversationGet,
    SubjectErase,
    AuditProofGet,
    AuditConsistencyGet,
    AuditCheckpointsGet,
    AuditKeysGet,
    AnalyticsMessagesGet,
    AnalyticsUsersGet,
    AnalyticsDeliveriesGet,
    AnalyticsResponsesGet,
    AnalyticsConnectionsGet,
}

impl Kind {
    /// The event's kind; `None` for an event that the contract doesn't have.
    pub fn of_event(event: &str) -> Option<Self> {
        Some(match event {
            "notification:get" => Self::NotificationGet,
            "notification:read" => Self::NotificationRead,
            "connection:get" => Self::ConnectionGet,
            "conversation:get" => Self::ConversationGet,
            "conversation:create" => Self::ConversationCreate,
            "conversation:read" => Self::ConversationRead,
            "message:send" => Self::MessageSend,
            "message:get" => Self::MessageGet,
            "stream:get" => Self::StreamGet,
            "stream:ack" => Self::StreamAck,
            _ => return None,
        })
    }

    /// The name in events and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotificationGet => "notification:get",
            Self::NotificationRead => "notification:read",
            Self::ConnectionGet => "connection:get",
            Self::ConversationGet => "conversation:get",
            Self::ConversationCreate => "conversation:create",
            Self::ConversationRead => "conversation:read",
            Self::MessageSend => "message:send",
            Self::MessageGet => "message:get",
            Self::StreamGet => "stream:get",
            Self::StreamAck => "stream:ack",
            Self::DeliveriesGet => "deliveries:get",
            Self::AuditEventsGet => "audit-events:get",
            Self::AuditConversationGet => "audit-conversation:get",
            Self::SubjectErase => "subject:erase",
            Self::AuditProofGet => "audit-proof:get",
            Self::AuditConsistencyGet => "audit-consistency:get",
            Self::AuditCheckpointsGet => "audit-checkpoints:get",
            Self::AuditKeysGet => "audit-keys:get",
            Self::AnalyticsMessagesGet => "analytics-messages:get",
            Self::AnalyticsUsersGet => "analytics-users:get",
            Self::AnalyticsDeliveriesGet => "analytics-deliveries:get",
            Self::AnalyticsResponsesGet => "analytics-responses:get",
            Self::AnalyticsConnectionsGet => "analytics-connections:get",
        }
    }

    /// The event that carries the answer where no ack was asked for.
    pub const fn answering_event(self) -> &'static str {
        match self {
            Self::NotificationGet | Self::NotificationRead => "notification:receive",
            Self::ConnectionGet => "connection:receive",
            Self::ConversationGet | Self::ConversationCreate | Self::ConversationRead => {
                "conversation:receive"
            }
            Self::MessageSend => "message:receive",
            Self::MessageGet => "message:page",
            Self::StreamGet => "stream:page",
            Self::StreamAck => "stream:ack",
            Self::DeliveriesGet => "deliveries:receive",
            Self::AuditEventsGet => "audit-events:receive",
            Self::AuditConversationGet => "audit-conversation:receive",
            Self::SubjectErase => "subject:erased",
            Self::AuditProofGet => "audit-proof:receive",
            Self::AuditConsistencyGet => "audit-consistency:receive",
            Self::AuditCheckpointsGet => "audit-checkpoints:receive",
            Self::AuditKeysGet => "audit-keys:receive",
            Self::AnalyticsMessagesGet => "analytics-messages:receive",
            Self::AnalyticsUsersGet => "analytics-users:receive",
            Self::AnalyticsDeliveriesGet => "analytics-deliveries:receive",
            Self::AnalyticsResponsesGet => "analytics-responses:receive",
            Self::AnalyticsConnectionsGet => "analytics-connections:receive",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_found_by_its_own_name() {
        for kind in [
            Kind::NotificationGet,
            Kind::NotificationRead,
            Kind::ConnectionGet,
            Kind::ConversationGet,
            Kind::ConversationCreate,
            Kind::ConversationRead,
            Kind::MessageSend,
            Kind::MessageGet,
            Kind::StreamGet,
            Kind::StreamAck,
        ] {
            assert_eq!(Kind::of_event(kind.as_str()), Some(kind));
        }
        for unknown in [
            "",
            "message:edit",
            "deliveries:get",
            "audit-events:get",
            "analytics-messages:get",
            "message:receive",
            "MESSAGE:SEND",
        ] {
            assert_eq!(Kind::of_event(unknown), None, "{unknown}");
        }
    }
}
