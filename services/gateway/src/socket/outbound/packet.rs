//! What goes out, one thing at a time.

use std::sync::Arc;

use serde_json::value::RawValue;

/// One thing to be sent.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Event {
        name: &'static str,
        body: Arc<RawValue>,
        /// The position that the user will have received with it; 0 for none.
        position: u64,
    },
    Ack {
        id: i64,
        body: Arc<RawValue>,
    },
    /// Takes the socket out of its namespace, with a goodbye.
    Disconnect,
}

impl Packet {
    pub fn event(name: &'static str, body: Arc<RawValue>) -> Self {
        Self::Event { name, body, position: 0 }
    }

    /// The packet's length on the wire, without what frames it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            // 42["name",body]
            Self::Event { name, body, .. } => name.len() + body.get().len() + 7,
            // 43id[body]
            Self::Ack { id, body } => {
                id.checked_ilog10().unwrap_or(0) as usize + 1 + body.get().len() + 4
            }
            Self::Disconnect => 2,
        }
    }

    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Event { position, .. } => *position,
            Self::Ack { .. } | Self::Disconnect => 0,
        }
    }
}
