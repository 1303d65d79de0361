//! Taking events in.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;
use verbatim_domain::MessageId;
use verbatim_domain::audit::{Accessed, AuditAccessed, AuditEvent, ConversationAccessed};
use verbatim_domain::inbox::NotificationCreated;
use verbatim_domain::{InboxEvent, NotificationId, StreamId};
use verbatim_protocol::{JournalId, Recorded};

use super::compare::assert_shows;
use super::history::{History, conversation, user, varied};
use super::{Adapter, JOURNAL, showing};
use crate::{Error, Views};

const USERS: [&str; 4] = ["ann", "bob", "cy", "dee"];
const LONG: Duration = Duration::from_secs(30);

fn is_corrupt(result: &Result<(), Error>) -> bool {
    matches!(result, Err(Error::Corrupt(_)))
}

/// Asserts that the batch is refused whole, and that the views go on with what should have come.
async fn assert_refused<A: Adapter>(good: &History, bad: &[Arc<Recorded>]) {
    let (_adapter, views) = showing::<A>(good).await;
    assert!(is_corrupt(&views.apply(bad).await));
    assert_shows(&views, good.events(), &USERS).await;

    let mut more = varied();
    more.say("talk", "bob", "Still here?");
    views.apply(more.after(good.head())).await.expect("the events that should have come");
    assert_shows(&views, more.events(), &USERS).await;
}

pub async fn a_hole_is_refused_and_nothing_of_the_batch_is_stored<A: Adapter>() {
    let good = varied();
    let mut more = varied();
    for text in ["one", "two", "three"] {
        more.say("talk", "ann", text);
    }
    let mut bad = more.after(good.head()).to_vec();
    bad.remove(1);
    assert_refused::<A>(&good, &bad).await;
}

pub async fn events_that_skip_what_follows_the_checkpoint_are_refused<A: Adapter>() {
    let good = varied();
    let mut more = varied();
    more.say("talk", "ann", "one");
    more.say("talk", "ann", "two");
    assert_refused::<A>(&good, more.after(good.head() + 1)).await;
}

pub async fn events_in_the_wrong_order_are_refused<A: Adapter>() {
    let good = varied();
    let mut more = varied();
    more.say("talk", "ann", "one");
    more.say("talk", "ann", "two");
    let mut bad = more.after(good.head()).to_vec();
    bad.reverse();
    assert_refused::<A>(&good, &bad).await;
}

pub async fn a_message_of_an_unknown_conversation_is_refused_with_its_batch<A: Adapter>() {
    let good = varied();
    let mut bad = varied();
    bad.say("talk", "ann", "Fine");
    bad.say("nowhere", "ann", "Hello?");
    assert_refused::<A>(&good, bad.after(good.head())).await;
}

pub async fn a_message_by_someone_who_is_no_member_is_refused<A: Adapter>() {
    let good = varied();
    let mut bad = varied();
    bad.say("talk", "cy", "Let me in");
    assert_refused::<A>(&good, bad.after(good.head())).await;
}

pub async fn a_message_out_of_sequence_is_refused<A: Adapter>() {
    let good = varied();
    for sequence in [0, 1, 9] {
        let mut bad = varied();
        bad.send("talk", "ann", "Out of line", |sent| sent.sequence = sequence);
        assert_refused::<A>(&good, bad.after(good.head())).await;
        let mut bad = varied();
        bad.say("talk", "ann", "In line");
        bad.send("talk", "ann", "Out of line", |sent| sent.sequence = sequence);
        assert_refused::<A>(&good, bad.after(good.head())).await;
    }
}

pub async fn a_read_mark_above_the_newest_message_is_refused<A: Adapter>() {
    let good = varied();
    let mut bad = varied();
    bad.read("talk", "bob", 3);
    assert_refused::<A>(&good, bad.after(good.head())).await;
}

pub async fn a_notification_of_an_unknown_message_is_refused<A: Adapter>() {
    let good = varied();
    let mut bad = varied();
    let created = NotificationCreated {
        notification_id: NotificationId(Uuid::from_u128(1)),
        conversation_id: conversation("talk"),
        message_id: MessageId(Uuid::from_u128(2)),
        message_position: 4,
        sender_id: user("ann"),
    };
    bad.add(StreamId::inbox(&user("bob")), InboxEvent::NotificationCreated(created));
    assert_refused::<A>(&good, bad.after(good.head())).await;
}

pub async fn events_seen_before_are_skipped<A: Adapter>() {
    let mut history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    views.apply(history.events()).await.expect("nothing to do");
    views.apply(&history.events()[3..7]).await.expect("nothing to do");
    assert_shows(&views, history.events(), &USERS).await;

    history.say("team", "ann", "Partly new");
    history.read("team", "bob", 3);
    views.apply(history.events()).await.expect("the new ones follow");
    views.apply(history.after(history.head() - 1)).await.expect("nothing to do");
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn no_events_change_nothing<A: Adapter>() {
    let history = History::new();
    let (_adapter, views) = showing::<A>(&history).await;
    views.apply(&[]).await.expect("nothing to do");
    assert_shows(&views, &[], &USERS).await;
}

pub async fn an_audit_changes_the_checkpoint_alone<A: Adapter>() {
    let mut history = varied();
    let accessor_id = user("auditor");
    let stream = StreamId::audit(&accessor_id);
    let accessed = ConversationAccessed { conversation_id: conversation("talk"), as_of: 3 };
    let accessed = Accessed::Conversation(accessed);
    let audit = AuditEvent::AuditAccessed(AuditAccessed { accessor_id, accessed });
    history.add(stream.clone(), audit.clone());
    let (_adapter, views) = showing::<A>(&history).await;
    assert_shows(&views, history.events(), &USERS).await;
    assert_eq!(views.checkpoint(), history.head());
    history.add(stream, audit);
    views.apply(history.after(views.checkpoint())).await.expect("it is the next event");
    assert_eq!(views.checkpoint(), history.head());
}

pub async fn batches_show_the_same_as_single_events<A: Adapter>() {
    let history = varied();
    for size in [1, 2, 3, 5, 1_000] {
        let adapter = A::start().await;
        let views = adapter.open(JOURNAL).await;
        for batch in history.events().chunks(size) {
            views.apply(batch).await.expect("they follow");
        }
        assert_shows(&views, history.events(), &USERS).await;
    }
}

pub async fn a_batch_is_stored_though_its_caller_gives_up<A: Adapter>() {
    let history = varied();
    let adapter = A::start().await;
    let views = adapter.open(JOURNAL).await;
    // Polled once, then dropped.
    let given_up = tokio::time::timeout(Duration::ZERO, views.apply(history.events())).await;
    drop(given_up);
    views.reached(history.head(), LONG).await.expect("stored all the same");
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn waiting_for_a_position_ends_when_it_is_reached<A: Adapter>() {
    let history = varied();
    let adapter = A::start().await;
    let views = adapter.open(JOURNAL).await;
    let (waited, applied) = tokio::join!(views.reached(history.head(), LONG), async {
        let (first, rest) = history.events().split_at(3);
        views.apply(first).await?;
        views.apply(rest).await
    });
    applied.expect("they follow");
    waited.expect("reached");
}

pub async fn waiting_for_a_position_ends_after_its_time<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    for within in [Duration::ZERO, Duration::from_millis(20)] {
        let waited = views.reached(history.head() + 1, within).await;
        assert!(matches!(waited, Err(Error::Behind)));
    }
}

pub async fn a_position_that_is_shown_is_not_waited_for<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    for position in [0, 1, history.head()] {
        views.reached(position, Duration::ZERO).await.expect("reached already");
    }
}

pub async fn views_are_still_there_after_a_restart<A: Adapter>() {
    let mut history = varied();
    let (adapter, views) = showing::<A>(&history).await;
    adapter.close(views).await;
    let views = adapter.open(JOURNAL).await;
    assert_shows(&views, history.events(), &USERS).await;
    history.say("talk", "bob", "Back again");
    views.apply(history.after(views.checkpoint())).await.expect("it follows");
    assert_shows(&views, history.events(), &USERS).await;
}

pub async fn views_of_another_journal_start_anew<A: Adapter>() {
    let (adapter, views) = showing::<A>(&varied()).await;
    adapter.close(views).await;
    let other = JournalId(Uuid::from_u128(0x07e5));
    let views = adapter.open(other).await;
    assert_shows(&views, &[], &USERS).await;
    let mut history = History::new();
    history.direct("talk", "cy", "dee");
    views.apply(history.events()).await.expect("the other journal's events");
    adapter.close(views).await;
    let views = adapter.open(other).await;
    assert_shows(&views, history.events(), &USERS).await;
}
