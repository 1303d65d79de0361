//! Figures made anew beside those in use.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::figures::varied;
use super::model::assert_reports;
use super::{Adapter, JOURNAL, empty, list};
use crate::{Analytics, Difference, Error, Messages, Rebuild, key};

pub async fn a_rebuild_shows_the_same<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let mut history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    let rebuild = analytics.begin_rebuild().await.expect("begun");
    for batch in history.events().chunks(5) {
        rebuild.apply(batch).await.expect("they follow");
    }
    assert_eq!(rebuild.checkpoint().await.expect("there is one"), history.head());
    rebuild.exchange().await.expect("exchanged");
    assert_reports(&reports, history.events(), 50).await;
    history.wait(1_000).say("talk", "ann", "user");
    analytics.apply(history.events()).await.expect("they go on");
    assert_reports(&reports, history.events(), 50).await;
}

pub async fn a_rebuild_that_is_behind_is_not_exchanged_and_can_catch_up<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    let rebuild = analytics.begin_rebuild().await.expect("begun");
    rebuild.apply(&history.events()[..3]).await.expect("they follow");
    assert!(matches!(rebuild.exchange().await, Err(Error::Behind)));
    assert_reports(&reports, history.events(), 50).await;
    rebuild.apply(history.events()).await.expect("they follow");
    rebuild.exchange().await.expect("exchanged");
    assert_reports(&reports, history.events(), 50).await;
}

pub async fn a_later_rebuild_takes_the_place_of_an_earlier_one<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    let earlier = analytics.begin_rebuild().await.expect("begun");
    earlier.apply(&history.events()[..4]).await.expect("they follow");
    let later = analytics.begin_rebuild().await.expect("begun");
    assert!(matches!(earlier.apply(history.events()).await, Err(Error::GivenUp)));
    assert!(matches!(earlier.exchange().await, Err(Error::GivenUp)));
    later.apply(history.events()).await.expect("they follow");
    later.exchange().await.expect("exchanged");
    assert!(matches!(later.exchange().await, Ok(()) | Err(Error::GivenUp)));
    assert_reports(&reports, history.events(), 50).await;
}

pub async fn reports_during_the_exchange_are_whole<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    let whole = list::<Messages>(&reports, "hour", 200).await;
    let exchanged = AtomicBool::new(false);
    let exchange = async {
        for _ in 0..3 {
            let rebuild = analytics.begin_rebuild().await.expect("begun");
            rebuild.apply(history.events()).await.expect("they follow");
            rebuild.exchange().await.expect("exchanged");
        }
        exchanged.store(true, Ordering::SeqCst);
    };
    let ask = async {
        while !exchanged.load(Ordering::SeqCst) {
            assert_eq!(list::<Messages>(&reports, "hour", 200).await, whole);
        }
    };
    tokio::join!(exchange, ask);
}

async fn differences(rebuild: &Rebuild) -> Result<Vec<Difference>, Error> {
    let (tell, mut found) = mpsc::channel(1);
    let finding = async { rebuild.differences(&{ tell }).await };
    let listening = async {
        let mut all = Vec::new();
        while let Some(difference) = found.recv().await {
            all.push(difference);
        }
        all
    };
    let (outcome, mut all) = tokio::join!(finding, listening);
    all.sort_by(|one, other| (one.table, &one.row).cmp(&(other.table, &other.row)));
    outcome.map(|()| all)
}

pub async fn each_row_that_differs_from_a_rebuild_is_told<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let analytics = Analytics::new(store.clone());
    let history = varied();
    analytics.apply(history.events()).await.expect("they follow");
    let rebuild = analytics.begin_rebuild().await.expect("begun");
    assert!(matches!(differences(&rebuild).await, Err(Error::Behind)));
    for batch in history.events().chunks(2) {
        rebuild.apply(batch).await.expect("they follow");
    }
    assert_eq!(differences(&rebuild).await.expect("compared"), [], "however they were batched");

    let at = store.live().await.expect("there are rows");
    let rows = store.page(at.generation, b"", b"\xff", 1_000).await.expect("rows");
    let (gone, _) = rows.last().expect("a row").clone();
    let (changed, _) = rows[0].clone();
    let added = key::talk("nowhere");
    let tampered = vec![
        (gone.clone(), None),
        (changed.clone(), Some(b"[[1,1000000]]".to_vec())),
        (added.clone(), Some(b"{}".to_vec())),
    ];
    assert!(store.commit(at, at.checkpoint, tampered).await.expect("stored"));
    let found = differences(&rebuild).await.expect("compared");
    let mut expected = [gone, changed, added].map(|key| key::describe(&key));
    expected.sort();
    let told: Vec<_> = found.iter().map(|found| (found.table, found.row.clone())).collect();
    assert_eq!(told, expected);
    let of = |table: &str, row: &str| {
        let found = found.iter().find(|found| found.table == table && found.row == row);
        let found = found.expect("it is told");
        (found.live.is_some(), found.rebuilt.is_some())
    };
    assert_eq!(of("conversations", "conversation = nowhere"), (true, false));
    assert_eq!(of("events", "the last one"), (false, true));
    assert_eq!(differences(&rebuild).await.expect("compared"), found, "nothing was changed");

    rebuild.give_up().await.expect("given up");
    let reports = analytics.reports(JOURNAL);
    reports.reached(history.head(), Duration::ZERO).await.expect("those in use stay");
    let earlier = analytics.begin_rebuild().await.expect("begun");
    let later = analytics.begin_rebuild().await.expect("begun");
    assert!(matches!(differences(&earlier).await, Err(Error::GivenUp)));
    later.apply(history.events()).await.expect("they follow");
    let generation = store.begin().await.expect("begun") - 1;
    assert!(matches!(differences(&later).await, Err(Error::GivenUp)));
    drop(later);
    let end = Instant::now() + Duration::from_secs(20);
    while !store.page(generation, b"", b"\xff", 1).await.expect("rows").is_empty() {
        assert!(Instant::now() < end, "what was dropped is removed");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
