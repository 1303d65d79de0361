use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use verbatim_bus::{Bus, PresenceMessage, Subscription};
use verbatim_domain::conversation::ConversationKind;
use verbatim_protocol::presence::Change;

use super::*;
use crate::world::{World, delivered, said, settings, started, user};

/// A running offline reactor.
struct Noting {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Noting {
    fn start(world: &World, settings: Settings) -> Self {
        let stop = CancellationToken::new();
        let metrics = world.metrics.offline.clone();
        let task = tokio::spawn(run(world.ports(), Arc::new(settings), metrics, stop.clone()));
        Self { stop, task }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }

    /// Ends it as a crash would: nothing is finished or saved.
    async fn kill(self) {
        self.task.abort();
        self.task.await.expect_err("it was killed");
    }
}

/// A world with a conversation of ann's and bob's, the views up to date, commands handled.
async fn world() -> (World, CancellationToken, UnboundedReceiver<String>) {
    let world = World::new();
    let stop = CancellationToken::new();
    let keys = world.handle_commands(&stop);
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.project().await;
    (world, stop, keys)
}

async fn key(keys: &mut UnboundedReceiver<String>) -> String {
    timeout(Duration::from_secs(20), keys.recv()).await.expect("a command").expect("handled")
}

/// Waits until the reactor's checkpoint has passed all that is committed.
async fn done(world: &World) {
    let passed = || world.state.saved() == Some(world.journal.last());
    world.until("the checkpoint has passed everything", passed).await;
}

fn noted(world: &World, who: &str, position: u64) -> usize {
    world.notified().get(&(who.to_owned(), position)).copied().unwrap_or(0)
}

async fn watched_from(world: &World, who: &str, from: Option<u64>) {
    let watched = || world.state.watched(&user(who)) == from;
    world.until(&format!("the watch on {who} is {from:?}"), watched).await;
}

#[tokio::test]
async fn a_recipient_without_a_socket_is_notified_once_and_the_sender_never() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    let message = world.record(vec![said("c", "ann")]);
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    done(&world).await;
    assert_eq!(world.notified().len(), 1);
    assert_eq!(noted(&world, "bob", message), 1);
    assert!(keys.try_recv().is_err(), "one command for one message");
    noting.end().await;
}

#[tokio::test]
async fn messages_from_before_the_first_start_are_not_noted() {
    let (world, _handling, mut keys) = world().await;
    world.record(vec![said("c", "ann")]);
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(4)).await;
    world.project().await;
    assert_eq!(key_after(&world, &mut keys).await, "5:bob");
    noting.end().await;
}

/// Has ann speak, and gives the next command's key.
async fn key_after(world: &World, keys: &mut UnboundedReceiver<String>) -> String {
    world.record(vec![said("c", "ann")]);
    key(keys).await
}

#[tokio::test]
async fn nothing_is_lost_or_doubled_when_the_reactor_dies_before_its_checkpoint() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.state.faults.set_down(true);
    let message = world.record(vec![said("c", "ann")]);
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    noting.kill().await;
    assert_eq!(world.state.saved(), Some(3), "the checkpoint was not saved");
    world.state.faults.set_down(false);
    world.project().await;
    let fast = Settings { startup_grace: Duration::ZERO, ..settings() };
    let noting = Noting::start(&world, fast);
    assert_eq!(key(&mut keys).await, format!("{message}:bob"), "it is decided again");
    done(&world).await;
    assert_eq!(noted(&world, "bob", message), 1);
    noting.end().await;
}

#[tokio::test]
async fn the_checkpoint_waits_for_the_reply() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.project().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    // Nobody handles commands yet.
    let message = world.record(vec![said("c", "ann")]);
    world.connect(1, "cy");
    world.record(started("d", ConversationKind::Direct, &["ann", "cy"]));
    let last = world.record(vec![said("d", "ann")]);
    watched_from(&world, "cy", Some(last)).await;
    assert_eq!(world.state.saved(), Some(message - 1), "later events were decided on and saved");
    assert_eq!(world.metrics.offline.commands_in_flight.get(), 1);
    let stop = CancellationToken::new();
    let mut keys = world.handle_commands(&stop);
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    world.until("the checkpoint passes", || world.state.saved() >= Some(last)).await;
    noting.end().await;
}

#[tokio::test]
async fn a_refused_notification_is_counted_and_passed() {
    let (world, _handling, mut keys) = world().await;
    world.journal.refuse("4:bob");
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    assert_eq!(key_after(&world, &mut keys).await, "4:bob");
    world.until("the checkpoint passes it", || world.state.saved() == Some(4)).await;
    assert_eq!(world.metrics.offline.commands_rejected.get(), 1);
    assert!(world.notified().is_empty());
    noting.end().await;
}

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
    for _ in 0..10 {
        world.record(vec![said("c", "ann")]);
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
async fn at_a_shutdown_the_checkpoint_and_the_watches_are_saved() {
    let (world, _handling, mut keys) = world().await;
    let settings = Settings { save_interval: Duration::from_hours(1), ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    let to_bob = world.record(vec![said("c", "ann")]);
    let to_ann = world.record(vec![said("c", "bob")]);
    assert_eq!(key(&mut keys).await, format!("{to_ann}:ann"));
    noting.end().await;
    assert!(world.state.saved() >= Some(to_bob));
    assert_eq!(world.state.watched(&user("bob")), Some(to_bob));
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

#[tokio::test]
async fn after_a_restart_who_was_watched_and_stays_away_is_notified() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.record(started("d", ConversationKind::Direct, &["ann", "cy"]));
    world.connect(1, "bob");
    world.connect(1, "cy");
    let to_bob = world.record(vec![said("c", "ann")]);
    let to_cy = world.record(vec![said("d", "ann")]);
    watched_from(&world, "cy", Some(to_cy)).await;
    noting.kill().await;
    world.project().await;
    let mut presence = world.bus.subscribe_presence();
    let settings = Settings { startup_grace: Duration::from_secs(1), ..settings() };
    let noting = Noting::start(&world, settings);
    // As a gateway does, cy's answers the new reactor's question; bob's died, too.
    assert_eq!(asked(&mut presence).await, None);
    let sockets = vec![(user("cy"), "socket-of-cy".into())];
    world.announce(1, Change::Snapshot { sockets });
    assert_eq!(key(&mut keys).await, format!("{to_bob}:bob"));
    watched_from(&world, "bob", None).await;
    assert_eq!(world.state.watched(&user("cy")), Some(to_cy));
    assert_eq!(world.notified().len(), 1);
    noting.end().await;
}

#[tokio::test]
async fn messages_of_the_former_life_are_not_noted_for_who_comes_back() {
    let (world, _handling, mut keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    noting.kill().await;
    // Pushed while nobody was noting: it isn't known any more who had a socket.
    world.record(started("d", ConversationKind::Direct, &["ann", "cy"]));
    let to_bob = world.record(vec![said("c", "ann")]);
    let to_cy = world.record(vec![said("d", "ann")]);
    world.project().await;
    let settings = Settings { startup_grace: Duration::from_secs(1), ..settings() };
    let noting = Noting::start(&world, settings);
    watched_from(&world, "bob", Some(to_bob)).await;
    world.connect(1, "bob");
    assert_eq!(key(&mut keys).await, format!("{to_cy}:cy"));
    watched_from(&world, "cy", None).await;
    assert_eq!(noted(&world, "bob", to_bob), 0);
    assert_eq!(world.state.watched(&user("bob")), Some(to_bob));
    noting.end().await;
}

#[tokio::test]
async fn nobody_is_noted_before_the_gateways_have_told_their_sockets() {
    let (world, _handling, mut keys) = world().await;
    let settings = Settings { presence_settle: Duration::from_secs(1), ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    let message = world.record(vec![said("c", "ann")]);
    let reads = world.journal.faults.calls();
    world.until("it was read", || world.journal.faults.calls() > reads + 2).await;
    world.connect(1, "bob");
    watched_from(&world, "bob", Some(message)).await;
    world.record(vec![said("c", "bob")]);
    assert_eq!(key(&mut keys).await, format!("{}:ann", message + 1));
    assert_eq!(world.notified().len(), 1, "bob was connected all the time");
    noting.end().await;
}

/// Whose sockets somebody asks for next: a gateway's number, or all.
async fn asked(presence: &mut Subscription<PresenceMessage>) -> Option<u128> {
    loop {
        let message = timeout(Duration::from_secs(20), presence.recv());
        if let Some(PresenceMessage::SnapshotWanted(gateway)) = message.await.expect("a message") {
            return gateway.map(|gateway| gateway.0.as_u128());
        }
    }
}

#[tokio::test]
async fn a_gap_in_presence_is_mended_by_a_snapshot() {
    let (world, _handling, mut keys) = world().await;
    let mut presence = world.bus.subscribe_presence();
    let noting = Noting::start(&world, settings());
    assert_eq!(asked(&mut presence).await, None);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    // The first announcement of gateway 7 is lost.
    world.skip_announcement(7);
    world.connect(7, "bob");
    assert_eq!(asked(&mut presence).await, Some(7));
    let sockets = vec![(user("bob"), "socket-of-bob".into())];
    world.announce(7, Change::Snapshot { sockets });
    let message = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(message)).await;
    world.project().await;
    world.disconnect(7, "bob");
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    noting.end().await;
}

#[tokio::test]
async fn a_silent_gateway_takes_its_sockets_with_it() {
    let (world, _handling, mut keys) = world().await;
    let settings = Settings { gateway_silence: Duration::from_secs(1), ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.connect(1, "bob");
    let message = world.record(vec![said("c", "ann")]);
    watched_from(&world, "bob", Some(message)).await;
    world.project().await;
    assert_eq!(key(&mut keys).await, format!("{message}:bob"));
    noting.end().await;
}

#[tokio::test]
async fn many_recipients_and_messages_are_noted_within_the_bound() {
    let world = World::new();
    let members: Vec<String> = (0..50).map(|n| format!("user{n}")).collect();
    let members: Vec<&str> = members.iter().map(String::as_str).collect();
    let settings = Settings { commands_in_flight: 7, ..settings() };
    let noting = Noting::start(&world, settings);
    world.until("it has begun", || world.state.saved() == Some(0)).await;
    world.record(started("g", ConversationKind::Group, &members));
    for sender in &members[..20] {
        world.record(vec![said("g", sender)]);
    }
    world.until("commands wait", || world.bus.queued_commands() > 0).await;
    assert_eq!(world.bus.queued_commands(), 7);
    let stop = CancellationToken::new();
    let _keys = world.handle_commands(&stop);
    world.until("all are noted", || world.notified().len() == 20 * 49).await;
    done(&world).await;
    assert!(world.notified().values().all(|&times| times == 1));
    noting.end().await;
}

#[tokio::test]
async fn a_command_that_was_not_answered_is_given_again() {
    let (world, _handling, mut keys) = world().await;
    world.journal.commands.fail(3);
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.record(vec![said("c", "ann")]);
    for _ in 0..4 {
        assert_eq!(key(&mut keys).await, "4:bob");
    }
    done(&world).await;
    assert_eq!(noted(&world, "bob", 4), 1);
    noting.end().await;
}

#[tokio::test]
async fn state_and_journal_that_fail_for_a_while_only_delay() {
    let (world, _handling, mut keys) = world().await;
    world.state.faults.fail(3);
    world.journal.faults.fail(2);
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.state.faults.fail(3);
    world.journal.faults.fail(2);
    assert_eq!(key_after(&world, &mut keys).await, "4:bob");
    done(&world).await;
    assert_eq!(world.state.faults.failures.load(Ordering::SeqCst), 0);
    noting.end().await;
}

#[tokio::test]
async fn an_unknown_event_halts_the_reactor() {
    let (world, _handling, _keys) = world().await;
    let noting = Noting::start(&world, settings());
    world.until("it has begun", || world.state.saved() == Some(3)).await;
    world.journal.corrupt_from(4);
    world.commit(vec![said("c", "ann")]);
    let error = noting.task.await.expect("no panic").expect_err("it can't be read");
    assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
}
