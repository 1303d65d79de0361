//! What an exit code tells of a command that reads the log.

use std::fmt;
use std::io;

/// For `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed on the way
  2  it can't be done as asked: a malformed or reversed range, one beyond the end of the log, an
     unknown type or format, an output that exists, a MASTER_KEY that is malformed or missing
  3  the store can't be used: it is missing, out of reach, in use by another process, of another
     version, or was begun with another MASTER_KEY";

/// For `--help` of what administers a store.
pub const ADMIN_EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  it failed on the way
  2  it can't be done as asked: a malformed address, no such backup, an output that exists, a place
     that holds no copy of this log
  3  the store can't be used: it is missing, out of reach, in use by another process, of another log or
     version";

/// For `--help` of what makes views and analytics anew.
pub const REBUILD_EXIT_CODES: &str = "\
Exit codes:
  0  done; with --check, nothing differs
  1  it failed on the way
  2  it can't be done as asked: a malformed address
  3  the store can't be used: it is missing, out of reach, or of another version
  4  with --check: something differs; standard output has each row";

/// For `--help` of what looks for tampering.
pub const VERIFY_EXIT_CODES: &str = "\
Exit codes:
  0  everything is as it was sealed
  1  it failed on the way
  2  it can't be done as asked: a malformed key, a file that holds no checkpoints of this log
  3  the store can't be used: it is missing, out of reach, of another version, or nothing was sealed
  4  something was changed, removed or inserted, or isn't signed with the key; standard output names
     the first place";

/// For `--help` of what checks proofs.
pub const PROOF_EXIT_CODES: &str = "\
Exit codes:
  0  it is proved
  2  it can't be done as asked: a malformed key, a file that can't be read or holds no proof
  4  it proves nothing: it was mangled, or is signed with another key, or is of another log";

/// For `--help` of the import.
pub const IMPORT_EXIT_CODES: &str = "\
Exit codes:
  0  done: all of it is there
  1  it failed on the way: import again, and it goes on; or some lines say something else than what
     is there already under their ids: all others are there
  2  it can't be done as asked: a line of the file can't be imported, so nothing was; no such file,
     an unknown format, a MASTER_KEY that is malformed or missing
  3  the store can't be used: it is out of reach, in use by a server, of another version, or was begun
     with another MASTER_KEY";

/// An error whose cause decides the exit code.
#[derive(Debug)]
pub struct Refusal {
    code: u8,
    cause: anyhow::Error,
}

/// It can't be done as asked.
pub fn bad_input(cause: impl Into<anyhow::Error>) -> anyhow::Error {
    Refusal { code: 2, cause: cause.into() }.into()
}

/// The store can't be used.
pub fn bad_store(cause: impl Into<anyhow::Error>) -> anyhow::Error {
    Refusal { code: 3, cause: cause.into() }.into()
}

/// Something isn't as it should be.
pub fn amiss(cause: impl Into<anyhow::Error>) -> anyhow::Error {
    Refusal { code: 4, cause: cause.into() }.into()
}

/// The exit code that an error ends the process with.
pub fn exit_code(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Refusal>().map_or(1, |refusal| refusal.code)
}

/// Whether whoever read the output has had enough, which is no failure.
pub fn is_closed(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.cause)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use anyhow::{Context, anyhow};

    use super::*;

    #[test]
    fn the_cause_decides_and_what_is_said_of_it_changes_nothing() {
        assert_eq!(exit_code(&anyhow!("on the way")), 1);
        for (error, code) in [(bad_input(anyhow!("cause")), 2), (bad_store(anyhow!("cause")), 3)] {
            let error = Err::<(), _>(error).context("said of it").expect_err("it is one");
            assert_eq!(exit_code(&error), code);
            assert_eq!(format!("{error:#}"), "said of it: cause");
        }
    }
}
