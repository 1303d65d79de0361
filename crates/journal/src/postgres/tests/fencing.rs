//! What becomes of the work of a worker that has lost a lane.

use verbatim_postgres::testing::TestDatabase;

use super::{
    LONG, PostgresJournal, claims, cursor, first_in, open_without_owner, progress, renewed, run,
    stream_in,
};
use crate::conformance::{Place, append_one, committed, duplicate, message, messages, read_all};
use crate::{Appended, Claim, DeadLetter, Error, Journal, LaneProgress, Lanes, Log};

/// Two workers of one journal; the second has just taken lane 5 from the first. The first's claims,
/// as it still believes.
async fn stolen(place: &TestDatabase) -> (PostgresJournal, Vec<Claim>) {
    let journal = open_without_owner(place).await;
    let first = claims(&renewed(&journal, 1, LONG).await);
    assert_eq!(first.len(), 64);
    steal(place, &journal, 5).await;
    (journal, first)
}

/// A lane's lease runs out unnoticed, and another worker takes it.
async fn steal(place: &TestDatabase, journal: &PostgresJournal, lane: u16) {
    let expire = "update journal.lanes set expires_at = clock_timestamp() where lane = ";
    run(place, &format!("{expire}{lane}")).await.expect("it is past");
    let taken = renewed(journal, 2, LONG).await;
    assert!(taken.iter().any(|owned| owned.claim.lane == lane), "{taken:?}");
}

#[tokio::test]
async fn a_lane_stolen_in_the_middle_of_a_batch_loses_its_events_and_the_others_go_through() {
    let place = TestDatabase::new().await;
    let (journal, claims) = stolen(&place).await;
    let (stolen, kept) = (stream_in(5), stream_in(6));
    let batch = vec![
        message(&kept, 0, "1"),
        message(&stolen, 0, "2"),
        messages(&kept, 1, "3", 2),
        message(&stolen, 1, "4"),
        // Of a lane that isn't listed.
        first_in(9),
    ];
    let lanes = vec![progress(claims[5], 10), progress(claims[6], 11)];
    let outcomes = journal.append_in_lanes(batch, lanes).await.expect("outcomes");
    let [
        Appended::Committed(first),
        Appended::Fenced,
        Appended::Committed(second),
        Appended::Fenced,
        Appended::Committed(third),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    let told = [&first[..], &second[..], &third[..]].concat();
    assert_eq!(read_all(&journal).await, told);
    // The lane's new owner finds the commands unhandled.
    let owned = renewed(&journal, 2, LONG).await;
    assert_eq!(owned[0].cursor, None, "the progress of a stolen lane is dropped");
    let again = vec![message(&stolen, 0, "2"), message(&stolen, 1, "4")];
    let lanes = vec![progress(owned[0].claim, 10)];
    let outcomes = journal.append_in_lanes(again, lanes).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    assert_eq!(renewed(&journal, 2, LONG).await[0].cursor, Some(cursor(10)));
    assert_eq!(renewed(&journal, 1, LONG).await[5].cursor, Some(cursor(11)));
}

#[tokio::test]
async fn a_fenced_append_is_that_before_all_else() {
    let place = TestDatabase::new().await;
    let (journal, claims) = stolen(&place).await;
    let stream = stream_in(5);
    committed(append_one(&journal, message(&stream, 0, "once")).await);
    let batch = vec![message(&stream, 0, "once"), message(&stream, 7, "other")];
    let outcomes =
        journal.append_in_lanes(batch, vec![progress(claims[5], 1)]).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Fenced)), "{outcomes:?}");
}

#[tokio::test]
async fn a_request_is_fenced_by_its_own_claims_only() {
    let place = TestDatabase::new().await;
    let (journal, stale) = stolen(&place).await;
    let fresh = renewed(&journal, 2, LONG).await;
    let (stream, other) = (stream_in(5), stream_in(6));
    // Both are handed in before the writer has a chance to run, so they go into one call.
    let (through, fenced) = tokio::join!(
        journal.append_in_lanes(
            vec![message(&stream, 0, "1"), message(&other, 0, "2")],
            vec![progress(fresh[0].claim, 3)]
        ),
        journal.append_in_lanes(
            vec![message(&stream, 1, "3"), message(&other, 0, "2")],
            vec![progress(stale[5], 7), progress(stale[6], 8)]
        ),
    );
    let (through, fenced) = (through.expect("outcomes"), fenced.expect("outcomes"));
    committed(through[0].clone());
    let original = committed(through[1].clone());
    assert!(matches!(fenced[0], Appended::Fenced), "{fenced:?}");
    assert_eq!(duplicate(fenced[1].clone()), original[0]);
    // Nor does a stale claim hide another's progress.
    assert_eq!(renewed(&journal, 2, LONG).await[0].cursor, Some(cursor(3)));
    assert_eq!(renewed(&journal, 1, LONG).await[5].cursor, Some(cursor(8)));
}

#[tokio::test]
async fn progress_is_stored_with_events_without_them_and_with_rejections() {
    let place = TestDatabase::new().await;
    let journal = place.open().await;
    let owned = renewed(&journal, 0, LONG).await;
    assert!(owned.iter().all(|owned| owned.cursor.is_none()));
    let claims = claims(&owned);
    let (one, other) = (claims[3], claims[4]);
    journal.append_in_lanes(vec![first_in(3)], vec![progress(one, 5)]).await.expect("outcomes");
    assert_eq!(renewed(&journal, 0, LONG).await[3].cursor, Some(cursor(5)));
    let nothing =
        journal.append_in_lanes(Vec::new(), vec![progress(one, 8)]).await.expect("no outcomes");
    assert!(nothing.is_empty());
    assert_eq!(renewed(&journal, 0, LONG).await[3].cursor, Some(cursor(8)));
    // An append that comes to nothing is settled all the same.
    let outcomes = journal
        .append_in_lanes(
            vec![first_in(3), message(&stream_in(4), 9, "late")],
            vec![progress(one, 9), LaneProgress { claim: other, cursor: None, dead: Vec::new() }],
        )
        .await
        .expect("outcomes");
    assert!(matches!(outcomes[..], [Appended::Duplicate(_), Appended::Conflict]), "{outcomes:?}");
    let owned = renewed(&journal, 0, LONG).await;
    assert_eq!((owned[3].cursor, owned[4].cursor), (Some(cursor(9)), None));
    // A queue that was made anew begins anew.
    let mut anew = progress(one, 1);
    anew.cursor = Some(verbatim_protocol::LaneCursor { stream: -1, sequence: 1, at: 0 });
    journal.append_in_lanes(Vec::new(), vec![anew.clone()]).await.expect("no outcomes");
    assert_eq!(renewed(&journal, 0, LONG).await[3].cursor, anew.cursor);
}

fn letter(command: &[u8]) -> DeadLetter {
    DeadLetter { command: command.to_vec(), reason: "it panics\0 when handled".to_owned() }
}

#[tokio::test]
async fn dead_letters_are_stored_with_the_cursor_or_not_at_all() {
    let place = TestDatabase::new().await;
    let (journal, claims) = stolen(&place).await;
    let with = |claim: Claim, sequence: u64, command: &[u8]| LaneProgress {
        dead: vec![letter(command)],
        ..progress(claim, sequence)
    };
    // What the database refuses leaves neither.
    let mut poisonous = first_in(6);
    poisonous.metadata = "no JSON".into();
    let refused = journal.append_in_lanes(vec![poisonous], vec![with(claims[6], 2, b"6")]).await;
    assert!(matches!(refused, Err(Error::Unavailable(_))), "{refused:?}");
    assert_eq!(journal.count_dead_letters().await.expect("a count"), 0);
    assert_eq!(renewed(&journal, 1, LONG).await[6].cursor, None);
    // A stolen lane's are dropped, as its cursor is; the others' are kept.
    let lanes = vec![
        with(claims[5], 3, b"stolen"),
        with(claims[6], 4, b"\xff\0not text"),
        with(claims[7], 5, b"7"),
    ];
    journal.append_in_lanes(vec![first_in(6)], lanes).await.expect("outcomes");
    assert_eq!(renewed(&journal, 1, LONG).await[5].cursor, Some(cursor(4)));
    let letters = journal.dead_letters(0, 10).await.expect("letters");
    let kept: Vec<_> =
        letters.iter().map(|kept| (kept.lane, &*kept.letter.command, kept.cursor)).collect();
    assert_eq!(
        kept,
        [(6, &b"\xff\0not text"[..], Some(cursor(4))), (7, &b"7"[..], Some(cursor(5)))]
    );
    assert_eq!(letters[0].letter.reason, "it panics\u{fffd} when handled");
    assert!((verbatim_protocol::Timestamp::now().0 - letters[0].set_aside_at.0).abs() < 60_000);
    // They are read in pages, and removed one by one.
    assert_eq!(journal.count_dead_letters().await.expect("a count"), 2);
    assert_eq!(journal.dead_letters(0, 1).await.expect("letters"), letters[..1]);
    assert_eq!(journal.dead_letters(letters[0].id, 10).await.expect("letters"), letters[1..]);
    assert!(journal.remove_dead_letter(letters[0].id).await.expect("an answer"));
    assert!(!journal.remove_dead_letter(letters[0].id).await.expect("an answer"));
    assert_eq!(journal.dead_letters(0, 10).await.expect("letters"), letters[1..]);
}

#[tokio::test]
async fn a_frozen_worker_that_wakes_is_fenced() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    let before = claims(&renewed(&journal, 1, LONG).await);
    // It freezes; everybody takes it for dead.
    run(
        &place,
        "update journal.lanes set expires_at = clock_timestamp();
         update journal.workers set expires_at = clock_timestamp()",
    )
    .await
    .expect("its leases are past");
    let after = claims(&renewed(&journal, 2, LONG).await);
    assert_eq!(after.len(), 64);
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before.lane, after.lane);
        assert!(after.epoch > before.epoch, "{before:?} {after:?}");
    }
    let batch = || (0..64).map(first_in).collect::<Vec<_>>();
    let old = before.iter().map(|claim| progress(*claim, 1)).collect();
    let outcomes = journal.append_in_lanes(batch(), old).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Fenced)), "{outcomes:?}");
    assert_eq!(journal.head().await.expect("a head"), 0);
    assert_eq!(journal.raise(&before).await.expect("answers"), vec![None; 64]);
    journal.release(&before).await.expect("nothing happens");
    let new = after.iter().map(|claim| progress(*claim, 1)).collect();
    let outcomes = journal.append_in_lanes(batch(), new).await.expect("outcomes");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    // Awake, it is a worker like any other.
    let awake = journal.renew(uuid::Uuid::from_u128(1), LONG).await.expect("an answer");
    assert_eq!((awake.owned.len(), awake.surplus), (0, 0));
}

#[tokio::test]
async fn what_was_released_or_raised_is_fenced() {
    let place = TestDatabase::new().await;
    let journal = open_without_owner(&place).await;
    let owned = claims(&renewed(&journal, 1, LONG).await);
    journal.release(&owned[8..9]).await.expect("it is given up");
    let raised = journal.raise(&owned[7..10]).await.expect("answers");
    let higher = |claim: Claim| Some(Claim { epoch: claim.epoch + 1, ..claim });
    assert_eq!(raised, [higher(owned[7]), None, higher(owned[9])]);
    let lanes = owned[7..11].iter().map(|claim| progress(*claim, 1)).collect();
    let batch = (7..11).map(first_in).collect();
    let outcomes = journal.append_in_lanes(batch, lanes).await.expect("outcomes");
    let [Appended::Fenced, Appended::Fenced, Appended::Fenced, Appended::Committed(_)] =
        outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    // Renewed, the lanes keep their epochs; the one that was given up comes back with a higher one.
    let renewed = claims(&renewed(&journal, 1, LONG).await);
    assert_eq!((Some(renewed[7]), Some(renewed[9])), (raised[0], raised[2]));
    assert_eq!(renewed[10], owned[10]);
    assert!(renewed[8].epoch > owned[8].epoch);
}
