//! Events as the journal holds them.

use std::borrow::Cow;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verbatim_domain::conversation::{ConversationStarted, MessageSent};
use verbatim_domain::{ConversationEvent, Event, StreamId};

use crate::Timestamp;

/// A committed event.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// 1, 2, 3 … over the whole journal, in commit order.
    pub position: u64,
    pub stream: StreamId,
    /// 1, 2, 3 … within the stream.
    pub sequence: u64,
    /// Never decreases as positions grow.
    pub recorded_at: Timestamp,
    /// Who gave the command; with `key`, unique for ever. Stands on the last event of a command
    /// only, `None` on those before it.
    pub command: Option<CommandKey>,
    /// JSON object: `commandId`, and the trace context where there is one.
    pub metadata: Arc<str>,
    pub event: Event,
    /// How it is stored, where today's type would write it otherwise.
    pub original: Option<Arc<Original>>,
}

impl Recorded {
    /// When it happened: what was brought in from another system, before it was recorded.
    #[must_use]
    pub fn happened_at(&self) -> Timestamp {
        let elsewhere = match &self.event {
            Event::Conversation(ConversationEvent::ConversationStarted(ConversationStarted {
                imported: Some(imported),
                ..
            })) => imported.created_at,
            Event::Conversation(ConversationEvent::MessageSent(MessageSent {
                imported: Some(imported),
                ..
            })) => Some(imported.sent_at),
            _ => None,
        };
        elsewhere.map_or(self.recorded_at, Timestamp::from)
    }

    /// The version that it is stored in.
    #[must_use]
    pub fn event_version(&self) -> &str {
        self.original.as_ref().map_or_else(|| self.event.event_version(), |stored| &stored.version)
    }

    /// The payload as it is stored, JSON.
    ///
    /// # Errors
    /// None that an event of a journal's can bring about.
    pub fn payload(&self) -> Result<Cow<'_, str>, serde_json::Error> {
        match &self.original {
            Some(stored) => Ok(Cow::Borrowed(&stored.payload)),
            None => self.event.payload().map(Cow::Owned),
        }
    }
}

/// What stands in the log of an event that was brought up to today's type. Whoever hands the event
/// on hands this on: copies, exports and proofs are of what was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original {
    pub version: Box<str>,
    pub payload: Box<str>,
}

impl Original {
    /// What to keep of an event that was read from this version and payload: nothing, if it would be
    /// written in that version again.
    #[must_use]
    pub fn of(event: &Event, version: &str, payload: &str) -> Option<Arc<Self>> {
        (event.event_version() != version)
            .then(|| Arc::new(Self { version: version.into(), payload: payload.into() }))
    }
}

/// The name of a command that is never handled twice.
#[derive(
    Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct CommandKey {
    /// A user's id for what clients name themselves, else `$` and a service's name (`$gateway`,
    /// `$offline`); user ids hold no `$`.
    pub issuer: Arc<str>,
    pub key: Arc<str>,
}
