//! Keeping the lanes: leases are renewed beside the loop, which must never hold that up.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use uuid::Uuid;
use verbatim_journal::{Claim, Lanes, Ownership};

use crate::Settings;

/// After a renewal that failed, the next is tried this soon.
const TRY_AGAIN: Duration = Duration::from_millis(500);

/// How long lanes may take to be given up at the end. Without it the next owner waits for the lease.
const LAST_RELEASE: Duration = Duration::from_secs(1);

/// Keeps this worker's lanes.
pub(crate) struct Owner {
    lanes: Arc<dyn Lanes>,
    news: watch::Receiver<Ownership>,
    renewing: JoinHandle<()>,
}

impl Owner {
    pub(crate) fn new(lanes: Arc<dyn Lanes>, settings: &Settings) -> Self {
        let (tell, news) = watch::channel(Ownership { owned: Vec::new(), surplus: 0 });
        let renewing =
            tokio::spawn(renew(Arc::clone(&lanes), settings.lease, settings.renew_every, tell));
        Self { lanes, news, renewing }
    }

    /// Waits for news of what this worker owns. Safe to cancel.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Ownership> {
        self.news.changed().await.context("leases are no longer renewed")?;
        Ok(self.news.borrow_and_update().clone())
    }

    /// Gives lanes up, beside the loop: if that fails, their leases run out.
    pub(crate) fn release(&self, claims: Vec<Claim>) {
        let lanes = Arc::clone(&self.lanes);
        tokio::spawn(async move { release(&*lanes, &claims).await });
    }

    pub(crate) fn lanes(&self) -> Arc<dyn Lanes> {
        Arc::clone(&self.lanes)
    }

    /// Gives all lanes up at the end.
    pub(crate) async fn end(self, claims: &[Claim]) {
        // Else a renewal that is under way could take them again.
        self.renewing.abort();
        let _ = self.renewing.await;
        release(&*self.lanes, claims).await;
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
    tell: watch::Sender<Ownership>,
) {
    let worker = Uuid::now_v7();
    let mut failed = false;
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !tell.is_closed() {
        match lanes.renew(worker, lease).await {
            Ok(ownership) => {
                if failed {
                    tracing::info!("leases are renewed again");
                }
                failed = false;
                tell.send_replace(ownership);
                beat.tick().await;
            }
            Err(error) => {
                if !failed {
                    tracing::warn!(%error, "leases can't be renewed");
                }
                failed = true;
                sleep(TRY_AGAIN).await;
            }
        }
    }
}
