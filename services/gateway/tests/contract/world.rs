//! A gateway's inner parts on real stores, without sockets.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use jsonwebtoken::{EncodingKey, Header, encode};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_analytics::{Analytics, Memory};
use verbatim_bus::Bus;
use verbatim_bus::in_process::{Capacity, InProcess};
use verbatim_domain::inbox::Notify;
use verbatim_domain::{InboxCommand, NotificationId, UserId};
use verbatim_gateway::Ports;
use verbatim_gateway::auth::Verifier;
use verbatim_gateway::http::Peer;
use verbatim_gateway::metrics::Metrics;
use verbatim_gateway::presence::Presence;
use verbatim_gateway::requests::{Caller, Requests};
use verbatim_gateway::rest::Rest;
use verbatim_gateway::settings::{
    ConnectionList, Limits, Origins, Settings, TokenKey, TokenSettings,
};
use verbatim_journal::Log;
use verbatim_journal::sqlite::SqliteJournal;
use verbatim_keys::memory::MemoryKeys;
use verbatim_protocol::command::CommandEnvelope;
use verbatim_protocol::{Command, CommandKey, Timestamp};
use verbatim_views::{SqliteViews, Views};

const SECRET: &str = "a secret for tests, not for anything else";
pub const PEER: &str = "192.0.2.7:40000";

pub struct World {
    pub requests: Arc<Requests>,
    pub presence: Arc<Presence>,
    pub journal: Arc<SqliteJournal>,
    pub views: Arc<SqliteViews>,
    pub frames_fresh: Arc<AtomicBool>,
    bus: Arc<InProcess>,
    rest: Rest,
    commands: Stoppable,
    projector: Stoppable,
    _folder: TempDir,
}

/// A task and the way to end it.
struct Stoppable {
    end: CancellationToken,
    task: JoinHandle<()>,
}

impl Stoppable {
    async fn stop(&mut self) {
        self.end.cancel();
        (&mut self.task).await.expect("it ends cleanly");
    }
}

impl Drop for Stoppable {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub fn settings() -> Settings {
    Settings {
        tokens: TokenSettings {
            key: TokenKey::Secret(SECRET.to_owned().into()),
            issuer: None,
            audience: None,
        },
        public_url: None,
        origins: Origins::OwnAndLocal,
        trusted_proxies: Vec::new(),
        connection_list: ConnectionList::Everyone,
        limits: Limits { messages_per_second: 0, requests_per_second: 0, ..Limits::default() },
        ping_interval: Duration::from_secs(25),
        ping_timeout: Duration::from_secs(20),
        shutdown_timeout: Duration::from_secs(10),
    }
}

pub fn user(name: &str) -> UserId {
    name.parse().expect("a user id")
}

pub fn caller(name: &str) -> Arc<Caller> {
    Arc::new(Caller {
        user_id: user(name),
        email: None,
        role: "user".to_owned(),
        expires_at: Timestamp(i64::MAX),
    })
}

/// A token that is good for ten minutes.
pub fn token(user: &str, role: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = json!({
        "userId": user, "role": role, "email": format!("{user}@example.com"), "exp": now + 600,
    });
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    encode(&Header::default(), &claims, &key).expect("the token is signed")
}

/// What a call answered.
#[derive(Debug)]
pub struct Called {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl Called {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// The data of a success.
    pub fn data(&self) -> Value {
        let envelope = self.json();
        assert_eq!(envelope["success"], true, "{envelope}");
        assert!(envelope["timestamp"].is_string());
        envelope["data"].clone()
    }

    /// The code of a failure in the contract's shape.
    pub fn code(&self) -> String {
        let envelope = self.json();
        assert_eq!(envelope["success"], false, "{envelope}");
        assert!(envelope["timestamp"].is_string());
        let error = &envelope["error"];
        assert!(error["message"].is_string() && error["details"].is_object(), "{envelope}");
        assert!(error["retryable"].is_boolean(), "{envelope}");
        error["code"].as_str().expect("a code").to_owned()
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("it is text"))
    }
}

impl World {
    pub async fn new() -> Self {
        Self::with(settings()).await
    }

    pub async fn with(settings: Settings) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = SqliteJournal::open(&folder.path().join("journal.sqlite")).await;
        let journal = Arc::new(journal.expect("the journal opens"));
        let views = SqliteViews::open(&folder.path().join("views.sqlite"), journal.id()).await;
        let views = Arc::new(views.expect("the views open"));
        let bus = Arc::new(InProcess::new(Capacity::default()));
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let analytics = Analytics::new(Arc::new(Memory::default()));
        let ports = Ports {
            journal: journal.clone(),
            bus: bus.clone(),
            views: views.clone(),
            keys: MemoryKeys::vault(),
            seal: None,
            analytics: analytics.reports(journal.id()),
        };
        let settings = Arc::new(settings);
        let presence = Arc::new(Presence::new(bus.clone()));
        let requests = Requests::new(ports, settings.clone(), presence.clone(), metrics);
        let requests = Arc::new(requests);
        let verifier = Arc::new(Verifier::new(&settings.tokens).expect("the key is good"));
        let frames_fresh = Arc::new(AtomicBool::new(true));
        let fresh = frames_fresh.clone();
        let aggregate = verbatim_aggregate::Aggregate::new(
            journal.clone(),
            bus.clone(),
            verbatim_aggregate::Settings::default(),
            &mut registry,
        );
        let rest = Rest::new(requests.clone(), verifier, settings, Arc::new(registry), move || {
            fresh.load(Ordering::Relaxed)
        });
        let end = CancellationToken::new();
        let running = aggregate.run(end.clone());
        let task = tokio::spawn(async move { running.await.expect("it ends cleanly") });
        let commands = Stoppable { end, task };
        let end = CancellationToken::new();
        let projecting =
            project(journal.clone(), views.clone(), analytics, bus.clone(), end.clone());
        let task = tokio::spawn(projecting);
        let projector = Stoppable { end, task };
        Self {
            requests,
            presence,
            journal,
            views,
            frames_fresh,
            bus,
            rest,
            commands,
            projector,
            _folder: folder,
        }
    }

    /// Ends the aggregate service.
    pub async fn stop_commands(&mut self) {
        self.commands.stop().await;
    }

    /// Keeps the views from being brought up to date.
    pub async fn stop_views(&mut self) {
        self.projector.stop().await;
    }

    pub async fn call(&self, request: http::request::Builder, body: &str) -> Called {
        let peer: SocketAddr = PEER.parse().expect("an address");
        let body = Full::new(Bytes::copy_from_slice(body.as_bytes()));
        let request = request.extension(Peer { addr: peer }).body(body).expect("a good request");
        let (parts, body) = self.rest.call(request).await.into_parts();
        let bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("it is text");
        Called { status: parts.status, headers: parts.headers, text }
    }

    pub async fn get(&self, user: &str, path: &str) -> Called {
        self.call(request(Method::GET, path, user), "").await
    }

    pub async fn post(&self, user: &str, path: &str, body: &Value) -> Called {
        let request = request(Method::POST, path, user).header(CONTENT_TYPE, "application/json");
        self.call(request, &body.to_string()).await
    }

    /// Sends a message, which must succeed.
    pub async fn say(&self, user: &str, conversation: &str, content: &str) -> Value {
        let path = format!("/app/conversations/{conversation}/messages");
        let sent = self.post(user, &path, &json!({ "content": content })).await;
        assert_eq!(sent.status, StatusCode::CREATED, "{sent:?}");
        sent.data()
    }

    /// A direct conversation with a first message.
    pub async fn direct(&self, conversation: &str, from: &str, to: &str) -> Value {
        let path = format!("/app/conversations/{conversation}/messages");
        let first = json!({ "content": "first", "targetUserId": to });
        let sent = self.post(from, &path, &first).await;
        assert_eq!(sent.status, StatusCode::CREATED, "{sent:?}");
        sent.data()
    }

    /// Notes a message for a user as if it had found them offline.
    pub async fn notify(&self, user: &str, message: &Value) -> NotificationId {
        let id = NotificationId(Uuid::now_v7());
        let message_id = message["_id"].as_str().and_then(|id| id.parse().ok()).expect("an id");
        self.views
            .reached(self.journal.head().await.expect("a head"), Duration::from_secs(5))
            .await
            .expect("the views follow");
        let found = self.views.message(message_id).await.expect("an answer");
        let command = InboxCommand::Notify(Notify {
            notification_id: id,
            conversation_id: message["conversationId"]
                .as_str()
                .and_then(|id| id.parse().ok())
                .expect("an id"),
            message_id,
            message_position: found.expect("the message").position,
            sender_id: self::user(message["senderId"].as_str().expect("an id")),
        });
        let envelope = CommandEnvelope {
            command_id: id.0,
            key: CommandKey { issuer: "$test".into(), key: id.to_string().into() },
            deadline: Timestamp(i64::MAX / 2),
            traceparent: None,
            command: Command::Inbox { user: self::user(user), command },
        };
        self.bus.send(envelope).await.expect("it is noted");
        id
    }
}

/// A request of a user with a good token; without one where the name is empty.
pub fn request(method: Method, path: &str, user: &str) -> http::request::Builder {
    let request = Request::builder().method(method).uri(path).header(HOST, "localhost:3000");
    if user.is_empty() {
        return request;
    }
    request.header(AUTHORIZATION, format!("Bearer {}", token(user, "user")))
}

async fn project(
    journal: Arc<SqliteJournal>,
    views: Arc<SqliteViews>,
    analytics: Analytics,
    bus: Arc<InProcess>,
    stopped: CancellationToken,
) {
    let mut feed = bus.subscribe_events();
    loop {
        let events = journal.read_after(views.checkpoint(), 1_000).await.expect("the events");
        if !events.is_empty() {
            views.apply(&events).await.expect("they are applied");
            analytics.apply(&events).await.expect("they are counted");
            continue;
        }
        tokio::select! {
            () = stopped.cancelled() => break,
            heard = feed.recv() => if heard.is_none() { break },
        }
    }
}
