use http::{Method, StatusCode};
use serde_json::{Value, json};
use verbatim_domain::inbox::DeliveryOutcome;
use verbatim_journal::Log;
use verbatim_protocol::client::Acknowledged;
use verbatim_protocol::{JournalId, StreamCursor};
use verbatim_views::Views;

use super::world::{World, caller, request, user};

fn contents(list: &Value) -> Vec<&str> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|message| message["content"].as_str().expect("text"))
        .collect()
}

#[tokio::test]
async fn a_read_sees_what_was_acked_before_it_began() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    for n in 0..20 {
        world.say("ann", "conv_1", &n.to_string()).await;
        let page = world.get("bob", "/app/conversations/conv_1/messages?limit=1").await.data();
        assert_eq!(contents(&page), [n.to_string()]);
    }
}

#[tokio::test]
async fn views_that_lag_behind_make_reads_unavailable_rather_than_stale() {
    let mut world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    world.stop_views().await;
    world.say("ann", "conv_1", "unseen").await;
    let read = world.get("ann", "/app/conversations").await;
    assert_eq!(read.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(read.code(), "unavailable");
}

#[tokio::test]
async fn conversations_are_listed_latest_first_and_in_pages() {
    let world = World::new().await;
    for n in 0..5 {
        world.direct(&format!("conv_{n}"), "ann", &format!("friend_{n}")).await;
    }
    world.say("friend_2", "conv_2", "news").await;
    let all = world.get("ann", "/app/conversations").await;
    assert_eq!(all.json()["nextCursor"], Value::Null);
    let ids = |list: &Value| -> Vec<String> {
        let list = list.as_array().expect("a list");
        list.iter().map(|entry| entry["_id"].as_str().expect("an id").to_owned()).collect()
    };
    assert_eq!(ids(&all.data()), ["conv_2", "conv_4", "conv_3", "conv_1", "conv_0"]);
    let first = &all.data()[0];
    assert_eq!(first["type"], "direct");
    assert_eq!(first["memberIds"], json!(["ann", "friend_2"]));
    assert_eq!((&first["createdBy"], &first["title"]), (&json!("ann"), &Value::Null));
    assert_eq!(
        (&first["unreadCount"], &first["lastMessage"]["content"]),
        (&json!(1), &json!("news"))
    );
    assert_eq!(first["lastMessage"].get("cursor"), None);

    let mut path = "/app/conversations?limit=2".to_owned();
    let mut paged = Vec::new();
    loop {
        let page = world.get("ann", &path).await;
        paged.extend(ids(&page.data()));
        let Some(cursor) = page.json()["nextCursor"].as_str().map(str::to_owned) else { break };
        path = format!("/app/conversations?limit=2&cursor={cursor}");
    }
    assert_eq!(paged, ids(&all.data()));
    assert_eq!(world.get("cy", "/app/conversations").await.data(), json!([]));
}

#[tokio::test]
async fn bad_pages_are_refused() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    let messages = "/app/conversations/conv_1/messages";
    for (path, field) in [
        ("/app/conversations?limit=0".to_owned(), "limit"),
        ("/app/conversations?limit=201".to_owned(), "limit"),
        ("/app/conversations?limit=-1".to_owned(), "limit"),
        ("/app/conversations?limit=many".to_owned(), "limit"),
        ("/app/conversations?limit=".to_owned(), "limit"),
        ("/app/conversations?limit=1&limit=2".to_owned(), "limit"),
        ("/app/conversations?cursor=nonsense".to_owned(), "cursor"),
        ("/app/conversations?cursor=%00".to_owned(), "cursor"),
        ("/app/conversations?cursor=%FF".to_owned(), "cursor"),
        ("/app/notifications?unreadOnly=perhaps".to_owned(), "unreadOnly"),
        ("/app/notifications?cursor=nonsense".to_owned(), "cursor"),
        (format!("{messages}?before=-1"), "before"),
        (format!("{messages}?after=1e9"), "after"),
        (format!("{messages}?around=18446744073709551615"), "around"),
        (format!("{messages}?before=99999999999999999999"), "before"),
        (format!("{messages}?cursor=nonsense"), "cursor"),
        ("/app/stream?limit=0".to_owned(), "limit"),
    ] {
        let refused = world.get("ann", &path).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{path} {refused:?}");
        assert_eq!(refused.code(), "bad_request");
        assert_eq!(refused.json()["error"]["details"]["field"], field, "{path}");
    }
}

#[tokio::test]
async fn messages_are_read_by_their_members_only() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    for n in 2..=10 {
        world.say("ann", "conv_1", &n.to_string()).await;
    }
    let page = async |query: &str| {
        let path = format!("/app/conversations/conv_1/messages{query}");
        let page = world.get("bob", &path).await;
        let sequences = page
            .data()
            .as_array()
            .expect("a list")
            .iter()
            .map(|message| message["sequence"].as_u64().expect("a number"))
            .collect::<Vec<_>>();
        (sequences, page.json()["nextCursor"].as_str().map(str::to_owned))
    };
    let (newest, older) = page("?limit=3").await;
    assert_eq!(newest, [8, 9, 10]);
    let (next, _) = page(&format!("?limit=3&cursor={}", older.expect("there are older"))).await;
    assert_eq!(next, [5, 6, 7]);
    assert_eq!(page("?before=3").await, (vec![1, 2], None));
    let (after, newer) = page("?after=7&limit=2").await;
    assert_eq!(after, [8, 9]);
    let (next, _) = page(&format!("?limit=2&cursor={}", newer.expect("there are newer"))).await;
    assert_eq!(next, [10]);
    assert!(page("?around=5&limit=3").await.0.contains(&5));

    let stranger = world.get("cy", "/app/conversations/conv_1/messages").await;
    assert_eq!((stranger.status, stranger.code().as_str()), (StatusCode::FORBIDDEN, "forbidden"));
    let unknown = world.get("ann", "/app/conversations/conv_2/messages").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    let bad = world.get("ann", "/app/conversations/a%2Fb/messages").await;
    assert_eq!(bad.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn groups_are_made_once() {
    let world = World::new().await;
    let path = "/app/conversations";
    let body =
        json!({ "conversationId": "g1", "memberIds": ["bob", "cy", "bob"], "title": "Lunch" });
    let made = world.post("ann", path, &body).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let group = made.data();
    assert_eq!((&group["type"], &group["title"]), (&json!("group"), &json!("Lunch")));
    assert_eq!(group["memberIds"].as_array().map(Vec::len), Some(3));
    assert_eq!((&group["lastMessage"], &group["unreadCount"]), (&Value::Null, &json!(0)));

    let again =
        json!({ "conversationId": "g1", "memberIds": ["cy", "ann", "bob"], "title": "Lunch" });
    let again = world.post("ann", path, &again).await;
    assert_eq!((again.status, &again.json()["duplicate"]), (StatusCode::OK, &json!(true)));
    assert_eq!(again.data()["_id"], "g1");
    for other in [
        json!({ "conversationId": "g1", "memberIds": ["bob"], "title": "Lunch" }),
        json!({ "conversationId": "g1", "memberIds": ["bob", "cy"] }),
    ] {
        let refused = world.post("ann", path, &other).await;
        assert_eq!(
            (refused.status, refused.code()),
            (StatusCode::CONFLICT, "idempotency_conflict".into())
        );
    }
    let named = world.post("ann", path, &json!({ "memberIds": ["bob"] })).await;
    assert!(named.data()["_id"].as_str().is_some_and(|id| id.starts_with("conv_")));
    let alone = world.post("ann", path, &json!({ "memberIds": ["ann"] })).await;
    assert_eq!((alone.status, alone.code()), (StatusCode::BAD_REQUEST, "bad_request".into()));
}

#[tokio::test]
async fn reading_a_conversation_lowers_its_count_only() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    for _ in 0..4 {
        world.say("ann", "conv_1", "x").await;
    }
    world.direct("conv_2", "cy", "bob").await;
    let path = "/app/conversations/conv_1/read";
    let read = world.post("bob", path, &json!({ "sequence": 2 })).await;
    assert_eq!((read.status, read.data()), (StatusCode::OK, json!({ "unreadCount": 3 })));
    let rest = world.call(request(Method::POST, path, "bob"), "").await;
    assert_eq!(rest.data(), json!({ "unreadCount": 0 }), "without a body, all of it");
    let again = world.post("bob", path, &json!({ "sequence": 1 })).await;
    assert_eq!(again.data(), json!({ "unreadCount": 0 }), "a mark never moves back");
    for (who, path, body, status) in [
        ("bob", path, json!({ "sequence": 99 }), 400),
        ("bob", path, json!({ "sequence": "1" }), 400),
        ("cy", path, json!({}), 403),
        ("bob", "/app/conversations/conv_9/read", json!({}), 404),
    ] {
        assert_eq!(world.post(who, path, &body).await.status, status, "{who} {path} {body}");
    }
}

#[tokio::test]
async fn notifications_are_listed_and_read() {
    let world = World::new().await;
    let first = world.direct("conv_1", "ann", "bob").await;
    let second = world.say("ann", "conv_1", &"é".repeat(200)).await;
    let ids = [world.notify("bob", &first).await, world.notify("bob", &second).await];
    let list = world.get("bob", "/app/notifications").await.data();
    assert_eq!(list[0]["_id"], ids[1].to_string(), "newest first");
    assert_eq!(list[0]["content"], "é".repeat(140));
    assert_eq!((&list[1]["isRead"], &list[1]["readAt"]), (&json!(false), &Value::Null));
    assert_eq!((&list[1]["type"], &list[1]["userId"]), (&json!("message"), &json!("bob")));

    let path = "/app/notifications/read";
    let foreign = world.post("ann", path, &json!({ "ids": [ids[0].to_string()] })).await;
    assert_eq!((foreign.status, foreign.code().as_str()), (StatusCode::NOT_FOUND, "not_found"));
    assert_eq!(foreign.json()["error"]["details"]["ids"], json!([ids[0].to_string()]));
    let read = world.post("bob", path, &json!({ "ids": [ids[0].to_string()] })).await;
    assert_eq!(read.data(), json!({ "unreadCount": 1 }));
    let unread = world.get("bob", "/app/notifications?unreadOnly=true").await.data();
    assert_eq!(unread.as_array().map(Vec::len), Some(1));
    let all = world.post("bob", path, &json!({ "all": true })).await;
    assert_eq!(all.data(), json!({ "unreadCount": 0 }));
    let list = world.get("bob", "/app/notifications").await.data();
    assert!(list.as_array().expect("a list").iter().all(|entry| entry["isRead"] == true));
    assert!(list[0]["readAt"].is_string());
    for bad in [json!({}), json!({ "all": false }), json!({ "ids": [] }), json!({ "ids": ["x"] })] {
        assert_eq!(world.post("bob", path, &bad).await.status, StatusCode::BAD_REQUEST, "{bad}");
    }
}

#[tokio::test]
async fn whole_lists_for_pushes_are_what_the_gets_answer() {
    let world = World::new().await;
    let first = world.direct("conv_1", "ann", "bob").await;
    world.notify("bob", &first).await;
    let data =
        |envelope: &str| serde_json::from_str::<Value>(envelope).expect("JSON")["data"].clone();
    let bob = user("bob");
    let conversations = world.requests.conversations_list(&bob).await.expect("a list");
    assert_eq!(data(conversations.get()), world.get("bob", "/app/conversations").await.data());
    let notifications = world.requests.notifications_list(&bob).await.expect("a list");
    assert_eq!(data(notifications.get()), world.get("bob", "/app/notifications").await.data());
    let answer = world.requests.start(&caller("bob"), "conversation:get", None).await;
    assert_eq!(answer.expect("an answer").summary.count, Some(1));
}

#[tokio::test]
async fn lists_asked_for_without_bounds_hold_200_and_with_bounds_50() {
    let world = World::new().await;
    for n in 0..60 {
        world.direct(&format!("conv_{n}"), "ann", "bob").await;
    }
    let all = world.get("ann", "/app/conversations").await;
    assert_eq!(all.data().as_array().map(Vec::len), Some(60));
    let stream = world.get("ann", "/app/stream").await;
    assert_eq!(stream.data().as_array().map(Vec::len), Some(50));
}

#[tokio::test]
async fn the_stream_is_read_in_pages_and_acknowledged() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    world.direct("conv_2", "bob", "ann").await;
    world.direct("conv_3", "ann", "cy").await;
    world.say("ann", "conv_2", "last").await;
    let mut path = "/app/stream?limit=1".to_owned();
    let mut seen = Vec::new();
    let mut cursors = Vec::new();
    loop {
        let page = world.get("bob", &path).await;
        for message in page.data().as_array().expect("a list") {
            seen.push(message["conversationId"].as_str().expect("an id").to_owned());
            cursors.push(message["cursor"].as_str().expect("a cursor").to_owned());
        }
        let Some(next) = page.json()["nextCursor"].as_str().map(str::to_owned) else { break };
        assert_eq!(Some(&next), cursors.last());
        path = format!("/app/stream?limit=1&cursor={next}");
    }
    assert_eq!(seen, ["conv_1", "conv_2", "conv_2"], "own messages too, others' conversations not");

    let ack = world.post("bob", "/app/stream/ack", &json!({ "cursor": cursors[1] })).await;
    assert_eq!((ack.status, ack.data()), (StatusCode::OK, json!({ "cursor": cursors[1] })));
    let position = StreamCursor::parse(&cursors[1], world.journal.id()).expect("a cursor");
    world.get("bob", "/app/stream").await.data();
    {
        let marked = world.views.delivered_through(&user("bob")).await.expect("an answer");
        assert_eq!(marked, position);
    }

    let journal = world.journal.id();
    let ahead = StreamCursor { journal, position: 1_000_000 }.to_string();
    let foreign = StreamCursor { journal: JournalId(uuid::Uuid::nil()), position: 1 }.to_string();
    for (cursor, on_get, on_ack) in [
        ("nonsense", "cursor_expired", "bad_request"),
        ("", "cursor_expired", "bad_request"),
        (ahead.as_str(), "cursor_expired", "bad_request"),
        (foreign.as_str(), "cursor_expired", "cursor_expired"),
    ] {
        let get = world.get("bob", &format!("/app/stream?cursor={cursor}")).await;
        assert_eq!(get.code(), on_get, "{cursor}");
        let ack = world.post("bob", "/app/stream/ack", &json!({ "cursor": cursor })).await;
        assert_eq!(ack.code(), on_ack, "{cursor}");
    }
}

#[tokio::test]
async fn members_learn_what_became_of_a_message() {
    let world = World::new().await;
    let message = world.direct("conv_1", "ann", "bob").await;
    let path = format!("/app/messages/{}/deliveries", message["_id"].as_str().expect("an id"));
    let status = async || {
        let deliveries = world.get("ann", &path).await.data();
        assert_eq!(deliveries.as_array().map(Vec::len), Some(1));
        assert_eq!(deliveries[0]["userId"], "bob");
        deliveries[0]["status"].as_str().expect("a status").to_owned()
    };
    assert_eq!(status().await, "pending");
    world.notify("bob", &message).await;
    assert_eq!(status().await, "offline");
    let cursor = world.get("bob", "/app/stream").await.data()[0]["cursor"].clone();
    world.post("bob", "/app/stream/ack", &json!({ "cursor": cursor })).await.data();
    assert_eq!(status().await, "delivered");

    assert_eq!(world.get("cy", &path).await.code(), "forbidden");
    let unknown = format!("/app/messages/{}/deliveries", uuid::Uuid::nil());
    assert_eq!(world.get("ann", &unknown).await.code(), "not_found");
    assert_eq!(world.get("ann", "/app/messages/x/deliveries").await.code(), "bad_request");
}

#[tokio::test]
async fn a_mark_is_moved_for_whoever_the_gateway_says() {
    let world = World::new().await;
    let message = world.direct("conv_1", "ann", "bob").await;
    world.get("bob", "/app/conversations").await.data();
    let id = message["_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
    let position = world.views.message(id).await.expect("an answer").expect("it is there").position;
    let bob = user("bob");
    let moved = world.requests.advance_delivery(&bob, position, DeliveryOutcome::Presumed).await;
    assert!(!moved.expect("it is moved").duplicate);
    world.get("bob", "/app/conversations").await.data();
    assert_eq!(world.views.delivered_through(&bob).await.expect("an answer"), position);
}

#[tokio::test]
async fn a_user_who_acknowledges_each_message_makes_one_event_a_second() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    for _ in 0..49 {
        world.say("ann", "conv_1", "x").await;
    }
    let bob = caller("bob");
    let stream = world.get("bob", "/app/stream").await.data();
    let cursors: Vec<_> = stream
        .as_array()
        .expect("a list")
        .iter()
        .map(|message| message["cursor"].as_str().expect("a cursor").to_owned())
        .collect();
    let before = world.journal.head().await.expect("a head");
    let acks = cursors.iter().map(|cursor| {
        let ack = json!({ "cursor": cursor }).to_string();
        world.requests.start(&bob, "stream:ack", Some(&ack))
    });
    for (ack, cursor) in futures::future::join_all(acks).await.into_iter().zip(&cursors) {
        let ack: Value = serde_json::from_str(ack.expect("an answer").body.get()).expect("JSON");
        let data: Acknowledged = serde_json::from_value(ack["data"].clone()).expect("its shape");
        assert_eq!(data.cursor, *cursor);
    }
    let head = world.journal.head().await.expect("a head");
    assert_eq!(head - before, 2, "the first at once, the last a second later");
    world.get("bob", "/app/conversations").await.data();
    let last = StreamCursor::parse(&cursors[49], world.journal.id()).expect("a cursor");
    assert_eq!(world.views.delivered_through(&user("bob")).await.expect("an answer"), last);
}
