//! The conformance suite over files, and what only files can suffer.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use verbatim_protocol::JournalId;

use super::SqliteViews;
use super::store::FOLD_AFTER;
use crate::conformance::compare::assert_shows;
use crate::conformance::history::{History, varied};
use crate::conformance::rebuilding::differences;
use crate::conformance::{Adapter, JOURNAL, rebuild};
use crate::{Error, Rebuild, Rebuildable, Views};

const USERS: [&str; 4] = ["ann", "bob", "cy", "dee"];

struct Files {
    folder: TempDir,
    fold_after: u64,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder"), fold_after: FOLD_AFTER }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("views.sqlite")
    }

    /// The names of all that is in the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder.path()).expect("a folder");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("a name"))
            .collect();
        names.sort();
        names
    }

    /// Writes something into the closed file.
    async fn tamper(&self, statement: &str) {
        use sqlx::Connection;
        let url = format!("sqlite:{}", self.path().display());
        let mut connection = sqlx::SqliteConnection::connect(&url).await.expect("the file");
        sqlx::query(statement).execute(&mut connection).await.expect("done");
        connection.close().await.expect("closed");
    }
}

impl Adapter for Files {
    type Views = SqliteViews;

    async fn start() -> Self {
        Self::new()
    }

    async fn open(&self, journal: JournalId) -> SqliteViews {
        let views = SqliteViews::open_folding(&self.path(), journal, self.fold_after).await;
        views.expect("the views open")
    }

    async fn close(&self, views: SqliteViews) {
        views.close().await.expect("the views close");
    }
}

crate::views_conformance!(Files);

/// The same, with an index that is folded all the time.
mod folding {
    use super::*;

    struct Folding(Files);

    impl Adapter for Folding {
        type Views = SqliteViews;

        async fn start() -> Self {
            Self(Files { fold_after: 5, ..Files::new() })
        }

        async fn open(&self, journal: JournalId) -> SqliteViews {
            self.0.open(journal).await
        }

        async fn close(&self, views: SqliteViews) {
            self.0.close(views).await;
        }
    }

    crate::views_conformance!(Folding);
}

async fn filled(files: &Files, history: &History) -> SqliteViews {
    let views = files.open(JOURNAL).await;
    views.apply(history.events()).await.expect("they follow");
    views
}

async fn assert_starts_anew(files: &Files) {
    let views = files.open(JOURNAL).await;
    assert_shows(&views, &[], &USERS).await;
    let history = varied();
    views.apply(history.events()).await.expect("they follow");
    files.close(views).await;
    let views = files.open(JOURNAL).await;
    assert_shows(&views, history.events(), &USERS).await;
}

#[tokio::test]
async fn views_of_another_version_start_anew() {
    let files = Files::new();
    files.close(filled(&files, &varied()).await).await;
    files.tamper("update source set version = version + 1").await;
    assert_starts_anew(&files).await;
}

#[tokio::test]
async fn views_of_another_schema_start_anew() {
    let files = Files::new();
    files.close(filled(&files, &varied()).await).await;
    files.tamper("update _sqlx_migrations set checksum = x'00'").await;
    assert_starts_anew(&files).await;
}

#[tokio::test]
async fn a_database_of_something_else_is_replaced() {
    let files = Files::new();
    std::fs::write(files.path(), "").expect("written");
    files.tamper("create table messages (something text)").await;
    assert_starts_anew(&files).await;
}

#[tokio::test]
async fn a_file_that_holds_something_else_is_replaced() {
    let files = Files::new();
    std::fs::write(files.path(), "no database at all, ".repeat(500)).expect("written");
    assert_starts_anew(&files).await;
}

#[tokio::test]
async fn a_log_without_its_file_is_removed() {
    let files = Files::new();
    std::fs::write(files.folder.path().join("views.sqlite-wal"), "left over").expect("written");
    assert_starts_anew(&files).await;
}

#[tokio::test]
async fn a_folder_that_is_missing_is_an_error() {
    let missing = Path::new("/proc/nowhere/views.sqlite");
    let opened = SqliteViews::open(missing, JOURNAL).await.map(drop);
    assert!(matches!(opened, Err(Error::Unavailable(_))), "{opened:?}");
}

#[tokio::test]
async fn a_rebuild_leaves_one_file_behind() {
    let files = Files::new();
    let history = varied();
    let views = filled(&files, &history).await;
    rebuild(&views, history.events()).await.expect("rebuilt");
    files.close(views).await;
    assert_eq!(files.names(), ["views.sqlite"]);
}

#[tokio::test]
async fn what_an_interrupted_rebuild_left_is_removed() {
    let files = Files::new();
    let history = varied();
    let views = filled(&files, &history).await;
    files.close(views).await;
    for name in ["views.sqlite.rebuild", "views.sqlite.rebuild-wal", "views.sqlite.rebuild-shm"] {
        std::fs::write(files.folder.path().join(name), "half").expect("written");
    }
    let views = files.open(JOURNAL).await;
    assert_shows(&views, history.events(), &USERS).await;
    files.close(views).await;
    assert_eq!(files.names(), ["views.sqlite"]);
}

#[tokio::test]
async fn there_is_one_rebuild_at_a_time_and_an_abandoned_one_makes_room() {
    let files = Files::new();
    let history = varied();
    let views = filled(&files, &history).await;
    let abandoned = views.begin_rebuild().await.expect("a rebuild");
    abandoned.apply(history.events()).await.expect("they follow");
    let second = {
        let begun = views.begin_rebuild();
        let drop_first = async { drop(abandoned) };
        let (begun, ()) = tokio::join!(begun, drop_first);
        begun.expect("room for another")
    };
    assert_eq!(second.checkpoint(), 0, "it starts empty");
    drop(second);
    rebuild(&views, history.events()).await.expect("rebuilt");
    assert_shows(&views, history.events(), &USERS).await;
    files.close(views).await;
    assert_eq!(files.names(), ["views.sqlite"]);
}

#[tokio::test]
async fn a_full_disk_is_survived() {
    let files = Files::new();
    let mut history = varied();
    let views = filled(&files, &history).await;
    let limit_pages = async |pages: u64| {
        let slot = views.store.slot.read().await;
        let database = slot.as_ref().expect("open");
        let limit = format!("pragma max_page_count = {pages}");
        let limited = database.write(move |connection| connection.execute_batch(&limit));
        limited.await.expect("the writer lives").expect("set");
    };
    limit_pages(1).await;
    let before = history.head();
    for _ in 0..20 {
        history.say("talk", "ann", &"x".repeat(32_768));
    }
    for _ in 0..3 {
        let applied = views.apply(history.events()).await;
        assert!(matches!(applied, Err(Error::Unavailable(_))), "{applied:?}");
        assert_eq!(views.checkpoint(), before);
    }
    limit_pages(1_000_000).await;
    views.apply(history.events()).await.expect("there is space again");
    assert_shows(&views, history.events(), &USERS).await;
}

#[tokio::test]
async fn closed_views_say_so() {
    let files = Files::new();
    let history = varied();
    let views = filled(&files, &history).await;
    views.close().await.expect("closed");
    views.close().await.expect("closed already");
    let applied = views.apply(history.events()).await;
    assert!(matches!(applied, Err(Error::Unavailable(_))), "{applied:?}");
    assert!(matches!(views.pushes(0, 1, 1).await, Err(Error::Unavailable(_))));
}

#[tokio::test]
async fn a_checkpoint_that_is_not_the_stored_one_is_an_alarm() {
    let files = Files::new();
    let mut history = varied();
    let views = filled(&files, &history).await;
    files.tamper("update source set checkpoint = 3").await;
    history.say("talk", "ann", "One more");
    let applied = views.apply(history.events()).await;
    assert!(matches!(applied, Err(Error::Corrupt(_))), "{applied:?}");
    assert_eq!(views.checkpoint(), 3, "what is stored counts");
}

#[tokio::test]
async fn the_recent_index_is_folded_when_it_has_grown_and_not_before() {
    let files = Files { fold_after: 5, ..Files::new() };
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let views = filled(&files, &history).await;
    let mut sizes = Vec::new();
    for _ in 0..7 {
        history.say("talk", "ann", "…");
        views.apply(history.events()).await.expect("it follows");
        let size = views.store.read(|connection| {
            let counts =
                "select (select count(*) from recent_index), (select count(*) from folded_index)";
            Ok(connection.query_row(counts, [], |row| <(i64, i64)>::try_from(row))?)
        });
        sizes.push(size.await.expect("counts"));
    }
    assert_eq!(sizes, [(1, 0), (0, 2), (1, 2), (2, 2), (3, 2), (4, 2), (0, 7)]);
}

/// What a statement may go through: the rows that it was given, and what it has bounded itself.
const BOUNDED: [&str; 11] = [
    "256",
    "256-ROW",
    "counts",
    "heads",
    "json_each",
    "marks",
    "new",
    "news",
    "page",
    "search",
    "wanted",
];

/// A statement that went through all of a table would grow slower with the log.
#[tokio::test]
async fn no_statement_goes_through_a_whole_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/sqlite/statements");
    let files = Files::new();
    let views = files.open(JOURNAL).await;
    let mut checked = 0;
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.ends_with("fold_index.sql") || path.ends_with("move_checkpoint.sql") {
            // One goes through a table that is bounded, the other through one of one row.
            continue;
        }
        let statement = std::fs::read_to_string(&path).expect("a statement");
        let plan = format!("explain query plan {}", with_rows(&statement, 256));
        let steps = views.store.read(move |connection| {
            let mut plan = connection.prepare(&plan)?;
            // A table-valued function wants JSON; the others take any text.
            let any = vec!["[]"; plan.parameter_count()];
            let steps = plan.query_map(rusqlite::params_from_iter(any), |row| row.get(3))?;
            Ok(steps.collect::<Result<Vec<String>, _>>()?)
        });
        for step in steps.await.expect("a plan") {
            let scanned = step.strip_prefix("SCAN ").and_then(|rest| rest.split(' ').next());
            let whole = scanned.is_some_and(|name| !BOUNDED.contains(&name));
            assert!(!whole && !step.contains("AUTOMATIC"), "{}: {step}", path.display());
        }
        checked += 1;
    }
    assert!(checked > 20, "{checked} statements");
}

/// The statement with `:rows` replaced by so many rows of as many values as it has columns.
fn with_rows(statement: &str, rows: usize) -> String {
    let Some((head, _)) = statement.split_once(":rows") else { return statement.to_owned() };
    let columns = head.split_once('(').and_then(|(_, rest)| rest.split_once(')')).expect("columns");
    let row = format!("({})", vec!["1"; columns.0.split(',').count()].join(", "));
    statement.replace(":rows", &vec![row; rows].join(", "))
}

#[tokio::test]
async fn each_row_that_differs_from_a_rebuild_is_told() {
    let files = Files::new();
    let history = varied();
    let views = files.open(JOURNAL).await;
    views.apply(history.events()).await.expect("applied");
    files.close(views).await;
    for tampering in [
        "update messages set content = 'forged' where position = (select min(position) from messages)",
        "delete from members where joined_position = (select max(joined_position) from members)",
        "insert into refreshes (position, list, user_id) values (999, 'conversations', 'eve')",
        "delete from recent_index where position = (select max(position) from recent_index)",
    ] {
        files.tamper(tampering).await;
    }
    let views = files.open(JOURNAL).await;
    let found = differences(&views, &history, 0).await;
    assert_eq!(found.len(), 4, "{found:#?}");
    let told = |start: &str, end: &str| {
        found.iter().any(|told| told.starts_with(start) && told.contains(end))
    };
    assert!(told("messages, position = ", "has content = 'forged'; rebuilt: content = "));
    assert!(told("members, ", ": is missing"));
    assert!(told("refreshes, position = 999", ": is one too many"));
    assert!(told("message index, ", ": is missing"));
    rebuild(&views, history.events()).await.expect("rebuilt");
    assert_eq!(differences(&views, &history, 3).await, [""; 0]);
}
