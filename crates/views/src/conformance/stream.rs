//! A user's stream, and what is pushed to all.

use verbatim_protocol::client::{Delivery, DeliveryStatus, Message};
use verbatim_protocol::{List, Push, Timestamp};

use super::compare::assert_shows;
use super::history::{History, conversation, user, varied};
use super::{Adapter, showing};
use crate::Views;

async fn contents(
    views: &impl Views,
    who: &str,
    (after, through): (u64, u64),
    limit: u32,
) -> Vec<String> {
    let found = views.stream(&user(who), after, through, limit).await;
    found.expect("a page").into_iter().map(|found| found.message.content).collect()
}

const ALL: (u64, u64) = (0, u64::MAX);

pub async fn nothing_is_in_a_strangers_stream<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    assert!(contents(&views, "stranger", ALL, 100).await.is_empty());
    assert!(contents(&views, "stranger", (0, 0), 100).await.is_empty());
}

pub async fn what_was_said_before_a_member_joined_is_not_in_their_stream<A: Adapter>() {
    let mut history = History::new();
    history.group("team", None, &["ann", "bob"]);
    for text in ["one", "two", "three"] {
        history.say("team", "ann", text);
    }
    history.join("team", "cy");
    let joined = history.head();
    history.say("team", "bob", "four");
    history.say("team", "cy", "five");
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(contents(&views, "cy", ALL, 100).await, ["four", "five"]);
    assert_eq!(contents(&views, "cy", (0, joined), 100).await, [""; 0]);
    assert_eq!(contents(&views, "cy", (joined + 1, u64::MAX), 100).await, ["five"]);
    assert_eq!(contents(&views, "ann", ALL, 100).await.len(), 5);
}

pub async fn what_was_said_elsewhere_is_in_nobodys_stream_and_read_unless_asked_otherwise<
    A: Adapter,
>() {
    let mut history = History::new();
    let mut elsewhere = None;
    for (id, unread) in [("read", false), ("unread", true)] {
        history.import(id, 1_000, unread, &["ann", "bob"]);
        for at in 1..=3 {
            elsewhere = Some(history.import_message(id, "bob", 2_000 + at, unread));
        }
    }
    let before = history.head();
    for id in ["read", "unread"] {
        history.say(id, "bob", "Here");
    }
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(contents(&views, "ann", ALL, 100).await, ["Here", "Here"]);
    assert_eq!(contents(&views, "ann", ALL, 1).await, ["Here"]);
    let pushes = views.pushes(before - 1, u64::MAX, 100).await.expect("pushes");
    assert_eq!(pushes.iter().map(Push::position).collect::<Vec<_>>(), [before + 1, before + 2]);
    for (id, expected) in [("read", 1), ("unread", 4)] {
        let shown = views.conversation(&user("ann"), &conversation(id)).await.expect("an answer");
        let shown = shown.expect("a conversation");
        assert_eq!((shown.unread_count, shown.created_at), (expected, Timestamp(1_000)), "{id}");
    }
    let delivered = views.deliveries(elsewhere.expect("a message")).await.expect("an answer");
    let (_, deliveries) = delivered.expect("a message");
    let status = |delivery: &Delivery| (delivery.status, delivery.updated_at);
    let statuses: Vec<_> = deliveries.iter().map(status).collect();
    assert_eq!(statuses, [(DeliveryStatus::Delivered, Timestamp(2_003))]);
    assert_shows(&views, history.events(), &["ann", "bob"]).await;
}

pub async fn the_stream_is_in_the_order_of_the_log_over_all_conversations<A: Adapter>() {
    let mut history = History::new();
    for id in ["x", "y", "z"] {
        history.direct(id, "ann", "bob");
    }
    history.direct("foreign", "bob", "cy");
    let mut expected = Vec::new();
    for (number, id) in ["y", "x", "x", "foreign", "z", "y", "z", "z", "x"].into_iter().enumerate()
    {
        let text = format!("{number} in {id}");
        history.say(id, "bob", &text);
        if id != "foreign" {
            expected.push(text);
        }
    }
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(contents(&views, "ann", ALL, 100).await, expected);
    for limit in 1..=8 {
        let page = contents(&views, "ann", ALL, limit).await;
        assert_eq!(page, expected[..limit as usize]);
    }
}

pub async fn the_stream_lies_above_after_and_up_to_through<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    let messages: Vec<_> =
        (0..6).map(|number| history.say("talk", "ann", &number.to_string())).collect();
    let at = |number: usize| history.position_of(messages[number]);
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(contents(&views, "bob", (at(1), at(3)), 100).await, ["2", "3"]);
    assert_eq!(contents(&views, "bob", (at(1) - 1, at(3) - 1), 100).await, ["1", "2"]);
    assert_eq!(contents(&views, "bob", (at(3), at(3)), 100).await, [""; 0]);
    assert_eq!(contents(&views, "bob", (at(3), at(1)), 100).await, [""; 0]);
    assert_eq!(contents(&views, "bob", (at(5), u64::MAX), 100).await, [""; 0]);
    let found = views.stream(&user("bob"), at(4), u64::MAX, 1).await.expect("a page");
    assert_eq!(found[0].position, at(5));
    assert_eq!(found[0].message.cursor, None);
}

pub async fn few_news_in_many_conversations_are_found<A: Adapter>() {
    let mut history = History::new();
    for number in 0..300 {
        let id = format!("c{number}");
        history.direct(&id, "ann", "bob");
        for text in ["old", "older", "oldest"] {
            history.say(&id, "bob", text);
        }
    }
    let after = history.head();
    for (number, text) in [(7, "a"), (250, "b"), (7, "c"), (99, "d")] {
        history.say(&format!("c{number}"), "bob", text);
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let news = contents(&views, "ann", (after, u64::MAX), 100).await;
    assert_eq!(news, ["a", "b", "c", "d"]);
    assert_eq!(contents(&views, "ann", (after, u64::MAX), 3).await, ["a", "b", "c"]);
    let all = contents(&views, "ann", ALL, 1_000).await;
    assert_eq!((all.len(), &*all[899], &*all[900]), (904, "oldest", "a"));
}

pub async fn a_message_is_pushed_to_the_members_of_its_time<A: Adapter>() {
    let mut history = History::new();
    history.group("team", None, &["zoe", "ann"]);
    let early = history.say("team", "ann", "early");
    history.join("team", "bob");
    let late = history.say("team", "zoe", "late");
    let (_adapter, views) = showing::<A>(&history).await;
    let pushes = views.pushes(0, history.head(), 100).await.expect("pushes");
    let messages: Vec<_> = pushes
        .iter()
        .filter_map(|push| match push {
            Push::Message(push) => Some(push),
            _ => None,
        })
        .collect();
    assert_eq!(*messages[0].recipients, [user("zoe"), user("ann")]);
    assert_eq!(*messages[1].recipients, [user("zoe"), user("ann"), user("bob")]);
    for (push, id) in messages.into_iter().zip([early, late]) {
        let json: Message = serde_json::from_str(&push.message).expect("JSON");
        let shown = views.message(id).await.expect("an answer").expect("a message");
        assert_eq!((json, push.position), (shown.message, history.position_of(id)));
        assert!(!push.message.contains("cursor"), "the cursor is the caller's to add");
        assert_eq!(push.message_id, id);
    }
}

pub async fn lists_are_pushed_to_those_for_whom_they_changed<A: Adapter>() {
    let history = varied();
    let (_adapter, views) = showing::<A>(&history).await;
    let pushes = views.pushes(0, history.head(), 1_000).await.expect("pushes");
    let refreshed: Vec<_> = pushes
        .iter()
        .filter_map(|push| match push {
            Push::Refresh(refresh) => Some((refresh.list, refresh.user_id.as_str())),
            _ => None,
        })
        .collect();
    let joined = |who| (List::Conversations, who);
    let expected = [
        joined("bob"),
        joined("ann"),
        joined("cy"),
        (List::Conversations, "ann"),
        (List::Notifications, "bob"),
        joined("dee"),
        joined("cy"),
        joined("ann"),
        (List::Conversations, "cy"),
    ];
    assert_eq!(refreshed, expected, "groups joined, and what was read");
    let erased: Vec<_> = pushes
        .iter()
        .filter_map(|push| match push {
            Push::Erased(erased) => Some(erased.user_id.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(erased, ["ann"], "whoever remembers her key is told");
}

pub async fn pushes_are_cut_in_the_order_of_the_log<A: Adapter>() {
    let mut history = varied();
    for number in 1..=5 {
        history.say("team", "ann", "…");
        history.read("team", "bob", number);
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let all = views.pushes(0, history.head(), 1_000).await.expect("pushes");
    assert!(all.is_sorted_by_key(Push::position));
    for limit in 1..all.len() {
        let cut = views.pushes(0, history.head(), limit as u32).await.expect("pushes");
        assert_eq!(cut, all[..limit]);
    }
    let (low, high) = (all[2].position(), all[6].position());
    assert_eq!(views.pushes(low, high, 100).await.expect("pushes"), all[3..=6]);
    assert_eq!(views.pushes(high, low, 100).await.expect("pushes"), []);
    assert_shows(&views, history.events(), &["ann", "bob"]).await;
}
