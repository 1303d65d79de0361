//! The requests that go into one call, and what comes of each.

use std::collections::HashMap;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use verbatim_domain::StreamId;
use verbatim_protocol::{CommandKey, LaneCursor, Timestamp};

use super::Failed;
use super::rows::recorded;
use crate::prepared::Prepared;
use crate::{Appended, Claim, LaneProgress};

/// What one caller handed in.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) appends: Vec<Prepared>,
    pub(super) lanes: Vec<LaneProgress>,
}

impl Request {
    pub(super) fn events(&self) -> usize {
        self.appends.iter().map(|append| append.events.len()).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.appends.iter().flat_map(|append| &append.payloads).map(String::len).sum()
    }
}

/// Hands the requests to the database, whose answer is for [`outcomes`].
pub(super) async fn append(
    connection: &mut PgConnection,
    requests: &[Request],
) -> Result<Vec<PgRow>, sqlx::Error> {
    let Arrays { streams, keys, appends, events, claims, dead, follows } = Arrays::of(requests);
    sqlx::query(include_str!("append_events.sql"))
        .bind(streams.types)
        .bind(streams.ids)
        .bind(streams.expected)
        .bind(keys.issuers)
        .bind(keys.keys)
        .bind(appends.request)
        .bind(appends.claim)
        .bind(appends.stream)
        .bind(appends.key)
        .bind(appends.expected)
        .bind(appends.events)
        .bind(appends.before)
        .bind(appends.metadata)
        .bind(events.append)
        .bind(events.number)
        .bind(events.types)
        .bind(events.versions)
        .bind(events.payloads)
        .bind(claims.lanes)
        .bind(claims.epochs)
        .bind(claims.streams)
        .bind(claims.sequences)
        .bind(claims.ats)
        .bind(dead.claims)
        .bind(dead.commands)
        .bind(dead.reasons)
        .bind(follows)
        .fetch_all(connection)
        .await
}

/// What the answer to [`append`] says to each request.
pub(super) fn outcomes(
    requests: Vec<Request>,
    rows: &[PgRow],
) -> Result<Vec<Result<Vec<Appended>, Failed>>, Failed> {
    if let [row] = rows
        && row.try_get::<Option<i32>, _>(0)?.is_none()
    {
        let recorded_at = Timestamp(row.try_get(2)?);
        let mut next = row.try_get::<i64, _>(3)? as u64;
        let mut commit = |append: Prepared| {
            let first = next;
            next += append.events.len() as u64;
            Appended::Committed(append.recorded(first, recorded_at))
        };
        let outcomes = requests
            .into_iter()
            .map(|request| Ok(request.appends.into_iter().map(&mut commit).collect()));
        return Ok(outcomes.collect());
    }
    if rows.len() != requests.iter().map(|request| request.appends.len()).sum::<usize>() {
        return Err(Failed::Corrupt(format!("an append was answered by {} rows", rows.len())));
    }
    let mut rows = rows.iter();
    let outcomes = requests.into_iter().map(|request| {
        let appends = request.appends.into_iter().zip(rows.by_ref());
        // Each row is taken, also after one that can't be read.
        let outcomes: Vec<_> = appends.map(|(append, row)| outcome(append, row)).collect();
        outcomes.into_iter().collect()
    });
    Ok(outcomes.collect())
}

fn outcome(append: Prepared, row: &PgRow) -> Result<Appended, Failed> {
    match row.try_get::<i32, _>(1)? {
        0 => {
            let recorded_at = Timestamp(row.try_get(2)?);
            let first = row.try_get::<i64, _>(3)? as u64;
            Ok(Appended::Committed(append.recorded(first, recorded_at)))
        }
        1 => Ok(Appended::Duplicate(recorded(row, 3)?)),
        2 => Ok(Appended::Conflict),
        3 => Ok(Appended::Fenced),
        unknown => Err(Failed::Corrupt(format!("an append has the outcome {unknown}"))),
    }
}

/// The arguments of the function `journal.append`, which says what each holds.
#[derive(Default)]
struct Arrays<'r> {
    streams: Streams<'r>,
    keys: Keys<'r>,
    appends: Appends<'r>,
    events: Events<'r>,
    claims: Claims,
    dead: Dead<'r>,
    follows: bool,
}

#[derive(Default)]
struct Streams<'r> {
    types: Vec<&'r str>,
    ids: Vec<&'r str>,
    expected: Vec<i64>,
}

#[derive(Default)]
struct Keys<'r> {
    issuers: Vec<&'r str>,
    keys: Vec<&'r [u8]>,
}

#[derive(Default)]
struct Appends<'r> {
    request: Vec<i32>,
    claim: Vec<Option<i32>>,
    stream: Vec<i32>,
    key: Vec<i32>,
    expected: Vec<i64>,
    events: Vec<i32>,
    before: Vec<i64>,
    metadata: Vec<&'r str>,
}

#[derive(Default)]
struct Events<'r> {
    append: Vec<i32>,
    number: Vec<i32>,
    types: Vec<&'r str>,
    versions: Vec<&'r str>,
    payloads: Vec<&'r str>,
}

#[derive(Default)]
struct Claims {
    lanes: Vec<i32>,
    epochs: Vec<i64>,
    streams: Vec<Option<i64>>,
    sequences: Vec<Option<i64>>,
    ats: Vec<Option<i64>>,
}

#[derive(Default)]
struct Dead<'r> {
    claims: Vec<i32>,
    commands: Vec<&'r [u8]>,
    reasons: Vec<String>,
}

impl<'r> Arrays<'r> {
    fn of(requests: &'r [Request]) -> Self {
        let mut arrays = Self { follows: true, ..Self::default() };
        // Each stream's number, and the sequence that its next append has to expect.
        let mut streams: HashMap<&StreamId, (i32, u64)> = HashMap::new();
        let mut keys: HashMap<&CommandKey, i32> = HashMap::new();
        // Each lane's number, by its epoch.
        let mut numbers: HashMap<Claim, i32> = HashMap::new();
        for (request, number) in requests.iter().zip(1..) {
            let claims = arrays.add_claims(&request.lanes, &mut numbers);
            for append in &request.appends {
                let (stream, next) = streams.entry(&append.stream).or_insert_with(|| {
                    (arrays.streams.add(&append.stream, append.expected), append.expected)
                });
                arrays.follows &= *next == append.expected;
                *next = append.expected + append.events.len() as u64;
                let mut is_new = false;
                let key = *keys.entry(&append.key).or_insert_with(|| {
                    is_new = true;
                    arrays.keys.add(&append.key)
                });
                arrays.follows &= is_new;
                arrays.appends.request.push(number);
                let claim = (!claims.is_empty()).then(|| claims.get(&append.stream.lane()));
                arrays.appends.claim.push(claim.flatten().copied());
                arrays.appends.stream.push(*stream);
                arrays.appends.key.push(key);
                arrays.add_events(append);
            }
        }
        arrays
    }

    fn add_events(&mut self, append: &'r Prepared) {
        let Prepared { expected, events, payloads, metadata, .. } = append;
        self.appends.expected.push(*expected as i64);
        self.appends.events.push(events.len() as i32);
        self.appends.before.push(self.events.append.len() as i64);
        self.appends.metadata.push(metadata);
        let number = self.appends.expected.len() as i32;
        for ((event, payload), n) in events.iter().zip(payloads).zip(1..) {
            self.events.append.push(number);
            self.events.number.push(n);
            self.events.types.push(event.event_type());
            self.events.versions.push(event.event_version());
            self.events.payloads.push(payload);
        }
    }

    /// The numbers of a request's claims, by lane.
    fn add_claims(
        &mut self,
        lanes: &'r [LaneProgress],
        numbers: &mut HashMap<Claim, i32>,
    ) -> HashMap<u16, i32> {
        let mut own = HashMap::with_capacity(lanes.len());
        for LaneProgress { claim, cursor, dead } in lanes {
            let number = *numbers.entry(*claim).or_insert_with(|| self.claims.add(*claim));
            own.insert(claim.lane, number);
            if let Some(cursor) = cursor {
                self.claims.advance(number, *cursor);
            }
            for letter in dead {
                self.dead.claims.push(number);
                self.dead.commands.push(&letter.command);
                // The one character that the database's text doesn't take.
                self.dead.reasons.push(letter.reason.replace('\0', "\u{fffd}"));
            }
        }
        own
    }
}

impl Claims {
    fn add(&mut self, claim: Claim) -> i32 {
        self.lanes.push(i32::from(claim.lane));
        self.epochs.push(claim.epoch as i64);
        self.streams.push(None);
        self.sequences.push(None);
        self.ats.push(None);
        self.lanes.len() as i32
    }

    /// What was settled last counts.
    fn advance(&mut self, number: i32, cursor: LaneCursor) {
        let place = number as usize - 1;
        self.streams[place] = Some(cursor.stream);
        self.sequences[place] = Some(cursor.sequence as i64);
        self.ats[place] = Some(cursor.at);
    }
}

impl<'r> Streams<'r> {
    fn add(&mut self, stream: &'r StreamId, expected: u64) -> i32 {
        self.types.push(stream.aggregate_type.as_str());
        self.ids.push(&stream.aggregate_id);
        self.expected.push(expected as i64);
        self.types.len() as i32
    }
}

impl<'r> Keys<'r> {
    fn add(&mut self, key: &'r CommandKey) -> i32 {
        self.issuers.push(&key.issuer);
        self.keys.push(key.key.as_bytes());
        self.keys.len() as i32
    }
}
