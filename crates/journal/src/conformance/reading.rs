use std::sync::Arc;

use tokio::task::JoinSet;
use verbatim_domain::StreamId;
use verbatim_protocol::{Envelope, Original};

use super::{
    Place, append_one, committed, conversation, duplicate, key, message, messages, positions,
    read_all, sequences,
};
use crate::{Import, Journal, Latest, Log, Rows, Snapshot};

pub async fn a_reader_of_a_growing_journal_sees_no_hole<P: Place>() {
    const CALLERS: u64 = 4;
    const APPENDS: u64 = 50;
    const EVENTS: u64 = CALLERS * APPENDS * 3;
    let place = P::new().await;
    let journal = Arc::new(place.open().await);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let journal = Arc::clone(&journal);
        callers.spawn(async move {
            let stream = conversation(&format!("c{caller}"));
            for n in 0..APPENDS {
                let append = messages(&stream, n * 3, &format!("{caller}/{n}"), 3);
                committed(append_one(&*journal, append).await);
            }
        });
    }
    let mut position = 0;
    while position < EVENTS {
        while let Some(done) = callers.try_join_next() {
            done.expect("the caller was answered");
        }
        let head = journal.head().await.expect("a head");
        let page = journal.read_after(position, 7).await.expect("a page");
        let expected: Vec<_> = (position + 1..=position + page.len() as u64).collect();
        assert_eq!(positions(&page), expected);
        position += page.len() as u64;
        assert!(page.len() == 7 || position >= head, "stopped at {position}, before {head}");
        tokio::task::yield_now().await;
    }
    callers.join_all().await;
}

pub async fn a_copy_has_the_version_and_the_bytes_that_were_stored<P: Place>() {
    let (one, other) = (P::new().await, P::new().await);
    let journal = one.open().await;
    let events = committed(append_one(&journal, messages(&conversation("a"), 0, "1", 3)).await);
    let mut stored: Vec<_> = events.iter().map(|event| (**event).clone()).collect();
    // What its type would write in the first version, in the second, its fields in another order.
    let payload = stored[1].payload().expect("it is written");
    let (first, rest) = payload.split_once(',').expect("it has fields");
    let payload = format!("{{{},{}}}", &rest[..rest.len() - 1], &first[1..]);
    let original = Original { version: "2".into(), payload: payload.as_str().into() };
    stored[1].original = Some(Arc::new(original));
    let stored: Vec<_> = stored.into_iter().map(Arc::new).collect();
    let copy = other.open().await;
    copy.import(stored.clone()).await.expect("it is stored");
    let read = read_all(&copy).await;
    assert_eq!(read, stored);
    assert_eq!(
        (read[1].event_version(), &*read[1].payload().expect("it is there")),
        ("2", &*payload)
    );
    assert_eq!(read[0].original, None);

    let envelope = Envelope::of(&read[1]).expect("it is written");
    let json = serde_json::to_string(&envelope).expect("it is JSON");
    assert!(json.contains(&payload), "{json}");
    let envelope: Envelope<'_> = serde_json::from_str(&json).expect("it is one");
    assert_eq!(envelope.read().expect("it is an event"), *read[1]);
}

pub async fn pages_follow_on_each_other<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    committed(append_one(&journal, messages(&conversation("a"), 0, "1", 10)).await);
    let mut read = Vec::new();
    for (after, expected) in [(0, 4), (4, 4), (8, 2), (10, 0), (11, 0), (u64::MAX, 0)] {
        let page = journal.read_after(after, 4).await.expect("a page");
        assert_eq!(page.len(), expected, "after {after}");
        read.extend(page);
    }
    assert_eq!(positions(&read), (1..=10).collect::<Vec<_>>());
    assert!(journal.read_after(0, 0).await.expect("a page").is_empty());
    assert_eq!(journal.read_after(0, usize::MAX).await.expect("a page"), read);
}

pub async fn rows_are_what_was_appended_byte_for_byte<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let odd = "🦀 ü";
    let mut events = committed(append_one(&journal, messages(&conversation("a"), 0, odd, 3)).await);
    events.extend(committed(append_one(&journal, message(&conversation("b"), 0, "2")).await));
    for (after, limit, expected) in [(i64::MIN, 9, 0..4), (0, 2, 0..2), (2, 9, 2..4), (4, 9, 4..4)]
    {
        let rows = journal.rows_after(after, limit).await.expect("a page");
        assert_eq!(rows.len(), expected.len(), "after {after}");
        for (row, event) in rows.into_iter().zip(&events[expected]) {
            assert_eq!(row.position, event.position as i64);
            let stored = row.stored.expect("it can be read");
            assert_eq!(stored.aggregate_type, event.stream.aggregate_type.as_str());
            assert_eq!(*stored.aggregate_id, *event.stream.aggregate_id);
            assert_eq!(
                (stored.sequence, stored.recorded_at),
                (event.sequence as i64, event.recorded_at.0)
            );
            assert_eq!(stored.event_type, event.event.event_type());
            assert_eq!(stored.event_version, event.event.event_version());
            assert_eq!(stored.payload, event.event.payload().expect("JSON"));
            assert_eq!(*stored.metadata, *event.metadata);
            let command = event.command.as_ref();
            assert_eq!(stored.issuer.as_deref(), command.map(|command| &*command.issuer));
            assert_eq!(stored.key.as_deref(), command.map(|command| &*command.key));
        }
    }
}

pub async fn a_stream_is_read_after_a_sequence<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let (a, b) = (conversation("a"), conversation("b"));
    committed(append_one(&journal, messages(&a, 0, "1", 4)).await);
    committed(append_one(&journal, messages(&b, 0, "2", 4)).await);
    committed(append_one(&journal, messages(&a, 4, "3", 4)).await);
    for (after, limit, expected) in [(0, 3, 3), (3, 3, 3), (6, 3, 2), (8, 3, 0), (0, 100, 8)] {
        let page = journal.read_stream(&a, after, limit).await.expect("a page");
        assert_eq!(sequences(&page), (after + 1..=after + expected).collect::<Vec<_>>());
        assert!(page.iter().all(|event| event.stream == a));
    }
    assert!(journal.read_stream(&a, u64::MAX, 3).await.expect("a page").is_empty());
    // An inbox may have a conversation's name.
    let inbox = StreamId::inbox(&"a".parse().expect("an id"));
    assert!(journal.read_stream(&inbox, 0, 10).await.expect("a page").is_empty());
}

pub async fn a_command_is_found_by_its_key<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let events = committed(append_one(&journal, messages(&stream, 0, "three", 3)).await);
    committed(append_one(&journal, message(&stream, 3, "one")).await);
    let found = journal.find_by_key(&key("three")).await.expect("an answer");
    assert_eq!(found.as_ref(), events.last());
    let mut foreign = key("three");
    foreign.issuer = "user_2".into();
    for unknown in [key("four"), foreign] {
        assert_eq!(journal.find_by_key(&unknown).await.expect("an answer"), None);
    }
}

pub async fn a_journal_is_the_same_when_opened_again<P: Place>() {
    let place = P::new().await;
    let stream = conversation("a");
    let journal = Arc::new(place.open().await);
    let id = journal.id();
    let original = committed(append_one(&*journal, messages(&stream, 0, "once", 3)).await);
    place.close(journal).await;

    let journal = Arc::new(place.open().await);
    assert_eq!(journal.id(), id);
    assert_eq!(journal.head().await.expect("a head"), 3);
    assert_eq!(read_all(&*journal).await, original);
    let again = append_one(&*journal, messages(&stream, 0, "once", 3)).await;
    assert_eq!(duplicate(again), original[2]);
    let next = committed(append_one(&*journal, message(&stream, 3, "next")).await);
    assert_eq!((next[0].position, next[0].sequence), (4, 4));
    assert!(next[0].recorded_at >= original[2].recorded_at);
    place.close(journal).await;

    let other = P::new().await;
    assert_ne!(other.open().await.id(), id);
}

pub async fn a_newer_snapshot_replaces_an_older_one<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let snapshot = |name: &str, sequence: u64| Snapshot {
        stream: conversation(name),
        sequence,
        state: format!("{{\"messages\":{sequence},\"note\":\"🦀\"}}"),
    };
    let stored = async || {
        let streams = [conversation("b"), conversation("none"), conversation("a")];
        let loaded = journal.load(&streams, 10).await.expect("an answer");
        loaded.into_iter().map(|latest| latest.snapshot).collect::<Vec<_>>()
    };
    assert_eq!(stored().await, [None, None, None]);
    let first = vec![snapshot("a", 5), snapshot("b", 1)];
    journal.save_snapshots(first).await.expect("saved");
    journal.save_snapshots(vec![snapshot("a", 9)]).await.expect("saved");
    journal.save_snapshots(vec![snapshot("a", 7)]).await.expect("saved");
    // Of several in one call, the newest.
    let same = vec![snapshot("b", 2), snapshot("b", 4), snapshot("b", 3)];
    journal.save_snapshots(same).await.expect("saved");
    assert_eq!(stored().await, [Some(snapshot("b", 4)), None, Some(snapshot("a", 9))]);
}

pub async fn aggregates_are_loaded_from_their_snapshots_on<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let (a, b, c) = (conversation("a"), conversation("b"), conversation("c"));
    let of_a = committed(append_one(&journal, messages(&a, 0, "a", 5)).await);
    let of_b = committed(append_one(&journal, messages(&b, 0, "b", 3)).await);
    let snapshot = Snapshot { stream: a.clone(), sequence: 2, state: "{}".into() };
    journal.save_snapshots(vec![snapshot.clone()]).await.expect("saved");
    let loaded = journal.load(&[c, b.clone(), a.clone(), b], 2).await.expect("loaded");
    let of_b = Latest { snapshot: None, events: of_b[..2].to_vec() };
    let of_a = Latest { snapshot: Some(snapshot), events: of_a[2..4].to_vec() };
    assert_eq!(loaded, [Latest::default(), of_b.clone(), of_a, of_b]);
    let beyond = Snapshot { stream: a.clone(), sequence: 5, state: "{}".into() };
    journal.save_snapshots(vec![beyond.clone()]).await.expect("saved");
    let loaded = journal.load(&[a], 2).await.expect("loaded");
    assert_eq!(loaded, [Latest { snapshot: Some(beyond), events: Vec::new() }]);
    assert_eq!(journal.load(&[], 2).await.expect("nothing"), []);
}
