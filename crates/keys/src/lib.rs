//! The keys that personal content is sealed with: one for each user, wrapped by a master key that
//! comes from outside, in a store apart from the journal.
//!
//! On a message's way the gateway seals what its author said before the command leaves; journal,
//! broker, views and snapshots only ever see that. It is opened again on its way out, by the push
//! reactor and by the gateway's reads. To erase a user's content, their key is destroyed.
//!
//! Invariants kept here:
//! - a key is on the disk before anything is sealed with it;
//! - a destroyed key never comes back, whatever is copied or restored into the store;
//! - keys in memory are bounded, and wiped from the store's file when they are destroyed.

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
mod content;
mod master;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
mod postgres;
mod seal;
mod sqlite;
mod vault;

use async_trait::async_trait;
use verbatim_domain::{KeyId, UserId};

pub use content::{Content, Shown};
pub use master::{InvalidMasterKey, MasterKey};
pub use postgres::PostgresKeys;
pub use seal::{Context, Opened, SubjectKey};
pub use sqlite::{SqliteKeyReader, SqliteKeys};
pub use vault::{Keys, Vault};

/// Why keys can't be had.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the key store is unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The store's keys are wrapped by another.
    #[error("the master key is not the one that the store's keys are wrapped with")]
    OtherMaster,
    #[error("the key store is corrupt: {0}")]
    Corrupt(String),
}

/// A key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    pub id: KeyId,
    pub subject: UserId,
    /// By the master key; `None` once it is destroyed.
    pub wrapped: Option<Vec<u8>>,
}

/// The port of the key store. Whatever changes something is on the disk when it returns.
#[async_trait]
pub trait KeyStore: Send + Sync + 'static {
    /// Gives the key in use of each subject that is offered one, in any order: what is offered, where
    /// there was none.
    ///
    /// # Errors
    /// [`Error`]; what was offered may have been stored.
    async fn in_use(&self, offered: Vec<Stored>) -> Result<Vec<Stored>, Error>;

    /// Those of `ids` that the store knows, in any order.
    ///
    /// # Errors
    /// [`Error`].
    async fn find(&self, ids: Vec<KeyId>) -> Result<Vec<Stored>, Error>;

    /// Every key that a subject has or had.
    ///
    /// # Errors
    /// [`Error`].
    async fn of_subject(&self, subject: &UserId) -> Result<Vec<Stored>, Error>;

    /// Destroys keys; those that are unknown are noted, so that they never come to be used.
    ///
    /// # Errors
    /// [`Error`].
    async fn destroy(&self, subject: &UserId, ids: Vec<KeyId>) -> Result<(), Error>;

    /// Every key that was destroyed.
    ///
    /// # Errors
    /// [`Error`].
    async fn destroyed(&self) -> Result<Vec<Stored>, Error>;

    /// All keys by their ids, those above `after`, `limit` at most.
    ///
    /// # Errors
    /// [`Error`].
    async fn page(&self, after: Option<KeyId>, limit: u32) -> Result<Vec<Stored>, Error>;

    /// Takes in another store's keys. What is destroyed in either is destroyed afterwards. Who has a key
    /// in use here goes on with that.
    ///
    /// # Errors
    /// [`Error`].
    async fn take_in(&self, keys: Vec<Stored>) -> Result<(), Error>;

    /// The proof of the master key: the first that was ever offered.
    ///
    /// # Errors
    /// [`Error`].
    async fn proof(&self, offered: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, Error>;
}

/// The keys that are to be destroyed to erase what a user has said: none, if that was done before;
/// `None` if the user has said nothing.
///
/// # Errors
/// [`Error`].
pub async fn to_erase(store: &dyn KeyStore, user: &UserId) -> Result<Option<Vec<KeyId>>, Error> {
    let keys = store.of_subject(user).await?;
    if keys.is_empty() {
        return Ok(None);
    }
    let in_use = keys.into_iter().filter(|key| key.wrapped.is_some());
    Ok(Some(in_use.map(|key| key.id).collect()))
}

/// Copies all keys, as they are wrapped; gives their number.
///
/// # Errors
/// [`Error`].
pub async fn copy(from: &dyn KeyStore, to: &dyn KeyStore) -> Result<u64, Error> {
    const PAGE: u32 = 1_000;
    if let Some(proof) = from.proof(None).await?
        && to.proof(Some(proof.clone())).await? != Some(proof)
    {
        return Err(Error::OtherMaster);
    }
    let (mut copied, mut after) = (0, None);
    loop {
        let page = from.page(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(copied) };
        after = Some(last.id);
        copied += page.len() as u64;
        to.take_in(page).await?;
    }
}
