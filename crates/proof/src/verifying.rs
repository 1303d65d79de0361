//! Whether a proof proves what it is said to.

use crate::{Hash, node_hash};

/// Whether the tree of this size and root has the leaf at `index`: RFC 9162, section 2.1.3.2.
#[must_use]
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            hash = node_hash(*sibling, hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node / 2, last / 2);
            }
        } else {
            hash = node_hash(hash, *sibling);
        }
        (node, last) = (node / 2, last / 2);
    }
    last == 0 && hash == root
}

/// Whether the tree of size `new` and that root begins with the tree of size `old` and that root: RFC
/// 9162, section 2.1.4.2. Every tree begins with the empty one, which proves nothing: it is refused.
#[must_use]
pub fn verify_consistency(old: (u64, Hash), new: (u64, Hash), path: &[Hash]) -> bool {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old == 0 || old > new {
        return false;
    }
    if old == new {
        return path.is_empty() && old_root == new_root;
    }
    // A complete subtree's root is the first hash of the path, and is left out there.
    let first = old.is_power_of_two().then_some(old_root);
    let mut path = first.into_iter().chain(path.iter().copied());
    let Some(first) = path.next() else { return false };
    let shift = (old - 1).trailing_ones();
    let (mut node, mut last) = ((old - 1) >> shift, (new - 1) >> shift);
    let (mut old_hash, mut new_hash) = (first, first);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if node % 2 == 1 || node == last {
            old_hash = node_hash(sibling, old_hash);
            new_hash = node_hash(sibling, new_hash);
            while node % 2 == 0 && node != 0 {
                (node, last) = (node / 2, last / 2);
            }
        } else {
            new_hash = node_hash(new_hash, sibling);
        }
        (node, last) = (node / 2, last / 2);
    }
    last == 0 && old_hash == old_root && new_hash == new_root
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::convert::Infallible;

    use super::*;
    use crate::plan::{self, Part};
    use crate::{Frontier, Subtree, leaf_hash, root};

    /// A tree with every node.
    struct Whole {
        leaves: Vec<Hash>,
        nodes: HashMap<Subtree, Hash>,
    }

    impl Whole {
        fn of(leaves: Vec<Hash>) -> Self {
            let (mut frontier, mut nodes) = (Frontier::default(), HashMap::new());
            for leaf in &leaves {
                frontier.push(*leaf, |subtree, hash| {
                    nodes.insert(subtree, hash);
                });
            }
            Self { leaves, nodes }
        }

        fn new(size: u64) -> Self {
            Self::of((0..size).map(|n| leaf_hash(&n.to_be_bytes())).collect())
        }

        fn root(&self, size: u64) -> Hash {
            root(self.leaves[..size as usize].iter().copied())
        }

        fn path(&self, parts: Option<Vec<Part>>) -> Vec<Hash> {
            let hash = |subtree| Ok::<_, Infallible>(self.nodes[&subtree]);
            let parts = parts.expect("there is such a proof");
            parts
                .iter()
                .map(|part| part.hash(hash).unwrap_or_else(|never| match never {}))
                .collect()
        }
    }

    fn published() -> Whole {
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
        let leaf = |entry| leaf_hash(&hex::decode(entry).expect("hex"));
        Whole::of(entries.map(leaf).into())
    }

    fn hashes(texts: &[&str]) -> Vec<Hash> {
        let hash =
            |text: &&str| Hash(hex::decode(text).expect("hex").try_into().expect("32 bytes"));
        texts.iter().map(hash).collect()
    }

    const A: &str = "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7";
    const B: &str = "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e";
    const C: &str = "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4";
    const D: &str = "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b";
    const E: &str = "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0";
    const F: &str = "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7";
    const G: &str = "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125";
    const H: &str = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
    const I: &str = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";

    #[test]
    fn the_proofs_are_those_that_certificate_transparency_has_published() {
        let tree = published();
        for (index, size, path) in [
            (0, 1, &[][..]),
            (0, 8, &[A, B, C]),
            (5, 8, &[D, E, F]),
            (2, 3, &[G]),
            (1, 5, &[H, B, D]),
        ] {
            assert_eq!(tree.path(plan::inclusion(index, size)), hashes(path), "{index} of {size}");
        }
        for (old, new, path) in
            [(1, 1, &[][..]), (1, 8, &[A, B, C]), (6, 8, &[I, E, F]), (2, 5, &[B, D])]
        {
            assert_eq!(tree.path(plan::consistency(old, new)), hashes(path), "{old} to {new}");
        }
    }

    #[test]
    fn every_leaf_of_every_size_is_proved_and_no_other() {
        let tree = Whole::new(260);
        for size in 1..=260 {
            let root = tree.root(size);
            for index in (0..size).filter(|index| size < 40 || index % 7 == size % 7) {
                let leaf = tree.leaves[index as usize];
                let path = tree.path(plan::inclusion(index, size));
                let holds = |leaf, index, size, path: &[Hash], root| {
                    verify_inclusion(leaf, index, size, path, root)
                };
                assert!(holds(leaf, index, size, &path, root), "{index} of {size}");
                assert!(!holds(leaf_hash(b"other"), index, size, &path, root));
                assert!(!holds(leaf, index, size, &path, leaf_hash(b"other")));
                for other in (0..size.min(20)).filter(|other| *other != index) {
                    assert!(!holds(leaf, other, size, &path, root), "{index}/{other} of {size}");
                }
                let longer: Vec<_> = path.iter().copied().chain([root]).collect();
                assert!(!holds(leaf, index, size, &longer, root));
                for n in 0..path.len() {
                    let mut bad = path.clone();
                    bad[n].0[n % 32] ^= 1;
                    assert!(!holds(leaf, index, size, &bad, root));
                    bad.remove(n);
                    assert!(!holds(leaf, index, size, &bad, root));
                }
            }
            assert_eq!(plan::inclusion(size, size), None);
            assert!(!verify_inclusion(tree.leaves[0], size, size, &[], root));
        }
    }

    #[test]
    fn every_size_is_proved_to_begin_with_every_smaller_one_and_no_other() {
        let tree = Whole::new(200);
        let roots: Vec<_> = (0..=200).map(|size| tree.root(size)).collect();
        let at = |size: u64| (size, roots[size as usize]);
        for new in 1..=200 {
            for old in (1..=new).filter(|old| new < 40 || old % 5 == new % 5) {
                let path = tree.path(plan::consistency(old, new));
                assert!(verify_consistency(at(old), at(new), &path), "{old} to {new}");
                let other = leaf_hash(b"other");
                assert!(!verify_consistency((old, other), at(new), &path), "{old} to {new}");
                assert!(!verify_consistency(at(old), (new, other), &path), "{old} to {new}");
                let longer: Vec<_> = path.iter().copied().chain([other]).collect();
                assert!(!verify_consistency(at(old), at(new), &longer));
                for n in 0..path.len() {
                    let mut bad = path.clone();
                    bad[n].0[n % 32] ^= 1;
                    assert!(!verify_consistency(at(old), at(new), &bad), "{old} to {new}");
                    bad.remove(n);
                    assert!(!verify_consistency(at(old), at(new), &bad), "{old} to {new}");
                }
                if old < new {
                    assert!(!verify_consistency(at(new), at(old), &path), "{new} to {old}");
                    assert!(!verify_consistency(at(old - 1), at(new), &path), "{old} to {new}");
                }
            }
            assert_eq!((plan::consistency(0, new), plan::consistency(new + 1, new)), (None, None));
            assert!(!verify_consistency(at(0), at(new), &[]));
        }
    }
}
