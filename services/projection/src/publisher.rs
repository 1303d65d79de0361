//! Hands checkpoints out to where whoever can write to the database can't: a file or a URL.
//!
//! Each goes out once it is stored, in order and at least once. A destination that fails is tried until
//! it takes them; nothing waits for it. A new one begins with the newest checkpoint, which vouches for
//! all that came before.

mod file;
mod webhook;

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use verbatim_proof::leaf_hash;
use verbatim_seal::{Error, Signed};

use crate::Sealing;
use crate::metrics::SealMetrics;
use crate::retry::Backoff;
use webhook::Webhook;

pub(crate) use file::last_note;

/// Checkpoints that are read at once.
const PAGE: usize = 100;
/// How often it looks for new ones.
const LOOK: Duration = Duration::from_millis(500);
/// The longest pause between two attempts.
const LONGEST_DELAY: Duration = Duration::from_mins(1);

/// Where checkpoints are kept besides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Appended to, and waited for until it is on the disk.
    File(PathBuf),
    /// Each is posted there, as text.
    Url(http::Uri),
}

impl Destination {
    /// By which it is known in the store: a URL may hold a secret.
    fn name(&self) -> String {
        let text = match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(url) => url.to_string(),
        };
        leaf_hash(text.as_bytes()).to_string()
    }
}

/// Hands checkpoints out until `shutdown`.
pub(crate) async fn run(
    sealing: Sealing,
    destination: Destination,
    metrics: SealMetrics,
    shutdown: CancellationToken,
) {
    let publisher = Publisher { name: destination.name(), sealing, destination, webhook: None };
    shutdown.run_until_cancelled(publisher.publish(metrics)).await;
}

struct Publisher {
    sealing: Sealing,
    destination: Destination,
    name: String,
    /// Made when it is needed.
    webhook: Option<Webhook>,
}

impl Publisher {
    async fn publish(mut self, metrics: SealMetrics) {
        let mut backoff = Backoff::up_to(LONGEST_DELAY);
        loop {
            let handed_out = self.next_page(&metrics, &mut backoff).await;
            match handed_out {
                Ok(0) => sleep(LOOK).await,
                Ok(_) => {}
                Err(error) => {
                    if backoff.is_new() {
                        warn!(error = %format_args!("{error:#}"), "a checkpoint can't be handed out, trying again");
                    }
                    backoff.wait().await;
                }
            }
        }
    }

    /// Gives the number of checkpoints.
    async fn next_page(
        &mut self,
        metrics: &SealMetrics,
        backoff: &mut Backoff,
    ) -> anyhow::Result<usize> {
        let page = self.waiting().await?;
        for signed in &page {
            match &self.destination {
                Destination::File(path) => {
                    let (path, note) = (path.clone(), signed.note.clone());
                    let appended = tokio::task::spawn_blocking(move || file::append(&path, &note));
                    appended.await??;
                }
                Destination::Url(url) => {
                    let webhook = match &mut self.webhook {
                        Some(webhook) => webhook,
                        none => none.insert(Webhook::new()?),
                    };
                    webhook.post(url, &signed.note).await?;
                }
            }
            let Sealing { store, rows, .. } = &self.sealing;
            store.set_published(rows.id(), &self.name, signed.number).await?;
            metrics.published.inc();
            if !backoff.is_new() {
                info!("checkpoints are handed out again");
                *backoff = Backoff::up_to(LONGEST_DELAY);
            }
        }
        Ok(page.len())
    }

    async fn waiting(&self) -> Result<Vec<Signed>, Error> {
        let Sealing { store, rows, .. } = &self.sealing;
        let log = rows.id();
        let latest = store.latest(log).await?;
        let last = latest.as_ref().map_or(0, |latest| latest.number);
        match store.published(log, &self.name).await? {
            Some(number) if number <= last => store.after(log, number, PAGE).await,
            // None yet, or more than there are, which is nothing that was noted here.
            _ => Ok(latest.into_iter().collect()),
        }
    }
}

#[cfg(test)]
mod tests;
