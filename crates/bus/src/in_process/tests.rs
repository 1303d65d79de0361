use super::*;
use crate::conformance::{Limits, Subject};

async fn make(limits: Limits) -> Subject {
    let bus = Arc::new(InProcess::new(Capacity {
        commands: limits.commands,
        events: limits.subscription,
        frames: limits.subscription,
        presence: limits.subscription,
    }));
    let closing = Arc::clone(&bus);
    Subject { bus, close: Box::new(move || closing.close()) }
}

crate::conformance_tests!(make);

#[tokio::test]
async fn drops_are_counted_by_topic() {
    let bus = InProcess::new(Capacity { frames: 1, presence: 1, ..Capacity::default() });
    let _frames = (bus.subscribe_frames(), bus.subscribe_frames());
    let _presence = bus.subscribe_presence();
    for number in 1..=3 {
        bus.publish_frame(Arc::new(Frame {
            epoch: 1,
            from: number,
            to: number,
            pushes: Vec::new(),
        }));
        bus.publish_presence(PresenceMessage::SnapshotWanted(None));
    }
    assert_eq!(bus.dropped(), Dropped { events: 0, frames: 4, presence: 2 });
}

#[tokio::test]
async fn nobody_subscribed_is_no_drop() {
    let bus = InProcess::default();
    bus.publish_presence(PresenceMessage::SnapshotWanted(None));
    drop(bus.subscribe_presence());
    bus.publish_presence(PresenceMessage::SnapshotWanted(None));
    assert_eq!(bus.dropped(), Dropped::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_wake_up_is_lost_between_many_senders_and_the_source() {
    const EACH: usize = 2_000;
    let bus = Arc::new(InProcess::default());
    let mut source = bus.commands();
    let senders: Vec<_> = (0..4)
        .map(|_| {
            let bus = Arc::clone(&bus);
            tokio::spawn(async move {
                for number in 0..EACH {
                    let reply = bus.send(crate::conformance::command(number as u64)).await;
                    assert!(reply.is_ok(), "{reply:?}");
                }
            })
        })
        .collect();
    let mut left = 4 * EACH;
    while left > 0 {
        let requests = source.next(64).await.expect("the bus is open");
        left -= requests.len();
        for request in requests.into_iter().filter_map(crate::Taken::request) {
            (request.reply)(Ok(crate::conformance::done(1)));
        }
    }
    for sender in senders {
        sender.await.expect("every command was settled");
    }
}
