//! The world as journal and views: what a gateway asks of them, and no more.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use verbatim_domain::{ConversationId, MessageId, NotificationId, StreamId, UserId};
use verbatim_journal::{Append, Appended, Journal, LaneProgress, Latest, Log, Snapshot};
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{CommandKey, JournalId, Push, Recorded};
use verbatim_views::{Members, MessageRange, PageRequest, StreamMessage, Views};

use super::World;

fn no<T>() -> Result<T, verbatim_views::Error> {
    Err(verbatim_views::Error::Corrupt("not in this world".to_owned()))
}

#[async_trait]
impl Log for World {
    fn id(&self) -> JournalId {
        self.id
    }

    async fn head(&self) -> Result<u64, verbatim_journal::Error> {
        match self.check() {
            Ok(()) => Ok(self.messages().len() as u64),
            Err(error) => Err(verbatim_journal::Error::Unavailable(Box::new(error))),
        }
    }

    async fn read_after(
        &self,
        _: u64,
        _: usize,
    ) -> Result<Vec<Arc<Recorded>>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }

    async fn read_stream(
        &self,
        _: &StreamId,
        _: u64,
        _: usize,
    ) -> Result<Vec<Arc<Recorded>>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }
}

#[async_trait]
impl Journal for World {
    async fn append_in_lanes(
        &self,
        _: Vec<Append>,
        _: Vec<LaneProgress>,
    ) -> Result<Vec<Appended>, verbatim_journal::Error> {
        unreachable!("a gateway appends nothing")
    }

    async fn check_writable(&self) -> Result<(), verbatim_journal::Error> {
        self.check().map_err(|error| verbatim_journal::Error::Unavailable(Box::new(error)))
    }

    async fn find_by_key(
        &self,
        _: &CommandKey,
    ) -> Result<Option<Arc<Recorded>>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }

    async fn load(&self, _: &[StreamId], _: usize) -> Result<Vec<Latest>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }

    async fn save_snapshots(&self, _: Vec<Snapshot>) -> Result<(), verbatim_journal::Error> {
        unreachable!("a gateway stores nothing")
    }
}

#[async_trait]
impl Views for World {
    fn checkpoint(&self) -> u64 {
        *self.shown.borrow()
    }

    async fn apply(&self, _: &[Arc<Recorded>]) -> Result<(), verbatim_views::Error> {
        no()
    }

    async fn reached(&self, position: u64, within: Duration) -> Result<(), verbatim_views::Error> {
        self.check()?;
        let mut shown = self.shown.subscribe();
        match tokio::time::timeout(within, shown.wait_for(|shown| *shown >= position)).await {
            Ok(_) => Ok(()),
            Err(_) => Err(verbatim_views::Error::Behind),
        }
    }

    async fn conversation(
        &self,
        _: &UserId,
        _: &ConversationId,
    ) -> Result<Option<Conversation>, verbatim_views::Error> {
        no()
    }

    async fn conversations(
        &self,
        _: &UserId,
        _: &PageRequest,
    ) -> Result<Page<Conversation>, verbatim_views::Error> {
        self.check()?;
        self.lists_read.fetch_add(1, Ordering::SeqCst);
        Ok(Page { data: Vec::new(), next_cursor: None })
    }

    async fn members(
        &self,
        _: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>, verbatim_views::Error> {
        no()
    }

    async fn is_member(
        &self,
        _: &ConversationId,
        _: &UserId,
    ) -> Result<Option<bool>, verbatim_views::Error> {
        no()
    }

    async fn messages(
        &self,
        _: &ConversationId,
        _: &MessageRange,
    ) -> Result<Page<Message>, verbatim_views::Error> {
        no()
    }

    async fn message(&self, _: MessageId) -> Result<Option<StreamMessage>, verbatim_views::Error> {
        no()
    }

    async fn stream(
        &self,
        _: &UserId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StreamMessage>, verbatim_views::Error> {
        self.check()?;
        assert!(through <= self.checkpoint(), "read before the views had come that far");
        let messages = self.messages();
        let found = (after + 1..=through).map(|position| StreamMessage {
            position,
            message: messages[position as usize - 1].clone(),
        });
        Ok(found.take(limit as usize).collect())
    }

    async fn pushes(
        &self,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<Push>, verbatim_views::Error> {
        self.check()?;
        let mut pushes = self.pushes_of(after, through);
        pushes.truncate(limit as usize);
        Ok(pushes)
    }

    async fn delivered_through(&self, of: &UserId) -> Result<u64, verbatim_views::Error> {
        self.check()?;
        Ok(self.mark(of.as_str()))
    }

    async fn notifications(
        &self,
        _: &UserId,
        _: bool,
        _: &PageRequest,
    ) -> Result<Page<Notification>, verbatim_views::Error> {
        self.check()?;
        self.lists_read.fetch_add(1, Ordering::SeqCst);
        Ok(Page { data: Vec::new(), next_cursor: None })
    }

    async fn unread_notifications(&self, _: &UserId) -> Result<u64, verbatim_views::Error> {
        Ok(0)
    }

    async fn foreign_notifications(
        &self,
        _: &UserId,
        _: &[NotificationId],
    ) -> Result<Vec<NotificationId>, verbatim_views::Error> {
        no()
    }

    async fn deliveries(
        &self,
        _: MessageId,
    ) -> Result<Option<(ConversationId, Vec<Delivery>)>, verbatim_views::Error> {
        no()
    }
}
