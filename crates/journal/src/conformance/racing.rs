use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::sync::Arc;
use std::task::Poll;

use tokio::task::JoinSet;

use super::{
    Place, append_one, committed, conversation, key, message, messages, positions, read_all,
};
use crate::{Appended, Journal, Log};

const RACERS: u64 = 20;

pub async fn one_of_twenty_racing_appends_wins_the_stream<P: Place>() {
    let place = P::new().await;
    let journal = Arc::new(place.open().await);
    for round in 0..10 {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let journal = Arc::clone(&journal);
            racers.spawn(async move {
                let append = message(&conversation("a"), round, &format!("{round}/{racer}"));
                append_one(&*journal, append).await
            });
        }
        let outcomes = racers.join_all().await;
        let won =
            outcomes.iter().filter(|outcome| matches!(outcome, Appended::Committed(_))).count();
        let lost = outcomes.iter().filter(|outcome| matches!(outcome, Appended::Conflict)).count();
        assert_eq!((won, lost), (1, 19));
    }
    assert_eq!(journal.head().await.expect("a head"), 10);
}

pub async fn one_of_twenty_racing_commands_wins_the_key<P: Place>() {
    let place = P::new().await;
    let journal = Arc::new(place.open().await);
    for round in 0..10 {
        let mut racers = JoinSet::new();
        for racer in 0..RACERS {
            let journal = Arc::clone(&journal);
            racers.spawn(async move {
                let stream = conversation(&format!("{round}.{racer}"));
                append_one(&*journal, messages(&stream, 0, &format!("{round}"), 2)).await
            });
        }
        let outcomes = racers.join_all().await;
        let mut won = Vec::new();
        let mut original = Vec::new();
        for outcome in outcomes {
            match outcome {
                Appended::Committed(mut events) => won.extend(events.pop()),
                Appended::Duplicate(event) => original.push(event),
                Appended::Conflict | Appended::Fenced => panic!("each has a stream of its own"),
            }
        }
        assert_eq!((won.len(), original.len()), (1, 19));
        assert!(original.iter().all(|event| *event == won[0]));
    }
    assert_eq!(positions(&read_all(&*journal).await), (1..=20).collect::<Vec<_>>());
}

pub async fn every_one_of_many_callers_is_answered<P: Place>() {
    const CALLERS: u64 = 50;
    const APPENDS: u64 = 20;
    let place = P::new().await;
    let journal = Arc::new(place.open().await);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let journal = Arc::clone(&journal);
        callers.spawn(async move {
            let stream = conversation(&format!("c{caller}"));
            for n in 0..APPENDS {
                let append = message(&stream, n, &format!("{caller}/{n}"));
                let events = committed(append_one(&*journal, append).await);
                assert_eq!(events[0].sequence, n + 1);
            }
        });
    }
    callers.join_all().await;
    let events = read_all(&*journal).await;
    assert_eq!(positions(&events), (1..=CALLERS * APPENDS).collect::<Vec<_>>());
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
    let mut last = HashMap::new();
    for event in &events {
        let sequence = last.entry(&event.stream).or_insert(0);
        *sequence += 1;
        assert_eq!(event.sequence, *sequence);
    }
}

pub async fn an_abandoned_append_is_whole_or_not_at_all<P: Place>() {
    const ABANDONED: usize = 30;
    let place = P::new().await;
    let journal = place.open().await;
    let batch = |n: usize| {
        let name = format!("c{n}");
        let stream = conversation(&name);
        vec![
            messages(&stream, 0, &format!("{name}/1"), 3),
            messages(&stream, 3, &format!("{name}/2"), 3),
        ]
    };
    for n in 0..ABANDONED {
        let mut append = Box::pin(journal.append(batch(n)));
        for _ in 0..n % 3 {
            poll_fn(|context| Poll::Ready(append.as_mut().poll(context).is_ready())).await;
        }
        drop(append);
    }
    committed(append_one(&journal, message(&conversation("after"), 0, "after")).await);
    // Whoever was not told asks again, and is answered with what happened.
    for n in 0..ABANDONED {
        let stored =
            journal.read_stream(&conversation(&format!("c{n}")), 0, 10).await.expect("events");
        assert!([0, 6].contains(&stored.len()), "{} of 6", stored.len());
        let outcomes = journal.append(batch(n)).await.expect("outcomes");
        let done = outcomes.iter().all(|outcome| match outcome {
            Appended::Committed(_) => true,
            Appended::Duplicate(last) => last.sequence % 3 == 0,
            Appended::Conflict | Appended::Fenced => false,
        });
        assert!(done, "{outcomes:?}");
        assert!(journal.find_by_key(&key(&format!("c{n}/2"))).await.expect("an answer").is_some());
    }
    let count = ABANDONED as u64 * 6 + 1;
    assert_eq!(positions(&read_all(&journal).await), (1..=count).collect::<Vec<_>>());
}
