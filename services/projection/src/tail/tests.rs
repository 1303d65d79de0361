use std::time::Duration;

use verbatim_bus::Bus;
use verbatim_domain::conversation::ConversationKind;

use super::*;
use crate::world::{Dice, World, said, settings, started};

/// Nothing but a hole or an announcement makes a reader look.
fn patient() -> Settings {
    Settings { feed_silence: Duration::from_hours(1), ..settings() }
}

fn positions(batch: &[Arc<Recorded>]) -> Vec<u64> {
    batch.iter().map(|event| event.position).collect()
}

/// The next events, which must come soon.
async fn next(tail: &mut Tail) -> Vec<Arc<Recorded>> {
    let next = tokio::time::timeout(Duration::from_secs(20), tail.next());
    next.await.expect("they come").expect("events")
}

fn world_with(events: usize) -> World {
    let world = World::new();
    world.commit((0..events).map(|_| said("c", "ann")).collect());
    world
}

#[tokio::test]
async fn a_reader_begins_with_what_is_in_the_journal() {
    let world = world_with(5);
    let mut tail = Tail::new(&world.ports(), &patient(), 2);
    assert_eq!(positions(&next(&mut tail).await), [3, 4, 5]);
    world.record(vec![said("c", "ann"), said("c", "ann")]);
    assert_eq!(positions(&next(&mut tail).await), [6, 7]);
}

#[tokio::test]
async fn all_that_waits_is_taken_at_once_up_to_the_limit() {
    let world = world_with(7);
    let settings = Settings { batch_events: 3, ..patient() };
    let mut tail = Tail::new(&world.ports(), &settings, 0);
    for expected in [vec![1, 2, 3], vec![4, 5, 6], vec![7]] {
        assert_eq!(positions(&next(&mut tail).await), expected);
        assert_eq!(tail.head(), 7);
    }
    world.record(vec![said("c", "ann"), said("c", "ann")]);
    world.record(vec![said("c", "ann"), said("c", "ann")]);
    let reads = world.journal.faults.calls();
    assert_eq!(positions(&next(&mut tail).await), [8, 9, 10]);
    assert_eq!(tail.head(), 11);
    assert_eq!(positions(&next(&mut tail).await), [11]);
    assert_eq!(world.journal.faults.calls(), reads, "the feed had all of them");
}

#[tokio::test]
async fn a_hole_in_the_feed_is_filled_from_the_journal() {
    let world = world_with(1);
    let mut tail = Tail::new(&world.ports(), &patient(), 0);
    assert_eq!(positions(&next(&mut tail).await), [1]);
    world.commit(vec![said("c", "ann")]);
    world.record(vec![said("c", "ann")]);
    assert_eq!(positions(&next(&mut tail).await), [2, 3]);
}

#[tokio::test]
async fn what_is_announced_again_is_not_given_again() {
    let world = world_with(1);
    let mut tail = Tail::new(&world.ports(), &patient(), 0);
    assert_eq!(positions(&next(&mut tail).await), [1]);
    world.commit(vec![said("c", "ann"), said("c", "ann"), said("c", "ann")]);
    let events = world.journal.events();
    world.bus.publish_events(events[..2].into());
    assert_eq!(positions(&next(&mut tail).await), [2]);
    world.bus.publish_events(events[..2].into());
    world.bus.publish_events(events[1..].into());
    assert_eq!(positions(&next(&mut tail).await), [3, 4]);
}

#[tokio::test]
async fn after_a_silence_the_journal_is_asked() {
    let world = world_with(1);
    let mut tail = Tail::new(&world.ports(), &settings(), 0);
    assert_eq!(positions(&next(&mut tail).await), [1]);
    world.commit(vec![said("c", "ann")]);
    assert_eq!(positions(&next(&mut tail).await), [2]);
}

#[tokio::test]
async fn a_closed_feed_is_made_up_for_by_the_journal() {
    let world = world_with(0);
    let mut tail = Tail::new(&world.ports(), &settings(), 0);
    let (sender, feed) = tokio::sync::mpsc::channel(1);
    tail.feed = feed;
    drop(sender);
    world.commit(vec![said("c", "ann")]);
    assert_eq!(positions(&next(&mut tail).await), [1]);
}

#[tokio::test]
async fn an_announcement_that_the_journal_does_not_show_yet_is_asked_for_again() {
    let world = world_with(3);
    let events = world.journal.events();
    world.journal.lose_after(1);
    let mut tail = Tail::new(&world.ports(), &settings(), 0);
    world.bus.publish_events(events[2..].into());
    assert_eq!(positions(&next(&mut tail).await), [1]);
    let mut next = std::pin::pin!(tail.next());
    let reads = world.journal.faults.calls();
    tokio::select! {
        _ = &mut next => panic!("there is nothing to give"),
        () = world.until("it was asked for", || world.journal.faults.calls() > reads + 2) => {}
    }
    world.commit(vec![said("c", "ann"), said("c", "ann")]);
    assert_eq!(positions(&next.await.expect("events")), [2, 3]);
}

#[tokio::test]
async fn an_unavailable_journal_is_asked_until_it_answers() {
    let world = world_with(2);
    world.journal.faults.fail(3);
    let mut tail = Tail::new(&world.ports(), &patient(), 0);
    assert_eq!(positions(&next(&mut tail).await), [1, 2]);
}

#[tokio::test]
async fn an_unknown_event_halts_the_reader() {
    let world = world_with(2);
    world.journal.corrupt_from(2);
    let mut tail = Tail::new(&world.ports(), &patient(), 0);
    let error = tail.next().await.expect_err("it can't be read");
    assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
}

#[tokio::test]
async fn a_hole_in_the_journal_halts_the_reader() {
    let world = world_with(3);
    world.journal.lose_position(2);
    let mut tail = Tail::new(&world.ports(), &patient(), 0);
    let error = tail.next().await.expect_err("an event is missing");
    assert!(error.to_string().contains("position 3 where 2 is due"), "{error:#}");
}

#[tokio::test]
async fn a_journal_that_ends_below_the_checkpoint_halts_the_reader() {
    let world = world_with(3);
    let mut tail = Tail::new(&world.ports(), &patient(), 4);
    let error = tail.next().await.expect_err("an event was lost");
    assert!(error.to_string().contains("ends at position 3"), "{error:#}");
}

#[tokio::test]
async fn every_event_comes_once_and_in_order_whatever_the_feed_drops_and_repeats() {
    for seed in 0..20 {
        let world = World::new();
        let mut dice = Dice(seed);
        world.commit(started("c", ConversationKind::Direct, &["ann", "bob"]));
        let settings = Settings { batch_events: 1 + dice.roll(9) as usize, ..settings() };
        let mut tail = Tail::new(&world.ports(), &settings, 0);
        let mut given = Vec::new();
        for _ in 0..60 {
            world.commit((0..=dice.roll(6)).map(|_| said("c", "ann")).collect());
            let events = world.journal.events();
            for _ in 0..dice.roll(3) {
                let from = events.len().saturating_sub(1 + dice.roll(12) as usize);
                world.bus.publish_events(events[from..].into());
            }
            if dice.roll(3) == 0 && tail.position() < world.journal.last() {
                given.extend(positions(&next(&mut tail).await));
            }
        }
        while tail.position() < world.journal.last() {
            let batch = next(&mut tail).await;
            assert!((1..=settings.batch_events).contains(&batch.len()), "seed {seed}");
            given.extend(positions(&batch));
        }
        let expected: Vec<_> = (1..=world.journal.last()).collect();
        assert_eq!(given, expected, "seed {seed}");
    }
}
