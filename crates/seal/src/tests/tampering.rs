use verbatim_journal::Log;

use super::world::{Stage, World, found, signer};
use crate::Verdict;

/// Every column but the position.
const COLUMNS: [&str; 10] = [
    "aggregate_type = 'inbox'",
    "aggregate_id = aggregate_id || 'x'",
    "sequence = 1000",
    "event_type = 'ConversationRead'",
    "event_version = '2'",
    // One that today's types would pass over.
    "payload = replace(payload{text}, '{\"messageId\"', '{\"new\":1,\"messageId\"')",
    "metadata = '{}'",
    "recorded_at = recorded_at + 1",
    "issuer = 'eve'",
    "issuer = null, key = null",
];

pub async fn a_changed_event_is_named<S: Stage>() {
    for (column, position) in COLUMNS.iter().zip([1, 2, 17, 29, 30, 31, 44, 50, 59, 60]) {
        let world = World::<S>::sealed(60).await;
        world
            .stage
            .alter_journal(&format!("update {{events}} set {column} where position = {position}"))
            .await;
        let found = world.found().await;
        let expected = format!("position {position}: the event was changed");
        assert!(found.starts_with(&expected), "{column}: {found}");
    }
}

pub async fn a_removed_event_is_named<S: Stage>() {
    for (positions, expected) in [
        ("1", "position 1: the event was removed"),
        ("17", "position 17: the event was removed"),
        ("17, 18, 19, 40", "positions 17 to 19: the events were removed"),
        ("60", "position 60: the events from there on were removed: the log ends at 59"),
    ] {
        let world = World::<S>::sealed(60).await;
        let sql = format!("delete from {{events}} where position in ({positions})");
        world.stage.alter_journal(&sql).await;
        let found = world.found().await;
        assert!(found.starts_with(expected), "{found}");
    }
}

/// Moves positions, and the sequences of one stream or of none, out of the way first.
fn shift(from: u64, by: i64, stream: &str, sequence: u64) -> String {
    format!(
        "update {{events}} set position = position + 1000000 where position >= {from};
         update {{events}} set position = position - 1000000 + {by} where position > 1000000;
         update {{events}} set sequence = sequence + 1000000
         where aggregate_id = '{stream}' and sequence >= {sequence};
         update {{events}} set sequence = sequence - 1000000 + {by} where sequence > 1000000;"
    )
}

pub async fn an_event_that_was_removed_with_the_rest_moved_up_is_named<S: Stage>() {
    // Position 20 is number 7 of c1.
    for stream in ["c1", "none"] {
        let world = World::<S>::sealed(60).await;
        let sql = "delete from {events} where position = 20;".to_owned();
        world.stage.alter_journal(&(sql + &shift(21, -1, stream, 8))).await;
        let found = world.found().await;
        assert_eq!(found, "position 20: the event was removed, and those after it moved up");
    }
    let world = World::<S>::sealed(60).await;
    let sql = "delete from {events} where position between 20 and 22;".to_owned();
    world.stage.alter_journal(&(sql + &shift(23, -3, "none", 1))).await;
    let found = world.found().await;
    assert_eq!(found, "position 20: 3 events were removed, and those after them moved up");
}

pub(super) const INSERT: &str =
    "insert into {events} (aggregate_type, aggregate_id, sequence, event_type,
    event_version, payload, metadata, position, recorded_at)
    select aggregate_type, aggregate_id, 1, event_type, event_version, payload, metadata, {at},
        recorded_at
    from {events} where position = 1;";

pub async fn an_inserted_event_is_named<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    // The last one's leaf no longer follows, as there are 61 by now.
    let sql = shift(20, 1, "none", 1) + &INSERT.replace("{at}", "20");
    world.stage.alter_journal(&sql).await;
    let found = world.found().await;
    assert_eq!(found, "position 20: an event was inserted, and those from there on moved down");
}

pub async fn a_row_where_none_can_be_is_named<S: Stage>() {
    for at in ["0", "-9223372036854775807"] {
        let world = World::<S>::sealed(60).await;
        world.stage.alter_journal(&INSERT.replace("{at}", at)).await;
        let found = world.found().await;
        assert_eq!(found, format!("position {at}: an event was inserted where none can be"));
    }
}

pub async fn a_row_that_cannot_be_read_is_named<S: Stage>() {
    for (sealed, column, why) in [
        (true, "payload = 'none'", "payload is no JSON object"),
        (false, "payload = 'none'", "payload is no JSON object"),
        (false, "metadata = '[]'", "metadata is no JSON object"),
        (false, "recorded_at = -5", "time is none"),
        (false, "issuer = null", "issuer or a key, not both"),
    ] {
        let world = World::<S>::sealed(if sealed { 60 } else { 20 }).await;
        if !sealed {
            world.append(40).await;
        }
        let sql = format!("update {{events}} set {column} where position = 30");
        world.stage.alter_journal(&sql).await;
        let found = world.found().await;
        assert!(
            found.starts_with("position 30: the event was changed") && found.contains(why),
            "{found}"
        );
    }
}

pub async fn a_wrong_sequence_is_named_before_it_is_sealed<S: Stage>() {
    let world = World::<S>::sealed(20).await;
    world.append(40).await;
    world.stage.alter_journal("update {events} set sequence = 77 where position = 30").await;
    let found = world.found().await;
    assert!(
        found.starts_with("position 30: ")
            && found.contains("number 77 of conversation/c2, where 10 is due"),
        "{found}"
    );
}

pub async fn a_log_that_was_cut_off_is_told<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    world.stage.alter_journal("delete from {events} where position > 41").await;
    let found = world.found().await;
    assert!(
        found.starts_with(
            "position 42: the events from there on were removed: the log ends at 41, and 60"
        ),
        "{found}"
    );
    world.stage.alter_journal("delete from {events}").await;
    assert!(world.found().await.starts_with("position 1: "));
}

pub async fn a_log_that_was_cut_off_with_its_seal_is_told_by_a_checkpoint_elsewhere<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    let kept = world.kept().await;
    world.stage.alter_journal("delete from {events} where position > 40").await;
    world.stage.alter_seal("delete from {checkpoints} where size > 40").await;
    let head = world.stage.journal().head().await.expect("a head");
    if head == 40 {
        assert!(matches!(world.verify().await, Verdict::Sound(_)), "nothing here tells");
    }
    let found = found(world.verify_by(Vec::new(), kept).await);
    assert!(
        found.starts_with("position 41: the events from there on were removed: the log ends at 40"),
        "{found}"
    );
}

pub async fn a_leaf_that_was_changed_is_told_from_an_event<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    world.stage.alter_seal(&format!("update {{tiles}} set hashes = {}", with_first_at(20))).await;
    let found = world.found().await;
    assert_eq!(found, "the seal's own tables: the leaf of position 21 was changed");
}

/// The tile with one hash put in another's place, in words that both databases take.
fn with_first_at(entry: usize) -> String {
    let begin = 32 * entry;
    format!(
        "{{bytes substr(hashes, 1, {begin}) || substr(hashes, 1, 32) || substr(hashes, {}) bytes}}",
        begin + 33
    )
}

pub async fn what_was_changed_in_both_is_narrowed_down_by_the_checkpoints<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    world.stage.alter_journal("update {events} set metadata = '{}' where position = 25").await;
    world.stage.alter_seal(&format!("update {{tiles}} set hashes = {}", with_first_at(24))).await;
    let found = world.found().await;
    assert!(found.starts_with("positions 21 to 30: something was changed"), "{found}");
}

pub async fn what_the_keys_owner_rewrote_is_told_by_a_checkpoint_elsewhere<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    let kept = world.kept().await;
    world.stage.alter_journal("update {events} set metadata = '{}' where position = 25").await;
    world.stage.alter_seal("delete from {checkpoints}; delete from {tiles}").await;
    world.seal(10).await;
    assert!(matches!(world.verify().await, Verdict::Sound(_)), "nothing here tells");
    let found = found(world.verify_by(world.keys(), kept).await);
    assert!(found.starts_with("positions 21 to 30: something was changed"), "{found}");
    assert!(found.contains("kept elsewhere"), "{found}");
}

pub async fn nodes_checkpoints_and_keys_that_were_altered_are_told<S: Stage>() {
    for (sql, expected) in [
        (
            format!("update {{tiles}} set hashes = {} where level = 1", with_first_at(1)),
            "a node of tile 0 of level 1",
        ),
        ("delete from {tiles} where level = 1".to_owned(), "a node of tile 0 of level 1"),
        (
            "delete from {tiles} where level = 0 and tile_index = 1".to_owned(),
            "the leaf of position 257 is missing",
        ),
        ("delete from {checkpoints} where number = 3".to_owned(), "checkpoint number 3 is missing"),
        (
            "update {checkpoints} set size = 35 where number = 3".to_owned(),
            "checkpoint number 3: its size",
        ),
        (
            "update {checkpoints} set note = 'none' where number = 3".to_owned(),
            "checkpoint number 3: it is no signed note",
        ),
        (
            "update {checkpoints} set note = replace(note, '300', '301') where number = 30"
                .to_owned(),
            "checkpoint number 30: the signature of log is wrong",
        ),
        ("update {verifiers} set verifier = 'none'".to_owned(), "a key in the seal is none"),
        ("delete from {verifiers}".to_owned(), "not signed with the key"),
    ] {
        let world = World::<S>::sealed(600).await;
        world.stage.alter_seal(&sql).await;
        let found = world.found().await;
        assert!(
            found.starts_with("the seal's own tables: ") && found.contains(expected),
            "{sql}: {found}"
        );
    }
}

pub async fn a_key_that_is_not_the_signers_is_told<S: Stage>() {
    let world = World::<S>::sealed(60).await;
    for name in ["log", "other"] {
        let keys = vec![signer(name).verifier().clone()];
        let found = found(world.verify_by(keys, Vec::new()).await);
        assert!(
            found.contains("it is not signed with the key that was given, but by log"),
            "{found}"
        );
    }
}
