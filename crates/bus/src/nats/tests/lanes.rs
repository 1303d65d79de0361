//! Reading lanes: from cursors, beside others, and after the stream was lost.

use futures::{StreamExt, TryStreamExt};

use super::*;

/// Takes what there is, and checks that no more comes.
async fn exactly(source: &mut dyn CommandSource, expected: std::ops::RangeInclusive<u64>) {
    let count = expected.clone().count();
    assert_eq!(numbers(&take(source, count).await), expected.collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_lanes_and_every_command_is_answered_once() {
    let options = options();
    let (one, two) = (open(options.clone()).await, open(options.clone()).await);
    let gateway = open(options).await;
    let mut handlers = Vec::new();
    for (nats, lanes) in [(one, 0..LANES / 2), (two, LANES / 2..LANES)] {
        let mut source = nats.commands();
        lanes.clone().for_each(|lane| source.follow(lane, None));
        handlers.push(tokio::spawn(async move {
            let mut handled = 0;
            while let Some(taken) = source.next(64).await {
                for request in taken.into_iter().filter_map(Taken::request) {
                    assert!(lanes.contains(&request.place.expect("a place").lane));
                    if number(&request) == 0 {
                        nats.close();
                    } else {
                        handled += 1;
                        let position = number(&request);
                        (request.reply)(Ok(done(position)));
                    }
                }
            }
            assert!(nats.flush(PATIENCE).await);
            handled
        }));
    }
    let conversations = conversations();
    let replies: Vec<_> = (1..=2_000_u64)
        .map(|n| gateway.send(command(&conversations[(n % 64) as usize], n, PATIENCE)))
        .collect();
    for (n, reply) in (1..).zip(replies) {
        assert_eq!(reply.await, Ok(done(n)));
    }
    for conversation in [&conversations[0], &conversations[63]] {
        drop(gateway.send(command(conversation, 0, PATIENCE)));
    }
    let mut handled = 0;
    for handler in handlers {
        handled += soon(handler).await.expect("no panic");
    }
    assert_eq!(handled, 2_000);
}

#[tokio::test]
async fn a_lane_that_is_handed_over_loses_nothing_and_repeats_nothing() {
    let options = options();
    let (one, two) = (open(options.clone()).await, open(options).await);
    let mut sources = [one.commands(), two.commands()];
    sources[0].follow(lane(), None);
    let (mut sent, mut seen, mut after) = (0, Vec::new(), None);
    for turn in 0..10 {
        fill(&one, sent + 1..=sent + 50).await;
        sent += 50;
        let taken = take(&mut *sources[turn % 2], 20 + turn).await;
        seen.extend(numbers(&taken));
        after = taken.last().map(cursor).or(after);
        // They were given out and not handled; so the next owner must not be answered for.
        drop(taken);
        sources[turn % 2].leave(lane());
        sources[(turn + 1) % 2].follow(lane(), after);
    }
    seen.extend(numbers(&take(&mut *sources[0], 500 - seen.len()).await));
    assert_eq!(seen, (1..=500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_lane_that_is_handed_over_in_a_message_repeats_nothing_of_what_was_given_out() {
    let options = options();
    let (one, two) = (open(options.clone()).await, open(options).await);
    let mut sources = [one.commands(), two.commands()];
    sources[0].follow(lane(), None);
    let replies: Vec<_> = (1..=100).map(|n| one.send(super::one(n))).collect();
    // Some of the first of two messages.
    let taken = soon(sources[0].next(3)).await.expect("the bus is open");
    let taken: Vec<_> = taken.into_iter().filter_map(Taken::request).collect();
    let after = taken.last().and_then(|request| request.place?.cursor);
    let mut seen = numbers(&taken);
    sources[0].leave(lane());
    sources[1].follow(lane(), after);
    seen.extend(numbers(&take(&mut *sources[1], 100 - seen.len()).await));
    assert_eq!(seen, (1..=100).collect::<Vec<_>>());
    drop(replies);
}

#[tokio::test]
async fn who_left_a_lane_does_not_answer_for_it() {
    let options = options();
    let (old, new) = (open(options.clone()).await, open(options).await);
    let mut first = old.commands();
    first.follow(lane(), None);
    let reply = old.send(one(1));
    let dropped = take(&mut *first, 1).await;
    first.leave(lane());
    drop(dropped);
    let mut second = new.commands();
    second.follow(lane(), None);
    for request in take(&mut *second, 1).await {
        (request.reply)(Ok(done(7)));
    }
    assert_eq!(reply.await, Ok(done(7)));
}

#[tokio::test]
async fn what_a_left_lane_had_queued_is_dropped() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=10).await;
    eventually("they are queued", async || nats.queued_commands() == 10).await;
    source.leave(lane());
    assert_eq!(nats.queued_commands(), 0);
    source.follow(lane(), None);
    exactly(&mut *source, 1..=10).await;
}

#[tokio::test]
async fn what_another_client_took_from_the_consumer_is_read_again() {
    let mut options = options();
    options.lane_window = 8;
    let nats = open(options).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=20).await;
    eventually("the window is full", async || nats.queued_commands() == 8).await;
    let stream = stream(&nats).await;
    for name in consumers(&stream).await {
        let consumer: async_nats::jetstream::consumer::PullConsumer =
            stream.get_consumer(&name).await.expect("the consumer is there");
        let taken = consumer.fetch().max_messages(4).messages().await.expect("messages");
        assert_eq!(taken.count().await, 4);
    }
    exactly(&mut *source, 1..=20).await;
}

#[tokio::test]
async fn a_slow_handler_holds_up_the_server_and_loses_nothing() {
    let mut options = options();
    options.lane_window = 8;
    let nats = open(options).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=500).await;
    eventually("the window is full", async || nats.queued_commands() == 8).await;
    exactly(&mut *source, 1..=100).await;
    // While nobody asks, the server forgets the consumer.
    eventually("the window is full again", async || nats.queued_commands() == 8).await;
    delete_consumers(&nats).await;
    exactly(&mut *source, 101..=500).await;
    assert_eq!(nats.dropped(), Dropped::default());
}

async fn consumers(stream: &async_nats::jetstream::stream::Stream) -> Vec<String> {
    let names: Vec<_> = stream.consumer_names().try_collect().await.expect("names");
    assert!(!names.is_empty());
    names
}

async fn delete_consumers(nats: &Nats) {
    let stream = stream(nats).await;
    for name in consumers(&stream).await {
        stream.delete_consumer(&name).await.expect("it can be deleted");
    }
}

#[tokio::test]
async fn junk_in_a_lanes_inbox_is_counted_and_ignored() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=1).await;
    exactly(&mut *source, 1..=1).await;
    let inbox = nats.readers.subjects.lane(lane(), 1);
    let client = nats.link.client();
    // The server lets nobody else have the subjects of acknowledgements.
    for reply in ["a", "$JS.ACK.x", "$JS.ACK.s.c.1.2.2.1.0"] {
        let payload = serde_json::to_vec(&one(9)).expect("it can be written");
        let published = client.publish_with_reply(inbox.clone(), reply, payload.into()).await;
        published.expect("it goes out");
    }
    client.publish(inbox, "junk".into()).await.expect("it goes out");
    fill(&nats, 2..=3).await;
    exactly(&mut *source, 2..=3).await;
    assert_eq!(nats.dropped(), Dropped { malformed: 2, ..Dropped::default() });
}

#[tokio::test]
async fn a_consumer_that_is_deleted_is_made_anew_where_it_was() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=3).await;
    exactly(&mut *source, 1..=3).await;
    delete_consumers(&nats).await;
    fill(&nats, 4..=6).await;
    exactly(&mut *source, 4..=6).await;
}

#[tokio::test]
async fn a_lane_that_is_left_leaves_no_consumer_behind() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=1).await;
    exactly(&mut *source, 1..=1).await;
    source.leave(lane());
    eventually("it is gone", async || stream(&nats).await.cached_info().state.consumer_count == 0)
        .await;
}

#[tokio::test]
async fn a_stream_that_is_deleted_under_a_reader_is_made_anew_and_read_from_its_beginning() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=5).await;
    exactly(&mut *source, 1..=5).await;
    delete_stream(&nats).await;
    eventually("it is there again", async || {
        let stream = &nats.readers.stream;
        stream.context.get_stream(&stream.name).await.is_ok()
    })
    .await;
    fill(&nats, 6..=8).await;
    exactly(&mut *source, 6..=8).await;
}

#[tokio::test]
async fn a_stream_that_is_replaced_under_a_reader_is_read_from_its_beginning() {
    let options = options();
    let nats = open(options.clone()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=2).await;
    exactly(&mut *source, 1..=2).await;
    // Replaced at once, and longer than the old one before the reader hears of it.
    let other = Nats::connect(options).await.expect("a connection");
    delete_stream(&nats).await;
    other.ensure_stream().await.expect("a stream");
    fill(&other, 3..=9).await;
    exactly(&mut *source, 3..=9).await;
}

#[tokio::test]
async fn a_stream_that_is_purged_under_a_reader_goes_on() {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=5).await;
    exactly(&mut *source, 1..=5).await;
    stream(&nats).await.purge().await.expect("it can be purged");
    fill(&nats, 6..=8).await;
    exactly(&mut *source, 6..=8).await;
}

/// A stream with five commands, and the cursors of the first three.
async fn with_cursors() -> (Nats, Vec<LaneCursor>) {
    let nats = open(options()).await;
    let mut source = nats.commands();
    source.follow(lane(), None);
    fill(&nats, 1..=5).await;
    let cursors = take(&mut *source, 3).await.iter().map(cursor).collect();
    (nats, cursors)
}

#[tokio::test]
async fn a_cursor_is_gone_on_from_whether_or_not_its_command_is_still_there() {
    let (nats, cursors) = with_cursors().await;
    let mut source = nats.commands();
    source.follow(lane(), Some(cursors[2]));
    exactly(&mut *source, 4..=5).await;
    stream(&nats).await.purge().sequence(4).await.expect("it can be purged");
    let mut source = nats.commands();
    source.follow(lane(), Some(cursors[0]));
    exactly(&mut *source, 4..=5).await;
    source.follow(lane(), Some(cursors[2]));
    exactly(&mut *source, 4..=5).await;
}

#[tokio::test]
async fn a_cursor_of_another_stream_is_not_trusted() {
    let (nats, cursors) = with_cursors().await;
    delete_stream(&nats).await;
    nats.ensure_stream().await.expect("a stream");
    // As long as the old one, and longer.
    for last in [5, 9] {
        fill(&nats, stored(&nats).await + 1..=last).await;
        let mut source = nats.commands();
        source.follow(lane(), Some(cursors[2]));
        exactly(&mut *source, 1..=last).await;
    }
}

#[tokio::test]
async fn a_cursor_ahead_of_a_stream_that_was_set_back_is_not_trusted() {
    let (nats, cursors) = with_cursors().await;
    let mut source = nats.commands();
    // What the stream held before it was set back.
    source.follow(lane(), Some(LaneCursor { sequence: 6, ..cursors[2] }));
    exactly(&mut *source, 1..=5).await;
    // It has grown again since: another command stands there now.
    source.follow(lane(), Some(LaneCursor { at: cursors[2].at - 1, ..cursors[2] }));
    exactly(&mut *source, 1..=5).await;
    fill(&nats, 6..=6).await;
    exactly(&mut *source, 6..=6).await;
}

#[tokio::test]
async fn a_stream_whose_settings_differ_is_mended() {
    let mut options = options();
    let nats = open(options.clone()).await;
    // As earlier versions made it.
    let mut found = stream(&nats).await.cached_info().config.clone();
    let wanted = found.max_age;
    (found.max_age, found.duplicate_window) = (4 * wanted, 4 * wanted);
    let jetstream = async_nats::jetstream::new(nats.link.client().clone());
    jetstream.update_stream(found).await.expect("changed");
    options.stream.max_messages = 77;
    let nats = open(options).await;
    let config = stream(&nats).await.cached_info().config.clone();
    assert_eq!((config.max_messages, config.max_age), (77, wanted));
}
