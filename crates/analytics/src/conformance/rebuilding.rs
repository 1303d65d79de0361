//! Figures made anew beside those in use.

use std::sync::atomic::{AtomicBool, Ordering};

use super::figures::varied;
use super::model::assert_reports;
use super::{Adapter, empty, list};
use crate::{Error, Messages};

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
