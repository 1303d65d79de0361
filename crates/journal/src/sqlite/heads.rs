//! The last sequences of the streams that are written to.

use std::collections::HashMap;

use verbatim_domain::StreamId;

/// A bounded memory of stream heads, in two generations: when the young one is full it becomes the
/// old one, and what was not asked for since is forgotten.
#[derive(Debug)]
pub(super) struct StreamHeads {
    young: HashMap<StreamId, u64>,
    old: HashMap<StreamId, u64>,
    /// How many a generation holds.
    capacity: usize,
}

impl StreamHeads {
    pub(super) fn new(capacity: usize) -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), capacity }
    }

    pub(super) fn get(&mut self, stream: &StreamId) -> Option<u64> {
        if let Some(head) = self.young.get(stream) {
            return Some(*head);
        }
        let (stream, head) = self.old.remove_entry(stream)?;
        self.put(stream, head);
        Some(head)
    }

    pub(super) fn set(&mut self, stream: &StreamId, head: u64) {
        if let Some(known) = self.young.get_mut(stream) {
            *known = head;
        } else {
            self.old.remove(stream);
            self.put(stream.clone(), head);
        }
    }

    fn put(&mut self, stream: StreamId, head: u64) {
        if self.young.len() >= self.capacity {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(stream, head);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: usize) -> StreamId {
        StreamId::inbox(&format!("user_{n}").parse().expect("an id"))
    }

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_forgotten() {
        let mut heads = StreamHeads::new(4);
        for n in 0..100 {
            heads.set(&stream(n), n as u64);
            assert_eq!(heads.get(&stream(0)), Some(0), "after {n}");
        }
        assert!(heads.young.len() + heads.old.len() <= 8);
        assert_eq!(heads.get(&stream(1)), None);
        assert_eq!(heads.get(&stream(99)), Some(99));
    }

    #[test]
    fn a_head_that_moved_is_never_remembered_as_it_was() {
        let mut heads = StreamHeads::new(2);
        heads.set(&stream(0), 1);
        heads.set(&stream(1), 1);
        heads.set(&stream(2), 1);
        heads.set(&stream(0), 2);
        for n in 3..6 {
            assert_ne!(heads.get(&stream(0)), Some(1));
            heads.set(&stream(n), 1);
        }
    }
}
