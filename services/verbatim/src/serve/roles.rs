//! The services that run in this process, from their start to their end.

use std::time::Duration;

use anyhow::{Context, anyhow};
use futures::FutureExt;
use futures::future::select_all;
use tokio::task::{JoinError, JoinHandle};
use tokio_util::sync::CancellationToken;

use super::Signals;

/// Services, in the order in which they end.
#[derive(Default)]
pub struct Roles(Vec<Role>);

struct Role {
    name: &'static str,
    task: JoinHandle<anyhow::Result<()>>,
    end: CancellationToken,
    /// How long it may take to end.
    limit: Duration,
}

impl Roles {
    /// Starts a service, which is to end when its token says so.
    pub fn start<F>(
        &mut self,
        name: &'static str,
        limit: Duration,
        service: impl FnOnce(CancellationToken) -> F,
    ) where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let end = CancellationToken::new();
        // Boxed: the runtime's part is compiled anew for each type of task.
        let task = tokio::spawn(service(end.clone()).boxed());
        self.0.push(Role { name, task, end, limit });
    }

    /// Waits for a signal, or for a service that ends by itself, and ends all in their order. A second
    /// signal ends the process at once.
    ///
    /// # Errors
    /// The first failure of a service.
    pub async fn run(mut self, mut signals: Signals) -> anyhow::Result<()> {
        let mut ended = tokio::select! {
            () = signals.next() => Ok(()),
            (result, index, _) = select_all(self.0.iter_mut().map(|role| &mut role.task)) => {
                let role = self.0.remove(index);
                Err(unexpected(role.name, result))
            }
        };
        tracing::info!("shutting down");
        tokio::spawn(async move {
            signals.next().await;
            std::process::exit(130);
        });
        for Role { name, task, end, limit } in self.0 {
            end.cancel();
            let result = match tokio::time::timeout(limit, task).await {
                Ok(Ok(result)) => result.with_context(|| format!("the {name} service failed")),
                Ok(Err(error)) => Err(anyhow!("the {name} service failed: {error}")),
                Err(_) => Err(anyhow!("the {name} service did not end within {limit:?}")),
            };
            if let Err(error) = result {
                tracing::error!(error = %format_args!("{error:#}"), "not ended cleanly");
                ended = ended.and(Err(error));
            }
        }
        if ended.is_ok() {
            tracing::info!("ended");
        }
        ended
    }
}

fn unexpected(name: &str, result: Result<anyhow::Result<()>, JoinError>) -> anyhow::Error {
    let error = match result {
        Ok(Ok(())) => anyhow!("the {name} service ended by itself"),
        Ok(Err(error)) => error.context(format!("the {name} service failed")),
        Err(error) => anyhow!("the {name} service failed: {error}"),
    };
    tracing::error!(error = %format_args!("{error:#}"), "ending");
    error
}
