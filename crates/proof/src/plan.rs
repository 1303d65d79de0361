//! Which hashes a proof consists of.

use crate::tree::fold;
use crate::{Hash, Subtree};

/// One hash of a proof: that of the tree over these complete subtrees, largest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part(pub Vec<Subtree>);

impl Part {
    fn between(from: u64, to: u64) -> Self {
        Self(Subtree::between(from, to))
    }

    /// The hash, from those of its subtrees.
    ///
    /// # Errors
    /// The first that `hash` gives.
    pub fn hash<E>(&self, hash: impl FnMut(Subtree) -> Result<Hash, E>) -> Result<Hash, E> {
        let hashes: Result<Vec<_>, E> = self.0.iter().copied().map(hash).collect();
        Ok(fold(hashes?.into_iter()))
    }
}

/// The largest power of two below a size of at least two.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The parts of the proof that leaf `index` is in the tree of this size, from the leaf upwards: RFC
/// 6962, section 2.1.1. `None` if the tree has no such leaf.
#[must_use]
pub fn inclusion(index: u64, size: u64) -> Option<Vec<Part>> {
    if index >= size {
        return None;
    }
    let (mut from, mut to) = (0, size);
    let mut parts = Vec::new();
    while to - from > 1 {
        let middle = from + split(to - from);
        if index < middle {
            parts.push(Part::between(middle, to));
            to = middle;
        } else {
            parts.push(Part::between(from, middle));
            from = middle;
        }
    }
    parts.reverse();
    Some(parts)
}

/// The parts of the proof that the tree of size `new` begins with that of size `old`: RFC 6962, section
/// 2.1.2. `None` unless `0 < old <= new`.
#[must_use]
pub fn consistency(old: u64, new: u64) -> Option<Vec<Part>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut from, mut to) = (0, new);
    let mut parts = Vec::new();
    while old != to {
        let middle = from + split(to - from);
        if old <= middle {
            parts.push(Part::between(middle, to));
            to = middle;
        } else {
            parts.push(Part::between(from, middle));
            from = middle;
        }
    }
    // The old tree's own root is known to whoever verifies.
    if from > 0 {
        parts.push(Part::between(from, to));
    }
    parts.reverse();
    Some(parts)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::TileId;

    fn tiles(parts: &[Part]) -> usize {
        let subtrees = parts.iter().flat_map(|part| &part.0);
        subtrees.map(|subtree| subtree.place().0).collect::<HashSet<TileId>>().len()
    }

    #[test]
    fn a_proof_needs_a_few_tiles_however_long_the_log_is() {
        for (size, most) in [(10_000, 4), (10_000_000, 6), (10_000_000_000, 10)] {
            for index in [0, 1, size / 3, size / 2, size - 257, size - 1] {
                let parts = inclusion(index, size).expect("there is such a leaf");
                assert!(tiles(&parts) <= most, "{index} of {size}: {}", tiles(&parts));
                assert!(parts.len() <= 34);
                let parts = consistency(index + 1, size).expect("there is such a size");
                assert!(tiles(&parts) <= most, "{index} to {size}: {}", tiles(&parts));
            }
        }
    }
}
