//! A database that goes away, and calls that are lost on the way.

use std::time::{Duration, Instant};

use uuid::Uuid;
use verbatim_postgres::testing::TestDatabase;

use super::proxy::{Mode, Proxy};
use super::{LONG, PostgresJournal, claims, cursor, first_in, progress, renewed, stream_in};
use crate::conformance::{Place, append_one, committed, duplicate, message, read_all};
use crate::{Appended, Claim, Error, Journal, Lanes, Latest, Log, Snapshot};

/// A journal at the other end of a proxy, by one connection that has appended before, and the claims
/// of its worker.
async fn at_a_distance(place: &TestDatabase) -> (Proxy, PostgresJournal, Vec<Claim>) {
    place.open().await;
    let proxy = Proxy::start(place).await;
    let database = proxy.connect(place, 1).await;
    let journal = PostgresJournal::open(database).await.expect("the journal opens");
    let owned = claims(&renewed(&journal, 0, LONG).await);
    let warm = journal.append_in_lanes(vec![first_in(0)], vec![progress(owned[0], 1)]).await;
    committed(warm.expect("an outcome").remove(0));
    (proxy, journal, owned)
}

#[tokio::test]
async fn a_call_whose_answer_was_lost_is_found_once_epochs_are_raised() {
    let place = TestDatabase::new().await;
    let (proxy, journal, owned) = at_a_distance(&place).await;
    let append = message(&stream_in(3), 0, "lost");
    proxy.set(Mode::LoseAnswer);
    let lanes = vec![progress(owned[3], 7)];
    let lost = journal.append_in_lanes(vec![append.clone()], lanes).await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    proxy.set(Mode::Pass);
    let raised = journal.raise(&owned[3..4]).await.expect("an answer")[0].expect("still its own");
    let found = journal.find_by_key(&append.key).await.expect("an answer").expect("it was done");
    assert_eq!((found.position, &found.stream), (2, &append.stream));
    let owned = renewed(&journal, 0, LONG).await;
    assert_eq!((owned[3].claim, owned[3].cursor), (raised, Some(cursor(7))));
    assert_eq!(duplicate(append_one(&journal, append).await), found);
}

#[tokio::test]
async fn a_call_that_was_lost_on_its_way_cannot_be_committed_once_epochs_are_raised() {
    let place = TestDatabase::new().await;
    let (proxy, journal, owned) = at_a_distance(&place).await;
    let append = message(&stream_in(3), 0, "lost");
    proxy.set(Mode::KeepCall);
    let lanes = vec![progress(owned[3], 7)];
    let lost = journal.append_in_lanes(vec![append.clone()], lanes).await;
    assert!(matches!(lost, Err(Error::Unavailable(_))), "{lost:?}");
    proxy.set(Mode::Pass);
    let raised = journal.raise(&owned[3..4]).await.expect("an answer")[0].expect("still its own");
    assert_eq!(journal.find_by_key(&append.key).await.expect("an answer"), None);
    // Now the server gets it.
    proxy.deliver_kept().await;
    assert_eq!(journal.find_by_key(&append.key).await.expect("an answer"), None);
    assert_eq!(journal.head().await.expect("a head"), 1);
    assert_eq!(renewed(&journal, 0, LONG).await[3].cursor, None);
    let again = journal.append_in_lanes(vec![append], vec![progress(raised, 7)]).await;
    committed(again.expect("an outcome").remove(0));
    assert_eq!(read_all(&journal).await.len(), 2);
}

/// Has something fail, and in time.
async fn fails<T: std::fmt::Debug>(what: impl Future<Output = Result<T, Error>>) {
    let started = Instant::now();
    let failed = what.await;
    assert!(matches!(failed, Err(Error::Unavailable(_))), "{failed:?}");
    let took = started.elapsed();
    assert!(took < Duration::from_secs(5), "{failed:?} after {took:?}");
}

#[tokio::test]
async fn a_database_that_is_away_is_told_within_five_seconds_and_used_again_afterwards() {
    let place = TestDatabase::new().await;
    place.open().await;
    let proxy = Proxy::start(&place).await;
    let journal = PostgresJournal::open(proxy.connect(&place, 4).await).await.expect("it opens");
    let owned = claims(&renewed(&journal, 0, LONG).await);
    let first = committed(append_one(&journal, first_in(0)).await);
    proxy.set(Mode::Freeze);
    let snapshot = Snapshot { stream: stream_in(1), sequence: 1, state: "{}".to_owned() };
    let streams = [stream_in(1)];
    let key = first_in(0).key;
    let late = async {
        // Handed in while the call before it hangs.
        tokio::time::sleep(Duration::from_secs(2)).await;
        fails(journal.append(vec![first_in(2)])).await;
    };
    tokio::join!(
        fails(journal.append(vec![first_in(1)])),
        late,
        fails(journal.head()),
        fails(journal.read_after(0, 10)),
        fails(journal.read_stream(&first[0].stream, 0, 10)),
        fails(journal.find_by_key(&key)),
        fails(journal.load(&streams, 10)),
        fails(journal.save_snapshots(vec![snapshot.clone()])),
        fails(journal.renew(Uuid::nil(), LONG)),
        fails(journal.raise(&owned)),
    );
    fails(journal.check_writable()).await;
    fails(journal.append(vec![first_in(1)])).await;
    proxy.set(Mode::Pass);
    journal.check_writable().await.expect("it is back");
    assert_eq!(journal.read_after(0, 1).await.expect("events"), first);
    // What was under way may have been done meanwhile, but once.
    for lane in 1..3 {
        match append_one(&journal, first_in(lane)).await {
            Appended::Committed(_) | Appended::Duplicate(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(read_all(&journal).await.len(), 3);
    journal.save_snapshots(vec![snapshot.clone()]).await.expect("saved");
    let loaded = journal.load(&streams, 10).await.expect("loaded");
    assert_eq!(loaded, [Latest { snapshot: Some(snapshot), events: Vec::new() }]);
}
