use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::timeout;
use verbatim_bus::Subscription;
use verbatim_journal::Log;
use verbatim_views::Views;

use super::*;
use crate::world::{
    Dice, World, conversation_read, delivered, joined, notifications_read, said, said_elsewhere,
    settings, started, user,
};

/// A running push reactor, and a gateway's end of the frames.
struct Pushing {
    frames: Subscription<Arc<Frame>>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
    /// The epoch, and the position up to which frames came.
    epoch: u64,
    to: u64,
}

impl Pushing {
    /// Starts the reactor, and takes its first frame.
    async fn start(world: &World, settings: Settings) -> Self {
        let mut frames = world.bus.subscribe_frames();
        let stop = CancellationToken::new();
        let task = run(world.ports(), Arc::new(settings), world.metrics.push.clone(), stop.clone());
        let task = tokio::spawn(task);
        let first = receive(&mut frames).await;
        assert_eq!(first.from, first.to + 1, "the first frame is a heartbeat");
        Self { frames, stop, task, epoch: first.epoch, to: first.to }
    }

    /// The next frame, which must follow on the last one.
    async fn frame(&mut self) -> Arc<Frame> {
        let frame = receive(&mut self.frames).await;
        assert_eq!((frame.epoch, frame.from), (self.epoch, self.to + 1));
        for push in &frame.pushes {
            assert!((frame.from..=frame.to).contains(&push.position()));
        }
        self.to = frame.to;
        frame
    }

    /// All pushes up to a position.
    async fn pushes(&mut self, through: u64) -> Vec<Push> {
        let mut pushes = Vec::new();
        while self.to < through {
            pushes.extend(self.frame().await.pushes.iter().cloned());
        }
        pushes
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
    }
}

async fn receive(frames: &mut Subscription<Arc<Frame>>) -> Arc<Frame> {
    let frame = timeout(Duration::from_secs(20), frames.recv());
    frame.await.expect("a frame comes").expect("the bus lasts")
}

fn message(push: &Push) -> &MessagePush {
    match push {
        Push::Message(message) => message,
        other => panic!("a message, not {other:?}"),
    }
}

fn recipients(push: &Push) -> Vec<&str> {
    message(push).recipients.iter().map(UserId::as_str).collect()
}

#[tokio::test]
async fn the_first_frame_tells_where_pushes_begin_and_silence_is_filled_with_heartbeats() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    let mut pushing = Pushing::start(&world, settings()).await;
    assert_eq!((pushing.epoch, pushing.to), (1, 3));
    for _ in 0..3 {
        let frame = pushing.frame().await;
        assert_eq!((frame.to, frame.pushes.len()), (3, 0));
    }
    pushing.end().await;
}

#[tokio::test]
async fn a_restarted_reactor_has_a_higher_epoch_and_begins_at_the_head() {
    let world = World::new();
    let first = Pushing::start(&world, settings()).await;
    first.end().await;
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.state.faults.fail(2);
    let second = Pushing::start(&world, settings()).await;
    assert_eq!((second.epoch, second.to), (2, 3));
    second.end().await;
}

#[tokio::test]
async fn a_message_is_pushed_as_the_wire_contract_shows_it() {
    let world = World::new();
    let mut pushing = Pushing::start(&world, settings()).await;
    let mut events = started("c", ConversationKind::Direct, &["ann", "bob"]);
    events.push(said("c", "ann"));
    let position = world.record(events);
    let pushes = pushing.pushes(position).await;
    assert_eq!(pushes.len(), 1, "starting a direct conversation refreshes nothing");
    assert_eq!(recipients(&pushes[0]), ["ann", "bob"]);
    let first = message(&pushes[0]);
    assert_eq!((first.position, first.sender_id.as_str()), (4, "ann"));
    let json: Message = serde_json::from_str(&first.message).expect("it is a message");
    assert_eq!(json.id, first.message_id);
    assert_eq!(json.content, "Hello!");
    assert_eq!(json.conversation_id, first.conversation_id);
    let cursor = json.cursor.expect("the stream's messages have cursors");
    assert_eq!(StreamCursor::parse(&cursor, world.journal.id()), Ok(4));
    pushing.end().await;
}

#[tokio::test]
async fn what_was_said_elsewhere_is_not_pushed() {
    let world = World::new();
    let mut pushing = Pushing::start(&world, settings()).await;
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.record(vec![said_elsewhere("c", "ann")]);
    let position = world.record(vec![said("c", "ann")]);
    let pushes = pushing.pushes(position).await;
    assert_eq!(pushes.iter().map(Push::position).collect::<Vec<_>>(), [position]);
    pushing.end().await;
}

#[tokio::test]
async fn a_new_conversation_is_pushed_without_the_views() {
    let world = World::new();
    world.views.faults.set_down(true);
    world.views.waits.set_down(true);
    let mut pushing = Pushing::start(&world, settings()).await;
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    let position = world.record(vec![said("c", "bob")]);
    assert_eq!(pushing.pushes(position).await.len(), 1);
    assert_eq!(world.views.waits.calls(), 0);
    pushing.end().await;
}

#[tokio::test]
async fn an_old_conversation_waits_for_the_views_and_nothing_is_skipped_meanwhile() {
    let world = World::new();
    world.record(started("old", ConversationKind::Direct, &["ann", "bob"]));
    world.views.faults.fail(3);
    world.views.waits.fail(3);
    let mut pushing = Pushing::start(&world, settings()).await;
    let position = world.record(vec![said("old", "ann")]);
    world.until("the views were asked", || world.views.waits.calls() >= 4).await;
    let mut events = started("new", ConversationKind::Direct, &["ann", "cy"]);
    events.push(said("new", "ann"));
    let last = world.record(events);
    assert_eq!(world.views.checkpoint(), 0);
    while world.views.checkpoint() < position {
        world.views.apply(&world.journal.events()).await.ok();
    }
    let pushes = pushing.pushes(last).await;
    assert_eq!(pushes.iter().map(Push::position).collect::<Vec<_>>(), [position, last]);
    assert_eq!(recipients(&pushes[0]), ["ann", "bob"]);
    pushing.end().await;
}

#[tokio::test]
async fn changed_lists_are_refreshed() {
    let world = World::new();
    let mut pushing = Pushing::start(&world, settings()).await;
    let mut events = started("g", ConversationKind::Group, &["ann", "bob"]);
    events.extend(started("d", ConversationKind::Direct, &["ann", "bob"]));
    events.extend([conversation_read("d", "bob"), notifications_read("ann")]);
    events.extend([delivered("ann", 1), joined("g", "cy")]);
    let last = world.record(events);
    let expected = [
        (2, List::Conversations, "ann"),
        (3, List::Conversations, "bob"),
        (7, List::Conversations, "bob"),
        (8, List::Notifications, "ann"),
        (10, List::Conversations, "cy"),
    ];
    let expected = expected
        .map(|(position, list, who)| Push::Refresh(Refresh { position, list, user_id: user(who) }));
    assert_eq!(pushing.pushes(last).await, expected);
    pushing.end().await;
}

#[tokio::test]
async fn a_frame_is_bounded_in_bytes() {
    let world = World::new();
    let settings = Settings { frame_bytes: 1, ..settings() };
    let mut pushing = Pushing::start(&world, settings).await;
    let mut events = started("c", ConversationKind::Direct, &["ann", "bob"]);
    events.extend([said("c", "ann"), said("c", "ann"), conversation_read("c", "bob")]);
    world.record(events);
    let mut ends = Vec::new();
    while pushing.to < 6 {
        let frame = pushing.frame().await;
        if !frame.pushes.is_empty() {
            ends.push(frame.to);
        }
    }
    assert_eq!(ends, [4, 5, 6]);
    pushing.end().await;
}

#[tokio::test]
async fn frames_are_contiguous_and_complete_whatever_the_feed_drops() {
    for seed in 0..10 {
        let world = World::new();
        let mut dice = Dice(seed);
        let settings = Settings { batch_events: 1 + dice.roll(20) as usize, ..settings() };
        let mut pushing = Pushing::start(&world, settings).await;
        let mut expected: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        let mut groups: Vec<Vec<String>> = Vec::new();
        for _ in 0..150 {
            let events = match dice.roll(10) {
                0 => {
                    let id = format!("g{}", groups.len());
                    groups.push(vec!["ann".to_owned(), "bob".to_owned()]);
                    started(&id, ConversationKind::Group, &["ann", "bob"])
                }
                1 if !groups.is_empty() => {
                    let group = dice.roll(groups.len() as u64) as usize;
                    let name = format!("user{}", groups[group].len());
                    groups[group].push(name.clone());
                    vec![joined(&format!("g{group}"), &name)]
                }
                _ if !groups.is_empty() => {
                    let group = dice.roll(groups.len() as u64) as usize;
                    expected.insert(world.journal.last() + 1, groups[group].clone());
                    vec![said(&format!("g{group}"), "ann")]
                }
                _ => continue,
            };
            if dice.roll(3) == 0 {
                world.commit(events);
            } else {
                world.record(events);
            }
            if dice.roll(4) == 0 {
                tokio::task::yield_now().await;
            }
        }
        let pushes = pushing.pushes(world.journal.last()).await;
        let messages = pushes.iter().filter(|push| matches!(push, Push::Message(_)));
        let given: BTreeMap<_, Vec<String>> = messages
            .map(|push| (push.position(), recipients(push).iter().map(|&r| r.into()).collect()))
            .collect();
        assert_eq!(given, expected, "seed {seed}");
        pushing.end().await;
    }
}

#[tokio::test]
async fn an_unknown_event_halts_the_reactor() {
    let world = World::new();
    let pushing = Pushing::start(&world, settings()).await;
    world.journal.corrupt_from(1);
    world.commit(vec![said("c", "ann")]);
    let error = pushing.task.await.expect("no panic").expect_err("it can't be read");
    assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
}
