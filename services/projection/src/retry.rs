//! Trying again what may work later.

use std::fmt::Display;
use std::time::Duration;

use tracing::{info, warn};

const FIRST_DELAY: Duration = Duration::from_millis(25);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// An error that tells whether the same call may succeed later.
pub(crate) trait Transient: Display {
    fn is_transient(&self) -> bool;
}

impl Transient for verbatim_journal::Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Transient for verbatim_views::Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Behind)
    }
}

impl Transient for verbatim_analytics::Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Behind)
    }
}

impl Transient for verbatim_state::Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Transient for verbatim_keys::Error {
    fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}

impl Transient for verbatim_seal::Error {
    fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::Moved => true,
            Self::Journal(error) => error.is_transient(),
            Self::Tampered(_) => false,
        }
    }
}

/// Growing delays with full jitter.
#[derive(Debug)]
pub(crate) struct Backoff {
    failures: u32,
    longest: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::up_to(LONGEST_DELAY)
    }
}

impl Backoff {
    /// With delays no longer than this.
    pub fn up_to(longest: Duration) -> Self {
        Self { failures: 0, longest }
    }

    /// Whether nothing has failed yet.
    pub fn is_new(&self) -> bool {
        self.failures == 0
    }

    /// Waits before the next attempt.
    pub async fn wait(&mut self) {
        let ceiling = FIRST_DELAY.saturating_mul(1 << self.failures.min(20)).min(self.longest);
        self.failures = self.failures.saturating_add(1);
        tokio::time::sleep(ceiling.mul_f64(rand::random())).await;
    }
}

/// Tries until it works, or fails for good. The first failure and the recovery are logged.
pub(crate) async fn until_available<T, E: Transient, F: Future<Output = Result<T, E>>>(
    what: &'static str,
    mut attempt: impl FnMut() -> F,
) -> Result<T, E> {
    let mut backoff = Backoff::default();
    loop {
        match attempt().await {
            Err(error) if error.is_transient() => {
                if backoff.is_new() {
                    warn!(what, %error, "failed, trying again");
                }
                backoff.wait().await;
            }
            done => {
                if !backoff.is_new() && done.is_ok() {
                    info!(what, failures = backoff.failures, "works again");
                }
                return done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use verbatim_journal::Error;

    #[tokio::test]
    async fn transient_failures_are_tried_again_and_permanent_ones_are_not() {
        let mut outcomes = vec![
            Err(Error::Corrupt("a hole".into())),
            Err(Error::Unavailable("busy".into())),
            Err(Error::Unavailable("busy".into())),
        ];
        let ended: Result<(), _> =
            until_available("test", || ready(outcomes.pop().expect("no attempt after the last")))
                .await;
        assert!(matches!(ended, Err(Error::Corrupt(_))));
        assert!(outcomes.is_empty());
    }
}
