//! What the database must refuse, and what must be an alarm.

use verbatim_postgres::testing::TestDatabase;
use verbatim_protocol::Timestamp;

use super::{PostgresJournal, first_in, run, stream_in};
use crate::conformance::{Place, append_one, committed, conversation, message, messages, read_all};
use crate::{Appended, Error, Journal, Log};

#[tokio::test]
async fn events_can_be_neither_changed_nor_removed() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    committed(append_one(&journal, messages(&conversation("a"), 0, "1", 2)).await);
    let before = read_all(&journal).await;
    for (sql, refusal) in [
        ("update journal.events set payload = '{}'", "never changed"),
        ("update journal.events set position = position + 10", "never changed"),
        ("update journal.events set position = 1 where position = 1", "never changed"),
        (
            "insert into journal.events select * from journal.events where position = 1
             on conflict (position) do update set payload = '{}'",
            "never changed",
        ),
        ("delete from journal.events", "never removed"),
        ("delete from journal.events where position = 2", "never removed"),
        ("truncate journal.events", "never removed"),
        ("truncate journal.events, journal.snapshots cascade", "never removed"),
    ] {
        let refused = run(&place, sql).await.expect_err(sql);
        assert!(refused.to_string().contains(refusal), "{sql}: {refused}");
    }
    assert_eq!(read_all(&journal).await, before);
}

const ROW: &str = "insert into journal.events (
    aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata,
    position, recorded_at, issuer, key
) values";

#[tokio::test]
async fn what_is_unique_is_so_in_the_database_too() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    committed(append_one(&journal, message(&stream, 0, "once")).await);
    for (columns, constraint) in [
        ("'conversation', 'b', 1, 'E', '1', '{}', '{}', 1, 0, null, null", "events_position"),
        ("'conversation', 'a', 1, 'E', '1', '{}', '{}', 2, 0, null, null", "events_stream"),
        ("'inbox', 'a', 1, 'E', '1', '{}', '{}', 2, 0, 'user_1', 'once'", "events_command"),
        ("'inbox', 'a', 1, 'E', '1', '{}', '{}', 2, 0, 'user_1', null", "events_key"),
        ("'inbox', 'a', 0, 'E', '1', '{}', '{}', 2, 0, null, null", "events_numbers"),
    ] {
        let refused = run(&place, &format!("{ROW} ({columns})")).await.expect_err(constraint);
        assert_eq!(verbatim_postgres::testing::broken_constraint(&refused), Some(constraint));
    }
}

#[tokio::test]
async fn a_schema_that_is_missing_older_or_newer_is_refused() {
    let place = TestDatabase::new().await;
    let refused = PostgresJournal::open(place.connect().await).await.expect_err("nothing there");
    assert!(refused.to_string().contains("missing"), "{refused}");
    place.open().await;
    for (change, told) in [
        ("delete from journal._sqlx_migrations where version = 3", "older"),
        (
            "insert into journal._sqlx_migrations
             (version, description, success, checksum, execution_time)
             values (9999, 'of the future', true, '', 0)",
            "newer",
        ),
    ] {
        run(&place, change).await.expect("it is changed");
        let refused = PostgresJournal::open(place.connect().await).await.expect_err(told);
        assert!(matches!(refused, Error::Unavailable(_)));
        assert!(refused.to_string().contains(told), "{refused}");
    }
    PostgresJournal::migrate(&place.connect().await).await.expect_err("a newer version's");
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named() {
    for (columns, named) in [
        ("'conversation', 'a', 2, 'MessageDreamt', '1', '{}'", "MessageDreamt version 1"),
        ("'conversation', 'a', 2, 'MessageSent', '7', '{}'", "MessageSent version 7"),
        ("'conversation', 'a', 2, 'MemberJoined', '1', '{\"memberId\":7}'", "invalid type"),
        ("'robot', 'a', 1, 'MemberJoined', '1', '{}'", "\"robot\""),
    ] {
        let place = TestDatabase::new().await;
        let journal = place.open().await;
        committed(append_one(&journal, message(&conversation("a"), 0, "1")).await);
        run(&place, &format!("{ROW} ({columns}, '{{}}', 2, 0, null, null)")).await.expect("a row");
        let error = journal.read_after(0, 10).await.expect_err("unreadable");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        let told = error.to_string();
        assert!(told.contains(named) && told.contains("position 2"), "{told}");
        assert_eq!(journal.read_after(0, 1).await.expect("what comes before").len(), 1);
    }
}

#[tokio::test]
async fn a_duplicate_of_what_cannot_be_read_is_an_alarm_and_the_next_append_goes_on() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let columns =
        "'conversation', 'a', 1, 'MessageDreamt', '1', '{}', '{}', 1, 0, 'user_1', 'once'";
    let sql = format!("{ROW} ({columns}); update journal.journal_head set position = 1");
    run(&place, &sql).await.expect("a row");
    let again = message(&conversation("a"), 1, "once");
    let error = journal.append(vec![again]).await.expect_err("unreadable");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    committed(append_one(&journal, message(&conversation("a"), 1, "other")).await);
    assert_eq!(journal.read_after(1, 10).await.expect("events").len(), 1);
}

#[tokio::test]
async fn a_missing_position_is_an_alarm() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    committed(append_one(&journal, messages(&stream, 0, "1", 3)).await);
    run(
        &place,
        "drop trigger events_are_never_changed on journal.events;
         delete from journal.events where position = 2",
    )
    .await
    .expect("a hole");
    for after in [0, 1] {
        let error = journal.read_after(after, 10).await.expect_err("a hole");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
    let error = journal.read_stream(&stream, 0, 10).await.expect_err("a hole");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    let error = journal.replay(&stream, drop).await.expect_err("a hole");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert_eq!(journal.read_after(2, 10).await.expect("what comes after").len(), 1);
}

#[tokio::test]
async fn a_clock_that_went_back_is_not_followed() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let future = Timestamp::now().0 + 3_600_000;
    run(&place, &format!("update journal.journal_head set recorded_at = {future}"))
        .await
        .expect("the clock was ahead");
    for lane in 0..2 {
        let events = committed(append_one(&journal, first_in(lane)).await);
        assert_eq!(events[0].recorded_at, Timestamp(future));
    }
}

#[tokio::test]
async fn what_the_database_refuses_leaves_nothing_and_the_next_append_goes_on() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let mut poisonous = message(&stream_in(1), 0, "poison");
    poisonous.metadata = "no JSON".into();
    let batch = vec![first_in(0), poisonous];
    let refused = journal.append(batch).await.expect_err("no JSON");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_eq!(journal.head().await.expect("a head"), 0);
    committed(append_one(&journal, first_in(0)).await);
    assert_eq!(read_all(&journal).await.len(), 1);
}

#[tokio::test]
async fn a_closed_journal_has_committed_what_it_took_and_takes_no_more() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let (appended, closed) = tokio::join!(journal.append(vec![first_in(0)]), journal.close());
    closed.expect("closed");
    assert!(matches!(appended.expect("an outcome")[..], [Appended::Committed(_)]));
    let refused = journal.append(vec![first_in(1)]).await.expect_err("closed");
    assert!(matches!(refused, Error::Unavailable(_)));
    assert!(matches!(journal.head().await, Err(Error::Unavailable(_))));
    journal.close().await.expect("closed twice");
    assert_eq!(place.open().await.head().await.expect("a head"), 1);
}
