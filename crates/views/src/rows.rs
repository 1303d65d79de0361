//! Rows as the port has them, whichever database they come from: every statement gives the columns
//! of a thing in the same order.

use std::collections::HashMap;
use std::str::FromStr;

use uuid::Uuid;
use verbatim_domain::conversation::{Attachment, ConversationKind};
use verbatim_domain::{
    Ciphertext, ConversationId, KeyId, MessageId, NotificationId, Sealed, UserId,
};
use verbatim_protocol::client::{
    Conversation, Delivery, DeliveryStatus, Message, Notification, NotificationKind, SenderInfo,
    SenderKind,
};
use verbatim_protocol::{Erased, List, Push, Refresh, Timestamp};

use crate::{Error, Member, Members, StreamMessage};

/// A row's columns, by number. What can't be read is [`Error::Corrupt`].
pub(crate) trait Columns {
    fn integer(&self, index: usize) -> Result<Option<i64>, Error>;

    /// An id, or a word of ours.
    fn word(&self, index: usize) -> Result<Option<&str>, Error>;

    /// What somebody wrote.
    fn written(&self, index: usize) -> Result<Option<String>, Error>;

    fn bytes(&self, index: usize) -> Result<Option<&[u8]>, Error>;

    /// The beginning of what somebody wrote, as a notification shows it.
    fn excerpt(&self, index: usize) -> Result<String, Error>;
}

fn there<T>(value: Option<T>, index: usize) -> Result<T, Error> {
    value.ok_or_else(|| Error::Corrupt(format!("column {index} is null")))
}

/// A column that is never negative.
pub(crate) fn number(row: &impl Columns, index: usize) -> Result<u64, Error> {
    let value = there(row.integer(index)?, index)?;
    u64::try_from(value).map_err(|_| Error::Corrupt(format!("column {index} holds {value}")))
}

pub(crate) fn word(row: &impl Columns, index: usize) -> Result<&str, Error> {
    there(row.word(index)?, index)
}

pub(crate) fn parsed<T>(row: &impl Columns, index: usize) -> Result<T, Error>
where
    T: FromStr<Err: std::fmt::Display>,
{
    let parsed = word(row, index)?.parse();
    parsed.map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

pub(crate) fn uuid(row: &impl Columns, index: usize) -> Result<Uuid, Error> {
    Uuid::from_slice(there(row.bytes(index)?, index)?)
        .map_err(|error| Error::Corrupt(format!("column {index}: {error}")))
}

fn text(row: &impl Columns, index: usize) -> Result<String, Error> {
    there(row.written(index)?, index)
}

fn time(row: &impl Columns, index: usize) -> Result<Timestamp, Error> {
    there(row.integer(index)?, index).map(Timestamp)
}

/// What is sealed, if anything: the key's 16 bytes and what follows.
fn sealed(row: &impl Columns, index: usize) -> Result<Option<Sealed>, Error> {
    let Some(bytes) = row.bytes(index)? else { return Ok(None) };
    let (key, sealed) = bytes
        .split_first_chunk()
        .ok_or_else(|| Error::Corrupt(format!("column {index} is too short")))?;
    let key = KeyId(Uuid::from_bytes(*key));
    Ok(Some(Sealed { key, sealed: Ciphertext(sealed.to_vec()) }))
}

/// A message to be pushed behind its conversation's key, which is the column after the message's own.
pub(crate) fn pushed(row: &impl Columns) -> Result<(u64, StreamMessage), Error> {
    Ok((number(row, 12)?, message(row, 0)?))
}

/// A message, from its twelve columns, from `first` on.
pub(crate) fn message(row: &impl Columns, first: usize) -> Result<StreamMessage, Error> {
    let sender_id: UserId = parsed(row, first + 4)?;
    let role = text(row, first + 5)?;
    let unreadable = |what: &dyn std::fmt::Display| Error::Corrupt(format!("a message: {what}"));
    let client_message_id = row.written(first + 10)?.map(|id| id.parse()).transpose();
    Ok(StreamMessage {
        position: number(row, first)?,
        message: Message {
            id: MessageId(uuid(row, first + 1)?),
            conversation_id: parsed(row, first + 2)?,
            sender: SenderKind::of_role(&role),
            sender_id: sender_id.clone(),
            content: text(row, first + 7)?,
            attachments: row
                .word(first + 8)?
                .map_or(Ok(Vec::new()), serde_json::from_str::<Vec<Attachment>>)
                .map_err(|error| unreadable(&error))?,
            sender_info: SenderInfo { user_id: sender_id, email: row.written(first + 9)?, role },
            created_at: time(row, first + 6)?,
            sequence: number(row, first + 3)?,
            cursor: None,
            client_message_id: client_message_id.map_err(|error| unreadable(&error))?,
            unreadable: None,
            sealed: sealed(row, first + 11)?,
        },
    })
}

/// The members of conversations, by key, each in the order in which they joined.
pub(crate) type MembersByKey = HashMap<u64, Vec<Member>>;

/// A conversation's key and one of its members, from its three columns.
pub(crate) fn member(row: &impl Columns) -> Result<(u64, Member), Error> {
    Ok((number(row, 0)?, Member { user_id: parsed(row, 1)?, joined_position: number(row, 2)? }))
}

pub(crate) fn by_key(members: Vec<(u64, Member)>) -> MembersByKey {
    let mut by_key = MembersByKey::new();
    for (key, member) in members {
        by_key.entry(key).or_default().push(member);
    }
    by_key
}

/// Conversations' members by their ids, the conversations as keys, ids and kinds.
pub(crate) fn with_kinds(
    kinds: Vec<(u64, ConversationId, ConversationKind)>,
    mut members: MembersByKey,
) -> HashMap<ConversationId, Members> {
    let with =
        |(key, id, kind)| (id, Members { kind, members: members.remove(&key).unwrap_or_default() });
    kinds.into_iter().map(with).collect()
}

/// A conversation whose members are yet to be added.
pub(crate) struct Listed {
    pub key: u64,
    pub last_position: u64,
    conversation: Conversation,
}

impl Listed {
    pub fn with(self, members: &MembersByKey) -> Conversation {
        let members = members.get(&self.key).map_or(&[][..], Vec::as_slice);
        let member_ids = members.iter().map(|member| member.user_id.clone()).collect();
        Conversation { member_ids, ..self.conversation }
    }
}

/// A conversation, from its nine columns and those of its last message.
pub(crate) fn conversation(row: &impl Columns) -> Result<Listed, Error> {
    let last = row.integer(9)?;
    let conversation = Conversation {
        id: parsed(row, 1)?,
        kind: kind(word(row, 2)?)?,
        title: row.written(3)?,
        member_ids: Vec::new(),
        created_by: parsed(row, 4)?,
        last_message: last.map(|_| message(row, 9)).transpose()?.map(|last| last.message),
        unread_count: number(row, 8)?,
        created_at: time(row, 5)?,
        updated_at: time(row, 6)?,
    };
    Ok(Listed { key: number(row, 0)?, last_position: number(row, 7)?, conversation })
}

pub(crate) fn kind(name: &str) -> Result<ConversationKind, Error> {
    [ConversationKind::Direct, ConversationKind::Group]
        .into_iter()
        .find(|kind| kind.as_str() == name)
        .ok_or_else(|| Error::Corrupt(format!("a conversation of kind {name:?}")))
}

/// A notification behind its position.
pub(crate) fn notification(
    row: &impl Columns,
    user: &UserId,
) -> Result<(u64, Notification), Error> {
    let read_at = row.integer(3)?;
    let sender_id: UserId = parsed(row, 6)?;
    let notification = Notification {
        id: NotificationId(uuid(row, 1)?),
        user_id: user.clone(),
        kind: NotificationKind::Message,
        conversation_id: parsed(row, 4)?,
        message_id: MessageId(uuid(row, 5)?),
        sender_id: sender_id.clone(),
        sender_info: SenderInfo { user_id: sender_id, email: row.written(8)?, role: text(row, 7)? },
        content: row.excerpt(9)?,
        is_read: read_at.is_some(),
        read_at: read_at.map(Timestamp),
        created_at: time(row, 2)?,
        unreadable: None,
        sealed: sealed(row, 10)?,
    };
    Ok((number(row, 0)?, notification))
}

pub(crate) fn delivery(row: &impl Columns) -> Result<Delivery, Error> {
    let (status, updated_at) = match (row.integer(1)?, row.integer(2)?) {
        (Some(at), _) => (DeliveryStatus::Delivered, Timestamp(at)),
        (None, Some(at)) => (DeliveryStatus::Offline, Timestamp(at)),
        (None, None) => (DeliveryStatus::Pending, time(row, 3)?),
    };
    Ok(Delivery { user_id: parsed(row, 0)?, status, updated_at })
}

/// What was pushed to a user, or about one, that is no message.
pub(crate) fn refresh(row: &impl Columns) -> Result<Push, Error> {
    let (position, user_id) = (number(row, 0)?, parsed(row, 2)?);
    let list = match word(row, 1)? {
        "conversations" => List::Conversations,
        "notifications" => List::Notifications,
        "erased" => return Ok(Push::Erased(Erased { position, user_id })),
        other => return Err(Error::Corrupt(format!("a push of the list {other:?}"))),
    };
    Ok(Push::Refresh(Refresh { position, list, user_id }))
}

/// A position as a column holds it; greater ones than any are the greatest.
pub(crate) fn signed(position: u64) -> i64 {
    i64::try_from(position).unwrap_or(i64::MAX)
}
