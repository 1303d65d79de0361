use http::StatusCode;
use serde_json::{Value, json};
use verbatim_journal::Log;
use verbatim_protocol::ErrorCode;

use super::world::{World, caller};

const MESSAGES: &str = "/app/conversations/conv_1/messages";

#[tokio::test]
async fn a_first_message_starts_a_direct_conversation() {
    let world = World::new().await;
    let body = json!({
        "content": "Hello!", "targetUserId": "bob", "clientMessageId": "m1",
        "attachments": [{ "name": "a.png", "url": "https://example.com/a.png", "extra": 1 }],
    });
    let sent = world.post("ann", MESSAGES, &body).await;
    assert_eq!(sent.status, StatusCode::CREATED);
    let message = sent.data();
    assert!(message["_id"].as_str().is_some_and(|id| id.len() == 36));
    assert!(message["createdAt"].as_str().is_some_and(|time| time.ends_with('Z')));
    let expected = json!({
        "_id": message["_id"], "createdAt": message["createdAt"],
        "conversationId": "conv_1", "sender": "user", "senderId": "ann", "content": "Hello!",
        "attachments": [{ "name": "a.png", "url": "https://example.com/a.png" }],
        "senderInfo": { "userId": "ann", "email": "ann@example.com", "role": "user" },
        "sequence": 1, "clientMessageId": "m1",
    });
    assert_eq!(message, expected, "and no cursor");
    assert_eq!(sent.json().get("duplicate"), None);
    assert_eq!(world.say("bob", "conv_1", "Hi").await["sequence"], 2);
}

#[tokio::test]
async fn a_message_sent_again_is_the_same_message() {
    let world = World::new().await;
    let body = json!({ "content": "Hello!", "targetUserId": "bob", "clientMessageId": "m1" });
    let first = world.post("ann", MESSAGES, &body).await;
    let again = world.post("ann", MESSAGES, &body).await;
    assert_eq!((first.status, again.status), (StatusCode::CREATED, StatusCode::OK));
    assert_eq!(again.json()["duplicate"], true);
    assert_eq!(again.data(), first.data());

    let other = json!({ "content": "Bye!", "targetUserId": "bob", "clientMessageId": "m1" });
    let refused = world.post("ann", MESSAGES, &other).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert_eq!(refused.code(), "idempotency_conflict");

    let theirs = json!({ "content": "Hello!", "clientMessageId": "m1" });
    let theirs = world.post("bob", MESSAGES, &theirs).await;
    assert_eq!(theirs.status, StatusCode::CREATED, "another's name for another message");
}

#[tokio::test]
async fn who_may_not_send_is_told_why() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    let to = |target: Value| json!({ "content": "x", "targetUserId": target });
    for (sender, conversation, body, status, code) in [
        ("cy", "conv_1", to(json!(null)), 403, "forbidden"),
        ("cy", "conv_1", to(json!("ann")), 403, "forbidden"),
        ("ann", "conv_1", to(json!("cy")), 403, "forbidden"),
        ("ann", "conv_2", to(json!(null)), 404, "not_found"),
        ("ann", "conv_2", to(json!("ann")), 400, "bad_request"),
        ("ann", "conv_1", to(json!(7)), 400, "bad_request"),
        ("ann", "conv%201", to(json!("bob")), 400, "bad_request"),
    ] {
        let path = format!("/app/conversations/{conversation}/messages");
        let refused = world.post(sender, &path, &body).await;
        assert_eq!(refused.status, status, "{sender} {conversation} {body}");
        assert_eq!(refused.code(), code);
    }
}

#[tokio::test]
async fn forged_fields_are_ignored() {
    let world = World::new().await;
    let body = json!({
        "content": "x", "targetUserId": "bob", "conversationId": "conv_2", "sender": "system",
        "senderId": "root", "senderInfo": { "userId": "root", "role": "admin" }, "_id": "x",
        "sequence": 99, "createdAt": "1970-01-01T00:00:00.000Z",
    });
    let message = world.post("ann", MESSAGES, &body).await.data();
    assert_eq!(message["conversationId"], "conv_1", "the path's");
    assert_eq!((&message["senderId"], &message["sender"]), (&json!("ann"), &json!("user")));
    assert_eq!((&message["sequence"], &message["senderInfo"]["role"]), (&json!(1), &json!("user")));
}

#[tokio::test]
async fn pipelined_sends_are_numbered_in_the_order_of_their_starts() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    let ann = caller("ann");
    let sends: Vec<_> = (0..500)
        .map(|n| {
            let payload = json!({ "conversationId": "conv_1", "content": n.to_string() });
            world.requests.start(&ann, "message:send", Some(&payload.to_string()))
        })
        .collect();
    let answers = futures::future::join_all(sends.into_iter().rev()).await;
    for (n, answer) in answers.into_iter().rev().enumerate() {
        let answer = answer.expect("it is sent");
        let envelope: Value = serde_json::from_str(answer.body.get()).expect("JSON");
        assert_eq!(envelope["data"]["sequence"], n + 2);
        assert_eq!(envelope["data"]["content"], n.to_string());
        assert!(answer.created && !answer.duplicate);
    }
}

#[tokio::test]
async fn a_send_is_carried_out_though_nobody_waits_for_its_answer() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    let payload = json!({ "conversationId": "conv_1", "content": "left alone" }).to_string();
    drop(world.requests.start(&caller("ann"), "message:send", Some(&payload)));
    let next = world.say("ann", "conv_1", "next").await;
    assert_eq!(next["sequence"], 3);
}

#[tokio::test]
async fn no_client_can_take_a_key_that_the_gateway_makes_up() {
    let world = World::new().await;
    world.direct("conv_1", "ann", "bob").await;
    // Whatever a client calls its message counts under its own name.
    for id in ["$gateway", "018c7f3e-0000-7000-8000-000000000000"] {
        let body = json!({ "content": "x", "clientMessageId": id });
        assert_eq!(world.post("ann", MESSAGES, &body).await.status, StatusCode::CREATED);
    }
    let events = world.journal.read_after(0, 100).await.expect("the events");
    let keys: Vec<_> = events.iter().filter_map(|event| event.command.as_ref()).collect();
    let (made_up, chosen): (Vec<_>, Vec<_>) =
        keys.into_iter().partition(|key| &*key.issuer == "$gateway");
    assert_eq!((made_up.len(), chosen.len()), (1, 2));
    assert!(chosen.iter().all(|key| &*key.issuer == "ann"));
    assert!(chosen.iter().all(|key| key.key != made_up[0].key));
}

#[tokio::test]
async fn bad_payloads_never_reach_the_bus() {
    let world = World::new().await;
    let before = world.journal.head().await.expect("a head");
    for payload in [None, Some("null"), Some("[]"), Some("{"), Some(r#"{"content":"x"}"#)] {
        let refused = world.requests.start(&caller("ann"), "message:send", payload).await;
        assert_eq!(refused.expect_err("refused").code, ErrorCode::BadRequest, "{payload:?}");
    }
    let unknown = world.requests.start(&caller("ann"), "message:edit", Some("{}")).await;
    assert_eq!(unknown.expect_err("refused").code, ErrorCode::BadRequest);
    assert_eq!(world.journal.head().await.expect("a head"), before);
}

#[tokio::test]
async fn a_send_that_nobody_handles_is_unavailable() {
    let mut world = World::new().await;
    world.stop_commands().await;
    let body = json!({ "content": "x", "targetUserId": "bob", "clientMessageId": "m1" });
    let refused = world.post("ann", MESSAGES, &body).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(refused.code(), "unavailable");
    assert_eq!(refused.json()["error"]["retryable"], true);
}
