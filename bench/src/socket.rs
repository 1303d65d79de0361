//! A client's side of a WebSocket, as much of it as load needs, and cheap: what arrives is read in
//! place, and what is sent waits in one buffer, to go out in one write.

use std::ops::Range;

use anyhow::{Context, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Room for what is read at once.
const ROOM: usize = 16 << 10;
/// No server sends more in a frame.
const LONGEST: u64 = 16 << 20;
/// Not zeros, for which some servers have less work to do.
const MASK: [u8; 4] = [0x5a, 0xc3, 0x96, 0x0f];

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

pub struct Socket {
    stream: TcpStream,
    /// What has arrived; `taken` bytes of it were handed out.
    arrived: Vec<u8>,
    taken: usize,
    /// What is to go out; `sent` bytes of it have.
    leaving: Vec<u8>,
    sent: usize,
}

impl Socket {
    pub async fn connect(server: &str, path: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).await.with_context(|| server.to_owned())?;
        stream.set_nodelay(true)?;
        let (arrived, leaving) = (Vec::new(), Vec::new());
        let mut socket = Self { stream, arrived, taken: 0, leaving, sent: 0 };
        // The key only keeps caches from answering, and there are none.
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.leaving.extend_from_slice(request.as_bytes());
        loop {
            socket.turn().await.context("the WebSocket handshake")?;
            if let Some(end) = memmem::find(&socket.arrived, b"\r\n\r\n") {
                let answer = String::from_utf8_lossy(&socket.arrived[..end]).into_owned();
                ensure!(answer.starts_with("HTTP/1.1 101 "), "no WebSocket: {answer}");
                socket.taken = end + 4;
                return Ok(socket);
            }
        }
    }

    /// The next text, if it has arrived whole.
    pub fn take(&mut self) -> anyhow::Result<Option<Range<usize>>> {
        while let Some(frame) = Frame::read(&self.arrived[self.taken..])? {
            let begin = self.taken + frame.header;
            let payload = begin..begin + frame.length;
            self.taken = payload.end;
            match frame.kind {
                TEXT => return Ok(Some(payload)),
                PING => {
                    let payload = self.arrived[payload].to_vec();
                    self.queue(PONG, &payload);
                }
                PONG => {}
                CLOSE => bail!("the server has closed the connection"),
                other => bail!("a frame of kind {other}"),
            }
        }
        Ok(None)
    }

    /// What [`take`](Self::take) has found, until the next [`turn`](Self::turn).
    pub fn text(&self, range: Range<usize>) -> &[u8] {
        &self.arrived[range]
    }

    /// Sends some of what waits, or reads some of what comes, whichever can be done. Nothing is lost
    /// if it is dropped halfway.
    pub async fn turn(&mut self) -> anyhow::Result<()> {
        self.arrived.drain(..self.taken);
        self.taken = 0;
        self.arrived.reserve(ROOM);
        let (mut reader, mut writer) = self.stream.split();
        tokio::select! {
            biased;
            written = writer.write(&self.leaving[self.sent..]), if self.sent < self.leaving.len() => {
                self.sent += written?;
                if self.sent == self.leaving.len() {
                    self.leaving.clear();
                    self.sent = 0;
                }
            }
            read = reader.read_buf(&mut self.arrived) => {
                ensure!(read? > 0, "the server has cut the connection");
            }
        }
        Ok(())
    }

    pub fn queue_text(&mut self, text: &[u8]) {
        self.queue(TEXT, text);
    }

    fn queue(&mut self, kind: u8, payload: &[u8]) {
        let length = payload.len();
        self.leaving.push(0x80 | kind);
        if length < 126 {
            self.leaving.push(0x80 | length as u8);
        } else if let Ok(short) = u16::try_from(length) {
            self.leaving.push(0x80 + 126);
            self.leaving.extend_from_slice(&short.to_be_bytes());
        } else {
            self.leaving.push(0x80 + 127);
            self.leaving.extend_from_slice(&(length as u64).to_be_bytes());
        }
        self.leaving.extend_from_slice(&MASK);
        let begin = self.leaving.len();
        self.leaving.extend_from_slice(payload);
        for chunk in self.leaving[begin..].chunks_mut(4) {
            for (byte, mask) in chunk.iter_mut().zip(MASK) {
                *byte ^= mask;
            }
        }
    }

    /// Waits until all that waits is sent; what comes meanwhile is kept.
    pub async fn flush(&mut self) -> anyhow::Result<()> {
        while self.sent < self.leaving.len() {
            self.turn().await?;
        }
        Ok(())
    }

    pub async fn close(mut self) -> anyhow::Result<()> {
        self.queue(CLOSE, &1_000_u16.to_be_bytes());
        self.flush().await?;
        Ok(self.stream.shutdown().await?)
    }
}

/// What stands before a frame's payload.
#[derive(Debug, PartialEq, Eq)]
struct Frame {
    kind: u8,
    header: usize,
    length: usize,
}

impl Frame {
    /// The frame at the beginning of `bytes`, once all of it is there.
    fn read(bytes: &[u8]) -> anyhow::Result<Option<Self>> {
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        ensure!(first & 0xf0 == 0x80, "a message in pieces, or compressed");
        ensure!(second & 0x80 == 0, "the server masks");
        let (header, length) = match second & 0x7f {
            126 => match rest.first_chunk() {
                Some(length) => (4, u64::from(u16::from_be_bytes(*length))),
                None => return Ok(None),
            },
            127 => match rest.first_chunk() {
                Some(length) => (10, u64::from_be_bytes(*length)),
                None => return Ok(None),
            },
            length => (2, u64::from(length)),
        };
        ensure!(length <= LONGEST, "a frame of {length} bytes");
        let length = length as usize;
        let is_whole = bytes.len() >= header + length;
        Ok(is_whole.then_some(Self { kind: first & 0x0f, header, length }))
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn frames_that_no_server_may_send_are_refused() {
        for (bad, why) in [
            (&[0x01, 0x00][..], "pieces"),
            (&[0xc1, 0x00], "compressed"),
            (&[0x81, 0x80], "masks"),
            (&[0x81, 127, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], "a frame of"),
        ] {
            let refused = Frame::read(bad).expect_err("refused").to_string();
            assert!(refused.contains(why), "{refused}");
        }
    }

    #[test]
    fn a_frame_is_read_once_it_is_whole() {
        for length in [0, 125, 126, 65_535, 65_536] {
            let mut frame = match length {
                0..126 => vec![0x81, length as u8],
                126..65_536 => [&[0x81, 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x81, 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            let header = frame.len();
            frame.resize(header + length, b'x');
            for cut in [0, 1, header - 1, frame.len() - 1] {
                assert_eq!(Frame::read(&frame[..cut.min(frame.len() - 1)]).expect("fine"), None);
            }
            let read = Frame::read(&frame).expect("fine");
            assert_eq!(read, Some(Frame { kind: TEXT, header, length }));
        }
    }

    /// A socket whose server answers the handshake so, and sends whatever else it is sent back.
    async fn connected(answer: &'static str) -> anyhow::Result<Socket> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let server = listener.local_addr()?.to_string();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await?;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                stream.read_buf(&mut request).await?;
            }
            stream.write_all(answer.as_bytes()).await?;
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await
        });
        Socket::connect(&server, "/").await
    }

    #[tokio::test]
    async fn a_server_that_opens_no_websocket_is_told_of() {
        for bad in ["HTTP/1.1 403 Forbidden\r\n\r\n", "nonsense\r\n\r\n"] {
            let refused = connected(bad).await.err().expect("refused").to_string();
            assert!(refused.contains(bad.trim_end()), "{refused}");
        }
    }

    #[tokio::test]
    async fn what_comes_with_the_handshake_is_not_lost() {
        let mut socket = connected("HTTP/1.1 101 Fine\r\n\r\n\u{1}").await.expect("connected");
        assert_eq!(socket.arrived[socket.taken..], [1]);
        assert!(socket.take().is_ok(), "half a header");
    }

    #[tokio::test]
    async fn what_is_sent_is_masked_and_framed() {
        let mut socket = connected("HTTP/1.1 101 Fine\r\n\r\n").await.expect("connected");
        for length in [3, 300, 70_000] {
            let text = vec![b'x'; length];
            socket.queue_text(&text);
            socket.flush().await.expect("sent");
            let header = if length < 126 {
                2
            } else if length < 65_536 {
                4
            } else {
                10
            };
            while socket.arrived.len() - socket.taken < header + 4 + length {
                socket.turn().await.expect("echoed");
            }
            let echoed = &mut socket.arrived[socket.taken..];
            assert_eq!((echoed[0], echoed[1] & 0x80), (0x81, 0x80));
            // Unmasked it is what a server would send.
            echoed[1] &= 0x7f;
            let unmasked: Vec<_> =
                echoed[header + 4..].iter().zip(MASK.iter().cycle()).map(|(b, m)| b ^ m).collect();
            assert_eq!(unmasked, text);
            socket.taken = socket.arrived.len();
        }
    }
}
