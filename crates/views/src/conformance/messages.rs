//! Pages of messages.

use uuid::Uuid;
use verbatim_domain::MessageId;
use verbatim_protocol::JournalId;

use super::compare::all_pages;
use super::history::{History, conversation, user, varied};
use super::{Adapter, showing};
use crate::{Error, MessageRange, PageRequest, Views};

fn limit(limit: u32) -> MessageRange {
    MessageRange { page: PageRequest { cursor: None, limit }, ..MessageRange::default() }
}

fn with_cursor(cursor: &str) -> MessageRange {
    let page = PageRequest { cursor: Some(cursor.to_owned()), limit: 5 };
    MessageRange { page, ..MessageRange::default() }
}

/// Two conversations, in turns, the first with `count` messages.
fn talks(count: u64) -> History {
    let mut history = History::new();
    history.direct("talk", "ann", "bob");
    history.direct("other", "ann", "cy");
    for number in 1..=count {
        history.say("talk", "ann", &format!("number {number}"));
        history.say("other", "cy", "…");
    }
    history
}

/// The page's sequences, and whether another page follows.
async fn page(views: &impl Views, range: &MessageRange) -> (Vec<u64>, bool) {
    let page = views.messages(&conversation("talk"), range).await.expect("a page");
    for message in &page.data {
        assert_eq!(message.content, format!("number {}", message.sequence));
        assert_eq!((message.conversation_id.as_str(), &message.cursor), ("talk", &None));
    }
    (page.data.iter().map(|message| message.sequence).collect(), page.next_cursor.is_some())
}

pub async fn a_cursor_of_another_conversation_list_or_journal_is_refused<A: Adapter>() {
    let history = talks(9);
    let (adapter, views) = showing::<A>(&history).await;
    let talk = conversation("talk");
    let own = views.messages(&talk, &limit(3)).await.expect("a page").next_cursor;
    let own = own.expect("a second page");
    let foreign =
        views.messages(&conversation("other"), &limit(3)).await.expect("a page").next_cursor;
    let list = PageRequest { cursor: None, limit: 1 };
    let list = views.conversations(&user("ann"), &list).await.expect("a page").next_cursor;
    let (foreign, list) = (foreign.expect("a second page"), list.expect("a second page"));
    for bad in ["", "x", "🦀", &foreign, &list, &own[1..], &"A".repeat(10_000)] {
        let answer = views.messages(&talk, &with_cursor(bad)).await;
        assert!(matches!(answer, Err(Error::BadCursor)), "{bad}");
    }
    let nowhere = views.messages(&conversation("nowhere"), &with_cursor(&own)).await;
    assert!(matches!(nowhere, Err(Error::BadCursor)));
    assert!(views.messages(&talk, &with_cursor(&own)).await.is_ok());
    adapter.close(views).await;
    let views = adapter.open(JournalId(Uuid::from_u128(0x07e5))).await;
    views.apply(history.events()).await.expect("the history is whole");
    let answer = views.messages(&talk, &with_cursor(&own)).await;
    assert!(matches!(answer, Err(Error::BadCursor)), "another journal's");
}

pub async fn an_unknown_conversation_has_no_messages<A: Adapter>() {
    let (_adapter, views) = showing::<A>(&varied()).await;
    let after = MessageRange { after: Some(0), ..limit(5) };
    for range in [limit(5), after, MessageRange { around: Some(3), ..limit(5) }] {
        for id in ["nowhere", "empty"] {
            let page = views.messages(&conversation(id), &range).await.expect("a page");
            assert!(page.data.is_empty() && page.next_cursor.is_none());
        }
    }
}

pub async fn an_unknown_message_is_not_found<A: Adapter>() {
    let (_adapter, views) = showing::<A>(&varied()).await;
    for id in [Uuid::nil(), Uuid::max(), Uuid::from_u128(7)] {
        assert_eq!(views.message(MessageId(id)).await.expect("an answer"), None);
        assert_eq!(views.deliveries(MessageId(id)).await.expect("an answer"), None);
    }
}

pub async fn without_bounds_the_newest_come_in_ascending_order<A: Adapter>() {
    let (_adapter, views) = showing::<A>(&talks(9)).await;
    assert_eq!(page(&views, &limit(4)).await, (vec![6, 7, 8, 9], true));
    assert_eq!(page(&views, &limit(9)).await, ((1..=9).collect(), false));
    assert_eq!(page(&views, &limit(200)).await, ((1..=9).collect(), false));
}

pub async fn bounds_move_the_page<A: Adapter>() {
    let (_adapter, views) = showing::<A>(&talks(9)).await;
    let range = |before, after, around| MessageRange { before, after, around, ..limit(3) };
    let none = Vec::new;
    for (bounds, expected) in [
        (range(Some(7), None, None), (vec![4, 5, 6], true)),
        (range(Some(3), None, None), (vec![1, 2], false)),
        (range(Some(1), None, None), (none(), false)),
        (range(Some(0), None, None), (none(), false)),
        (range(Some(u64::MAX), None, None), (vec![7, 8, 9], true)),
        (range(None, Some(0), None), (vec![1, 2, 3], true)),
        (range(None, Some(6), None), (vec![7, 8, 9], false)),
        (range(None, Some(8), None), (vec![9], false)),
        (range(None, Some(9), None), (none(), false)),
        (range(None, Some(u64::MAX), None), (none(), false)),
        (range(Some(8), Some(2), None), (vec![3, 4, 5], true)),
        (range(Some(5), Some(2), None), (vec![3, 4], false)),
        (range(Some(2), Some(5), None), (none(), false)),
        (range(None, None, Some(5)), (vec![4, 5, 6], true)),
        (range(None, None, Some(1)), (vec![1, 2], false)),
        (range(None, None, Some(9)), (vec![8, 9], true)),
        (range(None, None, Some(50)), (none(), true)),
    ] {
        assert_eq!(page(&views, &bounds).await, expected, "{bounds:?}");
    }
}

pub async fn pages_lead_to_each_message_once<A: Adapter>() {
    let mut history = talks(11);
    let (_adapter, views) = showing::<A>(&history).await;
    let talk = conversation("talk");
    let follow = |bounds: MessageRange, reversed: bool| {
        let (views, talk) = (&views, &talk);
        all_pages(bounds.page.limit, move |cursor| {
            let mut range = if cursor.is_some() { MessageRange::default() } else { bounds.clone() };
            range.page = PageRequest { cursor, limit: bounds.page.limit };
            async move {
                let mut page = views.messages(talk, &range).await?;
                if reversed {
                    page.data.reverse();
                }
                Ok(page)
            }
        })
    };
    let sequences = |messages: Vec<verbatim_protocol::client::Message>| {
        messages.into_iter().map(|message| message.sequence).collect::<Vec<_>>()
    };
    for size in [1, 2, 4, 11, 12] {
        let older = follow(limit(size), true).await;
        assert_eq!(sequences(older), (1..=11).rev().collect::<Vec<_>>());
        let older = follow(MessageRange { before: Some(8), ..limit(size) }, true).await;
        assert_eq!(sequences(older), (1..=7).rev().collect::<Vec<_>>());
        let newer = follow(MessageRange { after: Some(4), ..limit(size) }, false).await;
        assert_eq!(sequences(newer), (5..=11).collect::<Vec<_>>());
        let bounds = MessageRange { after: Some(2), before: Some(9), ..limit(size) };
        assert_eq!(sequences(follow(bounds, false).await), (3..=8).collect::<Vec<_>>());
    }
    // What is said meanwhile moves no older page, and lies on the way of newer ones.
    let older = views.messages(&talk, &limit(4)).await.expect("a page").next_cursor;
    let newer = MessageRange { after: Some(4), ..limit(4) };
    let newer = views.messages(&talk, &newer).await.expect("a page").next_cursor;
    history.say("talk", "ann", "number 12");
    views.apply(history.after(views.checkpoint())).await.expect("it follows");
    let older = with_cursor(&older.expect("an older page"));
    assert_eq!(page(&views, &older).await, (vec![3, 4, 5, 6, 7], true));
    let newer = with_cursor(&newer.expect("a newer page"));
    assert_eq!(page(&views, &newer).await, (vec![9, 10, 11, 12], false));
}
