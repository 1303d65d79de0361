//! A Socket.IO client that only emits: Engine.IO 4 and Socket.IO 5 over WebSocket.

use std::time::Duration;

use anyhow::{Context, bail};
use futures::{FutureExt, SinkExt, StreamExt};
use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};

/// How long the server may take for each step.
const PATIENCE: Duration = Duration::from_secs(20);

/// The event that each of the log's events is emitted as.
const EVENT: &str = "replay:event";

pub struct SocketIo {
    socket: WebSocketStream<TcpStream>,
}

impl SocketIo {
    /// Connects to the namespace `/`.
    pub async fn connect(address: &str, token: Option<&str>) -> anyhow::Result<Self> {
        let opened = timeout(PATIENCE, async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
            anyhow::Ok(client_async(url, stream).await?)
        });
        let (socket, _) = opened.await.context("no answer")?.context("no Socket.IO server")?;
        let mut socket = Self { socket };
        let opened = socket.next().await?;
        if !opened.starts_with("0{") {
            bail!("no Socket.IO server: it opens with {opened:?}");
        }
        let auth = token.map(|token| json!({ "token": token }).to_string()).unwrap_or_default();
        socket.feed(format!("40{auth}")).await?;
        socket.flush().await?;
        loop {
            let packet = socket.next().await?;
            if packet.starts_with("40") {
                return Ok(socket);
            }
            if let Some(refused) = packet.strip_prefix("44") {
                bail!("the server refuses the connection: {refused}");
            }
        }
    }

    /// Emits an event with this JSON.
    pub async fn emit(&mut self, payload: &str) -> anyhow::Result<()> {
        self.feed(format!("42[\"{EVENT}\",{payload}]")).await
    }

    /// Hands everything to the connection, and answers what the server has asked.
    pub async fn settle(&mut self) -> anyhow::Result<()> {
        self.flush().await?;
        while let Some(packet) = self.next().now_or_never() {
            packet?;
        }
        Ok(())
    }

    /// Leaves, once the server has read everything: else what is still on its way could be lost.
    pub async fn close(&mut self) -> anyhow::Result<()> {
        self.feed("41".to_owned()).await?;
        let closing = async {
            self.socket.close(None).await?;
            while self.socket.next().await.transpose()?.is_some() {}
            anyhow::Ok(())
        };
        timeout(PATIENCE, closing).await.context("the server does not close the connection")?
    }

    /// The next packet, heartbeats aside, which are answered.
    async fn next(&mut self) -> anyhow::Result<String> {
        loop {
            if let Some(packet) = timeout(PATIENCE, self.take()).await.context("no answer")?? {
                return Ok(packet);
            }
        }
    }

    /// Answers heartbeats while there is nothing to emit, until the connection ends.
    pub async fn idle(&mut self) -> anyhow::Result<()> {
        loop {
            self.take().await?;
        }
    }

    /// Takes what comes next; a packet, unless it is a heartbeat, which is answered.
    async fn take(&mut self) -> anyhow::Result<Option<String>> {
        let message = self.socket.next().await;
        match message.context("the server has closed the connection")?? {
            Message::Text(text) if text.as_str() == "2" => {
                self.feed("3".to_owned()).await?;
                self.flush().await?;
                Ok(None)
            }
            Message::Text(text) => Ok(Some(text.as_str().to_owned())),
            Message::Close(_) => bail!("the server has closed the connection"),
            _ => Ok(None),
        }
    }

    async fn feed(&mut self, packet: String) -> anyhow::Result<()> {
        let feeding = timeout(PATIENCE, self.socket.feed(Message::text(packet)));
        Ok(feeding.await.context("the server takes nothing")??)
    }

    async fn flush(&mut self) -> anyhow::Result<()> {
        Ok(timeout(PATIENCE, self.socket.flush()).await.context("the server takes nothing")??)
    }
}
