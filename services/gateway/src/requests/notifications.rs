//! What a user was notified of.

use std::future::Future;
use std::sync::Arc;

use verbatim_domain::inbox::{ReadNotifications, ReadScope};
use verbatim_domain::{InboxCommand, UserId};
use verbatim_protocol::client::{More, NoExtra, Unread};
use verbatim_protocol::{Command, ErrorCode, Failure};
use verbatim_views::PageRequest;

use super::payload::{NotificationGet, NotificationRead, parse};
use super::reading::{self, views_failure};
use super::{Answer, Caller, Core};

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let get: NotificationGet = parse(payload)?;
    get.check()?;
    let page = reading::page(get.cursor, get.limit, get.unread_only.is_some());
    let unread_only = get.unread_only.unwrap_or_default();
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move { list(&core, &caller.user_id, unread_only, page).await })
}

pub(super) async fn list(
    core: &Core,
    user: &UserId,
    unread_only: bool,
    page: PageRequest,
) -> Result<Answer, Failure> {
    core.caught_up().await?;
    let found = core.ports.views.notifications(user, unread_only, &page).await;
    let mut found = found.map_err(|error| views_failure(&error))?;
    core.open(&mut found.data).await?;
    let count = found.data.len();
    Ok(Answer::new(found.data, More { next_cursor: found.next_cursor }).counting(count))
}

pub(super) fn read(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let ids = parse::<NotificationRead>(payload)?.check()?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let user = &caller.user_id;
        let scope = match ids {
            None => ReadScope::All,
            Some(ids) => {
                core.caught_up().await?;
                let foreign = core.ports.views.foreign_notifications(user, &ids).await;
                let foreign = foreign.map_err(|error| views_failure(&error))?;
                if !foreign.is_empty() {
                    let foreign: Vec<_> = foreign.iter().map(ToString::to_string).collect();
                    let failure = Failure::new(ErrorCode::NotFound, "Notification not found");
                    return Err(failure.detail("ids", foreign));
                }
                ReadScope::Ids(ids)
            }
        };
        let command = InboxCommand::ReadNotifications(ReadNotifications { scope });
        let read = core.send(Command::Inbox { user: user.clone(), command }).await?;
        core.reached(read.position).await?;
        let unread_count = core.ports.views.unread_notifications(user).await;
        let unread_count = unread_count.map_err(|error| views_failure(&error))?;
        let answer = Answer::new(Unread { unread_count }, NoExtra {});
        Ok(Answer { duplicate: read.duplicate, ..answer })
    })
}
