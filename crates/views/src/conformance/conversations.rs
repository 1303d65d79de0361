//! The list of conversations.

use uuid::Uuid;
use verbatim_protocol::JournalId;
use verbatim_protocol::client::Conversation;

use super::compare::{all_pages, assert_shows};
use super::history::{History, START, conversation, recorded_at, said, user, varied};
use super::{Adapter, showing};
use crate::{Error, PageRequest, Views};

fn first(limit: u32) -> PageRequest {
    PageRequest { cursor: None, limit }
}

async fn list(views: &impl Views, reader: &str) -> Vec<Conversation> {
    views.conversations(&user(reader), &first(200)).await.expect("a list").data
}

async fn unread(views: &impl Views, reader: &str, id: &str) -> u64 {
    let shown = views.conversation(&user(reader), &conversation(id)).await;
    shown.expect("an answer").expect("a conversation").unread_count
}

pub async fn a_stranger_sees_no_conversation<A: Adapter>() {
    let (_adapter, views) = showing::<A>(&varied()).await;
    assert_eq!(list(&views, "stranger").await, []);
    for id in ["talk", "team", "nowhere"] {
        let shown = views.conversation(&user("stranger"), &conversation(id)).await;
        assert_eq!(shown.expect("an answer"), None);
    }
    let cys = views.conversation(&user("cy"), &conversation("talk")).await;
    assert_eq!(cys.expect("an answer"), None, "a member of another conversation");
}

pub async fn a_cursor_that_is_none_is_refused<A: Adapter>() {
    let mut history = varied();
    let ann = user("ann");
    for text in ["one", "two"] {
        let message = history.say("talk", "bob", text);
        history.notify("ann", message);
    }
    let (adapter, views) = showing::<A>(&history).await;
    let own = views.conversations(&ann, &first(1)).await.expect("a page").next_cursor;
    let notifications =
        views.notifications(&ann, false, &first(1)).await.expect("a page").next_cursor;
    let notifications = notifications.expect("a second page");
    for bad in ["", "x", "🦀", "null", &notifications, &"A".repeat(10_000)] {
        let page = PageRequest { cursor: Some(bad.to_owned()), limit: 5 };
        let answer = views.conversations(&ann, &page).await;
        assert!(matches!(answer, Err(Error::BadCursor)), "{bad}");
    }
    let page = PageRequest { cursor: own, limit: 5 };
    assert_eq!(views.conversations(&ann, &page).await.expect("the rest").data.len(), 2);
    adapter.close(views).await;
    let views = adapter.open(JournalId(Uuid::from_u128(0x07e5))).await;
    let answer = views.conversations(&ann, &page).await;
    assert!(matches!(answer, Err(Error::BadCursor)), "another journal's");
}

pub async fn the_latest_activity_comes_first<A: Adapter>() {
    let mut history = History::new();
    for id in ["a", "b", "c"] {
        history.direct(id, "ann", "bob");
    }
    history.say("b", "bob", "Hello");
    history.say("a", "ann", "Hello");
    // Neither reading nor a new member is an activity.
    history.read("b", "ann", 1);
    history.join("b", "cy");
    let (_adapter, views) = showing::<A>(&history).await;
    let shown = list(&views, "ann").await;
    let ids: Vec<_> = shown.iter().map(|shown| shown.id.as_str()).collect();
    assert_eq!(ids, ["a", "b", "c"]);
    let empty = &shown[2];
    assert_eq!((&empty.last_message, empty.unread_count), (&None, 0));
    assert_eq!((empty.created_at, empty.updated_at), (recorded_at(7), recorded_at(7)));
    assert_eq!(shown[0].created_at.0, START.0);
    assert_eq!(shown[0].updated_at, recorded_at(11), "the time of its last message");
    let last = shown[0].last_message.as_ref().expect("a message");
    assert_eq!((last.sequence, &*last.content, &last.cursor), (1, "Hello", &None));
}

pub async fn members_come_in_the_order_in_which_they_joined<A: Adapter>() {
    let mut history = History::new();
    history.group("team", None, &["zoe", "mia", "ann"]);
    history.join("team", "bob");
    let (_adapter, views) = showing::<A>(&history).await;
    let order = [user("zoe"), user("mia"), user("ann"), user("bob")];
    assert_eq!(list(&views, "ann").await[0].member_ids, order);
    history.group("crew", None, &["bob"]);
    let (_adapter, views) = showing::<A>(&history).await;
    let ids = ["team", "none", "crew"].map(conversation);
    let mut found = views.members(&ids).await.expect("an answer");
    assert_eq!(found.remove(&conversation("crew")).expect("a conversation").members.len(), 1);
    let members = found.remove(&conversation("team")).expect("a conversation").members;
    assert!(found.is_empty());
    let joined: Vec<_> = members.iter().map(|member| member.joined_position).collect();
    assert_eq!(joined, [2, 3, 4, 5]);
    assert!(members.iter().map(|member| &member.user_id).eq(&order));
}

pub async fn what_was_written_comes_back_unchanged<A: Adapter>() {
    let texts =
        ["' or 1=1; --", "e\u{301} 👩‍👩‍👧 \u{202e}abc", "\"{}\"\\\n\t\u{7}", " ", &"ü".repeat(16_384)];
    let mut history = History::new();
    for (number, text) in texts.iter().enumerate() {
        let id = format!("c{number}");
        history.group(&id, Some(text), &["ann", "bob"]);
        history.send(&id, "ann", text, |sent| {
            sent.client_message_id = Some("ключ \"1\"\n".parse().expect("a key"));
            sent.personal = said(text, Some("ann@example.com")).into();
            sent.sender_role = "system".into();
        });
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let shown = list(&views, "bob").await;
    for (shown, text) in shown.iter().rev().zip(texts) {
        let last = shown.last_message.as_ref().expect("a message");
        assert_eq!((shown.title.as_deref(), &*last.content), (Some(text), text));
    }
    assert_shows(&views, history.events(), &["ann", "bob"]).await;
}

pub async fn own_messages_are_never_unread<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    for text in ["one", "two", "three"] {
        history.say("talk", "ann", text);
    }
    history.say("talk", "bob", "four");
    let (_adapter, views) = showing::<A>(&history).await;
    assert_eq!(unread(&views, "ann", "talk").await, 1);
    assert_eq!(unread(&views, "bob", "talk").await, 3);
}

pub async fn reading_a_part_leaves_the_rest_unread<A: Adapter>() {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    for sender in ["ann", "bob", "bob", "ann", "ann", "bob", "ann"] {
        history.say("talk", sender, "…");
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let mut counts = Vec::new();
    for through in [1, 2, 5, 6, 7] {
        history.read("talk", "bob", through);
        views.apply(history.after(views.checkpoint())).await.expect("it follows");
        counts.push(unread(&views, "bob", "talk").await);
    }
    assert_eq!(counts, [3, 3, 1, 1, 0], "of Ann's messages 1, 4, 5 and 7");
    assert_eq!(unread(&views, "ann", "talk").await, 3, "who has read nothing");
}

pub async fn a_page_goes_on_where_the_last_one_ended<A: Adapter>() {
    let mut history = History::new();
    for number in 0..7 {
        history.direct(&format!("c{number}"), "ann", "bob");
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let ann = user("ann");
    let page = views.conversations(&ann, &first(3)).await.expect("a page");
    // What moves to the front meanwhile is not seen twice.
    history.say("c0", "bob", "Me first");
    views.apply(history.after(views.checkpoint())).await.expect("it follows");
    let rest = all_pages(3, |cursor| {
        let cursor = cursor.or_else(|| page.next_cursor.clone());
        let (views, ann) = (&views, &ann);
        async move { views.conversations(ann, &PageRequest { cursor, limit: 3 }).await }
    });
    let rest = rest.await;
    let ids: Vec<_> = page.data.iter().chain(&rest).map(|shown| shown.id.as_str()).collect();
    assert_eq!(ids, ["c6", "c5", "c4", "c3", "c2", "c1"]);
}

pub async fn a_page_has_at_least_one_and_at_most_a_thousand_entries<A: Adapter>() {
    let mut history = History::new();
    history.direct("c0", "ann", "bob");
    for number in 1..=1_001 {
        history.direct(&format!("c{number}"), "ann", "bob");
        history.say("c0", "ann", "…");
    }
    let (_adapter, views) = showing::<A>(&history).await;
    let (ann, head) = (user("ann"), history.head());
    for (limit, expected) in [(0, 1), (u32::MAX, 1_000)] {
        let page = views.conversations(&ann, &first(limit)).await.expect("a page");
        assert_eq!((page.data.len(), page.next_cursor.is_some()), (expected, true));
        let stream = views.stream(&ann, 0, head, limit).await.expect("a page");
        assert_eq!(stream.len(), expected);
        assert_eq!(views.pushes(0, u64::MAX, limit).await.expect("a page").len(), expected);
    }
    let stream = views.stream(&ann, 0, u64::MAX, u32::MAX).await.expect("a page");
    assert_eq!(stream.len(), 1_000);
    assert_eq!(views.stream(&ann, u64::MAX, u64::MAX, 5).await.expect("a page"), []);
}
