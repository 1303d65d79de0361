//! What a log can prove of itself, and how anyone checks it: hashes, signatures and numbers alone.
//!
//! The tree is that of RFC 6962 over SHA-256, the checkpoints are C2SP's (`tlog-checkpoint` within
//! `signed-note`, Ed25519). Nothing here reads or writes anything, so what it says holds wherever the
//! bytes come from.
//!
//! Invariants kept here:
//! - the proofs that are planned ([`plan`]) are those that [`verify_inclusion`] and
//!   [`verify_consistency`] accept, for any sizes;
//! - the root of a tree that grew leaf by leaf ([`Tree`]) is that of its leaves ([`root`]);
//! - a checkpoint is believed only by a key whose name is the checkpoint's origin.

mod checkpoint;
mod hash;
mod note;
pub mod plan;
mod proof;
mod tree;
mod verifying;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use hash::{Hash, NotAHash, leaf_hash, node_hash};
pub use note::{KeyError, NoteError, Signer, Verifier, check_name, notes, text_and_signatures};
pub use proof::{ConsistencyProof, InclusionProof, Proof, ProofError, Proved};
pub use tree::{Frontier, Misfit, Subtree, TILE_BYTES, Tile, TileId, Tree, root};
pub use verifying::{verify_consistency, verify_inclusion};
