use verbatim_proof::{Proof, Proved};

use super::world::{Stage, World};
use crate::Error;

pub async fn every_event_and_every_two_checkpoints_are_proved<S: Stage>() {
    let world = World::<S>::new().await;
    world.append(700).await;
    world.seal(67).await;
    let (prover, keys) = (world.prover(), world.keys());
    for position in 1..=700 {
        let proof = prover.inclusion(position).await.expect("an answer").expect("a proof");
        let outcome = Proof::Inclusion(proof).verify(&keys).expect("it holds");
        let Proved::Inclusion { position: told, checkpoint } = outcome else {
            panic!("{outcome:?}")
        };
        assert_eq!((told, checkpoint.size), (position, 700));
    }
    for beyond in [0, 701, u64::MAX] {
        assert_eq!(prover.inclusion(beyond).await.expect("an answer"), None);
    }
    let log = prover.log();
    let all = world.stage.store().after(log, 0, 100).await.expect("checkpoints");
    assert_eq!(all.len(), 11);
    for (n, from) in all.iter().enumerate() {
        for to in &all[n..] {
            let proof = prover.consistency(from.clone(), to.clone()).await.expect("a proof");
            let outcome = Proof::Consistency(proof).verify(&keys).expect("it holds");
            let Proved::Consistency { from: old, to: new } = outcome else { panic!("{outcome:?}") };
            assert_eq!((old.size, new.size), (from.size, to.size));
        }
    }
}

pub async fn what_was_altered_is_not_proved<S: Stage>() {
    let world = World::<S>::sealed(300).await;
    let store = world.stage.store();
    let all = store.after(world.prover().log(), 0, 100).await.expect("checkpoints");
    world
        .stage
        .alter_journal("update {events} set recorded_at = recorded_at + 1 where position = 7")
        .await;
    world.stage.alter_journal("delete from {events} where position = 9").await;
    let prover = world.prover();
    assert!(prover.inclusion(8).await.expect("an answer").is_some());
    for position in [7, 9] {
        let refused = prover.inclusion(position).await;
        assert!(matches!(refused, Err(Error::Tampered(_))), "{refused:?}");
    }
    world.stage.alter_seal("delete from {tiles} where level = 0 and tile_index = 0").await;
    assert!(matches!(prover.inclusion(8).await, Err(Error::Tampered(_))));
    let refused = prover.consistency(all[2].clone(), all[20].clone()).await;
    assert!(matches!(refused, Err(Error::Tampered(_))));
}
