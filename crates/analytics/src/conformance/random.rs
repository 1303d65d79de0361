//! Random histories, the same in every run.

use verbatim_domain::inbox::DeliveryOutcome;

use super::history::History;
use super::model::assert_reports;
use super::{Adapter, JOURNAL, empty};
use crate::Analytics;

const USERS: [(&str, &str); 5] =
    [("ann", "user"), ("bob", "user"), ("cy", "agent"), ("dee", "admin"), ("eve", "system")];

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, and good enough to draw tests with.
struct Dice(u64);

impl Dice {
    /// 0 to `n` − 1.
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % n as u64) as usize
    }
}

/// A history that grows by what could happen, and by some of what should not.
struct World {
    dice: Dice,
    history: History,
    talks: Vec<Vec<usize>>,
    /// Each message's conversation and position.
    said: Vec<(usize, u64)>,
    sampled: i64,
}

impl World {
    fn new(seed: u64) -> Self {
        let history = History::at("2024-02-28T21:17:03.123Z");
        Self { dice: Dice(seed), history, talks: Vec::new(), said: Vec::new(), sampled: 0 }
    }

    fn step(&mut self) {
        let pause = [0, 0, 1, 40, 900, 20_000, 900_000, 9_000_000][self.dice.below(8)];
        self.history.wait(pause);
        match self.dice.below(20) {
            0 => self.talks.push(Vec::new()),
            1..=2 => self.join(),
            3..=10 => self.say(),
            11..=12 => self.note(),
            13..=16 => self.deliver(),
            _ => self.sample(),
        }
    }

    fn join(&mut self) {
        if self.talks.is_empty() {
            return;
        }
        let (talk, user) = (self.dice.below(self.talks.len()), self.dice.below(USERS.len()));
        self.talks[talk].push(user);
        self.history.join(&format!("talk{talk}"), USERS[user].0);
    }

    fn say(&mut self) {
        let talks: Vec<_> =
            (0..self.talks.len()).filter(|talk| !self.talks[*talk].is_empty()).collect();
        if talks.is_empty() {
            return self.join();
        }
        let talk = talks[self.dice.below(talks.len())];
        let (user, mut role) = USERS[self.talks[talk][self.dice.below(self.talks[talk].len())]];
        if self.dice.below(6) == 0 {
            role = "agent";
        }
        self.said.push((talk, self.history.say(&format!("talk{talk}"), user, role)));
    }

    fn note(&mut self) {
        if self.said.is_empty() {
            return;
        }
        let (talk, position) = self.said[self.dice.below(self.said.len())];
        self.history.note(USERS[self.dice.below(USERS.len())].0, &format!("talk{talk}"), position);
    }

    fn deliver(&mut self) {
        let through =
            self.history.head() - self.dice.below(self.history.head().min(30) as usize + 1) as u64;
        let outcome =
            [DeliveryOutcome::Acknowledged, DeliveryOutcome::Presumed][self.dice.below(2)];
        self.history.deliver(USERS[self.dice.below(USERS.len())].0, through, outcome);
    }

    fn sample(&mut self) {
        let minute = self.history.now.0 / 60_000;
        if minute > self.sampled {
            self.sampled = minute;
            let sockets = self.dice.below(4) as u64;
            let peak = sockets + self.dice.below(2) as u64;
            self.history.sample(sockets, sockets.min(2), peak);
        }
    }
}

pub async fn reports_are_what_a_naive_model_makes_of_the_log<A: Adapter>() {
    for seed in 1..=4 {
        let (_adapter, analytics, reports) = empty::<A>().await;
        let mut world = World::new(seed);
        for round in 1..=3 {
            for _ in 0..70 {
                world.step();
            }
            let mut rest = world.history.after(analytics.checkpoint().await.expect("there is one"));
            while !rest.is_empty() {
                let size = 1 + world.dice.below(40).min(rest.len() - 1);
                let (batch, others) = rest.split_at(size);
                analytics.apply(batch).await.expect("they follow");
                rest = others;
            }
            assert_reports(&reports, world.history.events(), round * 3).await;
        }
    }
}

pub async fn of_two_who_apply_the_same_each_event_counts_once<A: Adapter>() {
    let adapter = A::start().await;
    let store = adapter.open(JOURNAL).await;
    let mut world = World::new(7);
    for _ in 0..100 {
        world.step();
    }
    let head = world.history.head();
    for (user, _) in USERS {
        world.history.deliver(user, head, DeliveryOutcome::Presumed);
    }
    // What arrives at once is stored in parts, and they meet in the middle of it, too.
    let [one, other] = [2, 3].map(|rows| Analytics::new(store.clone()).storing_at_once(rows));
    for batch in world.history.events().chunks(9) {
        let (one, other) = tokio::join!(one.apply(batch), other.apply(batch));
        one.and(other).expect("both find it done");
    }
    assert_reports(&one.reports(JOURNAL), world.history.events(), 50).await;
}

pub async fn what_arrives_at_once_may_take_several_transactions<A: Adapter>() {
    let (_adapter, analytics, reports) = empty::<A>().await;
    let analytics = analytics.storing_at_once(3);
    let mut world = World::new(11);
    for _ in 0..40 {
        world.step();
    }
    // All that waits comes with one event of a large batch.
    let (now, head) = (world.history.now, world.history.head());
    for (user, _) in USERS {
        world.history.deliver(user, head, DeliveryOutcome::Presumed);
    }
    assert!(world.history.now == now && world.said.len() > 8);
    analytics.apply(&world.history.events()[..head as usize]).await.expect("they follow");
    for _ in 0..20 {
        world.step();
    }
    analytics.apply(world.history.events()).await.expect("they follow");
    assert_reports(&reports, world.history.events(), 50).await;
}
