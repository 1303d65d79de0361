//! The one port: TCP connections in, HTTP served on them, Socket.IO and REST behind it.

pub mod body;
mod guard;
mod link;
pub mod origins;
mod stream;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::metrics::gauge::Gauge;
use socketioxide::service::SocketIoService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use body::ResponseBody;
pub(crate) use guard::Elsewhere;
pub use link::Link;

use crate::Settings;
use crate::rest::Rest;
use guard::Guard;
use link::Links;
use stream::Stream;

/// Within which a request's headers must have come, and an idle connection its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait before accepting again, when the system has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// The most bytes of a request's head: room for a long token and a browser's cookies.
const MAX_HEAD_BYTES: usize = 128 * 1024;

/// Who is at the other end of the connection that a request came on: an extension of each request.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    pub addr: SocketAddr,
}

/// The HTTP server.
pub(crate) struct Server {
    guard: Arc<Guard>,
    settings: Arc<Settings>,
    connections: Gauge,
    ended: mpsc::UnboundedReceiver<Box<str>>,
}

impl Server {
    pub fn new(
        settings: Arc<Settings>,
        sockets: SocketIoService<Elsewhere>,
        rest: Arc<Rest>,
        connections: Gauge,
    ) -> Self {
        let (links, ended) = Links::new();
        let guard = Arc::new(Guard::new(Arc::clone(&settings), sockets, rest, links));
        Self { guard, settings, connections, ended }
    }

    /// Serves until `closing`, then takes no new connections and sessions; after `shutdown`, ends
    /// once the requests at hand are answered.
    pub async fn run(
        mut self,
        listener: TcpListener,
        closing: CancellationToken,
        shutdown: CancellationToken,
    ) {
        let connections = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled() => break,
                Some(sid) = self.ended.recv() => self.end(&connections, sid),
                accepted = listener.accept() => match accepted {
                    Ok((tcp, addr)) => {
                        connections.spawn(self.serve(tcp, addr, shutdown.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "a connection can't be accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
        drop(listener);
        self.guard.refuse_new();
        loop {
            tokio::select! {
                biased;
                Some(sid) = self.ended.recv() => self.end(&connections, sid),
                () = shutdown.cancelled() => break,
            }
        }
        connections.close();
        connections.wait().await;
    }

    /// Ends a session whose link was closed.
    fn end(&self, tasks: &TaskTracker, sid: Box<str>) {
        let guard = Arc::clone(&self.guard);
        tasks.spawn(async move { guard.end(&sid).await });
    }

    /// Serves one connection until it is upgraded or over; after `shutdown`, until the request at
    /// hand is answered.
    fn serve(
        &self,
        tcp: TcpStream,
        addr: SocketAddr,
        shutdown: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let guard = Arc::clone(&self.guard);
        let stream = Stream::new(tcp, self.settings.limits.write_timeout, self.connections.clone());
        async move {
            let carrier = stream.carrier();
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (guard, carrier) = (Arc::clone(&guard), carrier.clone());
                request.extensions_mut().insert(Peer { addr });
                async move { Ok::<_, Infallible>(guard.call(request, &carrier).await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::pin!(connection);
            let outcome = tokio::select! {
                outcome = connection.as_mut() => outcome,
                () = shutdown.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = outcome {
                tracing::debug!(%addr, %error, "a connection broke off");
            }
        }
    }
}
