//! How aggregates are named, and which lane each belongs to.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::{ConversationId, UserId};

/// How many lanes commands are spread over. Never changes: lane numbers are stored.
pub const LANES: u16 = 64;

/// A kind of aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AggregateType {
    Conversation,
    Inbox,
    Audit,
    Erasures,
    Connections,
}

impl AggregateType {
    /// The name that the journal stores.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conversation => "conversation",
            Self::Inbox => "inbox",
            Self::Audit => "audit",
            Self::Erasures => "erasures",
            Self::Connections => "connections",
        }
    }
}

impl fmt::Display for AggregateType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No aggregate type has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown aggregate type {0:?}")]
pub struct UnknownAggregateType(pub String);

impl FromStr for AggregateType {
    type Err = UnknownAggregateType;

    fn from_str(name: &str) -> Result<Self, UnknownAggregateType> {
        match name {
            "conversation" => Ok(Self::Conversation),
            "inbox" => Ok(Self::Inbox),
            "audit" => Ok(Self::Audit),
            "erasures" => Ok(Self::Erasures),
            "connections" => Ok(Self::Connections),
            other => Err(UnknownAggregateType(other.to_owned())),
        }
    }
}

/// One aggregate's stream of events.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub aggregate_type: AggregateType,
    pub aggregate_id: Arc<str>,
}

impl StreamId {
    #[must_use]
    pub fn conversation(id: &ConversationId) -> Self {
        Self { aggregate_type: AggregateType::Conversation, aggregate_id: id.as_str().into() }
    }

    #[must_use]
    pub fn inbox(user: &UserId) -> Self {
        Self { aggregate_type: AggregateType::Inbox, aggregate_id: user.as_str().into() }
    }

    /// What an auditor has looked at.
    #[must_use]
    pub fn audit(accessor: &UserId) -> Self {
        Self { aggregate_type: AggregateType::Audit, aggregate_id: accessor.as_str().into() }
    }

    /// Whose content was erased.
    #[must_use]
    pub fn erasures() -> Self {
        Self { aggregate_type: AggregateType::Erasures, aggregate_id: "subjects".into() }
    }

    /// How many were connected, over the whole deployment.
    #[must_use]
    pub fn connections() -> Self {
        Self { aggregate_type: AggregateType::Connections, aggregate_id: "all".into() }
    }

    /// 64-bit FNV-1a over type, a zero byte and id.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let bytes =
            self.aggregate_type.as_str().bytes().chain([0]).chain(self.aggregate_id.bytes());
        bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        })
    }

    /// The lane of this aggregate, 0 to [`LANES`] − 1, from its fingerprint. The function never changes,
    /// or two workers could come to write one aggregate.
    #[must_use]
    pub fn lane(&self) -> u16 {
        let hash = self.fingerprint();
        // FNV's low bits mix least; fold the high half in before taking the remainder.
        ((hash ^ (hash >> 32)) % u64::from(LANES)) as u16
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.aggregate_type, self.aggregate_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_never_change() {
        let lane = |id: &str| StreamId::conversation(&id.parse().expect("an id")).lane();
        assert_eq!((lane("conv_123"), lane("conv_124"), lane("a")), LANES_OF_THREE);
        assert_eq!(StreamId::inbox(&"user_456".parse().expect("an id")).lane(), LANE_OF_AN_INBOX);
    }

    const LANES_OF_THREE: (u16, u16, u16) = (12, 13, 5);
    const LANE_OF_AN_INBOX: u16 = 27;

    #[test]
    fn lanes_are_evenly_filled() {
        let mut counts = [0_u32; LANES as usize];
        for n in 0..64_000 {
            let id: ConversationId = format!("conv_{n}").parse().expect("an id");
            counts[usize::from(StreamId::conversation(&id).lane())] += 1;
        }
        assert!(counts.iter().all(|&n| (800..1200).contains(&n)), "{counts:?}");
    }
}
