use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn what_was_taken_is_finished_and_clients_are_told_when_to_come_back() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    running.world.set_answering(false);
    let taken = running.world.taken();
    let payload = json!({ "conversationId": "conv", "content": "last" });
    let id = ann.ask("message:send", &payload).await;
    let late = json!({ "conversationId": "conv", "content": "late" });
    until("it is on its way", async || running.world.taken() > taken).await;
    let (world, address) = (running.world.clone(), running.address);
    let stopping = tokio::spawn(running.stop());
    until("nobody new is let in", async || TcpStream::connect(address).await.is_err()).await;
    let refused = ann.asked("message:send", &late).await;
    assert_eq!(refused["error"]["code"], "unavailable");
    world.set_answering(true);
    let (mut acked, mut received, mut closing) = (false, false, false);
    for packet in ann.rest().await {
        acked |= packet.starts_with(&format!("43{id}[{{\"success\":true"));
        received |= packet.starts_with("42[\"message:receive\",{\"success\":true");
        if let Some(event) = packet.strip_prefix("42[\"connection:closing\",") {
            let event = event.strip_suffix(']').expect("an event");
            let event: serde_json::Value = serde_json::from_str(event).expect("JSON");
            assert_eq!(event["error"]["code"], "unavailable");
            assert!(event["error"]["retryAfterMs"].as_u64().expect("a time") <= 5_000);
            closing = true;
        }
        assert_ne!(packet, "41", "a goodbye would keep clients from coming back");
    }
    assert!(acked && received && closing, "{acked} {received} {closing}");
    stopping.await.expect("no panic").expect("ended well");
}

#[tokio::test]
async fn a_command_that_is_never_answered_does_not_hold_up_the_end() {
    let mut settings = settings();
    settings.shutdown_timeout = Duration::from_secs(3);
    let running = Running::start(settings).await;
    let mut ann = running.live("ann").await;
    running.world.set_answering(false);
    ann.ask("message:send", &json!({ "conversationId": "conv", "content": "x" })).await;
    let started = std::time::Instant::now();
    running.stop().await.expect("ended well");
    assert!(started.elapsed() < Duration::from_secs(4));
    ann.rest().await;
}
