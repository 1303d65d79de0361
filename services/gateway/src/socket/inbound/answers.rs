//! What clients are told of their requests.

use std::sync::Arc;

use tokio::sync::oneshot;
use verbatim_protocol::{ErrorCode, Failure, List};

use super::Asker;
use crate::requests::{Answer, Kind, failure_envelope};
use crate::socket::outbound::Packet;
use crate::socket::{Session, log};

/// Tells the client what became of a request that has a place. If the answer has to wait, the place
/// is to be kept until it has left.
#[must_use]
pub(super) fn settle(
    session: &Arc<Session>,
    asker: Asker,
    outcome: Result<Answer, Failure>,
) -> Option<oneshot::Receiver<()>> {
    match outcome {
        Ok(answer) => answered(session, asker, &answer),
        Err(failure) => {
            let left = session.answer(refusal(asker, &failure));
            refused(session, asker, &failure);
            left
        }
    }
}

/// Tells the client that a request has no place. A flood of these counts as what is sent unasked.
pub(super) fn refuse(session: &Arc<Session>, asker: Asker, failure: &Failure) {
    session.send(refusal(asker, failure));
    refused(session, asker, failure);
}

fn answered(
    session: &Arc<Session>,
    Asker { kind, ack }: Asker,
    answer: &Answer,
) -> Option<oneshot::Receiver<()>> {
    if kind == Kind::StreamAck {
        session.acknowledges();
    }
    let body = Arc::clone(&answer.body);
    let told = tells(kind, answer);
    let left = match ack {
        Some(id) => session.answer(Packet::Ack { id, body }),
        None if told => session.answer(Packet::event(kind.answering_event(), body)),
        None => None,
    };
    // What changed nothing brings no push; the list is due all the same.
    match kind {
        Kind::NotificationRead if answer.duplicate => {
            session.sockets.delivery.refresh(session.user(), List::Notifications);
        }
        Kind::ConversationRead if answer.duplicate => {
            session.sockets.delivery.refresh(session.user(), List::Conversations);
        }
        _ => {}
    }
    if kind == Kind::MessageSend {
        let target = answer.summary.target_user_id.as_ref();
        // Of a repeated send nothing is stored.
        if log::enabled()
            && !answer.duplicate
            && target.is_some_and(|target| !session.sockets.presence.is_connected(target))
        {
            log::target_not_connected(session);
        }
    } else if ack.is_some() || told {
        log::answered(session, kind, &answer.summary);
    }
    left
}

/// Whether an answer is told without an ack. A message comes by the stream, unless it did before;
/// lists that a request changed come as pushes; an acknowledgement needs no answer.
fn tells(kind: Kind, answer: &Answer) -> bool {
    match kind {
        Kind::MessageSend => answer.duplicate,
        Kind::NotificationRead
        | Kind::ConversationCreate
        | Kind::ConversationRead
        | Kind::StreamAck => false,
        _ => true,
    }
}

fn refusal(Asker { kind, ack }: Asker, failure: &Failure) -> Packet {
    let body = failure_envelope(failure);
    match ack {
        Some(id) => Packet::Ack { id, body },
        None => Packet::event(kind.answering_event(), body),
    }
}

/// Logs and counts a refusal.
fn refused(session: &Arc<Session>, Asker { kind, .. }: Asker, failure: &Failure) {
    if kind == Kind::MessageSend {
        log::send_failed(session, failure);
    } else {
        log::refused(session, kind, failure.code);
    }
    let limits = &session.sockets.settings.limits;
    if failure.code == ErrorCode::RateLimited
        && session.inbound.refused(limits.refusals, limits.refusal_window)
    {
        session.disconnect(&Failure::new(ErrorCode::RateLimited, "Too many refused requests"));
    }
}
