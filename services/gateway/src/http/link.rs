//! The transport under a socket: how much of what was sent it has taken, and a way to close it.
//!
//! One [`Link`] goes with one Engine.IO session, over polling and WebSocket alike. Closing it breaks
//! the transport off without a goodbye, so that clients connect again by themselves.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A session's transport.
#[derive(Debug)]
pub struct Link {
    /// Bytes that the transport has taken for the client.
    written: AtomicU64,
    /// Somebody waits for `progress`.
    waiting: AtomicBool,
    progress: Notify,
    closed: CancellationToken,
    /// Why this side closed it, in the words of the log.
    reason: OnceLock<&'static str>,
    sid: OnceLock<Box<str>>,
    upgraded: OnceLock<Instant>,
    links: Weak<Links>,
}

/// Every session's link, by session id.
#[derive(Debug)]
pub(super) struct Links {
    by_sid: Mutex<HashMap<Box<str>, Weak<Link>>>,
    /// Sessions to be ended, for the server that can.
    ended: mpsc::UnboundedSender<Box<str>>,
}

impl Links {
    /// Links, and the session ids of those that were closed.
    pub fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<Box<str>>) {
        let (ended, sessions) = mpsc::unbounded_channel();
        (Arc::new(Self { by_sid: Mutex::default(), ended }), sessions)
    }

    /// The link of a session that is about to begin.
    pub fn open(self: &Arc<Self>) -> Arc<Link> {
        Arc::new(Link::new(Arc::downgrade(self)))
    }

    /// Finds a link under its session's id from now on, as long as the session lasts.
    pub fn name(&self, sid: &str, link: &Arc<Link>) {
        if link.sid.set(sid.into()).is_ok() {
            self.by_sid().insert(sid.into(), Arc::downgrade(link));
        }
    }

    pub fn get(&self, sid: &str) -> Option<Arc<Link>> {
        self.by_sid().get(sid)?.upgrade()
    }

    fn by_sid(&self) -> MutexGuard<'_, HashMap<Box<str>, Weak<Link>>> {
        self.by_sid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Link {
    fn new(links: Weak<Links>) -> Self {
        Self {
            written: AtomicU64::new(0),
            waiting: AtomicBool::new(false),
            progress: Notify::new(),
            closed: CancellationToken::new(),
            reason: OnceLock::new(),
            sid: OnceLock::new(),
            upgraded: OnceLock::new(),
            links,
        }
    }

    /// A link of no server's, whose progress is the test's.
    #[cfg(test)]
    pub fn detached() -> Arc<Self> {
        Arc::new(Self::new(Weak::new()))
    }

    /// Bytes that the transport has taken. A little more than what sockets were sent: handshakes
    /// and heartbeats count too.
    pub fn written(&self) -> u64 {
        self.written.load(Ordering::SeqCst)
    }

    /// Notes that the transport took bytes.
    pub fn wrote(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::SeqCst);
        if self.waiting.swap(false, Ordering::SeqCst) {
            self.progress.notify_waiters();
        }
    }

    /// Waits until the transport has taken more than `written` bytes, or is closed.
    pub async fn progress(&self, written: u64) {
        let progress = self.progress.notified();
        tokio::pin!(progress);
        progress.as_mut().enable();
        self.waiting.store(true, Ordering::SeqCst);
        if self.written() > written {
            return;
        }
        tokio::select! {
            () = progress => {}
            () = self.closed.cancelled() => {}
        }
    }

    /// Breaks the transport off; `reason` is for the log. The first reason stands. False if it was
    /// closed before.
    pub fn close(&self, reason: &'static str) -> bool {
        if self.reason.set(reason).is_err() {
            return false;
        }
        self.closed.cancel();
        if let (Some(links), Some(sid)) = (self.links.upgrade(), self.sid.get()) {
            // Without a receiver the server is gone, and its sessions with it.
            let _ = links.ended.send(sid.clone());
        }
        true
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_cancelled()
    }

    /// Why this side closed the transport, if it did.
    pub fn close_reason(&self) -> Option<&'static str> {
        self.reason.get().copied()
    }

    pub(crate) fn closed(&self) -> &CancellationToken {
        &self.closed
    }

    /// Notes that the session is moving from polling to WebSocket.
    pub(super) fn upgrading(&self) {
        let _ = self.upgraded.set(Instant::now());
    }

    /// When the session began to move from polling to WebSocket: its heartbeats pause meanwhile.
    pub fn upgraded(&self) -> Option<Instant> {
        self.upgraded.get().copied()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        if let (Some(links), Some(sid)) = (self.links.upgrade(), self.sid.get()) {
            links.by_sid().remove(sid);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_found_as_long_as_its_session_lasts() {
        let (links, _ended) = Links::new();
        let link = links.open();
        assert!(links.get("a").is_none());
        links.name("a", &link);
        assert!(links.get("a").is_some_and(|found| Arc::ptr_eq(&found, &link)));
        drop(link);
        assert!(links.get("a").is_none() && links.by_sid().is_empty());
    }

    #[test]
    fn a_closed_link_asks_for_its_session_to_be_ended_once() {
        let (links, mut ended) = Links::new();
        let link = links.open();
        links.name("a", &link);
        link.close("transport close");
        link.close("server shutting down");
        assert_eq!(link.close_reason(), Some("transport close"));
        assert_eq!(ended.try_recv().ok().as_deref(), Some("a"));
        assert!(ended.try_recv().is_err());
    }

    #[tokio::test]
    async fn whoever_waits_for_progress_is_woken_by_it() {
        let link = Link::detached();
        link.wrote(10);
        link.progress(9).await;
        let waiter = tokio::spawn({
            let link = link.clone();
            async move { link.progress(10).await }
        });
        while !link.waiting.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        link.wrote(1);
        waiter.await.expect("woken");
        let waiter = tokio::spawn({
            let link = link.clone();
            async move { link.progress(11).await }
        });
        link.close("transport close");
        waiter.await.expect("woken");
    }
}
