//! The offline reactor: has a notification made for each message and recipient without a socket.
//!
//! Who has no socket when a message comes is notified at once. Who has one is watched, because the
//! push may not arrive (a half-open connection): the watch ends when the delivered mark passes what
//! was pushed, and when the last socket goes before that, what is above the mark is notified then.
//!
//! It knows who is connected, so it is also what samples how many are.
//!
//! Invariants kept here:
//! - the checkpoint passes an event only once all its commands are settled, and watches are stored
//!   with it; so after a crash everything is decided again, and the commands' keys make it once;
//! - a watch ends only once what it was for has been delivered or notified;
//! - nothing here waits in the way of pushes: the reactor has its own task and tail.

mod departures;
mod ledger;
mod notify;
mod presence;
mod reactor;
mod sampler;
mod watches;

use std::sync::Arc;

use anyhow::Context;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::info;
use verbatim_domain::{ConversationEvent, Event, InboxEvent, UserId};
use verbatim_protocol::Recorded;

use crate::members::Memberships;
use crate::metrics::OfflineMetrics;
use crate::push::inbox_owner;
use crate::retry::until_available;
use crate::tail::{Tail, journal_head};
use crate::{Ports, Settings};
use notify::Subject;
use reactor::Reactor;

/// The reactor's name in the state store.
const NAME: &str = "offline";

/// Has notifications made until `shutdown`.
///
/// # Errors
/// Journal or views are corrupt.
pub(crate) async fn run(
    ports: Ports,
    settings: Arc<Settings>,
    metrics: OfflineMetrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let opening = open(&ports);
    let Some(opened) = shutdown.run_until_cancelled(opening).await else { return Ok(()) };
    let start = opened?;
    info!(checkpoint = start.checkpoint, watches = start.watches.len(), "noting who is offline");
    let tail = Tail::new(&ports, &settings, start.checkpoint);
    let memberships =
        Memberships::new(ports.views.clone(), settings.cached_members, start.checkpoint);
    let (sender, batches) = mpsc::channel(1);
    let reactor = Reactor::new(ports, settings, metrics, start);
    tokio::select! {
        ended = read(tail, memberships, sender) => ended,
        ended = reactor.run(batches, &shutdown) => ended,
    }
}

/// Where the reactor goes on.
struct Start {
    checkpoint: u64,
    watches: Vec<(UserId, u64)>,
    /// The journal's head: what is above it comes in this life.
    head: u64,
}

async fn open(ports: &Ports) -> anyhow::Result<Start> {
    let state = &ports.state;
    let head = journal_head(&*ports.journal).await?;
    let stored = until_available("state.checkpoint", || state.checkpoint(NAME))
        .await
        .context("loading the checkpoint")?;
    let Some(checkpoint) = stored else {
        // Stored at once: a crash must not move the first start past events that it was to see.
        until_available("state.save", || state.save(NAME, head, &[])).await?;
        return Ok(Start { checkpoint: head, watches: Vec::new(), head });
    };
    let watches = until_available("state.watches", || state.watches(NAME))
        .await
        .context("loading the watches")?;
    Ok(Start { checkpoint, watches, head })
}

/// What an event asks of the reactor.
enum Matter {
    Message { subject: Subject, members: Arc<[UserId]> },
    Delivered { user: UserId, through: u64 },
}

/// What a batch of events asks for, by position.
struct Batch {
    matters: Vec<(u64, Matter)>,
    /// The batch's last position.
    to: u64,
    /// The highest position known to be committed.
    head: u64,
}

/// Reads events, and finds out whom they concern.
async fn read(
    mut tail: Tail,
    mut memberships: Memberships,
    reactor: mpsc::Sender<Batch>,
) -> anyhow::Result<()> {
    loop {
        let batch = tail.next().await?;
        memberships.prepare(&batch).await?;
        let mut matters = Vec::new();
        for recorded in &batch {
            if let Some(matter) = matter(recorded, &mut memberships)? {
                matters.push((recorded.position, matter));
            }
        }
        let asked = Batch { matters, to: tail.position(), head: tail.head() };
        if reactor.send(asked).await.is_err() {
            return Ok(());
        }
    }
}

fn matter(recorded: &Recorded, memberships: &mut Memberships) -> anyhow::Result<Option<Matter>> {
    let conversation = memberships.follow(recorded)?;
    Ok(match (&recorded.event, conversation) {
        // What was said elsewhere is history.
        (Event::Conversation(ConversationEvent::MessageSent(sent)), Some(conversation))
            if sent.imported.is_none() =>
        {
            let subject = Subject {
                position: recorded.position,
                message_id: sent.message_id,
                conversation_id: conversation.id.clone(),
                sender_id: sent.sender_id.clone(),
            };
            Some(Matter::Message { subject, members: conversation.members() })
        }
        (Event::Inbox(InboxEvent::DeliveryAdvanced(advanced)), _) => {
            Some(Matter::Delivered { user: inbox_owner(recorded)?, through: advanced.through })
        }
        _ => None,
    })
}

#[cfg(test)]
mod tests;
