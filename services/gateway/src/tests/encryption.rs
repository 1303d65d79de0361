use super::*;

fn send(content: &str) -> serde_json::Value {
    json!({ "conversationId": "conv", "content": content, "clientMessageId": content })
}

#[tokio::test]
async fn what_a_user_says_first_keeps_its_order_while_their_key_is_made() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let mut other = running.live("ann").await;
    let mut bo = running.live("bo").await;
    for n in 0..20 {
        ann.emit("message:send", &send(&n.to_string())).await;
    }
    let expected: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!(bo.contents(20).await, expected);
    assert_eq!(other.contents(20).await, expected);
}

#[tokio::test]
async fn without_the_key_store_nothing_new_is_said_and_nothing_is_lost() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let mut bo = running.live("bo").await;
    bo.emit("message:send", &send("known")).await;
    bo.event("message:receive").await;
    running.world.key_store.refuse(true);
    // Whose key is at hand goes on.
    bo.emit("message:send", &send("still")).await;
    bo.event("message:receive").await;
    for n in 0..3 {
        let answer = ann.asked("message:send", &send(&n.to_string())).await;
        assert_eq!(answer["error"]["code"], "unavailable");
        assert_eq!(answer["error"]["retryable"], true);
    }
    running.world.key_store.refuse(false);
    for n in 0..3 {
        ann.emit("message:send", &send(&n.to_string())).await;
    }
    assert_eq!(bo.contents(3).await, ["0", "1", "2"]);
}
