//! A way to the server that can be blocked: what was sent meanwhile arrives once it is free again.

use sqlx::postgres::PgConnectOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::TestDatabase;

/// Forwards connections to a test database until it is dropped.
#[derive(Debug)]
pub struct Proxy {
    options: PgConnectOptions,
    /// How many connections have come.
    seen: watch::Receiver<u64>,
    /// Connections of lower numbers carry nothing.
    blocked: watch::Sender<u64>,
}

impl Proxy {
    pub async fn to(place: &TestDatabase) -> Self {
        let server = format!("{}:{}", place.options().get_host(), place.options().get_port());
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (count, seen) = watch::channel(0);
        let blocked = watch::Sender::new(0);
        let connections = blocked.subscribe();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let number = *count.borrow();
                count.send_replace(number + 1);
                tokio::spawn(forward(client, server.clone(), number, connections.clone()));
            }
        });
        let options = place.options().clone().host("127.0.0.1").port(port);
        Self { options, seen, blocked }
    }

    /// How to reach the database through the proxy.
    #[must_use]
    pub fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// Nothing gets through any more, as if the server were frozen.
    pub fn block(&self) {
        self.blocked.send_replace(u64::MAX);
    }

    /// Nothing gets through on the connections that there are; new ones work.
    pub fn block_connected(&self) {
        self.blocked.send_replace(*self.seen.borrow());
    }

    /// Everything gets through again, also what was sent on connections that were closed meanwhile.
    pub fn unblock(&self) {
        self.blocked.send_replace(0);
    }
}

async fn forward(client: TcpStream, server: String, number: u64, blocked: watch::Receiver<u64>) {
    let mut connecting = blocked.clone();
    if connecting.wait_for(|blocked| *blocked <= number).await.is_err() {
        return;
    }
    let Ok(server) = TcpStream::connect(server).await else { return };
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::join!(
        carry(from_client, to_server, number, blocked.clone()),
        carry(from_server, to_client, number, blocked),
    );
}

async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    number: u64,
    mut blocked: watch::Receiver<u64>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if blocked.wait_for(|blocked| *blocked <= number).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
