//! A server that is gone or frozen, and calls that arrive after their caller gave them up.

use std::time::{Duration, Instant};

use uuid::Uuid;
use verbatim_postgres::Database;
use verbatim_postgres::testing::{Proxy, TestDatabase};

use super::{PostgresState, journal, watch};
use crate::{Error, Leases, State};

/// A state that is reached through a proxy by so many connections, and its database directly.
async fn proxied(connections: u32) -> (Proxy, PostgresState, Database) {
    let place = TestDatabase::create().await;
    let direct = place.connect().await;
    PostgresState::migrate(&direct).await.expect("tables");
    let proxy = Proxy::to(&place).await;
    let options = proxy.options().clone().application_name("proxied");
    let database =
        Database::connect_with(options, connections).await.expect("the database answers");
    let state = PostgresState::open(&database, journal(1), None).await.expect("it opens");
    (proxy, state, direct)
}

fn assert_unavailable<T: std::fmt::Debug>(result: &Result<T, Error>) {
    assert!(matches!(result, Err(Error::Unavailable(_))), "{result:?}");
}

#[tokio::test]
async fn a_frozen_server_reads_as_unavailable_and_the_state_goes_on_once_it_answers() {
    let (proxy, state, _direct) = proxied(4).await;
    let leases = Leases::new(&state.database);
    state.save("offline", 1, &[]).await.expect("saved");
    proxy.block();
    let (begun, watches) = (Instant::now(), [watch("ann", 1)]);
    let (read, saved, raised, taken) = tokio::join!(
        state.checkpoint("offline"),
        state.save("offline", 2, &watches),
        state.next_epoch("push"),
        leases.acquire("projection", Uuid::from_u128(1), Duration::from_secs(9)),
    );
    assert_unavailable(&read);
    assert_unavailable(&saved);
    assert_unavailable(&raised);
    assert_unavailable(&taken);
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    proxy.unblock();
    state.save("offline", 3, &[]).await.expect("saved");
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(3));
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced() {
    let (_proxy, state, direct) = proxied(4).await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    for checkpoint in 1..=3 {
        direct.run(|c| Box::pin(sqlx::query(end).execute(c))).await.expect("ended");
        // The first use may still find a dead one, and closes it.
        for _ in 0..3 {
            if state.save("offline", checkpoint, &[]).await.is_ok() {
                break;
            }
        }
        assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(checkpoint));
    }
}

#[tokio::test]
async fn a_save_that_arrives_after_a_later_one_changes_nothing() {
    let (proxy, state, direct) = proxied(1).await;
    // Once the statement is prepared, a save is one message.
    state.save("offline", 0, &[]).await.expect("saved");
    proxy.block_connected();
    assert_unavailable(&state.save("offline", 1, &[watch("ann", 1)]).await);
    // On a new connection.
    state.save("offline", 2, &[watch("ann", 2)]).await.expect("saved");
    let connected = "select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'proxied'";
    let connected = async || -> i64 {
        let query = sqlx::query_scalar(connected);
        direct.run(|c| Box::pin(query.fetch_one(c))).await.expect("a count")
    };
    assert_eq!(connected().await, 2, "the given up connection, and the new one");
    proxy.unblock();
    // The late call has been carried out when the server has seen the end of its connection.
    while connected().await > 1 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(2));
    assert_eq!(state.watches("offline").await.expect("watches")[0].1, 2);
}
