//! A Socket.IO server that hands on what it is sent, numbered, and stores nothing: what the transport
//! alone allows on this machine. It has the fixed contract's handshake, events and payloads.

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use futures::FutureExt;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use socketioxide::SocketIo;
use socketioxide::adapter::LocalAdapter;
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::{ConnectHandler, FromMessageParts, MessageHandler, Value};
use socketioxide::socket::Socket;
use tokio::net::TcpListener;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, default_value = "a secret for benchmarks, nothing else")]
    secret: String,
}

#[derive(Debug, Deserialize)]
struct Auth {
    token: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Claims {
    user_id: String,
}

#[derive(Debug, Clone)]
struct User(Arc<str>);

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Send {
    conversation_id: String,
    target_user_id: Option<String>,
    content: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    conversation_id: String,
    member_ids: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Message<'a> {
    #[serde(rename = "_id")]
    id: u64,
    conversation_id: &'a str,
    sender: &'a str,
    sender_id: &'a str,
    content: &'a str,
    attachments: [(); 0],
    sender_info: SenderInfo<'a>,
    created_at: u64,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct SenderInfo<'a> {
    user_id: &'a str,
    role: &'a str,
}

#[derive(Debug, Serialize)]
struct Envelope<T> {
    success: bool,
    data: T,
    timestamp: u64,
}

fn envelope<T>(data: T) -> Envelope<T> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Envelope { success: true, data, timestamp: now.as_millis() as u64 }
}

/// Groups' rooms by their ids.
type Groups = Arc<Mutex<HashMap<String, Vec<String>>>>;

fn room(user: &str) -> String {
    format!("user:{user}")
}

fn receive(socket: &SocketRef, sent: &Send, ack: AckSender, groups: &Groups) {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    let Some(User(sender_id)) = socket.extensions.get::<User>() else { return };
    let message = envelope(Message {
        id: NUMBER.fetch_add(1, Ordering::Relaxed),
        conversation_id: &sent.conversation_id,
        sender: "user",
        sender_id: &sender_id,
        content: &sent.content,
        attachments: [],
        sender_info: SenderInfo { user_id: &sender_id, role: "user" },
        created_at: envelope(()).timestamp,
    });
    let rooms = if let Some(target) = &sent.target_user_id {
        vec![room(&sender_id), room(target)]
    } else {
        let groups = groups.lock().unwrap_or_else(PoisonError::into_inner);
        groups.get(&sent.conversation_id).cloned().unwrap_or_default()
    };
    // Nothing to wait for: there is one server. A client too slow to take it misses it.
    let _ = socket.within(rooms).emit("message:receive", &message).now_or_never();
    let _ = ack.send(&message);
}

/// Handles an event at once, where socketioxide's own handlers would be tasks, in no order.
struct Inline<T, F>(F, PhantomData<fn(T)>);

/// Tells these handlers apart from functions.
enum Handler {}

impl<T, F> MessageHandler<LocalAdapter, Handler> for Inline<T, F>
where
    T: DeserializeOwned + 'static,
    F: Fn(&SocketRef, T, AckSender) + std::marker::Send + Sync + 'static,
{
    fn call(&self, socket: Arc<Socket<LocalAdapter>>, mut packet: Value, ack: Option<i64>) {
        let data = Data::<T>::from_message_parts(&socket, &mut packet, &ack);
        let sender = AckSender::from_message_parts(&socket, &mut packet, &ack);
        let socket = SocketRef::from_message_parts(&socket, &mut packet, &ack);
        if let (Ok(Data(data)), Ok(sender), Ok(socket)) = (data, sender, socket) {
            (self.0)(&socket, data, sender);
        }
    }
}

fn connect(socket: &SocketRef, groups: Groups) {
    let made = Arc::clone(&groups);
    let send = move |socket: &SocketRef, sent: Send, ack| receive(socket, &sent, ack, &groups);
    socket.on("message:send", Inline(send, PhantomData));
    let create = move |socket: &SocketRef, create: Create, ack: AckSender| {
        let Some(User(own)) = socket.extensions.get::<User>() else { return };
        let members = create.member_ids.iter().map(|id| room(id)).chain([room(&own)]).collect();
        let mut groups = made.lock().unwrap_or_else(PoisonError::into_inner);
        groups.insert(create.conversation_id, members);
        let _ = ack.send(&envelope(()));
    };
    socket.on("conversation:create", Inline(create, PhantomData));
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    let key = Arc::new(DecodingKey::from_secret(args.secret.as_bytes()));
    let admit = async move |socket: SocketRef, Data::<Auth>(auth)| {
        let claims = decode::<Claims>(&auth.token, &key, &Validation::new(Algorithm::HS256))?;
        let user: Arc<str> = claims.claims.user_id.into();
        socket.join(room(&user));
        socket.extensions.insert(User(user));
        Ok::<_, jsonwebtoken::errors::Error>(())
    };
    let groups = Groups::default();
    let (service, io) = SocketIo::new_svc();
    let handler = async move |socket: SocketRef| connect(&socket, Arc::clone(&groups));
    io.ns("/", handler.with(admit));
    let runtime = tokio::runtime::Runtime::new()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        println!("listens on {}", listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                let _ = connection.with_upgrades().await;
            });
        }
    })
}
