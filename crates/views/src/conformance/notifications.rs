//! Notifications, and what became of messages.

use verbatim_domain::inbox::ReadScope;
use verbatim_protocol::Timestamp;
use verbatim_protocol::client::{Delivery, DeliveryStatus, Notification};

use super::compare::all_pages;
use super::history::{History, conversation, recorded_at, said, user};
use super::{Adapter, showing};
use crate::{Error, PageRequest, Views};

async fn list(views: &impl Views, who: &str) -> Vec<Notification> {
    let page = PageRequest { cursor: None, limit: 200 };
    views.notifications(&user(who), false, &page).await.expect("a page").data
}

async fn unread(views: &impl Views, who: &str) -> u64 {
    views.unread_notifications(&user(who)).await.expect("an answer")
}

/// A direct conversation in which Ann wrote `count` messages, of which Bob was notified.
fn notified(count: usize) -> (History, Vec<verbatim_domain::NotificationId>) {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let ids = (0..count)
        .map(|number| {
            let message = history.say("talk", "ann", &format!("number {number}"));
            history.notify("bob", message)
        })
        .collect();
    (history, ids)
}

pub async fn a_notification_says_what_its_message_says<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let message = history.send("talk", "ann", "Hello!", |sent| {
        sent.sender_role = "agent".into();
        sent.personal = said("Hello!", Some("ann@example.com")).into();
    });
    let id = history.notify("bob", message);
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(list(&views, "ann").await, [], "the sender has none");
    let [shown] = &list(&views, "bob").await[..] else { panic!("one notification") };
    assert_eq!((shown.id, shown.message_id), (id, message));
    assert_eq!(shown.conversation_id, conversation("talk"));
    assert_eq!((&*shown.content, &shown.user_id), ("Hello!", &user("bob")));
    let info = &shown.sender_info;
    assert_eq!((&shown.sender_id, &info.user_id), (&user("ann"), &user("ann")));
    assert_eq!((&*info.role, info.email.as_deref()), ("agent", Some("ann@example.com")));
    assert_eq!((shown.is_read, shown.read_at), (false, None));
    assert_eq!(shown.created_at, recorded_at(history.head()));
}

pub async fn long_messages_are_cut_after_140_characters<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let texts = ["🦀".repeat(141), "é".repeat(140), "e\u{301}".repeat(100), "x".repeat(32_768)];
    for text in &texts {
        let message = history.say("talk", "ann", text);
        history.notify("bob", message);
    }
    let (_adapter, views) = showing::<A>(&history).await;
    for (shown, text) in list(&views, "bob").await.iter().rev().zip(&texts) {
        assert_eq!(shown.content, text.chars().take(140).collect::<String>());
    }
}

pub async fn the_time_of_the_first_reading_stays<A: Adapter>() {
    let (mut history, ids) = notified(3);
    let first = history.read_notifications("bob", ReadScope::Ids(vec![ids[1]]));
    history.say("talk", "ann", "…");
    history.say("talk", "ann", "…");
    let second = history.read_notifications("bob", ReadScope::All);
    history.say("talk", "ann", "…");
    history.say("talk", "ann", "…");
    history.read_notifications("bob", ReadScope::Ids(ids));
    let (_adapter, views) = showing::<A>(&history).await;
    let times: Vec<_> = list(&views, "bob").await.iter().rev().map(|shown| shown.read_at).collect();
    let (first, second) = (Some(recorded_at(first)), Some(recorded_at(second)));
    assert_eq!(times, [second, first, second]);
    assert!(list(&views, "bob").await.iter().all(|shown| shown.is_read));
}

pub async fn reading_all_leaves_later_ones_unread<A: Adapter>() {
    let (mut history, _) = notified(2);
    history.read_notifications("bob", ReadScope::All);
    let message = history.say("talk", "ann", "after the reading");
    let later = history.notify("bob", message);
    // In one batch, and event by event.
    for size in [1_000, 1] {
        let adapter = A::start().await;
        let views = adapter.open(super::JOURNAL).await;
        for batch in history.events().chunks(size) {
            views.apply(batch).await.expect("they follow");
        }
        let open: Vec<_> = list(&views, "bob").await.into_iter().filter(|n| !n.is_read).collect();
        assert_eq!(open.iter().map(|shown| shown.id).collect::<Vec<_>>(), [later]);
        assert_eq!(unread(&views, "bob").await, 1);
    }
}

pub async fn nobody_reads_anothers_notifications<A: Adapter>() {
    let (mut history, ids) = notified(2);
    history.read_notifications("ann", ReadScope::Ids(ids.clone()));
    history.read_notifications("ann", ReadScope::All);
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(unread(&views, "bob").await, 2);
    let foreign = views.foreign_notifications(&user("ann"), &ids).await.expect("an answer");
    assert_eq!(foreign, ids);
    let unknown = verbatim_domain::NotificationId(uuid::Uuid::from_u128(1));
    let asked = [ids[0], unknown, ids[1]];
    let foreign = views.foreign_notifications(&user("bob"), &asked).await.expect("an answer");
    assert_eq!(foreign, [unknown]);
    assert_eq!(views.foreign_notifications(&user("bob"), &[]).await.expect("an answer"), []);
}

pub async fn pages_of_the_unread_skip_the_read<A: Adapter>() {
    let (mut history, ids) = notified(9);
    let read: Vec<_> = ids.iter().copied().step_by(3).collect();
    history.read_notifications("bob", ReadScope::Ids(read.clone()));
    let (_adapter, views) = showing::<A>(&history).await;
    let bob = user("bob");
    let open: Vec<_> = ids.iter().copied().filter(|id| !read.contains(id)).rev().collect();
    for limit in [1, 2, 4, 200] {
        let mut first = true;
        let found = all_pages(limit, |cursor| {
            // A cursor remembers that only the unread were asked for.
            let unread_only = std::mem::take(&mut first);
            let (views, bob) = (&views, &bob);
            async move { views.notifications(bob, unread_only, &PageRequest { cursor, limit }).await }
        });
        let found: Vec<_> = found.await.iter().map(|shown| shown.id).collect();
        assert_eq!(found, open);
    }
}

pub async fn a_cursor_of_another_list_is_refused<A: Adapter>() {
    let (mut history, _) = notified(3);
    history.direct("other", "bob", "cy");
    let (_adapter, views) = showing::<A>(&history).await;
    let bob = user("bob");
    let page = PageRequest { cursor: None, limit: 1 };
    let list = views.conversations(&bob, &page).await.expect("a page").next_cursor;
    let list = list.expect("a second page");
    for bad in ["", "x", "🦀", &list, &"A".repeat(10_000)] {
        let page = PageRequest { cursor: Some(bad.to_owned()), limit: 1 };
        for unread_only in [true, false] {
            let answer = views.notifications(&bob, unread_only, &page).await;
            assert!(matches!(answer, Err(Error::BadCursor)), "{bad}");
        }
    }
}

async fn delivery(views: &impl Views, message: verbatim_domain::MessageId) -> Vec<Delivery> {
    views.deliveries(message).await.expect("an answer").expect("a message").1
}

fn of(user_id: &str, status: DeliveryStatus, updated_at: Timestamp) -> Delivery {
    Delivery { user_id: user(user_id), status, updated_at }
}

pub async fn a_message_is_pending_offline_or_delivered<A: Adapter>() {
    let mut history = History::new();
    history.group("team", None, &["ann", "bob", "cy", "dee"]);
    history.say("team", "bob", "before");
    let message = history.say("team", "ann", "Hello!");
    let at = recorded_at(history.position_of(message));
    history.join("team", "eve");
    history.notify("cy", message);
    let notified = recorded_at(history.head());
    // A mark just below the message doesn't cover it.
    history.advance("bob", history.position_of(message) - 1);
    history.advance("dee", history.position_of(message));
    let delivered = recorded_at(history.head());
    let (_adapter, views) = showing::<A>(&history).await;
    let expected = [
        of("bob", DeliveryStatus::Pending, at),
        of("cy", DeliveryStatus::Offline, notified),
        of("dee", DeliveryStatus::Delivered, delivered),
    ];
    assert_eq!(delivery(&views, message).await, expected, "neither the sender nor who came later");
    let (of_conversation, _) =
        views.deliveries(message).await.expect("an answer").expect("a message");
    assert_eq!(of_conversation, conversation("team"));
}

pub async fn the_first_advance_that_covers_a_message_gives_the_time<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let message = history.say("talk", "ann", "Hello!");
    let later = history.say("talk", "ann", "Later");
    history.notify("bob", message);
    let first = history.advance("bob", history.position_of(message));
    for _ in 0..4 {
        history.say("talk", "ann", "…");
    }
    let second = history.advance("bob", history.head());
    let (_adapter, views) = showing::<A>(&history).await;
    let expected = of("bob", DeliveryStatus::Delivered, recorded_at(first));
    assert_eq!(delivery(&views, message).await, [expected], "not the time of the notification");
    let expected = of("bob", DeliveryStatus::Delivered, recorded_at(second));
    assert_eq!(delivery(&views, later).await, [expected]);
    assert_eq!(views.delivered_through(&user("bob")).await.expect("an answer"), second - 1);
    assert_eq!(views.delivered_through(&user("ann")).await.expect("an answer"), 0);
}
