//! A key is used once, for ever.

use std::sync::atomic::Ordering;

use verbatim_domain::conversation::Attachment;
use verbatim_domain::inbox::{AdvanceDelivery, DeliveryOutcome, Notify};
use verbatim_domain::{NotificationId, conversation::MarkRead};

use super::*;

/// With and without the memory of recent keys: the journal's word must do.
fn memories() -> [Settings; 2] {
    [Settings::default(), Settings { recent_keys: 0, ..Settings::default() }]
}

fn assert_repeats(reply: Reply, original: &Committed) {
    let expected = Committed { duplicate: true, ..original.clone() };
    assert_eq!(accepted(reply), expected, "the original's answer");
}

#[tokio::test]
async fn a_repeated_send_gets_the_originals_answer() {
    for settings in memories() {
        let service = Service::with(settings);
        service.start_conversation("ann", "bob", "c").await;
        let original = accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
        assert!(!original.duplicate && original.message.is_some());
        assert_repeats(soon(service.give(named("ann", "c", "Hello!", "k"))).await, &original);
        assert_eq!(sequence(soon(service.say("ann", "c", "next")).await), 3);
        assert_eq!(said(&*service.journal, "c").await, ["first", "Hello!", "next"]);
    }
}

#[tokio::test]
async fn a_key_repeated_within_one_batch_is_committed_once_and_what_follows_stays_in_order() {
    for settings in memories() {
        let service = Service::with(settings);
        service.start_conversation("ann", "bob", "c").await;
        service.journal.hold();
        let blocker = service.say("bob", "c", "blocker");
        until(|| service.journal.begun().len() == 2).await;
        let original = service.give(named("ann", "c", "once", "k"));
        let repeated = service.give(named("ann", "c", "once", "k"));
        let after: Vec<_> = (0..20).map(|n| service.say("bob", "c", &n.to_string())).collect();
        service.taken().await;
        service.journal.release();
        assert_eq!(sequence(soon(blocker).await), 2);
        let original = accepted(soon(original).await);
        assert_repeats(soon(repeated).await, &original);
        assert!(all(after).await.into_iter().map(sequence).eq(4..24));
        assert_eq!(said(&*service.journal, "c").await.len(), 23);
    }
}

#[tokio::test]
async fn a_key_repeated_while_its_original_is_in_flight_is_committed_once() {
    for settings in memories() {
        let service = Service::with(settings);
        service.start_conversation("ann", "bob", "c").await;
        service.journal.hold();
        let original = service.give(named("ann", "c", "once", "k"));
        until(|| service.journal.begun().len() == 2).await;
        let before = service.say("bob", "c", "before");
        let mut repeated = service.give(named("ann", "c", "once", "k"));
        let after: Vec<_> = (0..20).map(|n| service.say("bob", "c", &n.to_string())).collect();
        service.taken().await;
        assert!(futures::poll!(&mut repeated).is_pending(), "the original isn't committed yet");
        service.journal.release();
        let original = accepted(soon(original).await);
        assert_repeats(soon(repeated).await, &original);
        assert_eq!(sequence(soon(before).await), 3);
        assert!(all(after).await.into_iter().map(sequence).eq(4..24));
    }
}

#[tokio::test]
async fn a_key_with_another_payload_is_a_conflict_that_tells_nothing_of_the_original() {
    for settings in memories() {
        let service = Service::with(settings);
        service.start_conversation("ann", "bob", "c").await;
        service.start_conversation("ann", "cy", "d").await;
        accepted(soon(service.give(named("ann", "c", "secret", "k"))).await);
        let with_attachment = change_send(named("ann", "c", "secret", "k"), |send| {
            let attachments = vec![Attachment {
                name: "a".into(),
                url: "https://example.com/a".into(),
                mime_type: None,
                size: None,
            }];
            let said = PersonalMessage::text("secret");
            send.personal = PersonalMessage { attachments, ..said }.into();
        });
        let others = [
            named("ann", "c", "something else", "k"),
            named("ann", "d", "secret", "k"),
            named("ann", "nowhere", "secret", "k"),
            with_attachment,
        ];
        for other in others {
            let failure = soon(service.give(other)).await.expect_err("a conflict");
            assert_eq!(failure.code, ErrorCode::IdempotencyConflict);
            assert!(failure.details.is_empty() && !failure.message.contains("secret"));
        }
        // Keys are the sender's own.
        let bobs = accepted(soon(service.give(named("bob", "c", "secret", "k"))).await);
        assert!(!bobs.duplicate);
    }
}

#[tokio::test]
async fn a_rejection_based_on_a_duplicate_in_its_batch_is_void() {
    let service = Service::with(Settings { recent_keys: 0, ..Settings::default() });
    service.start_conversation("ann", "bob", "c").await;
    accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
    service.journal.hold();
    let blocker = service.say("ann", "c", "blocker");
    until(|| service.journal.begun().len() == 3).await;
    let starts = service.give(to_target(named("ann", "d", "Hello!", "k"), "bob"));
    let rejected = service.say("stranger", "d", "x");
    service.taken().await;
    service.journal.release();
    accepted(soon(blocker).await);
    assert_eq!(refusal(soon(starts).await), ErrorCode::IdempotencyConflict);
    assert_eq!(refusal(soon(rejected).await), ErrorCode::NotFound, "it was never started");
}

#[tokio::test]
async fn a_key_is_remembered_over_restarts() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    let original = accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
    let service = Service::start(service.stop().await, Settings::default());
    assert_repeats(soon(service.give(named("ann", "c", "Hello!", "k"))).await, &original);
    assert_eq!(sequence(soon(service.say("ann", "c", "next")).await), 3);
}

#[tokio::test]
async fn a_repeated_send_is_a_duplicate_even_if_it_would_be_rejected_now() {
    for settings in memories() {
        let service = Service::with(settings);
        service.start_conversation("ann", "bob", "c").await;
        let original = accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
        // Who is targeted is no part of what makes a send the same.
        let rejected_now = to_target(named("ann", "c", "Hello!", "k"), "stranger");
        assert_repeats(soon(service.give(rejected_now)).await, &original);
        let fresh = to_target(named("ann", "c", "Hello!", "k2"), "stranger");
        assert_eq!(refusal(soon(service.give(fresh)).await), ErrorCode::Forbidden);
    }
}

#[tokio::test]
async fn a_storm_of_repetitions_loads_nothing_while_the_keys_are_remembered() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    let original = accepted(soon(service.give(named("ann", "c", "Hello!", "k"))).await);
    let loads = service.journal.stream_reads.load(Ordering::Relaxed);
    let storm: Vec<_> = (0..200)
        .map(|n| {
            let repeated = service.give(named("ann", "c", "Hello!", "k"));
            (repeated, service.say("bob", "c", &n.to_string()))
        })
        .collect();
    for (n, (repeated, fresh)) in (3..).zip(storm) {
        assert_repeats(soon(repeated).await, &original);
        assert_eq!(sequence(soon(fresh).await), n);
    }
    assert_eq!(service.journal.stream_reads.load(Ordering::Relaxed), loads);
}

#[tokio::test]
async fn a_storm_of_repetitions_after_a_restart_is_found_out_in_one_go() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    let send = |service: &Service, n: u32| {
        service.give(named("ann", "c", &n.to_string(), &format!("k{n}")))
    };
    all((0..400).map(|n| send(&service, n)).collect::<Vec<_>>()).await;
    let service = Service::start(service.stop().await, Settings::default());
    let storm: Vec<_> = (0..400).map(|n| send(&service, n)).collect();
    let fresh = service.say("bob", "c", "fresh");
    for reply in all(storm).await {
        assert!(accepted(reply).duplicate);
    }
    assert_eq!(sequence(soon(fresh).await), 402);
    let loads = service.journal.stream_reads.load(Ordering::Relaxed);
    assert!(loads < 10, "{loads} loads");
}

#[tokio::test]
async fn a_reactors_command_is_carried_out_once() {
    for settings in memories() {
        let service = Service::with(settings);
        let notify = |key: &str, position| {
            let mut notify = inbox(
                "bob",
                InboxCommand::Notify(Notify {
                    notification_id: NotificationId(Uuid::now_v7()),
                    conversation_id: "c".parse().expect("an id"),
                    message_id: MessageId(Uuid::now_v7()),
                    message_position: position,
                    sender_id: user("ann"),
                }),
            );
            notify.key = CommandKey { issuer: "$offline".into(), key: key.into() };
            notify
        };
        let first = accepted(soon(service.give(notify("bob/1", 1))).await);
        assert!(!first.duplicate);
        assert_repeats(soon(service.give(notify("bob/1", 1))).await, &first);
        assert!(!accepted(soon(service.give(notify("bob/2", 2))).await).duplicate);
        assert_eq!(service.journal.events().len(), 2);
    }
}

#[tokio::test]
async fn what_is_so_already_is_answered_as_a_duplicate_at_a_position_that_shows_it() {
    let service = Service::new();
    let advance = |through| {
        let outcome = DeliveryOutcome::Acknowledged;
        inbox("bob", InboxCommand::AdvanceDelivery(AdvanceDelivery { through, outcome }))
    };
    let first = accepted(soon(service.give(advance(7))).await);
    let again = accepted(soon(service.give(advance(7))).await);
    assert!(again.duplicate && again.position >= first.position, "{again:?}");
    // In one batch with something that is committed, too.
    let (more, again) = (service.give(advance(9)), service.give(advance(8)));
    let (more, again) = (accepted(soon(more).await), accepted(soon(again).await));
    assert!(again.duplicate && again.position >= more.position, "{again:?}");
    assert_eq!(service.journal.events().len(), 2);
}

#[tokio::test]
async fn a_repeated_read_mark_is_a_duplicate() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    let read = || {
        let command =
            ConversationCommand::MarkRead(MarkRead { reader: user("bob"), through: None });
        let id = "c".parse().expect("an id");
        envelope(service_key(), Command::Conversation { id, command })
    };
    assert!(!accepted(soon(service.give(read())).await).duplicate);
    assert!(accepted(soon(service.give(read())).await).duplicate);
}
