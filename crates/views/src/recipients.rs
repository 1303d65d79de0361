//! Who receives a message, and whose messages somebody receives.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_domain::UserId;
use verbatim_protocol::{MessagePush, Push};

use crate::rows::{self, Columns, MembersByKey};
use crate::{Error, StreamMessage};

/// The column after a message's own, in what is pushed: its conversation's key.
const KEY: usize = 12;

/// The keys of the conversations that these messages are of.
pub(crate) fn conversations(messages: &[impl Columns]) -> Result<Vec<u64>, Error> {
    let keys: Result<Vec<_>, _> = messages.iter().map(|row| rows::number(row, KEY)).collect();
    let mut keys = keys?;
    keys.sort_unstable();
    keys.dedup();
    Ok(keys)
}

/// The first `limit` pushes of messages and refreshes, in the order of the log.
pub(crate) fn pushes(
    messages: &[impl Columns],
    refreshes: &[impl Columns],
    members: MembersByKey,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let mut recipients = Recipients { members, latest: HashMap::new() };
    let mut pushes = Vec::with_capacity(messages.len() + refreshes.len());
    for row in refreshes {
        pushes.push(rows::refresh(row)?);
    }
    for row in messages {
        let StreamMessage { position, message } = rows::message(row, 0)?;
        let json =
            serde_json::to_string(&message).map_err(|error| Error::Unavailable(Box::new(error)))?;
        pushes.push(Push::Message(MessagePush {
            position,
            message_id: message.id,
            conversation_id: message.conversation_id,
            sender_id: message.sender_id,
            recipients: recipients.at(rows::number(row, KEY)?, position),
            message: json.into(),
        }));
    }
    pushes.sort_unstable_by_key(Push::position);
    pushes.truncate(limit as usize);
    Ok(pushes)
}

/// Finds the members at a message's time. Messages with the same ones share them.
struct Recipients {
    members: MembersByKey,
    latest: HashMap<u64, Arc<[UserId]>>,
}

impl Recipients {
    fn at(&mut self, conversation: u64, position: u64) -> Arc<[UserId]> {
        let members = self.members.get(&conversation).map_or(&[][..], Vec::as_slice);
        let count = members.partition_point(|member| member.joined_position < position);
        let latest = self.latest.entry(conversation).or_default();
        if latest.len() != count {
            *latest = members[..count].iter().map(|member| member.user_id.clone()).collect();
        }
        Arc::clone(latest)
    }
}

/// Pages through a user's stream until there are enough messages of others.
pub(crate) async fn of_others<F>(
    user: &UserId,
    mut after: u64,
    limit: u32,
    page: impl Fn(u64, u32) -> F,
) -> Result<Vec<StreamMessage>, Error>
where
    F: Future<Output = Result<Vec<StreamMessage>, Error>>,
{
    let limit = limit as usize;
    let size = limit.max(100);
    let mut messages = Vec::new();
    loop {
        let found = page(after, size as u32).await?;
        let last = found.last().map(|found| found.position);
        let full = found.len() == size;
        messages.extend(found.into_iter().filter(|found| found.message.sender_id != *user));
        match last {
            Some(last) if full && messages.len() < limit => after = last,
            _ => break,
        }
    }
    messages.truncate(limit);
    Ok(messages)
}
