//! Moving a log from one journal into another, as it is.

use std::sync::Arc;

use async_trait::async_trait;
use verbatim_protocol::{JournalId, Recorded};

use crate::{Error, Journal};

/// A journal that can become the copy of another.
#[async_trait]
pub trait Import: Journal {
    /// Takes the identity of the journal that is to be copied, so that cursors stay good. It must be
    /// that journal's copy already, or empty.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also when it holds another log.
    async fn adopt(&mut self, id: JournalId) -> Result<(), Error>;

    /// Stores events as they are in the other journal, numbers, times and keys included, in one
    /// durable transaction. They follow on this one's head.
    ///
    /// # Errors
    /// [`Error::Corrupt`] if they don't; nothing is stored then.
    async fn import(&self, events: Vec<Arc<Recorded>>) -> Result<(), Error>;
}

/// Why a journal that holds something doesn't take another identity.
pub(crate) fn another(id: JournalId) -> Error {
    Error::Unavailable(format!("it holds the log of another journal, {id}").into())
}

/// Whether the events' positions go on from `head`; what is wrong if they don't.
pub(crate) fn follows_on(head: u64, events: &[Arc<Recorded>]) -> Result<(), String> {
    match events.iter().zip(head + 1..).find(|(event, expected)| event.position != *expected) {
        None => Ok(()),
        Some((event, expected)) => {
            Err(format!("position {} comes where {expected} is due", event.position))
        }
    }
}
