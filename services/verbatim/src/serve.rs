//! `verbatim serve`: opens the stores, wires the services, and keeps them going until the end.

mod cluster;
mod embedded;
mod ops;
mod roles;
mod standby;

use std::time::Duration;

use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::{Builder, Runtime};
use tokio::signal::unix::{Signal, SignalKind, signal};
use verbatim_gateway::settings::TokenKey;

use crate::cli::ServeArgs;
use crate::log;
use crate::settings::{self, Form, Serve};

/// HS256 is no stronger than its secret; RFC 7518 asks for as many bits as the hash has.
const STRONG_SECRET_BYTES: usize = 32;

/// How many connections may wait to be accepted, as far as the system lets them (`net.core.somaxconn`).
/// When all come back at once, one too many is dropped, and tried again only after a second.
const BACKLOG: u32 = 4_096;

/// How long is waited for what still runs when all services have ended.
const LEFT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the services behind the gateway may take to finish once it has.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

pub fn run(args: ServeArgs) -> anyhow::Result<()> {
    let (settings, form) = settings::serve(&args)?;
    drop(args);
    let lock = match &form {
        Form::Embedded(folder) => Some(folder.lock()?),
        Form::Cluster(_) => None,
    };
    let log = log::start(&settings.log)?;
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let result = match &form {
        Form::Embedded(folder) => {
            let background = background()?;
            let serving = embedded::serve(settings, folder, &log, background.handle());
            let result = runtime.block_on(serving);
            background.shutdown_timeout(LEFT_TIMEOUT);
            result
        }
        Form::Cluster(cluster) => runtime.block_on(cluster::serve(settings, cluster, &log)),
    };
    // What a role left running must not hold up the end.
    runtime.shutdown_timeout(LEFT_TIMEOUT);
    drop(lock);
    result
}

/// What runs work that nobody waits for, on threads that leave the processors to others where these
/// want them.
fn background() -> std::io::Result<Runtime> {
    let mut runtime = Builder::new_multi_thread();
    runtime.worker_threads(1).thread_name("background");
    runtime.on_thread_start(verbatim_sqlite::yield_to_others).enable_all().build()
}

fn listen(settings: &Serve) -> anyhow::Result<TcpListener> {
    let listen = || {
        let address = settings.listen;
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().with_context(|| format!("VERBATIM_LISTEN: cannot listen on {}", settings.listen))
}

/// The signals that ask the process to end.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn new() -> anyhow::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self { terminate, interrupt: signal(SignalKind::interrupt())? })
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn warn_of_a_weak_secret(settings: &Serve) {
    if let TokenKey::Secret(secret) = &settings.gateway.tokens.key
        && secret.expose_secret().len() < STRONG_SECRET_BYTES
    {
        tracing::warn!(
            "JWT_SECRET has fewer than {STRONG_SECRET_BYTES} bytes: tokens can be forged by guessing it"
        );
    }
}
