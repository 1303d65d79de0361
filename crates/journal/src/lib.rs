//! The event store: the only truth there is.
//!
//! The aggregate service appends; projectors and reactors read after a position; nothing is ever
//! changed or removed. Success is told to a client only once its event is committed here.
//!
//! Invariants kept here, by every adapter alike:
//! - positions are dense, in commit order; a reader that sees position n has seen all before it;
//! - sequences are dense within a stream, and an append names the sequence that it follows;
//! - a command's key is unique for ever;
//! - `recorded_at` is given with the position and never decreases;
//! - a batch is appended in one transaction, or not at all.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod import;
mod lanes;
pub mod postgres;
mod prepared;
mod rows;
pub mod sqlite;
mod stored;

use std::sync::Arc;

use async_trait::async_trait;
use verbatim_domain::{Event, StreamId};
use verbatim_protocol::{CommandKey, JournalId, Recorded};

pub use import::Import;
pub use lanes::{Claim, DeadLetter, LaneProgress, Lanes, Owned, Ownership};
pub use postgres::PostgresJournal;
pub use rows::{Row, Rows, StoredEvent};
pub use sqlite::{SqliteJournal, SqliteLog};

/// What one command adds to one stream.
#[derive(Debug, Clone)]
pub struct Append {
    pub stream: StreamId,
    /// The stream's last sequence, as far as the writer knows; 0 for a new stream.
    pub expected: u64,
    /// At least one.
    pub events: Vec<Event>,
    pub key: CommandKey,
    /// A JSON object, stored with each of the events.
    pub metadata: Arc<str>,
}

/// What became of one [`Append`].
#[derive(Debug, Clone)]
pub enum Appended {
    /// Committed, in this order.
    Committed(Vec<Arc<Recorded>>),
    /// The key had been used: the last event of the command that did. Nothing was appended.
    Duplicate(Arc<Recorded>),
    /// The stream's last sequence isn't the expected one. Nothing was appended.
    Conflict,
    /// The stream's lane belongs to another worker by now. Nothing was appended.
    Fenced,
}

/// An aggregate's state as of `sequence`, from which a cold load goes on. Disposable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub stream: StreamId,
    pub sequence: u64,
    /// JSON.
    pub state: String,
}

/// What an aggregate's state is made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Latest {
    /// The newest.
    pub snapshot: Option<Snapshot>,
    /// The events above it, ascending; more may follow.
    pub events: Vec<Arc<Recorded>>,
}

/// Why the journal didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It may later. After an append the outcome is unknown: look for the key before answering.
    #[error("the journal is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored event can't be read, or a position is missing: never skipped, always an alarm.
    #[error("the journal is corrupt: {0}")]
    Corrupt(String),
}

/// The log as its readers see it: every event that leaves the store does so by one of these.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The journal's identity, made with it.
    fn id(&self) -> JournalId;

    /// The last committed position, 0 when empty. Never behind an append that has returned.
    ///
    /// # Errors
    /// [`Error`].
    async fn head(&self) -> Result<u64, Error>;

    /// Up to `limit` events above `after`, ascending by position, without holes.
    ///
    /// # Errors
    /// [`Error`]; a hole is [`Error::Corrupt`].
    async fn read_after(&self, after: u64, limit: usize) -> Result<Vec<Arc<Recorded>>, Error>;

    /// Up to `limit` events of a stream above sequence `after`, ascending.
    ///
    /// # Errors
    /// [`Error`].
    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, Error>;
}

/// The port of the event store.
#[async_trait]
pub trait Journal: Log {
    /// Appends all that can be, in the order given, in one durable transaction; an outcome for
    /// each. A later item of the batch sees what the earlier ones appended: it may follow on their
    /// sequence, and is a duplicate of their key. `Duplicate` goes before `Conflict`. Once an item of
    /// a stream is a `Conflict`, so are the batch's later ones of that stream: they were decided on
    /// top of it.
    /// Once it has returned, the events survive a power loss.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: whether the batch was committed is unknown.
    async fn append(&self, batch: Vec<Append>) -> Result<Vec<Appended>, Error> {
        self.append_in_lanes(batch, Vec::new()).await
    }

    /// As [`append`](Self::append), by a worker that shares the journal with others. Each lane's
    /// progress is stored in the same transaction, if the lane still belongs to its claim; if it
    /// doesn't, the appends to its streams are [`Appended::Fenced`] and its progress is dropped. What
    /// is of a lane that isn't listed goes through. With progress alone, the batch may be empty.
    ///
    /// A journal that one process has for itself has no lanes: `lanes` is empty there.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: whether the batch was committed is unknown, and may still change until
    /// the lanes' epochs are raised ([`Lanes::raise`]).
    async fn append_in_lanes(
        &self,
        batch: Vec<Append>,
        lanes: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, Error>;

    /// Whether an append to any stream would be committed now: commits a mark of the journal's own,
    /// which is no event. Where workers share the journal, each lane must have an owner.
    ///
    /// # Errors
    /// [`Error`].
    async fn check_writable(&self) -> Result<(), Error>;

    /// The last event of the command that used the key.
    ///
    /// # Errors
    /// [`Error`].
    async fn find_by_key(&self, key: &CommandKey) -> Result<Option<Arc<Recorded>>, Error>;

    /// For each of these streams, in their order, the newest snapshot, and up to `limit` events above it.
    ///
    /// # Errors
    /// [`Error`]; what can't be read of one stream keeps the others from being read.
    async fn load(&self, streams: &[StreamId], limit: usize) -> Result<Vec<Latest>, Error>;

    /// Stores snapshots in place of older ones of the same aggregates.
    ///
    /// # Errors
    /// [`Error`]; the caller may go on without.
    async fn save_snapshots(&self, snapshots: Vec<Snapshot>) -> Result<(), Error>;
}
