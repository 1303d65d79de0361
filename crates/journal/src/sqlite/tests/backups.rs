use std::path::Path;
use std::sync::Arc;

use super::super::{SqliteJournal, restore, verify};
use super::{Folder, fill, stream};
use crate::conformance::Place;
use crate::{Error, Log};

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("the folder")
        .map(|file| file.expect("a file").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_journal_in_use_is_a_sound_journal() {
    let folder = Folder::new().await;
    let journal = Arc::new(folder.open().await);
    fill(&journal, &stream("a"), 0..100).await;
    let appending = tokio::spawn({
        let journal = Arc::clone(&journal);
        async move { fill(&journal, &stream("a"), 100..400).await }
    });
    let target = tempfile::tempdir().expect("a folder");
    let backup = target.path().join("backup.sqlite");
    journal.backup(&backup).await.expect("a backup");
    appending.await.expect("no panic");
    let summary = verify(&backup).await.expect("a sound journal");
    assert_eq!(summary.id, journal.id());
    assert!((100..=400).contains(&summary.head), "{summary:?}");
    assert_eq!(files(target.path()), ["backup.sqlite"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&backup).expect("the backup").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_backup_overwrites_nothing() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 0..1).await;
    let target = tempfile::tempdir().expect("a folder");
    let taken = target.path().join("taken");
    std::fs::write(&taken, "mine").expect("a file");
    for bad in [taken, target.path().to_owned(), target.path().join("no folder").join("backup")] {
        let refused = journal.backup(&bad).await.expect_err("refused");
        assert!(matches!(refused, Error::Unavailable(_)), "{refused}");
    }
    assert_eq!(files(target.path()), ["taken"]);
    assert_eq!(std::fs::read(target.path().join("taken")).expect("the file"), b"mine");
    std::fs::write(target.path().join("busy.partial"), "another's").expect("a file");
    journal.backup(&target.path().join("busy")).await.expect_err("another copy is under way");
    assert_eq!(files(target.path()), ["busy.partial", "taken"]);
}

#[tokio::test]
async fn a_restored_journal_holds_the_same_events_under_another_id() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 0..20).await;
    let backup = folder.0.path().join("backup.sqlite");
    journal.backup(&backup).await.expect("a backup");
    fill(&journal, &stream("a"), 20..25).await;

    let restored = Folder::new().await;
    let summary = restore(&backup, &restored.file()).await.expect("restored");
    assert_eq!(files(restored.0.path()), ["journal.sqlite"]);
    let again = restored.open().await;
    assert_eq!(again.id(), summary.id);
    assert_ne!(again.id(), journal.id(), "cursors from before must not fit");
    assert_eq!(again.head().await.expect("a head"), 20);
    assert_eq!(
        again.read_after(0, 100).await.expect("events"),
        journal.read_after(0, 20).await.expect("events")
    );
    fill(&again, &stream("a"), 20..22).await;

    restore(&backup, &restored.file()).await.expect_err("there is a journal already");
    assert_eq!(verify(&backup).await.expect("untouched").id, journal.id());
}

#[tokio::test]
async fn what_is_no_sound_journal_is_not_restored() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    fill(&journal, &stream("a"), 0..300).await;
    fill(&journal, &stream("b"), 0..300).await;
    let backup = folder.0.path().join("backup.sqlite");
    journal.backup(&backup).await.expect("a backup");
    let good = std::fs::read(&backup).expect("the backup");

    let place = tempfile::tempdir().expect("a folder");
    let bad = place.path().join("bad.sqlite");
    let corrupt = async |what: &str| {
        let error = verify(&bad).await.expect_err(what);
        assert!(matches!(error, Error::Corrupt(_)), "{what}: {error}");
        let target = place.path().join("journal.sqlite");
        restore(&bad, &target).await.expect_err(what);
        assert!(!target.exists());
    };
    std::fs::write(&bad, "not a database ".repeat(1_000)).expect("a file");
    corrupt("not a database").await;
    std::fs::write(&bad, "").expect("a file");
    corrupt("an empty file").await;
    std::fs::write(&bad, &good[..good.len() / 2]).expect("a file");
    corrupt("half a file").await;
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 4_096].fill(0xff);
    std::fs::write(&bad, &damaged).expect("a file");
    corrupt("a damaged page").await;
    for sql in [
        "drop trigger events_are_never_removed; delete from events where position = 2",
        "drop trigger events_are_never_changed;
         update events set sequence = 900 where position = 300",
    ] {
        std::fs::write(&bad, &good).expect("a file");
        let database = SqliteJournal::open(&bad).await.expect("the journal opens");
        let tampered = database.database.write(move |connection| connection.execute_batch(sql));
        tampered.await.expect("the writer lives").expect("tampered with");
        database.close().await.expect("closed");
        drop(database);
        corrupt(sql).await;
    }
    let missing = verify(&place.path().join("missing")).await.expect_err("there is no file");
    assert!(matches!(missing, Error::Unavailable(_)), "{missing}");
}
