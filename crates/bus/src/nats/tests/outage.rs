//! A server that is killed, frozen or not there.

use super::*;

#[tokio::test]
async fn a_reader_goes_on_where_it_was_when_the_server_was_restarted() {
    let mut server = Server::start().await;
    let nats = open(options_for(&server)).await;
    let mut source = crate::conformance::open(&nats, &[]);
    fill(&nats, 1..=100).await;
    let mut seen = numbers(&take(&mut *source, 40).await);
    for last in [200, 300] {
        server.restart().await;
        eventually("it knows its streams again", async || {
            let stream = &nats.readers.stream;
            nats.is_connected() && stream.context.get_stream(&stream.name).await.is_ok()
        })
        .await;
        fill(&nats, last - 99..=last).await;
        seen.extend(numbers(&take(&mut *source, last as usize - seen.len()).await));
    }
    assert_eq!(seen, (1..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_broker_that_went_away_refuses_by_the_deadline_and_gets_nothing_late() {
    let mut server = Server::start().await;
    let nats = open(options_for(&server)).await;
    server.kill();
    eventually("it is noticed", async || !nats.is_connected()).await;
    let begun = Instant::now();
    let time = Duration::from_millis(700);
    let late: Vec<_> = (1..=500).map(|n| nats.send(command("conv_1", n, time))).collect();
    for reply in late {
        assert!(is_unavailable(&reply.await));
    }
    assert!(begun.elapsed() < time * 3);
    assert_eq!(nats.waiting_commands(), 0);
    let in_time = nats.send(command("conv_1", 501, PATIENCE));
    server.restart().await;
    let mut source = crate::conformance::open(&nats, &[]);
    for request in take(&mut *source, 1).await {
        assert_eq!(number(&request), 501, "what is late was not published");
        (request.reply)(Ok(done(501)));
    }
    assert_eq!(soon(in_time).await, Ok(done(501)));
    assert_eq!(nats.dropped().unsent, 500);
}

#[tokio::test]
async fn of_what_waits_together_only_what_is_late_is_dropped() {
    let mut server = Server::start().await;
    let nats = open(options_for(&server)).await;
    server.kill();
    eventually("it is noticed", async || !nats.is_connected()).await;
    let soon_late = Duration::from_millis(300);
    let replies: Vec<_> = (1..=50)
        .map(|n| nats.send(command("conv_1", n, if n % 5 == 0 { soon_late } else { PATIENCE })))
        .collect();
    tokio::time::sleep(2 * soon_late).await;
    server.restart().await;
    let mut source = crate::conformance::open(&nats, &[]);
    for request in take(&mut *source, 40).await {
        let number = number(&request);
        assert_ne!(number % 5, 0, "it was late");
        (request.reply)(Ok(done(number)));
    }
    for (n, reply) in (1..).zip(replies) {
        let reply = soon(reply).await;
        if n % 5 == 0 { assert!(is_unavailable(&reply)) } else { assert_eq!(reply, Ok(done(n))) }
    }
    assert_eq!(nats.dropped().unsent, 10);
}

#[tokio::test]
async fn a_server_that_hangs_is_noticed_and_holds_nobody_up() {
    let server = Server::start().await;
    let nats = open(options_for(&server)).await;
    let mut source = crate::conformance::open(&nats, &[]);
    fill(&nats, 1..=1).await;
    assert_eq!(numbers(&take(&mut *source, 1).await), [1]);
    server.freeze();
    let frozen = Instant::now();
    let replies: Vec<_> =
        (2..=1_000).map(|n| nats.send(command("conv_1", n, Duration::from_secs(1)))).collect();
    nats.publish_presence(PresenceMessage::SnapshotWanted(None));
    for reply in replies {
        assert!(is_unavailable(&reply.await));
    }
    assert!(frozen.elapsed() < Duration::from_secs(5));
    eventually("it is noticed", async || !nats.is_connected()).await;
    assert!(frozen.elapsed() < Duration::from_secs(15), "{:?}", frozen.elapsed());
    server.thaw();
    let reply = nats.send(command("conv_1", 2_000, PATIENCE));
    loop {
        for request in take(&mut *source, 1).await {
            // What the socket had taken before comes late; its deadline tells.
            if number(&request) == 2_000 {
                (request.reply)(Ok(done(2_000)));
                assert_eq!(soon(reply).await, Ok(done(2_000)));
                return;
            }
            assert!(request.command.deadline < Timestamp::now());
        }
    }
}

#[tokio::test]
async fn without_a_server_the_start_fails_within_seconds_and_names_it_without_the_password() {
    let mut server = Server::start().await;
    server.kill();
    let url = server.url().replace("nats://", "nats://ann:s3cret@");
    let begun = Instant::now();
    let error = Nats::connect(NatsOptions::new(url)).await.expect_err("nobody is there");
    assert!(begun.elapsed() < Duration::from_secs(5));
    let mut text = format!("{error} {error:?}");
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text += &cause.to_string();
        source = cause.source();
    }
    assert!(text.contains("127.0.0.1") && !text.contains("s3cret"), "{text}");
}

#[tokio::test]
async fn a_server_that_hangs_at_the_start_is_an_error_within_seconds() {
    let server = Server::start().await;
    server.freeze();
    let begun = Instant::now();
    assert!(matches!(Nats::connect(options_for(&server)).await, Err(Error::Connect { .. })));
    assert!(begun.elapsed() < Duration::from_secs(9));
}

#[tokio::test]
async fn what_is_published_without_a_connection_is_dropped_and_counted() {
    let mut server = Server::start().await;
    let nats = open(options_for(&server)).await;
    let mut presence = nats.subscribe_presence();
    server.kill();
    eventually("it is noticed", async || !nats.is_connected()).await;
    for _ in 0..3 {
        nats.publish_presence(PresenceMessage::SnapshotWanted(None));
    }
    assert_eq!(nats.dropped().unsent, 3);
    server.restart().await;
    eventually("it is connected again", async || nats.is_connected()).await;
    nats.publish_frame(Arc::new(Frame { epoch: 1, from: 1, to: 0, pushes: Vec::new() }));
    nats.publish_presence(PresenceMessage::SnapshotWanted(None));
    assert_eq!(soon(presence.recv()).await, Some(PresenceMessage::SnapshotWanted(None)));
    assert!(presence.try_recv().is_err(), "what was dropped does not come late");
}
