//! A tree that grows at its right edge, and what of it is to be kept.
//!
//! What is kept are the hashes of the leaves, and of each 256th of a level's subtrees, in tiles of 256
//! as C2SP's `tlog-tiles` has them. Every other node is at most 255 hashes away, so a proof needs a
//! few tiles a level, whatever the size.

use crate::hash::empty_root;
use crate::{Hash, node_hash};

/// Levels of nodes that a tile spans.
const TILE_HEIGHT: u32 = 8;
/// Hashes in a full tile.
const TILE_WIDTH: usize = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_BYTES: usize = TILE_WIDTH * Hash::BYTES;

/// The node above `2^height` leaves, of which the first is leaf `index * 2^height`. Its hash never
/// changes while the tree grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subtree {
    pub height: u32,
    pub index: u64,
}

impl Subtree {
    /// The tile that its hash is found in, and the entries there that it is made of.
    #[must_use]
    pub fn place(self) -> (TileId, std::ops::Range<usize>) {
        let level = self.height / TILE_HEIGHT;
        let width = 1u64 << (self.height % TILE_HEIGHT);
        let first = self.index * width;
        let tile = TileId { level, index: first >> TILE_HEIGHT };
        let offset = first as usize % TILE_WIDTH;
        (tile, offset..offset + width as usize)
    }

    /// Those that make up leaves `from` to before `to`, largest first. `from` is a multiple of each
    /// one's width.
    pub(crate) fn between(from: u64, to: u64) -> Vec<Self> {
        let (mut first, mut subtrees) = (from, Vec::new());
        while first < to {
            let height = (to - first).ilog2();
            subtrees.push(Self { height, index: first >> height });
            first += 1 << height;
        }
        subtrees
    }
}

/// The hash of a tree whose complete subtrees, largest first, have these.
pub(crate) fn fold(subtrees: impl DoubleEndedIterator<Item = Hash>) -> Hash {
    subtrees.rev().reduce(|right, left| node_hash(left, right)).unwrap_or_else(empty_root)
}

/// The root of a tree with these leaves.
pub fn root(leaves: impl IntoIterator<Item = Hash>) -> Hash {
    let mut frontier = Frontier::default();
    for leaf in leaves {
        frontier.push(leaf, |_, _| {});
    }
    frontier.root()
}

/// The right edge of a tree, from which it can grow: one hash for each bit of its size that is set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Of the complete subtrees, largest first.
    hashes: Vec<Hash>,
}

impl Frontier {
    /// How many leaves there are.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        fold(self.hashes.iter().copied())
    }

    /// Adds a leaf, and tells of each subtree that it completes, itself included.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(Subtree, Hash)) {
        let mut subtree = Subtree { height: 0, index: self.size };
        let mut hash = leaf;
        completed(subtree, hash);
        while subtree.index % 2 == 1 {
            let left = self.hashes.pop().expect("an odd one has a left neighbour");
            hash = node_hash(left, hash);
            subtree = Subtree { height: subtree.height + 1, index: subtree.index / 2 };
            completed(subtree, hash);
        }
        self.hashes.push(hash);
        self.size += 1;
    }
}

/// A tile's place: level 0 has the leaves, level 1 the subtrees of 256 of them, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    pub level: u32,
    pub index: u64,
}

/// Up to 256 hashes of a level, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    pub id: TileId,
    pub hashes: Vec<u8>,
}

impl Tile {
    /// The hash of the node above these entries, whose number is a power of two. `None` if they aren't
    /// all there.
    #[must_use]
    pub fn hash(hashes: &[u8], entries: std::ops::Range<usize>) -> Option<Hash> {
        let bytes = hashes.get(entries.start * Hash::BYTES..entries.end * Hash::BYTES)?;
        Some(root(bytes.chunks_exact(Hash::BYTES).map(hash)))
    }

    /// The hashes in it.
    pub fn entries(hashes: &[u8]) -> impl Iterator<Item = Hash> {
        hashes.chunks_exact(Hash::BYTES).map(hash)
    }
}

fn hash(bytes: &[u8]) -> Hash {
    Hash(bytes.try_into().expect("chunks have this length"))
}

/// Stored tiles don't have the hashes that a tree of this size has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("tile {} of level {} is not as long as it must be", .0.index, .0.level)]
pub struct Misfit(pub TileId);

/// A tree that grows, and the tiles that change with it.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    frontier: Frontier,
    /// By level: the last tile, unless it is full.
    open: Vec<Tile>,
    /// Full ones that were not taken out yet.
    full: Vec<Tile>,
    /// By level: whether the last tile was not taken out as it is now.
    changed: Vec<bool>,
}

impl Tree {
    /// The tiles that a tree of this size goes on from, one a level at most.
    #[must_use]
    pub fn edge(size: u64) -> Vec<TileId> {
        let levels = (0..8).map(|level| (level, size >> (TILE_HEIGHT * level)));
        let open = levels.filter(|(_, width)| width % TILE_WIDTH as u64 > 0);
        open.map(|(level, width)| TileId { level, index: width >> TILE_HEIGHT }).collect()
    }

    /// The tree of this size, from its [`edge`](Self::edge), in that order. What lies beyond the size
    /// in a tile is left out.
    ///
    /// # Errors
    /// [`Misfit`].
    pub fn load(size: u64, edge: Vec<Tile>) -> Result<Self, Misfit> {
        let mut tree = Self::default();
        for mut tile in edge {
            let TileId { level, index } = tile.id;
            for index in tree.open.len() as u32..level {
                tree.open_tile(TileId { level: index, index: size >> (TILE_HEIGHT * (index + 1)) });
            }
            let width = (size >> (TILE_HEIGHT * level)) as usize % TILE_WIDTH;
            let bytes = width * Hash::BYTES;
            if tile.hashes.len() < bytes || index != size >> (TILE_HEIGHT * (level + 1)) {
                return Err(Misfit(tile.id));
            }
            tile.hashes.truncate(bytes);
            tree.open.push(tile);
            tree.changed.push(false);
        }
        let mut hashes = Vec::new();
        for subtree in Subtree::between(0, size) {
            let (id, entries) = subtree.place();
            let tile = tree.open.get(id.level as usize).filter(|tile| tile.id == id);
            let hash = tile.and_then(|tile| Tile::hash(&tile.hashes, entries));
            hashes.push(hash.ok_or(Misfit(id))?);
        }
        tree.frontier = Frontier { size, hashes };
        Ok(tree)
    }

    #[must_use]
    pub fn size(&self) -> u64 {
        self.frontier.size()
    }

    #[must_use]
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    pub fn push(&mut self, leaf: Hash) {
        let mut entries = Vec::new();
        self.frontier.push(leaf, |subtree, hash| {
            if subtree.height % TILE_HEIGHT == 0 {
                entries.push((subtree, hash));
            }
        });
        for (subtree, hash) in entries {
            let (id, _) = subtree.place();
            let level = id.level as usize;
            if level == self.open.len() {
                self.open_tile(id);
            }
            let tile = &mut self.open[level];
            tile.hashes.extend(hash.0);
            self.changed[level] = true;
            if tile.hashes.len() == TILE_BYTES {
                let next = Tile {
                    id: TileId { level: id.level, index: id.index + 1 },
                    hashes: Vec::new(),
                };
                self.full.push(std::mem::replace(tile, next));
                self.changed[level] = false;
            }
        }
    }

    /// The tiles that differ from what was taken out before.
    pub fn take_changed(&mut self) -> Vec<Tile> {
        let mut tiles = std::mem::take(&mut self.full);
        for (tile, changed) in self.open.iter().zip(&mut self.changed) {
            if std::mem::take(changed) {
                tiles.push(tile.clone());
            }
        }
        tiles
    }

    fn open_tile(&mut self, id: TileId) {
        self.open.push(Tile { id, hashes: Vec::new() });
        self.changed.push(false);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::leaf_hash;

    fn leaves(count: u64) -> impl Iterator<Item = Hash> {
        (0..count).map(|n| leaf_hash(&n.to_be_bytes()))
    }

    /// RFC 6962, section 2.1, word by word.
    fn by_definition(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
                node_hash(by_definition(left), by_definition(right))
            }
        }
    }

    #[test]
    fn the_roots_are_those_that_certificate_transparency_has_published() {
        let entries = [
            "",
            "00",
            "10",
            "2021",
            "3031",
            "40414243",
            "5051525354555657",
            "606162636465666768696a6b6c6d6e6f",
        ];
        let roots = [
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let leaves = entries.map(|entry| leaf_hash(&hex::decode(entry).expect("hex")));
        for (size, expected) in roots.iter().enumerate() {
            assert_eq!(hex::encode(root(leaves[..size].iter().copied()).0), *expected, "{size}");
        }
    }

    #[test]
    fn a_tree_of_any_size_has_the_root_of_its_leaves_and_can_be_loaded_again() {
        let all: Vec<_> = leaves(1_500).collect();
        let mut stored = HashMap::new();
        let mut tree = Tree::default();
        for size in 0..=all.len() {
            for tile in tree.take_changed() {
                stored.insert(tile.id, tile.hashes);
            }
            if size < 300 || size % 97 == 0 || size % 256 < 2 {
                assert_eq!(tree.root(), by_definition(&all[..size]), "{size}");
                let edge = Tree::edge(size as u64).into_iter();
                let edge = edge.map(|id| Tile { id, hashes: stored[&id].clone() }).collect();
                let loaded = Tree::load(size as u64, edge).expect("it fits");
                assert_eq!((loaded.size(), loaded.root()), (size as u64, tree.root()));
                // It goes on as the other does.
                let (mut going_on, mut other) = (loaded, tree.clone());
                for leaf in leaves(600) {
                    going_on.push(leaf);
                    other.push(leaf);
                }
                assert_eq!(going_on.root(), other.root(), "{size}");
                assert_eq!(sorted(going_on.take_changed()), sorted(other.take_changed()), "{size}");
            }
            if let Some(leaf) = all.get(size) {
                tree.push(*leaf);
            }
        }
        let level_one = &stored[&TileId { level: 1, index: 0 }];
        let expected: Vec<_> = all.chunks_exact(256).map(by_definition).collect();
        assert_eq!(Tile::entries(level_one).collect::<Vec<_>>(), expected);
    }

    fn sorted(mut tiles: Vec<Tile>) -> Vec<Tile> {
        tiles.sort_by_key(|tile| tile.id);
        tiles
    }

    #[test]
    fn every_subtree_is_found_in_the_tiles() {
        let all: Vec<_> = leaves(70_000).collect();
        let mut tree = Tree::default();
        let mut frontier = Frontier::default();
        let mut subtrees = Vec::new();
        for leaf in &all {
            tree.push(*leaf);
            frontier.push(*leaf, |subtree, hash| subtrees.push((subtree, hash)));
        }
        let tiles: HashMap<_, _> =
            tree.take_changed().into_iter().map(|tile| (tile.id, tile.hashes)).collect();
        assert!(tiles.contains_key(&TileId { level: 2, index: 0 }));
        for (subtree, hash) in subtrees.into_iter().filter(|(subtree, _)| subtree.height > 3) {
            let (id, entries) = subtree.place();
            assert_eq!(Tile::hash(&tiles[&id], entries), Some(hash), "{subtree:?}");
        }
    }

    #[test]
    fn tiles_that_are_too_short_are_refused() {
        let id = TileId { level: 0, index: 0 };
        for hashes in [Vec::new(), vec![0; 64], vec![0; 95]] {
            let refused = Tree::load(3, vec![Tile { id, hashes }]);
            assert_eq!(refused.expect_err("too short"), Misfit(id));
        }
        assert!(Tree::load(3, Vec::new()).is_err());
        let elsewhere = Tile { id: TileId { level: 0, index: 1 }, hashes: vec![0; 96] };
        assert!(Tree::load(3, vec![elsewhere]).is_err());
    }
}
