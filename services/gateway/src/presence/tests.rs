use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::time::{advance, sleep};
use verbatim_bus::InProcess;

use super::*;

fn user(id: &str) -> UserId {
    id.parse().expect("a user id")
}

struct Gateway {
    presence: Arc<Presence>,
    shutdown: CancellationToken,
    pauses: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

fn gateway(bus: &Arc<dyn Bus>) -> Gateway {
    let presence = Arc::new(Presence::new(bus.clone()));
    let shutdown = CancellationToken::new();
    let pauses = Arc::new(AtomicUsize::new(0));
    let task = tokio::spawn({
        let (presence, shutdown, pauses) = (presence.clone(), shutdown.clone(), pauses.clone());
        async move {
            let note = || {
                pauses.fetch_add(1, Ordering::Relaxed);
            };
            presence.run(shutdown, note).await;
        }
    });
    Gateway { presence, shutdown, pauses, task }
}

/// The clock is the test's own: it moves on once nobody has anything left to do.
async fn settle() {
    sleep(Duration::from_millis(1)).await;
}

#[tokio::test(start_paused = true)]
async fn a_gateway_sees_its_own_sockets_at_once_and_others_by_their_announcements() {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::default());
    let (here, there) = (gateway(&bus), gateway(&bus));
    settle().await;
    here.presence.connected(&user("ann"), &"a".into());
    assert_eq!(here.presence.total(), 1);
    settle().await;
    assert!(there.presence.is_connected(&user("ann")));
    there.presence.connected(&user("ann"), &"b".into());
    here.presence.disconnected(&user("ann"), &"a".into());
    settle().await;
    assert!(here.presence.is_connected(&user("ann")), "the other gateway has a socket of hers");
    there.presence.disconnected(&user("ann"), &"b".into());
    settle().await;
    assert!(!here.presence.is_connected(&user("ann")));
    assert_eq!(here.presence.connections(), there.presence.connections());
}

#[tokio::test(start_paused = true)]
async fn a_gateway_that_comes_later_asks_for_everybodys_sockets() {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::default());
    let early = gateway(&bus);
    settle().await;
    early.presence.connected(&user("ann"), &"a".into());
    settle().await;
    let late = gateway(&bus);
    settle().await;
    assert!(late.presence.is_connected(&user("ann")));
}

#[tokio::test(start_paused = true)]
async fn a_lost_announcement_is_noticed_by_the_next_heartbeat() {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::default());
    let here = gateway(&bus);
    settle().await;
    let id = GatewayId(Uuid::from_u128(1));
    let tell = |number, change| {
        let announcement = Announcement { gateway: id, number, change };
        bus.publish_presence(PresenceMessage::Announcement(Arc::new(announcement)));
    };
    let mut messages = bus.subscribe_presence();
    tell(3, Change::Heartbeat);
    loop {
        let message = messages.recv().await.expect("the bus is open");
        if let PresenceMessage::SnapshotWanted(Some(asked)) = message {
            break assert_eq!(asked, id);
        }
    }
    tell(3, Change::Snapshot { sockets: vec![(user("bo"), "b".into())] });
    settle().await;
    assert!(here.presence.is_connected(&user("bo")));
}

#[tokio::test(start_paused = true)]
async fn a_silent_gateway_is_gone_and_one_that_ends_says_so() {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::default());
    let (here, ending) = (gateway(&bus), gateway(&bus));
    settle().await;
    let silent = GatewayId(Uuid::from_u128(1));
    let sockets = vec![(user("bo"), "b".into())];
    let change = Change::Snapshot { sockets };
    let announcement = Announcement { gateway: silent, number: 1, change };
    bus.publish_presence(PresenceMessage::Announcement(Arc::new(announcement)));
    ending.presence.connected(&user("ann"), &"a".into());
    settle().await;
    assert_eq!(here.presence.total(), 2);
    ending.shutdown.cancel();
    ending.task.await.expect("ends");
    settle().await;
    assert!(!here.presence.is_connected(&user("ann")));
    sleep(SILENCE + HEARTBEAT).await;
    assert_eq!(here.presence.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_gateway_notices_that_it_was_held_up() {
    let bus: Arc<dyn Bus> = Arc::new(InProcess::default());
    let here = gateway(&bus);
    sleep(HEARTBEAT * 3).await;
    assert_eq!(here.pauses.load(Ordering::Relaxed), 0);
    advance(SILENCE + HEARTBEAT).await;
    settle().await;
    assert_eq!(here.pauses.load(Ordering::Relaxed), 1);
}
