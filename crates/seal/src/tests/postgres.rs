use std::sync::Arc;

use sqlx::Executor;
use verbatim_journal::PostgresJournal;
use verbatim_postgres::Database;
use verbatim_postgres::testing::TestDatabase;

use super::stage_tests;
use super::tampering::INSERT;
use super::world::{Stage, World};
use crate::{PostgresSeal, Store};

struct Server {
    database: Database,
    journal: Arc<PostgresJournal>,
}

impl Server {
    /// As an administrator of the database does it: triggers and constraints are theirs to drop.
    async fn alter(&self, schema: &str, tables: &[&str], sql: &str) {
        let mut statements = match schema {
            "journal" => "alter table journal.events disable trigger all;
                 alter table journal.events drop constraint if exists events_numbers;
                 alter table journal.events drop constraint if exists events_key;
                 alter table journal.events drop constraint if exists events_stream;
                 alter table journal.events alter column payload type text using payload::text;
                 alter table journal.events alter column metadata type text using metadata::text;"
                .to_owned(),
            _ => "alter table seal.checkpoints disable trigger all;".to_owned(),
        };
        let sql = sql.replace("{text}", "::text");
        statements += &sql.replace("{bytes", "(").replace("bytes}", ")");
        for table in tables {
            statements = statements.replace(&format!("{{{table}}}"), &format!("{schema}.{table}"));
        }
        let mut connection = self.database.pool().acquire().await.expect("a connection").detach();
        connection.execute(statements.as_str()).await.expect("altered");
    }
}

impl Stage for Server {
    type Journal = PostgresJournal;

    async fn new() -> Self {
        let database = TestDatabase::create().await.connect().await;
        PostgresJournal::migrate(&database).await.expect("tables");
        PostgresSeal::migrate(&database).await.expect("tables");
        let journal = PostgresJournal::open(database.clone()).await.expect("a journal");
        Self { database, journal: Arc::new(journal) }
    }

    fn journal(&self) -> Arc<PostgresJournal> {
        Arc::clone(&self.journal)
    }

    fn store(&self) -> Arc<dyn Store> {
        Arc::new(PostgresSeal::new(self.database.clone()))
    }

    async fn alter_journal(&self, sql: &str) {
        self.alter("journal", &["events"], sql).await;
    }

    async fn alter_seal(&self, sql: &str) {
        self.alter("seal", &["checkpoints", "tiles", "verifiers"], sql).await;
    }
}

stage_tests!(Server);

/// `SQLite`'s positions are where its rows lie, so there none can have two.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_row_at_a_position_is_named() {
    // At the end of a page, and of the log, it comes last of all.
    for (events, at) in [(60, 30), (60, 60), (64, 64)] {
        let world = World::<Server>::sealed(events).await;
        let second = INSERT.replace("{at}", &at.to_string());
        let sql = format!("alter table {{events}} drop constraint events_position; {second}");
        world.stage.alter_journal(&sql).await;
        let found = world.found().await;
        assert!(found.starts_with(&format!("position {at}: ")), "{found}");
    }
}
