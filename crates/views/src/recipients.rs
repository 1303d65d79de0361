//! Who receives a message, and whose messages somebody receives.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_domain::UserId;

use crate::{Error, Member, StreamMessage};

/// Finds the members at a message's time. Messages with the same ones share them.
pub(crate) struct Recipients {
    /// By conversation, each in the order in which they joined.
    members: HashMap<u64, Vec<Member>>,
    latest: HashMap<u64, Arc<[UserId]>>,
}

impl Recipients {
    pub(crate) fn new(members: HashMap<u64, Vec<Member>>) -> Self {
        Self { members, latest: HashMap::new() }
    }

    pub(crate) fn at(&mut self, conversation: u64, position: u64) -> Arc<[UserId]> {
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
