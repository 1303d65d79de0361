//! Who writes what, when several workers share a journal: leases on lanes, fenced by epochs.
//!
//! A lane belongs to one worker at a time. Its lease runs by the database's clock; its epoch is
//! raised with every change of hands, and an append under an older epoch comes to nothing.

use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;
use verbatim_protocol::LaneCursor;

use crate::Error;

/// A lane as its owner holds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Claim {
    pub lane: u16,
    pub epoch: u64,
}

/// A lane that a worker owns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owned {
    pub claim: Claim,
    /// The last command of the lane's queue that is settled, as are all before it. `None` before the
    /// first.
    pub cursor: Option<LaneCursor>,
}

/// What a worker has after [`Lanes::renew`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// Every lane of its own, ascending.
    pub owned: Vec<Owned>,
    /// How many of them it should give up, so that each living worker has its share.
    pub surplus: usize,
    /// In which time there may be lanes to take: soon while others are to give some up, else when the
    /// first lease of another's ends.
    pub look_in: Duration,
}

/// A command that was set aside: nobody could handle it, and its lane goes on without it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The command as it travelled.
    pub command: Vec<u8>,
    /// Why it was set aside, for operators. Holds nothing that a client said.
    pub reason: String,
}

/// How far a worker has come in a lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneProgress {
    pub claim: Claim,
    /// All commands up to here are settled with this append. `None` leaves the cursor as it is.
    pub cursor: Option<LaneCursor>,
    /// Those among them that were set aside.
    pub dead: Vec<DeadLetter>,
}

/// The port of lane ownership, for journals that workers share.
#[async_trait]
pub trait Lanes: Send + Sync + 'static {
    /// Says that the worker lives, for `lease` from now. Renews what it owns, and takes lanes that
    /// are nobody's, or whose owner's lease has run out, up to its share: an even one among the
    /// workers that live. A lane that is taken gets a higher epoch; one that is renewed keeps its own.
    ///
    /// # Errors
    /// [`Error`].
    async fn renew(&self, worker: Uuid, lease: Duration) -> Result<Ownership, Error>;

    /// Gives lanes up, so that others needn't wait for the lease to run out. Those that are no longer
    /// the worker's are left alone.
    ///
    /// # Errors
    /// [`Error`].
    async fn release(&self, claims: &[Claim]) -> Result<(), Error>;

    /// Raises the epochs of lanes, after which no append under the older claims can be committed any
    /// more: what isn't in the journal by then never will be. An answer for each claim, in order:
    /// the new one, or `None` if the lane belongs to another worker by now.
    ///
    /// # Errors
    /// [`Error`].
    async fn raise(&self, claims: &[Claim]) -> Result<Vec<Option<Claim>>, Error>;
}
