use tokio::time::timeout;
use verbatim_views::Views;

use super::*;
use crate::world::{World, joined, said, started};

fn names(members: &[UserId]) -> Vec<&str> {
    members.iter().map(UserId::as_str).collect()
}

/// The members that each message of a batch goes to.
async fn recipients(memberships: &mut Memberships, batch: &[Arc<Recorded>]) -> Vec<Arc<[UserId]>> {
    let prepared = timeout(Duration::from_secs(20), memberships.prepare(batch));
    prepared.await.expect("the views need not catch up").expect("the views answer");
    let mut recipients = Vec::new();
    for recorded in batch {
        let conversation = memberships.follow(recorded).expect("the conversation is known");
        if let Event::Conversation(ConversationEvent::MessageSent(_)) = &recorded.event {
            recipients.push(conversation.expect("it is a conversation's").members());
        }
    }
    recipients
}

#[tokio::test]
async fn a_message_goes_to_the_members_of_its_time_even_if_the_views_know_later_ones() {
    let world = World::new();
    let mut events = started("c", ConversationKind::Group, &["ann", "bob"]);
    events.extend([said("c", "ann"), joined("c", "cy"), said("c", "ann"), joined("c", "dan")]);
    world.record(events);
    world.project().await;
    let mut memberships = Memberships::new(world.views.clone(), 100, 3);
    let recipients = recipients(&mut memberships, &world.journal.events()[3..]).await;
    assert_eq!(names(&recipients[0]), ["ann", "bob"]);
    assert_eq!(names(&recipients[1]), ["ann", "bob", "cy"]);
}

#[tokio::test]
async fn a_conversation_that_starts_in_the_batch_needs_no_views() {
    let world = World::new();
    world.views.waits.set_down(true);
    let mut events = started("c", ConversationKind::Direct, &["ann", "bob"]);
    events.extend([said("c", "ann"), said("c", "bob")]);
    world.record(events);
    let mut memberships = Memberships::new(world.views.clone(), 100, 0);
    let recipients = recipients(&mut memberships, &world.journal.events()).await;
    assert_eq!(names(&recipients[0]), ["ann", "bob"]);
    assert!(Arc::ptr_eq(&recipients[0], &recipients[1]), "the list is shared");
}

#[tokio::test]
async fn an_older_conversation_waits_until_the_views_show_what_was_not_followed() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.record(vec![said("c", "ann")]);
    let events = world.journal.events();
    let mut memberships = Memberships::new(world.views.clone(), 100, 3);
    world.views.apply(&events[..2]).await.expect("the views take it");
    let batch = &events[3..];
    let mut recipients = std::pin::pin!(recipients(&mut memberships, batch));
    tokio::select! {
        biased;
        _ = &mut recipients => panic!("the views do not show that bob joined"),
        () = world.until("the views were asked", || world.views.waits.calls() == 1) => {}
    }
    world.project().await;
    assert_eq!(names(&recipients.await[0]), ["ann", "bob"]);
}

#[tokio::test]
async fn what_was_followed_does_not_wait_for_views_that_lag() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.project().await;
    world.record(started("d", ConversationKind::Group, &["ann", "bob"]));
    world.record(vec![said("d", "ann"), joined("d", "cy")]);
    let mut memberships = Memberships::new(world.views.clone(), 100, 3);
    let first = recipients(&mut memberships, &world.journal.events()[3..]).await;
    assert_eq!(names(&first[0]), ["ann", "bob"]);
    world.record(vec![said("c", "ann"), said("d", "ann")]);
    let second = recipients(&mut memberships, &world.journal.events()[8..]).await;
    assert_eq!(names(&second[0]), ["ann", "bob"], "loaded");
    assert_eq!(names(&second[1]), ["ann", "bob", "cy"], "remembered");
    assert_eq!(world.views.checkpoint(), 3);
}

#[tokio::test]
async fn what_was_followed_and_forgotten_waits_for_the_views() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    let mut memberships = Memberships::new(world.views.clone(), 0, 0);
    recipients(&mut memberships, &world.journal.events()).await;
    world.record(vec![said("c", "ann")]);
    let events = world.journal.events();
    let mut recipients = std::pin::pin!(recipients(&mut memberships, &events[3..]));
    tokio::select! {
        biased;
        _ = &mut recipients => panic!("the views do not show the conversation"),
        () = world.until("the views were asked", || world.views.waits.calls() == 1) => {}
    }
    world.project().await;
    assert_eq!(names(&recipients.await[0]), ["ann", "bob"]);
}

#[tokio::test]
async fn what_was_not_needed_for_longest_is_forgotten_and_loaded_again() {
    let world = World::new();
    for id in ["c", "d"] {
        world.record(started(id, ConversationKind::Direct, &["ann", "bob"]));
    }
    world.project().await;
    let mut memberships = Memberships::new(world.views.clone(), 4, 6);
    for (id, loads) in [("c", 1), ("c", 1), ("d", 2), ("d", 2), ("c", 3)] {
        world.record(vec![said(id, "ann")]);
        let before = world.journal.events();
        let batch = &before[before.len() - 1..];
        let calls = world.views.faults.calls();
        assert_eq!(names(&recipients(&mut memberships, batch).await[0]), ["ann", "bob"]);
        world.project().await;
        let loaded = world.views.faults.calls() - calls - 1;
        assert!(loaded <= 1, "at most one load a batch");
        let total = memberships.conversations.len();
        assert!(total <= 2, "{total} are remembered after load {loads}");
    }
    memberships.trim();
    assert_eq!(memberships.conversations.len(), 1);
    assert_eq!(memberships.weight, 3);
}

#[tokio::test]
async fn a_conversation_that_the_views_lack_is_an_error() {
    let world = World::new();
    world.record(vec![said("c", "ann")]);
    let mut memberships = Memberships::new(world.views.clone(), 100, 0);
    let error = memberships.prepare(&world.journal.events()).await.expect_err("it never started");
    assert!(error.to_string().contains("the views lack conversation c"), "{error:#}");
}

#[tokio::test]
async fn views_that_fail_for_a_while_are_asked_again() {
    let world = World::new();
    world.record(started("c", ConversationKind::Direct, &["ann", "bob"]));
    world.project().await;
    world.record(vec![said("c", "ann")]);
    world.views.waits.fail(2);
    world.views.faults.fail(2);
    let mut memberships = Memberships::new(world.views.clone(), 100, 3);
    assert_eq!(world.views.checkpoint(), 3);
    let batch = &world.journal.events()[3..];
    assert_eq!(names(&recipients(&mut memberships, batch).await[0]), ["ann", "bob"]);
}
