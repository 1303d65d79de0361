//! What every adapter of the seal's store must show.
//!
//! An adapter says in a [`Place`] how its store is made and opened, and calls
//! [`conformance_tests!`](crate::conformance_tests) with it, which makes a test of each behaviour.

use std::future::Future;

use verbatim_proof::{Tile, TileId};
use verbatim_protocol::{JournalId, Timestamp};

use crate::{Error, NewCheckpoint, Signed, Store};

/// Where one store lives, and nothing else does.
pub trait Place: Sized + Send + Sync + 'static {
    type Store: Store;

    /// A place with no store yet.
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens the store, or makes it.
    fn open(&self) -> impl Future<Output = Self::Store> + Send;
}

/// Makes a test of each behaviour, for the given [`Place`](crate::conformance::Place).
#[macro_export]
macro_rules! conformance_tests {
    ($place:ty) => {
        $crate::conformance_tests! { $place:
            a_log_has_no_checkpoint_before_its_first
            checkpoints_are_found_by_log_number_and_size
            a_checkpoint_that_is_not_the_next_changes_nothing
            tiles_are_replaced_with_their_checkpoint
            checkpoints_of_all_logs_are_listed_newest_first
            what_was_added_survives
            each_destination_has_a_place_of_its_own
        }
    };
    ($place:ty: $($behaviour:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            $crate::conformance::$behaviour::<$place>().await;
        })+
    };
}

pub(crate) fn log(number: u128) -> JournalId {
    serde_json::from_value(serde_json::json!(format!("00000000-0000-0000-0000-{number:012x}")))
        .expect("an id")
}

fn tile(level: u32, index: u64, fill: u8) -> Tile {
    Tile { id: TileId { level, index }, hashes: vec![fill; 64] }
}

pub(crate) fn checkpoint(number: u64, size: u64) -> NewCheckpoint {
    NewCheckpoint {
        number,
        size,
        signed_at: Timestamp(1_000 + number as i64),
        note: format!("note {number}\n\n— ü\n"),
        verifier: format!("key {}", number / 3),
        tiles: vec![tile(0, size, number as u8), tile(1, 0, number as u8)],
    }
}

fn sizes(checkpoints: &[Signed]) -> Vec<u64> {
    checkpoints.iter().map(|checkpoint| checkpoint.size).collect()
}

pub async fn a_log_has_no_checkpoint_before_its_first<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let log = log(1);
    assert_eq!(store.latest(log).await.expect("an answer"), None);
    assert_eq!(store.of_size(log, 0).await.expect("an answer"), None);
    assert!(store.after(log, 0, 10).await.expect("a page").is_empty());
    assert!(store.before(u64::MAX, 10).await.expect("a page").is_empty());
    assert!(store.verifiers(log).await.expect("keys").is_empty());
    let none = store.tiles(log, &[TileId { level: 0, index: 0 }]).await.expect("an answer");
    assert!(none.is_empty());
}

pub async fn checkpoints_are_found_by_log_number_and_size<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    for number in 1..=5 {
        store.add(log(1), checkpoint(number, number * 10)).await.expect("added");
    }
    store.add(log(2), checkpoint(1, 7)).await.expect("added");
    let latest = store.latest(log(1)).await.expect("an answer").expect("a checkpoint");
    let expected = checkpoint(5, 50);
    assert_eq!((latest.log, latest.number, latest.size), (log(1), 5, 50));
    assert_eq!((latest.signed_at, latest.note), (expected.signed_at, expected.note));
    let third = store.of_size(log(1), 30).await.expect("an answer").expect("a checkpoint");
    assert_eq!((third.number, third.size), (3, 30));
    for size in [7, 31, 0, u64::MAX] {
        assert_eq!(store.of_size(log(1), size).await.expect("an answer"), None);
    }
    assert_eq!(sizes(&store.after(log(1), 1, 3).await.expect("a page")), [20, 30, 40]);
    assert_eq!(sizes(&store.after(log(1), 4, 3).await.expect("a page")), [50]);
    assert!(store.after(log(1), u64::MAX, 3).await.expect("a page").is_empty());
    assert_eq!(store.verifiers(log(1)).await.expect("keys"), ["key 0", "key 1"]);
    assert_eq!(store.verifiers(log(2)).await.expect("keys"), ["key 0"]);
}

pub async fn a_checkpoint_that_is_not_the_next_changes_nothing<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    assert!(matches!(store.add(log(1), checkpoint(2, 5)).await, Err(Error::Moved)));
    store.add(log(1), checkpoint(1, 5)).await.expect("added");
    for (number, size) in [(1, 6), (3, 6), (0, 6), (2, 5), (2, 4)] {
        let refused = store.add(log(1), checkpoint(number, size)).await;
        assert!(matches!(refused, Err(Error::Moved)), "{number} of {size}: {refused:?}");
    }
    let id = TileId { level: 1, index: 0 };
    let tiles = store.tiles(log(1), &[id, TileId { level: 0, index: 6 }]).await;
    assert_eq!(tiles.expect("tiles"), [tile(1, 0, 1)]);
    assert_eq!(sizes(&store.after(log(1), 0, 9).await.expect("a page")), [5]);
}

pub async fn tiles_are_replaced_with_their_checkpoint<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    store.add(log(1), checkpoint(1, 3)).await.expect("added");
    store.add(log(1), checkpoint(2, 9)).await.expect("added");
    store.add(log(2), checkpoint(1, 3)).await.expect("added");
    let ids = [(1, 0), (0, 9), (7, 7), (0, 3)].map(|(level, index)| TileId { level, index });
    let tiles = store.tiles(log(1), &ids).await.expect("tiles");
    assert_eq!(tiles, [tile(1, 0, 2), tile(0, 9, 2), tile(0, 3, 1)]);
    assert!(store.tiles(log(1), &[]).await.expect("tiles").is_empty());
}

pub async fn checkpoints_of_all_logs_are_listed_newest_first<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    for number in 1..=3 {
        store.add(log(1), checkpoint(number, number)).await.expect("added");
        store.add(log(2), checkpoint(number, number * 10)).await.expect("added");
    }
    let first = store.before(u64::MAX, 4).await.expect("a page");
    assert_eq!(sizes(&first), [30, 3, 20, 2]);
    let second = store.before(first[3].id, 4).await.expect("a page");
    assert_eq!(sizes(&second), [10, 1]);
    assert!(store.before(second[1].id, 4).await.expect("a page").is_empty());
}

pub async fn what_was_added_survives<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    store.add(log(1), checkpoint(1, 3)).await.expect("added");
    let latest = store.latest(log(1)).await.expect("an answer");
    drop(store);
    let store = place.open().await;
    assert_eq!(store.latest(log(1)).await.expect("an answer"), latest);
    store.add(log(1), checkpoint(2, 4)).await.expect("added");
}

pub async fn each_destination_has_a_place_of_its_own<P: Place>() {
    let place = P::new().await;
    let store = place.open().await;
    let taken = async |number, destination| {
        store.published(log(number), destination).await.expect("an answer")
    };
    assert_eq!(taken(1, "a").await, None);
    store.set_published(log(1), "a", 3).await.expect("noted");
    store.set_published(log(1), "b", 5).await.expect("noted");
    store.set_published(log(1), "a", 4).await.expect("noted");
    assert_eq!(
        (taken(1, "a").await, taken(1, "b").await, taken(2, "a").await),
        (Some(4), Some(5), None)
    );
}
