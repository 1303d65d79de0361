//! What the gateway talks to, made up.

mod ports;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::FutureExt;
use tokio::sync::watch;
use uuid::Uuid;
use verbatim_bus::{Bus, InProcess, Taken};
use verbatim_domain::conversation::{MessageSent, PersonalMessage, SendMessage};
use verbatim_domain::{ConversationCommand, ConversationId, InboxCommand, MessageId, UserId};
use verbatim_keys::Vault;
use verbatim_keys::memory::MemoryKeys;
use verbatim_protocol::client::Message;
use verbatim_protocol::command::CommittedMessage;
use verbatim_protocol::{
    Command, Committed, Failure, Frame, JournalId, List, MessagePush, Push, Refresh, Reply,
    StreamCursor, Timestamp,
};

/// The only conversation's members.
const MEMBERS: [&str; 3] = ["ann", "bo", "cy"];

/// Journal, views, aggregates and projection in one. Every position is a message's, in the only
/// conversation there is.
pub(super) struct World {
    pub keys: Arc<Vault>,
    /// Where its keys are.
    pub key_store: Arc<MemoryKeys>,
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
    /// The views follow commits by themselves.
    following: AtomicBool,
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
        let key_store = Arc::new(MemoryKeys::default());
        Arc::new(Self {
            bus: Arc::new(InProcess::default()),
            keys: Arc::new(Arc::clone(&key_store).open()),
            key_store,
            id: JournalId(Uuid::from_u128(1)),
            messages: Mutex::default(),
            marks: Mutex::default(),
            shown: watch::Sender::new(0),
            pushed: AtomicU64::new(0),
            epoch: AtomicU64::new(1),
            pushing: AtomicBool::new(true),
            following: AtomicBool::new(true),
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
                for request in requests.into_iter().filter_map(Taken::request) {
                    let reply = world.carry_out(request.command.command);
                    (request.reply)(reply);
                }
            }
        });
    }

    fn carry_out(&self, command: Command) -> Reply {
        match command {
            Command::Conversation { command: ConversationCommand::SendMessage(send), .. } => {
                if self.opened(&send) == "forbidden" {
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
            // Nobody ever has anything unread.
            Command::Inbox { command: InboxCommand::ReadNotifications(_), .. } => {
                Ok(Committed { position: 0, duplicate: true, message: None })
            }
            _ => Err(Failure::internal()),
        }
    }

    /// What is said in a command.
    fn opened(&self, send: &SendMessage) -> String {
        let event = MessageSent {
            message_id: send.message_id,
            sequence: 1,
            sender_id: send.author.user_id.clone(),
            sender_role: send.author.role.clone(),
            client_message_id: None,
            personal: send.personal.clone(),
            imported: None,
        };
        self.open(Message::new("conv".parse().expect("an id"), event, Timestamp(0))).content
    }

    fn open(&self, message: Message) -> Message {
        let mut opened = [message];
        let opening = self.keys.open_all(&mut opened);
        opening.now_or_never().expect("nothing is waited for").expect("the store answers");
        let [message] = opened;
        message
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
            personal: command.personal,
            imported: None,
        };
        let recorded_at = Timestamp::now();
        let conversation_id: ConversationId = "conv".parse().expect("an id");
        if before.is_none() {
            messages.push(Message::new(conversation_id.clone(), sent.clone(), recorded_at));
            self.shown.send_if_modified(|shown| {
                let follows = self.following.load(Ordering::SeqCst);
                follows && std::mem::replace(shown, position) != position
            });
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
            },
            target: None,
            client_message_id: None,
            personal: PersonalMessage::text(content).into(),
        };
        self.commit(command).position
    }

    /// Whether pushes follow commits by themselves.
    pub fn set_pushing(&self, pushing: bool) {
        self.pushing.store(pushing, Ordering::SeqCst);
    }

    /// Stops the views where they are.
    pub fn hold_views(&self) {
        self.following.store(false, Ordering::SeqCst);
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
            let message = serde_json::from_str(&push.message).expect("a message");
            let mut message = self.open(message);
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
