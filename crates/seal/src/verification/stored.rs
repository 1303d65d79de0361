//! What the sealer has stored, read from the beginning on.

use std::collections::VecDeque;

use verbatim_proof::{Checkpoint, Hash, Subtree, TILE_BYTES, Tile, TileId, Verifier};
use verbatim_protocol::JournalId;

use super::{Failed, Finding};
use crate::{Error, Signed, Store};

/// Checkpoints that are read at once.
const PAGE: usize = 500;
/// Tiles of leaves that are read at once: some thousand events' worth.
const TILES: u64 = 16;

/// The sealer's checkpoints, each found to be signed, numbered without a hole, and growing.
pub(super) struct Own<'s> {
    store: Option<&'s dyn Store>,
    log: JournalId,
    verifiers: Vec<Verifier>,
    /// Of the last that was read, and of the last that there was at the start.
    number: u64,
    last: u64,
    size: u64,
    read: VecDeque<Signed>,
    next: Option<Checkpoint>,
}

impl<'s> Own<'s> {
    pub async fn new(
        store: Option<&'s dyn Store>,
        log: JournalId,
        verifiers: Vec<Verifier>,
        last: u64,
    ) -> Result<Self, Failed> {
        let mut own = Self {
            store,
            log,
            verifiers,
            number: 0,
            last,
            size: 0,
            read: VecDeque::new(),
            next: None,
        };
        own.advance().await?;
        Ok(own)
    }

    /// The next one, whose size is above that of those before.
    pub fn next(&self) -> Option<&Checkpoint> {
        self.next.as_ref()
    }

    pub async fn advance(&mut self) -> Result<(), Failed> {
        self.next = None;
        let Some(store) = self.store.filter(|_| self.number < self.last) else { return Ok(()) };
        if self.read.is_empty() {
            self.read = store.after(self.log, self.number, PAGE).await?.into();
        }
        let number = self.number + 1;
        let lacking = || Finding::seal(format!("checkpoint number {number} is missing"));
        let signed = self.read.pop_front().filter(|signed| signed.number == number);
        let signed = signed.ok_or_else(lacking)?;
        let bad = |why: String| Finding::seal(format!("checkpoint number {number}: {why}"));
        let checkpoint = Checkpoint::open(&self.verifiers, &signed.note)
            .map_err(|error| bad(error.to_string()))?;
        if checkpoint.size != signed.size || signed.size <= self.size {
            return Err(bad(format!("its size is not {}", signed.size)).into());
        }
        (self.number, self.size) = (number, signed.size);
        self.next = Some(checkpoint);
        Ok(())
    }
}

/// The tree's tiles, as far as they are sealed.
pub(super) struct Tiles<'s> {
    store: Option<&'s dyn Store>,
    log: JournalId,
    /// How many leaves there are.
    size: u64,
    /// Tiles of leaves that follow on each other, and the first leaf in them.
    leaves: Vec<u8>,
    first: u64,
    /// The tile of each level above that was looked at last.
    above: Vec<Option<Tile>>,
}

impl<'s> Tiles<'s> {
    pub fn new(store: Option<&'s dyn Store>, log: JournalId, size: u64) -> Self {
        Self { store, log, size, leaves: Vec::new(), first: 0, above: Vec::new() }
    }

    /// A leaf that was sealed. `None` beyond the end.
    ///
    /// # Errors
    /// Also if it should be there and isn't.
    pub async fn leaf(&mut self, index: u64) -> Result<Option<Hash>, Failed> {
        if index >= self.size {
            return Ok(None);
        }
        let held = (self.leaves.len() / Hash::BYTES) as u64;
        if !(self.first..self.first + held).contains(&index) {
            self.read(index).await?;
        }
        let offset = (index - self.first) as usize;
        match Tile::hash(&self.leaves, offset..offset + 1) {
            Some(leaf) => Ok(Some(leaf)),
            None => {
                Err(Finding::seal(format!("the leaf of position {} is missing", index + 1)).into())
            }
        }
    }

    async fn read(&mut self, index: u64) -> Result<(), Error> {
        let Some(store) = self.store else { return Ok(()) };
        let (first, _) = Subtree { height: 0, index }.place();
        let ids: Vec<_> = (0..TILES).map(|n| TileId { index: first.index + n, ..first }).collect();
        let tiles = store.tiles(self.log, &ids).await?;
        self.leaves.clear();
        self.first = first.index * (TILE_BYTES / Hash::BYTES) as u64;
        for (tile, id) in tiles.iter().zip(&ids) {
            let whole = self.leaves.len() == (id.index - first.index) as usize * TILE_BYTES;
            if tile.id != *id || !whole {
                break;
            }
            self.leaves.extend(&tile.hashes);
        }
        Ok(())
    }

    /// Whether a subtree that is kept, of those that are sealed, has another hash there.
    pub async fn differs(&mut self, subtree: Subtree, hash: Hash) -> Result<bool, Error> {
        let (id, entries) = subtree.place();
        let end = (subtree.index + 1) << subtree.height;
        let Some(store) = self.store.filter(|_| entries.len() == 1 && end <= self.size) else {
            return Ok(false);
        };
        let level = id.level as usize;
        if self.above.len() <= level {
            self.above.resize(level + 1, None);
        }
        if self.above[level].as_ref().is_none_or(|tile| tile.id != id) {
            self.above[level] = store.tiles(self.log, &[id]).await?.pop();
        }
        let stored = self.above[level].as_ref().and_then(|tile| Tile::hash(&tile.hashes, entries));
        Ok(stored != Some(hash))
    }
}
