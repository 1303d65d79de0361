//! Checkpoints, as C2SP's `tlog-checkpoint` has them: a log, its size and its root.

use std::fmt;
use std::str::FromStr;

use crate::{Hash, NoteError, Signer, Verifier};

/// What a log was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log, in a line.
    pub origin: String,
    /// How many leaves it had.
    pub size: u64,
    pub root: Hash,
}

/// Why a checkpoint isn't believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error("it is signed, but it is no checkpoint")]
    NoCheckpoint,
    #[error("it is of another log: it says {origin}, and the key is of {key}")]
    OtherLog { origin: String, key: String },
}

impl CheckpointError {
    /// Whether it isn't even in the shape of a signed checkpoint.
    #[must_use]
    pub fn is_malformed(&self) -> bool {
        matches!(self, Self::Note(NoteError::Malformed) | Self::NoCheckpoint)
    }
}

impl Checkpoint {
    /// The checkpoint in a note that one of the keys has signed, whose name is the checkpoint's origin.
    ///
    /// # Errors
    /// [`CheckpointError`].
    pub fn open(verifiers: &[Verifier], note: &str) -> Result<Self, CheckpointError> {
        let (text, verifier) = Verifier::open(verifiers, note)?;
        let checkpoint: Self = text.parse()?;
        if checkpoint.origin != verifier.name() {
            return Err(CheckpointError::OtherLog {
                origin: checkpoint.origin,
                key: verifier.name().to_owned(),
            });
        }
        Ok(checkpoint)
    }

    /// The note of this checkpoint.
    #[must_use]
    pub fn sign(&self, signer: &Signer) -> String {
        signer.sign(&self.to_string())
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { origin, size, root } = self;
        write!(f, "{origin}\n{size}\n{root}\n")
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let (origin, size, root) = (lines.next(), lines.next(), lines.next());
        // Lines may follow that say more.
        let ends = lines.next_back() == Some("") && lines.all(|line| !line.is_empty());
        let origin = origin.filter(|origin| !origin.is_empty());
        let size = size.and_then(|text| {
            let size: u64 = text.parse().ok()?;
            (size.to_string() == text).then_some(size)
        });
        let root = root.and_then(|root| root.parse().ok());
        match (origin, size, root) {
            (Some(origin), Some(size), Some(root)) if ends => {
                Ok(Self { origin: origin.to_owned(), size, root })
            }
            _ => Err(CheckpointError::NoCheckpoint),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{leaf_hash, root};

    fn signer(name: &str) -> Signer {
        Signer::from_pem(name, &Signer::generate().expect("a key")).expect("a key")
    }

    fn checkpoint(origin: &str) -> Checkpoint {
        Checkpoint { origin: origin.to_owned(), size: 20_852_163, root: leaf_hash(b"x") }
    }

    #[test]
    fn a_checkpoint_comes_back_as_it_went() {
        let signer = signer("example.com/log");
        let note = checkpoint("example.com/log").sign(&signer);
        let opened = Checkpoint::open(std::slice::from_ref(signer.verifier()), &note);
        assert_eq!(opened, Ok(checkpoint("example.com/log")));
        let lines: Vec<_> = note.split('\n').collect();
        assert_eq!(&lines[..2], ["example.com/log", "20852163"]);
        assert_eq!((lines[3], lines[5], lines.len()), ("", "", 6));
        assert!(lines[4].starts_with("— example.com/log "));
    }

    #[test]
    fn a_checkpoint_of_another_log_is_refused_though_the_key_signed_it() {
        let signer = signer("one");
        let note = checkpoint("other").sign(&signer);
        let opened = Checkpoint::open(std::slice::from_ref(signer.verifier()), &note);
        assert!(matches!(opened, Err(CheckpointError::OtherLog { .. })), "{opened:?}");
    }

    #[test]
    fn texts_that_are_no_checkpoints_are_refused() {
        let root = root([]);
        assert!(format!("o\n0\n{root}\nand more\n").parse::<Checkpoint>().is_ok());
        for bad in [
            String::new(),
            "o\n".to_owned(),
            "o\n1\n".to_owned(),
            format!("\n1\n{root}\n"),
            format!("o\n01\n{root}\n"),
            format!("o\n+1\n{root}\n"),
            format!("o\n-1\n{root}\n"),
            format!("o\n18446744073709551616\n{root}\n"),
            "o\n1\nAAAA\n".to_owned(),
            format!("o\n1\n{root}"),
            format!("o\n1\n{root}\n\nmore\n"),
        ] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad:?}");
        }
    }
}
