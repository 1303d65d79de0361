use std::path::PathBuf;
use std::sync::Arc;

use rusqlite::Connection;
use tempfile::TempDir;
use verbatim_journal::SqliteJournal;

use super::stage_tests;
use super::world::Stage;
use crate::{SqliteSeal, Store};

struct Files {
    folder: TempDir,
    journal: Arc<SqliteJournal>,
    store: Arc<SqliteSeal>,
}

impl Files {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// As somebody does it who has the file: triggers and checks are theirs to switch off.
    fn alter(&self, file: &str, tables: &[&str], sql: &str) {
        let connection = Connection::open(self.path(file)).expect("the file");
        connection.execute_batch("pragma ignore_check_constraints = on").expect("set");
        let triggers: Vec<String> = connection
            .prepare("select name from sqlite_master where type = 'trigger'")
            .and_then(|mut query| query.query_map([], |row| row.get(0))?.collect())
            .expect("triggers");
        for trigger in triggers {
            connection.execute_batch(&format!("drop trigger {trigger}")).expect("dropped");
        }
        let sql = sql.replace("{text}", "").replace("{bytes", "cast(");
        let mut sql = sql.replace("bytes}", " as blob)");
        for table in tables {
            sql = sql.replace(&format!("{{{table}}}"), table);
        }
        connection.execute_batch(&sql).expect("altered");
    }
}

impl Stage for Files {
    type Journal = SqliteJournal;

    async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).await;
        let store = SqliteSeal::open(&folder.path().join("seal.sqlite")).await.expect("a seal");
        let journal = Arc::new(journal.expect("a journal"));
        Self { folder, journal, store: Arc::new(store) }
    }

    fn journal(&self) -> Arc<SqliteJournal> {
        Arc::clone(&self.journal)
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    async fn alter_journal(&self, sql: &str) {
        self.alter("journal.sqlite", &["events"], sql);
    }

    async fn alter_seal(&self, sql: &str) {
        self.alter("seal.sqlite", &["checkpoints", "tiles", "verifiers"], sql);
    }
}

stage_tests!(Files);
