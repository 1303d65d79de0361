//! A Socket.IO server that hands on what it is sent, numbered, and stores nothing: what the transport
//! alone allows on this machine. Or it stores each, and does nothing else. It has the fixed contract's handshake, events and payloads.

mod store;

use std::collections::HashMap;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

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
use tokio::net::{TcpListener, TcpSocket};

use store::Waiting;

#[derive(Debug, Clone, clap::Args)]
pub struct Args {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, default_value = "a secret for benchmarks, nothing else")]
    secret: String,
    /// Stores each message in a new `SQLite` file at this path before it is handed on.
    #[arg(long, value_name = "PATH")]
    store: Option<PathBuf>,
    /// Does so to every hundredth message, to see that load finds it out.
    #[arg(long)]
    fault: Option<Fault>,
}

/// What a server must not do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Answers, and hands nothing on.
    Lose,
    Repeat,
    /// Hands it on after the next.
    Swap,
    /// The same, for half of those who receive it.
    Scatter,
    Refuse,
    /// Hands it on, and doesn't answer.
    Ignore,
    /// Lets it, and all behind it, wait for [`STALL`].
    Stall,
}

const STALL: Duration = Duration::from_millis(50);

/// Packets that may wait for a client: more than ever do here, as those beyond are lost.
const QUEUE: usize = 1 << 20;

/// As Verbatim has it.
const READ_BUFFER: usize = 2_048;

/// How many messages pass well until one doesn't.
const FAULTLESS: u64 = 100;

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

/// What all sockets share.
#[derive(Default)]
struct Hub {
    /// Groups' rooms by their ids.
    groups: Mutex<HashMap<String, Vec<String>>>,
    messages: AtomicU64,
    fault: Option<Fault>,
    /// Where a message went that is to be handed on after the next, and the message.
    held: Mutex<Option<(Vec<String>, serde_json::Value)>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn room(user: &str) -> String {
    format!("user:{user}")
}

fn receive(socket: &SocketRef, sent: &Send, ack: AckSender, hub: &Hub) {
    let Some(User(sender_id)) = socket.extensions.get::<User>() else { return };
    let number = hub.messages.fetch_add(1, Ordering::Relaxed) + 1;
    let message = envelope(Message {
        id: number,
        conversation_id: &sent.conversation_id,
        sender: "user",
        sender_id: &sender_id,
        content: &sent.content,
        attachments: [],
        sender_info: SenderInfo { user_id: &sender_id, role: "user" },
        created_at: envelope(()).timestamp,
    });
    // Held until it is handed on, so that all members of a group see one order.
    let groups = sent.target_user_id.is_none().then(|| lock(&hub.groups));
    let members = groups.as_ref().and_then(|groups| groups.get(&sent.conversation_id));
    let mut rooms = match &sent.target_user_id {
        Some(target) => vec![room(&sender_id), room(target)],
        None => members.cloned().unwrap_or_default(),
    };
    let fault = hub.fault.filter(|_| number.is_multiple_of(FAULTLESS));
    if fault == Some(Fault::Stall) {
        thread::sleep(STALL);
    }
    match fault {
        None | Some(Fault::Ignore | Fault::Stall) => hand_on(socket, rooms, &message),
        Some(Fault::Lose | Fault::Refuse) => {}
        Some(Fault::Repeat) => {
            hand_on(socket, rooms.clone(), &message);
            hand_on(socket, rooms, &message);
        }
        Some(fault @ (Fault::Swap | Fault::Scatter)) => {
            let later = rooms.split_off(if fault == Fault::Scatter { rooms.len() / 2 } else { 0 });
            let json = serde_json::to_value(&message).unwrap_or_default();
            *lock(&hub.held) = Some((later, json));
            if !rooms.is_empty() {
                hand_on(socket, rooms, &message);
            }
        }
    }
    if matches!(hub.fault, Some(Fault::Swap | Fault::Scatter))
        && fault.is_none()
        && let Some((rooms, message)) = lock(&hub.held).take()
    {
        hand_on(socket, rooms, &message);
    }
    drop(groups);
    match fault {
        Some(Fault::Ignore) => {}
        Some(Fault::Refuse) => drop(ack.send(&Envelope { success: false, data: (), timestamp: 0 })),
        _ => drop(ack.send(&message)),
    }
}

fn hand_on(socket: &SocketRef, rooms: Vec<String>, message: &impl Serialize) {
    // Nothing to wait for: there is one server. A client too slow to take it misses it.
    let _ = socket.within(rooms).emit("message:receive", message).now_or_never();
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

fn connect(socket: &SocketRef, hub: &Arc<Hub>, store: Option<mpsc::Sender<Waiting>>) {
    let own = Arc::clone(hub);
    let send = move |socket: &SocketRef, sent: Send, ack| match &store {
        None => receive(socket, &sent, ack, &own),
        // Its thread ends with the file, and then nothing is answered any more.
        Some(store) => drop(store.send(Waiting { socket: socket.clone(), sent, ack })),
    };
    socket.on("message:send", Inline(send, PhantomData));
    let own = Arc::clone(hub);
    let create = move |socket: &SocketRef, create: Create, ack: AckSender| {
        let Some(User(creator)) = socket.extensions.get::<User>() else { return };
        let members = create.member_ids.iter().map(|id| room(id)).chain([room(&creator)]).collect();
        lock(&own.groups).insert(create.conversation_id, members);
        let _ = ack.send(&envelope(()));
    };
    socket.on("conversation:create", Inline(create, PhantomData));
}

pub fn run(args: &Args) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        // A limit that takes in fewer at once than what it limits would be none.
        let is_v4 = args.listen.is_ipv4();
        let socket = if is_v4 { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(args.listen)?;
        let listener = socket.listen(4_096)?;
        println!("listens on {}", listener.local_addr()?);
        serve(listener, &args.secret, args.store.as_deref(), args.fault).await
    })
}

/// Serves until something fails.
pub async fn serve(
    listener: TcpListener,
    secret: &str,
    store: Option<&Path>,
    fault: Option<Fault>,
) -> anyhow::Result<()> {
    let key = Arc::new(DecodingKey::from_secret(secret.as_bytes()));
    let admit = async move |socket: SocketRef, Data::<Auth>(auth)| {
        let claims = decode::<Claims>(&auth.token, &key, &Validation::new(Algorithm::HS256))?;
        let user: Arc<str> = claims.claims.user_id.into();
        socket.join(room(&user));
        socket.extensions.insert(User(user));
        Ok::<_, jsonwebtoken::errors::Error>(())
    };
    let hub = Arc::new(Hub { fault, ..Hub::default() });
    let (service, io) =
        SocketIo::builder().max_buffer_size(QUEUE).ws_read_buffer_size(READ_BUFFER).build_svc();
    let stored = Arc::clone(&hub);
    let hand_on =
        move |waiting: Waiting| receive(&waiting.socket, &waiting.sent, waiting.ack, &stored);
    let store = store.map(|path| store::start(path, hand_on)).transpose()?;
    let handler = async move |socket: SocketRef| connect(&socket, &hub, store.clone());
    io.ns("/", handler.with(admit));
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = TowerToHyperService::new(service.clone());
        tokio::spawn(async move {
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            let _ = connection.with_upgrades().await;
        });
    }
}
