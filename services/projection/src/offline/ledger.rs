//! How far the offline reactor is done.

use std::collections::BTreeMap;

/// Positions that were decided on, and those whose commands are not settled yet.
#[derive(Debug)]
pub(super) struct Ledger {
    decided: u64,
    /// Position and the number of its commands that wait for a reply.
    open: BTreeMap<u64, usize>,
}

impl Ledger {
    pub fn new(checkpoint: u64) -> Self {
        Self { decided: checkpoint, open: BTreeMap::new() }
    }

    /// What follows from `position` was decided: so many commands.
    pub fn decide(&mut self, position: u64, commands: usize) {
        self.decided = position;
        if commands > 0 {
            self.open.insert(position, commands);
        }
    }

    /// One of the position's commands is settled.
    pub fn settle(&mut self, position: u64) {
        if let Some(commands) = self.open.get_mut(&position) {
            *commands -= 1;
            if *commands == 0 {
                self.open.remove(&position);
            }
        }
    }

    /// The last position up to which everything is settled.
    pub fn checkpoint(&self) -> u64 {
        self.open.first_key_value().map_or(self.decided, |(first, _)| first - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkpoint_passes_an_event_only_once_all_its_commands_are_settled() {
        let mut ledger = Ledger::new(4);
        assert_eq!(ledger.checkpoint(), 4);
        ledger.decide(5, 2);
        ledger.decide(6, 1);
        ledger.decide(9, 0);
        assert_eq!(ledger.checkpoint(), 4);
        ledger.settle(6);
        ledger.settle(5);
        assert_eq!(ledger.checkpoint(), 4, "one of two replies is missing");
        ledger.settle(5);
        assert_eq!(ledger.checkpoint(), 9);
    }
}
