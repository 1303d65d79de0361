//! Views made anew beside those in use.

use super::compare::assert_shows;
use super::history::{History, user, varied};
use super::{Adapter, JOURNAL, rebuild, showing};
use crate::{Error, PageRequest, Rebuild, Rebuildable, Views};

const USERS: [&str; 4] = ["ann", "bob", "cy", "dee"];

pub async fn rebuilt_views_show_the_same<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    for _ in 0..2 {
        rebuild(&views, history.events()).await.expect("rebuilt");
        assert_shows(&views, history.events(), &USERS).await;
    }
}

pub async fn views_go_on_after_a_rebuild<A: Adapter>() {
    let mut history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    history.say("talk", "ann", "The rebuilt views know this first");
    let head = history.head();
    let waiting = views.reached(head, std::time::Duration::from_secs(30));
    let (waited, rebuilt) = tokio::join!(waiting, rebuild(&views, history.events()));
    rebuilt.expect("rebuilt");
    waited.expect("the exchange moves the checkpoint");
    assert_shows(&views, history.events(), &USERS).await;
    history.say("talk", "bob", "And this comes after");
    views.apply(history.after(head)).await.expect("it follows");
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn a_rebuild_that_is_behind_is_not_exchanged<A: Adapter>() {
    let mut history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    let (_, some) = history.events().split_last().expect("events");
    let exchanged = rebuild(&views, some).await;
    assert!(matches!(exchanged, Err(Error::Behind)));
    assert_shows(&views, history.events(), &USERS).await;
    history.say("talk", "ann", "Still in use");
    views.apply(history.after(views.checkpoint())).await.expect("it follows");
    rebuild(&views, history.events()).await.expect("another rebuild is possible");
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn a_rebuild_that_was_behind_can_catch_up<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    let mut rebuild = views.begin_rebuild().await.expect("a rebuild");
    rebuild.apply(&history.events()[..5]).await.expect("they follow");
    assert!(matches!(views.swap(&mut rebuild).await, Err(Error::Behind)));
    rebuild.apply(history.after(5)).await.expect("they follow");
    views.swap(&mut rebuild).await.expect("exchanged");
    assert_shows(&views, history.events(), &USERS).await;
    let spent = rebuild.apply(history.events()).await;
    assert!(matches!(spent, Err(Error::Unavailable(_))), "{spent:?}");
    assert!(matches!(views.swap(&mut rebuild).await, Err(Error::Unavailable(_))));
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn rebuilt_views_are_still_there_after_a_restart<A: Adapter>() {
    let mut history = varied();
    let (adapter, views) = showing::<A>(&history).await;
    rebuild(&views, history.events()).await.expect("rebuilt");
    history.say("talk", "ann", "After the rebuild");
    views.apply(history.after(views.checkpoint())).await.expect("it follows");
    adapter.close(views).await;
    let views = adapter.open(JOURNAL).await;
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn queries_during_the_exchange_are_answered<A: Adapter>() {
    let mut history = History::new();
    for number in 0..20 {
        history.direct(&format!("c{number}"), "ann", "bob");
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let done = std::sync::atomic::AtomicBool::new(false);
    let rebuilding = async {
        for _ in 0..3 {
            rebuild(&views, history.events()).await.expect("rebuilt");
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    };
    let ask = async {
        let page = PageRequest { cursor: None, limit: 200 };
        while !done.load(std::sync::atomic::Ordering::Relaxed) {
            let shown = views.conversations(&user("ann"), &page).await.expect("an answer");
            assert_eq!(shown.data.len(), 20);
        }
    };
    tokio::join!(rebuilding, ask);
}

/// Every difference of the views in use from new ones, which are at `behind` when those are held
/// still.
pub(crate) async fn differences<V: Rebuildable>(
    views: &V,
    history: &History,
    behind: u64,
) -> Vec<String> {
    let rebuild = views.begin_rebuild().await.expect("a rebuild");
    rebuild.apply(&history.events()[..behind as usize]).await.expect("applied");
    let mut comparison = views.compare(&rebuild).await.expect("a comparison");
    let held = comparison.checkpoint();
    comparison.apply(&history.events()[behind as usize..held as usize]).await.expect("applied");
    let (sender, mut found) = tokio::sync::mpsc::channel(1_000);
    comparison.differences(&sender).await.expect("compared");
    drop(sender);
    let mut differences = Vec::new();
    while let Some(difference) = found.recv().await {
        differences.push(difference.to_string());
    }
    differences
}

pub async fn views_differ_in_nothing_from_a_rebuild<A: Adapter>() {
    let mut history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    for behind in [0, history.head() / 2, history.head()] {
        assert_eq!(differences(&views, &history, behind).await, [""; 0]);
    }
    // What is applied while they are held still is not compared.
    let rebuild = views.begin_rebuild().await.expect("a rebuild");
    rebuild.apply(history.events()).await.expect("applied");
    let comparison = views.compare(&rebuild).await.expect("a comparison");
    let held = history.head();
    history.say("talk", "ann", "Meanwhile");
    views.apply(history.after(held)).await.expect("nobody is held up");
    assert_eq!(comparison.checkpoint(), held);
    let (sender, mut found) = tokio::sync::mpsc::channel(10);
    comparison.differences(&sender).await.expect("compared");
    assert!(found.try_recv().is_err());
    rebuild.give_up().await.expect("removed");
    assert_shows(&views, history.events(), &USERS).await;
    // The next one begins at once, and with nothing.
    let rebuild = views.begin_rebuild().await.expect("a rebuild");
    assert_eq!(rebuild.checkpoint(), 0);
    rebuild.apply(history.events()).await.expect("applied");
    rebuild.give_up().await.expect("removed");
}

pub async fn views_that_are_behind_are_not_compared<A: Adapter>() {
    let mut history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    history.say("talk", "ann", "The views don't show this yet");
    let rebuild = views.begin_rebuild().await.expect("a rebuild");
    rebuild.apply(history.events()).await.expect("applied");
    assert!(matches!(views.compare(&rebuild).await, Err(Error::Behind)));
}
