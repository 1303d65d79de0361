//! Order and numbers, however full the pipeline.

use super::*;

#[tokio::test]
async fn ten_thousand_sends_in_one_conversation_are_numbered_densely() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    let replies = (0..10_000).map(|n| service.say("ann", "c", &n.to_string()));
    let replies = all(replies.collect::<Vec<_>>()).await;
    for (n, reply) in (2..).zip(replies) {
        assert_eq!(sequence(reply), n, "in the order in which they were given");
    }
    assert_eq!(said(&*service.journal, "c").await.len(), 10_001);
    let batches = service.journal.begun().len();
    assert!(batches < 100, "one conversation fills whole batches, but there were {batches}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_sockets_messages_keep_their_order() {
    let service = Arc::new(Service::new());
    service.start_conversation("ann", "bob", "c").await;
    let sockets = ["ann", "bob", "ann", "bob"].map(|from| {
        let service = Arc::clone(&service);
        tokio::spawn(async move {
            let replies: Vec<_> =
                (0..500).map(|n| service.say(from, "c", &n.to_string())).collect();
            all(replies).await.into_iter().map(sequence).collect::<Vec<_>>()
        })
    });
    let mut numbers = Vec::new();
    for socket in sockets {
        let of_one = socket.await.expect("no panic");
        assert!(of_one.is_sorted(), "{of_one:?}");
        numbers.extend(of_one);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (2..=2_001).collect::<Vec<_>>());
}

#[tokio::test]
async fn the_next_batch_forms_while_one_is_being_appended() {
    let service = Service::new();
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let first = service.say("ann", "c", "a");
    until(|| service.journal.begun().len() == 2).await;
    let more: Vec<_> = (0..50).map(|n| service.say("bob", "c", &n.to_string())).collect();
    service.taken().await;
    service.journal.release();
    assert_eq!(sequence(soon(first).await), 2);
    let numbers: Vec<_> = all(more).await.into_iter().map(sequence).collect();
    assert_eq!(numbers, (3..=52).collect::<Vec<_>>());
    assert_eq!(service.journal.begun(), [1, 1, 50]);
}

#[tokio::test]
async fn a_batch_has_a_bound_and_the_rest_waits_in_the_queue() {
    let service = Service::with(Settings { max_batch: 10, ..Settings::default() });
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let replies: Vec<_> = (0..100).map(|n| service.say("ann", "c", &n.to_string())).collect();
    until(|| service.bus.queued_commands() == 80).await;
    service.journal.release();
    assert!(all(replies).await.into_iter().map(sequence).eq(2..=101));
    assert!(service.journal.begun().iter().all(|&size| size <= 10));
}

#[tokio::test]
async fn more_rejections_than_a_batch_holds_are_all_answered() {
    let service = Service::with(Settings { max_batch: 4, ..Settings::default() });
    // They wait for their conversation together, and then there is nothing to append.
    let replies: Vec<_> = (0..50).map(|n| service.say("ann", "c", &n.to_string())).collect();
    for reply in all(replies).await {
        assert_eq!(refusal(reply), ErrorCode::NotFound);
    }
    assert_eq!(service.journal.begun().len(), 0);
}

#[tokio::test]
async fn what_does_not_fit_a_batch_is_decided_while_that_is_appended() {
    let service = Service::with(Settings { max_batch: 4, ..Settings::default() });
    service.journal.hold();
    let replies: Vec<_> =
        (0..10).map(|n| service.give(to_target(say("ann", "c", &n.to_string()), "bob"))).collect();
    until(|| service.journal.begun().len() == 1).await;
    service.journal.release();
    assert!(all(replies).await.into_iter().map(sequence).eq(1..=10));
    assert_eq!(service.journal.begun(), [4, 4, 2]);
}

#[tokio::test]
async fn a_group_of_a_thousand_is_made_in_one_append_and_can_be_spoken_in() {
    let service = Service::new();
    let members: Vec<_> = (0..1_000).map(|n| format!("member_{n}")).collect();
    let created = accepted(soon(service.give(group("g", "ann", &members))).await);
    assert_eq!((created.position, created.duplicate, created.message), (1_002, false, None));
    assert_eq!(sequence(soon(service.say("member_999", "g", "Hello!")).await), 1);

    let again = accepted(soon(service.give(group("g", "ann", &members))).await);
    assert!(again.duplicate && again.position >= created.position);
    let other = soon(service.give(group("g", "ann", &members[1..]))).await;
    assert_eq!(refusal(other), ErrorCode::IdempotencyConflict);
}

#[tokio::test]
async fn many_groups_at_once_are_spread_over_appends() {
    let settings = Settings { max_batch_events: 100, ..Settings::default() };
    let service = Service::with(settings);
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let members: Vec<_> = (0..30).map(|n| format!("member_{n}")).collect();
    let replies: Vec<_> =
        (0..40).map(|n| service.give(group(&format!("g{n}"), "ann", &members))).collect();
    service.taken().await;
    service.journal.release();
    for reply in all(replies).await {
        accepted(reply);
    }
    // Each makes 32 events; an append stops at the first past the bound.
    assert!(service.journal.begun().iter().all(|&size| size <= 4), "{:?}", service.journal.begun());
}

#[tokio::test]
async fn more_conversations_than_the_cache_holds_stay_dense() {
    let settings = Settings { hot_members: 9, max_loads: 2, max_batch: 8, ..Settings::default() };
    let service = Service::with(settings);
    let replies: Vec<_> = (0..2_000)
        .map(|n| {
            // A hot one between cold ones.
            let id = if n % 3 == 0 { "hot".to_owned() } else { format!("c{}", n % 40) };
            service.give(to_target(say("ann", &id, &n.to_string()), "bob"))
        })
        .collect();
    for reply in all(replies).await {
        accepted(reply);
    }
    let mut total = 0;
    for id in (0..40).map(|n| format!("c{n}")).chain(["hot".to_owned()]) {
        let said = said(&*service.journal, &id).await;
        let numbers: Vec<u32> = said.iter().map(|text| text.parse().expect("a number")).collect();
        assert!(numbers.is_sorted(), "{id} is in the order in which it was said");
        total += numbers.len();
    }
    assert_eq!(total, 2_000);
    assert!(service.metrics().contains("verbatim_hot_aggregates 3"), "{}", service.metrics());
}

#[tokio::test]
async fn a_conversation_in_the_pipeline_is_not_evicted() {
    let settings = Settings { hot_members: 3, ..Settings::default() };
    let service = Service::with(settings);
    service.start_conversation("ann", "bob", "c").await;
    service.journal.hold();
    let second = service.say("ann", "c", "second");
    until(|| service.journal.begun().len() == 2).await;
    // It would push "c" out, whose next message must still follow on the second.
    let other = service.give(to_target(say("ann", "d", "other"), "bob"));
    service.taken().await;
    let third = service.say("bob", "c", "third");
    service.taken().await;
    service.journal.release();
    assert_eq!(sequence(soon(second).await), 2);
    assert_eq!(sequence(soon(other).await), 1);
    assert_eq!(sequence(soon(third).await), 3);
    assert_eq!(service.journal.begun().iter().sum::<usize>(), 4, "nothing was appended twice");
}

#[tokio::test]
async fn committed_events_are_announced_contiguously() {
    let service = Service::new();
    let mut subscription = service.bus.subscribe_events();
    service.start_conversation("ann", "bob", "c").await;
    let replies: Vec<_> = (0..300).map(|n| service.say("ann", "c", &n.to_string())).collect();
    all(replies).await;
    let mut announced = Vec::new();
    while announced.len() < 303 {
        let batch = soon(subscription.recv()).await.expect("the bus is open");
        announced.extend(batch.iter().cloned());
    }
    assert_eq!(announced, service.journal.events());
}
