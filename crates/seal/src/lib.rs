//! Tamper evidence: a tree over the log's events, signed checkpoints of it, and what follows from them.
//!
//! An event's leaf is its line ([`line()`]). The sealer ([`Sealer`]) goes through the log behind those
//! who write it, and keeps tree and checkpoints in a store of its own ([`Store`]); from there proofs
//! are made ([`Prover`]), and held against the log ([`verify()`]).
//!
//! Invariants kept here:
//! - what is stored of a tree is always what its last checkpoint speaks of: both are written in one
//!   transaction;
//! - the sealer goes on only from a state that its last checkpoint vouches for;
//! - no proof is given out that doesn't hold.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod leaf;
pub mod postgres;
mod proving;
mod sealing;
pub mod sqlite;
mod store;
#[cfg(test)]
mod tests;
mod verification;

pub use leaf::{Unreadable, line};
pub use postgres::PostgresSeal;
pub use proving::Prover;
pub use sealing::{Sealer, Trust};
pub use sqlite::SqliteSeal;
pub use store::{NewCheckpoint, Signed, Store};
pub use verification::{Evidence, Finding, Outside, Sound, Verdict, verify};

/// Why nothing was sealed, proved or verified.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the seal's store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error(transparent)]
    Journal(#[from] verbatim_journal::Error),
    /// Somebody else has added a checkpoint meanwhile.
    #[error("another process has sealed the log meanwhile")]
    Moved,
    /// Log, tree and checkpoint don't fit together: an alarm.
    #[error("the log is not what was sealed: {0}")]
    Tampered(String),
}
