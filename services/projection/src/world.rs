//! A small world for tests: journal, views and state in memory, which can be made to fail.

mod journal;
mod state;
mod views;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_analytics::{Analytics, Memory};
use verbatim_bus::in_process::InProcess;
use verbatim_bus::{Bus, PresenceMessage, Taken};
use verbatim_domain::conversation::{
    ConversationKind, ConversationRead, ConversationStarted, ImportedMessage, MemberJoined,
    MessageSent, PersonalMessage, PersonalTitle,
};
use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome, NotificationRead, ReadScope};
use verbatim_domain::{
    ConversationEvent, ConversationId, Event, InboxCommand, InboxEvent, MessageId, StreamId, Time,
    UserId,
};
use verbatim_keys::Vault;
use verbatim_keys::memory::MemoryKeys;
use verbatim_protocol::presence::{Announcement, Change, GatewayId};
use verbatim_protocol::{Command, Committed, Failure, Recorded};

use crate::metrics::Metrics;
use crate::{Ports, Settings};
use journal::MemoryJournal;
use state::MemoryState;
use views::MemoryViews;

/// Long enough for anything to happen that is to happen.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

pub(crate) fn conversation(id: &str) -> ConversationId {
    id.parse().expect("a conversation id")
}

/// Seeded, so that a failure can be had again.
pub(crate) struct Dice(pub u64);

impl Dice {
    /// 0 to `sides` − 1 (`SplitMix64`).
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }
}

/// How a part of the world fails.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// How many calls are still to fail.
    pub failures: AtomicUsize,
    /// Whether every call fails.
    pub down: AtomicBool,
    /// How many calls were made.
    pub calls: AtomicUsize,
}

impl Faults {
    fn check(&self) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let due = |failures: usize| failures.checked_sub(1);
        let failing = self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, due).is_ok();
        if failing || self.down.load(Ordering::SeqCst) {
            return Err("down for a test".into());
        }
        Ok(())
    }

    pub fn fail(&self, calls: usize) {
        self.failures.store(calls, Ordering::SeqCst);
    }

    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

pub(crate) struct World {
    pub journal: Arc<MemoryJournal>,
    pub views: Arc<MemoryViews>,
    pub state: Arc<MemoryState>,
    pub analytics: Analytics,
    pub bus: Arc<InProcess>,
    pub keys: Arc<Vault>,
    pub metrics: Metrics,
    changes: watch::Sender<()>,
    announced: Mutex<HashMap<u128, u64>>,
}

impl World {
    pub fn new() -> Self {
        let changes = watch::Sender::new(());
        Self {
            journal: Arc::new(MemoryJournal::new(changes.clone())),
            views: Arc::new(MemoryViews::new(changes.clone())),
            state: Arc::new(MemoryState::new(changes.clone())),
            analytics: Analytics::new(Arc::new(Memory::default())),
            bus: Arc::new(InProcess::default()),
            keys: MemoryKeys::vault(),
            metrics: Metrics::register(&mut Registry::default()),
            changes,
            announced: Mutex::default(),
        }
    }

    pub fn ports(&self) -> Ports {
        Ports {
            journal: self.journal.clone(),
            bus: self.bus.clone(),
            views: self.views.clone(),
            state: self.state.clone(),
            keys: self.keys.clone(),
            sealing: None,
            analytics: self.analytics.clone(),
        }
    }

    /// Waits until the condition holds; it is looked at whenever something was stored.
    pub async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let mut changes = self.changes.subscribe();
        let waiting = async {
            while !holds() {
                changes.changed().await.expect("the world lasts");
            }
        };
        assert!(timeout(PATIENCE, waiting).await.is_ok(), "waited in vain until {what}");
    }

    /// Commits events without announcing them.
    pub fn commit(&self, events: Vec<(StreamId, Event)>) -> Arc<[Arc<Recorded>]> {
        self.journal.record(events, None)
    }

    /// Commits events and announces them on the feed; gives the last one's position.
    pub fn record(&self, events: Vec<(StreamId, Event)>) -> u64 {
        let events = self.commit(events);
        let position = events.last().map_or(0, |event| event.position);
        self.bus.publish_events(events);
        position
    }

    /// Has the views take in all that is committed.
    pub async fn project(&self) {
        use verbatim_views::Views;
        self.views.apply(&self.journal.events()).await.expect("the views take it");
    }

    /// Announces something a gateway says, with its next number.
    pub fn announce(&self, gateway: u128, change: Change) {
        let number = {
            let mut announced = self.announced.lock().expect("no panic holds it");
            let number = announced.entry(gateway).or_default();
            if !matches!(change, Change::Heartbeat | Change::Snapshot { .. }) {
                *number += 1;
            }
            *number
        };
        let gateway = GatewayId(Uuid::from_u128(gateway));
        let announcement = Arc::new(Announcement { gateway, number, change });
        self.bus.publish_presence(PresenceMessage::Announcement(announcement));
    }

    /// Numbers an announcement that nobody hears.
    pub fn skip_announcement(&self, gateway: u128) {
        *self.announced.lock().expect("no panic holds it").entry(gateway).or_default() += 1;
    }

    pub fn connect(&self, gateway: u128, who: &str) {
        let socket_id = format!("socket-of-{who}").into();
        self.announce(gateway, Change::Connected { user_id: user(who), socket_id });
    }

    pub fn disconnect(&self, gateway: u128, who: &str) {
        let socket_id = format!("socket-of-{who}").into();
        self.announce(gateway, Change::Disconnected { user_id: user(who), socket_id });
    }

    /// Handles inbox commands as the aggregate service does, until the token is cancelled. Each
    /// command's key is told on the channel, once it is settled.
    pub fn handle_commands(&self, stop: &CancellationToken) -> mpsc::UnboundedReceiver<String> {
        let (told, keys) = mpsc::unbounded_channel();
        let (journal, bus) = (self.journal.clone(), self.bus.clone());
        let stop = stop.clone();
        tokio::spawn(async move {
            let mut source = bus.commands();
            while let Some(Some(requests)) = stop.run_until_cancelled(source.next(64)).await {
                for request in requests.into_iter().filter_map(Taken::request) {
                    let key = request.command.key.clone();
                    let reply = handle(&journal, &bus, &request.command.command, &key);
                    told.send(key.key.to_string()).ok();
                    (request.reply)(reply);
                }
            }
        });
        keys
    }

    /// How often each user was notified of each message, by user and position.
    pub fn notified(&self) -> HashMap<(String, u64), usize> {
        let mut notified = HashMap::new();
        for event in self.journal.events() {
            if let Event::Inbox(InboxEvent::NotificationCreated(created)) = &event.event {
                let user = event.stream.aggregate_id.to_string();
                *notified.entry((user, created.message_position)).or_default() += 1;
            }
        }
        notified
    }
}

fn handle(
    journal: &MemoryJournal,
    bus: &InProcess,
    command: &Command,
    key: &verbatim_protocol::CommandKey,
) -> Result<Committed, Failure> {
    let Command::Inbox { user, command: InboxCommand::Notify(notify) } = command else {
        return Err(Failure::bad_request("not a notification"));
    };
    if let Err(error) = journal.commands.check() {
        return Err(Failure::unavailable(error.to_string()));
    }
    if journal.refused().contains(&key.key.to_string()) {
        return Err(Failure::bad_request("refused for a test"));
    }
    let committed = |position, duplicate| Ok(Committed { position, duplicate, message: None });
    if let Some(known) = journal.find(key) {
        return committed(known.position, true);
    }
    let inbox = journal.inbox(user);
    let events = inbox.decide(&InboxCommand::Notify(notify.clone())).expect("no rule is broken");
    if events.is_empty() {
        return committed(0, false);
    }
    let stream = StreamId::inbox(user);
    let events = events.into_iter().map(|event| (stream.clone(), event.into())).collect();
    let recorded = journal.record(events, Some(key));
    let position = recorded.last().map_or(0, |event| event.position);
    bus.publish_events(recorded);
    committed(position, false)
}

/// A conversation's first events.
pub(crate) fn started(
    id: &str,
    kind: ConversationKind,
    members: &[&str],
) -> Vec<(StreamId, Event)> {
    let begun = ConversationStarted {
        kind,
        created_by: user(members[0]),
        personal: PersonalTitle { title: None },
        imported: None,
    };
    let mut events = vec![in_conversation(id, ConversationEvent::ConversationStarted(begun))];
    events.extend(members.iter().map(|member| joined(id, member)));
    events
}

pub(crate) fn joined(id: &str, member: &str) -> (StreamId, Event) {
    in_conversation(id, ConversationEvent::MemberJoined(MemberJoined { member_id: user(member) }))
}

pub(crate) fn said(id: &str, sender: &str) -> (StreamId, Event) {
    message(id, sender, None)
}

/// Brought in from another system.
pub(crate) fn said_elsewhere(id: &str, sender: &str) -> (StreamId, Event) {
    message(id, sender, Some(ImportedMessage { sent_at: Time(1), unread: true }))
}

fn message(id: &str, sender: &str, imported: Option<ImportedMessage>) -> (StreamId, Event) {
    let sent = MessageSent {
        message_id: MessageId(Uuid::now_v7()),
        sequence: 1,
        sender_id: user(sender),
        sender_role: "user".to_owned(),
        client_message_id: None,
        personal: PersonalMessage {
            content: "Hello!".to_owned(),
            attachments: Vec::new(),
            email: None,
        }
        .into(),
        imported,
    };
    in_conversation(id, ConversationEvent::MessageSent(sent))
}

pub(crate) fn conversation_read(id: &str, reader: &str) -> (StreamId, Event) {
    let read = ConversationRead { reader_id: user(reader), through: 1 };
    in_conversation(id, ConversationEvent::ConversationRead(read))
}

pub(crate) fn notifications_read(reader: &str) -> (StreamId, Event) {
    let read = InboxEvent::NotificationRead(NotificationRead { scope: ReadScope::All });
    (StreamId::inbox(&user(reader)), read.into())
}

pub(crate) fn delivered(to: &str, through: u64) -> (StreamId, Event) {
    let advanced = DeliveryAdvanced { through, outcome: DeliveryOutcome::Presumed };
    (StreamId::inbox(&user(to)), InboxEvent::DeliveryAdvanced(advanced).into())
}

fn in_conversation(id: &str, event: ConversationEvent) -> (StreamId, Event) {
    (StreamId::conversation(&conversation(id)), event.into())
}

/// Fast enough for tests, with graces that only end where a test makes them short.
pub(crate) fn settings() -> Settings {
    const NEVER: Duration = Duration::from_hours(1);
    Settings {
        feed_silence: Duration::from_millis(20),
        heartbeat: Duration::from_millis(50),
        departure_grace: Duration::ZERO,
        startup_grace: NEVER,
        presence_settle: Duration::ZERO,
        gateway_silence: NEVER,
        save_interval: Duration::from_millis(5),
        sample_seconds: u64::MAX,
        ..Settings::default()
    }
}
