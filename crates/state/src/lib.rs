//! What reactors must remember: how far they have come, and whom they watch.
//!
//! Durable, and no rebuild of the views touches it. It names the journal that it belongs to, and
//! starts anew with another.

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
pub mod postgres;
pub mod sqlite;

use std::collections::HashMap;

use async_trait::async_trait;
use verbatim_domain::UserId;

pub use postgres::{Leases, PostgresState};
pub use sqlite::SqliteState;

/// Why the state can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the state store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Nothing that this process does counts any more; to try again is in vain.
    #[error("another has taken over {0}")]
    Fenced(String),
}

/// How often a role has changed hands: 1, 2, 3 …
pub type Epoch = u64;

/// A user who had a socket when messages were pushed: from `from` on, it isn't known yet whether
/// they arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Watch {
    pub user_id: UserId,
    /// The lowest position pushed and not yet known to have arrived; `None` ends the watch.
    pub from: Option<u64>,
}

/// The port of the state store.
#[async_trait]
pub trait State: Send + Sync + 'static {
    /// The last position that a reactor is done with, `None` before its first.
    ///
    /// # Errors
    /// [`Error`].
    async fn checkpoint(&self, reactor: &str) -> Result<Option<u64>, Error>;

    /// Every watch of a reactor's that has not ended.
    ///
    /// # Errors
    /// [`Error`].
    async fn watches(&self, reactor: &str) -> Result<Vec<(UserId, u64)>, Error>;

    /// Stores a checkpoint and changed watches in one durable transaction.
    ///
    /// # Errors
    /// [`Error`].
    async fn save(&self, reactor: &str, checkpoint: u64, watches: &[Watch]) -> Result<(), Error>;

    /// Raises and returns the epoch of a role (`push`): 1, 2, 3 …, never the same twice.
    ///
    /// # Errors
    /// [`Error`].
    async fn next_epoch(&self, role: &str) -> Result<Epoch, Error>;
}

/// Of several changes for one user the last holds: those whose watch goes on, and those whose ended.
fn latest(watches: &[Watch]) -> (Vec<(&UserId, u64)>, Vec<&UserId>) {
    let latest: HashMap<_, _> = watches.iter().map(|watch| (&watch.user_id, watch.from)).collect();
    let mut going_on = Vec::new();
    let mut ended = Vec::new();
    for (user, from) in latest {
        match from {
            Some(from) => going_on.push((user, from)),
            None => ended.push(user),
        }
    }
    (going_on, ended)
}
