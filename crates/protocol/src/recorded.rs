//! Events as the journal holds them.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use verbatim_domain::{Event, StreamId};

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
