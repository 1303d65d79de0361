//! The way of a command and its reply.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_thousand_commands_at_once_keep_their_order_over_all_lanes() {
    const COUNT: u64 = 20_000;
    let mut options = options();
    options.capacity.commands = COUNT as usize;
    options.stream.max_bytes = 64 << 20;
    let nats = open(options).await;
    let mut source = crate::conformance::open(&nats, &[]);
    let conversations = conversations();
    let begun = Instant::now();
    let replies: Vec<_> = (1..=COUNT)
        .map(|n| {
            let conversation = &conversations[(n % u64::from(LANES)) as usize];
            nats.send(command(conversation, n, PATIENCE))
        })
        .collect();
    let handler = tokio::spawn(async move {
        let mut last = HashMap::new();
        let mut left = COUNT as usize;
        while left > 0 {
            let requests = take_some(&mut *source).await;
            left -= requests.len();
            for request in requests {
                let (lane, number) = (request.place.expect("a place").lane, number(&request));
                let before = last.insert(lane, number);
                assert!(before.is_none_or(|before| before < number), "lane {lane}: {before:?}");
                (request.reply)(Ok(done(number)));
            }
        }
        last.len()
    });
    for (n, reply) in (1..).zip(replies) {
        assert_eq!(reply.await, Ok(done(n)));
    }
    let rate = COUNT as f64 / begun.elapsed().as_secs_f64();
    println!("{rate:.0} commands a second, there and back");
    assert_eq!(handler.await.expect("in order"), usize::from(LANES));
    assert_eq!(nats.waiting_commands(), 0);
    assert_eq!(nats.dropped(), Dropped::default());
}

async fn take_some(source: &mut dyn CommandSource) -> Vec<Request> {
    let taken = soon(source.next(512)).await.expect("the bus is open");
    taken.into_iter().filter_map(Taken::request).collect()
}

#[tokio::test]
async fn a_stream_that_is_full_refuses_at_once_and_takes_again_when_there_is_room() {
    let mut options = options();
    options.stream.max_messages = 2;
    let nats = open(options).await;
    fill(&nats, 1..=2).await;
    let begun = Instant::now();
    assert!(is_unavailable(&nats.send(one(3)).await));
    assert!(begun.elapsed() < PATIENCE / 6, "its own deadline is far");
    assert_eq!(nats.waiting_commands(), 0);
    stream(&nats).await.purge().await.expect("it can be purged");
    fill(&nats, 4..=4).await;
}

#[tokio::test]
async fn without_a_stream_commands_are_refused_at_once() {
    let nats = Nats::connect(options()).await.expect("a connection");
    let begun = Instant::now();
    // As two messages.
    let replies: Vec<_> = (1..=100).map(|n| nats.send(one(n))).collect();
    for reply in replies {
        assert!(is_unavailable(&reply.await));
    }
    assert!(begun.elapsed() < PATIENCE / 6, "their own deadline is far");
}

#[tokio::test]
async fn commands_to_a_lane_that_wait_together_are_one_message_and_its_place_comes_with_the_last() {
    let nats = open(options()).await;
    let mut source = crate::conformance::open(&nats, &[]);
    fill(&nats, 1..=1).await;
    let first = cursor(&take(&mut *source, 1).await[0]);
    // On one thread, they are all handed over before any of them goes out.
    let replies: Vec<_> = (2..=201).map(|n| nats.send(one(n))).collect();
    let mut taken = Vec::new();
    let mut given = Vec::new();
    while taken.len() < 200 {
        // Some are asked for; the rest of their message comes with them.
        let more = soon(source.next(10)).await.expect("the bus is open");
        given.push(more.len());
        taken.extend(more.into_iter().filter_map(Taken::request));
    }
    assert_eq!(given, [64, 64, 64, 8]);
    assert_eq!(numbers(&taken), (2..=201).collect::<Vec<_>>());
    assert_eq!(stored(&nats).await, 5, "64 at most are one message");
    let places = taken.iter().map(|request| request.place.and_then(|place| place.cursor));
    let places: Vec<_> = places.map(|cursor| cursor.expect("one came before").sequence).collect();
    let wanted = [(1, 63), (2, 64), (3, 64), (4, 8), (5, 1)];
    let wanted = wanted.into_iter().flat_map(|(place, times)| std::iter::repeat_n(place, times));
    assert_eq!(places, wanted.collect::<Vec<_>>());
    // Who goes on from the place before gets the whole message again, whatever was handled of it.
    let mut next = nats.commands();
    next.follow(lane(), Some(first));
    let again = take(&mut *next, 200).await;
    assert_eq!(numbers(&again), numbers(&taken));
    for request in again {
        let number = number(&request);
        (request.reply)(Ok(done(number)));
    }
    for (n, reply) in (2..).zip(replies) {
        assert_eq!(reply.await, Ok(done(n)));
    }
    assert_eq!(nats.dropped(), Dropped::default());
}

#[tokio::test]
async fn a_message_of_more_lines_than_any_has_is_one_that_cannot_be_read() {
    let nats = open(options()).await;
    let mut source = crate::conformance::open(&nats, &[]);
    let subject = nats.readers.subjects.command(lane());
    nats.link.client().publish(subject, "\n".repeat(64).into()).await.expect("it goes out");
    fill(&nats, 1..=1).await;
    let taken = soon(source.next(1)).await.expect("the bus is open");
    assert!(matches!(&*taken, [Taken::Undecodable { command, .. }] if command.len() == 64));
    assert_eq!(numbers(&take(&mut *source, 1).await), [1]);
}

#[tokio::test]
async fn of_a_message_that_makes_no_sense_what_does_is_handled() {
    let nats = open(options()).await;
    let mut source = crate::conformance::open(&nats, &[]);
    let subjects = &nats.readers.subjects;
    let mut answers = nats.link.client().subscribe(subjects.answers()).await.expect("subscribed");
    let json = |n| serde_json::to_string(&one(n)).expect("it can be written");
    let payload = format!("{}\ns3cret\n\n{}\n{}", json(1), json(2), json(3));
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(subjects::REPLY_TO, subjects.replies(&[1, 2, 3, 4]));
    let published =
        nats.link.client().publish_with_headers(subjects.command(lane()), headers, payload.into());
    published.await.expect("it goes out");
    let mut taken = Vec::new();
    while taken.len() < 5 {
        taken.extend(soon(source.next(8)).await.expect("the bus is open"));
    }
    let mut places = Vec::new();
    for taken in taken {
        places.push(match &taken {
            Taken::Request(request) => request.place.and_then(|place| place.cursor),
            Taken::Undecodable { place, reason, .. } => {
                assert!(!reason.contains("s3cret"), "{reason}");
                place.cursor
            }
        });
        if let Some(request) = taken.request() {
            let number = number(&request);
            (request.reply)(Ok(done(number)));
        }
    }
    let places: Vec<_> = places.iter().map(|place| place.map(|place| place.sequence)).collect();
    assert_eq!(places, [None, None, None, None, Some(1)]);
    // Of the two that can't be read and of those that can, to the last, whose number nobody gave.
    let mut answered = Vec::new();
    while answered.len() < 4 {
        let answer = soon(futures::StreamExt::next(&mut answers)).await.expect("an answer");
        match subjects.parse_answer(&answer.subject) {
            Some(subjects::Answers::Settled(number)) => answered.push(number),
            Some(subjects::Answers::SettledMany) => {
                let replies = replies::unpack(&answer.payload).flatten();
                answered.extend(replies.map(|(number, _)| number));
            }
            _ => {}
        }
    }
    answered.sort_unstable();
    assert_eq!(answered, [1, 2, 3, 4]);
}

#[tokio::test]
async fn nothing_is_left_of_commands_that_nobody_waits_for() {
    let nats = open(options()).await;
    let replies: Vec<_> = (1..=100).map(|n| nats.send(one(n))).collect();
    assert_eq!(nats.waiting_commands(), 100);
    drop(replies);
    assert_eq!(nats.waiting_commands(), 0);
    let reply = nats.send(command("conv_1", 101, Duration::from_millis(50)));
    assert!(is_unavailable(&reply.await));
    assert_eq!(nats.waiting_commands(), 0);
}

#[tokio::test]
async fn a_command_that_is_larger_than_the_server_takes_is_refused_as_such() {
    let nats = open(options()).await;
    let mut large = one(1);
    large.key.key = "x".repeat(2 << 20).into();
    let failure = nats.send(large).await.expect_err("it is too large");
    assert_eq!(failure.code, ErrorCode::PayloadTooLarge);
}

#[tokio::test]
async fn what_is_no_command_is_given_out_as_undecodable_in_its_place() {
    let nats = open(options()).await;
    let subject = nats.readers.subjects.command(lane());
    let elsewhere = command(&conversations()[usize::from((lane() + 1) % LANES)], 9, PATIENCE);
    fill(&nats, 1..=1).await;
    let junk = [
        "s3cret".into(),
        r#"{"s3cret": 1}"#.into(),
        serde_json::to_vec(&elsewhere).expect("it can be written"),
        Vec::new(),
    ];
    for payload in junk.clone() {
        let published = nats.link.client().publish(subject.clone(), payload.into()).await;
        published.expect("it goes out");
    }
    eventually("the stream has them", async || stored(&nats).await == 5).await;
    fill(&nats, 2..=2).await;

    let mut source = crate::conformance::open(&nats, &[]);
    let mut taken = Vec::new();
    while taken.len() < 6 {
        taken.extend(soon(source.next(6)).await.expect("the bus is open"));
    }
    let mut found = Vec::new();
    for (sequence, taken) in (1..).zip(taken) {
        match taken {
            Taken::Request(request) => {
                assert_eq!(cursor(&request).sequence, sequence);
                assert!([1, 6].contains(&sequence));
            }
            Taken::Undecodable { place, command, reason } => {
                let cursor = place.cursor.expect("it stands alone");
                assert_eq!((place.lane, cursor.sequence), (lane(), sequence));
                assert!(!reason.contains("s3cret"), "{reason}");
                found.push(command);
            }
        }
    }
    assert_eq!(found, junk);
}

#[tokio::test]
async fn whose_command_cannot_be_read_here_hears_of_it_at_once() {
    let nats = open(options()).await;
    let mut source = crate::conformance::open(&nats, &[]);
    let subjects = &nats.readers.subjects;
    let mut answers = nats.link.client().subscribe(subjects.answers()).await.expect("subscribed");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(subjects::REPLY_TO, subjects.replies(&[7]));
    let published =
        nats.link.client().publish_with_headers(subjects.command(lane()), headers, "new".into());
    published.await.expect("it goes out");
    assert!(matches!(soon(source.next(1)).await.as_deref(), Some([Taken::Undecodable { .. }])));
    let answer = soon(futures::StreamExt::next(&mut answers)).await.expect("an answer");
    assert_eq!(answer.subject.as_str(), subjects.replies(&[7]));
    assert!(is_unavailable(&serde_json::from_slice(&answer.payload).expect("a reply")));
}

#[tokio::test]
async fn replies_go_nowhere_but_to_inboxes() {
    let nats = open(options()).await;
    let mut overheard = nats.link.client().subscribe("somewhere.else").await.expect("subscribed");
    let mut headers = async_nats::HeaderMap::new();
    headers.insert(subjects::REPLY_TO, "somewhere.else");
    let payload = serde_json::to_vec(&one(1)).expect("it can be written");
    let subject = nats.readers.subjects.command(lane());
    let published = nats.link.client().publish_with_headers(subject, headers, payload.into());
    published.await.expect("it goes out");
    let mut source = crate::conformance::open(&nats, &[]);
    for request in take(&mut *source, 1).await {
        (request.reply)(Ok(done(1)));
    }
    // What went out before this is known to have come.
    let reply = nats.send(one(2));
    for request in take(&mut *source, 1).await {
        (request.reply)(Ok(done(2)));
    }
    assert_eq!(reply.await, Ok(done(2)));
    assert!(futures::FutureExt::now_or_never(futures::StreamExt::next(&mut overheard)).is_none());
}

#[tokio::test]
async fn junk_among_the_answers_is_counted_and_ignored() {
    let nats = open(options()).await;
    let mut source = crate::conformance::open(&nats, &[]);
    let reply = nats.send(one(1));
    let subjects = &nats.readers.subjects;
    for (subject, payload) in [
        (subjects.replies(&[1]).into(), "junk"),
        (subjects.ack(&[1]), "junk"),
        (subjects.ack(&[1, 2]), ""),
        (subjects.replies(&[1]).into(), r#"{"Ok": 1}"#),
        (format!("{}.command.reply.x", subjects.inbox()).into(), "{}"),
        (format!("{}.command.else.1", subjects.inbox()).into(), "{}"),
        // For nobody; that is nothing to count.
        (subjects.replies(&[77]).into(), r#"{"Ok": {"position": 1, "duplicate": false}}"#),
    ] {
        nats.link.client().publish(subject, payload.into()).await.expect("it goes out");
    }
    for request in take(&mut *source, 1).await {
        (request.reply)(Ok(done(1)));
    }
    assert_eq!(reply.await, Ok(done(1)));
    assert_eq!(nats.dropped(), Dropped { malformed: 6, ..Dropped::default() });
}
