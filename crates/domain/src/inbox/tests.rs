use cqrs_es::test::TestFramework;
use uuid::Uuid;

use super::*;
use crate::{MessageId, NotificationId};

fn notify(position: u64) -> InboxCommand {
    InboxCommand::Notify(Notify {
        notification_id: NotificationId(Uuid::nil()),
        conversation_id: "conv_123".parse().expect("an id"),
        message_id: MessageId(Uuid::nil()),
        message_position: position,
        sender_id: "ann".parse().expect("an id"),
    })
}

fn notified(position: u64) -> InboxEvent {
    InboxEvent::NotificationCreated(NotificationCreated {
        notification_id: NotificationId(Uuid::nil()),
        conversation_id: "conv_123".parse().expect("an id"),
        message_id: MessageId(Uuid::nil()),
        message_position: position,
        sender_id: "ann".parse().expect("an id"),
    })
}

fn read(scope: ReadScope) -> InboxCommand {
    InboxCommand::ReadNotifications(ReadNotifications { scope })
}

fn was_read(scope: ReadScope) -> InboxEvent {
    InboxEvent::NotificationRead(NotificationRead { scope })
}

fn advance(through: u64) -> InboxCommand {
    InboxCommand::AdvanceDelivery(AdvanceDelivery { through, outcome: DeliveryOutcome::Presumed })
}

fn advanced(through: u64) -> InboxEvent {
    InboxEvent::DeliveryAdvanced(DeliveryAdvanced { through, outcome: DeliveryOutcome::Presumed })
}

fn spec() -> TestFramework<Inbox> {
    TestFramework::with(())
}

#[test]
fn a_message_that_found_nobody_is_noted() {
    spec().given_no_previous_events().when(notify(7)).then_expect_events(vec![notified(7)]);
    spec().given(vec![advanced(6)]).when(notify(7)).then_expect_events(vec![notified(7)]);
}

#[test]
fn a_message_that_has_arrived_is_not_noted() {
    spec().given(vec![advanced(7)]).when(notify(7)).then_expect_events(Vec::new());
}

#[test]
fn the_delivered_mark_only_moves_forward() {
    spec().given(vec![advanced(5)]).when(advance(6)).then_expect_events(vec![advanced(6)]);
    spec().given(vec![advanced(5)]).when(advance(5)).then_expect_events(Vec::new());
    spec().given(vec![advanced(5)]).when(advance(4)).then_expect_events(Vec::new());
}

#[test]
fn notifications_are_read_one_by_one_or_all() {
    let one = ReadScope::Ids(vec![NotificationId(Uuid::nil())]);
    spec().given(vec![notified(7)]).when(read(one.clone())).then_expect_events(vec![was_read(one)]);
    spec()
        .given(vec![notified(7)])
        .when(read(ReadScope::All))
        .then_expect_events(vec![was_read(ReadScope::All)]);
}

#[test]
fn reading_nothing_unread_changes_nothing() {
    spec().given_no_previous_events().when(read(ReadScope::All)).then_expect_events(Vec::new());
    spec()
        .given(vec![notified(7), was_read(ReadScope::All)])
        .when(read(ReadScope::All))
        .then_expect_events(Vec::new());
}

#[test]
fn reading_no_ids_is_an_error() {
    spec()
        .given(vec![notified(7)])
        .when(read(ReadScope::Ids(Vec::new())))
        .then_expect_error(Error::NoIds);
}
