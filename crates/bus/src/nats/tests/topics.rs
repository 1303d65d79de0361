//! Events, frames and presence: large ones, and junk.

use verbatim_protocol::presence::{Announcement, Change, GatewayId};
use verbatim_protocol::{MessagePush, Push};

use super::*;

#[tokio::test]
async fn a_presence_snapshot_of_three_megabytes_comes_whole_and_in_turn() {
    let options = options();
    let (here, there) = (open(options.clone()).await, open(options).await);
    let mut presence = there.subscribe_presence();
    let sockets = (0..40_000)
        .map(|n| (format!("user_{n}").parse().expect("a user id"), "x".repeat(64).into()))
        .collect();
    let gateway = GatewayId(Uuid::from_u128(1));
    let announcement = |number, change| {
        PresenceMessage::Announcement(Arc::new(Announcement { gateway, number, change }))
    };
    let messages = [
        announcement(1, Change::Heartbeat),
        announcement(1, Change::Snapshot { sockets }),
        announcement(2, Change::Heartbeat),
    ];
    let written = wire::Wire::encode(&messages[1]).expect("it can be written").len();
    assert!(written > 3 << 20, "{written}");
    for message in &messages {
        here.publish_presence(message.clone());
    }
    for message in &messages {
        assert!(soon(presence.recv()).await.as_ref() == Some(message));
    }
    assert_eq!(there.dropped(), Dropped::default());
}

#[tokio::test]
async fn frames_for_large_groups_come_whole_to_every_process() {
    let options = options();
    let (here, there) = (open(options.clone()).await, open(options).await);
    let mut frames = [here.subscribe_frames(), there.subscribe_frames(), there.subscribe_frames()];
    let recipients: Arc<[_]> =
        (0..1_000).map(|n| format!("user_{n:060}").parse().expect("a user id")).collect();
    let push = |position| {
        Push::Message(MessagePush {
            position,
            message_id: "01890000-0000-7000-8000-000000000001".parse().expect("an id"),
            conversation_id: "conv_1".parse().expect("an id"),
            sender_id: "ann".parse().expect("a user id"),
            recipients: Arc::clone(&recipients),
            message: r#"{"content":"\"hi\""}"#.into(),
        })
    };
    // One below the server's limit, one above.
    for (from, to) in [(1, 1), (2, 61)] {
        let pushes = (from..=to).map(push).collect();
        let frame = Arc::new(Frame { epoch: 1, from, to, pushes });
        here.publish_frame(Arc::clone(&frame));
        for frames in &mut frames {
            assert!(soon(frames.recv()).await.as_ref() == Some(&frame));
        }
    }
}

#[tokio::test]
async fn junk_on_every_topic_is_counted_and_ignored() {
    let nats = open(options()).await;
    let mut frames = nats.subscribe_frames();
    let mut presence = nats.subscribe_presence();
    let mut events = nats.subscribe_events();
    let client = nats.link.client();
    let parts =
        ["", "junk", "a:0:1", "a:1:2", "a:5:4", "a:0:9999999999", ":0:2", "a:0:2:1", "a:-1:2"];
    for topic in ["events", "frames", "presence"] {
        let subject = nats.readers.subjects.topic(topic);
        for payload in ["", "junk", "{}", "[1]", "\u{0}", r#"{"epoch":"x"}"#] {
            client.publish(subject.clone(), payload.into()).await.expect("it goes out");
        }
        for part in parts {
            let mut headers = async_nats::HeaderMap::new();
            headers.insert(parts::PART, part);
            let published = client.publish_with_headers(subject.clone(), headers, "{}".into());
            published.await.expect("it goes out");
        }
    }
    let frame = Arc::new(Frame { epoch: 1, from: 1, to: 0, pushes: Vec::new() });
    nats.publish_frame(Arc::clone(&frame));
    nats.publish_presence(PresenceMessage::SnapshotWanted(None));
    nats.publish_events([].into());
    assert_eq!(soon(frames.recv()).await, Some(frame));
    assert_eq!(soon(presence.recv()).await, Some(PresenceMessage::SnapshotWanted(None)));
    assert_eq!(soon(events.recv()).await, Some([].into()));
    let expected = Dropped { malformed: 3 * (6 + parts.len() as u64), ..Dropped::default() };
    assert_eq!(nats.dropped(), expected);
}

#[tokio::test]
async fn who_does_not_listen_to_a_topic_hears_nothing_of_it() {
    let mut options = options();
    options.topics = Topics::AGGREGATE;
    let nats = open(options).await;
    assert_eq!(soon(nats.subscribe_frames().recv()).await, None);
}

/// More messages than go out before anybody looks.
const MANY: usize = 20_000;

#[tokio::test]
async fn a_flush_waits_for_what_was_published() {
    let options = options();
    let (here, there) = (open(options.clone()).await, open(options).await);
    let mut presence = there.subscribe_presence();
    let receiving = tokio::spawn(async move {
        for _ in 0..MANY {
            assert!(soon(presence.recv()).await.is_some());
        }
    });
    for _ in 0..MANY {
        here.publish_presence(PresenceMessage::SnapshotWanted(None));
    }
    assert!(here.flush(PATIENCE).await);
    drop(here);
    receiving.await.expect("all came");
}
