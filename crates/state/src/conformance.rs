//! What every adapter of the state store must show.
//!
//! An adapter says in a [`Place`] how its store is made and opened, and calls
//! [`conformance_tests!`](crate::conformance_tests) with it, which makes a test of each behaviour.

use std::future::Future;
use std::sync::Arc;

use verbatim_domain::UserId;

use crate::{State, Watch};

/// Where one state store lives, for a choice of journals.
pub trait Place: Sized + Send + Sync + 'static {
    type State: State;

    /// A place with no state yet.
    fn new() -> impl Future<Output = Self> + Send;

    /// Opens the state, or makes it, for the journal of this number.
    fn open(&self, journal: u128) -> impl Future<Output = Self::State> + Send;

    /// Closes it, so that it can be opened again.
    fn close(&self, state: Self::State) -> impl Future<Output = ()> + Send;
}

/// Makes a test of each behaviour, for the given [`Place`](crate::conformance::Place).
#[macro_export]
macro_rules! conformance_tests {
    ($place:ty) => {
        $crate::conformance_tests! { $place:
            a_reactor_has_no_checkpoint_before_its_first
            each_reactor_has_a_checkpoint_of_its_own
            watches_begin_move_and_end
            many_watches_change_at_once
            watches_and_checkpoint_survive
            epochs_never_repeat
            racing_roles_get_different_epochs
            another_journal_starts_anew
            an_abandoned_save_blocks_nobody
        }
    };
    ($place:ty: $($behaviour:ident)+) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $behaviour() {
            $crate::conformance::$behaviour::<$place>().await;
        })+
    };
}

fn user(name: &str) -> UserId {
    name.parse().expect("an id")
}

fn watch(name: &str, from: u64) -> Watch {
    Watch { user_id: user(name), from: Some(from) }
}

fn ended(name: &str) -> Watch {
    Watch { user_id: user(name), from: None }
}

async fn watches<S: State>(state: &S, reactor: &str) -> Vec<(UserId, u64)> {
    let mut watches = state.watches(reactor).await.expect("watches");
    watches.sort();
    watches
}

pub async fn a_reactor_has_no_checkpoint_before_its_first<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    assert_eq!(state.checkpoint("push").await.expect("an answer"), None);
    assert!(watches(&state, "push").await.is_empty());
    state.save("push", 0, &[]).await.expect("saved");
    assert_eq!(state.checkpoint("push").await.expect("an answer"), Some(0));
}

pub async fn each_reactor_has_a_checkpoint_of_its_own<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    state.save("push", 7, &[watch("ann", 1)]).await.expect("saved");
    state.save("offline", 3, &[watch("ann", 2), watch("bob", 3)]).await.expect("saved");
    state.save("push", 8, &[]).await.expect("saved");
    assert_eq!(state.checkpoint("push").await.expect("an answer"), Some(8));
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(3));
    assert_eq!(watches(&state, "push").await, [(user("ann"), 1)]);
    assert_eq!(watches(&state, "offline").await, [(user("ann"), 2), (user("bob"), 3)]);
    state.save("offline", 4, &[ended("ann")]).await.expect("saved");
    assert_eq!(watches(&state, "push").await, [(user("ann"), 1)]);
}

pub async fn watches_begin_move_and_end<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    let first = [watch("ann", 1), watch("bob", 2), watch("cy@example.com", 3)];
    state.save("offline", 3, &first).await.expect("saved");
    let second = [watch("ann", 5), ended("bob"), ended("nobody"), watch("auth0|d", 6)];
    state.save("offline", 6, &second).await.expect("saved");
    assert_eq!(
        watches(&state, "offline").await,
        [(user("ann"), 5), (user("auth0|d"), 6), (user("cy@example.com"), 3)]
    );
    // Of several changes for one user the last holds.
    let third = [ended("ann"), watch("ann", 8), watch("auth0|d", 9), ended("auth0|d")];
    state.save("offline", 9, &third).await.expect("saved");
    assert_eq!(watches(&state, "offline").await, [(user("ann"), 8), (user("cy@example.com"), 3)]);
}

pub async fn many_watches_change_at_once<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    let begun: Vec<_> = (0..5_000).map(|n| watch(&format!("u{n:04}"), n)).collect();
    state.save("offline", 5_000, &begun).await.expect("saved");
    let expected: Vec<_> = begun.iter().map(|w| (w.user_id.clone(), w.from.unwrap_or(0))).collect();
    assert_eq!(watches(&state, "offline").await, expected);
    let over: Vec<_> = (0..4_999).map(|n| ended(&format!("u{n:04}"))).collect();
    state.save("offline", 5_001, &over).await.expect("saved");
    assert_eq!(watches(&state, "offline").await, [(user("u4999"), 4_999)]);
}

pub async fn watches_and_checkpoint_survive<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    state.save("offline", 42, &[watch("ann", 7)]).await.expect("saved");
    place.close(state).await;
    let state = place.open(1).await;
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(42));
    assert_eq!(watches(&state, "offline").await, [(user("ann"), 7)]);
}

pub async fn epochs_never_repeat<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 1);
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 2);
    assert_eq!(state.next_epoch("offline").await.expect("an epoch"), 1);
    place.close(state).await;
    let state = place.open(1).await;
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 3);
    place.close(state).await;
    let state = place.open(2).await;
    assert_eq!(state.next_epoch("push").await.expect("an epoch"), 4, "with another journal, too");
}

pub async fn racing_roles_get_different_epochs<P: Place>() {
    let place = P::new().await;
    let state = Arc::new(place.open(1).await);
    let mut racers = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let state = Arc::clone(&state);
        racers.spawn(async move { state.next_epoch("push").await.expect("an epoch") });
    }
    let mut epochs = racers.join_all().await;
    epochs.sort_unstable();
    assert_eq!(epochs, (1..=20).collect::<Vec<_>>());
}

pub async fn another_journal_starts_anew<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    state.save("offline", 42, &[watch("ann", 7)]).await.expect("saved");
    place.close(state).await;
    let state = place.open(2).await;
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), None);
    assert!(watches(&state, "offline").await.is_empty());
    state.save("offline", 1, &[]).await.expect("saved");
    place.close(state).await;
    let state = place.open(2).await;
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(1));
    place.close(state).await;
    let state = place.open(1).await;
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), None, "not found again");
}

pub async fn an_abandoned_save_blocks_nobody<P: Place>() {
    let place = P::new().await;
    let state = place.open(1).await;
    for n in 1..=30 {
        let changes = [watch("ann", n), watch("bob", n)];
        let mut saving = state.save("offline", n, &changes);
        for _ in 0..n % 3 {
            let saved = std::future::poll_fn(|context| {
                std::task::Poll::Ready(saving.as_mut().poll(context).is_ready())
            });
            // It may be done by now.
            if saved.await {
                break;
            }
        }
        drop(saving);
        // Whole, or not at all.
        state.next_epoch("push").await.expect("an epoch");
        let both = watches(&state, "offline").await;
        assert!(both.is_empty() || both[0].1 == both[1].1, "{both:?}");
    }
    state.save("offline", 100, &[ended("ann"), watch("bob", 100)]).await.expect("saved");
    assert_eq!(state.checkpoint("offline").await.expect("an answer"), Some(100));
    assert_eq!(watches(&state, "offline").await, [(user("bob"), 100)]);
}
