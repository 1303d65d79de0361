//! A message on its way to sockets: written once, for all of them.

use std::sync::Arc;

use serde_json::value::RawValue;
use verbatim_domain::{MessageId, UserId};
use verbatim_protocol::{JournalId, MessagePush, StreamCursor, Timestamp};
use verbatim_views::StreamMessage;

use crate::requests::envelope;
use crate::socket::{Packet, Session, log};

/// The message's envelope, and what must be known of it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub position: u64,
    pub message_id: MessageId,
    pub sender_id: UserId,
    /// Whom the message is for, where that is known to be one user.
    target_id: Option<UserId>,
    pub created_at: Timestamp,
    body: Arc<RawValue>,
}

/// What a pushed message's JSON must tell.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    created_at: Timestamp,
}

impl Outgoing {
    /// `None`, and an alarm, if the push holds no message.
    pub fn of_push(push: &MessagePush) -> Option<Self> {
        match Self::read(push) {
            Ok(outgoing) => Some(outgoing),
            Err(error) => {
                tracing::error!(%error, position = push.position, "a push holds no message");
                None
            }
        }
    }

    fn read(push: &MessagePush) -> serde_json::Result<Self> {
        let told: Told = serde_json::from_str(&push.message)?;
        let body = envelope(&serde_json::from_str::<&RawValue>(&push.message)?);
        let mut others = push.recipients.iter().filter(|user| **user != push.sender_id);
        let target_id = match (others.next(), others.next()) {
            (Some(target), None) => Some(target.clone()),
            _ => None,
        };
        Ok(Self {
            position: push.position,
            message_id: push.message_id,
            sender_id: push.sender_id.clone(),
            target_id,
            created_at: told.created_at,
            body,
        })
    }

    /// A message that is sent again.
    pub fn replayed(found: StreamMessage, journal: JournalId) -> Self {
        let StreamMessage { position, mut message } = found;
        message.cursor = Some(StreamCursor { journal, position }.to_string());
        Self {
            position,
            message_id: message.id,
            sender_id: message.sender_id.clone(),
            target_id: None,
            created_at: message.created_at,
            body: envelope(&message),
        }
    }

    pub fn bytes(&self) -> usize {
        self.body.get().len()
    }

    /// The packet for a socket of `user`'s. Own messages need no mark.
    pub fn packet(&self, user: &UserId) -> Packet {
        Packet::Event {
            name: "message:receive",
            body: Arc::clone(&self.body),
            position: if self.sender_id == *user { 0 } else { self.position },
        }
    }

    pub fn log(&self, session: &Session) {
        if log::enabled() {
            // Whoever gets it from somebody else is meant by it.
            let own = self.sender_id == *session.user();
            let target = if own { self.target_id.as_ref() } else { Some(session.user()) };
            log::message_sent(session, target, self.message_id);
        }
    }

    #[cfg(test)]
    pub fn example(position: u64, bytes: usize) -> Self {
        Self {
            position,
            message_id: MessageId(uuid::Uuid::from_u128(u128::from(position))),
            sender_id: "ann".parse().expect("a user id"),
            target_id: None,
            created_at: Timestamp(0),
            body: envelope(&"x".repeat(bytes.saturating_sub(64))),
        }
    }
}
