//! The one task of a process that appends: it hands all that waits to the database in one call.

use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;
use verbatim_postgres::Database;

use super::Failed;
use super::group::{self, Request};
use crate::{Appended, Error};

/// Past this many events, or bytes of payloads, no more requests are taken into a call. One request
/// always is.
const EVENTS_IN_A_CALL: usize = 4_096;
const BYTES_IN_A_CALL: usize = 4 << 20;

type Reply<T> = oneshot::Sender<Result<T, Error>>;

pub(super) enum Work {
    Append {
        request: Request,
        reply: Reply<Vec<Appended>>,
    },
    /// Commits a mark, to show that it can be done. Told how many lanes nobody alive owns.
    Check {
        reply: Reply<i64>,
    },
    /// Takes in no more, and ends once all that waits is done.
    Close,
}

/// What goes into one call.
#[derive(Default)]
struct Group {
    requests: Vec<Request>,
    replies: Vec<Reply<Vec<Appended>>>,
    checks: Vec<Reply<i64>>,
    events: usize,
    bytes: usize,
    closes: bool,
}

impl Group {
    fn add(&mut self, work: Work) {
        match work {
            Work::Append { request, reply } => {
                self.events += request.events();
                self.bytes += request.bytes();
                self.requests.push(request);
                self.replies.push(reply);
            }
            Work::Check { reply } => self.checks.push(reply),
            Work::Close => self.closes = true,
        }
    }

    fn is_full(&self) -> bool {
        self.events >= EVENTS_IN_A_CALL || self.bytes >= BYTES_IN_A_CALL
    }
}

pub(super) struct Writer {
    database: Database,
}

impl Writer {
    pub(super) fn new(database: Database) -> Self {
        Self { database }
    }

    /// Commits what is handed in, in that order, until the queue is closed and empty.
    pub(super) async fn run(self, mut queue: mpsc::Receiver<Work>) {
        while let Some(first) = queue.recv().await {
            let mut group = Group::default();
            group.add(first);
            while !group.is_full()
                && let Ok(work) = queue.try_recv()
            {
                group.add(work);
            }
            if group.closes {
                queue.close();
            }
            let (requests, events) = (group.requests.len(), group.events);
            let span = tracing::debug_span!("journal.append", requests, events);
            if let Err(failed) = self.settle(group).instrument(span).await
                && failed.is_away()
            {
                // What has waited for this call has waited long enough, and would for the next.
                let mut waiting = Group::default();
                while let Ok(work) = queue.try_recv() {
                    waiting.add(work);
                }
                if waiting.closes {
                    queue.close();
                }
                fail(waiting.replies, &failed);
                fail(waiting.checks, &failed);
            }
        }
    }

    /// Answers everyone in the group. Whoever no longer waits has dropped the other end; the outcome
    /// stands.
    async fn settle(&self, group: Group) -> Result<(), Failed> {
        let Group { requests, replies, checks, .. } = group;
        if !requests.is_empty() {
            match self.append(requests).await {
                Ok(outcomes) => {
                    for (reply, outcome) in replies.into_iter().zip(outcomes) {
                        drop(reply.send(outcome.map_err(Error::from)));
                    }
                }
                Err(failed) => {
                    tracing::error!(%failed, "an append to the journal failed");
                    fail(replies, &failed);
                    fail(checks, &failed);
                    return Err(failed);
                }
            }
        }
        if !checks.is_empty() {
            match self.check().await {
                Ok(orphans) => {
                    for reply in checks {
                        drop(reply.send(Ok(orphans)));
                    }
                }
                Err(failed) => {
                    tracing::error!(%failed, "nothing can be committed to the journal");
                    fail(checks, &failed);
                    return Err(failed);
                }
            }
        }
        Ok(())
    }

    async fn append(
        &self,
        requests: Vec<Request>,
    ) -> Result<Vec<Result<Vec<Appended>, Failed>>, Failed> {
        let (requests, rows) = self
            .database
            .run(|connection| {
                Box::pin(async move {
                    let rows = group::append(connection, &requests).await?;
                    Ok((requests, rows))
                })
            })
            .await?;
        group::outcomes(requests, &rows)
    }

    async fn check(&self) -> Result<i64, Failed> {
        Ok(self
            .database
            .run(|connection| {
                let sql = "select journal.check_writable()";
                Box::pin(sqlx::query_scalar(sql).fetch_one(connection))
            })
            .await?)
    }
}

fn fail<T>(replies: Vec<Reply<T>>, failed: &Failed) {
    for reply in replies {
        drop(reply.send(Err(failed.clone().into())));
    }
}
