//! What auditors ask for: events of the log, and what stood when. Each access is an event itself,
//! which is committed before anything is shown.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use futures::Stream;
use futures::stream;
use schemars::JsonSchema;
use serde::Serialize;
use verbatim_audit::as_of::{self, History};
use verbatim_audit::{
    BadRange, Bound, ConversationAsOf, EventType, Pages, Range, Selection, conversation_as_of,
    pages_with, range,
};
use verbatim_domain::audit::{Accessed, ConversationAccessed, EventsAccessed, RecordAccess};
use verbatim_domain::{AuditCommand, ConversationId, StreamId, conversation};
use verbatim_journal::Log;
use verbatim_protocol::client::{DEFAULT_PAGE, Message, More};
use verbatim_protocol::{Command, Envelope, ErrorCode, Failure, JournalId, Payload, Recorded};

use super::payload::{AuditConversationGet, AuditEventsGet, parse, refused};
use super::reading::journal_failure;
use super::{Answer, Caller, Core};

/// Events that are read from the journal at once.
const PAGE: usize = 500;

/// Positions that a page looks at, at most: where few events are chosen it has fewer than its limit.
const MAX_SCANNED: u64 = 20_000;

/// When something stood.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AsOf {
    /// The last position that is counted in.
    pub position: u64,
}

/// A conversation as it stood, and a page of its messages.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConversationStood {
    pub as_of: AsOf,
    pub conversation: ConversationAsOf,
    /// Ascending by `sequence`, from the first.
    pub messages: Vec<Message>,
}

/// Lines of JSON, an event each, as they are read.
pub type AuditLines = std::pin::Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// What conversations were at a position, so that only the first page of their messages has to find that
/// out: from all of them. Nothing of it can be erased.
#[derive(Debug, Default)]
pub(super) struct Stood(Mutex<VecDeque<(u64, ConversationAsOf)>>);

impl Stood {
    /// Auditors are few.
    const REMEMBERED: usize = 16;

    async fn conversation(
        &self,
        log: &dyn Log,
        id: &ConversationId,
        position: u64,
    ) -> Result<Option<ConversationAsOf>, verbatim_journal::Error> {
        let is_it = |(at, known): &&(u64, ConversationAsOf)| *at == position && known.id == *id;
        let known = self.remembered().iter().find(is_it).map(|(_, known)| known.clone());
        if known.is_some() {
            return Ok(known);
        }
        let stood = conversation_as_of(log, id, position).await?;
        if let Some(stood) = &stood {
            let mut remembered = self.remembered();
            remembered.truncate(Self::REMEMBERED - 1);
            remembered.push_front((position, stood.clone()));
        }
        Ok(stood)
    }

    fn remembered(&self) -> MutexGuard<'_, VecDeque<(u64, ConversationAsOf)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What of the log is to be shown.
struct Wanted {
    range: Range,
    selection: Selection,
    limit: usize,
    record: EventsAccessed,
}

pub(super) fn events(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let get: AuditEventsGet = parse(payload)?;
    get.check()?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let Wanted { range, selection, limit, record } = wanted(&core, get).await?;
        record_access(&core, &caller, Accessed::Events(record)).await?;
        let (events, next) = page(&*core.log, range, &selection, limit).await?;
        let data = envelopes(&events)?;
        let journal = core.log.id();
        let cursor = Cursor { list: List::Events, journal, next, last: range.last };
        let next_cursor = (next <= range.last).then(|| cursor.to_string());
        let count = data.len();
        Ok(Answer::new(data, More { next_cursor }).counting(count))
    })
}

pub(super) async fn lines(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: &str,
) -> Result<AuditLines, Failure> {
    admins_only(caller)?;
    let get: AuditEventsGet = parse(Some(payload))?;
    get.check()?;
    let Wanted { range, selection, record, .. } = wanted(core, get).await?;
    record_access(core, caller, Accessed::Events(record)).await?;
    let pages =
        pages_with(Arc::clone(&core.log), range, PAGE, move |page| written(&page, &selection));
    Ok(Box::pin(stream::unfold(pages, |mut pages| async move {
        let lines = next_lines(&mut pages).await?;
        Some((lines, pages))
    })))
}

type Lines = std::io::Result<Vec<u8>>;

fn written(page: &[Arc<Recorded>], selection: &Selection) -> Lines {
    let mut lines = Vec::new();
    for recorded in page.iter().filter(|recorded| selection.chooses(recorded)) {
        Envelope::of(recorded)?.write_line(&mut lines)?;
    }
    Ok(lines)
}

/// The lines of the next page that has any.
async fn next_lines(pages: &mut Pages<Lines>) -> Option<std::io::Result<Bytes>> {
    loop {
        match pages.next().await? {
            Ok(Ok(lines)) if lines.is_empty() => {}
            Ok(lines) => return Some(lines.map(Bytes::from)),
            Err(error) => {
                tracing::warn!(%error, "an audit was broken off");
                return Some(Err(std::io::Error::other(error)));
            }
        }
    }
}

pub(super) fn conversation(
    core: &Arc<Core>,
    caller: &Arc<Caller>,
    payload: Option<&str>,
) -> Result<impl Future<Output = Result<Answer, Failure>> + Send + use<>, Failure> {
    admins_only(caller)?;
    let get: AuditConversationGet = parse(payload)?;
    get.check()?;
    let as_of = bound("asOf", get.as_of.as_deref())?;
    let (core, caller) = (Arc::clone(core), Arc::clone(caller));
    Ok(async move {
        let journal = &*core.log;
        let id = get.conversation_id;
        let (position, after) = match get.cursor {
            Some(cursor) => {
                let cursor = Cursor::parse(&cursor, messages_of(&id), journal).await?;
                (cursor.last, cursor.next)
            }
            None => (settled(journal, as_of).await?, 0),
        };
        let access = ConversationAccessed { conversation_id: id.clone(), as_of: position };
        record_access(&core, &caller, Accessed::Conversation(access)).await?;
        let stood = core.stood.conversation(journal, &id, position).await;
        let Some(conversation) = stood.map_err(|error| journal_failure(&error))? else {
            return Err(conversation::Error::NotFound.into());
        };
        let limit = get.limit.unwrap_or(DEFAULT_PAGE) as usize;
        let (messages, next) = messages(journal, &id, position, after, limit).await?;
        let is_last =
            messages.last().is_none_or(|last| last.sequence == conversation.message_count);
        let (list, journal) = (messages_of(&id), journal.id());
        let cursor = Cursor { list, journal, next, last: position };
        let next_cursor = (!is_last).then(|| cursor.to_string());
        let count = messages.len();
        let data = ConversationStood { as_of: AsOf { position }, conversation, messages };
        Ok(Answer::new(data, More { next_cursor }).counting(count))
    })
}

/// Whichever way the request has come.
pub(super) fn admins_only(caller: &Caller) -> Result<(), Failure> {
    if caller.is_admin() {
        return Ok(());
    }
    Err(Failure::new(ErrorCode::Forbidden, "Only admins may see the log"))
}

/// The position that a bound stands for; the head without one.
async fn settled(log: &dyn Log, bound: Option<Bound>) -> Result<u64, Failure> {
    match bound {
        Some(bound) => {
            range::position_at(log, bound).await.map_err(|error| unsettled("asOf", error))
        }
        None => log.head().await.map_err(|error| journal_failure(&error)),
    }
}

/// What was asked for, settled: the cursor's range, or that of the bounds.
async fn wanted(core: &Core, get: AuditEventsGet) -> Result<Wanted, Failure> {
    let journal = &*core.log;
    let selection = Selection {
        types: get.event_type.as_deref().map(event_type).transpose()?.into_iter().collect(),
        conversations: get.conversation.iter().cloned().collect(),
        actors: get.actor.iter().cloned().collect(),
        users: Vec::new(),
    };
    let range = if let Some(cursor) = get.cursor {
        let Cursor { next, last, .. } = Cursor::parse(&cursor, List::Events, journal).await?;
        if next == 0 || next > last {
            return Err(not_a_cursor());
        }
        Range { first: next, last }
    } else {
        let (from, to) = (bound("from", get.from.as_deref())?, bound("to", get.to.as_deref())?);
        let settled = Range::settle(journal, from, to).await;
        settled.map_err(|error| unsettled(blamed(&error, from), error))?
    };
    let record = EventsAccessed {
        from: range.first,
        to: range.last,
        event_type: get.event_type,
        conversation_id: get.conversation,
        actor_id: get.actor,
    };
    Ok(Wanted { range, selection, limit: get.limit.unwrap_or(DEFAULT_PAGE) as usize, record })
}

/// Notes an access in the log.
pub(super) async fn record_access(
    core: &Core,
    caller: &Caller,
    accessed: Accessed,
) -> Result<(), Failure> {
    let accessor = caller.user_id.clone();
    let command =
        AuditCommand::RecordAccess(RecordAccess { accessor_id: accessor.clone(), accessed });
    core.send(Command::Audit { accessor, command }).await.map(drop)
}

/// Up to `limit` chosen events, and the position from which on to read next.
async fn page(
    log: &dyn Log,
    range: Range,
    selection: &Selection,
    limit: usize,
) -> Result<(Vec<Arc<Recorded>>, u64), Failure> {
    let mut chosen = Vec::new();
    let mut next = range.first;
    let end = range.last.min(range.first.saturating_add(MAX_SCANNED - 1));
    while next <= end {
        let size = PAGE.min((end + 1 - next) as usize);
        let page = log.read_after(next - 1, size).await.map_err(|error| journal_failure(&error))?;
        if page.is_empty() {
            return Err(Failure::internal());
        }
        for recorded in page {
            next = recorded.position + 1;
            if selection.chooses(&recorded) {
                chosen.push(recorded);
            }
            if chosen.len() == limit {
                return Ok((chosen, next));
            }
        }
    }
    Ok((chosen, next))
}

fn envelopes(events: &[Arc<Recorded>]) -> Result<Vec<Envelope<'_, Payload<'_>>>, Failure> {
    let written: Result<_, _> = events.iter().map(|recorded| Envelope::of(recorded)).collect();
    written.map_err(|error| {
        tracing::error!(%error, "an event can't be written");
        Failure::internal()
    })
}

/// Up to `limit` messages above a sequence of the stream, and the sequence to go on after.
async fn messages(
    log: &dyn Log,
    id: &ConversationId,
    position: u64,
    after: u64,
    limit: usize,
) -> Result<(Vec<Message>, u64), Failure> {
    let mut messages = Vec::new();
    let mut next = after;
    let mut history = History::new(log, id, position).after(after);
    while let Some(page) = history.next().await.map_err(|error| journal_failure(&error))? {
        for recorded in page {
            next = recorded.sequence;
            messages.extend(as_of::message(id, &recorded));
            if messages.len() == limit {
                return Ok((messages, next));
            }
        }
    }
    Ok((messages, next))
}

fn event_type(name: &str) -> Result<EventType, Failure> {
    name.parse().map_err(|_| refused("type", "must be the name of a type of event"))
}

fn bound(field: &str, text: Option<&str>) -> Result<Option<Bound>, Failure> {
    let malformed =
        |_| refused(field, "must be a position, or a time such as 2024-01-01T10:00:00Z");
    text.map(str::parse).transpose().map_err(malformed)
}

/// Which end of a range can't be; the first, if it is both.
fn blamed(error: &range::Error, from: Option<Bound>) -> &'static str {
    let is_from = match error {
        // A range may begin right after the end.
        range::Error::Bad(BadRange::BeyondTheEnd { position, head }) => {
            *position > head + 1 && from == Some(Bound::Position(*position))
        }
        range::Error::Bad(BadRange::YetToCome(time)) => from == Some(Bound::Time(*time)),
        _ => from.is_some(),
    };
    if is_from { "from" } else { "to" }
}

fn unsettled(field: &str, error: range::Error) -> Failure {
    match error {
        range::Error::Bad(bad) => refused(field, &format!("can't be: {bad}")),
        range::Error::Journal(error) => journal_failure(&error),
    }
}

/// What a cursor is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum List {
    Events,
    /// Of the conversation with this fingerprint.
    Messages(u64),
}

fn messages_of(id: &ConversationId) -> List {
    List::Messages(StreamId::conversation(id).fingerprint())
}

impl List {
    fn bytes(self) -> [u8; 9] {
        let (kind, of) = match self {
            Self::Events => (1, 0),
            Self::Messages(of) => (2, of),
        };
        let mut bytes = [kind; 9];
        bytes[1..].copy_from_slice(&of.to_be_bytes());
        bytes
    }
}

/// Where a list goes on, and where it ends: what is appended meanwhile is no part of it.
struct Cursor {
    list: List,
    journal: JournalId,
    next: u64,
    last: u64,
}

impl Cursor {
    /// A cursor of a list of this log, no longer than it.
    async fn parse(text: &str, list: List, log: &dyn Log) -> Result<Self, Failure> {
        let cursor = Self::decode(text, list, log.id())?;
        let head = log.head().await.map_err(|error| journal_failure(&error))?;
        if cursor.last > head { Err(not_a_cursor()) } else { Ok(cursor) }
    }

    fn decode(text: &str, list: List, journal: JournalId) -> Result<Self, Failure> {
        let mut bytes = [0; 41];
        let length = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| not_a_cursor())?;
        let (head, numbers) = bytes.split_at(25);
        let is_its = head[..9] == list.bytes() && head[9..] == *journal.0.as_bytes();
        if length != bytes.len() || !is_its {
            return Err(not_a_cursor());
        }
        let number =
            |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        Ok(Self { list, journal, next: number(&numbers[..8]), last: number(&numbers[8..]) })
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; 41];
        bytes[..9].copy_from_slice(&self.list.bytes());
        bytes[9..25].copy_from_slice(self.journal.0.as_bytes());
        bytes[25..33].copy_from_slice(&self.next.to_be_bytes());
        bytes[33..].copy_from_slice(&self.last.to_be_bytes());
        f.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

fn not_a_cursor() -> Failure {
    refused("cursor", "must be a nextCursor of this list")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn cursors_come_back_as_they_went_and_are_good_for_one_list_of_one_journal() {
        let (journal, other) = (JournalId(Uuid::from_u128(7)), JournalId(Uuid::from_u128(8)));
        let [one, two] = ["one", "two"].map(|id| messages_of(&id.parse().expect("an id")));
        for list in [List::Events, one, two] {
            let text = Cursor { list, journal, next: 42, last: u64::MAX }.to_string();
            let cursor = Cursor::decode(&text, list, journal).expect("it is one");
            assert_eq!((cursor.next, cursor.last), (42, u64::MAX));
            assert!(Cursor::decode(&text, list, other).is_err());
            for another in [List::Events, one, two].into_iter().filter(|it| *it != list) {
                assert!(Cursor::decode(&text, another, journal).is_err());
            }
        }
        for bad in ["", "x", "AAAA", &"A".repeat(55), &"A".repeat(20_000), "not base64 *"] {
            assert!(Cursor::decode(bad, List::Events, journal).is_err(), "{bad}");
        }
    }
}
