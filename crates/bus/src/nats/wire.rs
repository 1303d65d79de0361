//! How events, frames and announcements are written. What is JSON already is embedded as it is.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::presence::{Announcement, GatewayId};
use verbatim_protocol::{Envelope, Erased, Frame, MessagePush, Push, Recorded, Refresh};

use crate::PresenceMessage;

/// What can't be written or read. What it says is for the log, and holds nothing of the content.
pub(super) type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a topic carries.
pub(super) trait Wire: Clone + Send + Sync + Sized + 'static {
    fn encode(&self) -> Result<Vec<u8>, Error>;
    fn decode(payload: &[u8]) -> Result<Self, Error>;
}

impl Wire for Arc<[Arc<Recorded>]> {
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let events: Vec<_> =
            self.iter().map(|event| Envelope::of(event)).collect::<Result<_, _>>()?;
        Ok(serde_json::to_vec(&events)?)
    }

    fn decode(payload: &[u8]) -> Result<Self, Error> {
        let events: Vec<Envelope> = serde_json::from_slice(payload).map_err(where_only)?;
        events.into_iter().map(|event| event.read().map(Arc::new)).collect()
    }
}

#[derive(Serialize, Deserialize)]
struct FrameOnWire<'a> {
    epoch: u64,
    from: u64,
    to: u64,
    #[serde(borrow)]
    pushes: Vec<PushOnWire<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PushOnWire<'a> {
    #[serde(borrow)]
    Message(MessageOnWire<'a>),
    Refresh(Refresh),
    Erased(Erased),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct MessageOnWire<'a> {
    position: u64,
    message_id: MessageId,
    conversation_id: ConversationId,
    sender_id: UserId,
    recipients: Arc<[UserId]>,
    #[serde(borrow)]
    message: &'a RawValue,
}

impl Wire for Arc<Frame> {
    fn encode(&self) -> Result<Vec<u8>, Error> {
        let pushes = self.pushes.iter().map(write_push).collect::<Result<_, _>>()?;
        let frame = FrameOnWire { epoch: self.epoch, from: self.from, to: self.to, pushes };
        Ok(serde_json::to_vec(&frame)?)
    }

    fn decode(payload: &[u8]) -> Result<Self, Error> {
        let frame: FrameOnWire = serde_json::from_slice(payload).map_err(where_only)?;
        let pushes = frame.pushes.into_iter().map(read_push).collect();
        Ok(Arc::new(Frame { epoch: frame.epoch, from: frame.from, to: frame.to, pushes }))
    }
}

fn write_push(push: &Push) -> Result<PushOnWire<'_>, Error> {
    Ok(match push {
        Push::Message(push) => PushOnWire::Message(MessageOnWire {
            position: push.position,
            message_id: push.message_id,
            conversation_id: push.conversation_id.clone(),
            sender_id: push.sender_id.clone(),
            recipients: Arc::clone(&push.recipients),
            message: serde_json::from_str(&push.message)?,
        }),
        Push::Refresh(refresh) => PushOnWire::Refresh(refresh.clone()),
        Push::Erased(erased) => PushOnWire::Erased(erased.clone()),
    })
}

fn read_push(push: PushOnWire<'_>) -> Push {
    match push {
        PushOnWire::Message(push) => Push::Message(MessagePush {
            position: push.position,
            message_id: push.message_id,
            conversation_id: push.conversation_id,
            sender_id: push.sender_id,
            recipients: push.recipients,
            message: push.message.get().into(),
        }),
        PushOnWire::Refresh(refresh) => Push::Refresh(refresh),
        PushOnWire::Erased(erased) => Push::Erased(erased),
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
enum PresenceOnWire {
    Announcement(Arc<Announcement>),
    SnapshotWanted(Option<GatewayId>),
}

impl Wire for PresenceMessage {
    fn encode(&self) -> Result<Vec<u8>, Error> {
        Ok(serde_json::to_vec(&match self {
            Self::Announcement(announcement) => {
                PresenceOnWire::Announcement(Arc::clone(announcement))
            }
            Self::SnapshotWanted(gateway) => PresenceOnWire::SnapshotWanted(*gateway),
        })?)
    }

    fn decode(payload: &[u8]) -> Result<Self, Error> {
        Ok(match serde_json::from_slice(payload).map_err(where_only)? {
            PresenceOnWire::Announcement(announcement) => Self::Announcement(announcement),
            PresenceOnWire::SnapshotWanted(gateway) => Self::SnapshotWanted(gateway),
        })
    }
}

/// What is wrong with a JSON text, without a word of what it holds.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn where_only(error: serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "unknown content",
        serde_json::error::Category::Eof => "cut-off JSON",
        serde_json::error::Category::Syntax | serde_json::error::Category::Io => "no JSON",
    };
    format!("{what} at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests;
