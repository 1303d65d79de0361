mod backups;
mod failures;
mod keys;

use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;
use uuid::Uuid;
use verbatim_domain::conversation::MemberJoined;
use verbatim_domain::{ConversationEvent, StreamId};
use verbatim_protocol::CommandKey;

use super::{SqliteJournal, SqliteLog};
use crate::conformance::Place;
use crate::{Append, Appended, Error, Journal, Log};

#[tokio::test]
async fn a_journal_that_is_dropped_leaves_no_log_behind() {
    let folder = Folder::new().await;
    let journal = folder.open().await;
    journal.append(vec![joined(&stream("c"), 0)]).await.expect("appended");
    assert_eq!(journal.read_after(0, 10).await.expect("events").len(), 1);
    let log = folder.file().with_extension("sqlite-wal");
    assert!(log.exists());
    drop(journal);
    // The writer's thread closes last.
    for _ in 0..500 {
        if !log.exists() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the log is still there");
}

/// A folder with a journal's file.
struct Folder(TempDir);

impl Folder {
    fn file(&self) -> PathBuf {
        self.0.path().join("journal.sqlite")
    }
}

impl Place for Folder {
    type Journal = SqliteJournal;

    async fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    async fn open(&self) -> SqliteJournal {
        SqliteJournal::open(&self.file()).await.expect("the journal opens")
    }

    async fn close(&self, journal: Arc<SqliteJournal>) {
        journal.close().await.expect("the journal closes");
    }
}

crate::conformance_tests!(Folder);

fn stream(name: &str) -> StreamId {
    StreamId::conversation(&name.parse().expect("an id"))
}

/// One command's append of one event.
fn joined(stream: &StreamId, expected: u64) -> Append {
    let member_id = "x".repeat(100).parse().expect("an id");
    Append {
        stream: stream.clone(),
        expected,
        events: vec![ConversationEvent::MemberJoined(MemberJoined { member_id }).into()],
        key: CommandKey { issuer: "$test".into(), key: Uuid::now_v7().to_string().into() },
        metadata: "{}".into(),
    }
}

/// Appends so many events, one after the other.
async fn fill(journal: &SqliteJournal, stream: &StreamId, sequences: std::ops::Range<u64>) {
    for expected in sequences {
        let outcomes = journal.append(vec![joined(stream, expected)]).await.expect("an outcome");
        assert!(matches!(outcomes[0], Appended::Committed(_)), "{outcomes:?}");
    }
}

#[tokio::test]
async fn a_reader_beside_the_writer_sees_what_is_appended_and_nothing_else() {
    let folder = Folder::new().await;
    assert!(matches!(SqliteLog::open(&folder.file()).await, Err(Error::Unavailable(_))));
    let journal = folder.open().await;
    let log = SqliteLog::open(&folder.file()).await.expect("the log opens");
    assert_eq!((log.id(), log.head().await.expect("a head")), (journal.id(), 0));
    for stream in [stream("a"), stream("b")] {
        fill(&journal, &stream, 0..3).await;
        let head = journal.head().await.expect("a head");
        assert_eq!(log.head().await.expect("a head"), head);
        let (one, other) = (log.read_after(1, 9).await, journal.read_after(1, 9).await);
        assert_eq!(one.expect("a page"), other.expect("a page"));
        let page = log.read_stream(&stream, 1, 9).await.expect("a page");
        assert_eq!(page.iter().map(|event| event.sequence).collect::<Vec<_>>(), [2, 3]);
    }
}
