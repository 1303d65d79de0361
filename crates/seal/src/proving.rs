//! Proofs from what is stored: a few tiles each, however long the log is.

use std::collections::HashMap;
use std::sync::Arc;

use verbatim_journal::Rows;
use verbatim_proof::plan::{self, Part};
use verbatim_proof::{
    Checkpoint, ConsistencyProof, Hash, InclusionProof, Tile, TileId, leaf_hash,
    text_and_signatures, verify_consistency, verify_inclusion,
};
use verbatim_protocol::JournalId;

use crate::{Error, Signed, Store, line};

/// What proofs are made from.
#[derive(Clone)]
pub struct Prover {
    pub rows: Arc<dyn Rows>,
    pub store: Arc<dyn Store>,
}

impl Prover {
    /// The log whose events are proved.
    #[must_use]
    pub fn log(&self) -> JournalId {
        self.rows.id()
    }

    /// The proof that the event of a position is in the log of its last checkpoint. `None` if that was
    /// signed before the event came.
    ///
    /// # Errors
    /// [`Error::Tampered`] if the event isn't the one that was sealed.
    pub async fn inclusion(&self, position: u64) -> Result<Option<InclusionProof>, Error> {
        let Some(index) = position.checked_sub(1) else { return Ok(None) };
        let Some(last) = self.store.latest(self.log()).await? else { return Ok(None) };
        let Some(parts) = plan::inclusion(index, last.size) else { return Ok(None) };
        let lacking = || Error::Tampered(format!("the event at position {position} is missing"));
        let rows = self.rows.rows_after(index as i64, 1).await?;
        let row = rows.first().filter(|row| row.position == position as i64);
        let event = row.ok_or_else(lacking)?.stored.as_ref().map_err(|why| {
            Error::Tampered(format!("the event at position {position} can't be read: {why}"))
        })?;
        let mut bytes = Vec::new();
        line(event, position, event.sequence, &mut bytes)
            .map_err(|why| Error::Tampered(format!("the event at position {position}: {why}")))?;
        let path = self.hashes(&parts).await?;
        let Checkpoint { size, root, .. } = said(&last)?;
        if !verify_inclusion(leaf_hash(&bytes), index, size, &path, root) {
            return Err(Error::Tampered(format!("position {position} is another event")));
        }
        let event = String::from_utf8(bytes).expect("a line is text");
        Ok(Some(InclusionProof { event, leaf_index: index, path, checkpoint: last.note }))
    }

    /// The proof that nothing changed from one checkpoint to a later one, or the same.
    ///
    /// # Errors
    /// [`Error::Tampered`] if what is stored is not what they speak of.
    ///
    /// # Panics
    /// If the first is the later one.
    pub async fn consistency(&self, from: Signed, to: Signed) -> Result<ConsistencyProof, Error> {
        let parts = plan::consistency(from.size, to.size).expect("the caller has compared them");
        let path = self.hashes(&parts).await?;
        let (old, new) = (said(&from)?, said(&to)?);
        if !verify_consistency((old.size, old.root), (new.size, new.root), &path) {
            return Err(Error::Tampered(format!(
                "the checkpoints of {} and {} events are of different logs",
                old.size, new.size
            )));
        }
        Ok(ConsistencyProof { from: from.note, to: to.note, path })
    }

    async fn hashes(&self, parts: &[Part]) -> Result<Vec<Hash>, Error> {
        let subtrees = parts.iter().flat_map(|part| &part.0);
        let mut wanted: Vec<TileId> = subtrees.map(|subtree| subtree.place().0).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let tiles = self.store.tiles(self.log(), &wanted).await?;
        let tiles: HashMap<_, _> = tiles.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
        let hash = |subtree: verbatim_proof::Subtree| {
            let (id, entries) = subtree.place();
            let hash = tiles.get(&id).and_then(|hashes| Tile::hash(hashes, entries));
            hash.ok_or_else(|| {
                Error::Tampered(format!("tile {} of level {} is not whole", id.index, id.level))
            })
        };
        parts.iter().map(|part| part.hash(hash)).collect()
    }
}

/// What a checkpoint says. Whether it was signed, whoever gets it sees.
pub(crate) fn said(signed: &Signed) -> Result<Checkpoint, Error> {
    let checkpoint = text_and_signatures(&signed.note).and_then(|(text, _)| text.parse().ok());
    checkpoint
        .ok_or_else(|| Error::Tampered(format!("the checkpoint of {} events is none", signed.size)))
}
