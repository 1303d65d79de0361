//! Users who go before what was pushed to them has arrived.

use super::*;

#[tokio::test]
async fn who_is_connected_is_notified_only_when_the_last_socket_goes_undelivered() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    world.connect(2, "bob");
    let first = world.record(vec![said("c", "ann")]);
    world.record(vec![said("c", "bob")]);
    let second = world.record(vec![said("c", "ann")]);
    // Ann has no socket, so bob's message is noted for her; nothing is for bob.
    assert_eq!(key(&mut keys).await, format!("{}:ann", first + 1));
    done(&world).await;
    assert_eq!(world.notified().len(), 1);
    assert_eq!(world.state.watched(&user("bob")), Some(first));
    world.project().await;
    world.disconnect(1, "bob");
    let sentinel = world.record(vec![said("c", "bob")]);
    assert_eq!(key(&mut keys).await, format!("{sentinel}:ann"), "bob has a socket left");
    world.disconnect(2, "bob");
    assert_eq!(key(&mut keys).await, format!("{first}:bob"));
    assert_eq!(key(&mut keys).await, format!("{second}:bob"));
    watched_from(&world, "bob", None).await;
    assert_eq!((noted(&world, "bob", first), noted(&world, "bob", second)), (1, 1));
    noting.end().await;
}

#[tokio::test]
async fn long_streams_of_the_departed_are_noted_page_by_page() {
    let (world, _handling, _keys) = world().await;
    let settings = Settings { departure_page: 3, commands_in_flight: 2, ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    world.connect(1, "ann");
    // Whole pages of one's own are passed over.
    for sender in [["ann"; 5], ["bob"; 5], ["bob"; 5], ["ann"; 5]].concat() {
        world.record(vec![said("c", sender)]);
    }
    done(&world).await;
    world.project().await;
    world.views.faults.fail(2);
    world.disconnect(1, "bob");
    watched_from(&world, "bob", None).await;
    assert_eq!(world.notified().len(), 10);
    assert!(world.notified().values().all(|&times| times == 1));
    noting.end().await;
}

#[tokio::test]
async fn who_comes_and_goes_again_meanwhile_is_looked_after_again() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.project().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "ann");
    world.connect(1, "bob");
    let first = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(first)).await;
    world.project().await;
    world.disconnect(1, "bob");
    world.until("bob is being looked after", || world.bus.queued_commands() == 1).await;
    world.connect(1, "bob");
    let second = world.record(vec![said("c", "ann")]);
    done(&world).await;
    world.disconnect(1, "bob");
    world.project().await;
    // His second departure falls due while the first is still under way.
    let polls = world.journal.faults.calls();
    world.until("it fell due", || world.journal.faults.calls() > polls + 10).await;
    let stop = CancellationToken::new();
    let mut keys = world.handle_commands(&stop);
    assert_eq!(key(&mut keys).await, format!("{first}:bob"));
    assert_eq!(key(&mut keys).await, format!("{second}:bob"));
    watched_from(&world, "bob", None).await;
    noting.end().await;
}

#[tokio::test]
async fn who_goes_while_the_views_lag_is_noted_once_they_have_caught_up() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    let message = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(message)).await;
    let waits = world.views.waits.calls();
    world.disconnect(1, "bob");
    world.until("the views are waited for", || world.views.waits.calls() > waits).await;
    world.project().await;
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    noting.end().await;
}

#[tokio::test]
async fn what_was_delivered_is_not_noted_when_the_last_socket_goes() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    let first = world.record(vec![said("c", "ann")]);
    let second = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(first)).await;
    world.record(vec![delivered("bob", first)]);
    watched_from(&world, "bob", Some(second)).await;
    done(&world).await;
    world.project().await;
    world.disconnect(1, "bob");
    assert_eq!(key(&mut keys).await, format!("{second}:bob"));
    watched_from(&world, "bob", None).await;
    assert_eq!(world.notified().len(), 1);
    noting.end().await;
}

#[tokio::test]
async fn delivery_of_everything_ends_the_watch() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    let message = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(message)).await;
    world.record(vec![delivered("bob", message)]);
    watched_from(&world, "bob", None).await;
    done(&world).await;
    world.project().await;
    world.disconnect(1, "bob");
    let later = world.record(vec![said("c", "ann")]);
    assert_eq!(key(&mut keys).await, format!("{later}:bob"), "only what came afterwards");
    done(&world).await;
    assert_eq!(world.notified().len(), 1);
    noting.end().await;
}

#[tokio::test]
async fn who_comes_back_within_the_grace_is_not_notified() {
    let (world, _handling, mut keys) = world().await;
    let settings = Settings { departure_grace: Duration::from_millis(300), ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    for who in ["ann", "bob"] {
        world.connect(1, who);
    }
    let message = world.record(vec![said("c", "ann")]);
    world.record(vec![said("c", "bob")]);
    watched_from(&world, "bob", Some(message)).await;
    watched_from(&world, "ann", Some(message + 1)).await;
    world.project().await;
    // Bob comes back at once. Ann, who leaves after him, doesn't: when hers is noted, his grace
    // was over, too.
    world.disconnect(1, "bob");
    world.connect(1, "bob");
    world.disconnect(1, "ann");
    assert_eq!(key(&mut keys).await, format!("{}:ann", message + 1));
    watched_from(&world, "ann", None).await;
    assert_eq!(world.state.watched(&user("bob")), Some(message), "bob is watched as before");
    assert_eq!(noted(&world, "bob", message), 0);
    noting.end().await;
}
