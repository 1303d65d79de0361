mod connections;
mod failures;
mod fencing;
mod leases;
mod locking;
mod proxy;
mod replaying;

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::Executor;
use uuid::Uuid;
use verbatim_domain::StreamId;
use verbatim_postgres::testing::TestDatabase;
use verbatim_protocol::LaneCursor;

use super::PostgresJournal;
use crate::conformance::{Place, conversation, message};
use crate::{Append, Claim, LaneProgress, Lanes, Owned};

/// Longer than any test.
const LONG: Duration = Duration::from_hours(1);

/// A database with a journal, all of whose lanes one worker owns.
impl Place for TestDatabase {
    type Journal = PostgresJournal;

    async fn new() -> Self {
        Self::create().await
    }

    async fn open(&self) -> PostgresJournal {
        let journal = open_without_owner(self).await;
        journal.renew(Uuid::nil(), LONG).await.expect("the lanes are owned");
        journal
    }

    async fn close(&self, journal: Arc<PostgresJournal>) {
        journal.close().await.expect("the journal closes");
    }
}

crate::conformance_tests!(TestDatabase);

async fn open_without_owner(place: &TestDatabase) -> PostgresJournal {
    let database = place.connect().await;
    PostgresJournal::migrate(&database).await.expect("the journal is made");
    PostgresJournal::open(database).await.expect("the journal opens")
}

/// Runs statements, past the journal.
async fn run(place: &TestDatabase, sql: &str) -> Result<(), sqlx::Error> {
    let mut connection: sqlx::PgConnection =
        sqlx::Connection::connect_with(place.options()).await?;
    connection.execute(sql).await.map(drop)
}

async fn count(place: &TestDatabase, sql: &str) -> i64 {
    let mut connection: sqlx::PgConnection =
        sqlx::Connection::connect_with(place.options()).await.expect("a connection");
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.expect("a count")
}

/// Waits until a count is as expected.
async fn until(place: &TestDatabase, sql: &str, expected: i64) {
    let patience = Instant::now() + Duration::from_secs(10);
    while count(place, sql).await != expected {
        assert!(Instant::now() < patience, "{sql} never became {expected}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// How many connections wait for a lock.
const WAITING: &str = "select count(*) from pg_stat_activity
    where datname = current_database() and wait_event_type = 'Lock'";

/// A conversation of a lane.
fn stream_in(lane: u16) -> StreamId {
    (0..10_000)
        .map(|n| conversation(&format!("c{n}")))
        .find(|stream| stream.lane() == lane)
        .expect("one of them is")
}

/// A command for that conversation, named after it.
fn first_in(lane: u16) -> Append {
    let stream = stream_in(lane);
    message(&stream, 0, &format!("first of {stream}"))
}

fn cursor(sequence: u64) -> LaneCursor {
    LaneCursor { stream: 1_700_000_000_000_000_000, sequence, at: 1_700_000_000_123_456_789 }
}

fn progress(claim: Claim, sequence: u64) -> LaneProgress {
    LaneProgress { claim, cursor: Some(cursor(sequence)), dead: Vec::new() }
}

/// What a worker owns, once it has renewed.
async fn renewed(journal: &PostgresJournal, worker: u128, lease: Duration) -> Vec<Owned> {
    journal.renew(Uuid::from_u128(worker), lease).await.expect("an answer").owned
}

fn claims(owned: &[Owned]) -> Vec<Claim> {
    owned.iter().map(|owned| owned.claim).collect()
}
