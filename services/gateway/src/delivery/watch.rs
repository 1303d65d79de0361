//! Which written messages have surely arrived, of clients that don't say so themselves: those whose
//! socket has lived on past a whole heartbeat.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Delivery;
use crate::socket::Session;

/// How often is looked.
const SWEEP: Duration = Duration::from_millis(500);

/// The sockets with messages written to them whose arrival isn't known.
#[derive(Default)]
pub(super) struct Watched {
    sessions: Mutex<Vec<Arc<Session>>>,
}

impl Watched {
    /// Watches a socket, which was just sent a message.
    pub fn add(&self, session: &Arc<Session>) {
        if !session.is_acknowledging() && !session.watched().swap(true, Ordering::AcqRel) {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            sessions.push(Arc::clone(session));
        }
    }

    fn take(&self) -> Vec<Arc<Session>> {
        std::mem::take(&mut *self.sessions.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn keep(&self, mut sessions: Vec<Arc<Session>>) {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner).append(&mut sessions);
    }
}

impl Delivery {
    pub(super) async fn watch(&self) {
        let mut sweep = interval(SWEEP);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            sweep.tick().await;
            let now = Instant::now();
            let mut sessions = self.watched.take();
            sessions.retain(|session| self.look_at(session, now));
            self.watched.keep(sessions);
        }
    }

    /// Whether there is more to watch for.
    fn look_at(&self, session: &Session, now: Instant) -> bool {
        if session.is_acknowledging() {
            // It stays marked as watched, and so never comes back.
            return false;
        }
        let mut more = false;
        let arrived = session.outbound().arrived(now, self.patience, |left| {
            more = left;
            session.watched().store(left, Ordering::Release);
        });
        if let Some(position) = arrived {
            self.arrived(session.user(), position);
        }
        more
    }
}
