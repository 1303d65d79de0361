use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;

use verbatim_protocol::Timestamp;

use super::{Folder, SqliteJournal, fill, joined, stream};
use crate::conformance::Place;
use crate::{Appended, Error, Journal, Log};

async fn run(journal: &SqliteJournal, sql: &str) -> Result<(), rusqlite::Error> {
    let sql = sql.to_owned();
    let ran = journal.database.write(move |connection| connection.execute_batch(&sql));
    ran.await.expect("the writer lives")
}

/// Has this called at each commit, which it refuses with `true`.
async fn on_commit(journal: &SqliteJournal, hook: impl FnMut() -> bool + Send + 'static) {
    let hooked = journal.database.write(|connection| connection.commit_hook(Some(hook)));
    hooked.await.expect("the writer lives");
}

#[tokio::test]
async fn events_can_be_neither_changed_nor_removed() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 0..2).await;
    let before = journal.read_after(0, 10).await.expect("events");
    for (sql, refusal) in [
        ("update events set payload = '{}'", "never changed"),
        ("update events set position = position + 10", "never changed"),
        ("delete from events", "never removed"),
        ("delete from events where position = 2", "never removed"),
        ("insert or replace into events select * from events", "never removed"),
        ("replace into events select * from events where position = 1", "never removed"),
    ] {
        let refused = run(&journal, sql).await.expect_err(sql);
        assert!(refused.to_string().contains(refusal), "{sql}: {refused}");
    }
    assert_eq!(journal.read_after(0, 10).await.expect("events"), before);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_journal_goes_on_once_there_is_space() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let (a, b) = (stream("a"), stream("b"));
    fill(&journal, &a, 0..10).await;
    run(&journal, "pragma max_page_count = 24").await.expect("a limit");
    let mut acked = 10;
    let refused = loop {
        match journal.append(vec![joined(&a, acked), joined(&b, acked - 10)]).await {
            Ok(outcomes) => {
                assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
                acked += 1;
            }
            Err(refused) => break refused,
        }
        assert!(acked < 1_000, "the limit has no effect");
    };
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert!(refused.to_string().contains("full"), "{refused}");
    let held = acked + acked - 10;
    assert_eq!(journal.head().await.expect("a head"), held);
    for _ in 0..3 {
        let batch = (0..50).map(|n| joined(&a, acked + n)).collect();
        journal.append(batch).await.expect_err("the disk is still full");
    }
    assert_eq!(journal.read_after(0, 10_000).await.expect("events").len() as u64, held);

    run(&journal, "pragma max_page_count = 100000").await.expect("no limit");
    fill(&journal, &a, acked..acked + 50).await;
    fill(&journal, &b, acked - 10..acked + 40).await;
    let events = journal.read_after(0, 10_000).await.expect("no hole");
    assert_eq!(events.len() as u64, held + 100);
    journal.close().await.expect("closed");
    let summary = super::super::verify(&folder.file()).await.expect("a sound journal");
    assert_eq!(summary.head, held + 100);
}

#[tokio::test]
async fn a_commit_that_fails_leaves_nothing_of_its_batch() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let stream = stream("a");
    fill(&journal, &stream, 0..3).await;
    let allowed = Arc::new(AtomicBool::new(false));
    let asked = Arc::clone(&allowed);
    on_commit(&journal, move || !asked.load(Ordering::SeqCst)).await;
    let batch = vec![joined(&stream, 3), joined(&stream, 4)];
    let refused = journal.append(batch.clone()).await.expect_err("the commit fails");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_eq!(journal.head().await.expect("a head"), 3);
    assert_eq!(journal.find_by_key(&batch[0].key).await.expect("an answer"), None);
    journal.check_writable().await.expect_err("nothing can be committed");
    allowed.store(true, Ordering::SeqCst);
    journal.check_writable().await.expect("it can be written again");
    let outcomes = journal.append(batch).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    assert_eq!(journal.read_after(0, 10).await.expect("no hole").len(), 5);
}

#[tokio::test]
async fn appends_that_wait_are_committed_together() {
    const CALLERS: usize = 100;
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let commits = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&commits);
    on_commit(&journal, move || {
        counted.fetch_add(1, Ordering::SeqCst);
        false
    })
    .await;
    for answer in handed_in(&journal, CALLERS).await {
        assert!(matches!(answer.await.expect("an outcome")[0], Appended::Committed(_)));
    }
    assert_eq!(commits.load(Ordering::SeqCst), 1);
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<Vec<Appended>, Error>> + Send + 'a>>;

/// Appends that all wait for the writer, which is held up until the last of them does.
async fn handed_in(journal: &SqliteJournal, callers: usize) -> Vec<Answer<'_>> {
    let (go_on, held_up) = std::sync::mpsc::channel::<()>();
    let place = journal.database.place().await.expect("the writer lives");
    place.run(move |_| assert!(held_up.recv().is_err()));
    let mut answers = Vec::with_capacity(callers);
    for n in 0..callers {
        let mut answer = journal.append(vec![joined(&stream(&format!("c{n}")), 0)]);
        let answered =
            poll_fn(|context| Poll::Ready(answer.as_mut().poll(context).is_ready())).await;
        assert!(!answered);
        answers.push(answer);
    }
    drop(go_on);
    answers
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_named() {
    for (columns, named) in [
        ("'conversation', 'a', 2, 'MessageDreamt', '1', '{}'", "MessageDreamt version 1"),
        ("'conversation', 'a', 2, 'MessageSent', '7', '{}'", "MessageSent version 7"),
        ("'conversation', 'a', 2, 'MemberJoined', '1', '{\"memberId\":7}'", "invalid type"),
        ("'robot', 'a', 1, 'MemberJoined', '1', '{}'", "\"robot\""),
    ] {
        let folder = Folder::new().await;
        let journal = folder.open().await;
        fill(&journal, &stream("a"), 0..1).await;
        let sql = format!(
            "insert into events (position, aggregate_type, aggregate_id, sequence, event_type,
             event_version, payload, metadata, recorded_at) values (2, {columns}, '{{}}', 0)"
        );
        run(&journal, &sql).await.expect("a row");
        let error = journal.read_after(0, 10).await.expect_err("unreadable");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
        let told = error.to_string();
        assert!(told.contains(named) && told.contains("position 2"), "{told}");
        assert_eq!(journal.read_after(0, 1).await.expect("what comes before").len(), 1);
    }
}

#[tokio::test]
async fn a_duplicate_of_what_cannot_be_read_is_an_alarm_and_the_next_append_goes_on() {
    let folder = Folder::new().await;
    let journal = Arc::new(folder.open().await);
    let append = joined(&stream("a"), 0);
    let sql = format!(
        "insert into events (position, aggregate_type, aggregate_id, sequence, event_type,
         event_version, payload, metadata, recorded_at, issuer, key)
         values (1, 'conversation', 'a', 1, 'MessageDreamt', '1', '{{}}', '{{}}', 0, '{}', '{}')",
        append.key.issuer, append.key.key
    );
    run(&journal, &sql).await.expect("a row");
    folder.close(journal).await;
    let journal = folder.open().await;
    let error = journal.append(vec![append]).await.expect_err("unreadable");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    fill(&journal, &stream("a"), 1..3).await;
    assert_eq!(journal.read_after(1, 10).await.expect("events").len(), 2);
}

#[tokio::test]
async fn a_missing_position_is_an_alarm() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 0..3).await;
    run(&journal, "drop trigger events_are_never_removed; delete from events where position = 2")
        .await
        .expect("a hole");
    for after in [0, 1] {
        let error = journal.read_after(after, 10).await.expect_err("a hole");
        assert!(matches!(error, Error::Corrupt(_)), "{error}");
    }
    let error = journal.read_stream(&stream("a"), 0, 10).await.expect_err("a hole");
    assert!(matches!(error, Error::Corrupt(_)), "{error}");
    assert_eq!(journal.read_after(2, 10).await.expect("what comes after").len(), 1);
}

#[tokio::test]
async fn a_clock_that_went_back_is_not_followed() {
    let folder = Folder::new().await;
    let journal = Arc::new(folder.open().await);
    fill(&journal, &stream("a"), 0..1).await;
    let future = Timestamp::now().0 + 3_600_000;
    let sql = format!(
        "insert into events (position, aggregate_type, aggregate_id, sequence, event_type,
         event_version, payload, metadata, recorded_at)
         select 2, aggregate_type, aggregate_id, 2, event_type, event_version, payload, metadata,
         {future} from events"
    );
    run(&journal, &sql).await.expect("a row");
    folder.close(journal).await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 2..4).await;
    let events = journal.read_after(2, 10).await.expect("events");
    assert!(events.iter().all(|event| event.recorded_at == Timestamp(future)));
}

#[tokio::test]
async fn a_closed_journal_has_committed_what_it_took_and_takes_no_more() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let answers = handed_in(&journal, 20).await;
    journal.close().await.expect("closed");
    for answer in answers {
        assert!(matches!(answer.await.expect("an outcome")[0], Appended::Committed(_)));
    }
    let refused = journal.append(vec![joined(&stream("late"), 0)]).await.expect_err("closed");
    assert!(matches!(refused, Error::Unavailable(_)));
    assert!(matches!(journal.head().await, Err(Error::Unavailable(_))));
    journal.close().await.expect("closed twice");
    let log = folder.file().with_extension("sqlite-wal");
    assert_eq!(std::fs::metadata(log).map_or(0, |log| log.len()), 0, "the log was folded in");
    assert_eq!(folder.open().await.head().await.expect("a head"), 20);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    run(
        &journal,
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of the future', 1, x'00', 0)",
    )
    .await
    .expect("a row");
    journal.close().await.expect("closed");
    let refused = SqliteJournal::open(&folder.file()).await.expect_err("too new");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let folder = Folder::new().await;
    std::fs::write(folder.file(), "not a database ".repeat(1_000)).expect("a file");
    SqliteJournal::open(&folder.file()).await.expect_err("not a database");
}
