//! One connection: Engine.IO 4 and Socket.IO 5 over WebSocket, as much of them as load needs.

use std::io::Write;
use std::ops::Range;

use anyhow::ensure;
use futures::FutureExt;
use jsonwebtoken::{EncodingKey, Header, encode};
use memchr::memmem::Finder;
use serde_json::json;

use crate::socket::Socket;

/// Long enough for any run.
const TOKEN_SECONDS: u64 = 86_400;

/// The servers, and how to be let in.
#[derive(Debug, Clone, clap::Args)]
pub struct Target {
    /// Where the servers listen, `host:port`; connections are spread over them.
    #[arg(long = "server", required = true)]
    pub servers: Vec<String>,
    /// What tokens are signed with.
    #[arg(long, default_value = "a secret for benchmarks, nothing else")]
    pub secret: String,
    /// Processes whose processor time and memory are told, with all that they started.
    #[arg(long = "process", value_name = "NAME=PID")]
    pub processes: Vec<crate::processes::Watched>,
}

/// A packet of Socket.IO's.
#[derive(Debug)]
pub enum Packet<'a> {
    Ack { id: u64, body: &'a [u8] },
    Event(&'a [u8]),
    Other,
}

pub struct Connection {
    socket: Socket,
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
        let socket = Socket::connect(server, "/socket.io/?EIO=4&transport=websocket").await?;
        let mut connection = Connection { socket };
        let opened = connection.next().await?;
        ensure!(opened.starts_with(b"0{"), "instead of an open packet: {}", lossy(opened));
        let auth = match cursor {
            None => json!({ "token": self.token(user)? }),
            Some(cursor) => json!({ "token": self.token(user)?, "cursor": cursor }),
        };
        connection.feed(format!("40{auth}").as_bytes());
        let admitted = connection.next().await?;
        ensure!(admitted.starts_with(b"40"), "not let in: {}", lossy(admitted));
        Ok(connection)
    }
}

impl Connection {
    /// The next packet if it is there already, pings aside, which are answered.
    pub fn here(&mut self) -> anyhow::Result<Option<&[u8]>> {
        let found = self.find()?;
        Ok(found.map(|text| self.socket.text(text)))
    }

    fn find(&mut self) -> anyhow::Result<Option<Range<usize>>> {
        while let Some(text) = self.socket.take()? {
            if self.socket.text(text.clone()) != b"2" {
                return Ok(Some(text));
            }
            self.socket.queue_text(b"3");
        }
        Ok(None)
    }

    /// Waits until something was sent or has come. Nothing is lost if it is dropped halfway.
    pub async fn turn(&mut self) -> anyhow::Result<()> {
        self.socket.turn().await
    }

    /// The next packet; what waits is sent before.
    pub async fn next(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            if let Some(text) = self.find()? {
                return Ok(self.socket.text(text));
            }
            self.turn().await?;
        }
    }

    /// Whether the server has ended it, as far as has been heard here; what else has come is passed over.
    pub fn is_over(&mut self) -> bool {
        loop {
            match self.next().now_or_never() {
                None => return false,
                Some(Ok(_)) => {}
                Some(Err(_)) => return true,
            }
        }
    }

    /// Queues a packet, which goes out with the next [`turn`](Self::turn).
    pub fn feed(&mut self, packet: &[u8]) {
        self.socket.queue_text(packet);
    }

    /// Emits an event and waits for its ack's body.
    pub async fn ask(&mut self, event: &str, payload: &str) -> anyhow::Result<Vec<u8>> {
        self.feed(format!("420[\"{event}\",{payload}]").as_bytes());
        loop {
            if let Packet::Ack { body, .. } = parse(self.next().await?) {
                return Ok(body.to_owned());
            }
        }
    }

    pub async fn close(mut self) -> anyhow::Result<()> {
        self.feed(b"41");
        self.socket.close().await
    }
}

/// For people.
pub fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn parse(text: &[u8]) -> Packet<'_> {
    if let Some(event) = text.strip_prefix(b"42") {
        return Packet::Event(event);
    }
    match text.strip_prefix(b"43").and_then(number) {
        Some((id, body)) => Packet::Ack { id, body },
        None => Packet::Other,
    }
}

/// The number at the beginning, and what follows it.
fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(digits);
    let value = digits.iter().try_fold(0_u64, |value, digit| {
        value.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some((value?, rest)).filter(|_| !digits.is_empty())
}

/// Whether an envelope tells of success.
pub fn is_success(body: &[u8]) -> bool {
    // A message of the server's own can't stand before this.
    body.starts_with(b"[{\"success\":true")
}

/// What a message says: in which of the voices, as its which, and when, in nanoseconds of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Said {
    /// One sender in one conversation: what is said there keeps its order.
    pub voice: u32,
    pub number: u64,
    pub at: u64,
}

/// Finds out what a received message says, if it is of this run.
pub struct Reader(Finder<'static>);

impl Reader {
    pub fn new(run: u32) -> Self {
        Self(Finder::new(&begin(run)).into_owned())
    }

    /// `None` if it isn't one of these.
    pub fn read(&self, event: &[u8]) -> Option<Said> {
        if !event.starts_with(b"[\"message:receive\"") {
            return None;
        }
        let begin = self.0.find(event)? + self.0.needle().len();
        let (voice, rest) = number(&event[begin..])?;
        let (which, rest) = number(rest.strip_prefix(b":")?)?;
        let (at, _) = number(rest.strip_prefix(b":")?)?;
        Some(Said { voice: u32::try_from(voice).ok()?, number: which, at })
    }
}

/// What the content of a run's messages begins with.
fn begin(run: u32) -> Vec<u8> {
    format!("\"content\":\"load:{run}:").into_bytes()
}

/// A message on its way into a conversation.
pub struct Message<'a> {
    pub run: u32,
    pub said: Said,
    pub conversation: &'a str,
    /// Empty for none.
    pub target: &'a str,
    /// How long its content is; at least as long as what it must say.
    pub bytes: usize,
}

impl Message<'_> {
    /// Its packet in place of what `packet` holds, with an ack's id if one is wanted.
    pub fn write(&self, packet: &mut Vec<u8>, ack: Option<u64>) {
        packet.clear();
        packet.extend_from_slice(b"42");
        // Writing to a vector can't fail.
        if let Some(ack) = ack {
            let _ = write!(packet, "{ack}");
        }
        packet.extend_from_slice(b"[\"message:send\",");
        self.write_payload(packet);
        packet.push(b']');
    }

    fn write_payload(&self, packet: &mut Vec<u8>) {
        let Self { run, said, conversation, target, bytes } = self;
        for (name, value) in
            [("{\"conversationId\":\"", conversation), (",\"targetUserId\":\"", target)]
        {
            if !value.is_empty() {
                packet.extend_from_slice(name.as_bytes());
                packet.extend_from_slice(value.as_bytes());
                packet.push(b'"');
            }
        }
        packet.extend_from_slice(b",\"content\":\"");
        let begin = packet.len();
        let _ = write!(packet, "load:{run}:{}:{}:{}:", said.voice, said.number, said.at);
        packet.resize(packet.len().max(begin + bytes), b'x');
        packet.extend_from_slice(b"\"}");
    }

    /// What follows the event's name.
    pub fn payload(&self) -> String {
        let mut payload = Vec::new();
        self.write_payload(&mut payload);
        lossy(&payload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: Said = Said { voice: 7, number: 42, at: 123_456_789 };

    fn content(bytes: usize) -> String {
        let message = Message { run: 5, said: SAID, conversation: "talk", target: "bob", bytes };
        let mut packet = b"of the last one".to_vec();
        message.write(&mut packet, Some(3));
        let packet = String::from_utf8(packet).expect("text");
        let rest = packet
            .strip_prefix(
                "423[\"message:send\",{\"conversationId\":\"talk\",\"targetUserId\":\"bob\",\"content\":\"",
            )
            .expect("all before the content");
        rest.strip_suffix("\"}]").expect("all after it").to_owned()
    }

    #[test]
    fn what_is_said_is_read_again_in_the_same_run() {
        let content = content(100);
        assert_eq!(content.len(), 100);
        let event = format!("[\"message:receive\",{{\"data\":{{\"content\":\"{content}\"}}}}]");
        assert_eq!(Reader::new(5).read(event.as_bytes()), Some(SAID));
        assert_eq!(Reader::new(6).read(event.as_bytes()), None);
    }

    #[test]
    fn what_is_none_of_the_messages_is_not_read() {
        for other in [
            "[\"stream:ready\",{}]",
            "[\"message:receive\",{\"content\":\"load:5:\"}]",
            "[\"message:receive\",{\"content\":\"load:5:1:2\"}]",
            "[\"message:receive\",{\"content\":\"load:5:99999999999:2:3:\"}]",
            "[\"message:receive\",{\"content\":\"load:5:1:99999999999999999999:3:\"}]",
            "[\"conversation:receive\",{\"content\":\"load:5:1:2:3:\"}]",
        ] {
            assert_eq!(Reader::new(5).read(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn a_content_is_never_too_short_to_say_what_it_must() {
        assert_eq!(content(0), "load:5:7:42:123456789:");
    }

    #[test]
    fn packets_are_told_apart() {
        let body = |text: &'static str| match parse(text.as_bytes()) {
            Packet::Ack { id, body } => Some((id, is_success(body))),
            _ => None,
        };
        assert_eq!(body("4312[{\"success\":true}]"), Some((12, true)));
        assert_eq!(body("431[{\"success\":false}]"), Some((1, false)));
        assert_eq!(body("43[{\"success\":true}]"), None);
        assert_eq!(body("4399999999999999999999[]"), None);
        assert!(matches!(parse(b"42[\"x\"]"), Packet::Event(b"[\"x\"]")));
        assert!(matches!(parse(b"43x"), Packet::Other));
        assert!(matches!(parse(b""), Packet::Other));
    }
}
