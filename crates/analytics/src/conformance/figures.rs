//! What the figures are, by example.

use std::time::Duration;

use serde_json::{Value, json, to_value};
use verbatim_domain::inbox::DeliveryOutcome::{Acknowledged, Presumed};

use super::history::{History, time};
use super::model::assert_reports;
use super::{Adapter, JOURNAL, empty, list};
use crate::{
    Analytics, Connections, Deliveries, Error, Messages, Report, Reports, Request, Responses,
    Users, key,
};

const MINUTE: i64 = 60_000;

/// Ann asks, an agent answers, and Bob is away for a while; over two days.
#[must_use]
pub fn varied() -> History {
    let mut history = History::at("2024-01-01T22:59:00Z");
    for member in ["ann", "cy"] {
        history.join("talk", member);
    }
    for member in ["ann", "bob", "cy"] {
        history.join("team", member);
    }
    history.sample(2, 2, 3);
    let question = history.say("talk", "ann", "user");
    history.wait(30_000).deliver("cy", question, Acknowledged);
    history.wait(MINUTE).say("talk", "ann", "user");
    let answer = history.wait(MINUTE).say("talk", "cy", "agent");
    let plan = history.wait(MINUTE).say("team", "cy", "agent");
    history.note("bob", "team", plan);
    history.wait(200).deliver("ann", plan, Presumed);
    history.wait(10 * MINUTE).say("team", "ann", "user");
    history.wait(30 * MINUTE).sample(1, 1, 2);
    history.wait(2 * 60 * MINUTE).deliver("bob", plan, Presumed);
    history.say("team", "bob", "user");
    history.wait(MINUTE).deliver("cy", answer, Acknowledged);
    history
}

async fn told<R: Report>(reports: &Reports, by: &str) -> Value {
    to_value(list::<R>(reports, by, 200).await).expect("it is JSON")
}

pub async fn a_hole_is_refused_and_nothing_is_stored<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    let events = history.events();
    assert!(matches!(analytics.apply(&events[1..]).await, Err(Error::Corrupt(_))));
    let with_a_hole = [&events[..5], &events[6..]].concat();
    assert!(matches!(analytics.apply(&with_a_hole).await, Err(Error::Corrupt(_))));
    assert_eq!(analytics.checkpoint().await.expect("there is one"), 0);
    assert!(list::<Messages>(&reports, "day", 50).await.is_empty());
}

pub async fn events_seen_before_are_skipped<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    analytics.apply(&history.events()[..9]).await.expect("they follow");
    analytics.apply(&history.events()[..5]).await.expect("they were there");
    analytics.apply(history.events()).await.expect("they overlap");
    analytics.apply(&[]).await.expect("nothing to do");
    assert_reports(&reports, history.events(), 50).await;
}

pub async fn messages_and_users_are_counted_by_hour_and_day<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    analytics.apply(varied().events()).await.expect("they follow");
    let hours =
        ["2024-01-01T22:00:00.000Z", "2024-01-01T23:00:00.000Z", "2024-01-02T01:00:00.000Z"];
    let days = ["2024-01-01T00:00:00.000Z", "2024-01-02T00:00:00.000Z"];
    assert_eq!(
        told::<Messages>(&reports, "hour").await,
        json!([
            { "start": hours[0], "messages": 1 },
            { "start": hours[1], "messages": 4 },
            { "start": hours[2], "messages": 1 },
        ])
    );
    assert_eq!(
        told::<Users>(&reports, "hour").await,
        json!([
            { "start": hours[0], "users": 1 },
            { "start": hours[1], "users": 2 },
            { "start": hours[2], "users": 1 },
        ])
    );
    assert_eq!(
        told::<Users>(&reports, "day").await,
        json!([{ "start": days[0], "users": 2 }, { "start": days[1], "users": 1 }]),
        "who was there in two hours of a day counts once"
    );
    assert_eq!(
        told::<Messages>(&reports, "day,conversation").await,
        json!([
            { "start": days[0], "conversationId": "talk", "messages": 3 },
            { "start": days[0], "conversationId": "team", "messages": 2 },
            { "start": days[1], "conversationId": "team", "messages": 1 },
        ])
    );
    assert_eq!(
        told::<Messages>(&reports, "day,role").await,
        json!([
            { "start": days[0], "role": "agent", "messages": 2 },
            { "start": days[0], "role": "user", "messages": 3 },
            { "start": days[1], "role": "user", "messages": 1 },
        ])
    );
}

pub async fn a_delivery_is_pending_offline_or_has_arrived<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let mut history = History::at("2024-01-01T10:00:00Z");
    for member in ["ann", "bob", "cy"] {
        history.join("team", member);
    }
    let first = history.say("team", "ann", "user");
    history.note("bob", "team", first);
    history.note("bob", "team", first);
    history.note("ann", "team", first);
    let figures = |acknowledged, presumed, offline, pending, took: Value| {
        json!([{ "start": "2024-01-01T10:00:00.000Z", "recipients": 2, "acknowledged": acknowledged,
            "presumed": presumed, "offline": offline, "pending": pending, "notified": 1,
            "timeToDelivery": took }])
    };
    analytics.apply(history.events()).await.expect("they follow");
    assert_eq!(told::<Deliveries>(&reports, "hour").await, figures(0, 0, 1, 1, Value::Null));
    history.wait(20).deliver("cy", first, Acknowledged);
    history.deliver("cy", first + 1, Presumed);
    analytics.apply(history.events()).await.expect("they follow");
    let took = json!({ "meanMs": 20, "p50Ms": 20, "p90Ms": 20, "p99Ms": 20, "maxMs": 20 });
    assert_eq!(told::<Deliveries>(&reports, "hour").await, figures(1, 0, 1, 0, took));
    history.wait(2 * 60 * MINUTE).deliver("bob", first, Presumed);
    history.note("bob", "team", first);
    analytics.apply(history.events()).await.expect("they follow");
    let longest = 2 * 60 * MINUTE + 20;
    let took = json!({ "meanMs": longest / 2 + 10, "p50Ms": 20, "p90Ms": longest, "p99Ms": longest,
        "maxMs": longest });
    assert_eq!(told::<Deliveries>(&reports, "hour").await, figures(1, 1, 0, 0, took));
}

pub async fn an_answer_is_timed_from_the_first_question<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let mut history = History::at("2024-01-01T10:59:59.990Z");
    history.join("talk", "ann");
    history.join("talk", "cy");
    history.say("talk", "cy", "agent");
    history.say("talk", "ann", "user");
    history.wait(10).say("talk", "ann", "user");
    history.wait(5).say("talk", "sys", "system");
    history.wait(5).say("talk", "cy", "agent");
    history.wait(5).say("talk", "cy", "agent");
    history.wait(5).say("talk", "ann", "admin");
    analytics.apply(history.events()).await.expect("they follow");
    let took = json!({ "meanMs": 20, "p50Ms": 20, "p90Ms": 20, "p99Ms": 20, "maxMs": 20 });
    assert_eq!(
        told::<Responses>(&reports, "hour,role").await,
        json!([
            { "start": "2024-01-01T10:00:00.000Z", "role": "user", "questions": 1, "answered": 1, "responseTime": took },
            { "start": "2024-01-01T11:00:00.000Z", "role": "admin", "questions": 1, "answered": 0, "responseTime": null },
        ])
    );
}

pub async fn connections_stand_until_they_change<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let mut history = History::at("2024-01-01T10:30:00Z");
    history.sample(2, 1, 4);
    analytics.apply(history.events()).await.expect("they follow");
    let row = |start: &str, seconds, mean_sockets: f64, peak, mean_users: f64| {
        json!({ "start": start, "seconds": seconds, "meanSockets": mean_sockets,
            "peakSockets": peak, "meanUsers": mean_users, "peakUsers": 1 })
    };
    let (ten, eleven) = ("2024-01-01T10:00:00.000Z", "2024-01-01T11:00:00.000Z");
    assert_eq!(told::<Connections>(&reports, "hour").await, json!([row(ten, 60, 2.0, 4, 1.0)]));
    history.wait(60 * MINUTE).say("talk", "ann", "user");
    analytics.apply(history.events()).await.expect("they follow");
    let expected = json!([row(ten, 31 * 60, 2.0, 4, 1.0), row(eleven, 30 * 60, 2.0, 4, 1.0)]);
    assert_eq!(told::<Connections>(&reports, "hour").await, expected);
    history.wait(29 * MINUTE).sample(0, 0, 2);
    history.wait(MINUTE).sample(0, 0, 0);
    history.wait(9 * 60 * MINUTE).say("talk", "ann", "user");
    analytics.apply(history.events()).await.expect("they follow");
    let (seconds, sockets) = (60 * 60, 58.0 * 2.0 / 60.0_f64);
    let sockets = (sockets * 1_000.0).round() / 1_000.0;
    let users = (58.0_f64 / 60.0 * 1_000.0).round() / 1_000.0;
    let expected = json!([row(ten, 31 * 60, 2.0, 4, 1.0), row(eleven, seconds, sockets, 4, users)]);
    assert_eq!(told::<Connections>(&reports, "hour").await, expected);
}

pub async fn pages_lead_to_each_row_once_whatever_is_added_meanwhile<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let mut history = History::at("2024-01-01T10:00:00Z");
    let talks = ["a", "b", "c", "d", "e"];
    for talk in talks {
        history.join(talk, "ann");
        history.say(talk, "ann", "user");
    }
    analytics.apply(history.events()).await.expect("they follow");
    let by = "day,conversation".parse().expect("a way");
    let mut request = Request { from: None, to: None, by, cursor: None, limit: 2 };
    let mut seen = Vec::new();
    loop {
        let page = reports.page::<Messages>(&request).await.expect("a page");
        seen.extend(
            page.data.into_iter().map(|row| row.conversation_id.expect("its name").to_string()),
        );
        for talk in talks {
            history.say(talk, "ann", "user");
        }
        analytics.apply(history.events()).await.expect("they follow");
        match page.next_cursor {
            Some(cursor) => request.cursor = Some(cursor),
            None => break,
        }
    }
    assert_eq!(seen, talks);
}

pub async fn a_cursor_of_another_list_is_refused<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    analytics.apply(varied().events()).await.expect("they follow");
    let by = "hour".parse().expect("a way");
    let mut request = Request { from: None, to: None, by, cursor: None, limit: 1 };
    let cursor = reports.page::<Messages>(&request).await.expect("a page").next_cursor;
    request.cursor.clone_from(&cursor);
    assert!(matches!(reports.page::<Deliveries>(&request).await, Err(Error::BadCursor)));
    let elsewhere = Reports::beside(
        std::sync::Arc::new(crate::Memory::default()),
        verbatim_protocol::JournalId(uuid::Uuid::nil()),
    );
    assert!(matches!(elsewhere.page::<Messages>(&request).await, Err(Error::BadCursor)));
    request.cursor = Some("nonsense".to_owned());
    assert!(matches!(reports.page::<Messages>(&request).await, Err(Error::BadCursor)));
}

pub async fn a_range_has_whole_buckets<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    analytics.apply(varied().events()).await.expect("they follow");
    let counts = |from: Option<&'static str>, to: Option<&'static str>, limit| {
        let reports = reports.clone();
        async move {
            let by = "hour".parse().expect("a way");
            let (from, to) = (from.map(time), to.map(time));
            let mut request = Request { from, to, by, cursor: None, limit };
            let mut counts = Vec::new();
            loop {
                let page = reports.page::<Messages>(&request).await.expect("a page");
                counts.extend(page.data.iter().map(|row| row.figures.messages));
                match page.next_cursor {
                    Some(cursor) => {
                        request = Request { from: None, to: None, cursor: Some(cursor), ..request }
                    }
                    None => return counts,
                }
            }
        }
    };
    for limit in [1, 50] {
        assert_eq!(counts(None, None, limit).await, [1, 4, 1]);
        assert_eq!(counts(Some("2024-01-01T22:59:59.999Z"), None, limit).await, [1, 4, 1]);
        assert_eq!(counts(Some("2024-01-01T23:00:00Z"), None, limit).await, [4, 1]);
        assert_eq!(counts(None, Some("2024-01-01T23:00:00Z"), limit).await, [1, 4]);
        assert_eq!(counts(None, Some("2024-01-01T22:59:59.999Z"), limit).await, [1]);
        assert_eq!(
            counts(Some("2024-01-02T00:00:00+00:00"), Some("2030-01-01T00:00:00Z"), limit).await,
            [1]
        );
        assert!(counts(Some("2025-01-01T00:00:00Z"), None, limit).await.is_empty());
        assert!(
            counts(Some("2024-01-03T00:00:00Z"), Some("2024-01-01T00:00:00Z"), limit)
                .await
                .is_empty()
        );
    }
}

pub async fn waiting_ends_when_the_position_is_reached<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let history = varied();
    assert!(matches!(reports.reached(1, Duration::ZERO).await, Err(Error::Behind)));
    let (reached, applied) =
        tokio::join!(reports.reached(history.head(), Duration::from_secs(20)), async {
            analytics.wanted(1..).await;
            analytics.apply(history.events()).await
        });
    reached.and(applied).expect("it is there");
    reports.reached(0, Duration::ZERO).await.expect("it is there");
    let unknown = Reports::beside(std::sync::Arc::new(crate::Memory::default()), JOURNAL);
    assert!(matches!(unknown.reached(1, Duration::ZERO).await, Err(Error::Behind)));
}

pub async fn what_waits_for_long_is_few_rows_and_can_arrive_in_part<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let analytics = Analytics::new(store.clone());
    let reports = analytics.reports(JOURNAL);
    let mut history = History::at("2024-01-01T10:00:00.000Z");
    history.join("talk", "ann");
    history.join("talk", "bob");
    let said: Vec<_> = (0..100).map(|_| history.wait(1_000).say("talk", "ann", "user")).collect();
    analytics.apply(history.events()).await.expect("they follow");
    let waiting = async || {
        let generation = store.live().await.expect("there are rows").generation;
        let (low, high) = (key::awaited("bob", 0), key::awaited("bob", u64::MAX));
        store.page(generation, &low, &high, 1_000).await.expect("rows").len()
    };
    assert_eq!(waiting().await, 4, "32 in a row");
    for (noted, through, left) in [(50, 40, 3), (20, 40, 3), (99, 63, 2), (63, 98, 1), (0, 99, 0)] {
        history.note("bob", "talk", said[noted]);
        history.wait(1_000).deliver("bob", said[through], Acknowledged);
        history.note("bob", "talk", said[through]);
        let shown = analytics.checkpoint().await.expect("there is one");
        // Each by itself, too: what is stored is all that is known then.
        for event in history.after(shown).chunks(1) {
            analytics.apply(event).await.expect("they follow");
        }
        assert_reports(&reports, history.events(), 50).await;
        assert_eq!(waiting().await, left, "through {through}");
    }
}
