use std::sync::Arc;

use verbatim_journal::{Import, Journal, Log, SqliteJournal};
use verbatim_proof::{Checkpoint, leaf_hash, root};
use verbatim_protocol::{Envelope, Timestamp};

use super::world::{Stage, World, found, signer};
use crate::{Error, Evidence, Sound, SqliteSeal, Store, Trust, Verdict, verify};

async fn sound<S: Stage>(world: &World<S>) -> Sound {
    match world.verify().await {
        Verdict::Sound(sound) => sound,
        Verdict::Tampered(finding) => panic!("{finding}"),
    }
}

pub async fn an_untouched_log_is_sound_at_any_size<S: Stage>() {
    let world = World::<S>::new().await;
    assert_eq!(sound(&world).await.events, 0);
    for (events, step) in [(1, 1), (1, 1), (11, 3), (250, 7), (600, 1_000), (1_700, 500)] {
        world.append(events).await;
        world.seal(step).await;
        let head = world.stage.journal().head().await.expect("a head");
        let sound = sound(&world).await;
        assert_eq!((sound.events, sound.sealed, sound.outside), (head, head, 0));
        // A copy of the log has the same root, whichever database it is in.
        let folder = tempfile::tempdir().expect("a folder");
        let mut copy = SqliteJournal::open(&folder.path().join("copy")).await.expect("a journal");
        let journal = world.stage.journal();
        copy.adopt(journal.id()).await.expect("it is empty");
        copy.import(journal.read_after(0, 10_000).await.expect("events")).await.expect("copied");
        let evidence =
            Evidence { store: None, verifiers: world.keys(), outside: world.kept().await };
        let verdict = verify(&copy, evidence, |_, _| {}).await.expect("a verdict");
        let Verdict::Sound(copied) = verdict else { panic!("{verdict:?}") };
        assert_eq!((copied.root, copied.outside), (sound.root, sound.checkpoints));
    }
}

pub async fn sealing_goes_on_after_every_end<S: Stage>() {
    let world = World::<S>::new().await;
    for round in 1..=40 {
        world.append(17).await;
        let mut sealer = world.sealer(&world.signer).await.expect("it goes on");
        assert_eq!(sealer.sealed(), sealer.taken());
        // Some are taken in, and not all of those are sealed, before it ends.
        while sealer.take(5).await.expect("events") > 0 {
            if sealer.taken() % 3 == round % 3 {
                sealer.seal(Timestamp::now()).await.expect("sealed");
            }
        }
    }
    world.seal(1_000).await;
    assert_eq!(sound(&world).await.sealed, 40 * 17);
}

pub async fn a_line_is_what_exports_have<S: Stage>() {
    let world = World::<S>::sealed(25).await;
    let events = world.stage.journal().read_after(0, 100).await.expect("events");
    let leaves = events.iter().map(|recorded| {
        let envelope = Envelope::of(recorded).expect("an envelope");
        leaf_hash(&serde_json::to_vec(&envelope).expect("JSON"))
    });
    assert_eq!(sound(&world).await.root, root(leaves).to_string());
}

pub async fn events_of_unknown_types_are_sealed_and_verified<S: Stage>() {
    let world = World::<S>::new().await;
    world.append(9).await;
    let strange = "update {events} set aggregate_type = 'invention', event_type = 'Imagined',
                   event_version = 'next', payload = '{ \"x\" :1}' where position = 5";
    world.stage.alter_journal(strange).await;
    assert!(world.stage.journal().read_after(0, 10).await.is_err(), "nobody can read it");
    let evidence =
        |store| Evidence { store: Some(store), verifiers: Vec::new(), outside: Vec::new() };
    // Its stream is another now, so what follows in the old one is out of sequence.
    world.stage.alter_journal("update {events} set sequence = 1 where position = 5").await;
    world.stage.alter_journal("update {events} set sequence = 2 where position = 8").await;
    world.seal(4).await;
    let (journal, store) = (world.stage.journal(), world.stage.store());
    let verdict = verify(&*journal, evidence(&*store), |_, _| {}).await.expect("a verdict");
    assert!(matches!(verdict, Verdict::Sound(Sound { sealed: 9, .. })), "{verdict:?}");
    let proof = world.prover().inclusion(5).await.expect("an answer").expect("a proof");
    assert!(
        proof.event.contains(
            "\"eventType\":\"Imagined\",\"eventVersion\":\"next\",\"payload\":{ \"x\" :1}"
        )
    );
    world
        .stage
        .alter_journal("update {events} set payload = '{ \"x\" :2}' where position = 5")
        .await;
    assert!(world.found().await.starts_with("position 5: the event was changed"));
}

pub async fn two_who_seal_do_no_harm<S: Stage>() {
    let world = World::<S>::sealed(30).await;
    let mut one = world.sealer(&world.signer).await.expect("it goes on");
    let mut other = world.sealer(&world.signer).await.expect("it goes on");
    world.append(30).await;
    one.take(20).await.expect("events");
    other.take(10).await.expect("events");
    one.seal(Timestamp::now()).await.expect("sealed");
    assert!(matches!(other.seal(Timestamp::now()).await, Err(Error::Moved)));
    let mut other = world.sealer(&world.signer).await.expect("it goes on");
    assert_eq!(other.sealed(), 50);
    other.take(100).await.expect("events");
    other.seal(Timestamp::now()).await.expect("sealed");
    assert_eq!(sound(&world).await.sealed, 60);
}

pub async fn another_key_takes_over<S: Stage>() {
    let mut world = World::<S>::sealed(30).await;
    let old = std::mem::replace(&mut world.signer, signer("log"));
    world.append(30).await;
    // Whoever can write to the store can put any key there; only one that is named is believed.
    let refused = world.sealer(&world.signer).await.map(drop);
    assert!(matches!(refused, Err(Error::Tampered(_))), "{refused:?}");
    let trust = Trust { keys: vec![old.verifier().clone()], ..Trust::default() };
    let mut sealer = world.trusting(&world.signer, &trust).await.expect("it goes on");
    sealer.take(10).await.expect("events");
    sealer.seal(Timestamp::now()).await.expect("sealed");
    world.seal(10).await;
    assert_eq!(sound(&world).await.sealed, 60);
    let both = vec![old.verifier().clone(), world.signer.verifier().clone()];
    assert!(matches!(world.verify_by(both, Vec::new()).await, Verdict::Sound(_)));
    let found = found(world.verify_by(world.keys(), Vec::new()).await);
    assert!(found.contains("not signed with the key"), "{found}");
}

pub async fn a_sealer_does_not_go_on_from_what_was_altered<S: Stage>() {
    for (journal, seal) in [
        (Some("delete from {events} where position = 300"), None),
        (Some("update {events} set payload = '{}' where position = 300"), None),
        (
            None,
            Some(
                "update {tiles} set hashes = {bytes substr(hashes, 2, 31) || substr(hashes, 1, 1) bytes}",
            ),
        ),
        (
            None,
            Some(
                "update {tiles} set hashes = substr(hashes, 1, 5) where level = 0 and tile_index = 1",
            ),
        ),
        (None, Some("delete from {tiles} where level = 1")),
        (None, Some("update {checkpoints} set size = 301 where size = 300")),
        (None, Some("update {checkpoints} set note = replace(note, '300', '299')")),
    ] {
        let world = World::<S>::sealed(300).await;
        if let Some(sql) = journal {
            world.stage.alter_journal(sql).await;
        }
        if let Some(sql) = seal {
            world.stage.alter_seal(sql).await;
        }
        let refused = world.sealer(&world.signer).await.map(drop);
        assert!(matches!(refused, Err(Error::Tampered(_))), "{journal:?} {seal:?}: {refused:?}");
    }
}

pub async fn a_sealer_does_not_begin_anew_where_a_checkpoint_is_known<S: Stage>() {
    for sql in [
        "delete from {checkpoints}; delete from {tiles}",
        "delete from {checkpoints} where number = 4",
        "delete from {checkpoints} where number > 3",
    ] {
        let world = World::<S>::sealed(60).await;
        let mut sealer = world.sealer(&world.signer).await.expect("it goes on");
        world.append(10).await;
        sealer.take(10).await.expect("events");
        let signed = sealer.seal(Timestamp::now()).await.expect("sealed");
        let outside = world.kept().await[3];
        let earlier = Checkpoint { size: outside.size, root: outside.root, ..signed.clone() };
        let other = Checkpoint { root: leaf_hash(b"other"), ..earlier.clone() };
        let trust = |checkpoints| Trust { checkpoints, ..Trust::default() };
        let known = trust(vec![earlier, signed]);
        world.trusting(&world.signer, &known).await.expect("it goes on");
        let refused = world.trusting(&world.signer, &trust(vec![other])).await.map(drop);
        assert!(matches!(refused, Err(Error::Tampered(_))), "{refused:?}");
        world.stage.alter_seal(sql).await;
        let refused = world.trusting(&world.signer, &known).await.map(drop);
        assert!(matches!(refused, Err(Error::Tampered(_))), "{sql}: {refused:?}");
    }
}

pub async fn a_sealer_stops_at_a_hole_and_at_what_cannot_be_read<S: Stage>() {
    for sql in [
        "delete from {events} where position = 7",
        "update {events} set payload = 'no JSON' where position = 7",
        "update {events} set recorded_at = -1 where position = 7",
    ] {
        let world = World::<S>::new().await;
        world.append(10).await;
        world.stage.alter_journal(sql).await;
        let mut sealer = world.sealer(&world.signer).await.expect("it begins");
        let refused = sealer.take(100).await;
        let Err(Error::Tampered(why)) = refused else { panic!("{sql}: {refused:?}") };
        assert!(why.contains("position 7") || why.contains("7 is due"), "{why}");
    }
}

pub async fn what_is_beyond_the_last_checkpoint_is_told<S: Stage>() {
    let world = World::<S>::sealed(30).await;
    world.append(5).await;
    let sound = sound(&world).await;
    assert_eq!((sound.events, sound.sealed, sound.checkpoints), (35, 30, 3));
}

/// Of the embedded form: a seal outlives the journal that it is about.
#[tokio::test]
async fn another_log_begins_a_tree_of_its_own_and_the_old_checkpoints_stay() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteSeal::open(&folder.path().join("seal")).await.expect("a seal");
    let store: Arc<dyn Store> = Arc::new(store);
    let signer = signer("log");
    for name in ["one", "other"] {
        let journal = SqliteJournal::open(&folder.path().join(name)).await.expect("a journal");
        let journal = Arc::new(journal);
        journal.check_writable().await.expect("it can");
        let event = verbatim_domain::ConversationEvent::MemberJoined(
            verbatim_domain::conversation::MemberJoined {
                member_id: "ann".parse().expect("an id"),
            },
        );
        let append = verbatim_journal::Append {
            stream: verbatim_domain::StreamId::conversation(&"c".parse().expect("an id")),
            expected: 0,
            events: vec![event.into()],
            key: verbatim_protocol::CommandKey { issuer: "a".into(), key: "k".into() },
            metadata: "{}".into(),
        };
        journal.append(vec![append]).await.expect("appended");
        let resumed = crate::Sealer::resume(
            journal,
            Arc::clone(&store),
            Arc::clone(&signer),
            &Trust::default(),
        )
        .await;
        let mut sealer = resumed.expect("it begins");
        assert_eq!(sealer.take(10).await.expect("events"), 1);
        sealer.seal(Timestamp::now()).await.expect("sealed");
    }
    let listed = store.before(u64::MAX, 10).await.expect("checkpoints");
    assert_eq!(listed.iter().map(|signed| signed.number).collect::<Vec<_>>(), [1, 1]);
    assert_ne!(listed[0].log, listed[1].log);
}
