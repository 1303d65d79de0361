//! In which order messages came.

use std::collections::HashSet;

/// In which order one voice's messages came to one connection.
#[derive(Debug, Default)]
pub struct Order {
    last: u64,
    missing: HashSet<u64>,
    pub duplicated: u64,
    pub late: u64,
}

impl Order {
    pub fn came(&mut self, number: u64) {
        if number > self.last {
            self.missing.extend(self.last + 1..number);
            self.last = number;
        } else if self.missing.remove(&number) {
            self.late += 1;
        } else {
            self.duplicated += 1;
        }
    }

    pub fn lost(&self, sent: u64) -> u64 {
        self.missing.len() as u64 + sent.saturating_sub(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_tell_lost_from_late_and_twice() {
        let mut order = Order::default();
        for number in [1, 2, 5, 4, 4, 6] {
            order.came(number);
        }
        assert_eq!((order.duplicated, order.late, order.lost(6), order.lost(8)), (1, 1, 1, 3));
    }
}
