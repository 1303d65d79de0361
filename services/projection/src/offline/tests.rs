mod connections;
mod departures;

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use verbatim_bus::{Bus, PresenceMessage, Subscription};
use verbatim_domain::conversation::ConversationKind;
use verbatim_protocol::presence::Change;

use super::*;
use crate::world::{World, delivered, said, said_elsewhere, settings, started, user};

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
    world.record(vec![said_elsewhere("c", "ann")]);
    let message = world.record(vec![said("c", "ann")]);
    assert_eq!(key(&mut keys).await, format!("{message}:bob"), "not of what was said elsewhere");
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
