//! How many were connected.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ConnectionsEvent {
    ConnectionsSampled(ConnectionsSampled),
}

/// How many were connected had changed. Until the next of these it was the same, time for time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConnectionsSampled {
    /// When the time that was looked at ended, in seconds since the Unix epoch.
    pub at: u64,
    /// How long it was, in seconds.
    pub seconds: u64,
    /// Sockets at its end.
    pub sockets: u64,
    /// Users with a socket at its end.
    pub users: u64,
    /// The most sockets at once within it.
    pub peak_sockets: u64,
}
