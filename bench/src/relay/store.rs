//! What a relay takes that stores each message before it hands it on: one row of the journal's own table
//! in a `SQLite` file, all that wait in one transaction, committed to the disk. No decisions, no views,
//! no retries: the most that a server of one file could do.

use std::path::Path;
use std::sync::mpsc;
use std::thread;

use rusqlite::{Connection, params};
use socketioxide::extract::{AckSender, SocketRef};
use tokio::runtime::Handle;

use super::Send;
use crate::limits::sqlite::{INSERT, SCHEMA};

/// Messages in a transaction, at the most.
const TOGETHER: usize = 1_000;

/// A message that is to be stored, and then to be handed on.
pub struct Waiting {
    pub socket: SocketRef,
    pub sent: Send,
    pub ack: AckSender,
}

/// Stores what it is sent in a new file at `path`, and hands it to `stored`, in its order.
pub fn start(
    path: &Path,
    stored: impl Fn(Waiting) + std::marker::Send + 'static,
) -> anyhow::Result<mpsc::Sender<Waiting>> {
    let mut connection = Connection::open(path)?;
    connection.execute_batch("pragma journal_mode = wal; pragma synchronous = full")?;
    for (_, sql) in SCHEMA {
        connection.execute_batch(sql)?;
    }
    let (sender, waiting) = mpsc::channel::<Waiting>();
    let runtime = Handle::current();
    thread::Builder::new().name("store".to_owned()).spawn(move || -> anyhow::Result<()> {
        let _runtime = runtime.enter();
        let mut position = 0_i64;
        while let Ok(first) = waiting.recv() {
            let batch: Vec<_> =
                [first].into_iter().chain(waiting.try_iter().take(TOGETHER - 1)).collect();
            let transaction = connection.transaction()?;
            let mut insert = transaction.prepare_cached(INSERT)?;
            for Waiting { socket, sent, .. } in &batch {
                position += 1;
                let conversation = &*sent.conversation_id;
                let (content, sid, key) =
                    (&*sent.content, socket.id.as_str(), position.to_string());
                let row = params![
                    position,
                    "conversation",
                    conversation,
                    position,
                    "MessageSent",
                    "1",
                    content,
                    "{}",
                    0,
                    sid,
                    key
                ];
                insert.execute(row)?;
            }
            drop(insert);
            transaction.commit()?;
            batch.into_iter().for_each(&stored);
        }
        Ok(())
    })?;
    Ok(sender)
}
