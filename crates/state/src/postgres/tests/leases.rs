//! Who runs a role, and what becomes of those who no longer do.

use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;

use super::{Server, watch};
use crate::conformance::Place;
use crate::{Epoch, Error, Leases, State};

const ROLE: &str = "projection";
const LONG: Duration = Duration::from_mins(1);
const OVER: Duration = Duration::ZERO;

const ANN: Uuid = Uuid::from_u128(1);
const BOB: Uuid = Uuid::from_u128(2);

async fn leases() -> (Server, Leases) {
    let server = Server::new().await;
    let leases = Leases::new(&server.0);
    (server, leases)
}

async fn acquire(leases: &Leases, worker: Uuid, lease: Duration) -> Option<Epoch> {
    leases.acquire(ROLE, worker, lease).await.expect("an answer")
}

#[tokio::test]
async fn a_role_is_one_workers_until_it_is_given_back() {
    let (_server, leases) = leases().await;
    assert_eq!(acquire(&leases, ANN, LONG).await, Some(1));
    assert_eq!(acquire(&leases, BOB, LONG).await, None);
    assert_eq!(leases.acquire("other", BOB, LONG).await.expect("an answer"), Some(1));
    leases.release(ROLE, ANN, 1).await.expect("given back");
    assert_eq!(acquire(&leases, BOB, LONG).await, Some(2));
    assert_eq!(acquire(&leases, ANN, LONG).await, None);
}

#[tokio::test]
async fn of_racing_workers_one_gets_the_role() {
    let (_server, leases) = leases().await;
    for epoch in 1..=5 {
        let mut racers = JoinSet::new();
        for number in 1..=8 {
            let leases = leases.clone();
            let worker = Uuid::from_u128(number);
            racers.spawn(async move {
                let epoch = leases.acquire(ROLE, worker, LONG).await.expect("an answer")?;
                Some((worker, epoch))
            });
        }
        let mut won: Vec<_> = racers.join_all().await.into_iter().flatten().collect();
        let (winner, taken) = won.pop().expect("a winner");
        assert_eq!((taken, won.len()), (epoch, 0));
        leases.release(ROLE, winner, epoch).await.expect("given back");
    }
}

#[tokio::test]
async fn a_lease_that_ran_out_is_taken_over_and_one_that_was_renewed_is_not() {
    let (_server, leases) = leases().await;
    assert_eq!(acquire(&leases, ANN, OVER).await, Some(1));
    assert!(leases.renew(ROLE, ANN, 1, LONG).await.expect("an answer"), "nobody has taken it");
    assert_eq!(acquire(&leases, BOB, LONG).await, None);
    assert!(leases.renew(ROLE, ANN, 1, OVER).await.expect("an answer"));
    assert_eq!(acquire(&leases, BOB, LONG).await, Some(2));
}

#[tokio::test]
async fn a_woken_worker_neither_renews_nor_gives_back_what_was_taken_over() {
    let (_server, leases) = leases().await;
    assert_eq!(acquire(&leases, ANN, OVER).await, Some(1));
    assert_eq!(acquire(&leases, BOB, LONG).await, Some(2));
    assert!(!leases.renew(ROLE, ANN, 1, LONG).await.expect("an answer"));
    leases.release(ROLE, ANN, 1).await.expect("nothing to do");
    assert_eq!(acquire(&leases, ANN, LONG).await, None, "still the other's");
    assert!(leases.renew(ROLE, BOB, 2, LONG).await.expect("an answer"));
}

#[tokio::test]
async fn who_asks_again_for_its_own_role_gets_a_higher_epoch() {
    let (_server, leases) = leases().await;
    assert_eq!(acquire(&leases, ANN, LONG).await, Some(1));
    assert_eq!(acquire(&leases, ANN, LONG).await, Some(2));
    assert!(!leases.renew(ROLE, ANN, 1, LONG).await.expect("an answer"));
}

#[tokio::test]
async fn after_a_takeover_the_former_workers_state_changes_nothing() {
    let (server, leases) = leases().await;
    let first = acquire(&leases, ANN, OVER).await;
    let old = server.fenced(1, first).await.expect("it opens");
    old.save("offline", 5, &[watch("ann", 1)])
        .await
        .expect("its lease ran out, but nobody took it");
    let second = acquire(&leases, BOB, LONG).await;
    let new = server.fenced(1, second).await.expect("it opens");
    for refused in [
        old.save("offline", 6, &[watch("ann", 2), watch("bob", 3)]).await,
        old.next_epoch("push").await.map(drop),
        server.fenced(1, first).await.map(drop),
        server.fenced(2, first).await.map(drop),
    ] {
        assert!(matches!(refused, Err(Error::Fenced(_))), "{refused:?}");
    }
    assert_eq!(new.checkpoint("offline").await.expect("an answer"), Some(5));
    assert_eq!(new.watches("offline").await.expect("watches").len(), 1);
    assert_eq!(new.next_epoch("push").await.expect("an epoch"), 1);
    new.save("offline", 7, &[]).await.expect("saved");
}

/// A save that began before the takeover is done before it, or not at all.
#[tokio::test]
async fn a_takeover_waits_for_the_save_under_way() {
    let (server, leases) = leases().await;
    let epoch = acquire(&leases, ANN, OVER).await.expect("taken");
    let mut saving = server.0.pool().begin().await.expect("a transaction");
    let held: bool = sqlx::query_scalar("select state.holds_fence($1, $2)")
        .bind(ROLE)
        .bind(epoch as i64)
        .fetch_one(&mut *saving)
        .await
        .expect("an answer");
    assert!(held);
    let taking = acquire(&leases, BOB, LONG);
    tokio::pin!(taking);
    assert!(tokio::time::timeout(Duration::from_millis(200), &mut taking).await.is_err());
    saving.commit().await.expect("committed");
    assert_eq!(taking.await, Some(2));
}

#[tokio::test]
async fn another_journal_forgets_checkpoints_but_no_epochs() {
    let (server, leases) = leases().await;
    let epoch = acquire(&leases, ANN, LONG).await;
    let state = server.fenced(1, epoch).await.expect("it opens");
    state.save("offline", 42, &[watch("ann", 7)]).await.expect("saved");
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 1);
    let state = server.fenced(2, epoch).await.expect("it opens");
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), None);
    assert!(state.watches("offline").await.expect("watches").is_empty());
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 2);
    assert!(leases.renew(ROLE, ANN, 1, OVER).await.expect("an answer"));
    assert_eq!(acquire(&leases, BOB, LONG).await, Some(2));
}
