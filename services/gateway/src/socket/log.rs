//! The log lines that operators grep for: the wire contract's words and fields, one function a
//! line. Never a token, never a message's text.

use std::borrow::Cow;
use std::fmt::Display;

use serde::Deserialize;
use serde::de::IgnoredAny;
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::ErrorCode;

use super::session::Session;
use crate::auth::Rejection;
use crate::requests::{Caller, Kind, Summary};

const TARGET: &str = "verbatim::socket";

macro_rules! line {
    ($socket:expr, $($rest:tt)*) => {
        tracing::info!(target: TARGET, socket = $socket, $($rest)*)
    };
}

/// Whether lines are written at all.
pub(crate) fn enabled() -> bool {
    tracing::enabled!(target: TARGET, tracing::Level::INFO)
}

pub(super) fn connection_established(socket: &str, caller: &Caller) {
    line!(
        socket,
        userId = caller.user_id.as_str(),
        email = caller.email.as_deref(),
        role = caller.role,
        "New connection established"
    );
}

pub(super) fn user_connected(socket: &str, caller: &Caller, total: usize) {
    line!(socket, userId = caller.user_id.as_str(), totalConnections = total, "User connected");
}

pub(super) fn disconnected(session: &Session, reason: &str) {
    line!(&*session.id, userId = session.user().as_str(), reason, "Disconnected");
}

pub(super) fn authentication_failed(socket: &str, rejection: Rejection) {
    line!(socket, "Authentication failed: {rejection}");
}

pub(super) fn too_many_connections(socket: &str, caller: &Caller) {
    line!(socket, userId = caller.user_id.as_str(), "Too many connections");
}

/// What of a payload is told.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Told<'a> {
    #[serde(borrow)]
    target_user_id: Text<'a>,
    #[serde(borrow)]
    conversation_id: Text<'a>,
}

/// A text, if it is one.
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Text<'a> {
    Some(#[serde(borrow)] Cow<'a, str>),
    #[default]
    #[serde(skip)]
    None,
    Other(IgnoredAny),
}

impl Text<'_> {
    fn get(&self) -> Option<&str> {
        match self {
            // Nothing is told of what is no id: it could be anything.
            Self::Some(text) => text.parse::<UserId>().is_ok().then_some(&**text),
            Self::None | Self::Other(_) => None,
        }
    }
}

/// `<event> received`.
pub(super) fn received(session: &Session, kind: Kind, payload: Option<&str>) {
    if !enabled() {
        return;
    }
    let told: Told<'_> = match kind {
        Kind::NotificationGet | Kind::NotificationRead | Kind::ConnectionGet => None,
        _ => payload.and_then(|payload| serde_json::from_str(payload).ok()),
    }
    .unwrap_or_default();
    line!(
        &*session.id,
        userId = session.user().as_str(),
        targetUserId = told.target_user_id.get(),
        conversationId = told.conversation_id.get(),
        "{} received",
        kind.as_str()
    );
}

/// `<answering event> sent`, for an answer with or without an ack.
pub(super) fn answered(session: &Session, kind: Kind, summary: &Summary) {
    if !enabled() {
        return;
    }
    let socket = &*session.id;
    let user = session.user().as_str();
    let event = kind.answering_event();
    let Some(count) = summary.count else {
        let conversation = summary.conversation_id.as_ref().map(ConversationId::as_str);
        return line!(socket, userId = user, conversationId = conversation, "{event} sent");
    };
    match event {
        "notification:receive" => {
            line!(socket, userId = user, notificationCount = count, "{event} sent");
        }
        "connection:receive" => {
            line!(socket, userId = user, connectionCount = count, "{event} sent");
        }
        "conversation:receive" => {
            line!(socket, userId = user, conversationCount = count, "{event} sent");
        }
        _ => line!(socket, userId = user, messageCount = count, "{event} sent"),
    }
}

/// `message:receive sent`, to one socket.
pub(crate) fn message_sent(session: &Session, target: Option<&UserId>, message: MessageId) {
    line!(
        &*session.id,
        userId = session.user().as_str(),
        targetUserId = target.map(UserId::as_str),
        messageId = message.to_string(),
        "message:receive sent"
    );
}

/// A whole list was sent, unasked.
pub(crate) fn list_sent(session: &Session, event: &str) {
    line!(&*session.id, userId = session.user().as_str(), "{event} sent");
}

pub(super) fn send_failed(session: &Session, details: &dyn Display) {
    line!(&*session.id, "Error sending message: {details}");
}

pub(super) fn refused(session: &Session, kind: Kind, code: ErrorCode) {
    let (user, code) = (session.user().as_str(), code.as_str());
    line!(&*session.id, userId = user, code, "{} refused", kind.as_str());
}

pub(super) fn target_not_connected(session: &Session) {
    line!(&*session.id, "Target user not connected, message stored in database");
}

/// An event that the contract doesn't have.
pub(super) fn ignored(session: &Session) {
    tracing::debug!(
        target: TARGET,
        socket = &*session.id,
        userId = session.user().as_str(),
        "Unknown event ignored"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(payload: &str) -> (Option<String>, Option<String>) {
        let told: Told<'_> = serde_json::from_str(payload).unwrap_or_default();
        let get = |text: &Text<'_>| text.get().map(str::to_owned);
        (get(&told.target_user_id), get(&told.conversation_id))
    }

    #[test]
    fn only_ids_are_told_of_a_payload() {
        let payload = r#"{"conversationId":"c","targetUserId":"t","content":"secret"}"#;
        assert_eq!(told(payload), (Some("t".to_owned()), Some("c".to_owned())));
        assert_eq!(told(r#"{"conversationId":7,"targetUserId":{"a":[]}}"#), (None, None));
        assert_eq!(told(r#"{"conversationId":"any text","targetUserId":"t\n"}"#), (None, None));
        assert_eq!(told("[]"), (None, None));
    }
}
