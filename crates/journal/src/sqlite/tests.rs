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

use super::SqliteJournal;
use crate::conformance::Place;
use crate::{Append, Appended, Journal};

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
