//! One command's fate is its own: deadlines, panics, the end of the service.

use std::sync::atomic::Ordering;

use verbatim_domain::conversation::CreateGroup;
use verbatim_protocol::Failure;

use super::*;

fn touchy(state: &State, command: &Command) -> Result<Vec<Event>, Failure> {
    if let Command::Conversation { command: ConversationCommand::SendMessage(send), .. } = command {
        assert_ne!(send.personal, PersonalMessage::text("panic").into());
    }
    state.decide(command)
}

#[tokio::test]
async fn a_decision_that_panics_fails_alone() {
    let journal = Arc::new(MemoryJournal::default());
    let service = Service::deciding(journal, Settings::default(), touchy);
    service.start_conversation("ann", "bob", "c").await;
    let loads = service.journal.stream_reads.load(Ordering::Relaxed);
    assert_eq!(refusal(soon(service.say("ann", "c", "panic")).await), ErrorCode::Internal);
    assert_eq!(sequence(soon(service.say("ann", "c", "next")).await), 2);
    let reloads = service.journal.stream_reads.load(Ordering::Relaxed) - loads;
    assert_eq!(reloads, 1, "the state that it left is not relied on");
}

#[tokio::test]
async fn a_panic_amid_the_pipeline_leaves_the_others_in_order() {
    let journal = Arc::new(MemoryJournal::default());
    let service = Service::deciding(journal, Settings::default(), touchy);
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let in_flight = service.say("ann", "c", "in flight");
    until(|| service.journal.begun().len() == 2).await;
    let before = service.say("ann", "c", "before");
    let panics = service.say("ann", "c", "panic");
    let after: Vec<_> = (0..10).map(|n| service.say("ann", "c", &n.to_string())).collect();
    assert_eq!(refusal(soon(panics).await), ErrorCode::Internal);
    service.journal.release();
    assert_eq!(sequence(soon(in_flight).await), 2);
    assert_eq!(sequence(soon(before).await), 3);
    assert!(all(after).await.into_iter().map(sequence).eq(4..14));
    assert_eq!(service.journal.begun().iter().sum::<usize>(), 13, "nothing was appended twice");
}

#[tokio::test]
async fn an_aggregate_that_cannot_be_loaded_leaves_those_that_are_loaded_with_it() {
    let service = Service::new();
    for (id, panics) in [("corrupt", false), ("panics", true)] {
        service.journal.damage(conversation(id), panics);
    }
    let say = |id: &str| service.give(to_target(say("ann", id, "x"), "bob"));
    let replies = ["a", "corrupt", "b", "panics", "c", "corrupt"].map(say);
    for (reply, id) in all(replies).await.into_iter().zip(["a", "", "b", "", "c", ""]) {
        if id.is_empty() {
            assert_eq!(refusal(reply), ErrorCode::Internal);
        } else {
            assert_eq!(sequence(reply), 1, "{id}");
        }
    }
}

#[tokio::test]
async fn a_command_past_its_deadline_is_not_handled() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let in_flight = service.say("ann", "c", "in flight");
    until(|| service.journal.begun().len() == 2).await;
    let mut late = say("ann", "c", "late");
    late.deadline = Timestamp(Timestamp::now().0 + 30);
    let late = service.give(late);
    let after: Vec<_> = (0..10).map(|n| service.say("bob", "c", &n.to_string())).collect();
    service.taken().await;
    // It was decided in time, and the journal took too long over the batch before.
    assert_eq!(refusal(soon(late).await), ErrorCode::Unavailable);
    service.journal.release();
    assert_eq!(sequence(soon(in_flight).await), 2);
    assert!(all(after).await.into_iter().map(sequence).eq(3..13));
    assert!(!said(&*service.journal, "c").await.contains(&"late".to_owned()));
    let metrics = service.metrics();
    assert!(metrics.contains(r#"verbatim_commands_total{outcome="expired"} 1"#), "{metrics}");
}

#[tokio::test]
async fn a_command_that_expired_in_the_queue_is_not_handled() {
    let settings = Settings { max_batch: 1, ..Settings::default() };
    let service = Service::with(settings);
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let held = [service.say("ann", "c", "a"), service.say("ann", "c", "b")];
    until(|| service.journal.begun().len() == 2 && service.bus.queued_commands() == 0).await;
    let mut late = say("ann", "c", "late");
    late.deadline = Timestamp(Timestamp::now().0 + 30);
    assert_eq!(refusal(soon(service.give(late)).await), ErrorCode::Unavailable);
    service.journal.release();
    assert!(all(held).await.into_iter().map(sequence).eq(2..4));
    assert_eq!(sequence(soon(service.say("ann", "c", "c")).await), 4);
    assert_eq!(said(&*service.journal, "c").await, ["first", "a", "b", "c"]);
}

#[tokio::test]
async fn at_the_end_what_was_queued_is_finished_and_answered() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let mut replies = vec![service.say("ann", "c", "in flight")];
    until(|| service.journal.begun().len() == 2).await;
    replies.extend((0..2_000).map(|n| service.say("ann", "c", &n.to_string())));
    replies.extend(
        (0..100).map(|n| service.give(to_target(say("ann", &format!("cold{n}"), "x"), "bob"))),
    );
    service.shutdown.cancel();
    service.journal.release();
    let journal = service.stop().await;
    for reply in all(replies).await {
        accepted(reply);
    }
    assert_eq!(said(&*journal, "c").await.len(), 2_002);
}

#[tokio::test]
async fn an_idle_service_ends_at_once() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.stop().await;
}

#[tokio::test]
async fn a_closed_bus_ends_the_service() {
    let service = Service::new();
    let reply = service.give(to_target(say("ann", "c", "first"), "bob"));
    service.taken().await;
    service.bus.close();
    assert_eq!(sequence(soon(reply).await), 1);
    soon(service.task).await.expect("no panic").expect("a clean end");
}

#[tokio::test]
async fn commands_for_different_aggregates_share_a_batch() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.start_conversation("ann", "bob", "d").await;
    let create = CreateGroup { creator: user("ann"), members: [user("bob")].into(), title: None };
    let command = ConversationCommand::CreateGroup(create);
    let id: verbatim_domain::ConversationId = "c".parse().expect("an id");
    let taken = envelope(service_key(), Command::Conversation { id, command });
    let replies = [service.say("ann", "c", "x"), service.give(taken), service.say("ann", "d", "x")];
    let [said, refused, also_said] = all(replies).await.try_into().expect("three");
    assert_eq!(sequence(said), 2);
    assert_eq!(refusal(refused), ErrorCode::IdempotencyConflict);
    assert_eq!(sequence(also_said), 2);
    let metrics = service.metrics();
    for expected in [
        r#"verbatim_commands_total{outcome="committed"} 4"#,
        r#"verbatim_commands_total{outcome="rejected"} 1"#,
        "verbatim_append_events_count 3",
        "verbatim_command_duration_seconds_count 5",
        "verbatim_hot_aggregates 2",
        "verbatim_queued_commands 0",
    ] {
        assert!(metrics.contains(expected), "{expected}\n{metrics}");
    }
}
