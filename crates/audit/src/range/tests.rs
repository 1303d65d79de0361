#![expect(clippy::unnecessary_wraps, reason = "so that calls read as they are")]

use super::*;
use crate::testing::{Fixed, log_at};

fn at(text: &str) -> Option<Bound> {
    Some(text.parse().expect("a bound"))
}

fn time(milliseconds: i64) -> Option<Bound> {
    Some(Bound::Time(Timestamp(milliseconds)))
}

async fn settled(
    log: &Fixed,
    from: Option<Bound>,
    to: Option<Bound>,
) -> Result<(u64, u64), BadRange> {
    match Range::settle(log, from, to).await {
        Ok(range) => Ok((range.first, range.last)),
        Err(Error::Bad(bad)) => Err(bad),
        Err(Error::Journal(error)) => panic!("{error}"),
    }
}

#[test]
fn nonsense_is_no_place_in_the_log() {
    for bad in [
        "",
        "0",
        "-1",
        "1.5",
        "18446744073709551616",
        "x",
        "2024-01-01",
        "2024-01-01T10:00:00",
        "2024-13-01T00:00:00Z",
        "+1",
        " 1",
        "1 ",
        "🦀",
    ] {
        assert_eq!(bad.parse::<Bound>(), Err(BadRange::Malformed), "{bad:?}");
    }
}

#[test]
fn a_place_is_a_position_or_a_time_with_its_offset() {
    assert_eq!("42".parse(), Ok(Bound::Position(42)));
    assert_eq!("2024-01-01T10:00:00Z".parse(), Ok(Bound::Time(Timestamp(1_704_103_200_000))));
    assert_eq!(
        "2024-01-01T12:00:00.5+02:00".parse(),
        Ok(Bound::Time(Timestamp(1_704_103_200_500)))
    );
}

#[tokio::test]
async fn reversed_ranges_are_refused() {
    let log = log_at(&[10, 20, 30]);
    for (from, to) in [(at("3"), at("2")), (time(30), time(29)), (at("3"), time(10))] {
        assert_eq!(settled(&log, from, to).await, Err(BadRange::Reversed));
    }
}

#[tokio::test]
async fn ranges_beyond_the_end_are_refused() {
    let log = log_at(&[10, 20, 30]);
    let beyond = |position| Err(BadRange::BeyondTheEnd { position, head: 3 });
    assert_eq!(settled(&log, at("5"), None).await, beyond(5));
    assert_eq!(settled(&log, None, at("4")).await, beyond(4));
    assert_eq!(settled(&log, at("18446744073709551615"), None).await, beyond(u64::MAX));
    let later = Timestamp(Timestamp::now().0 + 60_000);
    assert_eq!(
        settled(&log, None, Some(Bound::Time(later))).await,
        Err(BadRange::YetToCome(later))
    );
}

#[tokio::test]
async fn what_the_last_event_says_is_never_yet_to_come() {
    let later = Timestamp::now().0 + 60_000;
    assert_eq!(settled(&log_at(&[10, later]), None, time(later)).await, Ok((1, 2)));
}

#[tokio::test]
async fn both_ends_are_included() {
    let log = log_at(&[10, 20, 20, 20, 30]);
    assert_eq!(settled(&log, None, None).await, Ok((1, 5)));
    assert_eq!(settled(&log, at("2"), at("2")).await, Ok((2, 2)));
    assert_eq!(settled(&log, time(20), time(20)).await, Ok((2, 4)));
    assert_eq!(settled(&log, time(11), time(29)).await, Ok((2, 4)));
    assert_eq!(settled(&log, time(-5), time(40)).await, Ok((1, 5)));
    assert_eq!(settled(&log, at("5"), time(30)).await, Ok((5, 5)));
}

#[tokio::test]
async fn a_range_may_be_empty() {
    let log = log_at(&[10, 20, 30]);
    let next = Range::settle(&log, at("4"), None).await.expect("it may begin after the end");
    assert!(next.is_empty());
    assert_eq!(settled(&log, time(11), time(19)).await, Ok((2, 1)));
    assert_eq!(settled(&log, time(31), None).await, Ok((4, 3)));
    assert_eq!(settled(&log, None, time(9)).await, Ok((1, 0)));
    assert_eq!(settled(&log_at(&[]), None, None).await, Ok((1, 0)));
}

#[tokio::test]
async fn a_time_is_found_whatever_the_length() {
    for length in 0..40 {
        let times: Vec<i64> = (0..length).map(|n| n / 3 * 10).collect();
        let log = log_at(&times);
        for probe in -1..=(length / 3 * 10 + 1) {
            let expected = times.iter().filter(|at| **at <= probe).count() as u64;
            let found = position_at(&log, Bound::Time(Timestamp(probe))).await.expect("a position");
            assert_eq!(found, expected, "{probe} in {times:?}");
        }
    }
}
