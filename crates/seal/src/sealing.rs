//! Sealing: rows become leaves, and every so often the tree's root is signed.

use std::sync::Arc;

use tokio::task::yield_now;
use verbatim_journal::{Row, Rows};
use verbatim_proof::{
    Checkpoint, CheckpointError, Hash, NoteError, Signer, Tile, Tree, Verifier, leaf_hash,
};
use verbatim_protocol::{JournalId, Timestamp};

use crate::proving::said;
use crate::{Error, NewCheckpoint, Prover, Signed, Store, line};

/// Events that are taken in before others have their turn: a few tenths of a millisecond.
const AT_ONCE: usize = 32;

/// The tree over a log, where it ends, and what signs it. After an error it is of no use any more: what
/// is stored is the truth, and [`resume`](Self::resume) goes on from there.
pub struct Sealer {
    log: JournalId,
    rows: Arc<dyn Rows>,
    store: Arc<dyn Store>,
    signer: Arc<Signer>,
    tree: Tree,
    /// Number and size of the last checkpoint.
    number: u64,
    sealed: u64,
    line: Vec<u8>,
}

/// What a sealer believes beside its own key: whoever can write to the store could put anything there.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys that it had before.
    pub keys: Vec<Verifier>,
    /// Checkpoints that were signed and are known from elsewhere. The store must know them, too.
    pub checkpoints: Vec<Checkpoint>,
}

impl Sealer {
    /// Goes on after the log's last checkpoint, once it is seen to be signed by somebody trusted, to
    /// vouch for what is stored, and to go on from all checkpoints that are known; and the log still to
    /// have its last event.
    ///
    /// # Errors
    /// [`Error::Tampered`] if any of it isn't so.
    pub async fn resume(
        rows: Arc<dyn Rows>,
        store: Arc<dyn Store>,
        signer: Arc<Signer>,
        trust: &Trust,
    ) -> Result<Self, Error> {
        let log = rows.id();
        let (mut tree, mut number) = (Tree::default(), 0);
        let last = store.latest(log).await?;
        if let Some(last) = &last {
            let mut keys = trust.keys.clone();
            keys.push(signer.verifier().clone());
            tree = trusted(&*store, last, &keys).await?;
            number = last.number;
        }
        let prover = Prover { rows: Arc::clone(&rows), store: Arc::clone(&store) };
        for known in &trust.checkpoints {
            goes_on_from(&prover, known, last.as_ref()).await?;
        }
        let sealed = tree.size();
        let mut resumed = Self { log, rows, store, signer, tree, number, sealed, line: Vec::new() };
        resumed.check_last().await?;
        Ok(resumed)
    }

    /// The last position that was taken in.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.tree.size()
    }

    /// The last position that a checkpoint speaks of.
    #[must_use]
    pub fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Takes in up to `limit` of the next events; gives their number.
    ///
    /// # Errors
    /// [`Error::Tampered`] if one is missing or can't be read.
    pub async fn take(&mut self, limit: usize) -> Result<usize, Error> {
        let rows = self.rows.rows_after(self.tree.size() as i64, limit).await?;
        for (taken, row) in rows.iter().enumerate() {
            if taken % AT_ONCE == AT_ONCE - 1 {
                // Messages wait for this thread.
                yield_now().await;
            }
            let leaf = self.leaf(row, self.tree.size() + 1)?;
            self.tree.push(leaf);
        }
        Ok(rows.len())
    }

    /// Signs what was taken in, and stores it; gives what was signed.
    ///
    /// # Errors
    /// [`Error::Moved`] if another process has done so.
    pub async fn seal(&mut self, now: Timestamp) -> Result<Checkpoint, Error> {
        let verifier = self.signer.verifier();
        let size = self.tree.size();
        let checkpoint =
            Checkpoint { origin: verifier.name().to_owned(), size, root: self.tree.root() };
        let new = NewCheckpoint {
            number: self.number + 1,
            size,
            signed_at: now,
            note: checkpoint.sign(&self.signer),
            verifier: verifier.to_string(),
            tiles: self.tree.take_changed(),
        };
        self.store.add(self.log, new).await?;
        self.number += 1;
        self.sealed = size;
        Ok(checkpoint)
    }

    /// Whether the log's event at the last checkpoint is the one that was sealed there.
    async fn check_last(&mut self) -> Result<(), Error> {
        let Some(index) = self.sealed.checked_sub(1) else { return Ok(()) };
        let rows = self.rows.rows_after(index as i64, 1).await?;
        let Some(row) = rows.first() else {
            return Err(Error::Tampered(format!(
                "it ends before position {}, which the last checkpoint speaks of",
                self.sealed
            )));
        };
        let leaf = self.leaf(row, self.sealed)?;
        let subtree = verbatim_proof::Subtree { height: 0, index };
        let (id, entries) = subtree.place();
        let tiles = self.store.tiles(self.log, &[id]).await?;
        let stored = tiles.first().and_then(|tile| Tile::hash(&tile.hashes, entries));
        if stored != Some(leaf) {
            return Err(Error::Tampered(format!("position {} is another event", self.sealed)));
        }
        Ok(())
    }

    fn leaf(&mut self, row: &Row, position: u64) -> Result<Hash, Error> {
        if row.position != position as i64 {
            return Err(Error::Tampered(format!(
                "position {} comes where {position} is due",
                row.position
            )));
        }
        let unreadable = |why: &dyn std::fmt::Display| {
            Error::Tampered(format!("the event at position {position} can't be read: {why}"))
        };
        let event = row.stored.as_ref().map_err(|why| unreadable(why))?;
        self.line.clear();
        line(event, position, event.sequence, &mut self.line).map_err(|why| unreadable(&why))?;
        Ok(leaf_hash(&self.line))
    }
}

/// Whether the last checkpoint goes on from one that is known to have been signed.
async fn goes_on_from(
    prover: &Prover,
    known: &Checkpoint,
    last: Option<&Signed>,
) -> Result<(), Error> {
    let unknown = || {
        Error::Tampered(format!(
            "a checkpoint of {} events was signed, and the seal knows nothing of it",
            known.size
        ))
    };
    let last = last.filter(|last| last.size >= known.size).ok_or_else(unknown)?;
    let stored = prover.store.of_size(prover.log(), known.size).await?.ok_or_else(unknown)?;
    if said(&stored)?.root != known.root {
        return Err(unknown());
    }
    prover.consistency(stored, last.clone()).await.map(drop)
}

/// The keys that the store names.
pub(crate) async fn known_keys(store: &dyn Store, log: JournalId) -> Result<Vec<Verifier>, Error> {
    let keys = store.verifiers(log).await?;
    let keys = keys.iter().map(|key| key.parse::<Verifier>());
    keys.collect::<Result<_, _>>()
        .map_err(|error| Error::Tampered(format!("a key in the seal is none: {error}")))
}

/// The tree that a checkpoint speaks of, if it was signed with one of the keys, and is what is stored.
async fn trusted(store: &dyn Store, last: &Signed, keys: &[Verifier]) -> Result<Tree, Error> {
    let bad = |why: &dyn std::fmt::Display| {
        Error::Tampered(format!("the checkpoint of {} events: {why}", last.size))
    };
    let checkpoint = Checkpoint::open(keys, &last.note).map_err(|error| match error {
        CheckpointError::Note(NoteError::OtherKey(_)) => bad(&format_args!(
            "{error}; if the key was replaced, SEAL_OLD_KEYS must name the old public one"
        )),
        error => bad(&error),
    })?;
    if checkpoint.size != last.size {
        return Err(bad(&format_args!("its note speaks of {}", checkpoint.size)));
    }
    let edge = Tree::edge(last.size);
    let tiles = store.tiles(last.log, &edge).await?;
    let tree = Tree::load(last.size, tiles).map_err(|error| bad(&error))?;
    if tree.root() != checkpoint.root {
        return Err(bad(&"the tree that is stored has another root"));
    }
    Ok(tree)
}
