//! Who talks to whom, and where: the same people and conversations whoever makes them up, so that a
//! talk can go on in a journal that was filled before.

use clap::builder::RangedU64ValueParser;
use uuid::Uuid;

#[derive(Debug, Clone, clap::Args)]
pub struct Cast {
    /// Senders, each of whom talks to a recipient of their own.
    #[arg(long, default_value_t = 100, value_parser = at_least_one())]
    pub pairs: usize,
    /// Conversations, which the pairs share out; as many as pairs unless given.
    #[arg(long, value_parser = at_least_one())]
    pub conversations: Option<usize>,
    /// What all names end with; another each time unless given.
    #[arg(long, default_value_t = Uuid::now_v7().simple().to_string())]
    name: String,
}

/// Parses a count.
pub fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..=10_000_000)
}

impl Cast {
    /// `pairs` of people whom nobody knows yet.
    pub fn new(pairs: usize) -> Self {
        Self { pairs, conversations: None, name: Uuid::now_v7().simple().to_string() }
    }

    #[cfg(test)]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::new(1) }
    }

    pub fn conversations(&self) -> usize {
        self.conversations.unwrap_or(self.pairs).max(self.pairs)
    }

    pub fn sender(&self, number: usize) -> String {
        format!("sender-{number}-{}", self.name)
    }

    pub fn recipient(&self, number: usize) -> String {
        format!("recipient-{number}-{}", self.name)
    }

    /// The `number`th conversation is one of the pair of that number, modulo the pairs.
    pub fn conversation(&self, number: usize) -> String {
        format!("talk-{number}-{}", self.name)
    }

    pub fn group(&self) -> String {
        format!("group-{}", self.name)
    }

    /// The numbers of a pair's conversations.
    pub fn own(&self, pair: usize) -> impl Iterator<Item = usize> {
        (pair..self.conversations()).step_by(self.pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pairs_share_out_the_conversations() {
        let cast = Cast { conversations: Some(7), ..Cast::new(3) };
        let own = |pair| cast.own(pair).collect::<Vec<_>>();
        assert_eq!([own(0), own(1), own(2)], [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
    }

    #[test]
    fn each_pair_has_a_conversation() {
        let cast = Cast { conversations: Some(2), ..Cast::new(3) };
        assert_eq!((cast.conversations(), cast.own(2).next()), (3, Some(2)));
    }
}
