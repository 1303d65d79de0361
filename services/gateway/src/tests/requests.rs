use super::*;

fn send(content: &str) -> serde_json::Value {
    json!({ "conversationId": "conv", "content": content })
}

#[tokio::test]
async fn a_message_comes_to_the_sender_and_to_the_others() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let mut bo = running.live("bo").await;
    ann.emit("message:send", &send("hello")).await;
    let confirmed = ann.event("message:receive").await;
    let received = bo.event("message:receive").await;
    assert_eq!(confirmed["data"], received["data"]);
    assert_eq!(received["success"], true);
    assert_eq!(received["data"]["content"], "hello");
    assert_eq!(received["data"]["cursor"], running.world.cursor(1));
}

#[tokio::test]
async fn an_ack_takes_the_answers_place_but_the_message_still_comes() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let id = ann.ask("message:send", &send("hello")).await;
    let (mut acked, mut received) = (None, None);
    while acked.is_none() || received.is_none() {
        let packet = ann.text().await.expect("a packet");
        if let Some(ack) = packet.strip_prefix(&format!("43{id}")) {
            let mut ack: Vec<serde_json::Value> = serde_json::from_str(ack).expect("JSON");
            acked = Some(ack.remove(0));
        } else if packet.starts_with("42") {
            assert!(received.is_none(), "once: {packet}");
            received = Some(packet);
        }
    }
    let acked = acked.expect("seen");
    assert_eq!(acked["data"]["content"], "hello");
    assert_eq!(acked["data"]["cursor"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_duplicate_is_told_to_that_socket_alone() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let mut bo = running.live("bo").await;
    let payload = json!({ "conversationId": "conv", "content": "once", "clientMessageId": "k" });
    ann.emit("message:send", &payload).await;
    ann.event("message:receive").await;
    ann.emit("message:send", &payload).await;
    let again = ann.event("message:receive").await;
    assert_eq!(again["duplicate"], true);
    running.world.say("ann", "next");
    assert_eq!(bo.contents(2).await, ["once", "next"]);
}

#[tokio::test]
async fn failures_come_by_the_ack_or_on_the_answering_event() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    ann.emit("message:send", &send("forbidden")).await;
    let failed = ann.event("message:receive").await;
    assert_eq!(
        (&failed["success"], &failed["error"]["code"]),
        (&json!(false), &json!("forbidden"))
    );
    let failed = ann.asked("message:send", &send("forbidden")).await;
    assert_eq!(failed["error"]["code"], "forbidden");
    let failed = ann.asked("notification:get", &json!({ "limit": 0 })).await;
    assert_eq!(failed["error"]["code"], "bad_request");
}

#[tokio::test]
async fn a_payload_is_an_object_where_nothing_is_asked_for_too() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    for bad in [json!("x"), json!(7), json!([]), json!(true)] {
        let refused = ann.asked("connection:get", &bad).await;
        assert_eq!(refused["error"]["code"], "bad_request", "{bad}");
    }
    for good in [json!({}), json!(null), json!({ "x": 1 })] {
        assert_eq!(ann.asked("connection:get", &good).await["success"], true, "{good}");
    }
}

#[tokio::test]
async fn no_payload_does_any_harm() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    // Nothing, null, and several.
    for good in [r#"421["notification:get"]"#, r#"422["notification:get",null]"#] {
        ann.send(good).await;
    }
    assert_eq!(ann.ack(1).await["success"], true);
    assert_eq!(ann.ack(2).await["success"], true);
    ann.send(r#"423["notification:get",{},"x",[1]]"#).await;
    assert_eq!(ann.ack(3).await["success"], true);
    for (id, bad) in [(4, "7"), (5, "[]"), (6, r#"{"limit":"x"}"#)] {
        ann.send(&format!(r#"42{id}["notification:get",{bad}]"#)).await;
        assert_eq!(ann.ack(id).await["error"]["code"], "bad_request", "{bad}");
    }
    let deep = format!(r#"427["message:send",{}{}]"#, "[".repeat(20_000), "]".repeat(20_000));
    ann.send(&deep).await;
    assert_eq!(ann.ack(7).await["error"]["code"], "bad_request");
    // Binary data is refused, and the connection lives on.
    ann.send(r#"451-9["message:send",{"_placeholder":true,"num":0}]"#).await;
    ann.send_binary(b"x").await;
    assert_eq!(ann.ack(9).await["error"]["code"], "bad_request");
    // Unknown events are counted, and nothing else.
    ann.send(r#"4210["no:such",{}]"#).await;
    running.world.say("bo", "last");
    assert_eq!(ann.contents(1).await, ["last"]);
    assert!(running.metric("verbatim_unknown_events_total 1").await);
}

#[tokio::test]
async fn what_one_socket_sends_keeps_its_order() {
    let mut settings = settings();
    settings.limits.messages_per_second = 0;
    let running = Running::start(settings).await;
    let mut ann = running.live("ann").await;
    let mut bo = running.live("bo").await;
    let expected: Vec<String> = (0..500).map(|n| n.to_string()).collect();
    for content in &expected {
        ann.emit("message:send", &send(content)).await;
    }
    assert_eq!(bo.contents(500).await, expected);
    assert_eq!(ann.contents(500).await, expected);
}

#[tokio::test]
async fn changed_lists_come_whole_and_once() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    running.world.set_up(false);
    for _ in 0..20 {
        running.world.change_list("ann", verbatim_protocol::List::Conversations);
        running.world.change_list("bo", verbatim_protocol::List::Conversations);
    }
    running.world.set_up(true);
    let list = ann.event("conversation:receive").await;
    assert_eq!((&list["success"], &list["data"]), (&json!(true), &json!([])));
    running.world.say("bo", "and messages");
    loop {
        let (event, _) = ann.next().await;
        if event == "message:receive" {
            break;
        }
    }
    let reads = running.world.lists_read();
    assert!(reads <= 3, "{reads} reads: changes are gathered, and others' lists left alone");
}

#[tokio::test]
async fn what_changed_nothing_brings_the_list_all_the_same() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let mut other = running.live("ann").await;
    let read = ann.asked("notification:read", &json!({ "all": true })).await;
    assert_eq!(read["data"], json!({ "unreadCount": 0 }));
    for client in [&mut ann, &mut other] {
        let list = client.event("notification:receive").await;
        assert_eq!((&list["success"], &list["data"]), (&json!(true), &json!([])));
    }
}
