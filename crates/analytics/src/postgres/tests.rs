//! The conformance suite over a database, and what only a shared one can suffer.

use std::sync::Arc;

use verbatim_postgres::testing::TestDatabase;

use super::*;
use crate::conformance::{Adapter, JOURNAL};

struct Place(TestDatabase);

impl Adapter for Place {
    async fn start() -> Self {
        let place = Self(TestDatabase::create().await);
        PostgresAnalytics::migrate(&place.0.connect().await).await.expect("migrated");
        place
    }

    async fn open(&self, journal: JournalId) -> Arc<dyn Store> {
        let database = self.0.connect().await;
        Arc::new(PostgresAnalytics::open(database, journal).await.expect("they open"))
    }
}

crate::analytics_conformance!(Place);

#[tokio::test]
async fn rows_of_an_older_version_start_anew_and_a_newer_ones_are_left() {
    let place = Place::start().await;
    let database = place.0.connect().await;
    let set = |version: i64| {
        let database = database.clone();
        async move {
            let sql = "update analytics.source set version = $1";
            sqlx::query(sql).bind(version).execute(database.pool()).await.expect("stored");
        }
    };
    let store = place.open(JOURNAL).await;
    let at = store.live().await.expect("there are rows");
    assert!(store.commit(at, 3, Vec::new()).await.expect("stored"));
    set(VERSION + 1).await;
    assert!(matches!(
        PostgresAnalytics::open(database.clone(), JOURNAL).await,
        Err(Error::Unavailable(_))
    ));
    assert!(matches!(store.live().await, Err(Error::Behind)));
    set(VERSION - 1).await;
    let store = place.open(JOURNAL).await;
    assert_eq!(store.live().await.expect("there are rows").checkpoint, 0);
}

#[tokio::test]
async fn readers_of_another_journal_find_nothing() {
    let place = Place::start().await;
    let store = place.open(JOURNAL).await;
    store.live().await.expect("there are rows");
    place.open(JournalId(uuid::Uuid::from_u128(0xbad))).await;
    assert!(matches!(store.live().await, Err(Error::Behind)));
}

#[tokio::test]
async fn readers_find_nothing_before_they_are_made() {
    let place = Place::start().await;
    let store = PostgresAnalytics::reader(place.0.connect().await, JOURNAL);
    assert!(matches!(store.live().await, Err(Error::Behind)));
}
