//! The read models in a `SQLite` file of their own.
//!
//! A message is stored in few places, and in none that grows with the members or with what they
//! have not read: one row, one entry of an index, one counter of its conversation, one of its
//! sender. What a user sees is put together when they ask.

mod apply;
mod bulk;
mod compare;
mod conversations;
mod deliveries;
mod messages;
mod notifications;
mod rebuild;
mod rows;
mod store;
mod stream;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{JournalId, Push, Recorded};

use crate::{Error, Members, MessageRange, PageRequest, StreamMessage, Views, clamp};
use store::{FOLD_AFTER, Store};

/// [`Views`] in a file.
pub struct SqliteViews {
    path: PathBuf,
    journal: JournalId,
    store: Store,
    rebuilding: Arc<Semaphore>,
}

impl SqliteViews {
    /// Opens or makes the views of a journal. Those of another journal, those that another version
    /// of this code made, and those that can't be read are replaced by empty ones, with a warning
    /// in the log. What an interrupted rebuild left is removed.
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the file can't be opened or made.
    pub async fn open(path: &Path, journal: JournalId) -> Result<Self, Error> {
        Self::open_folding(path, journal, FOLD_AFTER).await
    }

    async fn open_folding(path: &Path, journal: JournalId, after: u64) -> Result<Self, Error> {
        store::remove(&rebuild::path_of(path)).await?;
        let store = Store::open(path, journal, after).await?;
        let rebuilding = Arc::new(Semaphore::new(1));
        Ok(Self { path: path.to_owned(), journal, store, rebuilding })
    }

    /// Closes the file once the queries under way have ended; later ones are refused as
    /// [`Error::Unavailable`].
    ///
    /// # Errors
    /// [`Error::Unavailable`] if the write-ahead log can't be folded in; nothing is lost by that.
    pub async fn close(&self) -> Result<(), Error> {
        self.store.close().await
    }
}

#[async_trait]
impl Views for SqliteViews {
    fn checkpoint(&self) -> u64 {
        self.store.checkpoint()
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        self.store.apply(events).await
    }

    async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        self.store.reached(position, within).await
    }

    async fn wanted(&self) {
        self.store.wanted().await;
    }

    async fn conversation(
        &self,
        reader: &UserId,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, Error> {
        let (reader, id) = (reader.clone(), id.clone());
        self.store.read(move |connection| conversations::one(connection, &reader, &id)).await
    }

    async fn conversations(
        &self,
        reader: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Conversation>, Error> {
        let (journal, reader, page) = (self.journal, reader.clone(), page.clone());
        let list = move |connection: &_| conversations::list(connection, journal, &reader, &page);
        self.store.read(list).await
    }

    async fn members(
        &self,
        ids: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>, Error> {
        let ids = ids.to_vec();
        self.store.read(move |connection| conversations::members(connection, ids)).await
    }

    async fn is_member(&self, id: &ConversationId, user: &UserId) -> Result<Option<bool>, Error> {
        let (id, user) = (id.clone(), user.clone());
        self.store.read(move |connection| conversations::is_member(connection, &id, &user)).await
    }

    async fn messages(
        &self,
        id: &ConversationId,
        range: &MessageRange,
    ) -> Result<Page<Message>, Error> {
        let (journal, id, range) = (self.journal, id.clone(), range.clone());
        self.store.read(move |connection| messages::list(connection, journal, &id, &range)).await
    }

    async fn message(&self, id: MessageId) -> Result<Option<StreamMessage>, Error> {
        self.store.read(move |connection| messages::one(connection, id)).await
    }

    async fn stream(
        &self,
        user: &UserId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StreamMessage>, Error> {
        let (user, limit) = (user.clone(), clamp(limit));
        self.store
            .read(move |connection| stream::of_user(connection, &user, after, through, limit))
            .await
    }

    async fn pushes(&self, after: u64, through: u64, limit: u32) -> Result<Vec<Push>, Error> {
        let limit = clamp(limit);
        self.store.read(move |connection| stream::pushes(connection, after, through, limit)).await
    }

    async fn delivered_through(&self, user: &UserId) -> Result<u64, Error> {
        let user = user.clone();
        self.store.read(move |connection| deliveries::through(connection, &user)).await
    }

    async fn notifications(
        &self,
        user: &UserId,
        unread_only: bool,
        page: &PageRequest,
    ) -> Result<Page<Notification>, Error> {
        let (journal, user, page) = (self.journal, user.clone(), page.clone());
        self.store
            .read(move |connection| {
                notifications::list(connection, journal, &user, unread_only, &page)
            })
            .await
    }

    async fn unread_notifications(&self, user: &UserId) -> Result<u64, Error> {
        let user = user.clone();
        self.store.read(move |connection| notifications::unread(connection, &user)).await
    }

    async fn foreign_notifications(
        &self,
        user: &UserId,
        ids: &[NotificationId],
    ) -> Result<Vec<NotificationId>, Error> {
        let (user, ids) = (user.clone(), ids.to_vec());
        self.store.read(move |connection| notifications::foreign(connection, &user, &ids)).await
    }

    async fn deliveries(
        &self,
        id: MessageId,
    ) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
        self.store.read(move |connection| deliveries::of_message(connection, id)).await
    }
}

#[cfg(test)]
mod tests;
