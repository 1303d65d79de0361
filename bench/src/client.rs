//! One connection: Engine.IO 4 and Socket.IO 5 over WebSocket, as much of them as load needs.

use std::fmt::Write;

use anyhow::{Context, bail};
use futures::{FutureExt, SinkExt, StreamExt};
use jsonwebtoken::{EncodingKey, Header, encode};
use memchr::memmem::Finder;
use serde_json::json;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_tungstenite::{WebSocketStream, client_async};

/// Long enough for any run.
const TOKEN_SECONDS: u64 = 86_400;

/// The servers, and how to be let in.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Where the servers listen, `host:port`; connections are spread over them.
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// What tokens are signed with.
    #[arg(long, default_value = "a secret for benchmarks, nothing else")]
    secret: String,
    /// Processes whose processor time and memory are told, with all that they started.
    #[arg(long = "process", value_name = "NAME=PID")]
    pub processes: Vec<crate::processes::Watched>,
}

/// A packet of Socket.IO's.
#[derive(Debug)]
pub enum Packet<'a> {
    Ack { id: u64, body: &'a str },
    Event(&'a str),
    Other,
}

pub struct Connection {
    socket: WebSocketStream<TcpStream>,
}

impl Target {
    pub fn token(&self, user: &str) -> anyhow::Result<String> {
        let exp = jsonwebtoken::get_current_timestamp() + TOKEN_SECONDS;
        let claims = json!({ "userId": user, "sub": user, "exp": exp });
        Ok(encode(&Header::default(), &claims, &EncodingKey::from_secret(self.secret.as_bytes()))?)
    }

    /// Connects a user; the `number`th connection goes to the server whose turn it is.
    pub async fn connect(&self, user: &str, number: usize) -> anyhow::Result<Connection> {
        self.connect_at(user, number, None).await
    }

    /// As [`connect`](Self::connect), behind the cursor that the client had.
    pub async fn connect_at(
        &self,
        user: &str,
        number: usize,
        cursor: Option<&str>,
    ) -> anyhow::Result<Connection> {
        let server = &self.servers[number % self.servers.len()];
        let stream = TcpStream::connect(server).await.with_context(|| server.clone())?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{server}/socket.io/?EIO=4&transport=websocket");
        let (socket, _) = client_async(url, stream).await.context("the WebSocket handshake")?;
        let mut connection = Connection { socket };
        let opened = connection.next().await?;
        if !opened.starts_with("0{") {
            bail!("instead of an open packet: {opened}");
        }
        let auth = match cursor {
            None => json!({ "token": self.token(user)? }),
            Some(cursor) => json!({ "token": self.token(user)?, "cursor": cursor }),
        };
        connection.feed(format!("40{auth}")).await?;
        connection.flush().await?;
        let admitted = connection.next().await?;
        if !admitted.starts_with("40") {
            bail!("not let in: {admitted}");
        }
        Ok(connection)
    }
}

impl Connection {
    /// The next packet as text, pings aside, which are answered.
    pub async fn next(&mut self) -> anyhow::Result<Utf8Bytes> {
        loop {
            match self.socket.next().await.context("the server has closed the connection")?? {
                Message::Text(text) if text.as_str() == "2" => {
                    self.socket.send(Message::text("3")).await?;
                }
                Message::Text(text) => return Ok(text),
                Message::Close(frame) => bail!("the server has closed the connection: {frame:?}"),
                _ => {}
            }
        }
    }

    /// The next packet if it is there already.
    pub fn now(&mut self) -> Option<anyhow::Result<Utf8Bytes>> {
        self.next().now_or_never()
    }

    /// Queues a packet; [`flush`](Self::flush) sends it.
    pub async fn feed(&mut self, packet: String) -> anyhow::Result<()> {
        Ok(self.socket.feed(Message::text(packet)).await?)
    }

    pub async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(self.socket.flush().await?)
    }

    /// Emits an event and waits for its ack's body.
    pub async fn ask(&mut self, event: &str, payload: &str) -> anyhow::Result<String> {
        self.feed(format!("420[\"{event}\",{payload}]")).await?;
        self.flush().await?;
        loop {
            let text = self.next().await?;
            if let Packet::Ack { body, .. } = parse(&text) {
                return Ok(body.to_owned());
            }
        }
    }

    pub async fn close(mut self) -> anyhow::Result<()> {
        self.feed("41".to_owned()).await?;
        self.socket.close(None).await?;
        Ok(())
    }
}

pub fn parse(text: &str) -> Packet<'_> {
    if let Some(event) = text.strip_prefix("42") {
        return Packet::Event(event);
    }
    let Some(ack) = text.strip_prefix("43") else { return Packet::Other };
    let digits = ack.bytes().take_while(u8::is_ascii_digit).count();
    match ack[..digits].parse() {
        Ok(id) => Packet::Ack { id, body: &ack[digits..] },
        Err(_) => Packet::Other,
    }
}

/// Whether an envelope tells of success.
pub fn is_success(body: &str) -> bool {
    // A message of the server's own can't stand before this.
    body.starts_with("[{\"success\":true")
}

/// What a message says: who sent it as which, and when, in nanoseconds of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    pub sender: u32,
    pub number: u64,
    pub at: u64,
}

/// Finds out what a received message says.
pub struct Reader(Finder<'static>);

impl Default for Reader {
    fn default() -> Self {
        Self(Finder::new("\"content\":\"load:"))
    }
}

impl Reader {
    /// `None` if it isn't one of these.
    pub fn read(&self, event: &str) -> Option<Said> {
        if !event.starts_with("[\"message:receive\"") {
            return None;
        }
        let begin = self.0.find(event.as_bytes())? + self.0.needle().len();
        let mut parts = event[begin..].split(':');
        let sender = parts.next()?.parse().ok()?;
        let number = parts.next()?.parse().ok()?;
        let at = parts.next()?.parse().ok()?;
        Some(Said { sender, number, at })
    }
}

/// The packet that says something to a conversation, `bytes` long in its content.
pub fn message(
    said: Said,
    ack: Option<u64>,
    conversation: &str,
    target: &str,
    bytes: usize,
) -> String {
    let mut packet = String::with_capacity(bytes + 160);
    packet.push_str("42");
    if let Some(ack) = ack {
        let _ = write!(packet, "{ack}");
    }
    let _ = write!(packet, "[\"message:send\",{{\"conversationId\":\"{conversation}\"");
    if !target.is_empty() {
        let _ = write!(packet, ",\"targetUserId\":\"{target}\"");
    }
    packet.push_str(",\"content\":\"");
    let begin = packet.len();
    let _ = write!(packet, "load:{}:{}:{}:", said.sender, said.number, said.at);
    while packet.len() - begin < bytes {
        packet.push('x');
    }
    packet.push_str("\"}]");
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_read_again() {
        let said = Said { sender: 7, number: 42, at: 123_456_789 };
        let packet = message(said, Some(3), "talk", "bob", 100);
        assert!(packet.starts_with(
            "423[\"message:send\",{\"conversationId\":\"talk\",\"targetUserId\":\"bob\""
        ));
        let content = packet.split("\"content\":\"").nth(1).and_then(|rest| rest.split('"').next());
        let content = content.expect("content");
        assert_eq!(content.len(), 100);
        let event = format!("[\"message:receive\",{{\"data\":{{\"content\":\"{content}\"}}}}]");
        assert_eq!(Reader::default().read(&event), Some(said));
        assert_eq!(Reader::default().read("[\"stream:ready\",{}]"), None);
    }

    #[test]
    fn packets_are_told_apart() {
        assert!(
            matches!(parse("4312[{\"success\":true}]"), Packet::Ack { id: 12, body } if is_success(body))
        );
        assert!(
            matches!(parse("431[{\"success\":false}]"), Packet::Ack { id: 1, body } if !is_success(body))
        );
        assert!(matches!(parse("42[\"x\"]"), Packet::Event("[\"x\"]")));
        assert!(matches!(parse("43x"), Packet::Other));
    }
}
