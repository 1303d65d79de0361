//! Whether a message that came now would be stored and delivered.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::requests::Requests;

/// How long commands may take.
const PROBE_WAIT: Duration = Duration::from_secs(1);
/// How long an outcome holds, however often one asks.
const PROBE_AGAIN: Duration = Duration::from_millis(500);

/// Asks and remembers.
pub(super) struct Readiness {
    requests: Arc<Requests>,
    frames_fresh: Box<dyn Fn() -> bool + Send + Sync>,
    /// When the last probe ended, and how. Held while one is under way, so that there is but one.
    last: Mutex<Option<(Instant, Result<(), &'static str>)>>,
}

impl Readiness {
    pub fn new(
        requests: Arc<Requests>,
        frames_fresh: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        Self { requests, frames_fresh: Box::new(frames_fresh), last: Mutex::new(None) }
    }

    /// # Errors
    /// What is missing, for operators.
    pub async fn check(&self) -> Result<(), &'static str> {
        if !(self.frames_fresh)() {
            return Err("no push frames come in");
        }
        let mut last = self.last.lock().await;
        if let Some((at, outcome)) = *last
            && at.elapsed() < PROBE_AGAIN
        {
            return outcome;
        }
        let outcome = self.requests.probe(PROBE_WAIT).await;
        *last = Some((Instant::now(), outcome));
        outcome
    }
}
