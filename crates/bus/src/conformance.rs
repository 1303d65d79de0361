//! What every adapter of the bus keeps, as tests.
//!
//! An adapter instantiates them with [`conformance_tests!`](crate::conformance_tests).

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use verbatim_domain::{
    AggregateType, ConversationCommand, Event, InboxEvent, LANES, StreamId,
    conversation::MarkRead,
    inbox::{DeliveryAdvanced, DeliveryOutcome},
};
use verbatim_protocol::presence::{Announcement, Change, GatewayId};
use verbatim_protocol::{
    Command, CommandEnvelope, CommandKey, Committed, ErrorCode, Frame, Recorded, Reply, Timestamp,
};

use crate::{Bus, CommandSource, PresenceMessage, ReplyFuture, Request, Subscription, Taken};

/// No behaviour takes longer, unless it is broken.
const PATIENCE: Duration = Duration::from_secs(20);

/// The queues that a test wants to see full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub commands: usize,
    /// Of each subscription.
    pub subscription: usize,
}

impl Limits {
    const ROOMY: Self = Self { commands: 10_000, subscription: 1_000 };
}

/// A bus to try, and the way to close it.
pub struct Subject {
    pub bus: Arc<dyn Bus>,
    pub close: Box<dyn FnOnce() + Send>,
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").finish_non_exhaustive()
    }
}

/// Makes one test of each behaviour. Takes the name of an `async fn(Limits) -> Subject`, which
/// makes a bus that no other test uses.
#[macro_export]
macro_rules! conformance_tests {
    ($make:path) => {
        $crate::conformance_tests! { $make:
            commands_keep_their_order_within_each_lane
            next_gives_no_more_than_asked_for
            the_reply_reaches_who_gave_the_command
            a_command_is_on_its_way_before_its_future_is_polled
            a_dropped_request_reads_as_unavailable
            a_command_that_nobody_settles_is_unavailable_at_its_deadline
            a_command_past_its_deadline_is_unavailable
            a_full_queue_refuses_at_once_and_takes_again_when_there_is_room
            a_closed_bus_refuses_and_ends_its_source
            a_later_source_takes_over_what_waits
            a_cancelled_next_loses_nothing
            every_subscriber_gets_every_frame_in_order
            every_subscriber_gets_the_events
            a_slow_subscriber_loses_only_its_own
            who_left_is_forgotten
            presence_comes_back_to_the_announcer
        }
    };
    ($make:path: $($name:ident)+) => {
        $(#[tokio::test]
        async fn $name() {
            $crate::conformance::$name($make).await;
        })+
    };
}

fn envelope(lane: usize, number: u64, time: Duration) -> CommandEnvelope {
    let command = MarkRead { reader: "ann".parse().expect("a user id"), through: Some(number) };
    CommandEnvelope {
        command_id: Uuid::from_u64_pair(lane as u64, number),
        key: CommandKey { issuer: "$test".into(), key: format!("{lane}/{number}").into() },
        deadline: Timestamp(Timestamp::now().0 + time.as_millis() as i64),
        traceparent: None,
        command: Command::Conversation {
            id: format!("conv_{lane}").parse().expect("an id"),
            command: ConversationCommand::MarkRead(command),
        },
    }
}

pub(crate) fn command(number: u64) -> CommandEnvelope {
    envelope(0, number, PATIENCE)
}

pub(crate) fn done(position: u64) -> Committed {
    Committed { position, duplicate: false, message: None }
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it should have happened by now")
}

async fn take(source: &mut dyn CommandSource, count: usize) -> Vec<Request> {
    let mut taken = Vec::new();
    while taken.len() < count {
        let more = soon(source.next(count - taken.len())).await.expect("the bus is open");
        taken.extend(requests(more));
    }
    taken
}

fn requests(taken: Vec<Taken>) -> Vec<Request> {
    taken.into_iter().filter_map(Taken::request).collect()
}

/// The receiving end of all lanes, behind what was `taken` of them.
pub(crate) fn open(bus: &dyn Bus, taken: &[Request]) -> Box<dyn CommandSource> {
    let mut source = bus.commands();
    for lane in 0..LANES {
        let mut places = taken.iter().rev().filter_map(|request| request.place);
        let after = places.find(|place| place.lane == lane);
        source.follow(lane, after.and_then(|place| place.cursor));
    }
    source
}

/// Waits until so many commands are there to be taken.
async fn queued(bus: &dyn Bus, count: usize) {
    let reached = async {
        while bus.queued_commands() != count {
            tokio::task::yield_now().await;
        }
    };
    soon(reached).await;
}

fn ids(requests: &[Request]) -> Vec<Uuid> {
    requests.iter().map(|request| request.command.command_id).collect()
}

fn is_unavailable(reply: &Reply) -> bool {
    reply.as_ref().is_err_and(|failure| {
        failure.code == ErrorCode::Unavailable && failure.retry_after_ms.is_some()
    })
}

fn frame(number: u64) -> Arc<Frame> {
    Arc::new(Frame { epoch: 1, from: number, to: number, pushes: Vec::new() })
}

async fn frames(subscription: &mut Subscription<Arc<Frame>>, count: usize) -> Vec<u64> {
    let mut numbers = Vec::new();
    for _ in 0..count {
        numbers.push(soon(subscription.recv()).await.expect("a frame").from);
    }
    numbers
}

pub async fn commands_keep_their_order_within_each_lane<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let _replies: Vec<ReplyFuture> =
        (0..1_000).map(|n| bus.send(envelope(n % 7, n as u64, PATIENCE))).collect();
    let mut last = HashMap::new();
    for request in take(&mut *source, 1_000).await {
        let (lane, number) = request.command.command_id.as_u64_pair();
        let before = last.insert(lane, number);
        assert!(before.is_none_or(|before| before < number), "lane {lane}: {before:?}, {number}");
    }
    assert_eq!(last.len(), 7);
}

pub async fn next_gives_no_more_than_asked_for<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let mut replies = Vec::new();
    for n in 0..10 {
        replies.push(bus.send(command(n)));
        // What is ready at once may stand at one place, and is given out together.
        queued(&*bus, n as usize + 1).await;
    }
    let mut left = 10;
    while left > 0 {
        let taken = soon(source.next(3)).await.expect("the bus is open").len();
        assert!((1..=3).contains(&taken), "{taken}");
        left -= taken;
    }
    assert_eq!(bus.queued_commands(), 0);
}

pub async fn the_reply_reaches_who_gave_the_command<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let replies: Vec<ReplyFuture> = (0..20).map(|n| bus.send(command(n))).collect();
    for request in take(&mut *source, 20).await.into_iter().rev() {
        let (_, number) = request.command.command_id.as_u64_pair();
        (request.reply)(Ok(done(100 + number)));
    }
    for (number, reply) in (0..).zip(replies) {
        assert_eq!(soon(reply).await, Ok(done(100 + number)));
    }
}

pub async fn a_command_is_on_its_way_before_its_future_is_polled<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let first = bus.send(command(1));
    let second = bus.send(command(2));
    drop((second, first));
    let expected = [command(1).command_id, command(2).command_id];
    assert_eq!(ids(&take(&mut *source, 2).await), expected);
}

pub async fn a_dropped_request_reads_as_unavailable<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let reply = bus.send(command(1));
    drop(take(&mut *source, 1).await);
    assert!(is_unavailable(&soon(reply).await));
}

pub async fn a_command_that_nobody_settles_is_unavailable_at_its_deadline<
    F: Future<Output = Subject>,
>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let short = envelope(0, 1, Duration::from_millis(50));
    let deadline = short.deadline;
    let reply = soon(bus.send(short)).await;
    assert!(is_unavailable(&reply), "nobody takes it: {reply:?}");
    assert!(Timestamp::now() >= deadline, "not before its time");

    let mut source = open(&*bus, &[]);
    let reply = bus.send(envelope(0, 2, Duration::from_millis(50)));
    let held = take(&mut *source, 1).await;
    let reply = soon(reply).await;
    assert!(is_unavailable(&reply), "it was taken, but not settled: {reply:?}");
    drop(held);
}

pub async fn a_command_past_its_deadline_is_unavailable<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut late = command(1);
    late.deadline = Timestamp(Timestamp::now().0 - 1);
    assert!(is_unavailable(&soon(bus.send(late)).await));
}

pub async fn a_full_queue_refuses_at_once_and_takes_again_when_there_is_room<
    F: Future<Output = Subject>,
>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits { commands: 3, ..Limits::ROOMY }).await;
    let mut source = open(&*bus, &[]);
    let waiting: Vec<ReplyFuture> = (0..3).map(|n| bus.send(command(n))).collect();
    queued(&*bus, 3).await;
    // Its deadline is far: only the refusal can answer it so soon.
    let refused = tokio::time::timeout(PATIENCE / 4, bus.send(command(3))).await;
    assert!(is_unavailable(&refused.expect("an answer at once")));

    for request in take(&mut *source, 3).await {
        (request.reply)(Ok(done(1)));
    }
    for reply in waiting {
        assert_eq!(soon(reply).await, Ok(done(1)));
    }
    let _reply = bus.send(command(4));
    assert_eq!(ids(&take(&mut *source, 1).await), [command(4).command_id]);
}

pub async fn a_closed_bus_refuses_and_ends_its_source<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, close } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let reply = bus.send(command(1));
    queued(&*bus, 1).await;
    close();
    let refused = tokio::time::timeout(PATIENCE / 4, bus.send(command(2))).await;
    assert!(is_unavailable(&refused.expect("an answer at once")));
    for request in take(&mut *source, 1).await {
        (request.reply)(Ok(done(1)));
    }
    assert_eq!(soon(reply).await, Ok(done(1)), "what was queued could still be settled");
    assert!(soon(source.next(1)).await.is_none());
}

pub async fn a_later_source_takes_over_what_waits<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut first = open(&*bus, &[]);
    let mut replies: Vec<ReplyFuture> = (0..2).map(|n| bus.send(command(n))).collect();
    // What is ready at once may stand at one place; the others come behind it.
    queued(&*bus, 2).await;
    replies.extend((2..4).map(|n| bus.send(command(n))));
    let mut taken = take(&mut *first, 2).await;
    assert_eq!(taken.len(), 2);
    let mut second = open(&*bus, &taken);
    assert!(soon(first.next(1)).await.is_none(), "the first has ended");
    let expected = [command(2).command_id, command(3).command_id];
    let more = take(&mut *second, 2).await;
    assert_eq!(ids(&more), expected);
    taken.extend(more);

    let waiting = tokio::spawn(async move { second.next(1).await.is_none() });
    tokio::task::yield_now().await;
    let mut third = open(&*bus, &taken);
    assert!(soon(waiting).await.expect("no panic"), "who waits hears of it");
    let _reply = bus.send(command(5));
    assert_eq!(ids(&take(&mut *third, 1).await), [command(5).command_id]);
}

pub async fn a_cancelled_next_loses_nothing<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut source = open(&*bus, &[]);
    let mut seen = Vec::new();
    let mut replies = Vec::new();
    for number in 0..200 {
        tokio::select! {
            biased;
            taken = source.next(10) => seen.extend(ids(&requests(taken.expect("the bus is open")))),
            () = tokio::task::yield_now() => {}
        }
        replies.push(bus.send(command(number)));
    }
    seen.extend(ids(&take(&mut *source, 200 - seen.len()).await));
    let expected: Vec<_> = (0..200).map(|number| command(number).command_id).collect();
    assert_eq!(seen, expected);
}

pub async fn every_subscriber_gets_every_frame_in_order<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut subscriptions = [bus.subscribe_frames(), bus.subscribe_frames()];
    for number in 1..=500 {
        bus.publish_frame(frame(number));
    }
    for subscription in &mut subscriptions {
        assert_eq!(frames(subscription, 500).await, (1..=500).collect::<Vec<_>>());
    }
}

pub async fn every_subscriber_gets_the_events<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut subscriptions = [bus.subscribe_events(), bus.subscribe_events()];
    let events: Arc<[Arc<Recorded>]> = (1..=3)
        .map(|position| {
            let advanced =
                DeliveryAdvanced { through: position, outcome: DeliveryOutcome::Acknowledged };
            Arc::new(Recorded {
                position,
                stream: StreamId {
                    aggregate_type: AggregateType::Inbox,
                    aggregate_id: "ann".into(),
                },
                sequence: position,
                recorded_at: Timestamp(0),
                command: None,
                metadata: "{}".into(),
                event: Event::Inbox(InboxEvent::DeliveryAdvanced(advanced)),
                original: None,
            })
        })
        .collect();
    bus.publish_events(Arc::clone(&events));
    for subscription in &mut subscriptions {
        assert_eq!(soon(subscription.recv()).await, Some(Arc::clone(&events)));
    }
}

pub async fn a_slow_subscriber_loses_only_its_own<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits { subscription: 4, ..Limits::ROOMY }).await;
    let mut slow = bus.subscribe_frames();
    let mut quick = bus.subscribe_frames();
    for number in 1..=20 {
        bus.publish_frame(frame(number));
        assert_eq!(frames(&mut quick, 1).await, [number]);
    }
    let kept = frames(&mut slow, 4).await;
    assert!(kept.is_sorted() && slow.try_recv().is_err(), "it kept {kept:?} and no more");
    bus.publish_frame(frame(21));
    assert_eq!(frames(&mut slow, 1).await, [21], "and goes on");
}

pub async fn who_left_is_forgotten<F: Future<Output = Subject>>(make: impl FnOnce(Limits) -> F) {
    let Subject { bus, .. } = make(Limits { subscription: 4, ..Limits::ROOMY }).await;
    let mut stays = bus.subscribe_frames();
    drop(bus.subscribe_frames());
    for number in 1..=20 {
        bus.publish_frame(frame(number));
        assert_eq!(frames(&mut stays, 1).await, [number]);
    }
}

pub async fn presence_comes_back_to_the_announcer<F: Future<Output = Subject>>(
    make: impl FnOnce(Limits) -> F,
) {
    let Subject { bus, .. } = make(Limits::ROOMY).await;
    let mut announcer = bus.subscribe_presence();
    let mut other = bus.subscribe_presence();
    let gateway = GatewayId(Uuid::from_u128(1));
    let messages = [
        PresenceMessage::SnapshotWanted(None),
        PresenceMessage::Announcement(Arc::new(Announcement {
            gateway,
            number: 1,
            change: Change::Connected {
                user_id: "ann".parse().expect("a user id"),
                socket_id: "s1".into(),
            },
        })),
    ];
    for message in &messages {
        bus.publish_presence(message.clone());
    }
    for subscription in [&mut announcer, &mut other] {
        for message in &messages {
            assert_eq!(soon(subscription.recv()).await.as_ref(), Some(message));
        }
    }
}
