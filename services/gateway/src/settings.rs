//! What an operator can set. Parsed and validated by the executable; this is the result.

use std::time::Duration;

use ipnet::IpNet;
use secrecy::SecretString;

/// The gateway's settings.
#[derive(Debug, Clone)]
pub struct Settings {
    pub tokens: TokenSettings,
    /// `ws`, `wss`, `http` or `https` URL that clients reach this server by; without one, the
    /// request's own host and scheme are taken.
    pub public_url: Option<PublicUrl>,
    pub origins: Origins,
    /// Whose `X-Forwarded-*` headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    pub connection_list: ConnectionList,
    pub limits: Limits,
    /// How often a socket is pinged, and how long it may take to answer.
    pub ping_interval: Duration,
    pub ping_timeout: Duration,
    /// Within which everything is finished at shutdown.
    pub shutdown_timeout: Duration,
}

/// How tokens are checked.
#[derive(Debug, Clone)]
pub struct TokenSettings {
    pub key: TokenKey,
    /// The `iss` that tokens must have, if any.
    pub issuer: Option<String>,
    /// The `aud` that tokens must have, if any.
    pub audience: Option<String>,
}

#[derive(Debug, Clone)]
pub enum TokenKey {
    /// HS256 only.
    Secret(SecretString),
    /// A PEM public key: RS256, ES256 or `EdDSA`, by the kind of key.
    PublicKeyPem(String),
}

/// Where clients reach this server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    /// Whether behind TLS (`wss`, `https`).
    pub secure: bool,
    /// Host with port where the URL names one, as in a `Host` header.
    pub authority: String,
}

/// Which web pages' origins may call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origins {
    Any,
    /// Exactly these, as browsers write them (`https://app.example.com`).
    Listed(Vec<String>),
    /// The server's own, and any `localhost` or `127.0.0.1` one.
    OwnAndLocal,
}

/// Who may see all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionList {
    Everyone,
    Admins,
}

/// The wire contract's section 6.
#[derive(Debug, Clone)]
pub struct Limits {
    /// One packet, on both transports, and a REST body.
    pub packet_bytes: usize,
    /// A message's text.
    pub content_bytes: usize,
    pub attachments: usize,
    /// Sends of one user; 0 switches the limit off.
    pub messages_per_second: u32,
    pub message_burst: u32,
    /// Other requests of one user; 0 switches the limit off.
    pub requests_per_second: u32,
    /// Requests of one socket that are worked on at once.
    pub in_flight_per_socket: usize,
    /// Requests of one socket that wait in order.
    pub waiting_per_socket: usize,
    pub sockets_per_user: usize,
    /// From the transport's start to a good token.
    pub auth_timeout: Duration,
    /// What a slow reader may leave untaken.
    pub unread_packets: usize,
    pub unread_bytes: usize,
    /// How long one write to a connection may hang.
    pub write_timeout: Duration,
    /// Refusals within `refusal_window` after which a socket is disconnected.
    pub refusals: u32,
    pub refusal_window: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes: 64 * 1024,
            content_bytes: 32 * 1024,
            attachments: 10,
            messages_per_second: 20,
            message_burst: 60,
            requests_per_second: 100,
            in_flight_per_socket: 64,
            waiting_per_socket: 1_024,
            sockets_per_user: 20,
            auth_timeout: Duration::from_secs(5),
            unread_packets: 4_096,
            unread_bytes: 4 * 1024 * 1024,
            write_timeout: Duration::from_secs(20),
            refusals: 1_000,
            refusal_window: Duration::from_secs(10),
        }
    }
}
