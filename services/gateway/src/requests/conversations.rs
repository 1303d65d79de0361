//! Who talks with whom, and how far each has read.

use std::future::Future;
use std::sync::Arc;

use uuid::Uuid;
use verbatim_domain::conversation::{CreateGroup, MarkRead};
use verbatim_domain::{ConversationCommand, ConversationId, UserId};
use verbatim_protocol::client::{Conversation, More, NoExtra, Unread};
use verbatim_protocol::{Command, Failure};
use verbatim_views::PageRequest;

use super::payload::{ConversationCreate, ConversationGet, ConversationRead, parse};
use super::reading::{self, views_failure};
use super::{Answer, Caller, Core, Summary, encryption};

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let get: ConversationGet = parse(payload)?;
    get.check()?;
    let page = reading::page(get.cursor, get.limit, false);
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move { list(&core, &caller.user_id, page).await })
}

pub(super) async fn list(core: &Core, user: &UserId, page: PageRequest) -> Result<Answer, Failure> {
    core.caught_up().await?;
    let found = core.ports.views.conversations(user, &page).await;
    let mut found = found.map_err(|error| views_failure(&error))?;
    core.open(&mut found.data).await?;
    let count = found.data.len();
    Ok(Answer::new(found.data, More { next_cursor: found.next_cursor }).counting(count))
}

pub(super) fn create(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let create: ConversationCreate = parse(payload)?;
    create.check()?;
    let id = create.conversation_id.unwrap_or_else(|| {
        format!("conv_{}", Uuid::now_v7()).parse().expect("a prefix and a UUID are an id")
    });
    let command = ConversationCommand::CreateGroup(CreateGroup {
        creator: caller.user_id.clone(),
        members: create.member_ids.into_iter().collect(),
        title: create.title,
    });
    let command = Command::Conversation { id: id.clone(), command };
    let created = encryption::send_behind(core, &caller.user_id, command);
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let created = created.await?;
        let conversation = as_of(&core, &caller.user_id, &id, created.position).await?;
        Ok(Answer::made(conversation, created.duplicate)
            .with(Summary { conversation_id: Some(id), ..Summary::default() }))
    })
}

pub(super) fn read(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let read: ConversationRead = parse(payload)?;
    read.check()?;
    let command = ConversationCommand::MarkRead(MarkRead {
        reader: caller.user_id.clone(),
        through: read.sequence,
    });
    let id = read.conversation_id;
    let command = Command::Conversation { id: id.clone(), command };
    let read = encryption::send_behind(core, &caller.user_id, command);
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let read = read.await?;
        let conversation = as_of(&core, &caller.user_id, &id, read.position).await?;
        let unread = Unread { unread_count: conversation.unread_count };
        let answer = Answer::new(unread, NoExtra {})
            .with(Summary { conversation_id: Some(id), ..Summary::default() });
        Ok(Answer { duplicate: read.duplicate, ..answer })
    })
}

/// The conversation once the views show `position`, of which the caller is known to be a member.
async fn as_of(
    core: &Core,
    reader: &UserId,
    id: &ConversationId,
    position: u64,
) -> Result<Conversation, Failure> {
    core.reached(position).await?;
    let found = core.ports.views.conversation(reader, id).await;
    let mut found = found.map_err(|error| views_failure(&error))?;
    core.open(&mut found).await?;
    found.ok_or_else(|| {
        tracing::error!(conversation = %id, position, "the views lack a conversation");
        Failure::internal()
    })
}
