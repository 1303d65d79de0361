//! What happens while others hold the head.

use std::sync::Arc;

use tokio::task::JoinSet;
use verbatim_postgres::testing::TestDatabase;

use super::{LONG, WAITING, claims, count, first_in, progress, renewed, run, stream_in, until};
use crate::conformance::{Place, append_one, committed, message, positions, read_all};
use crate::{Appended, Journal, Lanes, Log};

/// The head's lock, until it is dropped.
struct HeldHead(sqlx::PgConnection);

impl HeldHead {
    async fn lock(place: &TestDatabase) -> Self {
        let mut connection: sqlx::PgConnection =
            sqlx::Connection::connect_with(place.options()).await.expect("a connection");
        let sql = "begin; select from journal.journal_head for update";
        sqlx::Executor::execute(&mut connection, sql).await.expect("the lock");
        Self(connection)
    }

    async fn release(mut self) {
        sqlx::Executor::execute(&mut self.0, "commit").await.expect("the lock is given up");
    }
}

#[tokio::test]
async fn appends_wait_for_the_head_and_positions_are_dense() {
    let place = TestDatabase::new().await;
    let journals = [Arc::new(place.open().await), Arc::new(place.open().await)];
    committed(append_one(&*journals[0], first_in(0)).await);
    let held = HeldHead::lock(&place).await;
    let mut appends = JoinSet::new();
    for lane in 1..21 {
        let journal = Arc::clone(&journals[usize::from(lane) % 2]);
        appends.spawn(async move { append_one(&*journal, first_in(lane)).await });
    }
    until(&place, WAITING, 2).await;
    assert_eq!(journals[1].head().await.expect("readers don't wait"), 1);
    held.release().await;
    let mut appended: Vec<_> =
        appends.join_all().await.into_iter().flat_map(committed).map(|one| one.position).collect();
    appended.sort_unstable();
    assert_eq!(appended, (2..=21).collect::<Vec<_>>());
    let events = read_all(&*journals[0]).await;
    assert_eq!(positions(&events), (1..=21).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
}

#[tokio::test]
async fn requests_that_wait_go_into_one_call() {
    let place = TestDatabase::new().await;
    let journal = Arc::new(place.open().await);
    let held = HeldHead::lock(&place).await;
    let mut appends = JoinSet::new();
    let first = Arc::clone(&journal);
    appends.spawn(async move { append_one(&*first, first_in(0)).await });
    until(&place, WAITING, 1).await;
    for lane in 1..64 {
        let journal = Arc::clone(&journal);
        appends.spawn(async move { append_one(&*journal, first_in(lane)).await });
    }
    tokio::task::yield_now().await;
    held.release().await;
    let outcomes = appends.join_all().await;
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    let calls = "select count(distinct xmin::text) from journal.events";
    assert_eq!(count(&place, calls).await, 2, "the first, and what waited for it");
}

#[tokio::test]
async fn of_two_lanes_that_race_on_one_key_exactly_one_wins() {
    let place = TestDatabase::new().await;
    let journals = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let owned = claims(&renewed(&journals[0], 0, LONG).await);
    for round in 0..5 {
        let held = HeldHead::lock(&place).await;
        let mut racers = JoinSet::new();
        for (lane, journal) in journals.iter().enumerate() {
            let journal = Arc::clone(journal);
            let progress = progress(owned[lane], round + 1);
            let append = message(&stream_in(lane as u16), 0, &format!("round {round}"));
            // The loser of the round before has appended nothing, the winner one.
            let expected = journal.read_stream(&append.stream, 0, 10).await.expect("events").len();
            let append = crate::Append { expected: expected as u64, ..append };
            racers.spawn(async move {
                journal.append_in_lanes(vec![append], vec![progress]).await.expect("an outcome")
            });
        }
        // Both have begun before either of them is committed.
        until(&place, WAITING, 2).await;
        held.release().await;
        let outcomes = racers.join_all().await.concat();
        let won: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Appended::Committed(events) => Some(&events[0]),
                _ => None,
            })
            .collect();
        let lost: Vec<_> = outcomes
            .iter()
            .filter_map(|outcome| match outcome {
                Appended::Duplicate(original) => Some(original),
                _ => None,
            })
            .collect();
        assert_eq!((won.len(), lost.len()), (1, 1), "{outcomes:?}");
        assert_eq!(won, lost);
    }
    assert_eq!(journals[0].head().await.expect("a head"), 5);
}

#[tokio::test]
async fn once_epochs_are_raised_the_journal_tells_what_became_of_an_append() {
    let place = TestDatabase::new().await;
    let journals = [Arc::new(place.open().await), Arc::new(place.open().await)];
    let mut owned = claims(&renewed(&journals[0], 0, LONG).await);
    let (mut committed, mut fenced) = (0, 0);
    for round in 0..20 {
        let held = HeldHead::lock(&place).await;
        let append = message(&stream_in(7), committed, &format!("round {round}"));
        let key = append.key.clone();
        let (raiser, appender) = (Arc::clone(&journals[0]), Arc::clone(&journals[1]));
        let progress = progress(owned[7], round + 1);
        let append = tokio::spawn(async move {
            appender.append_in_lanes(vec![append], vec![progress]).await.expect("an outcome")
        });
        // Now one comes first, now the other.
        if round % 2 == 0 {
            until(&place, WAITING, 1).await;
        }
        let claim = owned[7];
        let raise = tokio::spawn(async move { raiser.raise(&[claim]).await.expect("an answer") });
        until(&place, WAITING, 2).await;
        held.release().await;
        owned[7] = raise.await.expect("an answer")[0].expect("the lane is the worker's");
        let told = journals[0].find_by_key(&key).await.expect("an answer").is_some();
        let outcome = append.await.expect("an outcome").remove(0);
        assert_eq!(told, matches!(outcome, Appended::Committed(_)), "{outcome:?}");
        match outcome {
            Appended::Committed(_) => committed += 1,
            Appended::Fenced => fenced += 1,
            other => panic!("{other:?}"),
        }
        assert_eq!(committed + fenced, round + 1);
        assert_eq!(journals[0].head().await.expect("a head"), committed);
    }
}

#[tokio::test]
async fn the_head_is_not_waited_for_without_end() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let held = HeldHead::lock(&place).await;
    let started = std::time::Instant::now();
    let append = journal.append(vec![first_in(0)]);
    let (append, check) = tokio::join!(append, journal.check_writable());
    append.expect_err("nobody can append");
    check.expect_err("nobody can write");
    assert!(started.elapsed() < std::time::Duration::from_secs(9), "one after the other");
    // The call has given up as well, and does not commit later.
    until(&place, WAITING, 0).await;
    held.release().await;
    assert_eq!(journal.head().await.expect("a head"), 0);
    committed(append_one(&journal, first_in(0)).await);
}

#[tokio::test]
async fn an_append_is_on_the_disk_whatever_the_server_is_set_to() {
    let place = TestDatabase::new().await;
    place.open().await;
    run(
        &place,
        "do $$ begin
            execute format('alter database %I set synchronous_commit = off', current_database());
        end $$",
    )
    .await
    .expect("it is set");
    let journal = place.open().await;
    for lane in 0..30 {
        let before = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        let before = count(&place, before).await;
        committed(append_one(&journal, first_in(lane)).await);
        let flushed = "select (pg_current_wal_flush_lsn() - '0/0')::bigint";
        let flushed = count(&place, flushed).await;
        assert!(flushed > before, "the commit of lane {lane} was not waited for");
    }
}

#[tokio::test]
async fn a_snapshot_isolation_under_which_duplicates_go_unseen_is_refused() {
    let place = TestDatabase::new().await;
    place.open().await;
    run(
        &place,
        "do $$ begin
            execute format(
                'alter database %I set default_transaction_isolation = ''repeatable read''',
                current_database()
            );
        end $$",
    )
    .await
    .expect("it is set");
    let journal = super::open_without_owner(&place).await;
    let refused = journal.append(vec![first_in(0)]).await.expect_err("it can't be trusted");
    assert!(refused.to_string().contains("repeatable read"), "{refused}");
}
