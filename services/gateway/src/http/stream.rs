//! A TCP connection that notices when its peer stops reading, and that can be broken off.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

use super::link::Link;

/// What requests know of the connection that they came on.
#[derive(Debug, Clone)]
pub(super) struct Carrier(Arc<OnceLock<Arc<Link>>>);

impl Carrier {
    /// Makes the connection carry a session: its writes count for the session's link, and it ends
    /// when the link is closed. A connection carries one session at most.
    pub fn carry(&self, link: Arc<Link>) {
        let _ = self.0.set(link);
    }
}

/// Wakes a task when the link is closed.
type End = Option<Pin<Box<WaitForCancellationFutureOwned>>>;

/// The connection.
pub(super) struct Stream {
    tcp: TcpStream,
    carrier: Carrier,
    write_timeout: Duration,
    /// Runs while a write hangs.
    deadline: Option<Pin<Box<Sleep>>>,
    /// Wake the reader and the writer when the link is closed.
    read_end: End,
    write_end: End,
    open: Gauge,
}

impl Stream {
    pub fn new(tcp: TcpStream, write_timeout: Duration, open: Gauge) -> Self {
        // Else what follows on something unconfirmed waits for the client's confirmation, which the
        // client holds back for 40 ms.
        if let Err(error) = tcp.set_nodelay(true) {
            tracing::debug!(%error, "a connection may be slow");
        }
        open.inc();
        Self {
            tcp,
            carrier: Carrier(Arc::default()),
            write_timeout,
            deadline: None,
            read_end: None,
            write_end: None,
            open,
        }
    }

    pub fn carrier(&self) -> Carrier {
        self.carrier.clone()
    }

    /// Settles a write's outcome: counts what was taken, and gives up on what hangs for too long.
    fn written(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if let Poll::Ready(written) = written {
            self.deadline = None;
            if let (Ok(bytes), Some(link)) = (&written, self.carrier.0.get()) {
                link.wrote(*bytes);
            }
            return Poll::Ready(written);
        }
        if ended(&self.carrier, &mut self.write_end, cx) {
            return Poll::Ready(Err(broken_off()));
        }
        let after = self.write_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(after)));
        ready!(deadline.as_mut().poll(cx));
        // Whoever asks again hears the same.
        deadline.as_mut().reset(Instant::now());
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the peer has stopped reading")))
    }
}

/// Whether the link is closed; else the task is woken when it will be.
fn ended(carrier: &Carrier, end: &mut End, cx: &mut Context<'_>) -> bool {
    let Some(link) = carrier.0.get() else { return false };
    link.is_closed()
        || end
            .get_or_insert_with(|| Box::pin(link.closed().clone().cancelled_owned()))
            .as_mut()
            .poll(cx)
            .is_ready()
}

fn broken_off() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "broken off by the server")
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if ended(&this.carrier, &mut this.read_end, cx) {
            return Poll::Ready(Err(broken_off()));
        }
        Pin::new(&mut this.tcp).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.carrier.0.get().is_some_and(|link| link.is_closed()) {
            return Poll::Ready(Err(broken_off()));
        }
        let written = Pin::new(&mut this.tcp).poll_write(cx, bytes);
        this.written(cx, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.tcp).poll_write_vectored(cx, slices);
        this.written(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.open.dec();
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    const BLOCK: [u8; 4_096] = [0; 4_096];

    async fn pair(write_timeout: Duration) -> (Stream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
        let server = Stream::new(server.expect("accepted").0, write_timeout, Gauge::default());
        (server, client.expect("connected"))
    }

    #[tokio::test]
    async fn what_is_written_leaves_at_once() {
        let (server, _client) = pair(Duration::from_mins(1)).await;
        assert!(server.tcp.nodelay().expect("an answer"));
    }

    #[tokio::test]
    async fn a_write_that_hangs_for_too_long_fails() {
        let (mut server, _client) = pair(Duration::from_millis(50)).await;
        let error = loop {
            if let Err(error) = server.write_all(&BLOCK).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let again = server.write_all(&BLOCK).await.map_err(|error| error.kind());
        assert_eq!(again, Err(io::ErrorKind::TimedOut));
    }

    #[tokio::test]
    async fn closing_the_link_breaks_reads_and_writes_off_and_closes_the_connection() {
        let (mut server, mut client) = pair(Duration::from_mins(1)).await;
        let link = Link::detached();
        server.carrier().carry(link.clone());
        server.write_all(b"hello").await.expect("written");
        assert_eq!(link.written(), 5);
        let (mut reader, mut writer) = tokio::io::split(server);
        let reading = tokio::spawn(async move { reader.read_u8().await.map_err(|e| e.kind()) });
        let writing = tokio::spawn(async move {
            loop {
                if let Err(error) = writer.write_all(&BLOCK).await {
                    break error.kind();
                }
            }
        });
        let mut seen = link.written();
        // Until the writer hangs, as nobody reads.
        while tokio::time::timeout(Duration::from_millis(100), link.progress(seen)).await.is_ok() {
            seen = link.written();
        }
        link.close("transport close");
        assert_eq!(reading.await.expect("ends"), Err(io::ErrorKind::ConnectionAborted));
        assert_eq!(writing.await.expect("ends"), io::ErrorKind::ConnectionAborted);
        let mut rest = Vec::new();
        // Ended or reset, but over.
        let _ = client.read_to_end(&mut rest).await;
        assert!(rest.len() as u64 <= link.written());
    }
}
