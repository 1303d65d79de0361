//! The conformance suite over a database, and what only a shared one can suffer.

use verbatim_postgres::testing::TestDatabase;

use super::*;
use crate::conformance::compare::assert_shows;
use crate::conformance::history::{History, varied};
use crate::conformance::rebuilding::differences;
use crate::conformance::{Adapter, JOURNAL, rebuild};
use crate::{Rebuild, Rebuildable, Views};

const USERS: [&str; 4] = ["ann", "bob", "cy", "dee"];

struct Place(TestDatabase);

impl Adapter for Place {
    type Views = PostgresViews;

    async fn start() -> Self {
        Self(TestDatabase::create().await)
    }

    async fn open(&self, journal: JournalId) -> PostgresViews {
        PostgresViews::open(self.0.connect().await, journal).await.expect("the views open")
    }

    async fn close(&self, views: PostgresViews) {
        views.database.close().await;
    }
}

crate::views_conformance!(Place);

#[tokio::test]
async fn of_two_who_apply_the_same_each_event_counts_once() {
    let place = Place::start().await;
    let history = varied();
    let views = [place.open(JOURNAL).await, place.open(JOURNAL).await];
    for batch in history.events().chunks(3) {
        let (one, other) = tokio::join!(views[0].apply(batch), views[1].apply(batch));
        one.expect("applied");
        other.expect("applied, or found applied");
    }
    assert_shows(&views[0], history.events(), &USERS).await;
    assert_eq!(views[1].checkpoint(), history.head());
}

#[tokio::test]
async fn a_reader_sees_what_another_process_applied_and_goes_on_over_a_rebuild() {
    let place = Place::start().await;
    let mut history = varied();
    let reader = PostgresViews::open_reader(place.0.connect().await, JOURNAL).await;
    let reader = reader.expect("it opens before there are views");
    let none = reader.reached(1, Duration::from_millis(50)).await;
    assert!(matches!(none, Err(Error::Behind)), "{none:?}");

    let writer = place.open(JOURNAL).await;
    let long = Duration::from_secs(20);
    let waiting = reader.reached(history.head(), long);
    let (waited, applied) = tokio::join!(waiting, writer.apply(history.events()));
    applied.expect("applied");
    waited.expect("the reader sees it");
    for _ in 0..3 {
        assert_shows(&reader, history.events(), &USERS).await;
        rebuild(&writer, history.events()).await.expect("rebuilt");
        let from = history.head();
        history.say("talk", "ann", "after the rebuild");
        writer.apply(history.after(from)).await.expect("it follows");
        reader.reached(history.head(), long).await.expect("the reader sees it");
    }
    assert_shows(&reader, history.events(), &USERS).await;
}

#[tokio::test]
async fn views_that_nobody_has_made_are_made_by_a_rebuild() {
    let place = Place::start().await;
    let database = place.0.connect().await;
    let reader = PostgresViews::open_reader(database, JOURNAL).await.expect("opened");
    let history = varied();
    let compared = async {
        let fresh = reader.begin_rebuild().await?;
        reader.compare(&fresh).await.map(drop)
    };
    let told = compared.await.expect_err("there is nothing to compare").to_string();
    assert!(told.contains("nobody has made the views"), "{told}");
    rebuild(&reader, history.events()).await.expect("rebuilt");
    assert_shows(&reader, history.events(), &USERS).await;
    assert_eq!(place.open(JOURNAL).await.checkpoint(), history.head(), "they stay");
}

#[tokio::test]
async fn who_was_opened_before_an_exchange_in_another_process_goes_on_writing() {
    let place = Place::start().await;
    let mut history = varied();
    let (writer, other) = (place.open(JOURNAL).await, place.open(JOURNAL).await);
    writer.apply(history.events()).await.expect("applied");
    rebuild(&other, history.events()).await.expect("rebuilt by another process");
    let from = history.head();
    history.say("talk", "bob", "onto the new ones");
    writer.apply(history.after(from)).await.expect("it follows");
    assert_shows(&writer, history.events(), &USERS).await;
}

#[tokio::test]
async fn a_second_rebuild_is_refused_while_one_is_under_way() {
    let place = Place::start().await;
    let history = varied();
    let (views, other) = (place.open(JOURNAL).await, place.open(JOURNAL).await);
    views.apply(history.events()).await.expect("applied");
    let first = views.begin_rebuild().await.expect("it begins");
    let second = other.begin_rebuild().await.map(drop);
    assert!(matches!(&second, Err(Error::Unavailable(_))), "{second:?}");
    drop(first);
    other.begin_rebuild().await.expect("the next one begins");
}

#[tokio::test]
async fn a_rebuild_that_has_lost_its_lock_does_not_replace_the_views() {
    let place = Place::start().await;
    let history = varied();
    let views = place.open(JOURNAL).await;
    views.apply(history.events()).await.expect("applied");
    let mut rebuild = views.begin_rebuild().await.expect("it begins");
    rebuild.apply(history.events()).await.expect("applied");
    let sql = "select pg_terminate_backend(pid) from pg_locks
               where locktype = 'advisory' and mode = 'ExclusiveLock'
               and database = (select oid from pg_database where datname = current_database())";
    views.database.run(|c| Box::pin(sqlx::query(sql).execute(c))).await.expect("ended");
    let swapped = views.swap(&mut rebuild).await;
    assert!(matches!(swapped, Err(Error::Unavailable(_))), "{swapped:?}");
    assert_shows(&views, history.events(), &USERS).await;
    rebuild_anew(&views, &history).await;
}

async fn rebuild_anew(views: &PostgresViews, history: &History) {
    rebuild(views, history.events()).await.expect("rebuilt");
    assert_shows(views, history.events(), &USERS).await;
}

#[tokio::test]
async fn a_query_that_still_reads_the_replaced_views_is_not_disturbed() {
    let place = Place::start().await;
    let history = varied();
    let views = place.open(JOURNAL).await;
    views.apply(history.events()).await.expect("applied");
    let mut reading = views.database.pool().begin().await.expect("a transaction");
    let count = "select count(*) from views.messages";
    sqlx::query(count).execute(&mut *reading).await.expect("it reads one table");
    let others = async {
        // Whoever removes the tables holds some then, and waits for this one.
        let waits = "select exists (select from pg_locks where not granted
                     and mode = 'AccessExclusiveLock' and database =
                     (select oid from pg_database where datname = current_database()))";
        let waits =
            || views.database.run(|c| Box::pin(sqlx::query_scalar::<_, bool>(waits).fetch_one(c)));
        while !waits().await.expect("an answer") {
            sleep(Duration::from_millis(10)).await;
        }
        let count = "select count(*) from views_old.conversations, views_old.members";
        sqlx::query(count).execute(&mut *reading).await.expect("it reads another");
        sleep(Duration::from_millis(1_200)).await;
        sqlx::query(count).execute(&mut *reading).await.expect("and again");
        reading.commit().await.expect("it ends");
    };
    tokio::join!(rebuild_anew(&views, &history), others);
    let old = "select count(*) from pg_namespace where nspname = 'views_old'";
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let old: i64 = views
            .database
            .run(|c| Box::pin(sqlx::query_scalar(old).fetch_one(c)))
            .await
            .expect("an answer");
        if old == 0 {
            break;
        }
        assert!(Instant::now() < end, "the replaced views are still there");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_newer_versions_views_are_left_alone() {
    let place = Place::start().await;
    let views = place.open(JOURNAL).await;
    let sql = "update views.source set version = version + 1";
    views.database.run(|c| Box::pin(sqlx::query(sql).execute(c))).await.expect("changed");
    let database = place.0.connect().await;
    let refused = PostgresViews::migrate(&database).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("newer")));
    assert!(PostgresViews::open(database, JOURNAL).await.is_err());
}

#[tokio::test]
async fn while_the_database_is_away_it_is_unavailable_within_five_seconds_and_then_goes_on() {
    let place = Place::start().await;
    let mut history = varied();
    let proxy = verbatim_postgres::testing::Proxy::to(&place.0).await;
    let database = Database::connect_with(proxy.options().clone(), 4).await.expect("it connects");
    let views = PostgresViews::open(database, JOURNAL).await.expect("the views open");
    views.apply(history.events()).await.expect("applied");
    let from = history.head();
    history.say("talk", "ann", "while it is away");
    proxy.block();
    let limit = Duration::from_secs(5);
    let user = "ann".parse().expect("a user id");
    let asked = tokio::time::timeout(limit, views.unread_notifications(&user));
    let applied = tokio::time::timeout(limit, views.apply(history.after(from)));
    let (asked, applied) = tokio::join!(asked, applied);
    assert!(matches!(asked.expect("in time"), Err(Error::Unavailable(_))));
    assert!(matches!(applied.expect("in time"), Err(Error::Unavailable(_))));
    proxy.unblock();
    let end = Instant::now() + Duration::from_secs(20);
    while let Err(error) = views.apply(history.after(from)).await {
        assert!(Instant::now() < end, "{error}");
    }
    assert_shows(&views, history.events(), &USERS).await;
}

#[tokio::test]
async fn each_row_that_differs_from_a_rebuild_is_told() {
    let place = Place::start().await;
    let history = varied();
    let views = place.open(JOURNAL).await;
    views.apply(history.events()).await.expect("applied");
    for tampering in [
        "update views.messages set content = 'forged' where position = (select min(position) from views.messages)",
        "delete from views.members where joined_position = (select max(joined_position) from views.members)",
        "insert into views.refreshes (position, list, user_id) values (999, 'conversations', 'eve')",
    ] {
        sqlx::query(tampering).execute(views.database.pool()).await.expect("tampered");
    }
    let found = differences(&views, &history, 0).await;
    assert_eq!(found.len(), 3, "{found:#?}");
    assert!(found.iter().any(|told| told.starts_with("messages, position = ")
        && told.contains("has content = \"\\\\x666f72676564\"; rebuilt: content = ")));
    assert!(
        found.iter().any(|told| told.starts_with("members, ") && told.ends_with(": is missing"))
    );
    assert!(found.contains(&"refreshes, position = 999: is one too many".to_owned()));
    rebuild(&views, history.events()).await.expect("rebuilt");
    assert_eq!(differences(&views, &history, 3).await, [""; 0]);
}
