use tempfile::TempDir;
use uuid::Uuid;
use verbatim_protocol::JournalId;

use super::SqliteState;
use crate::conformance::Place;
use crate::{State, Watch};

/// A folder with the state's file.
struct Folder(TempDir);

impl Place for Folder {
    type State = SqliteState;

    async fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    async fn open(&self, journal: u128) -> SqliteState {
        let journal = JournalId(Uuid::from_u128(journal));
        SqliteState::open(&self.0.path().join("state.sqlite"), journal).await.expect("it opens")
    }

    async fn close(&self, state: SqliteState) {
        state.close().await.expect("it closes");
    }
}

crate::conformance_tests!(Folder);

#[tokio::test]
async fn a_full_disk_changes_nothing_and_the_state_goes_on_once_there_is_space() {
    let folder = Folder::new().await;
    let state = folder.open(1).await;
    let watches: Vec<_> = (0..5_000)
        .map(|n| Watch { user_id: format!("u{n:04}").parse().expect("an id"), from: Some(n) })
        .collect();
    state.save("offline", 1, &watches[..10]).await.expect("saved");
    let limit = async |pages: u32| {
        let limit = format!("pragma max_page_count = {pages}");
        let limited = state.database.write(move |connection| connection.execute_batch(&limit));
        limited.await.expect("the writer lives").expect("a limit");
    };
    limit(1).await;
    for _ in 0..3 {
        let refused = state.save("offline", 2, &watches).await.expect_err("the disk is full");
        assert!(refused.to_string().contains("full"), "{refused}");
        assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(1));
        assert_eq!(state.watches("offline").await.expect("watches").len(), 10);
    }
    limit(100_000).await;
    state.save("offline", 2, &watches).await.expect("saved");
    assert_eq!(state.watches("offline").await.expect("watches").len(), 5_000);
}

#[tokio::test]
async fn the_state_waits_for_the_disk() {
    let folder = Folder::new().await;
    let state = folder.open(1).await;
    let asked = state.database.write(|connection| {
        connection.query_row("pragma synchronous", [], |row| row.get::<_, i64>(0))
    });
    let synchronous = asked.await.expect("the writer lives").expect("an answer");
    assert_eq!(synchronous, 2, "FULL");
}
