//! What the gateway talks to, made up.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::watch;
use uuid::Uuid;
use verbatim_bus::{Bus, InProcess};
use verbatim_domain::conversation::{MessageSent, PersonalMessage, SendMessage};
use verbatim_domain::{
    ConversationCommand, ConversationId, InboxCommand, MessageId, NotificationId, StreamId, UserId,
};
use verbatim_journal::{Append, Appended, Journal, Snapshot};
use verbatim_protocol::client::{Conversation, Delivery, Message, Notification, Page};
use verbatim_protocol::command::CommittedMessage;
use verbatim_protocol::{
    Command, CommandKey, Committed, Failure, Frame, JournalId, List, MessagePush, Push, Recorded,
    Refresh, Reply, StreamCursor, Timestamp,
};
use verbatim_views::{Members, MessageRange, PageRequest, StreamMessage, Views};

/// The only conversation's members.
const MEMBERS: [&str; 3] = ["ann", "bo", "cy"];

/// Journal, views, aggregates and projection in one. Every position is a message's, in the only
/// conversation there is.
pub(super) struct World {
    pub bus: Arc<dyn Bus>,
    id: JournalId,
    messages: Mutex<Vec<Message>>,
    marks: Mutex<HashMap<UserId, u64>>,
    /// How far the views have come.
    shown: watch::Sender<u64>,
    /// Up to where frames were published.
    pushed: AtomicU64,
    epoch: AtomicU64,
    /// Pushes follow commits by themselves.
    pushing: AtomicBool,
    /// Views and journal answer.
    up: AtomicBool,
    /// Commands are answered.
    answering: watch::Sender<bool>,
    lists_read: AtomicU64,
    taken: AtomicU64,
}

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

impl World {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::new(InProcess::default()),
            id: JournalId(Uuid::from_u128(1)),
            messages: Mutex::default(),
            marks: Mutex::default(),
            shown: watch::Sender::new(0),
            pushed: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            pushing: AtomicBool::new(true),
            up: AtomicBool::new(true),
            answering: watch::Sender::new(true),
            lists_read: AtomicU64::new(0),
            taken: AtomicU64::new(0),
        })
    }

    fn messages(&self) -> MutexGuard<'_, Vec<Message>> {
        self.messages.lock().expect("not poisoned")
    }

    /// Carries out commands, as long as the test lasts.
    pub fn handle_commands(self: &Arc<Self>) {
        let world = Arc::clone(self);
        let mut commands = self.bus.commands();
        tokio::spawn(async move {
            while let Some(requests) = commands.next(64).await {
                world.taken.fetch_add(requests.len() as u64, Ordering::SeqCst);
                world.answering.subscribe().wait_for(|answering| *answering).await.expect("open");
                for request in requests {
                    let reply = world.carry_out(request.command.command);
                    (request.reply)(reply);
                }
            }
        });
    }

    fn carry_out(&self, command: Command) -> Reply {
        match command {
            Command::Conversation { command: ConversationCommand::SendMessage(send), .. } => {
                if send.content == "forbidden" {
                    return Err(Failure::new(
                        verbatim_protocol::ErrorCode::Forbidden,
                        "You are not a member of this conversation",
                    ));
                }
                Ok(self.commit(send))
            }
            Command::Inbox { user, command: InboxCommand::AdvanceDelivery(advance) } => {
                let mut marks = self.marks.lock().expect("not poisoned");
                let mark = marks.entry(user).or_default();
                *mark = (*mark).max(advance.through);
                Ok(Committed { position: 0, duplicate: false, message: None })
            }
            _ => Err(Failure::internal()),
        }
    }

    fn commit(&self, command: SendMessage) -> Committed {
        let mut messages = self.messages();
        let key = (command.author.user_id.clone(), command.client_message_id.clone());
        let before = messages.iter().position(|message| {
            key.1.is_some() && (message.sender_id.clone(), message.client_message_id.clone()) == key
        });
        let position = before.unwrap_or(messages.len()) as u64 + 1;
        let sent = MessageSent {
            message_id: command.message_id,
            sequence: position,
            sender_id: command.author.user_id,
            sender_role: command.author.role,
            client_message_id: command.client_message_id,
            personal: PersonalMessage {
                content: command.content,
                attachments: command.attachments,
                email: command.author.email,
            },
        };
        let recorded_at = Timestamp::now();
        let conversation_id: ConversationId = "conv".parse().expect("an id");
        if before.is_none() {
            messages.push(Message::new(conversation_id.clone(), sent.clone(), recorded_at));
            self.shown.send_replace(position);
        }
        drop(messages);
        if self.pushing.load(Ordering::SeqCst) {
            self.push_through(position);
        }
        let message = CommittedMessage { conversation_id, position, recorded_at, sent };
        Committed { position, duplicate: before.is_some(), message: Some(message) }
    }

    /// Stores a message that came by another gateway; pushes it if pushes follow commits.
    pub fn say(&self, sender: &str, content: &str) -> u64 {
        let command = SendMessage {
            message_id: MessageId(Uuid::now_v7()),
            author: verbatim_domain::conversation::Author {
                user_id: user(sender),
                role: "user".to_owned(),
                email: None,
            },
            target: None,
            client_message_id: None,
            content: content.to_owned(),
            attachments: Vec::new(),
        };
        self.commit(command).position
    }

    /// Whether pushes follow commits by themselves.
    pub fn set_pushing(&self, pushing: bool) {
        self.pushing.store(pushing, Ordering::SeqCst);
    }

    /// Whether journal and views answer.
    pub fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::SeqCst);
    }

    /// Whether commands are answered.
    pub fn set_answering(&self, answering: bool) {
        self.answering.send_replace(answering);
    }

    /// How many commands were taken from the bus.
    pub fn taken(&self) -> u64 {
        self.taken.load(Ordering::SeqCst)
    }

    /// How often a list was read.
    pub fn lists_read(&self) -> u64 {
        self.lists_read.load(Ordering::SeqCst)
    }

    /// Publishes what was committed up to `to`, in one frame.
    pub fn push_through(&self, to: u64) {
        let from = self.pushed.load(Ordering::SeqCst) + 1;
        if to >= from {
            self.publish(from, to);
        }
    }

    /// Publishes a frame as it comes, and goes on from there.
    pub fn publish(&self, from: u64, to: u64) {
        self.pushed.store(to, Ordering::SeqCst);
        let epoch = self.epoch.load(Ordering::SeqCst);
        self.publish_as(epoch, from, to);
    }

    pub fn publish_as(&self, epoch: u64, from: u64, to: u64) {
        let mut pushes = self.pushes_of(from - 1, to);
        for push in &mut pushes {
            let Push::Message(push) = push else { continue };
            let mut message: Message = serde_json::from_str(&push.message).expect("a message");
            message.cursor = Some(self.cursor(push.position));
            push.message = serde_json::to_string(&message).expect("JSON").into();
        }
        self.bus.publish_frame(Arc::new(Frame { epoch, from, to, pushes }));
    }

    /// A frame without anything new.
    pub fn heartbeat(&self) {
        let to = self.pushed.load(Ordering::SeqCst);
        self.publish(to + 1, to);
    }

    /// A list of the user's has changed.
    pub fn change_list(&self, of: &str, list: List) {
        let position = self.pushed.load(Ordering::SeqCst);
        // As if at the position of the last message, which nobody minds.
        let refresh = Push::Refresh(Refresh { position: position + 1, list, user_id: user(of) });
        let frame = Frame {
            epoch: self.epoch.load(Ordering::SeqCst),
            from: position + 1,
            to: position,
            pushes: vec![refresh],
        };
        self.bus.publish_frame(Arc::new(frame));
    }

    pub fn new_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    pub fn cursor(&self, position: u64) -> String {
        StreamCursor { journal: self.id, position }.to_string()
    }

    pub fn mark(&self, of: &str) -> u64 {
        self.marks.lock().expect("not poisoned").get(&user(of)).copied().unwrap_or(0)
    }

    fn check(&self) -> Result<(), verbatim_views::Error> {
        if self.up.load(Ordering::SeqCst) {
            Ok(())
        } else {
            Err(verbatim_views::Error::Unavailable("down".into()))
        }
    }

    fn pushes_of(&self, after: u64, through: u64) -> Vec<Push> {
        let messages = self.messages();
        let recipients: Arc<[UserId]> = MEMBERS.iter().map(|id| user(id)).collect();
        (after + 1..=through)
            .map(|position| {
                let message = &messages[position as usize - 1];
                Push::Message(MessagePush {
                    position,
                    message_id: message.id,
                    conversation_id: message.conversation_id.clone(),
                    sender_id: message.sender_id.clone(),
                    recipients: Arc::clone(&recipients),
                    message: serde_json::to_string(message).expect("JSON").into(),
                })
            })
            .collect()
    }
}

fn no<T>() -> Result<T, verbatim_views::Error> {
    Err(verbatim_views::Error::Corrupt("not in this world".to_owned()))
}

#[async_trait]
impl Journal for World {
    fn id(&self) -> JournalId {
        self.id
    }

    async fn append(&self, _: Vec<Append>) -> Result<Vec<Appended>, verbatim_journal::Error> {
        unreachable!("a gateway appends nothing")
    }

    async fn check_writable(&self) -> Result<(), verbatim_journal::Error> {
        self.check().map_err(|error| verbatim_journal::Error::Unavailable(Box::new(error)))
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

    async fn find_by_key(
        &self,
        _: &CommandKey,
    ) -> Result<Option<Arc<Recorded>>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }

    async fn load_snapshot(
        &self,
        _: &StreamId,
    ) -> Result<Option<Snapshot>, verbatim_journal::Error> {
        unreachable!("a gateway reads no events")
    }

    async fn save_snapshots(&self, _: Vec<Snapshot>) -> Result<(), verbatim_journal::Error> {
        unreachable!("a gateway stores nothing")
    }

    async fn backup(&self, _: &Path) -> Result<(), verbatim_journal::Error> {
        unreachable!("a gateway copies nothing")
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

    async fn members(&self, _: &ConversationId) -> Result<Option<Members>, verbatim_views::Error> {
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
        reader: &UserId,
        after: u64,
        through: u64,
        limit: u32,
        others_only: bool,
    ) -> Result<Vec<StreamMessage>, verbatim_views::Error> {
        self.check()?;
        assert!(through <= self.checkpoint(), "read before the views had come that far");
        let messages = self.messages();
        let found = (after + 1..=through)
            .map(|position| StreamMessage {
                position,
                message: messages[position as usize - 1].clone(),
            })
            .filter(|found| !others_only || found.message.sender_id != *reader);
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
        no()
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
