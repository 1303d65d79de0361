//! Knowing who is connected: gaps, silence, restarts.

use verbatim_bus::Taken;
use verbatim_domain::ConnectionsCommand;
use verbatim_protocol::{Command, Committed, Failure};

use super::*;

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
async fn how_many_are_connected_is_sampled_until_it_is_recorded() {
    let world = World::new();
    let mut commands = world.bus.commands();
    let noting = Noting::start(&world, Settings { sample_seconds: 1, ..settings() });
    world.until("it has begun", || world.state.saved() == Some(0)).await;
    world.connect(1, "ann");
    world.connect(2, "bob");
    let mut refused = 0;
    let sample = async {
        loop {
            let requests = commands.next(64).await.expect("the bus lasts");
            for request in requests.into_iter().filter_map(Taken::request) {
                let Command::Connections { command } = request.command.command else { continue };
                // The first attempts come to nothing.
                refused += 1;
                if refused < 3 {
                    (request.reply)(Err(Failure::unavailable("down for a test")));
                    continue;
                }
                assert_eq!(&*request.command.key.issuer, "$connections");
                let ConnectionsCommand::SampleConnections(sample) = command;
                assert_eq!(*request.command.key.key, sample.at.to_string());
                (request.reply)(Ok(Committed { position: 1, duplicate: false, message: None }));
                if sample.sockets == 2 {
                    return sample;
                }
            }
        }
    };
    let sample = timeout(Duration::from_secs(20), sample).await.expect("a sample");
    assert_eq!((sample.seconds, sample.users), (1, 2));
    assert!(sample.peak_sockets >= 2);
    noting.end().await;
}
