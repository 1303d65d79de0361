//! The conformance suite over `PostgreSQL`, and what only a shared state must show.

mod leases;
mod outages;

use uuid::Uuid;
use verbatim_postgres::Database;
use verbatim_postgres::testing::TestDatabase;
use verbatim_protocol::JournalId;

use super::PostgresState;
use crate::conformance::Place;
use crate::{Epoch, Error, State, Watch};

struct Server(Database);

impl Place for Server {
    type State = PostgresState;

    async fn new() -> Self {
        let database = TestDatabase::create().await.connect().await;
        PostgresState::migrate(&database).await.expect("tables");
        Self(database)
    }

    async fn open(&self, journal: u128) -> PostgresState {
        self.fenced(journal, None).await.expect("it opens")
    }

    async fn close(&self, _: PostgresState) {}
}

impl Server {
    async fn fenced(&self, number: u128, fence: Option<Epoch>) -> Result<PostgresState, Error> {
        let fence = fence.map(|epoch| ("projection".to_owned(), epoch));
        PostgresState::open(&self.0, journal(number), fence).await
    }
}

fn journal(number: u128) -> JournalId {
    JournalId(Uuid::from_u128(number))
}

fn watch(name: &str, from: u64) -> Watch {
    Watch { user_id: name.parse().expect("an id"), from: Some(from) }
}

crate::conformance_tests!(Server);

#[tokio::test]
async fn tables_are_made_once() {
    let server = Server::new().await;
    let state = server.open(1).await;
    state.save("offline", 7, &[]).await.expect("saved");
    PostgresState::migrate(&server.0).await.expect("nothing to do");
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(7));
}

#[tokio::test]
async fn without_tables_the_state_is_unavailable() {
    let database = TestDatabase::create().await.connect().await;
    let opened = PostgresState::open(&database, journal(1), None).await;
    assert!(matches!(opened, Err(Error::Unavailable(_))), "{opened:?}");
}

#[tokio::test]
async fn processes_share_the_state() {
    let server = Server::new().await;
    let (one, other) = (server.open(1).await, server.open(1).await);
    one.save("offline", 3, &[watch("ann", 1)]).await.expect("saved");
    other.save("offline", 4, &[watch("bob", 2)]).await.expect("saved");
    one.save("offline", 5, &[watch("bob", 4)]).await.expect("saved");
    assert_eq!(other.checkpoint("offline").await.expect("an answer"), Some(5));
    assert_eq!(other.watches("offline").await.expect("watches").len(), 2);
}

#[tokio::test]
async fn nothing_is_saved_once_the_state_is_another_journals() {
    let server = Server::new().await;
    let old = server.open(1).await;
    old.save("offline", 42, &[watch("ann", 7)]).await.expect("saved");
    let new = server.open(2).await;
    let refused = old.save("offline", 43, &[watch("ann", 8)]).await;
    assert!(matches!(refused, Err(Error::Fenced(_))), "{refused:?}");
    assert_eq!(new.checkpoint("offline").await.expect("an answer"), None);
    assert!(new.watches("offline").await.expect("watches").is_empty());
}

/// What the last transaction of each function waited for can't be asked; the setting can, within it.
#[tokio::test]
async fn the_state_waits_for_the_disk_though_the_database_would_not() {
    let server = Server::new().await;
    for call in [
        "state.belong_to('j', null, null)",
        "state.save('r', 1, '{}', '{}', '{}', 'j', 's', 1, null, null)",
        "state.raise_epoch('r', null, null)",
        "state.acquire_role('r', 'w', '1s')",
    ] {
        let query = format!(
            "with called as materialized (select {call})
             select current_setting('synchronous_commit') from called"
        );
        let set: String = server
            .0
            .run(|connection| {
                Box::pin(async move {
                    sqlx::query("set synchronous_commit = off").execute(&mut *connection).await?;
                    sqlx::query_scalar(&query).fetch_one(connection).await
                })
            })
            .await
            .expect("an answer");
        assert_eq!(set, "on", "{call}");
    }
}
