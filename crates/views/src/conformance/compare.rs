//! Asks views everything, and compares the answers with the model's.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::{ConversationId, MessageId, NotificationId, UserId};
use verbatim_protocol::Recorded;
use verbatim_protocol::client::Page;

use super::history::{conversation, user};
use super::model::{Model, Talk};
use crate::{Error, Members, MessageRange, PageRequest, Views};

/// Asserts that the views show just what these events tell, to each of the users.
pub async fn assert_shows(views: &impl Views, events: &[Arc<Recorded>], users: &[&str]) {
    let model = Model::of(events);
    let head = events.last().map_or(0, |last| last.position);
    assert_eq!(views.checkpoint(), head);
    for id in users.iter().copied().chain(["stranger"]) {
        assert_user(views, &model, &user(id), head).await;
    }
    for talk in &model.talks {
        assert_talk(views, &model, talk).await;
    }
    assert_pushes(views, &model, head).await;
    assert_nothing_unknown(views).await;
}

/// A user's lists, with the smallest and with larger pages.
async fn assert_user(views: &impl Views, model: &Model, user: &UserId, head: u64) {
    let expected = model.conversations(user);
    for limit in [1, 3, 200] {
        let page =
            |cursor| async move { views.conversations(user, &PageRequest { cursor, limit }).await };
        assert_eq!(all_pages(limit, page).await, expected, "{user}'s conversations");
    }
    for shown in &expected {
        let one = views.conversation(user, &shown.id).await.expect("an answer");
        assert_eq!(one.as_ref(), Some(shown));
    }
    for unread_only in [false, true] {
        let expected = model.notifications(user, unread_only);
        for limit in [1, 2, 200] {
            let page = |cursor| async move {
                views.notifications(user, unread_only, &PageRequest { cursor, limit }).await
            };
            assert_eq!(all_pages(limit, page).await, expected, "{user}'s notifications");
        }
        if unread_only {
            let count = views.unread_notifications(user).await.expect("an answer");
            assert_eq!(count, expected.len() as u64);
        }
    }
    let through = views.delivered_through(user).await.expect("an answer");
    assert_eq!(through, model.delivered_through(user));
    assert_stream(views, model, user, head).await;
    let ids = model.notification_ids();
    let asked: Vec<NotificationId> = ids.iter().map(|(_, id)| *id).collect();
    let foreign: Vec<_> =
        ids.iter().filter(|(owner, _)| owner != user).map(|(_, id)| *id).collect();
    let answer = views.foreign_notifications(user, &asked).await.expect("an answer");
    assert_eq!(answer, foreign);
}

async fn assert_stream(views: &impl Views, model: &Model, user: &UserId, head: u64) {
    for limit in [1, 4, 1_000] {
        let mut after = 0;
        let mut found = Vec::new();
        loop {
            let page = views.stream(user, after, head, limit).await.expect("an answer");
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            assert!(page[0].position > after, "the page goes on");
            after = last.position;
            found.extend(page);
        }
        assert_eq!(found, model.stream(user, 0, head), "{user}'s stream");
    }
    let (after, through) = (head / 3, head - head / 3);
    let part = views.stream(user, after, through, 1_000).await.expect("an answer");
    assert_eq!(part, model.stream(user, after, through), "a part of {user}'s stream");
}

async fn members(views: &impl Views, id: &ConversationId) -> Option<Members> {
    views.members(std::slice::from_ref(id)).await.expect("an answer").remove(id)
}

async fn assert_talk(views: &impl Views, model: &Model, talk: &Talk) {
    let shown = members(views, &talk.id).await.expect("a conversation");
    assert_eq!((shown.kind, &shown.members), (talk.kind(), &talk.members));
    for member in &talk.members {
        let found = views.is_member(&talk.id, &member.user_id).await.expect("an answer");
        assert_eq!(found, Some(true));
    }
    let stranger = user("stranger");
    assert_eq!(views.is_member(&talk.id, &stranger).await.expect("an answer"), Some(false));

    let mut oldest_first: Vec<_> = talk.messages.iter().map(|m| m.message.clone()).collect();
    for limit in [1, 3, 200] {
        let newer = |cursor| async move {
            let after = Some(0);
            let page = PageRequest { cursor, limit };
            views.messages(&talk.id, &MessageRange { after, page, ..MessageRange::default() }).await
        };
        assert_eq!(all_pages(limit, newer).await, oldest_first, "messages after 0");
    }
    oldest_first.reverse();
    for limit in [1, 3, 200] {
        let older = |cursor| async move {
            let page = PageRequest { cursor, limit };
            let range = MessageRange { page, ..MessageRange::default() };
            // Turned round, pages that go back make one list.
            let mut page = views.messages(&talk.id, &range).await?;
            page.data.reverse();
            Ok(page)
        };
        assert_eq!(all_pages(limit, older).await, oldest_first, "messages from the newest on");
    }
    for message in &talk.messages {
        let id = message.message.id;
        assert_eq!(views.message(id).await.expect("an answer").as_ref(), Some(message));
        let (of, deliveries) = views.deliveries(id).await.expect("an answer").expect("a message");
        assert_eq!((of, deliveries), (talk.id.clone(), model.deliveries(id)));
    }
}

async fn assert_pushes(views: &impl Views, model: &Model, head: u64) {
    let expected = model.pushes();
    for limit in [1, 5, 1_000] {
        let mut after = 0;
        let mut found = Vec::new();
        loop {
            let page = views.pushes(after, head, limit).await.expect("an answer");
            assert!(page.len() <= limit as usize);
            let Some(last) = page.last() else { break };
            assert!(page[0].position() > after, "the page goes on");
            after = last.position();
            found.extend(page);
        }
        assert_eq!(found, expected, "pushes");
    }
}

async fn assert_nothing_unknown(views: &impl Views) {
    let (nobody, nowhere) = (user("stranger"), conversation("nowhere"));
    let nothing = MessageId(Uuid::from_u128(1));
    assert_eq!(views.conversation(&nobody, &nowhere).await.expect("an answer"), None);
    assert_eq!(members(views, &nowhere).await, None);
    assert_eq!(views.is_member(&nowhere, &nobody).await.expect("an answer"), None);
    assert_eq!(views.message(nothing).await.expect("an answer"), None);
    assert_eq!(views.deliveries(nothing).await.expect("an answer"), None);
}

/// Follows a list's cursors to the end: all pages but the last are full.
pub async fn all_pages<T, F>(limit: u32, mut page: impl FnMut(Option<String>) -> F) -> Vec<T>
where
    F: Future<Output = Result<Page<T>, Error>>,
{
    let mut entries = Vec::new();
    let mut cursor = None;
    loop {
        let found = page(cursor).await.expect("a page");
        assert!(found.data.len() <= limit as usize, "a page is too long");
        let full = found.data.len() == limit as usize;
        entries.extend(found.data);
        assert!(entries.len() < 100_000, "the pages come to an end");
        match found.next_cursor {
            None => return entries,
            next => {
                assert!(full, "a page that isn't the last is full");
                cursor = next;
            }
        }
    }
}
