//! The port of the seal's store: checkpoints, the tree's tiles, and who has had which checkpoint.

use async_trait::async_trait;
use verbatim_proof::{Tile, TileId};
use verbatim_protocol::{JournalId, Timestamp};

use crate::Error;

/// A checkpoint that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// Ascending over all logs.
    pub id: u64,
    pub log: JournalId,
    /// 1, 2, 3 … within the log.
    pub number: u64,
    /// How many events it speaks of.
    pub size: u64,
    pub signed_at: Timestamp,
    /// The signed note.
    pub note: String,
}

/// A checkpoint to be added, with all that changes with it.
#[derive(Debug, Clone)]
pub struct NewCheckpoint {
    pub number: u64,
    pub size: u64,
    pub signed_at: Timestamp,
    pub note: String,
    /// The public key that the note can be checked with.
    pub verifier: String,
    pub tiles: Vec<Tile>,
}

/// What is kept of all logs that were sealed. Durable, and no part of the journal or its backups.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Adds a log's next checkpoint and its tiles, in one durable transaction.
    ///
    /// # Errors
    /// [`Error::Moved`] if its number is not the next one, or its size not above the last one's;
    /// [`Error::Unavailable`]: whether it was added is unknown.
    async fn add(&self, log: JournalId, checkpoint: NewCheckpoint) -> Result<(), Error>;

    /// A log's last checkpoint.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn latest(&self, log: JournalId) -> Result<Option<Signed>, Error>;

    /// A log's checkpoint of this size.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn of_size(&self, log: JournalId, size: u64) -> Result<Option<Signed>, Error>;

    /// Up to `limit` checkpoints of a log, above a number, ascending.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn after(&self, log: JournalId, number: u64, limit: usize) -> Result<Vec<Signed>, Error>;

    /// Up to `limit` checkpoints of all logs, below an id, newest first.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn before(&self, id: u64, limit: usize) -> Result<Vec<Signed>, Error>;

    /// Those of these tiles that there are.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn tiles(&self, log: JournalId, ids: &[TileId]) -> Result<Vec<Tile>, Error>;

    /// The public keys that a log's checkpoints say they were signed with. Whoever can write to the
    /// store can add one.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn verifiers(&self, log: JournalId) -> Result<Vec<String>, Error>;

    /// The number of the last checkpoint that a destination has taken.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn published(&self, log: JournalId, destination: &str) -> Result<Option<u64>, Error>;

    /// Notes that a destination has taken a checkpoint.
    ///
    /// # Errors
    /// [`Error::Unavailable`].
    async fn set_published(
        &self,
        log: JournalId,
        destination: &str,
        number: u64,
    ) -> Result<(), Error>;
}

/// A stored checkpoint: the fields of [`Signed`], in their order.
pub(crate) type Row = (i64, String, i64, i64, i64, String);

pub(crate) fn signed((id, log, number, size, signed_at, note): Row) -> Result<Signed, Error> {
    let [id, number, size] = [id, number, size].map(|n| n as u64);
    let log = JournalId(log.parse().map_err(failed)?);
    Ok(Signed { id, log, number, size, signed_at: Timestamp(signed_at), note })
}

/// A number that somebody asked by, as databases count: none is above the greatest.
pub(crate) fn bounded(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::Unavailable(Box::new(error))
}
