//! The adapter's tasks: named, ended together, and heard of when one panics.

use std::panic::AssertUnwindSafe;

use futures::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub(super) struct Tasks {
    runtime: Handle,
    shutdown: CancellationToken,
    failed: watch::Sender<Option<&'static str>>,
}

impl Tasks {
    /// Of the runtime that calls.
    pub(super) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            shutdown: CancellationToken::new(),
            failed: watch::Sender::new(None),
        }
    }

    /// Runs until the adapter ends. A panic ends the adapter.
    pub(super) fn spawn(
        &self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let (shutdown, failed) = (self.shutdown.clone(), self.failed.clone());
        // One type for all tasks: the runtime's part is compiled anew for each.
        let task = task.boxed();
        self.runtime.spawn(async move {
            tokio::select! {
                () = shutdown.cancelled() => {}
                ended = AssertUnwindSafe(task).catch_unwind() => if ended.is_err() {
                    tracing::error!(task = name, "a task of the bus panicked");
                    failed.send_replace(Some(name));
                    shutdown.cancel();
                }
            }
        });
    }

    /// Runs once the adapter ends.
    pub(super) fn at_end(&self, task: impl FnOnce() + Send + 'static) {
        let shutdown = self.shutdown.clone();
        self.runtime.spawn(async move {
            shutdown.cancelled().await;
            task();
        });
    }

    pub(super) fn end(&self) {
        self.shutdown.cancel();
    }

    /// The name of a task that panicked, once one did.
    pub(super) async fn failed(&self) -> &'static str {
        let mut failed = self.failed.subscribe();
        loop {
            if let Some(name) = *failed.borrow_and_update() {
                return name;
            }
            if failed.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_heard_of_and_ends_the_others() {
        let tasks = Tasks::new();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn("other", async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        tasks.spawn("bad", async { panic!("as a test") });
        assert_eq!(tasks.failed().await, "bad");
        assert!(ended.await.is_err());
    }
}
