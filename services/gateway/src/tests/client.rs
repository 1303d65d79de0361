//! Just enough of a Socket.IO client to see what goes over the wire.

use std::net::SocketAddr;

use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{WebSocketStream, client_async};

use super::PATIENCE;

/// A socket over a WebSocket.
pub(super) struct Client {
    websocket: WebSocketStream<TcpStream>,
    /// The session's id.
    pub sid: String,
    acks: u64,
}

impl Client {
    /// Opens a session, and authenticates nobody.
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_with(address, &[]).await.expect("upgraded")
    }

    pub async fn open_with(address: SocketAddr, headers: &[(&'static str, &str)]) -> Option<Self> {
        let mut client = Self::upgrade(address, "", headers).await?;
        let open = client.packet().await.expect("an open packet");
        let open: Value =
            serde_json::from_str(open.strip_prefix('0').expect("open")).expect("JSON");
        client.sid = open["sid"].as_str().expect("a session id").to_owned();
        Some(client)
    }

    /// A WebSocket for a session that goes on.
    pub async fn upgrade(
        address: SocketAddr,
        query: &str,
        headers: &[(&'static str, &str)],
    ) -> Option<Self> {
        let tcp = TcpStream::connect(address).await.expect("connected");
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket{query}");
        let mut request = url.into_client_request().expect("a request");
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().expect("a header"));
        }
        let (websocket, _) = client_async(request, tcp).await.ok()?;
        Some(Self { websocket, sid: String::new(), acks: 0 })
    }

    /// Connects to the namespace. The connect error's message, if it is one.
    pub async fn try_join(&mut self, auth: &Value) -> Result<(), String> {
        self.send(&format!("40{auth}")).await;
        let packet = self.text().await.expect("an answer");
        let Some(error) = packet.strip_prefix("44") else {
            assert!(packet.starts_with("40"), "{packet}");
            return Ok(());
        };
        let error: Value = serde_json::from_str(error).expect("JSON");
        Err(error["message"].as_str().expect("a message").to_owned())
    }

    pub async fn join(&mut self, auth: &Value) {
        self.try_join(auth).await.expect("let in");
    }

    pub async fn send(&mut self, packet: &str) {
        self.websocket.send(Message::text(packet)).await.expect("sent");
    }

    pub async fn send_binary(&mut self, bytes: &[u8]) {
        self.websocket.send(Message::binary(bytes.to_vec())).await.expect("sent");
    }

    pub async fn emit(&mut self, event: &str, payload: &Value) {
        self.send(&format!("42{}", json!([event, payload]))).await;
    }

    /// Emits with an ack, and gives its id.
    pub async fn ask(&mut self, event: &str, payload: &Value) -> u64 {
        self.acks += 1;
        self.send(&format!("42{}{}", self.acks, json!([event, payload]))).await;
        self.acks
    }

    /// Emits with an ack, and gives what it brings; events that come before it are passed over.
    pub async fn asked(&mut self, event: &str, payload: &Value) -> Value {
        let id = self.ask(event, payload).await;
        self.ack(id).await
    }

    pub async fn ack(&mut self, id: u64) -> Value {
        let start = format!("43{id}");
        loop {
            let packet = self.text().await.expect("an ack");
            if let Some(answer) = packet.strip_prefix(&start) {
                let mut answer: Vec<Value> = serde_json::from_str(answer).expect("JSON");
                assert_eq!(answer.len(), 1, "one object: {answer:?}");
                break answer.remove(0);
            }
        }
    }

    /// The next event's name and payload. Acks are passed over.
    pub async fn next(&mut self) -> (String, Value) {
        loop {
            let packet = self.text().await.expect("an event");
            if let Some(event) = packet.strip_prefix("42") {
                let (name, payload): (String, Value) = serde_json::from_str(event).expect("JSON");
                break (name, payload);
            }
        }
    }

    /// The payload of the next event, which must be this one.
    pub async fn event(&mut self, name: &str) -> Value {
        let (next, payload) = self.next().await;
        assert_eq!(next, name, "{payload}");
        payload
    }

    /// The contents of the next `count` messages; nothing else may come in between.
    pub async fn contents(&mut self, count: usize) -> Vec<String> {
        let mut contents = Vec::new();
        while contents.len() < count {
            let message = self.event("message:receive").await;
            assert_eq!(message["success"], true, "{message}");
            let content = message["data"]["content"].as_str().expect("a content");
            contents.push(content.to_owned());
        }
        contents
    }

    /// The next Socket.IO packet; `None` when the connection is over. Heartbeats are answered.
    pub async fn text(&mut self) -> Option<String> {
        loop {
            let packet = self.packet().await?;
            match packet.as_str() {
                "2" => {
                    let _ = self.websocket.send(Message::text("3")).await;
                }
                "6" => {}
                _ => return Some(packet),
            }
        }
    }

    async fn packet(&mut self) -> Option<String> {
        loop {
            match timeout(PATIENCE, self.websocket.next()).await.expect("in time")? {
                Ok(Message::Text(text)) => return Some(text.as_str().to_owned()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The packets that come until the connection is over.
    pub async fn rest(&mut self) -> Vec<String> {
        let mut rest = Vec::new();
        while let Some(packet) = self.text().await {
            rest.push(packet);
        }
        rest
    }
}

/// A response to a plain HTTP request.
#[derive(Debug)]
pub(super) struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

pub(super) async fn get(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Response {
    http(address, "GET", target, headers, "").await
}

pub(super) async fn http(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Response {
    let headers: String =
        headers.iter().flat_map(|(name, value)| [*name, ": ", value, "\r\n"]).collect();
    let request = format!(
        "{method} {target} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
        body.len()
    );
    let mut tcp = TcpStream::connect(address).await.expect("connected");
    tcp.write_all(request.as_bytes()).await.expect("sent");
    // A server that refuses a long body need not read it.
    let _ = tcp.write_all(body.as_bytes()).await;
    let mut response = Vec::new();
    let read = timeout(PATIENCE, tcp.read_to_end(&mut response)).await.expect("in time");
    let response = String::from_utf8(response).expect("text");
    let (head, body) = response
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{method} {target}: {read:?}, {response:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let body = if head.to_ascii_lowercase().contains("transfer-encoding: chunked") {
        unchunked(body)
    } else {
        body.to_owned()
    };
    Response { status, head: head.to_owned(), body }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk's size");
        whole += &rest[..size];
        body = &rest[size + 2..];
        if size == 0 {
            break;
        }
    }
    whole
}
