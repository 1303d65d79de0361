use tokio::net::TcpStream;

use super::*;
use crate::tests::client::{Response, get, http};

/// A session over polling.
struct Polling<'a> {
    running: &'a Running,
    sid: String,
    /// Packets that came with those before.
    packets: std::collections::VecDeque<String>,
}

impl<'a> Polling<'a> {
    async fn open(running: &'a Running) -> Self {
        let response = get(running.address, "/socket.io/?EIO=4&transport=polling", &[]).await;
        let open = response.body.strip_prefix('0').expect("open");
        let open: serde_json::Value = serde_json::from_str(open).expect("JSON");
        let sid = open["sid"].as_str().expect("a session id").to_owned();
        Self { running, sid, packets: std::collections::VecDeque::default() }
    }

    async fn join(&mut self, user: &str) {
        let auth = json!({ "token": token_for(user, 600) });
        assert_eq!(self.post(&format!("40{auth}")).await.status, 200);
        assert!(self.next().await.starts_with("40"));
    }

    fn target(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    async fn post(&self, body: &str) -> Response {
        http(self.running.address, "POST", &self.target(), &[], body).await
    }

    async fn poll(&self) -> Response {
        get(self.running.address, &self.target(), &[]).await
    }

    /// The next packet of Socket.IO's.
    async fn next(&mut self) -> String {
        loop {
            if let Some(packet) = self.packets.pop_front() {
                match packet.as_str() {
                    "2" => drop(self.post("3").await),
                    "6" => {}
                    _ => return packet,
                }
                continue;
            }
            let response = self.poll().await;
            assert_eq!(response.status, 200, "{response:?}");
            assert!(response.body.len() <= 64 * 1024 || !response.body.contains('\x1e'));
            self.packets.extend(response.body.split('\x1e').map(str::to_owned));
        }
    }

    async fn content(&mut self) -> String {
        loop {
            let packet = self.next().await;
            let Some(event) = packet.strip_prefix("42") else { continue };
            let (name, payload): (String, serde_json::Value) =
                serde_json::from_str(event).expect("JSON");
            if name == "message:receive" {
                return payload["data"]["content"].as_str().expect("a content").to_owned();
            }
        }
    }
}

#[tokio::test]
async fn a_socket_works_over_polling() {
    let running = Running::start(settings()).await;
    let mut bo = Polling::open(&running).await;
    bo.join("bo").await;
    let sent = r#"421["message:send",{"conversationId":"conv","content":"hello"}]"#;
    assert_eq!(bo.post(sent).await.status, 200);
    assert_eq!(bo.content().await, "hello");
}

#[tokio::test]
async fn packets_that_are_too_large_or_malformed_end_a_polling_session() {
    let running = Running::start(settings()).await;
    let large = format!(r#"42["notification:get",{{"x":"{}"}}]"#, "x".repeat(64 * 1024));
    for (body, status) in [(large.as_str(), 413), ("nonsense", 400)] {
        let mut bo = Polling::open(&running).await;
        bo.join("bo").await;
        assert_eq!(bo.post(body).await.status, status);
        let response = bo.poll().await;
        assert_eq!(response.status, 400, "{response:?}");
        assert!(response.body.contains("Session ID unknown"), "{response:?}");
    }
}

#[tokio::test]
async fn a_backlog_survives_the_move_from_polling_to_websocket() {
    let running = Running::start(settings()).await;
    let content = "x".repeat(5_000);
    for n in 0..300 {
        running.world.say("ann", &format!("{n} {content}"));
    }
    for reads_before in [0, 1, 7, 40] {
        let mut bo = Polling::open(&running).await;
        bo.join("bo").await;
        let mut next = 0;
        while next < reads_before {
            assert!(bo.content().await.starts_with(&format!("{next} ")));
            next += 1;
        }
        let query = format!("&sid={}", bo.sid);
        let mut websocket = Client::upgrade(running.address, &query, &[]).await.expect("upgraded");
        websocket.send("2probe").await;
        assert_eq!(websocket.text().await.as_deref(), Some("3probe"));
        // What the last polls bring counts.
        loop {
            while let Some(packet) = bo.packets.pop_front() {
                if packet.starts_with("42") {
                    assert!(packet.contains(&format!(r#""content":"{next} "#)), "{packet}");
                    next += 1;
                }
            }
            let response = bo.poll().await;
            assert_eq!(response.status, 200);
            if response.body == "6" {
                break;
            }
            bo.packets.extend(response.body.split('\x1e').map(str::to_owned));
        }
        websocket.send("5").await;
        while next < 300 {
            let content = websocket.contents(1).await.remove(0);
            assert!(content.starts_with(&format!("{next} ")), "{} != {next}", &content[..5]);
            next += 1;
        }
        websocket.event("stream:ready").await;
    }
}

#[tokio::test]
async fn a_polling_session_is_closed_like_any_other() {
    let running = Running::start(settings()).await;
    let mut bo = Polling::open(&running).await;
    bo.join("bo").await;
    assert!(bo.next().await.contains("stream:ready"));
    let target = bo.target();
    let address = running.address;
    let pending = tokio::spawn(async move {
        // The poll that waits brings the last words, the next finds nobody.
        let mut seen = String::new();
        while TcpStream::connect(address).await.is_ok() {
            let response = get(address, &target, &[]).await;
            assert!(response.status == 200 || response.status == 400, "{response:?}");
            seen += &response.body;
        }
        seen
    });
    until("the poll waits", async || running.metric("verbatim_connections 2").await).await;
    running.stop().await.expect("ended well");
    let seen = pending.await.expect("no panic");
    assert!(seen.contains("connection:closing"), "{seen}");
}
