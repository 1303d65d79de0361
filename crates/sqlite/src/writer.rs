//! The one connection that writes to a file, on a thread of its own.
//!
//! Work on it is a closure, which runs there from beginning to end: whatever becomes of the caller,
//! no transaction is cut off, and none waits for its turn between two statements.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use rusqlite::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

use crate::folding::Folding;

/// Pieces of work that wait; the next waits for room.
const QUEUE: usize = 256;

type Work = Box<dyn FnOnce(&mut Connection, &mut Folding) + Send>;

/// The work was not done, or its result is lost: the file is closed, or the work panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the file is closed")]
pub struct Closed;

#[derive(Debug)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Work>,
    ended: oneshot::Receiver<Result<(), Error>>,
}

/// A place in the queue.
pub struct Place<'w>(mpsc::Permit<'w, Work>);

impl Place<'_> {
    /// Has this done, after all that was put into the queue before.
    pub fn run(self, work: impl FnOnce(&mut Connection) + Send + 'static) {
        self.0.send(Box::new(|connection, _| work(connection)));
    }
}

impl Writer {
    pub fn start(connection: Connection, folding: Folding) -> std::io::Result<Self> {
        let (queue, work) = mpsc::channel(QUEUE);
        let (end, ended) = oneshot::channel();
        thread::Builder::new().name("sqlite-writer".to_owned()).spawn(move || {
            // Nobody may be left to hear of it.
            drop(end.send(run(connection, folding, work)));
        })?;
        Ok(Self { queue, ended })
    }

    pub async fn place(&self) -> Result<Place<'_>, Closed> {
        self.queue.reserve().await.map(Place).map_err(|_| Closed)
    }

    pub async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, Closed> {
        let (reply, result) = oneshot::channel();
        // Whoever no longer waits has dropped the other end.
        self.place().await?.run(move |connection| drop(reply.send(work(connection))));
        result.await.map_err(|_| Closed)
    }

    /// Has the log folded in and emptied; false if a reader needs it.
    pub async fn empty_log(&self) -> Result<Result<bool, Error>, Closed> {
        let (reply, result) = oneshot::channel();
        let empty: Work =
            Box::new(move |connection, folding| drop(reply.send(folding.empty(connection))));
        self.queue.send(empty).await.map_err(|_| Closed)?;
        result.await.map_err(|_| Closed)
    }

    /// Does what waits, and closes the connection.
    pub async fn end(self) -> Result<(), Error> {
        drop(self.queue);
        self.ended.await.unwrap_or(Ok(()))
    }
}

fn run(
    mut connection: Connection,
    mut folding: Folding,
    mut queue: mpsc::Receiver<Work>,
) -> Result<(), Error> {
    while let Some(work) = queue.blocking_recv() {
        if catch_unwind(AssertUnwindSafe(|| work(&mut connection, &mut folding))).is_err() {
            tracing::error!("work on a file has panicked");
        }
        folding.go_on(&connection);
    }
    let file = folding.end(&connection);
    let closed = connection.close().map_err(|(_, error)| error);
    drop(file);
    closed
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use rusqlite::TransactionBehavior;

    use super::*;

    fn start() -> Writer {
        let connection = Connection::open_in_memory().expect("a database");
        connection.execute_batch("create table t (n integer unique)").expect("a table");
        let reader = Connection::open_in_memory().expect("a database");
        let folding =
            Folding::new(&connection, reader, Arc::new(|| Ok(())), Duration::from_hours(1));
        Writer::start(connection, folding.expect("its log")).expect("a thread")
    }

    async fn count(writer: &Writer) -> i64 {
        let count = |connection: &mut Connection| {
            connection.query_row("select count(*) from t", [], |row| row.get(0))
        };
        writer.write(count).await.expect("done").expect("a count")
    }

    #[tokio::test]
    async fn work_goes_on_after_sqlite_has_rolled_back_by_itself() {
        let writer = start();
        let refused = writer.write(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("insert or rollback into t values (1), (1)", [])?;
            transaction.commit()
        });
        refused.await.expect("done").expect_err("not unique");
        let stored = writer.write(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute("insert into t values (2)", [])?;
            transaction.commit()
        });
        stored.await.expect("done").expect("committed");
        assert_eq!(count(&writer).await, 1);
        writer.end().await.expect("closed");
    }

    #[tokio::test]
    async fn work_that_panics_leaves_nothing_and_the_next_is_done() {
        let writer = start();
        let panicked = writer.write(|connection| {
            let transaction = connection.transaction().expect("a transaction");
            transaction.execute("insert into t values (1)", []).expect("a row");
            panic!("as it should");
        });
        assert_eq!(panicked.await, Err::<(), _>(Closed));
        assert_eq!(count(&writer).await, 0);
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_nothing_back() {
        let writer = start();
        {
            let write =
                writer.write(|connection| connection.execute("insert into t values (1)", []));
            let mut write = std::pin::pin!(write);
            let polled = std::future::poll_fn(|context| {
                std::task::Poll::Ready(write.as_mut().poll(context).is_ready())
            });
            polled.await;
        }
        assert_eq!(count(&writer).await, 1);
    }
}
