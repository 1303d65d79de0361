use super::*;
use crate::world::{World, said, settings};

fn start(
    world: &World,
    settings: Settings,
) -> (CancellationToken, tokio::task::JoinHandle<anyhow::Result<()>>) {
    let stop = CancellationToken::new();
    let task =
        run(world.ports(), Arc::new(settings), world.metrics.projector.clone(), stop.clone());
    (stop, tokio::spawn(task))
}

#[tokio::test]
async fn the_views_follow_the_journal_from_their_checkpoint() {
    let world = World::new();
    world.record(vec![said("c", "ann"), said("c", "ann")]);
    world.project().await;
    world.commit(vec![said("c", "ann")]);
    let (stop, task) = start(&world, settings());
    world.until("the views have what was there", || world.views.checkpoint() == 3).await;
    world.record(vec![said("c", "ann")]);
    world.until("the views have what came", || world.views.checkpoint() == 4).await;
    stop.cancel();
    task.await.expect("no panic").expect("no error");
    assert_eq!(world.metrics.projector.lag_events.get(), 0);
    assert!(world.metrics.projector.lag_seconds.get().abs() < f64::EPSILON);
}

#[tokio::test(start_paused = true)]
async fn a_pause_is_as_long_as_the_write_asks_for_and_over_when_somebody_waits() {
    const HOUR: Duration = Duration::from_hours(1);
    let world = World::new();
    let views = &*world.views;
    for (took, longest, pause) in [
        (Duration::from_millis(1), HOUR, Duration::from_millis(20)),
        (HOUR, Duration::from_millis(7), Duration::from_millis(7)),
    ] {
        let begun = tokio::time::Instant::now();
        rest(views, took, longest).await;
        assert_eq!(begun.elapsed(), pause);
    }
    let begun = tokio::time::Instant::now();
    let second = Duration::from_secs(1);
    let (waited, ()) = tokio::join!(views.reached(1, second), rest(views, HOUR, HOUR));
    waited.expect_err("nothing was written");
    assert_eq!(begun.elapsed(), second, "the pause was over before");
}

#[tokio::test]
async fn there_is_no_pause_while_more_waits_than_is_written_together() {
    const HOUR: Duration = Duration::from_hours(1);
    let world = World::new();
    // So that a pause would be a second long.
    world.views.take_at_least(Duration::from_millis(50));
    world.record((0..7).map(|_| said("c", "ann")).collect());
    let begun = Instant::now();
    let pace = Settings { batch_events: 3, longest_rest: HOUR, ..settings() };
    let (stop, task) = start(&world, pace);
    world.until("the views have all", || world.views.checkpoint() == 7).await;
    assert!(begun.elapsed() < Duration::from_millis(900));
    stop.cancel();
    task.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn views_that_fail_for_a_while_get_every_event() {
    let world = World::new();
    world.views.faults.set_down(true);
    let (stop, task) = start(&world, settings());
    world.record(vec![said("c", "ann")]);
    world
        .until("the views failed twice", || {
            world.record(vec![said("c", "ann")]);
            world.views.faults.calls() >= 2
        })
        .await;
    assert!(world.metrics.projector.lag_events.get() > 0, "the lag shows");
    world.views.faults.set_down(false);
    let head = world.journal.last();
    world.until("the views have all", || world.views.checkpoint() >= head).await;
    stop.cancel();
    task.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_views_that_fail() {
    let world = World::new();
    world.views.faults.set_down(true);
    world.record(vec![said("c", "ann")]);
    let (stop, task) = start(&world, settings());
    world.until("the journal was read", || world.journal.faults.calls() > 0).await;
    stop.cancel();
    task.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn views_that_do_not_follow_on_the_journal_halt_the_projector() {
    let world = World::new();
    world.record(vec![said("c", "ann")]);
    world.views.corrupt();
    let (_stop, task) = start(&world, settings());
    let error = task.await.expect("no panic").expect_err("a row can't be");
    assert!(format!("{error:#}").contains("corrupt"), "{error:#}");
}

#[tokio::test]
async fn an_unknown_event_halts_the_projector_and_what_precedes_it_is_shown() {
    let world = World::new();
    world.record(vec![said("c", "ann")]);
    let (_stop, task) = start(&world, settings());
    world.until("the views have what can be read", || world.views.checkpoint() == 1).await;
    world.journal.corrupt_from(2);
    world.commit(vec![said("c", "ann")]);
    let error = task.await.expect("no panic").expect_err("it can't be read");
    assert!(format!("{error:#}").contains("unknown event"), "{error:#}");
    assert_eq!(world.views.checkpoint(), 1);
}
