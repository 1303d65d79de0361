//! Who owns which lane.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use uuid::Uuid;
use verbatim_postgres::testing::TestDatabase;

use super::{LONG, PostgresJournal, claims, first_in, open_without_owner, progress, renewed, run};
use crate::conformance::Place;
use crate::{Claim, Error, Journal, Lanes};

/// Has workers renew, and give up their surplus, until nothing changes; how many lanes each has.
async fn settled(journal: &PostgresJournal, workers: &[u128]) -> Vec<usize> {
    let mut before = BTreeMap::new();
    for _ in 0..10 {
        let mut now = BTreeMap::new();
        for worker in workers {
            let had = journal.renew(Uuid::from_u128(*worker), LONG).await.expect("an answer");
            let kept = had.owned.len() - had.surplus;
            journal.release(&claims(&had.owned[kept..])).await.expect("it is given up");
            for owned in &had.owned[..kept] {
                assert_eq!(now.insert(owned.claim.lane, *worker), None, "a lane with two owners");
            }
        }
        if now == before {
            return workers
                .iter()
                .map(|worker| now.values().filter(|owner| *owner == worker).count())
                .collect();
        }
        before = now;
    }
    panic!("lanes still move after ten rounds");
}

#[tokio::test]
async fn lanes_are_spread_evenly_over_workers_that_come_and_go() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    assert_eq!(settled(&journal, &[1]).await, [64]);
    assert_eq!(settled(&journal, &[1, 2]).await, [32, 32]);
    let mut three = settled(&journal, &[1, 2, 3]).await;
    three.sort_unstable();
    assert_eq!(three, [20, 22, 22]);
    // One leaves as it should; nobody waits for its lease to run out.
    let leaving = claims(&renewed(&journal, 2, LONG).await);
    journal.release(&leaving).await.expect("they are given up");
    assert_eq!(settled(&journal, &[1, 3]).await, [32, 32]);
    // One dies.
    for table in ["lanes where owner =", "workers where worker ="] {
        let (table, of) = table.split_once(' ').expect("two parts");
        let dead = Uuid::from_u128(1);
        let sql =
            format!("update journal.{table} set expires_at = clock_timestamp() {of} '{dead}'");
        run(&place, &sql).await.expect("its lease is past");
    }
    assert_eq!(settled(&journal, &[3]).await, [64]);
    // More than there are lanes, too.
    let crowd: Vec<_> = (1..=70).collect();
    let spread = settled(&journal, &crowd).await;
    assert_eq!((spread.iter().sum::<usize>(), spread.iter().max()), (64, Some(&1)));
}

#[tokio::test]
async fn an_expired_lease_is_taken_over_with_a_higher_epoch_and_a_living_one_is_not() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    let before = claims(&renewed(&journal, 1, Duration::from_millis(50)).await);
    assert_eq!(before.len(), 64);
    super::until(
        &place,
        "select count(*) from journal.lanes where expires_at > clock_timestamp()",
        0,
    )
    .await;
    // Nobody has taken them: the worker still may, and its claims are as they were.
    assert_eq!(claims(&renewed(&journal, 1, LONG).await), before);
    assert!(renewed(&journal, 2, LONG).await.is_empty());
    assert_eq!(claims(&renewed(&journal, 1, Duration::ZERO).await), before);
    let after = claims(&renewed(&journal, 2, LONG).await);
    assert_eq!(after.len(), 64);
    let raised: Vec<_> =
        before.iter().map(|claim| Claim { epoch: claim.epoch + 1, ..*claim }).collect();
    assert_eq!(after, raised);
    assert!(renewed(&journal, 1, LONG).await.is_empty());
}

#[tokio::test]
async fn a_worker_is_told_when_there_may_be_more_to_take() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    let renew = async |worker, lease| {
        journal.renew(Uuid::from_u128(worker), lease).await.expect("an answer").look_in
    };
    assert_eq!(renew(1, LONG).await, LONG, "all are its own");
    // One that comes waits for what the first is to give up.
    assert_eq!(renew(2, LONG).await, Duration::from_millis(250));
    assert_eq!(settled(&journal, &[1, 2]).await, [32, 32]);
    assert_eq!(settled(&journal, &[1, 2, 3]).await.iter().sum::<usize>(), 64);
    // Who has no less than an even share waits for the first lease to end.
    renew(2, Duration::from_secs(2)).await;
    renew(3, Duration::from_secs(4)).await;
    let first = renew(1, LONG).await;
    assert!((1_000..=2_000).contains(&first.as_millis()), "{first:?}");
}

#[tokio::test]
async fn a_journal_with_lanes_that_nobody_alive_owns_is_not_writable() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    let refused = journal.check_writable().await.expect_err("nobody is there");
    assert!(matches!(refused, Error::Unavailable(_)));
    assert!(refused.to_string().contains("64 lanes"), "{refused}");
    let owned = claims(&renewed(&journal, 1, LONG).await);
    journal.check_writable().await.expect("all have an owner");
    journal.release(&owned[..3]).await.expect("they are given up");
    run(&place, "update journal.lanes set expires_at = clock_timestamp() where lane in (9, 10)")
        .await
        .expect("leases are past");
    let refused = journal.check_writable().await.expect_err("five are nobody's");
    assert!(refused.to_string().contains("5 lanes"), "{refused}");
    let marked = "select count(*) from journal.journal where checked_at is not null";
    assert_eq!(super::count(&place, marked).await, 1, "the mark was committed all the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_that_do_everything_at_once_never_deadlock() {
    const ROUNDS: u64 = 30;
    let place = TestDatabase::new().await;
    open_without_owner(&place).await;
    let mut workers = JoinSet::new();
    for worker in 1..=4 {
        let journal = Arc::new(place_journal(&place).await);
        workers.spawn(async move {
            for round in 1..=ROUNDS {
                let had = journal.renew(Uuid::from_u128(worker), LONG).await.expect("an answer");
                let held = claims(&had.owned);
                let mut lanes: Vec<_> = held.iter().map(|claim| progress(*claim, round)).collect();
                // In no good order.
                lanes.reverse();
                let batch = held.iter().map(|claim| first_in(claim.lane)).collect();
                let raised: Vec<_> = held.iter().rev().step_by(2).copied().collect();
                let released: Vec<_> = held.iter().rev().step_by(3).copied().collect();
                let (appended, raised, released) = tokio::join!(
                    journal.append_in_lanes(batch, lanes),
                    journal.raise(&raised),
                    journal.release(&released),
                );
                appended.expect("outcomes");
                raised.expect("answers");
                released.expect("an answer");
            }
        });
    }
    workers.join_all().await;
    assert_eq!(settled(&place_journal(&place).await, &[1, 2, 3, 4]).await, [16; 4]);
}

async fn place_journal(place: &TestDatabase) -> PostgresJournal {
    PostgresJournal::open(place.connect().await).await.expect("the journal opens")
}
