use verbatim_protocol::{JournalId, StreamCursor};

use super::*;

fn auth(user: &str, cursor: &str) -> serde_json::Value {
    json!({ "token": token_for(user, 600), "cursor": cursor })
}

fn say(world: &World, range: std::ops::RangeInclusive<u64>) {
    for n in range {
        world.say("ann", &n.to_string());
    }
}

/// Leaves when what came has surely arrived.
async fn say_goodbye(client: &mut Client) {
    tokio::time::sleep(Duration::from_secs(4)).await;
    client.send("41").await;
}

fn numbers(range: std::ops::RangeInclusive<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[tokio::test]
async fn with_a_cursor_everything_since_comes_before_anything_live() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=250);
    let mut bo = running.connect_with(auth("bo", &world.cursor(20))).await;
    assert_eq!(bo.contents(230).await, numbers(21..=250));
    let ready = bo.event("stream:ready").await;
    assert_eq!(ready["data"], json!({ "cursor": world.cursor(250), "replayed": 230 }));
    say(world, 251..=252);
    assert_eq!(bo.contents(2).await, numbers(251..=252));
    // One's own messages are part of it.
    let mut ann = running.connect_with(auth("ann", &world.cursor(250))).await;
    assert_eq!(ann.contents(2).await, numbers(251..=252));
}

#[tokio::test]
async fn what_was_stored_before_a_socket_came_is_replayed_though_its_frames_are_late() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=2);
    world.set_pushing(false);
    say(world, 3..=5);
    let mut fresh = running.connect("bo").await;
    assert_eq!(fresh.contents(5).await, numbers(1..=5));
    let mut bo = running.connect_with(auth("bo", &world.cursor(1))).await;
    assert_eq!(bo.contents(4).await, numbers(2..=5));
    for client in [&mut fresh, &mut bo] {
        let ready = client.event("stream:ready").await;
        assert_eq!(ready["data"]["cursor"], json!(world.cursor(5)));
    }
    // They are not repeated when they come.
    world.push_through(5);
    world.set_pushing(true);
    say(world, 6..=6);
    assert_eq!(bo.contents(1).await, numbers(6..=6));
}

#[tokio::test]
async fn views_that_do_not_follow_are_waited_for_a_while_and_what_they_show_is_replayed() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    world.set_pushing(false);
    say(world, 1..=3);
    world.hold_views();
    say(world, 4..=5);
    let mut bo = running.connect_with(auth("bo", &world.cursor(1))).await;
    assert_eq!(bo.contents(2).await, numbers(2..=3));
    let ready = bo.event("stream:ready").await;
    assert_eq!(ready["data"], json!({ "cursor": world.cursor(3), "replayed": 2 }));
    world.push_through(5);
    assert_eq!(bo.contents(2).await, numbers(4..=5));
}

#[tokio::test]
async fn without_a_cursor_it_goes_on_from_the_users_mark_without_own_messages() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=5);
    world.say("bo", "own");
    let mut bo = running.connect("bo").await;
    assert_eq!(bo.contents(5).await, numbers(1..=5));
    let ready = bo.event("stream:ready").await;
    assert_eq!(ready["data"], json!({ "cursor": world.cursor(6), "replayed": 5 }));
    say_goodbye(&mut bo).await;
    until("a clean goodbye moves the mark", async || world.mark("bo") == 5).await;
    say(world, 7..=7);
    let mut again = running.connect("bo").await;
    assert_eq!(again.contents(1).await, numbers(7..=7));
}

#[tokio::test]
async fn what_a_goodbye_may_have_crossed_comes_again() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    let mut bo = running.connect("bo").await;
    bo.event("stream:ready").await;
    say(world, 1..=1);
    assert_eq!(bo.contents(1).await, numbers(1..=1));
    // Written to a client that has said goodbye already, of which the gateway has yet to hear.
    say(world, 2..=2);
    bo.send("41").await;
    until("the goodbye is heard", async || running.metric("verbatim_sockets 0").await).await;
    let mut again = running.connect("bo").await;
    assert_eq!(again.contents(2).await, numbers(1..=2));
    assert_eq!(world.mark("bo"), 0);
}

#[tokio::test]
async fn many_own_messages_are_passed_over_once() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=250);
    let mut ann = running.connect("ann").await;
    let ready = ann.event("stream:ready").await;
    assert_eq!(ready["data"], json!({ "cursor": world.cursor(250), "replayed": 0 }));
    until("the mark is behind them", async || world.mark("ann") == 250).await;
}

#[tokio::test]
async fn what_others_said_among_own_messages_is_sent_and_not_passed_over() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=150);
    world.say("bo", "151");
    say(world, 152..=300);
    let mut ann = running.connect("ann").await;
    assert_eq!(ann.contents(1).await, ["151"]);
    let ready = ann.event("stream:ready").await;
    assert_eq!(ready["data"], json!({ "cursor": world.cursor(300), "replayed": 1 }));
    say_goodbye(&mut ann).await;
    until("a clean goodbye moves the mark", async || world.mark("ann") > 0).await;
    assert_eq!(world.mark("ann"), 151, "no further than what was sent");
    running.connect("ann").await.event("stream:ready").await;
    until("the mark is behind the rest", async || world.mark("ann") == 300).await;
}

#[tokio::test]
async fn a_bad_cursor_is_reset_and_nothing_is_lost() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=3);
    let foreign = StreamCursor { journal: JournalId(uuid::Uuid::from_u128(2)), position: 1 };
    for bad in [json!("nonsense"), json!(7), json!(foreign.to_string()), json!(world.cursor(4))] {
        let auth = json!({ "token": token_for("bo", 600), "cursor": bad });
        let mut bo = running.connect_with(auth).await;
        let reset = bo.event("stream:reset").await;
        assert!(reset["data"]["reason"].is_string(), "{reset}");
        assert_eq!(bo.contents(3).await, numbers(1..=3), "{bad}");
        bo.event("stream:ready").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn joining_in_a_stream_of_messages_loses_and_repeats_nothing() {
    const LAST: u64 = 4_000;
    let mut settings = settings();
    settings.limits.sockets_per_user = 100;
    let running = Arc::new(Running::start(settings).await);
    let world = running.world.clone();
    world.set_pushing(false);
    let talking = tokio::spawn(async move {
        for n in 1..=LAST {
            world.say("ann", &n.to_string());
            if n % 20 == 0 {
                world.push_through(n);
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    });
    // Each stays for a few messages, and goes on by its cursor.
    let joining: Vec<_> = (0..8_u64)
        .map(|k| {
            let running = Arc::clone(&running);
            tokio::spawn(async move {
                let mut at = 0;
                while at < LAST {
                    let cursor = running.world.cursor(at);
                    let mut bo = running.connect_with(auth("bo", &cursor)).await;
                    for _ in 0..(40 + k).min(LAST - at) {
                        let (event, message) = bo.next().await;
                        if event == "message:receive" {
                            at += 1;
                            assert_eq!(message["data"]["content"], at.to_string());
                        }
                    }
                }
            })
        })
        .collect();
    for joined in joining {
        joined.await.expect("no gap and no repetition");
    }
    talking.await.expect("no panic");
}

#[tokio::test]
async fn a_gap_between_frames_is_filled_from_the_views() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    let mut bo = running.live("bo").await;
    world.set_pushing(false);
    say(world, 1..=1_200);
    world.publish(1_199, 1_200);
    let filled = bo.contents(1_200).await;
    assert_eq!(filled, numbers(1..=1_200));
    say(world, 1_201..=1_203);
    // The last frame is lost: a heartbeat tells.
    world.publish(1_204, 1_203);
    let message = bo.event("message:receive").await;
    assert_eq!(message["data"]["cursor"], world.cursor(1_201));
    assert_eq!(bo.contents(2).await, numbers(1_202..=1_203));
}

#[tokio::test]
async fn keys_are_forgotten_where_frames_are_missing() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    let mut bo = running.live("bo").await;
    let cy = "cy".parse().expect("an id");
    world.keys.in_use(&cy).await.expect("a key");
    world.set_pushing(false);
    say(world, 1..=3);
    world.publish(1, 1);
    assert_eq!(bo.contents(1).await, numbers(1..=1));
    assert!(world.keys.at_hand(&cy).is_some());
    world.publish(3, 3);
    assert_eq!(bo.contents(2).await, numbers(2..=3));
    assert!(world.keys.at_hand(&cy).is_none(), "what is missing may have told of an erasure");
}

#[tokio::test]
async fn a_gap_waits_for_views_that_are_down() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    let mut bo = running.live("bo").await;
    world.set_pushing(false);
    world.set_up(false);
    say(world, 1..=4);
    world.publish(4, 4);
    until("the gap is noticed", async || running.metric("verbatim_frame_gaps_total 1").await).await;
    world.set_up(true);
    assert_eq!(bo.contents(4).await, numbers(1..=4));
}

#[tokio::test]
async fn frames_that_come_again_or_from_an_older_reactor_push_nothing_twice() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    let mut bo = running.live("bo").await;
    world.set_pushing(false);
    say(world, 1..=5);
    world.publish(1, 3);
    world.new_epoch();
    // The next reactor begins a little earlier, the old one has not noticed.
    world.publish(2, 4);
    world.publish_as(1, 4, 5);
    world.publish(3, 5);
    say(world, 6..=6);
    world.publish(6, 6);
    assert_eq!(bo.contents(6).await, numbers(1..=6));
    assert!(running.metric("verbatim_frames_refused_total 1").await);
}

#[tokio::test]
async fn a_socket_that_connects_while_the_views_are_down_gets_everything_later() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=3);
    world.set_up(false);
    let mut bo = running.connect("bo").await;
    say(world, 4..=5);
    world.set_up(true);
    assert_eq!(bo.contents(5).await, numbers(1..=5));
    bo.event("stream:ready").await;
}

#[tokio::test]
async fn what_a_socket_sends_before_it_has_caught_up_comes_to_it_too() {
    let running = Running::start(settings()).await;
    let world = &running.world;
    say(world, 1..=2);
    world.say("bo", "of old");
    world.set_up(false);
    let mut bo = running.connect("bo").await;
    let mut other = running.connect("bo").await;
    let taken = world.taken();
    bo.emit("message:send", &json!({ "conversationId": "conv", "content": "early" })).await;
    until("it is stored", async || world.taken() > taken).await;
    world.set_up(true);
    assert_eq!(bo.contents(3).await, ["1", "2", "early"]);
    bo.event("stream:ready").await;
    assert_eq!(other.contents(3).await, ["1", "2", "early"]);
}

#[tokio::test]
async fn what_a_socket_has_outlived_by_a_heartbeat_counts_as_received() {
    let mut settings = settings();
    settings.ping_interval = Duration::from_millis(300);
    settings.ping_timeout = Duration::from_millis(300);
    let running = Running::start(settings).await;
    let world = &running.world;
    let mut bo = running.live("bo").await;
    let mut acknowledging = running.live("cy").await;
    say(world, 1..=2);
    assert_eq!(acknowledging.contents(2).await, numbers(1..=2));
    let acked = acknowledging.asked("stream:ack", &json!({ "cursor": world.cursor(1) })).await;
    assert_eq!(acked["success"], true, "{acked}");
    assert_eq!(world.mark("bo"), 0, "not at once");
    // Both go on answering pings.
    let mark = async || {
        while world.mark("bo") < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reading = async |client: &mut Client| while client.text().await.is_some() {};
    let moved = tokio::time::timeout(PATIENCE, async {
        tokio::select! {
            () = mark() => {}
            () = reading(&mut bo) => {}
            () = reading(&mut acknowledging) => {}
        }
    });
    moved.await.expect("in time");
    assert_eq!(world.mark("bo"), 2);
    assert_eq!(world.mark("cy"), 1, "whoever says it is taken at their word");
    assert_eq!(world.mark("ann"), 0, "own messages need no mark");
}
