use verbatim_domain::StreamId;
use verbatim_domain::conversation::ConversationRead;
use verbatim_domain::inbox::{DeliveryAdvanced, DeliveryOutcome};
use verbatim_domain::{ConversationEvent, Event, InboxEvent};

use super::{
    Place, append_one, committed, conversation, duplicate, key, message, messages, positions,
    read_all, said, sequences,
};
use crate::{Append, Appended, Journal, Log};

fn advanced_to(through: u64) -> Event {
    let outcome = DeliveryOutcome::Presumed;
    InboxEvent::DeliveryAdvanced(DeliveryAdvanced { through, outcome }).into()
}

pub async fn positions_are_dense_over_all_streams<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let (a, b) = (conversation("a"), conversation("b"));
    // An inbox may have a conversation's name.
    let mut advanced = message(&StreamId::inbox(&"a".parse().expect("an id")), 0, "3");
    advanced.events = vec![advanced_to(1)];
    let first = journal
        .append(vec![messages(&a, 0, "1", 2), message(&b, 0, "2"), advanced])
        .await
        .expect("outcomes");
    let second = journal.append(vec![message(&b, 1, "4")]).await.expect("outcomes");
    let committed: Vec<_> = first.into_iter().chain(second).flat_map(committed).collect();
    assert_eq!(positions(&committed), [1, 2, 3, 4, 5]);
    assert_eq!(positions(&read_all(&journal).await), [1, 2, 3, 4, 5]);
}

pub async fn sequences_are_dense_within_each_stream<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let (a, b) = (conversation("a"), conversation("b"));
    for append in
        [messages(&a, 0, "1", 3), message(&b, 0, "2"), messages(&a, 3, "3", 2), message(&b, 1, "4")]
    {
        committed(append_one(&journal, append).await);
    }
    let a = journal.read_stream(&a, 0, 100).await.expect("events");
    assert_eq!(sequences(&a), [1, 2, 3, 4, 5]);
    let b = journal.read_stream(&b, 0, 100).await.expect("events");
    assert_eq!(sequences(&b), [1, 2]);
}

pub async fn a_batch_may_follow_on_its_own_appends<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let batch = (0..5).map(|n| message(&stream, n, &n.to_string())).collect();
    let outcomes = journal.append(batch).await.expect("outcomes");
    let events: Vec<_> = outcomes.into_iter().flat_map(committed).collect();
    assert_eq!(sequences(&events), [1, 2, 3, 4, 5]);
}

pub async fn a_wrong_expectation_is_a_conflict_and_appends_nothing<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    committed(append_one(&journal, message(&stream, 0, "1")).await);
    let outcomes = journal
        .append(vec![
            messages(&stream, 0, "behind", 2),
            message(&stream, 2, "ahead"),
            message(&conversation("b"), 1, "of nothing"),
            message(&stream, 1, "decided on top of those"),
            message(&conversation("c"), 0, "right"),
        ])
        .await
        .expect("outcomes");
    assert!(outcomes[..4].iter().all(|outcome| matches!(outcome, Appended::Conflict)));
    assert!(matches!(&outcomes[4], Appended::Committed(events) if events[0].position == 2));
    assert_eq!(read_all(&journal).await.len(), 2);
    // A refused command has not used its key.
    assert_eq!(journal.find_by_key(&key("ahead")).await.expect("an answer"), None);
    committed(append_one(&journal, message(&stream, 1, "ahead")).await);
}

pub async fn a_journal_that_can_be_written_says_so<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    committed(append_one(&journal, message(&conversation("a"), 0, "1")).await);
    journal.check_writable().await.expect("it can");
    assert_eq!(journal.head().await.expect("a head"), 1, "no event came of it");
}

pub async fn a_used_key_is_a_duplicate_of_its_command<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let original = committed(append_one(&journal, messages(&stream, 0, "once", 3)).await);
    committed(append_one(&journal, message(&stream, 3, "other")).await);
    // To the same stream, and to another.
    for again in [messages(&stream, 4, "once", 3), message(&conversation("b"), 0, "once")] {
        assert_eq!(duplicate(append_one(&journal, again).await), original[2]);
    }
    assert_eq!(journal.head().await.expect("a head"), 4);
    assert_eq!(read_all(&journal).await.len(), 4);
}

pub async fn a_key_used_earlier_in_the_batch_is_a_duplicate<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let mut outcomes = journal
        .append(vec![
            messages(&stream, 0, "once", 2),
            message(&stream, 2, "once"),
            message(&stream, 2, "other"),
            message(&conversation("b"), 0, "once"),
        ])
        .await
        .expect("outcomes");
    let last = outcomes.pop().map(duplicate).expect("an outcome");
    let other = outcomes.pop().map(committed).expect("an outcome");
    let again = outcomes.pop().map(duplicate).expect("an outcome");
    let original = outcomes.pop().map(committed).expect("an outcome");
    assert_eq!((&again, &last), (&original[1], &original[1]));
    assert_eq!(positions(&other), [3]);
    assert_eq!(read_all(&journal).await.len(), 3);
}

pub async fn a_duplicate_goes_before_a_conflict<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let original = committed(append_one(&journal, message(&stream, 0, "once")).await);
    // The retry still expects what the original did.
    let again = append_one(&journal, message(&stream, 0, "once")).await;
    assert_eq!(duplicate(again), original[0]);
    // Also in a stream that has met a conflict already.
    let batch = vec![message(&stream, 7, "other"), message(&stream, 1, "once")];
    let mut outcomes = journal.append(batch).await.expect("outcomes");
    assert_eq!(outcomes.pop().map(duplicate).as_ref(), original.first());
    assert!(matches!(outcomes[..], [Appended::Conflict]), "{outcomes:?}");
}

pub async fn a_refused_command_has_not_used_its_key<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let mut outcomes = journal
        .append(vec![
            message(&conversation("a"), 5, "once"),
            messages(&conversation("b"), 0, "once", 2),
            message(&conversation("c"), 0, "once"),
            message(&conversation("c"), 0, "other"),
        ])
        .await
        .expect("outcomes");
    let other = outcomes.pop().map(committed).expect("an outcome");
    let again = outcomes.pop().map(duplicate).expect("an outcome");
    let original = outcomes.pop().map(committed).expect("an outcome");
    assert!(matches!(outcomes[..], [Appended::Conflict]), "{outcomes:?}");
    assert_eq!(again, original[1]);
    assert_eq!(positions(&other), [3]);
    let stored = read_all(&journal).await;
    assert_eq!(stored, [original, other].concat());
}

pub async fn a_key_belongs_to_its_issuer<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    committed(append_one(&journal, message(&stream, 0, "once")).await);
    let mut other = message(&stream, 1, "once");
    other.key.issuer = "user_2".into();
    committed(append_one(&journal, other).await);
}

pub async fn a_key_may_be_any_text<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let keys = [
        "a",
        "A",
        "a ",
        "a\n",
        "'a'",
        "\"a\"",
        "a\\",
        "ä",
        "a\u{308}",
        "🦀",
        "{\"a\":1}",
        "%",
        "1",
    ];
    for (n, name) in keys.iter().enumerate() {
        let mut append = message(&stream, n as u64, "text");
        append.key = key(name);
        committed(append_one(&journal, append).await);
    }
    for (n, name) in keys.iter().enumerate() {
        let found = journal.find_by_key(&key(name)).await.expect("an answer").expect("an event");
        assert_eq!(found.position, n as u64 + 1, "{name:?}");
        assert_eq!(found.command, Some(key(name)));
    }
}

pub async fn keys_that_differ_after_a_nul_are_two<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    for (n, name) in ["a", "a\0", "a\0b", "\0"].into_iter().enumerate() {
        let mut append = message(&stream, n as u64, "text");
        append.key = key(name);
        let events = committed(append_one(&journal, append.clone()).await);
        assert_eq!(duplicate(append_one(&journal, append).await), events[0]);
        assert_eq!(events[0].command, Some(key(name)));
        let found = journal.find_by_key(&key(name)).await.expect("an answer");
        assert_eq!(found.as_ref(), events.first());
    }
}

pub async fn only_the_last_event_of_a_command_holds_its_key<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let events = committed(append_one(&journal, messages(&conversation("a"), 0, "once", 3)).await);
    for events in [events, read_all(&journal).await] {
        let keys: Vec<_> = events.iter().map(|event| event.command.clone()).collect();
        assert_eq!(keys, [None, None, Some(key("once"))]);
    }
}

pub async fn a_thousand_and_two_events_are_appended_at_once<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("group");
    let events = committed(append_one(&journal, messages(&stream, 0, "create", 1_002)).await);
    assert_eq!(positions(&events), (1..=1_002).collect::<Vec<_>>());
    assert_eq!(sequences(&read_all(&journal).await), (1..=1_002).collect::<Vec<_>>());
    assert_eq!(journal.read_stream(&stream, 1_001, 10).await.expect("events"), events[1_001..]);
}

pub async fn a_batch_of_a_thousand_appends_is_settled_in_order<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let appends = || {
        (0..1_000)
            .map(|n| message(&conversation(&format!("c{}", n % 300)), n / 300, &n.to_string()))
    };
    let outcomes = journal.append(appends().collect()).await.expect("outcomes");
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(committed(outcome)[0].position, n as u64 + 1);
    }
    let outcomes = journal.append(appends().collect()).await.expect("outcomes");
    for (n, outcome) in outcomes.into_iter().enumerate() {
        assert_eq!(duplicate(outcome).position, n as u64 + 1);
    }
}

pub async fn an_empty_batch_is_settled<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    assert!(journal.append(Vec::new()).await.expect("outcomes").is_empty());
    journal.save_snapshots(Vec::new()).await.expect("saved");
    assert_eq!(journal.head().await.expect("a head"), 0);
    assert!(journal.read_after(0, 10).await.expect("a page").is_empty());
}

pub async fn what_was_appended_is_what_is_read<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let reader_id = "user_2".parse().expect("an id");
    let events: Vec<Event> = vec![
        said("Hello!"),
        ConversationEvent::ConversationRead(ConversationRead { reader_id, through: 1 }).into(),
        advanced_to(u64::from(u32::MAX) + 1),
    ];
    for (n, event) in events.iter().enumerate() {
        let stream = match event {
            Event::Conversation(_) => conversation(&format!("a{n}")),
            Event::Inbox(_) => StreamId::inbox(&"user_1".parse().expect("an id")),
            Event::Audit(_) => StreamId::audit(&"user_1".parse().expect("an id")),
            Event::Erasures(_) => StreamId::erasures(),
            Event::Connections(_) => StreamId::connections(),
        };
        let append = Append {
            stream,
            expected: 0,
            events: vec![event.clone()],
            key: key(&n.to_string()),
            metadata: format!("{{\"commandId\":\"{n}\",\"note\":\"ä \\\" 🦀\"}}").into(),
        };
        let appended = committed(append_one(&journal, append.clone()).await);
        assert_eq!(appended[0].stream, append.stream);
        assert_eq!(appended[0].event, *event);
        assert_eq!(appended[0].metadata, append.metadata);
        assert_eq!(journal.read_after(n as u64, 10).await.expect("a page"), appended);
    }
}

pub async fn text_comes_back_as_it_was<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    let long = "ä🦀x".chars().cycle().take(14_000).collect::<String>();
    let texts = [
        "x".repeat(32_768),
        long[..32_768.min(long.len())].to_owned(),
        "a\0b\0".to_owned(),
        "\u{1}\u{7f}\u{85}\u{2028}\u{feff}\u{fffd}\u{10ffff}".to_owned(),
        "'; drop table events; --".to_owned(),
        "\"\\/\u{8}\u{c}\n\r\t{}[]".to_owned(),
        "e\u{301} is not é".to_owned(),
    ];
    for (n, text) in texts.iter().enumerate() {
        let mut append = message(&stream, n as u64, &n.to_string());
        append.events = vec![said(text)];
        committed(append_one(&journal, append).await);
    }
    for (event, text) in read_all(&journal).await.iter().zip(&texts) {
        let Event::Conversation(ConversationEvent::MessageSent(sent)) = &event.event else {
            panic!("{event:?} is no message");
        };
        assert_eq!(sent.personal.plain().expect("it was plain").content, *text);
    }
}

pub async fn recorded_times_never_decrease<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    let stream = conversation("a");
    for n in 0..20 {
        committed(append_one(&journal, messages(&stream, n * 2, &n.to_string(), 2)).await);
    }
    let events = read_all(&journal).await;
    assert!(events.is_sorted_by_key(|event| event.recorded_at));
    let now = verbatim_protocol::Timestamp::now().0;
    assert!((now - 60_000..=now + 1_000).contains(&events[39].recorded_at.0));
}

pub async fn the_head_is_never_behind_an_append<P: Place>() {
    let place = P::new().await;
    let journal = place.open().await;
    assert_eq!(journal.head().await.expect("a head"), 0);
    let stream = conversation("a");
    for n in 0..20 {
        let events = committed(append_one(&journal, message(&stream, n, &n.to_string())).await);
        assert_eq!(journal.head().await.expect("a head"), events[0].position);
        assert_eq!(journal.read_after(n, 10).await.expect("a page"), events);
    }
}
