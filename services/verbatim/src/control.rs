//! How `verbatim backup`, `erase`, `keys` and `rebuild` reach a running server: a Unix socket in the data
//! folder, which only the folder's owner can open. One request a connection, in JSON lines; the
//! answer is lines of progress and of what was found, and then the outcome.

use std::fs::{self, Permissions};
use std::future::Future;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use verbatim_domain::UserId;
use verbatim_views::Difference;

use crate::refusal::bad_store;

/// What a running server can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "request")]
pub enum Request {
    Backup { out: PathBuf },
    BackupKeys { out: PathBuf },
    Erase { user: UserId },
    Rebuild,
    Check,
}

/// What it says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "say")]
pub enum Answer {
    Progress { done: u64, of: u64 },
    Difference { text: String },
    Done { message: String },
    Failed { message: String },
}

/// A request is one short line, and comes at once.
const MAX_REQUEST_BYTES: u64 = 8 * 1024;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a line may take to be heard. Until then the work stands still, and may hold what others
/// need.
const HEARING_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests that are worked on at once.
const MAX_REQUESTS: usize = 4;

/// Opens the socket; one that an ended process left behind is replaced. Call with the folder's lock
/// held.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error).with_context(|| format!("cannot remove {}", path.display()));
        }
        _ => {}
    }
    let listener =
        UnixListener::bind(path).with_context(|| format!("cannot listen on {}", path.display()))?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers requests until the shutdown.
pub async fn serve<H, F>(listener: UnixListener, handle: H, shutdown: CancellationToken)
where
    H: Fn(Request, Answering) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = anyhow::Result<String>> + Send + 'static,
{
    let permits = Arc::new(Semaphore::new(MAX_REQUESTS));
    loop {
        let stream = tokio::select! {
            () = shutdown.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept an admin's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        let (handle, shutdown) = (handle.clone(), shutdown.clone());
        let answering = async move {
            let _permit = permit;
            tokio::select! {
                () = shutdown.cancelled() => {}
                result = answer(stream, handle) => if let Err(error) = result {
                    tracing::debug!(%error, "an admin's connection ended early");
                },
            }
        };
        tokio::spawn(answering.boxed());
    }
}

/// Where a request's progress goes.
pub struct Answering(mpsc::Sender<Answer>);

impl Answering {
    /// Tells how far the work is; skipped when nobody listens fast enough.
    pub fn progress(&self, done: u64, of: u64) {
        let _ = self.0.try_send(Answer::Progress { done, of });
    }

    /// Tells of differences, as fast as they are heard; gives their number.
    pub async fn differences(&self, mut found: mpsc::Receiver<Difference>) -> u64 {
        let mut differences = 0;
        while let Some(difference) = found.recv().await {
            let text = difference.to_string();
            let _ = self.0.send(Answer::Difference { text }).await;
            differences += 1;
        }
        differences
    }
}

async fn answer<H, F>(stream: UnixStream, handle: H) -> anyhow::Result<()>
where
    H: Fn(Request, Answering) -> F,
    F: Future<Output = anyhow::Result<String>> + Send + 'static,
{
    use tokio::io::AsyncReadExt;
    let (reading, mut writing) = stream.into_split();
    let mut line = String::new();
    let mut reading = BufReader::new(reading.take(MAX_REQUEST_BYTES));
    timeout(REQUEST_TIMEOUT, reading.read_line(&mut line)).await??;
    let request = match serde_json::from_str::<Request>(&line) {
        Ok(request) => request,
        Err(error) => {
            return say(&mut writing, &Answer::Failed { message: error.to_string() }).await;
        }
    };
    let (sender, mut receiver) = mpsc::channel(16);
    let work = handle(request, Answering(sender));
    tokio::pin!(work);
    let outcome = loop {
        tokio::select! {
            outcome = &mut work => break outcome,
            Some(progress) = receiver.recv() => say(&mut writing, &progress).await?,
        }
    };
    while let Ok(told) = receiver.try_recv() {
        say(&mut writing, &told).await?;
    }
    let last = match outcome {
        Ok(message) => Answer::Done { message },
        Err(error) => Answer::Failed { message: format!("{error:#}") },
    };
    say(&mut writing, &last).await
}

async fn say(stream: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> anyhow::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    Ok(timeout(HEARING_TIMEOUT, stream.write_all(&line)).await.context("nobody listens")??)
}

/// What is told before the last word.
pub enum Told {
    Progress { done: u64, of: u64 },
    Difference(String),
}

/// Asks the running server, passing on what it tells; gives its last word.
pub async fn ask(
    socket: &Path,
    request: &Request,
    mut told: impl FnMut(Told),
) -> anyhow::Result<String> {
    let connected = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "the data folder is in use, but its process can't be reached at {}",
            socket.display()
        )
    });
    let stream = connected.map_err(bad_store)?;
    let (reading, mut writing) = stream.into_split();
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    writing.write_all(&line).await?;
    let mut lines = BufReader::new(reading).lines();
    while let Some(line) = lines.next_line().await? {
        match serde_json::from_str(&line)? {
            Answer::Progress { done, of } => told(Told::Progress { done, of }),
            Answer::Difference { text } => told(Told::Difference(text)),
            Answer::Done { message } => return Ok(message),
            Answer::Failed { message } => bail!(message),
        }
    }
    bail!("the server ended before it was done")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_found_last_is_told_before_the_last_word() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("control");
        let listener = listen(&socket).expect("a socket");
        let handle = async |_, answering: Answering| {
            for n in 0..3 {
                let text = n.to_string();
                answering.0.try_send(Answer::Difference { text }).expect("there is room");
            }
            Ok("done".to_owned())
        };
        let handle = move |request, answering| handle(request, answering).boxed();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, handle, stop.clone()));
        let mut told = Vec::new();
        let last = ask(&socket, &Request::Check, |what| {
            if let Told::Difference(text) = what {
                told.push(text);
            }
        });
        assert_eq!(last.await.expect("an answer"), "done");
        assert_eq!(told, ["0", "1", "2"]);
        stop.cancel();
        serving.await.expect("no panic");
    }
}
