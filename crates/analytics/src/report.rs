//! What is asked, and the answers.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use tokio::time::{Instant, sleep};
use verbatim_domain::ConversationId;
use verbatim_protocol::client::Page;
use verbatim_protocol::{JournalId, Timestamp};

use crate::Error;
use crate::connections::Standing;
use crate::cursor::Cursor;
use crate::figures::{Durations, Figure, Figures};
use crate::key::{Cells, Kind, Of, RECORDED, SAMPLE, Unit};
use crate::projector::Wanted;
use crate::state;
use crate::store::Reading;

/// The most entries of a page, whatever it is asked for.
const MAX_RESULTS: u32 = 1_000;

/// How often a store is asked how far it is.
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// By what figures are told apart: hour or day, and conversation, or role, or neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    unit: Unit,
    of: Of,
}

/// It is none of the ways in which figures are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be one of {}", By::ALL.map(|(name, _)| name).join(" "))]
pub struct UnknownBy;

impl By {
    pub const DAY: Self = Self { unit: Unit::Day, of: Of::All };

    const ALL: [(&'static str, Self); 6] = [
        ("hour", Self { unit: Unit::Hour, of: Of::All }),
        ("day", Self::DAY),
        ("hour,conversation", Self { unit: Unit::Hour, of: Of::Conversation }),
        ("day,conversation", Self { unit: Unit::Day, of: Of::Conversation }),
        ("hour,role", Self { unit: Unit::Hour, of: Of::Role }),
        ("day,role", Self { unit: Unit::Day, of: Of::Role }),
    ];

    /// Whether neither by conversation nor by role.
    #[must_use]
    pub fn is_time_alone(self) -> bool {
        self.of == Of::All
    }

    /// The bucket that a time is in.
    #[must_use]
    pub fn start(self, at: Timestamp) -> Timestamp {
        self.unit.start(at)
    }

    /// How long a bucket is.
    #[must_use]
    pub fn length(self) -> Duration {
        Duration::from_millis(self.unit.length() as u64)
    }
}

impl FromStr for By {
    type Err = UnknownBy;

    fn from_str(name: &str) -> Result<Self, UnknownBy> {
        Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, by)| *by).ok_or(UnknownBy)
    }
}

impl JsonSchema for By {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AnalyticsBy".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL.map(|(name, _)| name), "default": "day" })
    }
}

/// Which figures.
#[derive(Debug, Clone)]
pub struct Request {
    /// From the bucket that this is in.
    pub from: Option<Timestamp>,
    /// To the bucket that this is in.
    pub to: Option<Timestamp>,
    pub by: By,
    /// A page's `nextCursor`: what stands above is ignored then.
    pub cursor: Option<String>,
    pub limit: u32,
}

/// The figures of a bucket, or of a conversation's or a role's part of it.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{R}Row")]
pub struct Row<R> {
    /// When the hour or the day (of UTC) begins.
    pub start: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// The sender's, as their token said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    #[serde(flatten)]
    pub figures: R,
}

/// What a list tells of each bucket.
pub trait Report: Serialize + JsonSchema + Send {
    #[doc(hidden)]
    const KIND: Kind;
    #[doc(hidden)]
    fn of(figures: &Figures) -> Self;
}

/// Messages that were sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "MessageCount")]
pub struct Messages {
    pub messages: u64,
}

/// Users who sent a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[schemars(rename = "UserCount")]
pub struct Users {
    pub users: u64,
}

/// What has become of the messages that were sent then, once for each recipient. `recipients` are
/// `acknowledged`, `presumed`, `offline` and `pending` together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "DeliveryCount")]
pub struct Deliveries {
    pub recipients: u64,
    /// It has arrived: the client said so.
    pub acknowledged: u64,
    /// It has arrived, as far as can be known of a client that doesn't say.
    pub presumed: u64,
    /// It found the recipient without a socket, and has not arrived yet.
    pub offline: u64,
    /// Nothing is known yet.
    pub pending: u64,
    /// It found the recipient without a socket, whether it has arrived since or not.
    pub notified: u64,
    /// From sending to arrival, of those that have arrived.
    pub time_to_delivery: Option<Durations>,
}

/// What users asked then, and how long agents took to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ResponseCount")]
pub struct Responses {
    /// Users' messages in conversations in which none of theirs waited for an answer.
    pub questions: u64,
    /// Those of them after which an agent wrote.
    pub answered: u64,
    /// From the question to the agent's message, of those that were answered.
    pub response_time: Option<Durations>,
}

/// How many were connected.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "ConnectionCount")]
pub struct Connections {
    /// Of how many seconds of the bucket it is known.
    pub seconds: u64,
    pub mean_sockets: f64,
    pub peak_sockets: u64,
    pub mean_users: f64,
    /// Of the samples' ends.
    pub peak_users: u64,
}

impl Report for Messages {
    const KIND: Kind = Kind::Messages;

    fn of(figures: &Figures) -> Self {
        Self { messages: figures.get(Figure::Messages) }
    }
}

impl Report for Users {
    const KIND: Kind = Kind::Messages;

    fn of(figures: &Figures) -> Self {
        Self { users: figures.get(Figure::Users) }
    }
}

impl Report for Deliveries {
    const KIND: Kind = Kind::Deliveries;

    fn of(figures: &Figures) -> Self {
        let [recipients, acknowledged, presumed, notified, notified_delivered] = [
            Figure::Recipients,
            Figure::Acknowledged,
            Figure::Presumed,
            Figure::Noted,
            Figure::NotedDelivered,
        ]
        .map(|figure| figures.get(figure));
        let offline = notified.saturating_sub(notified_delivered);
        let pending = recipients.saturating_sub(acknowledged + presumed + offline);
        let time_to_delivery = figures.durations();
        Self { recipients, acknowledged, presumed, offline, pending, notified, time_to_delivery }
    }
}

impl Report for Responses {
    const KIND: Kind = Kind::Responses;

    fn of(figures: &Figures) -> Self {
        Self {
            questions: figures.get(Figure::Questions),
            answered: figures.get(Figure::Durations),
            response_time: figures.durations(),
        }
    }
}

impl Report for Connections {
    const KIND: Kind = Kind::Connections;

    fn of(figures: &Figures) -> Self {
        let seconds = figures.get(Figure::Seconds);
        // To thousandths, so that it reads well.
        let mean = |figure| {
            (figures.get(figure) as f64 / seconds.max(1) as f64 * 1_000.0).round() / 1_000.0
        };
        Self {
            seconds,
            mean_sockets: mean(Figure::SocketSeconds),
            peak_sockets: figures.get(Figure::PeakSockets),
            mean_users: mean(Figure::UserSeconds),
            peak_users: figures.get(Figure::PeakUsers),
        }
    }
}

/// The analytics of a journal, to ask them. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    store: Arc<dyn Reading>,
    journal: JournalId,
    wanted: Wanted,
}

impl Reports {
    pub(crate) fn new(store: Arc<dyn Reading>, journal: JournalId, wanted: Wanted) -> Self {
        Self { store, journal, wanted }
    }

    /// Reports on what another process writes.
    #[must_use]
    pub fn beside(store: Arc<dyn Reading>, journal: JournalId) -> Self {
        Self::new(store, journal, Wanted::default())
    }

    /// The last position whose event they show.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn checkpoint(&self) -> Result<u64, Error> {
        Ok(self.store.live().await?.checkpoint)
    }

    /// Waits until they show the event of a position.
    ///
    /// # Errors
    /// [`Error::Behind`] after `within`.
    pub async fn reached(&self, position: u64, within: Duration) -> Result<(), Error> {
        let end = Instant::now() + within;
        let mut pause = FIRST_PAUSE;
        loop {
            match self.checkpoint().await {
                Ok(checkpoint) if checkpoint >= position => return Ok(()),
                Ok(_) | Err(Error::Behind) => {}
                Err(error) => return Err(error),
            }
            self.wanted.send_if_modified(|wanted| {
                let is_more = position > *wanted;
                *wanted = position.max(*wanted);
                is_more
            });
            if Instant::now() >= end {
                return Err(Error::Behind);
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A page of a list, ascending by time and then by conversation or role. Buckets in which nothing
    /// happened are left out.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn page<R: Report>(&self, request: &Request) -> Result<Page<Row<R>>, Error> {
        let limit = request.limit.clamp(1, MAX_RESULTS) as usize;
        let (cells, low, last) = match &request.cursor {
            None => {
                let By { unit, of } = request.by;
                let cells = Cells { kind: R::KIND, unit, of };
                let from = unit.start(request.from.unwrap_or(Timestamp(i64::MIN)));
                let last = unit.start(request.to.unwrap_or(Timestamp(i64::MAX)));
                (cells, cells.key(from, ""), last)
            }
            Some(cursor) => {
                let Cursor { cells, start, name, last } =
                    Cursor::read(cursor, self.journal, R::KIND)?;
                let mut low = cells.key(start, &name);
                // Right above it.
                low.push(0);
                (cells, low, last)
            }
        };
        let mut found = loop {
            let at = self.store.live().await?;
            let found = self.found(at.generation, cells, &low, last, limit + 1).await?;
            // Of a generation that was given up meanwhile something may be missing.
            if self.store.live().await?.generation == at.generation {
                break found;
            }
        };
        let more = found.len() > limit;
        found.truncate(limit);
        let next_cursor = found.last().filter(|_| more).map(|(start, name, _)| {
            Cursor { cells, start: *start, name: name.clone(), last }.write(self.journal)
        });
        let data =
            found.into_iter().map(|(start, name, figures)| row(cells.of, start, name, &figures));
        Ok(Page { data: data.collect::<Result<_, _>>()?, next_cursor })
    }

    async fn found(
        &self,
        generation: u64,
        cells: Cells,
        low: &[u8],
        last: Timestamp,
        limit: usize,
    ) -> Result<Vec<(Timestamp, String, Figures)>, Error> {
        let high = cells.after(last);
        if *low >= *high {
            return Ok(Vec::new());
        }
        let rows = self.store.page(generation, low, &high, limit).await?;
        let mut found = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            let read = cells.read(&key);
            let (start, name) =
                read.ok_or_else(|| Error::Corrupt("a key that is none".to_owned()))?;
            found.push((start, name.to_owned(), Figures::read(&value)?));
        }
        if cells.kind == Kind::Connections && cells.of == Of::All {
            for (start, figures) in self.standing(generation, cells.unit).await? {
                let key = cells.key(start, "");
                if !(low..&*high).contains(&&*key) {
                    continue;
                }
                // They come after all that is stored, or after the page.
                let follows = found.last().is_none_or(|(before, ..)| *before < start);
                match found.iter_mut().find(|(known, ..)| *known == start) {
                    Some((.., known)) => known.merge(&figures),
                    None if follows => found.push((start, String::new(), figures)),
                    None => {}
                }
            }
            found.truncate(limit);
        }
        Ok(found)
    }

    /// What is known of connections since the last sample.
    async fn standing(
        &self,
        generation: u64,
        unit: Unit,
    ) -> Result<BTreeMap<Timestamp, Figures>, Error> {
        let one = |key: [u8; 1]| async move {
            let found = self.store.page(generation, &key, &[key[0], 0], 1).await?;
            Ok::<_, Error>(found.into_iter().next().map(|(_, value)| value))
        };
        let (Some(standing), Some(recorded_at)) = (one(SAMPLE).await?, one(RECORDED).await?) else {
            return Ok(BTreeMap::new());
        };
        let (standing, recorded_at): (Standing, _) =
            (state::read(&standing)?, state::read(&recorded_at)?);
        Ok(standing.until(unit, Timestamp(recorded_at)))
    }
}

fn row<R: Report>(
    of: Of,
    start: Timestamp,
    name: String,
    figures: &Figures,
) -> Result<Row<R>, Error> {
    let mut row = Row { start, conversation_id: None, role: None, figures: R::of(figures) };
    match of {
        Of::All => {}
        Of::Conversation => {
            let id = name.parse().map_err(|_| Error::Corrupt("no conversation's id".to_owned()))?;
            row.conversation_id = Some(id);
        }
        Of::Role => row.role = Some(name),
    }
    Ok(row)
}
