//! The read models: what clients ask for, made from events.
//!
//! A projection worker applies events; gateways query. Views are disposable: they are rebuilt from
//! the journal beside the old ones and swapped.
//!
//! Invariants kept here, by every adapter alike :
//! - changes and the checkpoint are stored in one transaction, so each event counts once;
//! - views name the journal that they were made from, and start anew with another;
//! - pages and results are bounded.

mod batch;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod cursor;
mod difference;
mod lists;
pub mod postgres;
mod project;
mod recipients;
mod rows;
mod sqlite;
mod window;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{Push, Recorded};

pub use difference::{Comparison, Difference};
pub use postgres::PostgresViews;
pub use project::{Change, project};
pub use sqlite::SqliteViews;

/// The most entries that a query gives, whatever it is asked for.
const MAX_RESULTS: u32 = 1_000;

fn clamp(limit: u32) -> u32 {
    limit.clamp(1, MAX_RESULTS)
}

/// Why a view didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the views are unavailable: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The views have not reached the position in time.
    #[error("the views are behind the journal")]
    Behind,
    /// Not a cursor of this list.
    #[error("the cursor is not one of this list's")]
    BadCursor,
    /// Events that don't follow on the checkpoint, or a row that can't be.
    #[error("the views are corrupt: {0}")]
    Corrupt(String),
}

/// Which page of a list.
#[derive(Debug, Clone, Default)]
pub struct PageRequest {
    /// A page's `nextCursor`; the first page without.
    pub cursor: Option<String>,
    /// 1 to 200.
    pub limit: u32,
}

/// Which messages of a conversation; all bounds are a message's `sequence`.
#[derive(Debug, Clone, Default)]
pub struct MessageRange {
    /// Exclusive.
    pub before: Option<u64>,
    /// Exclusive. With it the page holds the oldest above it, else the newest below `before`.
    pub after: Option<u64>,
    /// Inclusive: the page holds it and its neighbours, half on each side.
    pub around: Option<u64>,
    /// A cursor remembers the bounds that it was got with; those given beside it are ignored.
    pub page: PageRequest,
}

/// A message and its position, in a user's stream.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamMessage {
    pub position: u64,
    /// Without its `cursor`; that is the caller's to add.
    pub message: Message,
}

/// A member of a conversation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    pub user_id: UserId,
    /// Messages above this position are in the member's stream.
    pub joined_position: u64,
}

/// A conversation's members, in the order in which they joined.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    pub kind: ConversationKind,
    pub members: Vec<Member>,
}

/// The port of the read models.
#[async_trait]
pub trait Views: Send + Sync + 'static {
    /// The last position whose event the views show.
    fn checkpoint(&self) -> u64;

    /// Takes in events that follow on the checkpoint; those at or below it are skipped.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at a hole; nothing is stored after an error.
    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error>;

    /// Waits until the checkpoint is at `position` or above.
    ///
    /// # Errors
    /// [`Error::Behind`] after `within`.
    async fn reached(&self, position: u64, within: Duration) -> Result<(), Error>;

    /// Resolves once somebody has waited for more than the views show. Never where that can't be known.
    async fn wanted(&self) {
        std::future::pending::<()>().await;
    }

    /// A conversation as one of its members sees it; `None` if there is none, or the reader isn't a
    /// member.
    ///
    /// # Errors
    /// [`Error`].
    async fn conversation(
        &self,
        reader: &UserId,
        id: &ConversationId,
    ) -> Result<Option<Conversation>, Error>;

    /// A user's conversations, latest activity first.
    ///
    /// # Errors
    /// [`Error`].
    async fn conversations(
        &self,
        reader: &UserId,
        page: &PageRequest,
    ) -> Result<Page<Conversation>, Error>;

    /// The members of those of these conversations, each named once, that there are.
    ///
    /// # Errors
    /// [`Error`].
    async fn members(
        &self,
        ids: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>, Error>;

    /// Whether the conversation exists, and has the user as a member: `None`, or the answer.
    ///
    /// # Errors
    /// [`Error`].
    async fn is_member(&self, id: &ConversationId, user: &UserId) -> Result<Option<bool>, Error>;

    /// A page of a conversation's messages, ascending by `sequence`. The next page leads to older
    /// messages, with `after` to newer ones.
    ///
    /// # Errors
    /// [`Error`].
    async fn messages(
        &self,
        id: &ConversationId,
        range: &MessageRange,
    ) -> Result<Page<Message>, Error>;

    /// One message and its position.
    ///
    /// # Errors
    /// [`Error`].
    async fn message(&self, id: MessageId) -> Result<Option<StreamMessage>, Error>;

    /// The user's stream above `after`, up to `through` inclusive: the first `limit` messages of
    /// conversations that they were a member of at the time, their own too.
    ///
    /// # Errors
    /// [`Error`].
    async fn stream(
        &self,
        user: &UserId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StreamMessage>, Error>;

    /// What was pushed above `after`, up to `through` inclusive, to anyone: the first `limit`
    /// pushes. Messages carry no cursor yet.
    ///
    /// # Errors
    /// [`Error`].
    async fn pushes(&self, after: u64, through: u64, limit: u32) -> Result<Vec<Push>, Error>;

    /// The user's delivered mark, 0 if there is none.
    ///
    /// # Errors
    /// [`Error`].
    async fn delivered_through(&self, user: &UserId) -> Result<u64, Error>;

    /// A user's notifications, newest first. A cursor remembers `unread_only`.
    ///
    /// # Errors
    /// [`Error`].
    async fn notifications(
        &self,
        user: &UserId,
        unread_only: bool,
        page: &PageRequest,
    ) -> Result<Page<Notification>, Error>;

    /// How many of the user's notifications are unread.
    ///
    /// # Errors
    /// [`Error`].
    async fn unread_notifications(&self, user: &UserId) -> Result<u64, Error>;

    /// Those of `ids` that are no notifications of the user's.
    ///
    /// # Errors
    /// [`Error`].
    async fn foreign_notifications(
        &self,
        user: &UserId,
        ids: &[NotificationId],
    ) -> Result<Vec<NotificationId>, Error>;

    /// What became of a message for each recipient but its sender; `None` if there is no such
    /// message. Beside it the message's conversation.
    ///
    /// # Errors
    /// [`Error`].
    async fn deliveries(
        &self,
        id: MessageId,
    ) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error>;
}

/// Views that can be made anew beside those in use.
#[async_trait]
pub trait Rebuildable: Views {
    type Rebuild: Rebuild;

    /// Gives an empty set of views. Those in use go on.
    ///
    /// # Errors
    /// [`Error::Unavailable`], also while another rebuild is under way.
    async fn begin_rebuild(&self) -> Result<Self::Rebuild, Error>;

    /// Exchanges the views in use for the rebuilt ones and removes the old. Queries under way finish
    /// on the old ones, later ones see the new.
    ///
    /// # Errors
    /// [`Error::Behind`] if the rebuilt views show less than those in use: both stay as they are,
    /// and the exchange can be tried again once the rebuild has caught up. [`Error::Unavailable`].
    async fn swap(&self, rebuild: &mut Self::Rebuild) -> Result<(), Error>;

    /// Holds the views in use still, for this comparison alone, to compare them with rebuilt ones.
    /// Whoever uses and writes them is not held up.
    ///
    /// # Errors
    /// [`Error::Behind`] if the views in use show less than the rebuilt ones.
    /// [`Error::Unavailable`].
    async fn compare<'v>(
        &'v self,
        rebuild: &'v Self::Rebuild,
    ) -> Result<Box<dyn Comparison + 'v>, Error>;
}

/// Views that are being made anew; empty at first. Dropped, they are given up.
#[async_trait]
pub trait Rebuild: Send + Sync {
    /// The last position whose event the new views show.
    fn checkpoint(&self) -> u64;

    /// Takes in events that follow on the checkpoint, as [`Views::apply`] does.
    ///
    /// # Errors
    /// [`Error::Corrupt`] at a hole; [`Error::Unavailable`], also after the exchange.
    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error>;

    /// Ends it without an exchange, and removes the new views.
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the next rebuild removes them.
    async fn give_up(self) -> Result<(), Error>
    where
        Self: Sized;
}
