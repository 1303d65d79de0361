//! The gateway as clients meet it, over TCP: with a made-up world behind its ports, in which the
//! test decides what is stored, shown and pushed.

mod client;
mod delivery;
mod encryption;
mod handshake;
mod limits;
mod polling;
mod requests;
mod shutdown;
mod world;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header, encode};
use prometheus_client::registry::Registry;
use secrecy::SecretString;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use verbatim_analytics::{Analytics, Memory};
use verbatim_journal::Log;
use verbatim_protocol::Timestamp;

use crate::settings::{ConnectionList, Limits, Origins, Settings, TokenKey, TokenSettings};
use crate::{Gateway, Ports};
use client::Client;
use world::World;

/// Nothing here takes so long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

const SECRET: &str = "a secret for tests, and for nothing else";

/// Settings as they are unless something else is asked for.
pub(crate) fn settings() -> Settings {
    Settings {
        tokens: TokenSettings {
            key: TokenKey::Secret(SecretString::from(SECRET)),
            issuer: None,
            audience: None,
        },
        public_url: None,
        origins: Origins::OwnAndLocal,
        trusted_proxies: Vec::new(),
        connection_list: ConnectionList::Everyone,
        limits: Limits::default(),
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        shutdown_timeout: Duration::from_secs(10),
    }
}

fn token_for(user: &str, seconds: i64) -> String {
    let claims = json!({ "userId": user, "exp": Timestamp::now().0 / 1_000 + seconds });
    encode(&Header::default(), &claims, &EncodingKey::from_secret(SECRET.as_bytes()))
        .expect("signed")
}

/// A gateway that runs.
struct Running {
    world: Arc<World>,
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(settings: Settings) -> Self {
        let world = World::new();
        let ports = Ports {
            journal: world.clone(),
            bus: world.bus.clone(),
            views: world.clone(),
            keys: world.keys.clone(),
            seal: None,
            analytics: Analytics::new(Arc::new(Memory::default())).reports(Log::id(&*world)),
        };
        let mut registry = Registry::default();
        let gateway = Gateway::new(ports, settings, &mut registry).expect("the key is good");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        world.handle_commands();
        let task = tokio::spawn(gateway.run(listener, Arc::new(registry), shutdown.clone()));
        let running = Self { world, address, shutdown, task };
        running.hears_frames().await;
        running
    }

    /// Waits until the gateway has taken a first frame.
    async fn hears_frames(&self) {
        until("the gateway is ready", async || {
            self.world.heartbeat();
            client::get(self.address, "/readyz", &[]).await.status == 200
        })
        .await;
    }

    /// A socket of a user's, over a WebSocket.
    async fn connect(&self, user: &str) -> Client {
        self.connect_with(json!({ "token": token_for(user, 600) })).await
    }

    async fn connect_with(&self, auth: serde_json::Value) -> Client {
        let mut client = Client::open(self.address).await;
        client.join(&auth).await;
        client
    }

    /// A connected socket that is live.
    async fn live(&self, user: &str) -> Client {
        let mut client = self.connect(user).await;
        client.event("stream:ready").await;
        client
    }

    async fn metric(&self, line: &str) -> bool {
        let shown = client::get(self.address, "/metrics", &[]).await;
        shown.body.lines().any(|shown| shown == line)
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("in time").expect("no panic")
    }
}

/// Waits for a condition.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waited = tokio::time::timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "waited in vain: {what}");
}
