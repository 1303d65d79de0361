//! The push reactor: turns events into frames for the gateways.
//!
//! It keeps no checkpoint: it starts where the journal ends, under a new epoch, and gateways fill
//! what lies between from the views.

use std::pin::pin;
use std::sync::Arc;

use anyhow::Context;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug_span, info};
use verbatim_bus::Bus;
use verbatim_domain::conversation::{ConversationKind, MessageSent};
use verbatim_domain::erasure::SubjectErased;
use verbatim_domain::{
    ConversationEvent, ErasureEvent, Event, InboxEvent, KeyId, Personal, UserId,
};
use verbatim_keys::{Keys, Vault};
use verbatim_protocol::client::Message;
use verbatim_protocol::{
    Erased, Frame, JournalId, List, MessagePush, Push, Recorded, Refresh, StreamCursor, Timestamp,
};

use crate::members::{Conversation, Memberships};
use crate::metrics::PushMetrics;
use crate::retry::until_available;
use crate::tail::Tail;
use crate::{Ports, Settings};

/// Publishes frames until `shutdown`.
///
/// # Errors
/// Journal or views are corrupt.
pub(crate) async fn run(
    ports: Ports,
    settings: Arc<Settings>,
    metrics: PushMetrics,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    shutdown.run_until_cancelled(push(ports, settings, metrics)).await.unwrap_or(Ok(()))
}

async fn push(ports: Ports, settings: Arc<Settings>, metrics: PushMetrics) -> anyhow::Result<()> {
    let epoch = until_available("state.next_epoch", || ports.state.next_epoch("push"))
        .await
        .context("taking an epoch")?;
    let mut tail = Tail::from_head(&ports, &settings).await?;
    info!(epoch, position = tail.position(), "pushing");
    let mut publisher = Publisher {
        memberships: Memberships::new(
            ports.views.clone(),
            settings.cached_members,
            tail.position(),
        ),
        bus: ports.bus.clone(),
        keys: ports.keys.clone(),
        journal: ports.journal.id(),
        epoch,
        to: tail.position(),
        frame_bytes: settings.frame_bytes,
        metrics,
    };
    publisher.heartbeat();
    loop {
        let batch = {
            // Waited for to its end, so that a heartbeat never cuts a slow read short.
            let mut next = pin!(tail.next());
            loop {
                tokio::select! {
                    biased;
                    batch = &mut next => break batch?,
                    () = sleep(settings.heartbeat) => publisher.heartbeat(),
                }
            }
        };
        publisher.push(&batch).await?;
        publisher.metrics.lag_events.set(tail.head().saturating_sub(publisher.to) as i64);
    }
}

struct Publisher {
    memberships: Memberships,
    bus: Arc<dyn Bus>,
    keys: Arc<Vault>,
    journal: JournalId,
    epoch: u64,
    /// The last position that is in a frame.
    to: u64,
    frame_bytes: usize,
    metrics: PushMetrics,
}

impl Publisher {
    /// Publishes what follows from a batch, in as many frames as its size asks for.
    async fn push(&mut self, batch: &[Arc<Recorded>]) -> anyhow::Result<()> {
        let (Some(first), Some(last)) = (batch.first(), batch.last()) else { return Ok(()) };
        self.memberships.prepare(batch).await?;
        let keys = until_available("keys.find", || {
            self.keys.find(batch.iter().filter_map(|recorded| sealed_with(recorded)))
        });
        let keys = keys.await.context("finding the keys of what is pushed")?;
        for erased in batch.iter().filter_map(|recorded| erased(recorded)) {
            // Before gateways hear of it: what they then ask for is gone.
            let SubjectErased { subject_id, keys, .. } = erased;
            until_available("keys.destroy", || self.keys.destroy(subject_id, keys)).await?;
        }
        let _span =
            debug_span!("delivery.push", from = first.position, to = last.position).entered();
        let now = Timestamp::now();
        let mut pushes = Vec::new();
        let mut bytes = 0;
        for recorded in batch {
            if let Some(push) = self.react(recorded, &keys)? {
                if let Push::Message(message) = &push {
                    bytes += size(message);
                    let delay = now.0.saturating_sub(recorded.recorded_at.0).max(0);
                    self.metrics.delay_seconds.observe(delay as f64 / 1_000.0);
                    self.metrics.messages.inc();
                }
                pushes.push(push);
            }
            if bytes >= self.frame_bytes {
                self.publish_through(recorded.position, std::mem::take(&mut pushes));
                bytes = 0;
            }
        }
        if self.to < last.position {
            self.publish_through(last.position, pushes);
        }
        Ok(())
    }

    /// What gateways are to tell their sockets because of one event.
    fn react(&mut self, recorded: &Recorded, keys: &Keys) -> anyhow::Result<Option<Push>> {
        let position = recorded.position;
        let refresh = |list, user_id| Push::Refresh(Refresh { position, list, user_id });
        let conversation = self.memberships.follow(recorded)?;
        let push = match (&recorded.event, conversation) {
            (Event::Conversation(ConversationEvent::MessageSent(sent)), Some(conversation))
                if sent.imported.is_none() =>
            {
                Push::Message(message(self.journal, recorded, sent, conversation, keys)?)
            }
            (Event::Conversation(ConversationEvent::MemberJoined(joined)), Some(conversation))
                if conversation.kind == ConversationKind::Group =>
            {
                refresh(List::Conversations, joined.member_id.clone())
            }
            (Event::Conversation(ConversationEvent::ConversationRead(read)), _) => {
                refresh(List::Conversations, read.reader_id.clone())
            }
            (Event::Inbox(InboxEvent::NotificationRead(_)), _) => {
                refresh(List::Notifications, inbox_owner(recorded)?)
            }
            (Event::Erasures(ErasureEvent::SubjectErased(erased)), _) => {
                Push::Erased(Erased { position, user_id: erased.subject_id.clone() })
            }
            _ => return Ok(None),
        };
        Ok(Some(push))
    }

    fn publish_through(&mut self, to: u64, pushes: Vec<Push>) {
        let from = self.to + 1;
        self.to = to;
        self.publish_frame(from, pushes);
    }

    /// Tells gateways how far the pushes have come.
    fn heartbeat(&self) {
        self.publish_frame(self.to + 1, Vec::new());
    }

    fn publish_frame(&self, from: u64, pushes: Vec<Push>) {
        self.metrics.frames.inc();
        self.bus.publish_frame(Arc::new(Frame { epoch: self.epoch, from, to: self.to, pushes }));
    }
}

/// The user whose inbox an event is about.
pub(crate) fn inbox_owner(recorded: &Recorded) -> anyhow::Result<UserId> {
    let id = &recorded.stream.aggregate_id;
    id.parse().with_context(|| format!("position {}: inbox {id:?}", recorded.position))
}

fn erased(recorded: &Recorded) -> Option<&SubjectErased> {
    match &recorded.event {
        Event::Erasures(ErasureEvent::SubjectErased(erased)) => Some(erased),
        _ => None,
    }
}

/// The key that an event's content is sealed with.
fn sealed_with(recorded: &Recorded) -> Option<KeyId> {
    match &recorded.event {
        Event::Conversation(ConversationEvent::MessageSent(MessageSent {
            personal: Personal::Sealed(sealed),
            ..
        })) => Some(sealed.key),
        _ => None,
    }
}

fn message(
    journal: JournalId,
    recorded: &Recorded,
    sent: &MessageSent,
    conversation: &mut Conversation,
    keys: &Keys,
) -> anyhow::Result<MessagePush> {
    let position = recorded.position;
    let id = conversation.id.clone();
    let mut message = Message::new(id.clone(), sent.clone(), recorded.recorded_at);
    keys.open(&mut message);
    message.cursor = Some(StreamCursor { journal, position }.to_string());
    let json = serde_json::to_string(&message).context("writing a message as JSON")?;
    Ok(MessagePush {
        position,
        message_id: sent.message_id,
        conversation_id: id,
        sender_id: sent.sender_id.clone(),
        recipients: conversation.members(),
        message: json.into(),
    })
}

/// About how many bytes a push takes on its way.
fn size(push: &MessagePush) -> usize {
    const RECIPIENT: usize = 32;
    push.message.len() + push.recipients.len() * RECIPIENT
}

#[cfg(test)]
mod tests;
