//! Who receives a message.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_domain::UserId;
use verbatim_protocol::{MessagePush, Push};

use crate::rows::MembersByKey;
use crate::{Error, StreamMessage};

/// The keys of the conversations that these messages are of.
pub(crate) fn conversations(messages: &[(u64, StreamMessage)]) -> Vec<u64> {
    let mut keys: Vec<_> = messages.iter().map(|(key, _)| *key).collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// The first `limit` pushes of messages, behind the keys of their conversations, and refreshes, in the
/// order of the log.
pub(crate) fn pushes(
    messages: Vec<(u64, StreamMessage)>,
    refreshes: Vec<Push>,
    members: MembersByKey,
    limit: u32,
) -> Result<Vec<Push>, Error> {
    let mut recipients = Recipients { members, latest: HashMap::new() };
    let mut pushes = refreshes;
    for (key, StreamMessage { position, message }) in messages {
        let json =
            serde_json::to_string(&message).map_err(|error| Error::Unavailable(Box::new(error)))?;
        pushes.push(Push::Message(MessagePush {
            position,
            message_id: message.id,
            conversation_id: message.conversation_id,
            sender_id: message.sender_id,
            recipients: recipients.at(key, position),
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
