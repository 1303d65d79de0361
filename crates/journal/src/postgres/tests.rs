use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use verbatim_postgres::testing::TestDatabase;

use super::PostgresJournal;
use crate::Lanes;
use crate::conformance::Place;

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// A database with a journal, all of whose lanes one worker owns.
impl Place for TestDatabase {
    type Journal = PostgresJournal;

    async fn new() -> Self {
        Self::create().await
    }

    async fn open(&self) -> PostgresJournal {
        let database = self.connect().await;
        PostgresJournal::migrate(&database).await.expect("the journal is made");
        let journal = PostgresJournal::open(database).await.expect("the journal opens");
        journal.renew(Uuid::nil(), LONG).await.expect("the lanes are owned");
        journal
    }

    async fn close(&self, journal: Arc<PostgresJournal>) {
        journal.close().await.expect("the journal closes");
    }
}

crate::conformance_tests!(TestDatabase);
