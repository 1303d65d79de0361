//! A journal that fails, loses its answers, or is written to by others.

use super::memory::Mishap;
use super::*;

#[tokio::test]
async fn what_was_decided_on_a_failed_append_is_redone_without_a_gap() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    service.journal.next_append(Mishap::Fail);
    let failing = service.say("ann", "c", "failing");
    until(|| service.journal.begun().len() == 2).await;
    let after: Vec<_> = (0..50).map(|n| service.say("bob", "c", &n.to_string())).collect();
    service.taken().await;
    service.journal.release();
    assert_eq!(refusal(soon(failing).await), ErrorCode::Unavailable);
    assert!(all(after).await.into_iter().map(sequence).eq(2..52));
    assert_eq!(said(&*service.journal, "c").await.len(), 51);
}

#[tokio::test]
async fn a_failed_send_can_be_sent_again() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.next_append(Mishap::Fail);
    let failed = soon(service.give(named("ann", "c", "Hello!", "k"))).await;
    let failure = failed.expect_err("it failed");
    assert!(failure.retryable && failure.retry_after_ms.is_some(), "{failure:?}");
    let again = accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
    assert!(!again.duplicate);
    assert_eq!(said(&*service.journal, "c").await, ["first", "Hello!"]);
}

#[tokio::test]
async fn a_send_that_expired_keeps_its_place_when_it_is_sent_again() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.set_down(true);
    let mut expiring = named("ann", "c", "0", "k");
    expiring.deadline = Timestamp(Timestamp::now().0 + 200);
    assert_eq!(refusal(soon(service.give(expiring)).await), ErrorCode::Unavailable);
    service.journal.set_down(false);
    let again = service.give(named("ann", "c", "0", "k"));
    let after: Vec<_> = (1..20).map(|n| service.say("ann", "c", &n.to_string())).collect();
    assert_eq!(sequence(soon(again).await), 2);
    assert!(all(after).await.into_iter().map(sequence).eq(3..22));
}

#[tokio::test]
async fn an_append_whose_answer_was_lost_is_found_by_its_key() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    service.journal.next_append(Mishap::LoseTheAnswer);
    let lost: Vec<_> = (0..10).map(|n| service.say("ann", "c", &n.to_string())).collect();
    until(|| service.journal.begun().len() == 2).await;
    let after: Vec<_> = (10..20).map(|n| service.say("bob", "c", &n.to_string())).collect();
    service.taken().await;
    service.journal.release();
    for (n, reply) in (2..).zip(all(lost).await) {
        let committed = accepted(reply);
        assert!(!committed.duplicate, "it was this very command");
        assert_eq!(committed.message.expect("a message").sent.sequence, n);
    }
    assert!(all(after).await.into_iter().map(sequence).eq(12..22));
}

#[tokio::test]
async fn answers_wait_for_the_journal_to_come_back() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    service.journal.next_append(Mishap::LoseTheAnswer);
    let mut lost = service.say("ann", "c", "lost");
    until(|| service.journal.begun().len() == 2).await;
    // The append commits; the journal goes down before anyone can ask about it.
    service.journal.go_down_after_append();
    service.journal.release();
    until(|| service.journal.has_refused()).await;
    assert!(futures::poll!(&mut lost).is_pending(), "unknown is neither success nor failure");
    service.journal.set_down(false);
    assert_eq!(sequence(soon(lost).await), 2);
}

#[tokio::test]
async fn while_the_journal_is_down_commands_are_unavailable_by_their_deadline() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.set_down(true);
    let within = |milliseconds, mut envelope: CommandEnvelope| {
        envelope.deadline = Timestamp(Timestamp::now().0 + milliseconds);
        envelope
    };
    let hot = (0..100).map(|n| service.give(within(200, say("ann", "c", &n.to_string()))));
    let cold = (0..100).map(|n| service.give(within(200, say("ann", &format!("d{n}"), "x"))));
    for reply in all(hot.chain(cold).collect::<Vec<_>>()).await {
        assert_eq!(refusal(reply), ErrorCode::Unavailable);
    }
    service.journal.set_down(false);
    assert_eq!(sequence(soon(service.say("ann", "c", "back")).await), 2);
    assert_eq!(said(&*service.journal, "c").await, ["first", "back"]);
}

#[tokio::test]
async fn a_cold_conversation_is_unavailable_at_once_while_the_journal_is_down() {
    let service = Service::new();
    service.journal.set_down(true);
    let reply = tokio::time::timeout(PATIENCE / 4, service.say("ann", "c", "x")).await;
    assert_eq!(refusal(reply.expect("before its deadline")), ErrorCode::Unavailable);
    service.journal.set_down(false);
    service.start_conversation("ann", "bob", "c").await;
}

#[tokio::test]
async fn a_rejection_waits_for_what_it_was_based_on() {
    let service = Service::new();
    service.journal.hold();
    let first = service.give(to_target(say("ann", "c", "first"), "bob"));
    until(|| service.journal.begun().len() == 1).await;
    let mut rejected = service.say("stranger", "c", "x");
    service.taken().await;
    assert!(futures::poll!(&mut rejected).is_pending());
    service.journal.release();
    assert_eq!(sequence(soon(first).await), 1);
    assert_eq!(refusal(soon(rejected).await), ErrorCode::Forbidden);
}

#[tokio::test]
async fn a_rejection_based_on_what_came_to_nothing_is_void() {
    let service = Service::new();
    service.journal.hold();
    service.journal.next_append(Mishap::Fail);
    let first = service.give(to_target(say("ann", "c", "first"), "bob"));
    until(|| service.journal.begun().len() == 1).await;
    let rejected = service.say("stranger", "c", "x");
    service.taken().await;
    service.journal.release();
    assert_eq!(refusal(soon(first).await), ErrorCode::Unavailable);
    assert_eq!(refusal(soon(rejected).await), ErrorCode::NotFound, "there is no conversation");
}

#[tokio::test]
async fn another_writers_events_are_taken_in_and_the_command_decided_anew() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    // The same decision, made elsewhere and committed first.
    let other = Service::start(Arc::clone(&service.journal), Settings::default());
    assert_eq!(sequence(soon(other.say("bob", "c", "elsewhere")).await), 2);
    service.journal.hold();
    let overtaken = service.say("ann", "c", "overtaken");
    until(|| service.journal.begun().len() == 3).await;
    let replies: Vec<_> = (0..20).map(|n| service.say("ann", "c", &n.to_string())).collect();
    service.taken().await;
    service.journal.release();
    assert_eq!(sequence(soon(overtaken).await), 3);
    assert!(all(replies).await.into_iter().map(sequence).eq(4..24));
    assert_eq!(said(&*service.journal, "c").await.len(), 23);
}

#[tokio::test]
async fn endless_conflicts_are_given_up() {
    let settings = Settings { max_conflicts: 3, ..Settings::default() };
    let service = Service::with(settings);
    service.start_conversation("ann", "bob", "c").await;
    for _ in 0..4 {
        service.journal.next_append(Mishap::Conflict);
    }
    assert_eq!(refusal(soon(service.say("ann", "c", "x")).await), ErrorCode::Unavailable);
    assert_eq!(service.journal.begun().len(), 5);
    assert_eq!(sequence(soon(service.say("ann", "c", "y")).await), 2);
}

#[tokio::test]
async fn a_corrupt_journal_ends_the_role() {
    for mishap in [Mishap::Corrupt, Mishap::Panic] {
        let service = Service::new();
        service.start_conversation("ann", "bob", "c").await;
        service.journal.next_append(mishap);
        let reply = service.say("ann", "c", "x");
        assert_eq!(refusal(soon(reply).await), ErrorCode::Unavailable);
        soon(service.task).await.expect("no panic comes out").expect_err("the role ends");
    }
}
