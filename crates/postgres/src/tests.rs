use std::time::Instant;

use super::*;
use crate::testing::{Proxy, TestDatabase};

const MIGRATIONS: [(&str, &str); 4] = [
    ("one", "create table t1 (n bigint)"),
    ("two", "create table t2 (n bigint)"),
    ("three", "create table t3 (n bigint)"),
    ("four", "create table t4 (n bigint)"),
];

async fn one(database: &Database) -> Result<i32, Error> {
    database.run(|c| Box::pin(sqlx::query_scalar("select 1").fetch_one(c))).await
}

/// The server's process at the other end of a connection.
async fn process(database: &Database) -> i32 {
    let query = sqlx::query_scalar("select pg_backend_pid()");
    database.run(|c| Box::pin(query.fetch_one(c))).await.expect("an answer")
}

#[tokio::test]
async fn an_unreachable_server_is_an_error() {
    let refused = Database::connect("postgres://nobody@127.0.0.1:1/none", 1).await;
    assert!(matches!(refused, Err(Error::Unreachable(_))), "{refused:?}");
}

#[tokio::test]
async fn what_takes_too_long_is_unknown_and_its_connection_is_closed() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 1).await.expect("it connects");
    let limit = Duration::from_millis(50);
    let slow = database
        .run_within(limit, |c| Box::pin(sqlx::query("select pg_sleep(30)").execute(c)))
        .await;
    assert!(matches!(slow, Err(Error::Unknown(_))), "{slow:?}");
    assert_eq!(one(&database).await.expect("another connection answers"), 1);
}

#[tokio::test]
async fn work_that_its_caller_gave_up_leaves_no_connection_behind() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 1).await.expect("it connects");
    for _ in 0..3 {
        let work = database.run(|c| Box::pin(sqlx::query("select pg_sleep(30)").execute(c)));
        assert!(tokio::time::timeout(Duration::from_millis(50), work).await.is_err());
    }
    assert_eq!(one(&database).await.expect("another connection answers"), 1);
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_in_use() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 1).await.expect("it connects");
    let before = process(&database).await;
    let refused = database.run(|c| Box::pin(sqlx::query("select no_such_column").execute(c))).await;
    assert!(matches!(refused, Err(Error::Refused(_))), "{refused:?}");
    assert_eq!(process(&database).await, before);
}

#[tokio::test]
async fn a_connection_that_the_server_ended_is_replaced() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 1).await.expect("it connects");
    let other = place.connect().await;
    let end = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    other.run(|c| Box::pin(sqlx::query(end).execute(c))).await.expect("it is ended");
    // The first use may still find the dead one, and closes it.
    let first = one(&database).await;
    assert!(matches!(first, Ok(1) | Err(Error::Unknown(_))), "{first:?}");
    assert_eq!(one(&database).await.expect("a new one answers"), 1);
}

#[tokio::test]
async fn a_connection_that_froze_on_its_way_back_makes_room_for_another() {
    let place = TestDatabase::create().await;
    let proxy = Proxy::to(&place).await;
    let database = Database::connect_with(proxy.options().clone(), 1).await.expect("it connects");
    let changed = database.run_to_end(|c| Box::pin(sqlx::query("select 1").execute(c)));
    changed.await.expect("an answer");
    proxy.block_connected();
    let mut tries = 0;
    while one(&database).await.is_err() {
        tries += 1;
        assert!(tries < 3, "the pool is empty");
    }
}

#[tokio::test]
async fn a_schema_is_brought_up_to_date_once_however_many_try() {
    let database = TestDatabase::create().await.connect().await;
    let tries = (0..8).map(|_| migrate(&database, "first", &MIGRATIONS));
    for outcome in futures::future::join_all(tries).await {
        outcome.expect("it is up to date");
    }
    migrate(&database, "second", &MIGRATIONS[..1]).await.expect("another schema has its own list");
    let tables: i64 = database
        .run(|c| {
            Box::pin(
                sqlx::query_scalar("select count(*) from pg_tables where schemaname = 'first'")
                    .fetch_one(c),
            )
        })
        .await
        .expect("a count");
    assert_eq!(tables, 5, "four, and the list of what was done");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let database = TestDatabase::create().await.connect().await;
    migrate(&database, "first", &MIGRATIONS[..2]).await.expect("it is up to date");
    let refused = migrate(&database, "first", &MIGRATIONS[..1]).await;
    assert!(matches!(refused, Err(Error::Migrate { schema: "first", .. })), "{refused:?}");
}

#[tokio::test]
async fn who_sleeps_in_a_transaction_holds_up_nobody_for_long() {
    let place = TestDatabase::create().await;
    let database = place.connect().await;
    database
        .run(|c| Box::pin(sqlx::query("create table t (n bigint)").execute(c)))
        .await
        .expect("made");
    let mut asleep = database.pool().begin().await.expect("a transaction");
    sqlx::query("lock table t").execute(&mut *asleep).await.expect("locked");
    let begun = Instant::now();
    let limit = Duration::from_secs(20);
    let waiting = database
        .run_within(limit, |c| Box::pin(sqlx::query("insert into t values (1)").execute(c)));
    waiting.await.expect("the lock is free");
    assert!(begun.elapsed() >= Duration::from_secs(4), "it was held");
    assert!(sqlx::query("select 1").execute(&mut *asleep).await.is_err(), "it was given up");
}

#[tokio::test]
async fn who_waits_for_a_connection_gets_one_as_soon_as_another_is_done() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 2).await.expect("it connects");
    let changed =
        || database.run_to_end(|c| Box::pin(sqlx::query_scalar::<_, i32>("select 1").fetch_one(c)));
    let asking = (0..16).map(async |_| {
        for _ in 0..100 {
            one(&database).await.expect("an answer");
            changed().await.expect("an answer");
        }
    });
    let begun = Instant::now();
    futures::future::join_all(asking).await;
    assert!(begun.elapsed() < STEP, "somebody has waited in vain: {:?}", begun.elapsed());
    let count = "select count(*) from pg_stat_activity where datname = current_database()";
    let count = database.run(|c| Box::pin(sqlx::query_scalar::<_, i64>(count).fetch_one(c)));
    assert!(count.await.expect("a count") <= 2, "no more than were asked for");
}

#[tokio::test]
async fn a_transaction_that_was_left_open_ends_with_its_work() {
    let place = TestDatabase::create().await;
    let database = Database::connect_with(place.options().clone(), 2).await.expect("it connects");
    database
        .run(|c| Box::pin(sqlx::query("create table t (n bigint)").execute(c)))
        .await
        .expect("made");
    let left = database.run_to_end(|c| {
        Box::pin(async move {
            let mut transaction = c.begin().await?;
            sqlx::query("lock table t").execute(&mut *transaction).await.map(drop)
        })
    });
    left.await.expect("locked");
    let begun = Instant::now();
    let other = place.connect().await;
    other
        .run(|c| Box::pin(sqlx::query("insert into t values (1)").execute(c)))
        .await
        .expect("the lock is free");
    assert!(begun.elapsed() < Duration::from_secs(2), "the server had to end it");
}
