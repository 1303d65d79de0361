//! A user's stream: every message of every conversation of theirs, in log order.

use std::future::Future;
use std::sync::Arc;

use verbatim_protocol::client::{Acknowledged, DEFAULT_PAGE, Message, More, NoExtra};
use verbatim_protocol::cursor::BadCursor;
use verbatim_protocol::{ErrorCode, Failure, StreamCursor};

use super::acks::acknowledge;
use super::payload::{StreamAck, StreamGet, parse, refused};
use super::reading::{journal_failure, views_failure};
use super::{Answer, Caller, Core};

pub(super) fn get(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let get: StreamGet = parse(payload)?;
    get.check()?;
    let journal = core.ports.journal.id();
    let after = match &get.cursor {
        Some(cursor) => StreamCursor::parse(cursor, journal).map_err(|_| expired())?,
        None => 0,
    };
    let limit = get.limit.unwrap_or(DEFAULT_PAGE) as usize;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let head = core.caught_up().await?;
        if after > head {
            return Err(expired());
        }
        // One more than the page holds tells whether there is another.
        let more = limit as u32 + 1;
        let found = core.ports.views.stream(&caller.user_id, after, head, more).await;
        let mut found = found.map_err(|error| views_failure(&error))?;
        let whole = found.len() <= limit;
        found.truncate(limit);
        core.open(found.iter_mut().map(|found| &mut found.message)).await?;
        let messages: Vec<Message> = found
            .into_iter()
            .map(|found| {
                let cursor = StreamCursor { journal, position: found.position };
                Message { cursor: Some(cursor.to_string()), ..found.message }
            })
            .collect();
        let last = messages.last().and_then(|message| message.cursor.clone());
        let next_cursor = if whole { None } else { last };
        let count = messages.len();
        Ok(Answer::new(messages, More { next_cursor }).counting(count))
    })
}

pub(super) fn ack(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    let ack: StreamAck = parse(payload)?;
    let through = match StreamCursor::parse(&ack.cursor, core.ports.journal.id()) {
        Ok(position) => position,
        Err(BadCursor::OtherJournal) => return Err(expired()),
        Err(BadCursor::Malformed) => {
            return Err(refused("cursor", "must be one that the stream delivered"));
        }
    };
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let head = core.ports.journal.head().await.map_err(|error| journal_failure(&error))?;
        if through > head {
            return Err(refused("cursor", "must be one that the stream delivered"));
        }
        acknowledge(&core, &caller.user_id, through).await?;
        Ok(Answer::new(Acknowledged { cursor: ack.cursor }, NoExtra {}))
    })
}

fn expired() -> Failure {
    Failure::new(ErrorCode::CursorExpired, "The cursor doesn't belong to this log")
}
