//! The figures, found as their definitions say, with no thought for time or memory.

use std::collections::{BTreeMap, BTreeSet};

use verbatim_domain::inbox::DeliveryOutcome;
use verbatim_domain::{ConnectionsEvent, ConversationEvent, Event, InboxEvent};
use verbatim_protocol::{Recorded, Timestamp};

use super::list;
use crate::{Connections, Deliveries, Durations, Messages, Reports, Responses, Row, Users};

/// What is counted of a bucket, or of a part of it.
#[derive(Debug, Default)]
struct Counted {
    messages: u64,
    users: BTreeSet<String>,
    recipients: u64,
    acknowledged: u64,
    presumed: u64,
    notified: u64,
    notified_and_delivered: u64,
    took: Vec<u64>,
    questions: u64,
    waited: Vec<u64>,
}

type Cells = BTreeMap<(Timestamp, String), Counted>;

/// How figures are told apart: the bucket's length, and the part of it that a message belongs to.
struct Way {
    by: &'static str,
    length: i64,
    name: fn(conversation: &str, role: &str) -> String,
}

const HOUR: i64 = 3_600_000;

fn ways() -> [Way; 6] {
    let way = |by, length, name| Way { by, length, name };
    [
        way("hour", HOUR, |_, _| String::new()),
        way("day", 24 * HOUR, |_, _| String::new()),
        way("hour,conversation", HOUR, |conversation, _| conversation.to_owned()),
        way("day,conversation", 24 * HOUR, |conversation, _| conversation.to_owned()),
        way("hour,role", HOUR, |_, role| role.to_owned()),
        way("day,role", 24 * HOUR, |_, role| role.to_owned()),
    ]
}

/// A message, and what was before it.
struct Said<'a> {
    index: usize,
    at: Timestamp,
    conversation: &'a str,
    sender: &'a str,
    role: &'a str,
}

fn said(events: &[std::sync::Arc<Recorded>]) -> impl Iterator<Item = Said<'_>> {
    events.iter().enumerate().filter_map(|(index, recorded)| match &recorded.event {
        Event::Conversation(ConversationEvent::MessageSent(sent)) => Some(Said {
            index,
            at: recorded.recorded_at,
            conversation: &recorded.stream.aggregate_id,
            sender: sent.sender_id.as_str(),
            role: &sent.sender_role,
        }),
        _ => None,
    })
}

fn count(events: &[std::sync::Arc<Recorded>], way: &Way) -> Cells {
    let mut cells = Cells::new();
    for message in said(events) {
        let start = Timestamp(message.at.0.div_euclid(way.length) * way.length);
        let name = (way.name)(message.conversation, message.role);
        let cell = cells.entry((start, name)).or_default();
        cell.messages += 1;
        cell.users.insert(message.sender.to_owned());
        count_recipients(events, &message, cell);
        let before = said(&events[..message.index])
            .filter(|before| before.conversation == message.conversation);
        let last_word = before.map(|before| before.role).filter(|role| *role != "system").last();
        if matches!(message.role, "agent" | "system")
            || last_word.is_some_and(|role| role != "agent")
        {
            continue;
        }
        cell.questions += 1;
        let mut later = said(events).filter(|later| later.index > message.index);
        if let Some(answer) =
            later.find(|later| later.conversation == message.conversation && later.role == "agent")
        {
            cell.waited.push((answer.at.0 - message.at.0) as u64);
        }
    }
    cells
}

fn count_recipients(events: &[std::sync::Arc<Recorded>], message: &Said<'_>, cell: &mut Counted) {
    let mut recipients = BTreeSet::new();
    for recorded in &events[..message.index] {
        if let Event::Conversation(ConversationEvent::MemberJoined(joined)) = &recorded.event
            && *recorded.stream.aggregate_id == *message.conversation
            && joined.member_id.as_str() != message.sender
        {
            recipients.insert(joined.member_id.as_str());
        }
    }
    let position = message.index as u64 + 1;
    for recipient in recipients {
        cell.recipients += 1;
        let mut noted = false;
        for recorded in &events[message.index + 1..] {
            if *recorded.stream.aggregate_id != *recipient {
                continue;
            }
            match &recorded.event {
                Event::Inbox(InboxEvent::NotificationCreated(created))
                    if created.message_position == position =>
                {
                    noted = true;
                }
                Event::Inbox(InboxEvent::DeliveryAdvanced(advanced))
                    if advanced.through >= position =>
                {
                    match advanced.outcome {
                        DeliveryOutcome::Acknowledged => cell.acknowledged += 1,
                        DeliveryOutcome::Presumed => cell.presumed += 1,
                    }
                    cell.notified_and_delivered += u64::from(noted);
                    cell.took.push((recorded.recorded_at.0 - message.at.0) as u64);
                    break;
                }
                _ => {}
            }
        }
        cell.notified += u64::from(noted);
    }
}

/// Whether what is told of durations is true of these.
fn assert_sums_up(told: Option<Durations>, mut durations: Vec<u64>, what: &str) {
    durations.sort_unstable();
    let Some(told) = told else {
        assert!(durations.is_empty(), "{what}: {durations:?}");
        return;
    };
    let count = durations.len();
    assert_eq!(told.mean_ms, durations.iter().sum::<u64>() / count as u64, "{what}");
    assert_eq!(Some(&told.max_ms), durations.last(), "{what}");
    for (told, percent) in [(told.p50_ms, 50), (told.p90_ms, 90), (told.p99_ms, 99)] {
        let exact = durations[(count * percent).div_ceil(100) - 1];
        assert!(told >= exact && told <= exact + exact / 32, "{what}: {told} for {exact}");
    }
}

fn place<R>(row: &Row<R>) -> (Timestamp, String) {
    let of = row.conversation_id.as_ref().map(ToString::to_string).or(row.role.clone());
    (row.start, of.unwrap_or_default())
}

/// Holds every list, in pages of this size, against what the events say.
///
/// # Panics
/// One isn't what they say.
pub async fn assert_reports(reports: &Reports, events: &[std::sync::Arc<Recorded>], limit: u32) {
    for way in ways() {
        let cells = count(events, &way);
        let told = list::<Messages>(reports, way.by, limit).await;
        let told: Vec<_> = told.iter().map(|row| (place(row), row.figures.messages)).collect();
        let counted: Vec<_> = cells.iter().map(|(at, cell)| (at.clone(), cell.messages)).collect();
        assert_eq!(told, counted, "messages by {}", way.by);

        let told = list::<Users>(reports, way.by, limit).await;
        let told: Vec<_> = told.iter().map(|row| (place(row), row.figures.users)).collect();
        let counted: Vec<_> =
            cells.iter().map(|(at, cell)| (at.clone(), cell.users.len() as u64)).collect();
        assert_eq!(told, counted, "users by {}", way.by);

        let mut with_recipients = cells.iter().filter(|(_, cell)| cell.recipients > 0);
        for row in list::<Deliveries>(reports, way.by, limit).await {
            let (at, cell) = with_recipients.next().expect("no more than there are");
            let what = format!("deliveries by {} {at:?}", way.by);
            assert_eq!(place(&row), *at);
            let offline = cell.notified - cell.notified_and_delivered;
            let arrived = cell.acknowledged + cell.presumed;
            let time_to_delivery = row.figures.time_to_delivery;
            assert_sums_up(time_to_delivery, cell.took.clone(), &what);
            let counted = Deliveries {
                recipients: cell.recipients,
                acknowledged: cell.acknowledged,
                presumed: cell.presumed,
                offline,
                pending: cell.recipients - arrived - offline,
                notified: cell.notified,
                time_to_delivery,
            };
            assert_eq!(row.figures, counted, "{what}");
        }
        assert!(with_recipients.next().is_none(), "deliveries by {}", way.by);

        let mut with_questions = cells.iter().filter(|(_, cell)| cell.questions > 0);
        for row in list::<Responses>(reports, way.by, limit).await {
            let (at, cell) = with_questions.next().expect("no more than there are");
            let what = format!("responses by {} {at:?}", way.by);
            assert_eq!(place(&row), *at);
            assert_sums_up(row.figures.response_time, cell.waited.clone(), &what);
            let figures = (row.figures.questions, row.figures.answered);
            assert_eq!(figures, (cell.questions, cell.waited.len() as u64), "{what}");
        }
        assert!(with_questions.next().is_none(), "responses by {}", way.by);
    }
    for (by, length) in [("hour", 3_600), ("day", 86_400)] {
        let told = list::<Connections>(reports, by, limit).await;
        let told: Vec<_> = told.into_iter().map(|row| (row.start, row.figures)).collect();
        assert_eq!(told, connections(events, length), "connections by {by}");
    }
}

/// What stood in each second, put together by buckets.
fn connections(events: &[std::sync::Arc<Recorded>], length: u64) -> Vec<(Timestamp, Connections)> {
    let samples: Vec<_> = events
        .iter()
        .filter_map(|recorded| match &recorded.event {
            Event::Connections(ConnectionsEvent::ConnectionsSampled(sampled)) => Some(sampled),
            _ => None,
        })
        .collect();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return Vec::new() };
    let end = events.last().map_or(0, |last| last.recorded_at.0 as u64 / 60_000 * 60).max(last.at);
    // Seconds, sockets' seconds, users' seconds, and both peaks.
    let mut buckets = BTreeMap::<u64, [u64; 5]>::new();
    let mut next = samples.iter().peekable();
    let mut standing = *first;
    for second in first.at - first.seconds..end {
        while let Some(sampled) = next.next_if(|sampled| sampled.at - sampled.seconds <= second) {
            standing = sampled;
        }
        let [seconds, sockets, users, peak_sockets, peak_users] =
            buckets.entry(second / length * length).or_default();
        *seconds += 1;
        *sockets += standing.sockets;
        *users += standing.users;
        *peak_sockets = standing.peak_sockets.max(*peak_sockets);
        *peak_users = standing.users.max(*peak_users);
    }
    let mean = |sum: u64, seconds: u64| (sum as f64 / seconds as f64 * 1_000.0).round() / 1_000.0;
    buckets
        .into_iter()
        .filter(|(_, [.., peak_sockets, _])| *peak_sockets > 0)
        .map(|(start, [seconds, sockets, users, peak_sockets, peak_users])| {
            let mean_sockets = mean(sockets, seconds);
            let mean_users = mean(users, seconds);
            let start = Timestamp(start as i64 * 1_000);
            (start, Connections { seconds, mean_sockets, peak_sockets, mean_users, peak_users })
        })
        .collect()
}
