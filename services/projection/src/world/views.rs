use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use verbatim_domain::{
    ConversationEvent, ConversationId, Event, InboxEvent, MessageId, NotificationId, StreamId,
    UserId,
};
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::{Push, Recorded};
use verbatim_views::{Error, Member, Members, MessageRange, PageRequest, StreamMessage, Views};

use super::Faults;

/// Views in memory: the events themselves, looked through for each question.
pub(crate) struct MemoryViews {
    events: Mutex<Vec<Arc<Recorded>>>,
    checkpoint: watch::Sender<u64>,
    wanted: watch::Sender<u64>,
    pub faults: Faults,
    /// Questions whether a position was reached.
    pub waits: Faults,
    corrupt: AtomicBool,
    /// How many milliseconds a write takes at least.
    least: AtomicU64,
    changes: watch::Sender<()>,
}

impl MemoryViews {
    pub fn new(changes: watch::Sender<()>) -> Self {
        Self {
            events: Mutex::default(),
            checkpoint: watch::Sender::new(0),
            wanted: watch::Sender::new(0),
            faults: Faults::default(),
            waits: Faults::default(),
            corrupt: AtomicBool::new(false),
            least: AtomicU64::new(0),
            changes,
        }
    }

    /// Has every further apply find what can't be.
    pub fn corrupt(&self) {
        self.corrupt.store(true, Ordering::SeqCst);
    }

    pub fn take_at_least(&self, time: Duration) {
        self.least.store(time.as_millis() as u64, Ordering::SeqCst);
    }

    fn events(&self) -> Vec<Arc<Recorded>> {
        self.events.lock().expect("no panic holds it").clone()
    }

    fn members_of(&self, stream: &StreamId) -> Option<Members> {
        let mut found: Option<Members> = None;
        for recorded in self.events().iter().filter(|event| event.stream == *stream) {
            match (&recorded.event, &mut found) {
                (Event::Conversation(ConversationEvent::ConversationStarted(started)), _) => {
                    found = Some(Members { kind: started.kind, members: Vec::new() });
                }
                (Event::Conversation(ConversationEvent::MemberJoined(joined)), Some(found)) => {
                    found.members.push(Member {
                        user_id: joined.member_id.clone(),
                        joined_position: recorded.position,
                    });
                }
                _ => {}
            }
        }
        found
    }
}

fn not_needed<T>() -> Result<T, Error> {
    Err(Error::Corrupt("no reactor needs this".into()))
}

#[async_trait]
impl Views for MemoryViews {
    fn checkpoint(&self) -> u64 {
        *self.checkpoint.borrow()
    }

    async fn apply(&self, events: &[Arc<Recorded>]) -> Result<(), Error> {
        let answer = self.faults.check().map_err(Error::Unavailable);
        self.changes.send_replace(());
        answer?;
        tokio::time::sleep(Duration::from_millis(self.least.load(Ordering::SeqCst))).await;
        if self.corrupt.load(Ordering::SeqCst) {
            return Err(Error::Corrupt("broken for a test".into()));
        }
        let mut stored = self.events.lock().expect("no panic holds it");
        for event in events {
            let due = stored.len() as u64 + 1;
            if event.position > due {
                return Err(Error::Corrupt(format!("{} where {due} is due", event.position)));
            }
            if event.position == due {
                stored.push(event.clone());
            }
        }
        self.checkpoint.send_replace(stored.len() as u64);
        drop(stored);
        self.changes.send_replace(());
        Ok(())
    }

    async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        let waited = self.waits.check().map_err(Error::Unavailable);
        self.changes.send_replace(());
        waited?;
        self.wanted.send_modify(|wanted| *wanted = position.max(*wanted));
        let mut checkpoint = self.checkpoint.subscribe();
        let reached = checkpoint.wait_for(|checkpoint| *checkpoint >= position);
        tokio::time::timeout(within, reached).await.map_err(|_| Error::Behind)?.ok();
        Ok(())
    }

    async fn wanted(&self) {
        let mut wanted = self.wanted.subscribe();
        wanted.wait_for(|wanted| *wanted > self.checkpoint()).await.expect("the sender is here");
    }

    async fn conversation(
        &self,
        _: &UserId,
        _: &ConversationId,
    ) -> Result<Option<Conversation>, Error> {
        not_needed()
    }

    async fn conversations(
        &self,
        _: &UserId,
        _: &PageRequest,
    ) -> Result<Page<Conversation>, Error> {
        not_needed()
    }

    async fn members(
        &self,
        ids: &[ConversationId],
    ) -> Result<HashMap<ConversationId, Members>, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        let found = ids.iter().map(|id| (id.clone(), self.members_of(&StreamId::conversation(id))));
        Ok(found.filter_map(|(id, members)| Some((id, members?))).collect())
    }

    async fn is_member(&self, _: &ConversationId, _: &UserId) -> Result<Option<bool>, Error> {
        not_needed()
    }

    async fn messages(&self, _: &ConversationId, _: &MessageRange) -> Result<Page<Message>, Error> {
        not_needed()
    }

    async fn message(&self, _: MessageId) -> Result<Option<StreamMessage>, Error> {
        not_needed()
    }

    async fn stream(
        &self,
        user: &UserId,
        after: u64,
        through: u64,
        limit: u32,
    ) -> Result<Vec<StreamMessage>, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        let mut messages = Vec::new();
        for recorded in self.events() {
            let position = recorded.position;
            let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event else {
                continue;
            };
            let id = recorded.stream.aggregate_id.parse().expect("a conversation id");
            let members = self.members_of(&recorded.stream).map_or(Vec::new(), |all| all.members);
            let member = members
                .iter()
                .any(|member| member.user_id == *user && member.joined_position < position);
            if member && position > after && position <= through {
                let message = Message::new(id, sent.clone(), recorded.recorded_at);
                messages.push(StreamMessage { position, message });
            }
        }
        messages.truncate(limit as usize);
        Ok(messages)
    }

    async fn pushes(&self, _: u64, _: u64, _: u32) -> Result<Vec<Push>, Error> {
        not_needed()
    }

    async fn delivered_through(&self, user: &UserId) -> Result<u64, Error> {
        self.faults.check().map_err(Error::Unavailable)?;
        let stream = StreamId::inbox(user);
        let marks = self.events().into_iter().filter(|event| event.stream == stream);
        let marks = marks.filter_map(|recorded| match &recorded.event {
            Event::Inbox(InboxEvent::DeliveryAdvanced(advanced)) => Some(advanced.through),
            _ => None,
        });
        Ok(marks.max().unwrap_or(0))
    }

    async fn notifications(
        &self,
        _: &UserId,
        _: bool,
        _: &PageRequest,
    ) -> Result<Page<Notification>, Error> {
        not_needed()
    }

    async fn unread_notifications(&self, _: &UserId) -> Result<u64, Error> {
        not_needed()
    }

    async fn foreign_notifications(
        &self,
        _: &UserId,
        _: &[NotificationId],
    ) -> Result<Vec<NotificationId>, Error> {
        not_needed()
    }

    async fn deliveries(
        &self,
        _: MessageId,
    ) -> Result<Option<(ConversationId, Vec<Delivery>)>, Error> {
        not_needed()
    }
}
