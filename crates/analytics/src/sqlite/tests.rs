//! The conformance suite over files, and what only files can suffer.

use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::*;
use crate::conformance::figures::varied;
use crate::conformance::model::assert_reports;
use crate::conformance::{Adapter, JOURNAL};
use crate::{Analytics, Reports};

struct Folder {
    folder: TempDir,
    opened: Mutex<Option<Arc<SqliteAnalytics>>>,
}

impl Folder {
    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("analytics.sqlite")
    }
}

impl Adapter for Folder {
    async fn start() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), opened: Mutex::default() }
    }

    async fn open(&self, journal: JournalId) -> Arc<dyn Store> {
        // Those that nobody holds any more may still be ending, and would meet those that are opened now.
        let before = self.opened.lock().expect("nobody has panicked").take();
        if let Some(before) = before.and_then(Arc::into_inner) {
            before.database.close().await.expect("closed");
        }
        let store = SqliteAnalytics::open(&self.path(), journal).await.expect("they open");
        let store = Arc::new(store);
        *self.opened.lock().expect("nobody has panicked") = Some(Arc::clone(&store));
        store
    }
}

crate::analytics_conformance!(Folder);

#[tokio::test]
async fn reports_beside_the_writer_see_what_it_has_stored() {
    let folder = Folder::start().await;
    assert!(SqliteReports::open(&folder.path(), JOURNAL).is_err(), "there is no file");
    assert!(!folder.path().exists(), "and none is made");
    let analytics = Analytics::new(folder.open(JOURNAL).await);
    let beside = SqliteReports::open(&folder.path(), JOURNAL).expect("it opens");
    let reports = Reports::beside(Arc::new(beside), JOURNAL);
    let history = varied();
    for batch in history.events().chunks(4) {
        analytics.apply(batch).await.expect("they follow");
        let shown = &history.events()[..reports.checkpoint().await.expect("there is one") as usize];
        assert_eq!(shown.last(), batch.last());
        assert_reports(&reports, shown, 50).await;
    }
}

#[tokio::test]
async fn a_file_that_is_none_is_replaced() {
    let folder = Folder::start().await;
    std::fs::write(folder.path(), "no database, but of some length".repeat(300)).expect("written");
    let analytics = Analytics::new(folder.open(JOURNAL).await);
    let history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    assert_reports(&analytics.reports(JOURNAL), history.events(), 50).await;
}

#[tokio::test]
async fn rows_of_another_version_start_anew() {
    let folder = Folder::start().await;
    let store = SqliteAnalytics::open(&folder.path(), JOURNAL).await.expect("they open");
    let at = store.live().await.expect("there are rows");
    assert!(store.commit(at, 3, Vec::new()).await.expect("stored"));
    let older =
        store.database.write(|connection| connection.execute("update source set version = 0", []));
    older.await.expect("done").expect("stored");
    store.close().await.expect("closed");
    let store = folder.open(JOURNAL).await;
    assert_eq!(store.live().await.expect("there are rows").checkpoint, 0);
}

#[tokio::test]
async fn what_was_given_up_is_removed() {
    let folder = Folder::start().await;
    let store = Arc::new(SqliteAnalytics::open(&folder.path(), JOURNAL).await.expect("they open"));
    let analytics = Analytics::new(store.clone());
    let history = varied();
    let count = || async {
        let sql = "select count(*), count(distinct generation) from rows";
        let count = store.database.write(|connection| {
            connection.query_row(sql, [], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))
        });
        count.await.expect("done").expect("a count")
    };
    analytics.apply(history.events()).await.expect("they follow");
    let before = count().await;
    let given_up = analytics.begin_rebuild().await.expect("begun");
    given_up.apply(history.events()).await.expect("they follow");
    assert_eq!(count().await, (before.0 * 2, 2));
    let rebuild = analytics.begin_rebuild().await.expect("begun");
    rebuild.apply(history.events()).await.expect("they follow");
    rebuild.exchange().await.expect("exchanged");
    assert_eq!(count().await, before);
}

#[tokio::test]
async fn what_is_kept_does_not_grow_with_what_was_delivered() {
    let folder = Folder::start().await;
    let store = Arc::new(SqliteAnalytics::open(&folder.path(), JOURNAL).await.expect("they open"));
    let analytics = Analytics::new(store.clone());
    let mut history = crate::conformance::history::History::at("2024-01-01T10:00:00Z");
    for member in ["ann", "bob", "cy"] {
        history.join("team", member);
    }
    let mut sizes = Vec::new();
    for _ in 0..3 {
        for _ in 0..200 {
            history.say("team", "ann", "user");
            history.say("team", "cy", "agent");
        }
        let head = history.head();
        for member in ["ann", "bob", "cy"] {
            history.deliver(member, head, verbatim_domain::inbox::DeliveryOutcome::Presumed);
        }
        for batch in history.after(analytics.checkpoint().await.expect("there is one")).chunks(64) {
            analytics.apply(batch).await.expect("they follow");
        }
        let count = store.database.write(|connection| {
            connection.query_row("select count(*) from rows", [], |row| row.get::<_, i64>(0))
        });
        sizes.push(count.await.expect("done").expect("a count"));
    }
    assert!(sizes[0] < 60 && sizes.iter().all(|size| *size == sizes[0]), "{sizes:?}");
}
