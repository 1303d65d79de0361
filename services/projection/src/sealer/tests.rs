use std::path::Path;

use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use uuid::Uuid;
use verbatim_domain::conversation::MemberJoined;
use verbatim_domain::{ConversationEvent, StreamId};
use verbatim_journal::{Append, Appended, Journal, Log, SqliteJournal};
use verbatim_protocol::CommandKey;
use verbatim_seal::{Evidence, SqliteSeal, Verdict, verify};

use super::*;
use crate::metrics::Metrics;

const PATIENCE: Duration = Duration::from_secs(20);

/// A journal and a seal in a folder.
pub(crate) struct Place {
    pub folder: TempDir,
    pub journal: Arc<SqliteJournal>,
    pub sealing: Sealing,
    pub metrics: SealMetrics,
}

impl Place {
    pub async fn new(every_events: u64, every: Duration) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).await;
        let journal = Arc::new(journal.expect("a journal"));
        let pem = Signer::generate().expect("a key");
        let sealing = Sealing {
            rows: journal.clone(),
            store: seal(folder.path()).await,
            signer: Arc::new(Signer::from_pem("log", &pem).expect("a key")),
            old_keys: Vec::new(),
            settings: SealSettings { every_events, every, checkpoints_to: None },
        };
        let metrics = Metrics::register(&mut Registry::default()).seal;
        Self { folder, journal, sealing, metrics }
    }

    pub async fn append(&self, events: u64) -> u64 {
        let stream = StreamId::conversation(&"c".parse().expect("an id"));
        let expected = self.journal.head().await.expect("a head");
        let member_id = "ann".parse().expect("an id");
        let event = ConversationEvent::MemberJoined(MemberJoined { member_id });
        let append = Append {
            stream,
            expected,
            events: vec![event.into(); events as usize],
            key: CommandKey { issuer: "$test".into(), key: Uuid::now_v7().to_string().into() },
            metadata: "{}".into(),
        };
        let outcomes = self.journal.append(vec![append]).await.expect("an outcome");
        assert!(matches!(outcomes[0], Appended::Committed(_)));
        expected + events
    }

    pub fn start(&self) -> (CancellationToken, JoinHandle<()>) {
        let stop = CancellationToken::new();
        let running = run(self.sealing.clone(), self.metrics.clone(), stop.clone());
        (stop, tokio::spawn(running))
    }

    pub async fn sealed(&self) -> u64 {
        let latest = self.sealing.store.latest(self.journal.id()).await.expect("an answer");
        latest.map_or(0, |latest| latest.size)
    }

    pub async fn until_sealed(&self, size: u64) {
        let sealed = async {
            while self.sealed().await < size {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, sealed).await.expect("it is sealed");
    }

    async fn checkpoints(&self) -> u64 {
        let latest = self.sealing.store.latest(self.journal.id()).await.expect("an answer");
        latest.map_or(0, |latest| latest.number)
    }
}

async fn seal(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteSeal::open(&folder.join("seal.sqlite")).await.expect("a seal"))
}

const NEVER: Duration = Duration::from_hours(1);

#[tokio::test]
async fn a_checkpoint_is_signed_after_so_many_events() {
    let place = Place::new(10, NEVER).await;
    let (stop, running) = place.start();
    place.append(10).await;
    place.until_sealed(10).await;
    place.append(9).await;
    sleep(LOOK * 2).await;
    assert_eq!(place.sealed().await, 10);
    assert_eq!(place.metrics.lag_events.get(), 9);
    place.append(1).await;
    place.until_sealed(20).await;
    stop.cancel();
    running.await.expect("no panic");
    assert_eq!((place.checkpoints().await, place.metrics.checkpoints.get()), (2, 2));
}

#[tokio::test]
async fn a_checkpoint_is_signed_after_so_much_time_if_there_is_something_to_sign() {
    let place = Place::new(1_000_000, Duration::from_millis(20)).await;
    let (_stop, _running) = place.start();
    for events in [1, 3] {
        let head = place.append(events).await;
        place.until_sealed(head).await;
    }
    sleep(Duration::from_millis(100)).await;
    assert_eq!(place.checkpoints().await, 2);
}

#[tokio::test]
async fn what_was_there_before_is_sealed_and_many_events_share_a_checkpoint() {
    let place = Place::new(1, NEVER).await;
    let head = place.append(4_500).await;
    let (_stop, _running) = place.start();
    place.until_sealed(head).await;
    assert_eq!(place.checkpoints().await, 3);
}

#[tokio::test]
async fn whenever_it_is_ended_it_goes_on() {
    let place = Place::new(7, Duration::from_millis(1)).await;
    let mut head = 0;
    for life in 0..40 {
        let (_, running) = place.start();
        head = place.append(50).await;
        sleep(Duration::from_millis(life % 7)).await;
        running.abort();
        let _ = running.await;
    }
    let (_stop, _running) = place.start();
    place.until_sealed(head).await;
    let Sealing { rows, store, .. } = &place.sealing;
    let evidence = Evidence { store: Some(&**store), verifiers: Vec::new(), outside: Vec::new() };
    let verdict = verify(&**rows, evidence, |_, _| {}).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Sound(_)), "{verdict:?}");
}

#[tokio::test]
async fn an_altered_log_is_an_alarm_that_stops_sealing_and_nothing_else() {
    let place = Place::new(1, NEVER).await;
    let (stop, running) = place.start();
    place.append(5).await;
    place.until_sealed(5).await;
    let connection = rusqlite::Connection::open(place.folder.path().join("journal.sqlite"));
    let connection = connection.expect("the file");
    connection.execute_batch("drop trigger events_are_never_removed").expect("it is gone");
    place.append(3).await;
    place.until_sealed(8).await;
    stop.cancel();
    running.await.expect("no panic");
    connection.execute_batch("delete from events where position = 8").expect("it is gone");
    let (stop, running) = place.start();
    let halted = async {
        while place.metrics.halted.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, halted).await.expect("the alarm is seen");
    assert!(!running.is_finished(), "it does not end the service");
    assert_eq!(place.sealed().await, 8, "nothing more is signed");
    stop.cancel();
    running.await.expect("no panic");
}

/// Empties the seal, as whoever can write to it may.
fn empty(place: &Place) {
    let connection = rusqlite::Connection::open(place.folder.path().join("seal.sqlite"));
    let sql = "drop trigger checkpoints_are_never_removed;
               delete from checkpoints; delete from tiles; delete from verifiers";
    connection.expect("the file").execute_batch(sql).expect("it is empty");
}

async fn until_halted(place: &Place) {
    let halted = async {
        while place.metrics.halted.get() == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, halted).await.expect("the alarm is seen");
    assert_eq!(place.sealed().await, 0, "nothing is signed anew");
}

#[tokio::test]
async fn a_seal_that_was_emptied_while_it_seals_is_an_alarm() {
    let place = Place::new(1, NEVER).await;
    let (_stop, _running) = place.start();
    let head = place.append(5).await;
    place.until_sealed(head).await;
    // The log is emptied of nothing, so it alone would be sealed anew without a word.
    empty(&place);
    place.append(1).await;
    until_halted(&place).await;
}

#[tokio::test]
async fn a_seal_that_was_emptied_between_two_lives_is_an_alarm_where_a_file_tells_of_it() {
    let mut place = Place::new(1, NEVER).await;
    let path = place.folder.path().join("checkpoints");
    let (stop, running) = place.start();
    let head = place.append(5).await;
    place.until_sealed(head).await;
    stop.cancel();
    running.await.expect("no panic");
    let latest = place.sealing.store.latest(place.journal.id()).await.expect("an answer");
    std::fs::write(&path, latest.expect("a checkpoint").note + "\nlog\n6\nAA").expect("written");
    place.sealing.settings.checkpoints_to = Some(Destination::File(path));
    empty(&place);
    let (_stop, _running) = place.start();
    until_halted(&place).await;
}
