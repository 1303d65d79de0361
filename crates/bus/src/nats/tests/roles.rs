//! Each role with a login that may do what the module's documentation says, and nothing else.

use super::*;

const AUTHORIZATION: &str = r#"
authorization {
  users = [
    { user: admin, password: s3cret }
    { user: gateway, password: s3cret, permissions: {
      publish: ["verbatim.commands.*", "verbatim.presence", "verbatim.roundtrip"]
      subscribe: ["verbatim.replies.gateway.>", "verbatim.frames", "verbatim.presence"]
    } }
    { user: aggregate, password: s3cret, permissions: {
      publish: ["verbatim.replies.*.*.command.reply.*", "verbatim.events", "verbatim.roundtrip",
        "$JS.API.STREAM.INFO.VERBATIM_COMMANDS", "$JS.API.STREAM.MSG.GET.VERBATIM_COMMANDS",
        "$JS.API.CONSUMER.CREATE.VERBATIM_COMMANDS.>",
        "$JS.API.CONSUMER.DELETE.VERBATIM_COMMANDS.*",
        "$JS.API.CONSUMER.MSG.NEXT.VERBATIM_COMMANDS.*"]
      subscribe: ["verbatim.replies.aggregate.>"]
    } }
    { user: projection, password: s3cret, permissions: {
      publish: ["verbatim.commands.*", "verbatim.frames", "verbatim.presence",
        "verbatim.roundtrip"]
      subscribe: ["verbatim.replies.projection.>", "verbatim.events", "verbatim.presence"]
    } }
  ]
}
"#;

fn login(server: &Server, role: &str, topics: Topics) -> NatsOptions {
    NatsOptions {
        urls: vec![server.url().replace("nats://", &format!("nats://{role}:s3cret@"))],
        role: role.to_owned(),
        topics,
        ..NatsOptions::new("")
    }
}

#[tokio::test]
async fn every_role_does_its_work_with_the_permissions_of_the_table() {
    let server = Server::start_with(AUTHORIZATION).await;
    let aggregate = login(&server, "aggregate", Topics::AGGREGATE);
    let early = Nats::connect(aggregate.clone()).await.expect("a connection");
    assert!(matches!(early.ensure_stream().await, Err(Error::Stream { .. })), "not permitted");
    open(login(&server, "admin", Topics::ALL)).await;

    let aggregate = open(aggregate).await;
    let gateway = login(&server, "gateway", Topics::GATEWAY);
    let gateway = Nats::connect(gateway).await.expect("a connection");
    let projection = login(&server, "projection", Topics::PROJECTION);
    let projection = Nats::connect(projection).await.expect("a connection");

    let mut source = crate::conformance::open(&aggregate, &[]);
    for sender in [&gateway, &projection] {
        let reply = sender.send(one(1));
        let taken = take(&mut *source, 1).await;
        source.follow(lane(), taken.last().map(cursor));
        for request in taken {
            (request.reply)(Ok(done(1)));
        }
        assert_eq!(soon(reply).await, Ok(done(1)));
    }
    let (mut frames, mut events) = (gateway.subscribe_frames(), projection.subscribe_events());
    let mut presence = [gateway.subscribe_presence(), projection.subscribe_presence()];
    projection.publish_frame(Arc::new(Frame { epoch: 1, from: 1, to: 0, pushes: Vec::new() }));
    aggregate.publish_events([].into());
    gateway.publish_presence(PresenceMessage::SnapshotWanted(None));
    assert!(soon(frames.recv()).await.is_some() && soon(events.recv()).await.is_some());
    for presence in &mut presence {
        assert!(soon(presence.recv()).await.is_some());
    }
}

#[tokio::test]
async fn a_login_that_may_not_even_ask_is_an_error_at_the_start() {
    let server = Server::start_with(
        "authorization { users = [{ user: ann, password: s3cret, permissions: { publish: [x] } }] }",
    )
    .await;
    let connected = Nats::connect(login(&server, "ann", Topics::ALL)).await;
    assert!(matches!(connected, Err(Error::Silent { .. })), "{connected:?}");
}

#[tokio::test]
async fn a_wrong_password_is_an_error_at_the_start() {
    let server = Server::start_with(AUTHORIZATION).await;
    let mut options = login(&server, "gateway", Topics::GATEWAY);
    options.login = Some(Login { user: "gateway".to_owned(), password: "wrong".into() });
    assert!(matches!(Nats::connect(options).await, Err(Error::Connect { .. })));
}
