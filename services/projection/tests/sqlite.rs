//! The service over the adapters of the embedded form: what it has done survives its death, and
//! what happened meanwhile is made up for.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cqrs_es::Aggregate;
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_analytics::{Analytics, SqliteAnalytics};
use verbatim_bus::in_process::InProcess;
use verbatim_bus::{Bus, Taken};
use verbatim_domain::conversation::{Author, PersonalMessage, SendMessage};
use verbatim_domain::erasure::EraseSubject;
use verbatim_domain::{
    Conversation, ConversationCommand, ErasureCommand, ErasureEvent, Erasures, Event, Inbox,
    InboxCommand, KeyId, MessageId, StreamId, UserId,
};
use verbatim_journal::sqlite::SqliteJournal;
use verbatim_journal::{Append, Appended, Journal, Log};
use verbatim_keys::Vault;
use verbatim_keys::memory::MemoryKeys;
use verbatim_projection::{Ports, Projection, Settings};
use verbatim_protocol::client::{Message, Notification};
use verbatim_protocol::{
    Command, CommandKey, Committed, Failure, JournalId, Push, Recorded, Reply,
};
use verbatim_state::State;
use verbatim_state::sqlite::SqliteState;
use verbatim_views::{PageRequest, SqliteViews, Views};

const PATIENCE: Duration = Duration::from_secs(20);

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

/// One life of the service.
struct Life {
    journal: Arc<SqliteJournal>,
    views: Arc<SqliteViews>,
    analytics: Analytics,
    bus: Arc<InProcess>,
    stop: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    handling: JoinHandle<()>,
}

impl Life {
    async fn begin(folder: &Path) -> Self {
        Self::begin_with(folder, MemoryKeys::vault()).await
    }

    async fn begin_with(folder: &Path, keys: Arc<Vault>) -> Self {
        let journal = SqliteJournal::open(&folder.join("journal.sqlite")).await.expect("a journal");
        let id = journal.id();
        let views = SqliteViews::open(&folder.join("views.sqlite"), id).await.expect("views");
        let state = SqliteState::open(&folder.join("state.sqlite"), id).await.expect("a state");
        let analytics = SqliteAnalytics::open(&folder.join("analytics.sqlite"), id).await;
        let analytics = Analytics::new(Arc::new(analytics.expect("analytics")));
        let (journal, views, state) = (Arc::new(journal), Arc::new(views), Arc::new(state));
        let bus = Arc::new(InProcess::default());
        let ports = Ports {
            journal: journal.clone(),
            bus: bus.clone(),
            views: views.clone(),
            state: state.clone(),
            keys,
            sealing: None,
            analytics: analytics.clone(),
        };
        let settings = Settings {
            feed_silence: Duration::from_millis(50),
            presence_settle: Duration::ZERO,
            startup_grace: Duration::from_millis(100),
            departure_grace: Duration::ZERO,
            sample_seconds: u64::MAX,
            ..Settings::default()
        };
        let stop = CancellationToken::new();
        let service = Projection::new(settings, Handle::current(), &mut Registry::default());
        let end = stop.clone();
        let running = tokio::spawn(async move { service.run(ports, end).await });
        let handling = tokio::spawn(handle_commands(journal.clone(), bus.clone()));
        // What was said before its first life has begun is not noted.
        let begun = async {
            while state.checkpoint("offline").await.expect("a state").is_none() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, begun).await.expect("it begins");
        Self { journal, views, analytics, bus, stop, running, handling }
    }

    /// Has ann say something to bob; gives the message's position.
    async fn say(&self, announced: bool) -> u64 {
        let send = ConversationCommand::SendMessage(SendMessage {
            message_id: MessageId(Uuid::now_v7()),
            author: Author { user_id: user("ann"), role: "user".to_owned() },
            target: Some(user("bob")),
            client_message_id: None,
            personal: PersonalMessage::text("Hello!").into(),
        });
        let command = Command::Conversation { id: "c".parse().expect("an id"), command: send };
        let key = CommandKey { issuer: "$test".into(), key: Uuid::now_v7().to_string().into() };
        let bus: Option<&dyn Bus> = if announced { Some(&*self.bus) } else { None };
        handle(&self.journal, bus, &command, key).await.expect("it is committed").position
    }

    async fn notifications(&self, who: &str) -> Vec<Notification> {
        let head = self.journal.head().await.expect("a head");
        self.views.reached(head, PATIENCE).await.expect("the views follow");
        let page = PageRequest { cursor: None, limit: 200 };
        self.views.notifications(&user(who), false, &page).await.expect("a page").data
    }

    async fn until_notified(&self, who: &str, times: usize) {
        let notified = async {
            while self.notifications(who).await.len() < times {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, notified).await.expect("the notifications come");
    }

    /// Ends as a crash would.
    async fn die(self) {
        self.running.abort();
        self.handling.abort();
        self.running.await.ok();
        self.handling.await.ok();
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.expect("no panic").expect("no error");
        self.handling.abort();
    }
}

async fn handle_commands(journal: Arc<SqliteJournal>, bus: Arc<InProcess>) {
    let mut source = bus.commands();
    while let Some(requests) = source.next(64).await {
        for request in requests.into_iter().filter_map(Taken::request) {
            let envelope = request.command;
            let reply = handle(&journal, Some(&*bus), &envelope.command, envelope.key).await;
            (request.reply)(reply);
        }
    }
}

/// Decides and commits a command, one at a time.
async fn handle(
    journal: &SqliteJournal,
    bus: Option<&dyn Bus>,
    command: &Command,
    key: CommandKey,
) -> Reply {
    let stream = command.stream();
    let history =
        journal.read_stream(&stream, 0, 10_000).await.map_err(|error| unavailable(&error))?;
    let past = history.iter().map(|recorded| recorded.event.clone());
    let events = decide(command, past)?;
    let expected = history.last().map_or(0, |recorded| recorded.sequence);
    if events.is_empty() {
        return Ok(Committed { position: 0, duplicate: true, message: None });
    }
    let append = Append { stream, expected, events, key, metadata: "{}".into() };
    let outcomes = journal.append(vec![append]).await.map_err(|error| unavailable(&error))?;
    match &outcomes[0] {
        Appended::Committed(events) => {
            if let Some(bus) = bus {
                bus.publish_events(events.as_slice().into());
            }
            let position = events.last().map_or(0, |recorded| recorded.position);
            Ok(Committed { position, duplicate: false, message: None })
        }
        Appended::Duplicate(recorded) => {
            Ok(Committed { position: recorded.position, duplicate: true, message: None })
        }
        Appended::Conflict | Appended::Fenced => Err(Failure::unavailable("somebody else wrote")),
    }
}

fn unavailable(error: &verbatim_journal::Error) -> Failure {
    Failure::unavailable(error.to_string())
}

fn decide(command: &Command, past: impl Iterator<Item = Event>) -> Result<Vec<Event>, Failure> {
    match command {
        Command::Conversation { command, .. } => {
            let mut conversation = Conversation::default();
            for event in past {
                if let Event::Conversation(event) = event {
                    conversation.apply(event);
                }
            }
            Ok(conversation.decide(command)?.into_iter().map(Event::from).collect())
        }
        Command::Inbox { command, .. } => {
            let mut inbox = Inbox::default();
            for event in past {
                if let Event::Inbox(event) = event {
                    inbox.apply(event);
                }
            }
            assert!(matches!(command, InboxCommand::Notify(_)));
            Ok(inbox.decide(command)?.into_iter().map(Event::from).collect())
        }
        Command::Erasures { command } => {
            Ok(Erasures::default().decide(command).into_iter().map(Event::from).collect())
        }
        Command::Audit { .. } => unreachable!("no reactor audits"),
        Command::Connections { .. } => unreachable!("it is too early for a sample"),
    }
}

/// Every key that the journal says is destroyed, in the order of the erasures.
async fn erased(journal: &SqliteJournal) -> Vec<(UserId, Vec<KeyId>)> {
    let stream = StreamId::erasures();
    let recorded = journal.read_stream(&stream, 0, 1_000).await.expect("the erasures");
    let erasures = recorded.iter().map(|recorded| match &recorded.event {
        Event::Erasures(ErasureEvent::SubjectErased(erased)) => {
            (erased.subject_id.clone(), erased.keys.clone())
        }
        other => panic!("no erasure: {other:?}"),
    });
    erasures.collect()
}

#[tokio::test]
async fn what_was_erased_stays_so_whichever_store_was_restored() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = MemoryKeys::vault();
    let key_of = async |who: &str| {
        keys.in_use(&user(who)).await.expect("a key");
        keys.store().of_subject(&user(who)).await.expect("keys")[0].id
    };
    let [ann, bob, cy] = [key_of("ann").await, key_of("bob").await, key_of("cy").await];
    // The journal knows of ann's erasure, the key store of bob's; nobody of one of cy's.
    let life = Life::begin(folder.path()).await;
    let erase = EraseSubject { subject_id: user("ann"), keys: vec![ann], erased_by: None };
    let command = Command::Erasures { command: ErasureCommand::EraseSubject(erase) };
    let key = CommandKey { issuer: "$test".into(), key: "k".into() };
    handle(&life.journal, None, &command, key).await.expect("it is committed");
    life.end().await;
    keys.store().destroy(&user("bob"), vec![bob]).await.expect("destroyed");

    for _ in 0..2 {
        let life = Life::begin_with(folder.path(), keys.clone()).await;
        let agreed = async {
            while erased(&life.journal).await.len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, agreed).await.expect("bob's erasure is journalled");
        life.end().await;
        let life = Life::begin(folder.path()).await;
        let both = [(user("ann"), vec![ann]), (user("bob"), vec![bob])];
        assert_eq!(erased(&life.journal).await, both, "each once");
        life.end().await;
    }
    let mut destroyed: Vec<_> =
        keys.store().destroyed().await.expect("keys").into_iter().map(|key| key.id).collect();
    destroyed.sort_unstable();
    assert_eq!(destroyed, [ann, bob]);
    assert_eq!(keys.store().of_subject(&user("cy")).await.expect("keys")[0].id, cy);
}

#[tokio::test]
async fn what_the_journal_says_is_erased_is_destroyed_before_anybody_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let keys = MemoryKeys::vault();
    keys.in_use(&user("ann")).await.expect("a key");
    let ann = keys.store().of_subject(&user("ann")).await.expect("keys")[0].id;
    let life = Life::begin(folder.path()).await;
    let erase = EraseSubject { subject_id: user("ann"), keys: vec![ann], erased_by: None };
    let command = Command::Erasures { command: ErasureCommand::EraseSubject(erase) };
    let key = CommandKey { issuer: "$test".into(), key: "k".into() };
    handle(&life.journal, None, &command, key).await.expect("it is committed");
    assert!(keys.store().destroyed().await.expect("keys").is_empty());
    verbatim_projection::destroy_erased(&*life.journal, &keys).await.expect("they agree");
    assert_eq!(keys.store().destroyed().await.expect("keys")[0].id, ann);
    assert!(keys.at_hand(&user("ann")).is_none(), "it is forgotten here, too");
    life.end().await;
}

#[tokio::test]
async fn every_message_is_noted_once_over_several_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut messages = 0;
    for life in 0..4 {
        let now = Life::begin(folder.path()).await;
        now.until_notified("bob", messages).await;
        for n in 0..10 {
            // Some are announced on the feed, some only found in the journal, the last few not
            // even that before the end.
            now.say(n % 3 > 0).await;
            messages += 1;
        }
        if life % 2 == 0 {
            now.until_notified("bob", messages).await;
        }
        now.die().await;
    }
    let last = Life::begin(folder.path()).await;
    last.until_notified("bob", messages).await;
    let after = last.say(true).await;
    last.until_notified("bob", messages + 1).await;
    let noted = last.notifications("bob").await;
    let mut ids: Vec<_> = noted.iter().map(|notification| notification.message_id).collect();
    ids.sort();
    ids.dedup();
    assert_eq!((noted.len(), ids.len()), (messages + 1, messages + 1));
    assert!(last.notifications("ann").await.is_empty());
    assert!(last.views.checkpoint() > after);
    last.end().await;
}

#[tokio::test]
async fn pushed_and_shown_messages_are_alike() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::begin(folder.path()).await;
    let mut frames = life.bus.subscribe_frames();
    let first = timeout(PATIENCE, frames.recv()).await.expect("in time").expect("a frame");
    let position = life.say(true).await;
    let mut pushed = None;
    let mut expected = first.to + 1;
    while pushed.is_none() {
        let frame = timeout(PATIENCE, frames.recv()).await.expect("in time").expect("a frame");
        assert_eq!(frame.from, expected, "frames are contiguous");
        expected = frame.to + 1;
        pushed = frame.pushes.iter().find(|push| push.position() == position).cloned();
    }
    let Some(Push::Message(pushed)) = pushed else { panic!("it is a message") };
    let mut pushed: Message = serde_json::from_str(&pushed.message).expect("it is a message");
    pushed.cursor = None;
    life.views.reached(position, PATIENCE).await.expect("the views follow");
    let shown = life.views.message(pushed.id).await.expect("an answer").expect("it is shown");
    assert_eq!((shown.position, shown.message), (position, pushed));
    life.end().await;
}

/// A log of which the end is missing.
struct Short(Arc<SqliteJournal>);

#[async_trait]
impl Log for Short {
    fn id(&self) -> JournalId {
        self.0.id()
    }

    async fn head(&self) -> Result<u64, verbatim_journal::Error> {
        Ok(self.0.head().await? - 1)
    }

    async fn read_after(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, verbatim_journal::Error> {
        self.0.read_after(after, limit).await
    }

    async fn read_stream(
        &self,
        stream: &StreamId,
        after: u64,
        limit: usize,
    ) -> Result<Vec<Arc<Recorded>>, verbatim_journal::Error> {
        self.0.read_stream(stream, after, limit).await
    }
}

#[tokio::test]
async fn views_that_show_more_than_the_log_holds_are_not_replaced() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::begin(folder.path()).await;
    life.say(true).await;
    life.until_notified("bob", 1).await;
    let before = life.notifications("bob").await;
    let log = Short(Arc::clone(&life.journal));
    let rebuilding = verbatim_projection::rebuild(&log, &*life.views, &life.analytics, |_, _| {});
    let error = timeout(Duration::from_secs(20), rebuilding).await.expect("it ends");
    let error = error.expect_err("the log ends before the views do").to_string();
    assert!(error.contains("more than the journal holds"), "{error}");
    assert_eq!(life.notifications("bob").await, before);
}

#[tokio::test]
async fn rebuilt_views_show_what_the_old_ones_did() {
    let folder = tempfile::tempdir().expect("a folder");
    let life = Life::begin(folder.path()).await;
    for _ in 0..5 {
        life.say(true).await;
    }
    life.until_notified("bob", 5).await;
    let before = life.notifications("bob").await;
    verbatim_projection::rebuild(&*life.journal, &*life.views, &life.analytics, |_, _| {})
        .await
        .expect("it is rebuilt, and exchanged");
    assert_eq!(life.notifications("bob").await, before);
    life.say(true).await;
    life.until_notified("bob", 6).await;
    let stream = StreamId::inbox(&user("bob"));
    let inbox = life.journal.read_stream(&stream, 0, 100).await.expect("events");
    assert_eq!(inbox.len(), 6);
    life.end().await;
}
