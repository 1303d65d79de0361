//! Events as they lie in the database, whether or not anyone can read them as such.

use async_trait::async_trait;

use crate::{Error, Log};

/// A row of the events table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// What it says; no promise that it is dense, or above 0.
    pub position: i64,
    /// What is wrong with the row, where it can't be read even as text and numbers.
    pub stored: Result<StoredEvent, String>,
}

/// What a row says of an event, byte for byte: not decoded, so that nothing of it is lost, and of any
/// type and version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEvent {
    pub aggregate_type: String,
    pub aggregate_id: String,
    pub sequence: i64,
    pub event_type: String,
    pub event_version: String,
    pub payload: String,
    pub metadata: String,
    /// Milliseconds since the Unix epoch.
    pub recorded_at: i64,
    pub issuer: Option<String>,
    pub key: Option<String>,
}

/// A log whose rows can be looked at as they are: for those who prove what is in it, and for nobody
/// else.
#[async_trait]
pub trait Rows: Log {
    /// Up to `limit` rows above position `after`, ascending by position. Nothing is checked: there may
    /// be holes.
    ///
    /// # Errors
    /// [`Error`].
    async fn rows_after(&self, after: i64, limit: usize) -> Result<Vec<Row>, Error>;
}
