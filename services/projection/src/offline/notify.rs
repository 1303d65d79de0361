//! Having notifications made.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use futures::future::join_all;
use tracing::error;
use uuid::Uuid;
use verbatim_bus::Bus;
use verbatim_domain::inbox::Notify;
use verbatim_domain::{ConversationId, InboxCommand, MessageId, NotificationId, UserId};
use verbatim_protocol::command::COMMAND_DEADLINE_MS;
use verbatim_protocol::{Command, CommandEnvelope, CommandKey, Timestamp};
use verbatim_views::{StreamMessage, Views};

use super::watches::Watched;
use crate::metrics::OfflineMetrics;
use crate::retry::{Backoff, until_available};

/// Who gives these commands.
const ISSUER: &str = "$offline";

/// How long the views have to catch up before it is logged that they are slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// A message that somebody is to be notified of.
#[derive(Debug, Clone)]
pub(super) struct Subject {
    pub position: u64,
    pub message_id: MessageId,
    pub conversation_id: ConversationId,
    pub sender_id: UserId,
}

impl From<StreamMessage> for Subject {
    fn from(StreamMessage { position, message }: StreamMessage) -> Self {
        Self {
            position,
            message_id: message.id,
            conversation_id: message.conversation_id,
            sender_id: message.sender_id,
        }
    }
}

/// Gives the inboxes their commands.
#[derive(Clone)]
pub(super) struct Notifier {
    bus: Arc<dyn Bus>,
    issuer: Arc<str>,
    metrics: OfflineMetrics,
}

impl Notifier {
    pub fn new(bus: Arc<dyn Bus>, metrics: OfflineMetrics) -> Self {
        Self { bus, issuer: ISSUER.into(), metrics }
    }

    /// Has one user notified of one message, however long it takes. The key makes it once for ever,
    /// and the inbox ignores what has been delivered. What is refused for good is logged.
    pub async fn notify(self, user: UserId, subject: Subject) {
        let key: Arc<str> = format!("{}:{user}", subject.position).into();
        let notify = Notify {
            notification_id: NotificationId(Uuid::now_v7()),
            conversation_id: subject.conversation_id,
            message_id: subject.message_id,
            message_position: subject.position,
            sender_id: subject.sender_id,
        };
        let command = Command::Inbox { user, command: InboxCommand::Notify(notify) };
        let mut backoff = Backoff::default();
        loop {
            let reply = self.bus.send(CommandEnvelope {
                command_id: Uuid::now_v7(),
                key: CommandKey { issuer: self.issuer.clone(), key: key.clone() },
                deadline: Timestamp(Timestamp::now().0 + COMMAND_DEADLINE_MS as i64),
                traceparent: None,
                command: command.clone(),
            });
            match reply.await {
                Ok(_) => {
                    self.metrics.commands_settled.inc();
                    return;
                }
                Err(failure) if failure.retryable => backoff.wait().await,
                Err(failure) => {
                    error!(key = &*key, %failure, "a notification was refused and is left out");
                    self.metrics.commands_rejected.inc();
                    return;
                }
            }
        }
    }
}

/// Has a user, who is gone, notified of what was pushed to them and did not arrive.
///
/// # Errors
/// The views are corrupt.
pub(super) async fn depart(
    views: Arc<dyn Views>,
    notifier: Notifier,
    user: UserId,
    watched: Watched,
    limit: u32,
) -> anyhow::Result<()> {
    let Watched { from, last: through } = watched;
    until_available("views.reached", || views.reached(through, PATIENCE))
        .await
        .context("waiting for the views")?;
    let delivered = until_available("views.delivered_through", || views.delivered_through(&user))
        .await
        .with_context(|| format!("loading the delivered mark of {user}"))?;
    let mut after = delivered.max(from.saturating_sub(1));
    while after < through {
        let messages =
            until_available("views.stream", || views.stream(&user, after, through, limit))
                .await
                .with_context(|| format!("loading the stream of {user}"))?;
        let Some(last) = messages.last() else { break };
        after = last.position;
        let page = messages
            .into_iter()
            .filter(|found| found.message.sender_id != user)
            .map(|message| notifier.clone().notify(user.clone(), message.into()));
        join_all(page).await;
    }
    Ok(())
}
