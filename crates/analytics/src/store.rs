//! The port of the store: rows in the order of their keys, a checkpoint, and a way to make both anew.
//!
//! Rows belong to a generation. One is live; a rebuild fills another, and then that one is live.

use async_trait::async_trait;
use tokio::sync::mpsc;

use crate::Error;

pub type Key = Vec<u8>;
pub type Value = Vec<u8>;

/// A row's key, and its value in two generations.
pub type Differing = (Key, Option<Value>, Option<Value>);

/// A state of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    pub generation: u64,
    /// How often they were changed.
    pub revision: u64,
    /// The last position that is in them.
    pub checkpoint: u64,
}

/// What reports need of a store.
#[async_trait]
pub trait Reading: Send + Sync + 'static {
    /// The rows in use, as they are now.
    ///
    /// # Errors
    /// [`Error::Behind`] where there are none of this journal and version.
    async fn live(&self) -> Result<At, Error>;

    /// The first `limit` rows whose key is at or above `low` and below `high`, in the order of the
    /// keys' bytes.
    ///
    /// # Errors
    /// [`Error`].
    async fn page(
        &self,
        generation: u64,
        low: &[u8],
        high: &[u8],
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error>;
}

/// The port of the store.
#[async_trait]
pub trait Store: Reading {
    /// A generation as it is now.
    ///
    /// # Errors
    /// [`Error::GivenUp`] where it was; [`Error::Unavailable`].
    async fn at(&self, generation: u64) -> Result<At, Error>;

    /// Those of the rows that there are, in any order.
    ///
    /// # Errors
    /// [`Error`].
    async fn get(&self, generation: u64, keys: Vec<Key>) -> Result<Vec<(Key, Value)>, Error>;

    /// As [`Reading::page`], over several ranges, up to `each` rows of each, and `limit` in all. A row that
    /// is in several of them comes for each.
    ///
    /// # Errors
    /// [`Error`].
    async fn scan(
        &self,
        generation: u64,
        ranges: Vec<(Key, Key)>,
        each: usize,
        limit: usize,
    ) -> Result<Vec<(Key, Value)>, Error>;

    /// Stores rows, `None` removes one, and moves the checkpoint, in one transaction. `false`, and
    /// nothing is stored, if they have changed since `at`.
    ///
    /// # Errors
    /// [`Error::Unavailable`]: it may have been stored all the same.
    async fn commit(&self, at: At, to: u64, rows: Vec<(Key, Option<Value>)>)
    -> Result<bool, Error>;

    /// Begins another generation, which shows nothing yet, and gives up others that aren't live.
    ///
    /// # Errors
    /// [`Error`].
    async fn begin(&self) -> Result<u64, Error>;

    /// Makes a generation live; the one before is given up. `false`, and nothing is changed, if it
    /// shows less.
    ///
    /// # Errors
    /// [`Error::GivenUp`] where it was; [`Error::Unavailable`].
    async fn exchange(&self, generation: u64) -> Result<bool, Error>;

    /// Tells of each row in which the live generation, as the first, and this one differ, in the order of
    /// the keys: of both as they are at one moment.
    ///
    /// # Errors
    /// [`Error::Behind`] if they show different positions then; [`Error::GivenUp`] where this one was;
    /// [`Error::Unavailable`], also once nobody listens.
    async fn differences(
        &self,
        generation: u64,
        tell: mpsc::Sender<Differing>,
    ) -> Result<(), Error>;

    /// Gives a generation up that isn't live.
    ///
    /// # Errors
    /// [`Error`].
    async fn give_up(&self, generation: u64) -> Result<(), Error>;

    /// Removes rows of generations that were given up, some or all of one; `false` once there are none
    /// left.
    ///
    /// # Errors
    /// [`Error`].
    async fn sweep(&self) -> Result<bool, Error>;
}
