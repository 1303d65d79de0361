//! How much one user may ask for.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use verbatim_domain::UserId;
use verbatim_protocol::{ErrorCode, Failure};

use crate::settings::Limits;

/// Locks are taken for nanoseconds, but by every request.
const SHARDS: usize = 16;
/// Users that are remembered, over all shards.
const MAX_USERS: usize = 65_536;

/// What is counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    Sends,
    Others,
}

/// A token bucket for each user and class. A bucket is one instant: when it will be full again.
/// Full buckets say nothing and are forgotten, so memory is bounded by the users of the last
/// seconds, and by [`MAX_USERS`].
pub struct Limiter {
    start: Instant,
    sends: Option<Rate>,
    others: Option<Rate>,
    shards: Vec<Mutex<HashMap<UserId, Buckets>>>,
    hasher: RandomState,
}

#[derive(Debug, Clone, Copy)]
struct Rate {
    /// What one request costs.
    interval: Duration,
    /// What a full bucket holds.
    capacity: Duration,
}

impl Rate {
    /// `None` switches the limit off.
    fn new(per_second: u32, burst: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(per_second)?;
        Some(Self { interval, capacity: interval * burst.max(1) })
    }

    /// Takes one from the bucket that is full at `full_at`, or tells how long to wait.
    fn take(self, full_at: &mut Duration, now: Duration) -> Result<(), Duration> {
        let next = (*full_at).max(now) + self.interval;
        let wait = next.saturating_sub(now).saturating_sub(self.capacity);
        if wait > Duration::ZERO {
            return Err(wait);
        }
        *full_at = next;
        Ok(())
    }
}

/// Since the limiter's start, when each bucket is full.
#[derive(Debug, Clone, Copy, Default)]
struct Buckets {
    sends: Duration,
    others: Duration,
}

impl Limiter {
    /// Buckets start full at `start`.
    pub fn new(limits: &Limits, start: Instant) -> Self {
        Self {
            start,
            sends: Rate::new(limits.messages_per_second, limits.message_burst),
            others: Rate::new(limits.requests_per_second, limits.requests_per_second),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    /// Counts one request of the user's.
    ///
    /// # Errors
    /// `rate_limited`, with the time after which one more is let through.
    pub fn take(&self, user: &UserId, class: Class, now: Instant) -> Result<(), Failure> {
        let (rate, message) = match class {
            Class::Sends => (self.sends, "Too many messages"),
            Class::Others => (self.others, "Too many requests"),
        };
        let Some(rate) = rate else { return Ok(()) };
        let now = now.saturating_duration_since(self.start);
        let mut shard = self.shard(user);
        if !shard.contains_key(user) {
            make_room(&mut shard, now);
            shard.insert(user.clone(), Buckets::default());
        }
        let buckets = shard.get_mut(user).expect("it was just put there");
        let full_at = match class {
            Class::Sends => &mut buckets.sends,
            Class::Others => &mut buckets.others,
        };
        rate.take(full_at, now).map_err(|wait| {
            let milliseconds = wait.as_nanos().div_ceil(1_000_000) as u64;
            Failure::new(ErrorCode::RateLimited, message).retry_after(milliseconds)
        })
    }

    fn shard(&self, user: &UserId) -> MutexGuard<'_, HashMap<UserId, Buckets>> {
        let shard = self.hasher.hash_one(user) as usize % self.shards.len();
        // A bucket is whole at any moment, whatever panicked beside it.
        self.shards[shard].lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().expect("no panic").len()).sum()
    }
}

fn make_room(shard: &mut HashMap<UserId, Buckets>, now: Duration) {
    const MAX: usize = MAX_USERS / SHARDS;
    // Looking at all of them is worth it only when there are more than ever before.
    if shard.len() < shard.capacity() && shard.len() < MAX {
        return;
    }
    shard.retain(|_, buckets| buckets.sends > now || buckets.others > now);
    if shard.len() >= MAX {
        // So many users in these few seconds: let half of them start anew, rather than grow.
        let mut keep = false;
        shard.retain(|_, _| {
            keep = !keep;
            keep
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter(messages_per_second: u32, message_burst: u32) -> (Limiter, Instant) {
        let start = Instant::now();
        let limits = Limits {
            messages_per_second,
            message_burst,
            requests_per_second: 2,
            ..Limits::default()
        };
        (Limiter::new(&limits, start), start)
    }

    fn user(name: &str) -> UserId {
        name.parse().expect("an id")
    }

    fn sent(limiter: &Limiter, at: Instant) -> usize {
        let ann = user("ann");
        (0..1_000).take_while(|_| limiter.take(&ann, Class::Sends, at).is_ok()).count()
    }

    #[test]
    fn a_burst_is_let_through_and_then_the_rate() {
        let (limiter, start) = limiter(20, 60);
        assert_eq!(sent(&limiter, start), 60);
        assert_eq!(sent(&limiter, start + Duration::from_secs(1)), 20);
        assert_eq!(sent(&limiter, start + Duration::from_millis(1_049)), 0);
        assert_eq!(sent(&limiter, start + Duration::from_millis(1_051)), 1);
        assert_eq!(sent(&limiter, start + Duration::from_hours(1)), 60, "never above the burst");
    }

    #[test]
    fn whoever_waits_as_told_is_let_through() {
        let (limiter, start) = limiter(3, 5);
        let ann = user("ann");
        let mut now = start;
        for _ in 0..100 {
            while limiter.take(&ann, Class::Sends, now).is_ok() {}
            let refused = limiter.take(&ann, Class::Sends, now).expect_err("the bucket is empty");
            assert_eq!(refused.code, ErrorCode::RateLimited);
            let wait = refused.retry_after_ms.expect("it says how long");
            assert!((1..=334).contains(&wait), "{wait}");
            now += Duration::from_millis(wait);
            limiter.take(&ann, Class::Sends, now).expect("waited long enough");
        }
    }

    #[test]
    fn users_and_classes_are_counted_apart() {
        let (limiter, start) = limiter(1, 1);
        assert!(limiter.take(&user("ann"), Class::Sends, start).is_ok());
        assert!(limiter.take(&user("ann"), Class::Sends, start).is_err());
        assert!(limiter.take(&user("ann"), Class::Others, start).is_ok());
        assert!(limiter.take(&user("ann"), Class::Others, start).is_ok());
        assert!(limiter.take(&user("ann"), Class::Others, start).is_err());
        assert!(limiter.take(&user("bob"), Class::Sends, start).is_ok());
    }

    #[test]
    fn zero_switches_the_limit_off() {
        let (limiter, start) = limiter(0, 0);
        assert_eq!(sent(&limiter, start), 1_000);
        assert_eq!(limiter.users(), 0);
    }

    #[test]
    fn memory_stays_bounded_and_idle_users_are_forgotten() {
        let (limiter, start) = limiter(1, 1);
        for n in 0..2 * MAX_USERS {
            limiter.take(&user(&format!("u{n}")), Class::Sends, start).expect("a first one");
        }
        assert!(limiter.users() <= MAX_USERS);
        let later = start + Duration::from_secs(10);
        for n in 0..2 * MAX_USERS {
            limiter.take(&user(&format!("v{n}")), Class::Sends, later).expect("a first one");
        }
        assert!(limiter.users() <= MAX_USERS);
    }
}
