//! Keeping the lanes: leases are renewed beside the loop, which must never hold that up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use verbatim_journal::{Claim, Lanes, Ownership};

use crate::Settings;

/// After a renewal that failed, the next is tried this soon.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How long lanes may take to be given up at the end. Without it the next owner waits for the lease.
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// A lease is about to end, or lanes to be given up: no need to look more often.
const LOOK_AT_MOST_EVERY: Duration = Duration::from_millis(100);

/// Keeps this worker's lanes.
pub(crate) struct Owner {
    lanes: Arc<dyn Lanes>,
    news: watch::Receiver<Option<Ownership>>,
    stop: CancellationToken,
    releases: JoinSet<()>,
}

impl Owner {
    pub(crate) fn new(lanes: Arc<dyn Lanes>, settings: &Settings) -> Self {
        let (tell, news) = watch::channel(None);
        let stop = CancellationToken::new();
        tokio::spawn(renew(
            Arc::clone(&lanes),
            settings.lease,
            settings.renew_every,
            tell,
            stop.clone(),
        ));
        Self { lanes, news, stop, releases: JoinSet::new() }
    }

    /// Waits for news of what this worker owns. `None` once leases are no longer renewed: nothing
    /// that wasn't told will be this worker's. Safe to cancel.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<Ownership>> {
        match self.news.changed().await {
            Ok(()) => Ok(self.news.borrow_and_update().clone()),
            Err(_) if self.stop.is_cancelled() => Ok(None),
            Err(error) => Err(error).context("leases are no longer renewed"),
        }
    }

    /// Renews no more.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// Gives lanes up, beside the loop: if that fails, their leases run out.
    pub(crate) fn release(&mut self, claims: Vec<Claim>) {
        while self.releases.try_join_next().is_some() {}
        let lanes = Arc::clone(&self.lanes);
        self.releases.spawn(async move { release(&*lanes, &claims).await });
    }

    pub(crate) fn lanes(&self) -> Arc<dyn Lanes> {
        Arc::clone(&self.lanes)
    }

    /// Waits until all that was given up is free.
    pub(crate) async fn end(&mut self) {
        while self.releases.join_next().await.is_some() {}
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn release(lanes: &dyn Lanes, claims: &[Claim]) {
    match timeout(LAST_RELEASE, lanes.release(claims)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "lanes are not given up before their lease ends"),
        Err(_) => tracing::warn!("lanes are not given up before their lease ends"),
    }
}

async fn renew(
    lanes: Arc<dyn Lanes>,
    lease: Duration,
    every: Duration,
    tell: watch::Sender<Option<Ownership>>,
    stop: CancellationToken,
) {
    let worker = Uuid::now_v7();
    let mut failed = false;
    while !stop.is_cancelled() {
        // Not to be interrupted: it might take lanes all the same.
        let pause = match lanes.renew(worker, lease).await {
            Ok(ownership) => {
                if failed {
                    tracing::info!("leases are renewed again");
                }
                failed = false;
                let look_in = ownership.look_in.max(LOOK_AT_MOST_EVERY);
                tell.send_replace(Some(ownership));
                every.min(look_in)
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "leases can't be renewed");
                }
                failed = true;
                TRY_AGAIN
            }
        };
        stop.run_until_cancelled(sleep(pause)).await;
    }
}
