//! Messages: sent, read back, and what became of them.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::conversation::{self, Author, PersonalMessage};
use verbatim_domain::{ConversationId, MessageId, UserId};
use verbatim_protocol::client::{DEFAULT_PAGE, Message, More, Unreadable};
use verbatim_protocol::{CommandKey, ErrorCode, Failure};
use verbatim_views::{MessageRange, PageRequest};

use super::encryption::{self, Draft};
use super::payload::{MessageGet, MessageSend, parse, refused};
use super::reading::views_failure;
use super::{Answer, Caller, Core, ISSUER, Summary};

/// The command is on its way when this returns.
pub(super) fn send(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let send: MessageSend = parse(payload)?;
    send.check(&core.settings.limits)?;
    let command_id = Uuid::now_v7();
    // A client's key counts under its user, one made up here under the gateway's name, so that
    // nobody can choose a key that another will get.
    let key = match &send.client_message_id {
        Some(id) => CommandKey { issuer: caller.user_id.as_str().into(), key: id.as_str().into() },
        None => CommandKey { issuer: ISSUER.into(), key: command_id.to_string().into() },
    };
    let attachments = send.attachments.unwrap_or_default();
    let said = PersonalMessage {
        content: send.content,
        attachments: attachments.into_iter().map(Into::into).collect(),
        email: caller.email.clone(),
    };
    let draft = Draft {
        command_id,
        key,
        conversation: send.conversation_id,
        message_id: MessageId(Uuid::now_v7()),
        author: Author { user_id: caller.user_id.clone(), role: caller.role.clone() },
        target: send.target_user_id.clone(),
        client_message_id: send.client_message_id,
    };
    let target_user_id = send.target_user_id;
    let outcome = encryption::send(core, draft, said);
    let core = Arc::clone(core);
    Ok(async move {
        let (reply, said) = outcome.await;
        let committed = reply?;
        let Some(message) = committed.message else {
            tracing::error!(position = committed.position, "a send was answered without a message");
            return Err(Failure::internal());
        };
        let mut message = Message::new(message.conversation_id, message.sent, message.recorded_at);
        if committed.duplicate {
            message = original(&core, message, &said).await?;
        } else {
            message.sealed = None;
            message.say(said);
        }
        let summary = Summary {
            count: None,
            message_id: Some(message.id),
            conversation_id: Some(message.conversation_id.clone()),
            target_user_id,
        };
        Ok(Answer::made(message, committed.duplicate).with(summary))
    })
}

/// What was said the first time, if it is the same as now.
async fn original(
    core: &Core,
    message: Message,
    said: &PersonalMessage,
) -> Result<Message, Failure> {
    let mut opened = [message];
    core.open(&mut opened).await?;
    let [message] = opened;
    match message.unreadable {
        Some(Unreadable::Erased) => {
            Err(Failure::new(ErrorCode::NotFound, "The message was erased"))
        }
        Some(Unreadable::KeyMissing) => Err(Failure::internal()),
        None if (&message.content, &message.attachments) == (&said.content, &said.attachments) => {
            Ok(message)
        }
        None => Err(Failure::new(
            ErrorCode::IdempotencyConflict,
            "This clientMessageId was used for something else",
        )),
    }
}

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let get: MessageGet = parse(payload)?;
    get.check()?;
    let id = get.conversation_id;
    let range = MessageRange {
        before: get.before,
        after: get.after,
        around: get.around,
        page: PageRequest { cursor: get.cursor, limit: get.limit.unwrap_or(DEFAULT_PAGE) },
    };
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        core.caught_up().await?;
        require_member(&core, &id, &caller.user_id).await?;
        let found = core.ports.views.messages(&id, &range).await;
        let mut found = found.map_err(|error| views_failure(&error))?;
        core.open(&mut found.data).await?;
        let summary = Summary {
            count: Some(found.data.len()),
            conversation_id: Some(id),
            ..Summary::default()
        };
        Ok(Answer::new(found.data, More { next_cursor: found.next_cursor }).with(summary))
    })
}

pub(super) fn deliveries(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    message_id: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let id: MessageId = message_id
        .unwrap_or_default()
        .parse()
        .map_err(|_| refused("messageId", "must be a UUID"))?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        core.caught_up().await?;
        let found = core.ports.views.deliveries(id).await;
        let found = found.map_err(|error| views_failure(&error))?;
        let Some((conversation_id, deliveries)) = found else {
            return Err(Failure::new(ErrorCode::NotFound, "Message not found"));
        };
        require_member(&core, &conversation_id, &caller.user_id).await?;
        let count = deliveries.len();
        Ok(Answer::new(deliveries, More { next_cursor: None }).counting(count))
    })
}

async fn require_member(core: &Core, id: &ConversationId, user: &UserId) -> Result<(), Failure> {
    let member = core.ports.views.is_member(id, user).await;
    match member.map_err(|error| views_failure(&error))? {
        Some(true) => Ok(()),
        Some(false) => Err(conversation::Error::NotAMember.into()),
        None => Err(conversation::Error::NotFound.into()),
    }
}
