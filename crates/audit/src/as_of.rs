//! What stood at a position: a conversation is the fold of its stream up to there.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use verbatim_domain::conversation::ConversationKind;
use verbatim_domain::{ConversationEvent, ConversationId, Event, StreamId, UserId};
use verbatim_journal::{Error, Log};
use verbatim_protocol::client::{Message, Unreadable};
use verbatim_protocol::{Recorded, Timestamp};

/// Events that are read at once.
const PAGE: usize = 500;

/// A conversation as it stood, without its messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationAsOf {
    #[serde(rename = "_id")]
    pub id: ConversationId,
    #[serde(rename = "type")]
    pub kind: ConversationKind,
    pub title: Option<String>,
    pub created_by: UserId,
    pub created_at: Timestamp,
    /// The time of the last message, or of the start.
    pub updated_at: Timestamp,
    /// In the order in which they joined.
    pub members: Vec<MemberAsOf>,
    /// How many messages there were; the last one's `sequence`.
    pub message_count: u64,
    /// The `sequence` up to which every member has read because it was brought in from elsewhere.
    #[serde(skip)]
    read_history: u64,
}

/// A member as they stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct MemberAsOf {
    pub user_id: UserId,
    pub joined_at: Timestamp,
    /// The read mark: the highest message `sequence` that they had read. What was brought in from
    /// another system counts as read by all, unless it was asked otherwise.
    pub read_through: u64,
}

/// A conversation as it stood at `position`; `None` if it had not begun.
///
/// # Errors
/// The journal's.
pub async fn conversation_as_of(
    log: &dyn Log,
    id: &ConversationId,
    position: u64,
) -> Result<Option<ConversationAsOf>, Error> {
    let mut history = History::new(log, id, position);
    let mut conversation = None;
    while let Some(page) = history.next().await? {
        for recorded in page {
            apply(&mut conversation, id, &recorded);
        }
    }
    if let Some(conversation) = &mut conversation {
        for member in &mut conversation.members {
            member.read_through = member.read_through.max(conversation.read_history);
        }
    }
    Ok(conversation)
}

fn apply(conversation: &mut Option<ConversationAsOf>, id: &ConversationId, recorded: &Recorded) {
    let at = recorded.happened_at();
    let Event::Conversation(event) = &recorded.event else { return };
    match (event, conversation) {
        (ConversationEvent::ConversationStarted(started), conversation) => {
            *conversation = Some(ConversationAsOf {
                id: id.clone(),
                kind: started.kind,
                title: started.personal.title.clone(),
                created_by: started.created_by.clone(),
                created_at: at,
                updated_at: at,
                members: Vec::new(),
                message_count: 0,
                read_history: 0,
            });
        }
        (ConversationEvent::MemberJoined(joined), Some(conversation)) => {
            let user_id = joined.member_id.clone();
            conversation.members.push(MemberAsOf { user_id, joined_at: at, read_through: 0 });
        }
        (ConversationEvent::MessageSent(sent), Some(conversation)) => {
            conversation.message_count = sent.sequence;
            conversation.updated_at = at;
            if sent.imported.is_some_and(|imported| !imported.unread) {
                conversation.read_history = sent.sequence;
            }
        }
        (ConversationEvent::ConversationRead(read), Some(conversation)) => {
            let members = &mut conversation.members;
            if let Some(reader) = members.iter_mut().find(|member| member.user_id == read.reader_id)
            {
                reader.read_through = read.through;
            }
        }
        // A conversation's stream begins with its start.
        (_, None) => {}
    }
}

/// A conversation's events up to a position, page by page.
pub struct History<'l> {
    log: &'l dyn Log,
    stream: StreamId,
    through: u64,
    /// The stream's sequence that was read last; `None` at the end.
    after: Option<u64>,
}

impl<'l> History<'l> {
    #[must_use]
    pub fn new(log: &'l dyn Log, id: &ConversationId, through: u64) -> Self {
        Self { log, stream: StreamId::conversation(id), through, after: Some(0) }
    }

    /// Goes on after a sequence of the stream, not of a message.
    #[must_use]
    pub fn after(self, sequence: u64) -> Self {
        Self { after: Some(sequence), ..self }
    }

    /// The next page, ascending; `None` at the end.
    ///
    /// # Errors
    /// The journal's.
    pub async fn next(&mut self) -> Result<Option<Vec<Arc<Recorded>>>, Error> {
        let Some(after) = self.after else { return Ok(None) };
        let mut page = self.log.read_stream(&self.stream, after, PAGE).await?;
        let is_last = page.len() < PAGE;
        let within = page.partition_point(|event| event.position <= self.through);
        let is_last = is_last || within < page.len();
        page.truncate(within);
        self.after = page.last().map(|last| last.sequence).filter(|_| !is_last);
        Ok(if page.is_empty() { None } else { Some(page) })
    }
}

/// The message that an event of a conversation tells of, if it tells of one.
#[must_use]
pub fn message(id: &ConversationId, recorded: &Recorded) -> Option<Message> {
    let Event::Conversation(ConversationEvent::MessageSent(sent)) = &recorded.event else {
        return None;
    };
    let mut message = Message::new(id.clone(), sent.clone(), recorded.recorded_at);
    if message.sealed.take().is_some() {
        // An opened log leaves nothing else sealed.
        message.unreadable = Some(Unreadable::Erased);
    }
    Some(message)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use cqrs_es::Aggregate;
    use verbatim_domain::conversation::{ImportedMessage, ImportedStart};
    use verbatim_domain::{Conversation, Time};

    use super::*;
    use crate::testing::{Fixed, joined, of, read, said, started, user};

    fn log() -> Fixed {
        let mut log = Fixed::default();
        log.add(of("c"), started("ann", Some("A title")))
            .add(of("c"), joined("ann"))
            .add(of("other"), started("eve", None))
            .add(of("c"), joined("ben"))
            .add(of("c"), said(1, "ann"))
            .add(of("other"), said(1, "eve"))
            .add(of("c"), read("ben", 1))
            .add(of("c"), said(2, "ben"))
            .add(of("c"), joined("cid"))
            .add(of("c"), read("ann", 2));
        log
    }

    async fn as_of(log: &Fixed, position: u64) -> Option<ConversationAsOf> {
        conversation_as_of(log, &"c".parse().expect("an id"), position).await.expect("an answer")
    }

    /// What the aggregate itself makes of the same prefix.
    fn folded(log: &Fixed, position: usize) -> serde_json::Value {
        let mut conversation = Conversation::default();
        for recorded in log.0[..position].iter().filter(|event| event.stream == of("c")) {
            if let Event::Conversation(event) = &recorded.event {
                conversation.apply(event.clone());
            }
        }
        serde_json::to_value(conversation).expect("it is written")
    }

    #[tokio::test]
    async fn at_every_position_it_is_the_fold_of_the_prefix() {
        let log = log();
        for position in 1..=log.0.len() {
            let found = as_of(&log, position as u64).await.expect("it has begun");
            let folded = folded(&log, position);
            let marks: BTreeMap<_, _> =
                found.members.iter().map(|member| (&member.user_id, member.read_through)).collect();
            assert_eq!(serde_json::json!(marks), folded["members"], "at {position}");
            assert_eq!(serde_json::json!(found.message_count), folded["messages"]);
            assert_eq!(serde_json::json!(found.created_by), folded["started"]["createdBy"]);
            assert_eq!(
                serde_json::json!(found.title),
                folded["started"]["personal"]["title"],
                "at {position}"
            );
        }
    }

    #[tokio::test]
    async fn members_stand_in_the_order_in_which_they_joined_and_times_are_the_logs() {
        let found = as_of(&log(), 9).await.expect("it has begun");
        let members: Vec<_> = found
            .members
            .iter()
            .map(|member| (member.user_id.clone(), member.joined_at.0))
            .collect();
        assert_eq!(members, [(user("ann"), 2), (user("ben"), 4), (user("cid"), 9)]);
        assert_eq!((found.created_at, found.updated_at), (Timestamp(1), Timestamp(8)));
    }

    #[tokio::test]
    async fn what_was_brought_in_has_its_own_times_and_is_read_unless_asked_otherwise() {
        for unread in [false, true] {
            let mut log = Fixed::default();
            let ConversationEvent::ConversationStarted(mut begun) = started("ann", None) else {
                unreachable!("it is a start")
            };
            begun.imported = Some(ImportedStart { created_at: Some(Time(-7)), unread });
            log.add(of("c"), ConversationEvent::ConversationStarted(begun))
                .add(of("c"), joined("ann"))
                .add(of("c"), joined("ben"));
            for sequence in 1..=2 {
                let ConversationEvent::MessageSent(mut sent) = said(sequence, "ann") else {
                    unreachable!("it is a message")
                };
                let sent_at = Time(-5 + sequence as i64);
                sent.imported = Some(ImportedMessage { sent_at, unread });
                log.add(of("c"), ConversationEvent::MessageSent(sent));
            }
            let found = as_of(&log, 5).await.expect("it has begun");
            assert_eq!((found.created_at, found.updated_at), (Timestamp(-7), Timestamp(-3)));
            let read: Vec<_> = found.members.iter().map(|member| member.read_through).collect();
            assert_eq!(read, if unread { [0, 0] } else { [2, 2] });
            let shown = message(&found.id, &log.0[3]).expect("a message");
            assert_eq!(shown.created_at, Timestamp(-4));
        }
    }

    #[tokio::test]
    async fn what_had_not_begun_is_not_there() {
        assert_eq!(as_of(&log(), 0).await, None);
        let unknown = "unknown".parse().expect("an id");
        assert_eq!(conversation_as_of(&log(), &unknown, 10).await.expect("an answer"), None);
    }

    #[tokio::test]
    async fn a_history_ends_at_the_position_over_pages() {
        let mut log = Fixed::default();
        for sequence in 1..=2 * PAGE as u64 + 1 {
            log.says("c", sequence, "ann");
        }
        let id = "c".parse().expect("an id");
        for through in [0, 1, PAGE - 1, PAGE, PAGE + 1, 2 * PAGE, 2 * PAGE + 1] {
            let mut history = History::new(&log, &id, through as u64);
            let mut read = 0;
            while let Some(page) = history.next().await.expect("a page") {
                read += page.len();
            }
            assert_eq!(read, through);
        }
    }
}
