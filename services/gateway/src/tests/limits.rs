use super::*;

fn send(content: &str) -> serde_json::Value {
    json!({ "conversationId": "conv", "content": content })
}

#[tokio::test]
async fn requests_beyond_those_at_work_wait_in_order_and_beyond_those_are_refused() {
    let mut settings = settings();
    settings.limits.messages_per_second = 0;
    settings.limits.in_flight_per_socket = 2;
    settings.limits.waiting_per_socket = 3;
    let running = Running::start(settings).await;
    let mut ann = running.live("ann").await;
    running.world.set_answering(false);
    let mut asked = Vec::new();
    for n in 0..6 {
        asked.push(ann.ask("message:send", &send(&n.to_string())).await);
    }
    let refused = ann.ack(asked[5]).await;
    assert_eq!(refused["error"]["code"], "rate_limited");
    assert!(refused["error"]["retryAfterMs"].as_u64().is_some_and(|wait| wait > 0));
    running.world.set_answering(true);
    let mut contents = Vec::new();
    while contents.len() < 5 {
        if let ("message:receive", message) = (&*ann.next().await.0, ()) {
            contents.push(message);
        }
    }
    assert!(running.metric("verbatim_queued_requests 0").await);
}

#[tokio::test]
async fn the_waiting_are_worked_on_in_order() {
    let mut settings = settings();
    settings.limits.messages_per_second = 0;
    settings.limits.in_flight_per_socket = 2;
    let running = Running::start(settings).await;
    let mut ann = running.live("ann").await;
    running.world.set_answering(false);
    let expected: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for content in &expected {
        ann.emit("message:send", &send(content)).await;
    }
    until("98 wait", async || running.metric("verbatim_queued_requests 98").await).await;
    running.world.set_answering(true);
    assert_eq!(ann.contents(100).await, expected);
}

#[tokio::test]
async fn a_flood_is_answered_and_then_cut_off() {
    let mut settings = settings();
    settings.limits.messages_per_second = 1;
    settings.limits.message_burst = 2;
    settings.limits.refusals = 10;
    settings.limits.auth_timeout = Duration::from_millis(200);
    let running = Running::start(settings).await;
    let mut ann = running.live("ann").await;
    for n in 0..20 {
        ann.emit("message:send", &send(&n.to_string())).await;
    }
    let packets = ann.rest().await;
    let count = |what: &str| packets.iter().filter(|packet| packet.contains(what)).count();
    assert!(count(r#"42["message:receive",{"success":true"#) <= 2);
    assert!(count(r#"42["message:receive",{"success":false"#) >= 10);
    assert_eq!(count(r#"42["connection:closing""#), 1);
    assert_eq!(packets.iter().filter(|packet| *packet == "41").count(), 1);
}

#[tokio::test]
async fn a_packet_over_the_limit_closes_the_connection_and_one_at_the_limit_does_not() {
    let running = Running::start(settings()).await;
    let mut ann = running.live("ann").await;
    let frame = |bytes: usize| {
        let around = r#"421["notification:get",{"x":""}]"#.len();
        format!(r#"421["notification:get",{{"x":"{}"}}]"#, "x".repeat(bytes - around))
    };
    ann.send(&frame(64 * 1024)).await;
    ann.ack(1).await;
    ann.send(&frame(64 * 1024 + 1)).await;
    ann.rest().await;
    let _live = running.live("ann").await;
}

#[tokio::test]
async fn a_slow_reader_is_closed_and_goes_on_by_its_cursor() {
    let mut settings = settings();
    settings.limits.unread_packets = 300;
    let running = Running::start(settings).await;
    let mut slow = running.live("bo").await;
    let mut good = running.live("cy").await;
    let content = "x".repeat(30_000);
    let mut said = 0;
    // It reads nothing, until everything between here and there is full.
    while !running.metric("verbatim_slow_readers_total 1").await {
        for _ in 0..20 {
            running.world.say("ann", &format!("{said} {content}"));
            said += 1;
        }
        good.contents(20).await;
        assert!(said < 5_000, "everything has a bound");
    }
    let mut cursor = None;
    let mut seen = 0;
    for packet in slow.rest().await {
        let event = packet.strip_prefix("42").expect("an event");
        let (_, message): (String, serde_json::Value) = serde_json::from_str(event).expect("JSON");
        let content = message["data"]["content"].as_str().expect("a content");
        assert!(content.starts_with(&format!("{seen} ")), "in order, without a hole");
        cursor = Some(message["data"]["cursor"].clone());
        seen += 1;
    }
    assert!(seen < said);
    let mut back =
        running.connect_with(json!({ "token": token_for("bo", 600), "cursor": cursor })).await;
    for n in seen..said {
        let content = back.contents(1).await.remove(0);
        assert!(content.starts_with(&format!("{n} ")));
    }
    back.event("stream:ready").await;
}

#[tokio::test]
async fn a_slow_reader_gets_all_answers_and_no_more_is_worked_on_than_it_takes() {
    const PAGES: usize = 100;
    let mut settings = settings();
    settings.limits.requests_per_second = 0;
    settings.limits.in_flight_per_socket = 4;
    // Less than one answer: that is for what nobody asked for.
    settings.limits.unread_bytes = 50_000;
    let running = Running::start(settings).await;
    let content = "x".repeat(30_000);
    for _ in 0..7 {
        running.world.say("ann", &content);
    }
    let cursor = running.world.cursor(7);
    let mut slow =
        running.connect_with(json!({ "token": token_for("bo", 600), "cursor": cursor })).await;
    slow.event("stream:ready").await;
    let mut asked = Vec::new();
    for _ in 0..PAGES {
        asked.push(slow.ask("stream:get", &json!({ "limit": 7 })).await);
    }
    until("it takes no more", async || running.metric("verbatim_queued_packets 4").await).await;
    assert!(!running.metric("verbatim_queued_requests 0").await, "others wait");
    running.world.say("ann", "in between");
    let (mut answers, mut messages) = (Vec::new(), 0);
    while answers.len() < PAGES || messages < 1 {
        let packet = slow.text().await.expect("it stays connected");
        if let Some(answer) = packet.strip_prefix("43") {
            let (id, answer) = answer.split_once('[').expect("an ack");
            assert!(answer.len() > 200_000, "{answer}");
            answers.push(id.parse::<u64>().expect("an id"));
        } else {
            assert!(packet.contains("in between"), "{packet}");
            messages += 1;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert_eq!((answers, messages), (asked, 1));
    assert!(running.metric("verbatim_queued_requests 0").await);
    assert!(running.metric("verbatim_slow_readers_total 0").await);
}

#[tokio::test]
async fn a_slow_reader_that_goes_leaves_nothing_behind() {
    let mut settings = settings();
    settings.limits.requests_per_second = 0;
    settings.limits.in_flight_per_socket = 4;
    let running = Running::start(settings).await;
    for _ in 0..7 {
        running.world.say("ann", &"x".repeat(30_000));
    }
    let mut slow = running.connect("bo").await;
    for _ in 0..100 {
        slow.ask("stream:get", &json!({ "limit": 7 })).await;
    }
    until("it takes no more", async || running.metric("verbatim_queued_packets 4").await).await;
    drop(slow);
    until("nothing waits", async || running.metric("verbatim_queued_packets 0").await).await;
    let started = std::time::Instant::now();
    running.stop().await.expect("ended well");
    assert!(started.elapsed() < Duration::from_secs(4), "nothing is at work");
}

#[tokio::test]
async fn a_reader_that_is_only_slow_gets_a_long_replay_whole() {
    let mut settings = settings();
    // Far less than what is replayed: a replay waits for room instead of filling the queue.
    settings.limits.unread_packets = 50;
    settings.limits.unread_bytes = 100_000;
    let running = Running::start(settings).await;
    let content = "x".repeat(3_000);
    let mut good = running.live("cy").await;
    for n in 0..2_000 {
        running.world.say("ann", &format!("{n} {content}"));
        good.contents(1).await;
    }
    let mut slow = running.connect("bo").await;
    for n in 0..2_000 {
        if n % 500 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let content = slow.contents(1).await.remove(0);
        assert!(content.starts_with(&format!("{n} ")));
    }
    assert_eq!(slow.event("stream:ready").await["data"]["replayed"], 2_000);
}
