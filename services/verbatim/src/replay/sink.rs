//! Where events are handed out to.

use std::io::{self, Write};

use anyhow::{Context, anyhow};
use verbatim_bus::NatsPublisher;
use verbatim_bus::nats::NatsOptions;
use verbatim_protocol::{Envelope, JournalId, Recorded};

use super::socket_io::SocketIo;
use crate::cli::ReplayArgs;
use crate::progress::Progress;
use crate::refusal::bad_input;
use crate::settings::{self, Role};

const BUFFER_BYTES: usize = 256 * 1024;

/// A place that takes events as they are handed out; a store is none.
pub enum Destination {
    Stdout,
    Nats { subject: String, options: Box<NatsOptions> },
    SocketIo { address: String, token: Option<String> },
}

impl Destination {
    /// # Errors
    /// The subject or the address is none, or the NATS servers aren't named.
    pub fn parse(args: &ReplayArgs) -> anyhow::Result<Option<Self>> {
        let malformed = |what| bad_input(anyhow!("--into: {what}"));
        if args.into == "stdout" {
            return Ok(Some(Self::Stdout));
        }
        if let Some(subject) = args.into.strip_prefix("nats:") {
            if !is_subject(subject) {
                return Err(malformed("must name a subject such as nats:replay.events"));
            }
            let Some(url) = &args.cluster.nats_url else {
                return Err(bad_input(anyhow!("NATS_URL: must name the servers to publish to")));
            };
            let options = settings::nats(url, &args.cluster, &Role::ALL).map_err(bad_input)?;
            return Ok(Some(Self::Nats {
                subject: subject.to_owned(),
                options: Box::new(options),
            }));
        }
        if let Some(url) = args.into.strip_prefix("socket.io:") {
            let address = url.strip_prefix("http://").or_else(|| url.strip_prefix("ws://"));
            let address = address.map(|address| address.trim_end_matches('/'));
            let Some(address) = address.filter(|address| is_address(address)) else {
                return Err(malformed(
                    "must name a server such as socket.io:http://127.0.0.1:3000",
                ));
            };
            let token = args.token.clone();
            return Ok(Some(Self::SocketIo { address: address.to_owned(), token }));
        }
        Ok(None)
    }

    pub async fn open(self, journal: JournalId) -> anyhow::Result<Sink> {
        Ok(match self {
            Self::Stdout => Sink::Stdout { lines: Vec::new() },
            Self::Nats { subject, options } => {
                let publisher =
                    Box::new(NatsPublisher::connect(*options).await.context("NATS_URL")?);
                Sink::Nats { publisher, subject, journal }
            }
            Self::SocketIo { address, token } => {
                let connecting = SocketIo::connect(&address, token.as_deref());
                Sink::SocketIo(Box::new(connecting.await.with_context(|| address.clone())?))
            }
        })
    }
}

/// Whether messages can be published there: tokens without wildcards, parted by dots.
fn is_subject(subject: &str) -> bool {
    let is_token = |token: &str| {
        let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '*' && c != '>';
        !token.is_empty() && token.chars().all(fits)
    };
    subject.split('.').all(is_token)
}

fn is_address(address: &str) -> bool {
    let port = address.rsplit_once(':').map(|(host, port)| (host, port.parse::<u16>()));
    matches!(port, Some((host, Ok(1..))) if !host.is_empty() && !host.contains(['/', '@', ' ']))
}

pub enum Sink {
    Stdout { lines: Vec<u8> },
    Nats { publisher: Box<NatsPublisher>, subject: String, journal: JournalId },
    SocketIo(Box<SocketIo>),
}

impl Sink {
    /// Hands an event out. The bar gives way to lines on the same terminal.
    pub async fn send(&mut self, recorded: &Recorded, bar: &Progress) -> anyhow::Result<()> {
        let envelope = Envelope::of(recorded)?;
        match self {
            Self::Stdout { lines } => {
                envelope.write_line(lines)?;
                if lines.len() >= BUFFER_BYTES {
                    self.flush(bar).await?;
                }
            }
            Self::Nats { publisher, subject, journal } => {
                // A stream that has had this event does not store it again.
                let id = format!("{journal}:{}", recorded.position);
                publisher.publish(subject, &id, serde_json::to_vec(&envelope)?).await?;
            }
            Self::SocketIo(socket) => socket.emit(&serde_json::to_string(&envelope)?).await?,
        }
        Ok(())
    }

    /// What was sent is out of this process's hands.
    pub async fn flush(&mut self, bar: &Progress) -> anyhow::Result<()> {
        match self {
            Self::Stdout { lines } => {
                bar.pause(|| {
                    let mut out = io::stdout().lock();
                    out.write_all(lines).and_then(|()| out.flush())
                })?;
                lines.clear();
            }
            Self::Nats { publisher, .. } => publisher.settle().await?,
            Self::SocketIo(socket) => socket.settle().await?,
        }
        Ok(())
    }

    /// Keeps the connection while there is nothing to send; resolves only when it has ended.
    pub async fn idle(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Stdout { .. } | Self::Nats { .. } => std::future::pending().await,
            Self::SocketIo(socket) => socket.idle().await,
        }
    }

    /// Call when everything has been flushed.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Stdout { .. } | Self::Nats { .. } => Ok(()),
            Self::SocketIo(socket) => socket.close().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_and_addresses_are_checked() {
        assert!(is_subject("replay") && is_subject("a.b-c.1"));
        for bad in ["", ".", "a.", ".a", "a..b", "a b", "a.*", "a.>", "a\n"] {
            assert!(!is_subject(bad), "{bad:?}");
        }
        assert!(
            is_address("127.0.0.1:3000")
                && is_address("chat.example.com:80")
                && is_address("[::1]:1")
        );
        for bad in
            ["", ":80", "host", "host:0", "host:65536", "host:x", "u@host:80", "host/path:80"]
        {
            assert!(!is_address(bad), "{bad:?}");
        }
    }
}
