//! Proofs as they travel: all that is needed to check them but the public key.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Checkpoint, CheckpointError, Hash, Verifier, leaf_hash, verify_consistency, verify_inclusion,
};

/// A proof, of either kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum Proof {
    Inclusion(InclusionProof),
    Consistency(ConsistencyProof),
}

/// That an event is in the log that a checkpoint speaks of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct InclusionProof {
    /// The event's line: what is hashed, byte for byte.
    pub event: String,
    /// The leaf's number, from 0: the event's position less one.
    pub leaf_index: u64,
    /// From the leaf upwards.
    pub path: Vec<Hash>,
    /// A signed note.
    pub checkpoint: String,
}

/// That the log of one checkpoint begins with that of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConsistencyProof {
    /// The earlier checkpoint, a signed note.
    pub from: String,
    /// The later one.
    pub to: String,
    pub path: Vec<Hash>,
}

/// What a proof has proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Proved {
    /// The event of this position was in the log when the checkpoint was signed.
    Inclusion { position: u64, checkpoint: Checkpoint },
    /// Nothing up to `from` had changed when `to` was signed.
    Consistency { from: Checkpoint, to: Checkpoint },
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("it is no proof: {0}")]
    Malformed(String),
    #[error("the checkpoint is not believed: {0}")]
    Checkpoint(#[from] CheckpointError),
    #[error("the event says position {said}, and the proof is of position {proved}")]
    OtherEvent { said: u64, proved: u64 },
    #[error("the two checkpoints are the wrong way round: {from} events, then {to}")]
    Reversed { from: u64, to: u64 },
    #[error("it does not lead from what it begins with to the checkpoint's root")]
    Wrong,
}

impl ProofError {
    /// Whether it isn't even in the shape of a proof.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        match self {
            Self::Malformed(_) => true,
            Self::Checkpoint(error) => error.is_malformed(),
            Self::OtherEvent { .. } | Self::Reversed { .. } | Self::Wrong => false,
        }
    }
}

/// What of an event's line is read.
#[derive(Deserialize)]
struct Place {
    position: u64,
}

/// What the API answers around a proof.
#[derive(Deserialize)]
struct Answered {
    data: Proof,
}

impl Proof {
    /// A proof in JSON, alone or as the API has answered it.
    ///
    /// # Errors
    /// [`ProofError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, ProofError> {
        let answered = serde_json::from_str::<Answered>(text).map(|answered| answered.data);
        answered
            .or_else(|_| serde_json::from_str(text))
            .map_err(|error| ProofError::Malformed(error.to_string()))
    }

    /// Checks it by the public keys of those who are believed, and by nothing else.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn verify(&self, verifiers: &[Verifier]) -> Result<Proved, ProofError> {
        match self {
            Self::Inclusion(proof) => proof.verify(verifiers),
            Self::Consistency(proof) => proof.verify(verifiers),
        }
    }
}

impl InclusionProof {
    fn verify(&self, verifiers: &[Verifier]) -> Result<Proved, ProofError> {
        let Self { event, leaf_index, path, checkpoint } = self;
        let malformed = |error: serde_json::Error| ProofError::Malformed(error.to_string());
        let Place { position: said } = serde_json::from_str(event).map_err(malformed)?;
        let checkpoint = Checkpoint::open(verifiers, checkpoint)?;
        let proved = leaf_index.saturating_add(1);
        if said != proved {
            return Err(ProofError::OtherEvent { said, proved });
        }
        let leaf = leaf_hash(event.as_bytes());
        if !verify_inclusion(leaf, *leaf_index, checkpoint.size, path, checkpoint.root) {
            return Err(ProofError::Wrong);
        }
        Ok(Proved::Inclusion { position: proved, checkpoint })
    }
}

impl ConsistencyProof {
    fn verify(&self, verifiers: &[Verifier]) -> Result<Proved, ProofError> {
        let from = Checkpoint::open(verifiers, &self.from)?;
        let to = Checkpoint::open(verifiers, &self.to)?;
        if from.origin != to.origin {
            return Err(CheckpointError::OtherLog { origin: to.origin, key: from.origin }.into());
        }
        if from.size > to.size {
            return Err(ProofError::Reversed { from: from.size, to: to.size });
        }
        if !verify_consistency((from.size, from.root), (to.size, to.root), &self.path) {
            return Err(ProofError::Wrong);
        }
        Ok(Proved::Consistency { from, to })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Signer, root};

    fn signer(name: &str) -> Signer {
        Signer::from_pem(name, &Signer::generate().expect("a key")).expect("a key")
    }

    fn note(signer: &Signer, leaves: &[Hash]) -> String {
        let root = root(leaves.iter().copied());
        let origin = signer.verifier().name().to_owned();
        Checkpoint { origin, size: leaves.len() as u64, root }.sign(signer)
    }

    fn events() -> [String; 2] {
        [1, 2].map(|position| format!("{{\"position\":{position}}}"))
    }

    fn inclusion(signer: &Signer) -> InclusionProof {
        let [event, other] = events();
        let leaves = [&event, &other].map(|event| leaf_hash(event.as_bytes()));
        let checkpoint = note(signer, &leaves);
        InclusionProof { event, leaf_index: 0, path: vec![leaves[1]], checkpoint }
    }

    fn consistency(signer: &Signer) -> ConsistencyProof {
        let leaves = events().map(|event| leaf_hash(event.as_bytes()));
        let (from, to) = (note(signer, &leaves[..1]), note(signer, &leaves));
        ConsistencyProof { from, to, path: vec![leaves[1]] }
    }

    #[test]
    fn proofs_come_back_as_they_went_alone_and_as_an_answer() {
        let signer = signer("log");
        let keys = [signer.verifier().clone()];
        let proofs =
            [Proof::Inclusion(inclusion(&signer)), Proof::Consistency(consistency(&signer))];
        for proof in proofs {
            let text = serde_json::to_string(&proof).expect("JSON");
            let answer = format!("{{\"success\":true,\"data\":{text},\"timestamp\":\"…\"}}");
            for text in [text, answer] {
                assert_eq!(Proof::parse(&text), Ok(proof.clone()));
            }
            assert!(proof.verify(&keys).is_ok());
        }
    }

    #[test]
    fn a_proof_that_was_tampered_with_proves_nothing() {
        let signer = signer("log");
        let keys = [signer.verifier().clone()];
        let good = inclusion(&signer);
        let [event, _] = events();
        for bad in [
            InclusionProof { event: event.replace('}', ",\"x\":1}"), ..good.clone() },
            InclusionProof { path: Vec::new(), ..good.clone() },
            InclusionProof { path: vec![good.path[0], good.path[0]], ..good.clone() },
        ] {
            assert_eq!(Proof::Inclusion(bad).verify(&keys), Err(ProofError::Wrong));
        }
        let other = InclusionProof { leaf_index: 1, ..good.clone() };
        let refused = Proof::Inclusion(other).verify(&keys);
        assert_eq!(refused, Err(ProofError::OtherEvent { said: 1, proved: 2 }));
        let forged = InclusionProof { checkpoint: good.checkpoint.replacen('2', "3", 1), ..good };
        let refused = Proof::Inclusion(forged).verify(&keys).expect_err("the signature is wrong");
        assert!(!refused.is_malformed(), "{refused}");
        let good = consistency(&signer);
        let reversed =
            ConsistencyProof { from: good.to.clone(), to: good.from.clone(), ..good.clone() };
        let refused = Proof::Consistency(reversed).verify(&keys);
        assert_eq!(refused, Err(ProofError::Reversed { from: 2, to: 1 }));
        let empty = ConsistencyProof { path: Vec::new(), ..good };
        assert_eq!(Proof::Consistency(empty).verify(&keys), Err(ProofError::Wrong));
    }

    #[test]
    fn a_proof_of_another_log_proves_nothing() {
        let (ours, theirs) = (signer("log"), signer("other"));
        let keys = [ours.verifier().clone()];
        for proof in
            [Proof::Inclusion(inclusion(&theirs)), Proof::Consistency(consistency(&theirs))]
        {
            let refused = proof.verify(&keys).expect_err("another log");
            assert!(refused.to_string().contains("but by other"), "{refused}");
        }
        let mixed = ConsistencyProof { to: consistency(&theirs).to, ..consistency(&ours) };
        let keys = [ours.verifier().clone(), theirs.verifier().clone()];
        let refused = Proof::Consistency(mixed).verify(&keys).expect_err("two logs");
        assert!(matches!(refused, ProofError::Checkpoint(CheckpointError::OtherLog { .. })));
    }

    #[test]
    fn what_is_no_proof_is_said_to_be_none() {
        for bad in [
            "",
            "{}",
            "[]",
            "null",
            "{\"kind\":\"inclusion\"}",
            "{\"kind\":\"other\"}",
            "{\"data\":{}}",
        ] {
            let refused = Proof::parse(bad).expect_err("it is none");
            assert!(refused.is_malformed(), "{refused}");
        }
        let signer = signer("log");
        let keys = [signer.verifier().clone()];
        let good = inclusion(&signer);
        for bad in [
            InclusionProof { event: "no JSON".to_owned(), ..good.clone() },
            InclusionProof { event: "{}".to_owned(), ..good.clone() },
            InclusionProof { checkpoint: "no note".to_owned(), ..good.clone() },
            InclusionProof { checkpoint: signer.sign("no checkpoint\n"), ..good },
        ] {
            let refused = Proof::Inclusion(bad).verify(&keys).expect_err("it is none");
            assert!(refused.is_malformed(), "{refused}");
        }
    }
}
