//! Where the keys of events are: in memory, or in the index tables.

use std::sync::Arc;

use super::super::Failed;
use super::super::{SqliteLog, verify};
use super::{Folder, SqliteJournal, joined, stream};
use crate::conformance::Place;
use crate::{Append, Appended, Error, Import, Journal, Log};

/// Appends to some streams, and gives what was appended.
async fn filled(journal: &SqliteJournal, batches: u64) -> Vec<Append> {
    let mut all = Vec::new();
    for number in 0..batches {
        let batch: Vec<_> =
            (0..10).map(|name| joined(&stream(&format!("c{name}")), number)).collect();
        all.extend(batch.iter().cloned());
        let outcomes = journal.append(batch).await.expect("outcomes");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    }
    all
}

async fn ask(journal: &SqliteJournal, sql: &'static str) -> i64 {
    let asked =
        journal.database.write(move |connection| connection.query_row(sql, [], |row| row.get(0)));
    asked.await.expect("the writer lives").expect("an answer")
}

/// Whether the journal finds all of it, and takes none of it twice.
async fn assert_holds(journal: &SqliteJournal, appended: &[Append]) {
    for name in 0..10 {
        let of_stream = journal.read_stream(&stream(&format!("c{name}")), 0, 10_000).await;
        assert_eq!(of_stream.expect("events").len(), appended.len() / 10);
        let part = journal.read_stream(&stream(&format!("c{name}")), 3, 5).await.expect("events");
        assert_eq!(part.first().map(|event| event.sequence), Some(4));
        assert_eq!(part.len(), 5);
    }
    for (append, position) in appended.iter().zip(1..) {
        let found = journal.find_by_key(&append.key).await.expect("an answer").expect("an event");
        assert_eq!(found.position, position);
    }
    let outcomes = journal.append(appended.to_vec()).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Duplicate(_))));
}

#[tokio::test]
async fn keys_are_found_wherever_they_are() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let appended = filled(&journal, 120).await;
    let indexed = ask(&journal, "select indexed from journal").await;
    assert!(indexed > 0 && indexed < 1_200, "{indexed}: some are entered, some not");
    assert_holds(&journal, &appended).await;
    journal.close().await.expect("closed");
    verify(&folder.file()).await.expect("a sound journal");
    let journal = folder.open().await;
    assert_eq!(ask(&journal, "select indexed from journal").await, 1_200);
    assert_holds(&journal, &appended).await;
}

#[tokio::test]
async fn who_reads_beside_the_writer_finds_all_of_a_stream() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    filled(&journal, 120).await;
    let indexed = ask(&journal, "select indexed from journal").await;
    assert!(indexed > 0 && indexed < 1_200, "{indexed}: some are entered, some not");
    let log = SqliteLog::open(&folder.file()).await.expect("a log");
    for name in 0..10 {
        let stream = stream(&format!("c{name}"));
        for (after, limit) in [(0, 1_000), (0, 7), (3, 50), (100, 1_000), (119, 5), (120, 5)] {
            let found = log.read_stream(&stream, after, limit).await.expect("events");
            let held = journal.read_stream(&stream, after, limit).await.expect("events");
            assert_eq!(found.len() as u64, (120 - after).min(limit as u64));
            assert_eq!(found, held);
        }
    }
}

#[tokio::test]
async fn after_a_crash_the_events_say_which_keys_there_are() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let appended = filled(&journal, 120).await;
    let copy = Folder::new().await;
    journal.backup(&copy.file()).await.expect("the file as a crash leaves it");
    verify(&copy.file()).await.expect("a sound journal");
    let crashed = copy.open().await;
    assert!(ask(&crashed, "select indexed from journal").await < 1_200);
    assert_holds(&crashed, &appended).await;
}

#[tokio::test]
async fn a_file_from_before_the_index_tables_is_brought_up_to_date() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let appended = filled(&journal, 20).await;
    let before = "drop table stream_index; drop table command_index;
        alter table journal drop column indexed;
        create unique index events_stream on events (aggregate_type, aggregate_id, sequence);
        create unique index events_command on events (issuer, key) where key is not null;
        delete from _sqlx_migrations where version = 2";
    let undone = journal.database.write(move |connection| connection.execute_batch(before));
    undone.await.expect("the writer lives").expect("as it was");
    drop(journal);
    verify(&folder.file()).await.expect("a sound journal");
    let journal = folder.open().await;
    assert_eq!(ask(&journal, "select count(*) from stream_index").await, 200);
    assert_holds(&journal, &appended).await;
}

#[tokio::test]
async fn index_tables_that_do_not_fit_are_noticed() {
    for wrong in [
        "delete from stream_index where sequence = 2",
        "delete from command_index where position = 2",
        "update stream_index set position = position + 1 where sequence = 2",
        "update command_index set key = 'another' where position = 2",
        "insert into stream_index values ('inbox', 'nobody', 1, 5000)",
    ] {
        let folder = Folder::new().await;
        let journal = folder.open().await;
        filled(&journal, 20).await;
        journal.close().await.expect("closed");
        let changed = journal.database.write(move |connection| connection.execute_batch(wrong));
        changed.await.expect("the writer lives").expect(wrong);
        let error = verify(&folder.file()).await.expect_err(wrong);
        assert!(matches!(error, Error::Corrupt(_)), "{wrong}: {error}");
    }
}

#[tokio::test]
async fn what_was_stored_twice_behind_the_writers_back_is_an_alarm() {
    for (again, told) in [
        // A sequence of the stream, or a key, with all that is in no table yet, or already is.
        ("1201, aggregate_type, aggregate_id, sequence, null, null", "sequence"),
        ("1201, aggregate_type, 'another', 1, issuer, key", "key"),
    ] {
        for twin in [1, 1_200] {
            let folder = Folder::new().await;
            let journal = folder.open().await;
            filled(&journal, 120).await;
            let sql = format!(
                "insert into events (position, aggregate_type, aggregate_id, sequence, issuer, key,
                 event_type, event_version, payload, metadata, recorded_at)
                 select {again}, event_type, event_version, payload, metadata, recorded_at
                 from events where position = {twin}"
            );
            let copy = Folder::new().await;
            journal.backup(&copy.file()).await.expect("the file as a crash leaves it");
            let file = rusqlite::Connection::open(copy.file()).expect("the file opens");
            file.execute_batch(&sql).expect("a row");
            drop(file);
            for error in [
                verify(&copy.file()).await.map(drop).expect_err("not sound"),
                SqliteJournal::open(&copy.file()).await.map(drop).expect_err("not sound"),
            ] {
                assert!(matches!(error, Error::Corrupt(_)), "{error}");
                assert!(error.to_string().contains(told), "{told}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn who_waits_for_a_reader_gets_nothing_of_what_came_in_place_of_a_failed_commit() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let lost = joined(&stream("lost"), 0);
    let (let_go, readers) = all_readers(&journal).await;
    let (go_on, held_up) = std::sync::mpsc::channel::<()>();
    // The commit waits, and then fails; what is looked for meanwhile is known from before it.
    let hook = move || held_up.recv().is_ok();
    let hooked = journal.database.write(|connection| connection.commit_hook(Some(hook)));
    hooked.await.expect("the writer lives");
    let append = journal.append(vec![lost.clone()]);
    let look = async {
        while journal.writer.recent().of_command(&lost.key).is_none() {
            tokio::task::yield_now().await;
        }
        let found = journal.find_by_key(&lost.key);
        let of_stream = journal.read_stream(&lost.stream, 0, 10);
        let others = async {
            tokio::task::yield_now().await;
            go_on.send(()).expect("the commit waits");
            let unhooked = journal.database.write(|c| c.commit_hook(None::<fn() -> bool>));
            unhooked.await.expect("the writer lives");
            filled(&journal, 1).await;
            drop(let_go);
            readers.await;
        };
        let (found, of_stream, ()) = tokio::join!(found, of_stream, others);
        assert_eq!(found.expect("an answer"), None);
        assert_eq!(of_stream.expect("an answer"), []);
    };
    let (appended, ()) = tokio::join!(append, look);
    appended.expect_err("it was not committed");
}

/// Has all connections that read in use, until the first is dropped; the second ends then.
async fn all_readers(
    journal: &SqliteJournal,
) -> (tokio::sync::watch::Sender<()>, impl Future<Output = ()>) {
    let (let_go, held) = tokio::sync::watch::channel(());
    let readers: Vec<_> = (0..super::super::READERS)
        .map(|_| {
            let (readers, mut held) = (journal.database.readers().clone(), held.clone());
            let (begun, begins) = tokio::sync::oneshot::channel();
            let reading = tokio::spawn(async move {
                let handle = tokio::runtime::Handle::current();
                let work = move |_: &rusqlite::Connection| {
                    begun.send(()).expect("the test waits");
                    drop(handle.block_on(held.changed()));
                    Ok::<_, Failed>(())
                };
                readers.read(work).await.expect("done");
            });
            (reading, begins)
        })
        .collect();
    let mut reading = Vec::new();
    for (reader, begins) in readers {
        begins.await.expect("it has begun");
        reading.push(reader);
    }
    let ended = async {
        for reader in reading {
            reader.await.expect("no panic");
        }
    };
    (let_go, ended)
}

#[tokio::test]
async fn what_is_imported_is_entered_at_once() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    let appended = filled(&journal, 50).await;
    let events = journal.read_after(0, 1_000).await.expect("events");
    let other = Folder::new().await;
    let target = other.open().await;
    target.import(events[..300].to_vec()).await.expect("imported");
    target.import(events[300..].to_vec()).await.expect("imported");
    assert_eq!(ask(&target, "select indexed from journal").await, 500);
    assert_holds(&target, &appended).await;
    // The same key at another position, as no journal has it.
    let mut again = (*events[0]).clone();
    (again.position, again.sequence) = (501, 51);
    let refused = target.import(vec![Arc::new(again)]).await.expect_err("a key twice");
    assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    assert_holds(&target, &appended).await;
}
