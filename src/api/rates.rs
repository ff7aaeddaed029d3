//! PURE: how much may come: token buckets, one for each key.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::Duration;

/// Above this many keys those whose buckets are full are forgotten.
const TIDY_ABOVE: usize = 10_000;

/// How fast a bucket fills, and how much it holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    /// How long one token takes to come back.
    pub(super) each: Duration,
    /// Tokens of a full bucket.
    pub(super) burst: u32,
}

/// The buckets of all keys; times are monotonic.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    rate: Rate,
    /// When the bucket of a key will be full again.
    full_at: HashMap<K, Duration>,
    tidy_above: usize,
}

impl<K: Hash + Eq> Buckets<K> {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, full_at: HashMap::new(), tidy_above: TIDY_ABOVE }
    }

    /// From now on buckets fill, and hold, so much.
    pub(super) fn keep_to(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// Takes up to `wanted` tokens of `key`; how many there were.
    ///
    /// # Errors
    /// How long to wait for the next one, where there is none.
    pub(super) fn take(&mut self, key: K, wanted: u32, now: Duration) -> Result<u32, Duration> {
        let taken = wanted.min(self.left(&key, now)?);
        self.tidy(now);
        let full_at = self.full_at.entry(key).or_insert(now);
        *full_at = (*full_at).max(now) + self.rate.each * taken;
        Ok(taken)
    }

    /// Gives back one token that was taken.
    pub(super) fn give_back(&mut self, key: &K) {
        if let Some(full_at) = self.full_at.get_mut(key) {
            *full_at = full_at.saturating_sub(self.rate.each);
        }
    }

    /// The tokens that `key` has.
    ///
    /// # Errors
    /// How long to wait for the next one, where there is none.
    pub(super) fn left(&self, key: &K, now: Duration) -> Result<u32, Duration> {
        let missing = self.full_at.get(key).map_or(Duration::ZERO, |full_at| full_at.saturating_sub(now));
        let used = missing.as_nanos().div_ceil(self.rate.each.as_nanos().max(1));
        let left = u128::from(self.rate.burst).saturating_sub(used);
        if left == 0 {
            return Err(missing.saturating_sub(self.rate.each * (self.rate.burst - 1)));
        }
        Ok(u32::try_from(left).unwrap_or(u32::MAX))
    }

    fn tidy(&mut self, now: Duration) {
        if self.full_at.len() > self.tidy_above {
            self.full_at.retain(|_, full_at| *full_at > now);
            // Where most stay, looking through them for every request would be dear.
            self.tidy_above = TIDY_ABOVE.max(self.full_at.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { each: Duration::from_secs(1), burst: 3 };

    fn at(millis: u64) -> Duration {
        Duration::from_secs(1000) + Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_then_one_at_a_time_for_each_key() {
        let mut buckets = Buckets::new(RATE);
        for _ in 0..3 {
            assert_eq!(buckets.take("a", 1, at(0)), Ok(1));
        }
        assert_eq!(buckets.take("a", 1, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take("b", 1, at(0)), Ok(1), "another key");
        assert_eq!(buckets.take("a", 1, at(400)), Err(Duration::from_millis(600)));
        assert_eq!(buckets.take("a", 1, at(1000)), Ok(1));
        assert!(buckets.take("a", 1, at(1000)).is_err());
        assert_eq!(buckets.left(&"a", at(60_000)), Ok(3), "never more than a burst");
    }

    #[test]
    fn of_many_at_once_as_many_are_taken_as_there_are() {
        let mut buckets = Buckets::new(RATE);
        assert_eq!(buckets.take("a", 2, at(0)), Ok(2));
        assert_eq!(buckets.take("a", 1000, at(0)), Ok(1));
        assert_eq!(buckets.take("a", 1000, at(0)), Err(Duration::from_secs(1)));
        assert_eq!(buckets.take("a", 1000, at(2000)), Ok(2));
    }

    #[test]
    fn what_is_given_back_is_there_again_and_no_more() {
        let mut buckets = Buckets::new(RATE);
        assert_eq!(buckets.take("a", 3, at(0)), Ok(3));
        buckets.give_back(&"a");
        buckets.give_back(&"b");
        assert_eq!((buckets.take("a", 5, at(0)), buckets.left(&"b", at(0))), (Ok(1), Ok(3)));
        assert!(buckets.take("a", 1, at(0)).is_err());
    }

    #[test]
    fn keys_that_hold_nobody_up_are_forgotten() {
        let mut buckets = Buckets::new(RATE);
        for n in 0..30_000_u64 {
            assert_eq!(buckets.take(n, 1, at(n)), Ok(1));
        }
        assert!(buckets.full_at.len() <= TIDY_ABOVE + 1001, "{}", buckets.full_at.len());
    }
}
