//! What a store keeps, and how it gives it back.

use uuid::Uuid;
use verbatim_protocol::JournalId;

use super::{Adapter, JOURNAL};
use crate::store::{At, Key, Value};

fn row(key: &[u8], value: &[u8]) -> (Key, Option<Value>) {
    (key.to_vec(), Some(value.to_vec()))
}

fn keys(rows: Vec<(Key, Value)>) -> Vec<Key> {
    rows.into_iter().map(|(key, _)| key).collect()
}

pub async fn a_commit_stores_all_of_it_or_nothing<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let empty = store.live().await.expect("there are rows");
    let generation = empty.generation;
    assert_eq!(empty.checkpoint, 0);
    let rows = vec![row(b"a", b"1"), row(b"b\0\xff", b""), row(b"c", b"3")];
    assert!(store.commit(empty, 5, rows).await.expect("stored"));
    let stored = store.live().await.expect("there are rows");
    let unknown = At { generation: generation + 1, ..stored };
    for at in [empty, unknown] {
        assert!(!store.commit(at, 9, vec![row(b"a", b"no")]).await.expect("an answer"));
    }
    let others = vec![row(b"a", b"2"), (b"c".to_vec(), None), (b"none".to_vec(), None)];
    assert!(store.commit(stored, 7, others).await.expect("stored"));
    let after = store.live().await.expect("there are rows");
    assert_eq!((after.generation, after.checkpoint), (generation, 7));
    let wanted = [&b"a"[..], b"b\0\xff", b"c", b"none"].map(<[u8]>::to_vec);
    let mut found = store.get(generation, wanted.to_vec()).await.expect("found");
    found.sort();
    assert_eq!(found, [(b"a".to_vec(), b"2".to_vec()), (b"b\0\xff".to_vec(), Vec::new())]);
    assert!(store.commit(after, 7, Vec::new()).await.expect("an answer"));
    assert!(!store.commit(after, 7, Vec::new()).await.expect("an answer"), "it moved on");
    assert_eq!(store.at(generation).await.expect("it is there").checkpoint, 7);
}

pub async fn pages_and_ranges_are_in_the_order_of_the_keys<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let at = store.live().await.expect("there are rows");
    let generation = at.generation;
    let sorted: Vec<Key> =
        [&b"\0"[..], b"a", b"a\0", b"a\0\0", b"a\x7f", b"a\x80", b"a\xff", b"b", b"\xff\xff"]
            .map(<[u8]>::to_vec)
            .to_vec();
    let rows = sorted.iter().rev().map(|key| row(key, b"x")).collect();
    assert!(store.commit(at, 1, rows).await.expect("stored"));
    let page = |low: &'static [u8], high: &'static [u8], limit| {
        let store = store.clone();
        async move { keys(store.page(generation, low, high, limit).await.expect("a page")) }
    };
    assert_eq!(page(b"", b"\xff\xff\xff", 100).await, sorted);
    assert_eq!(page(b"a", b"b", 3).await, sorted[1..4]);
    assert_eq!(page(b"a\0", b"a\xff", 100).await, sorted[2..6]);
    assert!(page(b"c", b"d", 100).await.is_empty());
    let ranges = vec![
        (b"\0".to_vec(), b"a".to_vec()),
        (b"a\0\0".to_vec(), b"a\xff".to_vec()),
        (b"c".to_vec(), b"d".to_vec()),
    ];
    let scanned = store.scan(generation, ranges.clone(), 100, 100).await.expect("scanned");
    assert_eq!(keys(scanned), [&sorted[..1], &sorted[3..6]].concat());
    assert_eq!(
        keys(store.scan(generation, ranges.clone(), 100, 2).await.expect("scanned")),
        [&sorted[..1], &sorted[3..4]].concat()
    );
    let overlapping = [&ranges[..], &[(b"a\0\0".to_vec(), b"b".to_vec())]].concat();
    let mut firsts = keys(store.scan(generation, overlapping, 1, 100).await.expect("scanned"));
    firsts.sort();
    assert_eq!(firsts, [&sorted[..1], &sorted[3..4], &sorted[3..4]].concat());
}

pub async fn rows_are_still_there_after_a_restart<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let at = store.live().await.expect("there are rows");
    assert!(store.commit(at, 5, vec![row(b"a", b"1")]).await.expect("stored"));
    drop(store);
    let store = adapter.open(JOURNAL).await;
    assert_eq!(
        store.live().await.expect("there are rows"),
        At { revision: 1, checkpoint: 5, ..at }
    );
    assert_eq!(store.get(at.generation, vec![b"a".to_vec()]).await.expect("found").len(), 1);
}

pub async fn rows_of_another_journal_start_anew<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let at = store.live().await.expect("there are rows");
    assert!(store.commit(at, 5, vec![row(b"a", b"1")]).await.expect("stored"));
    drop(store);
    let other = adapter.open(JournalId(Uuid::from_u128(0xbad))).await;
    let At { generation, checkpoint, .. } = other.live().await.expect("there are rows");
    assert_eq!(checkpoint, 0);
    assert!(other.get(generation, vec![b"a".to_vec()]).await.expect("an answer").is_empty());
}
