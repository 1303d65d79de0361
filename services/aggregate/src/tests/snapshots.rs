//! Cold loads, with and without a snapshot.

use std::sync::atomic::Ordering;

use verbatim_journal::Snapshot;

use super::memory::Mishap;
use super::*;

async fn grow(service: &Service, messages: usize) {
    service.start_conversation("ann", "bob", "c").await;
    all((0..messages).map(|n| service.say("ann", "c", &n.to_string())).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn a_cold_load_starts_from_the_snapshot() {
    let service = Service::new();
    grow(&service, 1_200).await;
    let journal = service.stop().await;
    let snapshot = journal.snapshot(&conversation("c")).expect("it has grown by 500, twice");
    assert!(snapshot.sequence >= 1_000, "{}", snapshot.sequence);

    let service = Service::start(journal, Settings::default());
    let before = service.journal.events_read.load(Ordering::Relaxed);
    assert_eq!(sequence(soon(service.say("bob", "c", "x")).await), 1_202);
    let read = service.journal.events_read.load(Ordering::Relaxed) - before;
    assert_eq!(read, 1_204 - snapshot.sequence, "what the snapshot lacks, and no more");
}

#[tokio::test]
async fn a_long_history_loaded_without_a_snapshot_gets_one() {
    let settings = Settings { snapshot_every: u64::MAX, load_page: 100, ..Settings::default() };
    let service = Service::with(settings);
    grow(&service, 700).await;
    let journal = service.stop().await;
    assert_eq!(journal.snapshot(&conversation("c")), None);

    let service = Service::start(journal, Settings { load_page: 100, ..Settings::default() });
    assert_eq!(sequence(soon(service.say("bob", "c", "x")).await), 702);
    let journal = service.stop().await;
    let snapshot = journal.snapshot(&conversation("c")).expect("a snapshot");
    assert_eq!(snapshot.sequence, 704);
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_is_ignored() {
    let service = Service::new();
    grow(&service, 600).await;
    let journal = service.stop().await;
    for state in ["", "{}x", r#"{"messages":"many"}"#] {
        let stream = conversation("c");
        let broken = Snapshot { stream, sequence: 500, state: state.into() };
        journal.save_snapshots(vec![broken]).await.expect("it is saved");
        let service = Service::start(Arc::clone(&journal), Settings::default());
        let length = said(&*journal, "c").await.len() as u64;
        assert_eq!(sequence(soon(service.say("bob", "c", "x")).await), length + 1);
        service.stop().await;
    }
}

#[tokio::test]
async fn what_must_be_loaded_alone_is_answered_like_what_is_loaded_with_others() {
    let service = Service::with(Settings { snapshot_every: u64::MAX, ..Settings::default() });
    grow(&service, 250).await;
    for id in ["broken", "short", "other"] {
        service.start_conversation("ann", "bob", id).await;
    }
    let journal = service.stop().await;
    let broken = Snapshot { stream: conversation("broken"), sequence: 3, state: "{}x".into() };
    journal.save_snapshots(vec![broken]).await.expect("it is saved");
    let service = Service::start(journal, Settings { load_page: 100, ..Settings::default() });
    let replies = ["short", "c", "broken", "other"].map(|id| service.say("bob", id, "x"));
    assert!(all(replies).await.into_iter().map(sequence).eq([2, 252, 2, 2]));
}

#[tokio::test]
async fn no_snapshot_is_ahead_of_the_journal() {
    // One with every command; the journal in memory checks each.
    let service = Service::with(Settings { snapshot_every: 1, ..Settings::default() });
    service.start_conversation("ann", "bob", "c").await;
    for mishap in [Mishap::Fail, Mishap::Conflict, Mishap::LoseTheAnswer, Mishap::Fail] {
        service.journal.next_append(mishap);
        let replies: Vec<_> = (0..30).map(|n| service.say("ann", "c", &n.to_string())).collect();
        all(replies).await;
        let key = format!("{mishap:?}");
        let repeated = (0..3).map(|_| service.give(named("bob", "c", "again", &key)));
        all(repeated.collect::<Vec<_>>()).await;
    }
    let journal = service.stop().await;
    let events = stream(&*journal, "c").await.len() as u64;
    let snapshot = journal.snapshot(&conversation("c")).expect("a snapshot");
    assert_eq!(snapshot.sequence, events);
}
