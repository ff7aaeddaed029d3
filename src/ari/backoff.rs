//! PURE: how long to wait before the next attempt to connect.

use std::time::Duration;

/// Doubling waits with jitter, between a floor and a cap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Backoff {
    floor: Duration,
    cap: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits between `floor` and `cap`.
    #[must_use]
    pub(super) const fn new(floor: Duration, cap: Duration) -> Self {
        Self { floor, cap, failures: 0 }
    }

    /// The next wait. `jitter` in `0.0..1.0` picks a point in the upper half of the doubled wait, so that many
    /// clients that failed together do not come back together, and none hurries.
    pub(super) fn next(&mut self, jitter: f64) -> Duration {
        let doubled = self.floor.saturating_mul(2_u32.saturating_pow(self.failures)).min(self.cap);
        self.failures = self.failures.saturating_add(1);
        let half = doubled / 2;
        (half + half.mul_f64(jitter.clamp(0.0, 1.0))).clamp(self.floor, self.cap)
    }

    /// Forgets the failures: the connection was good.
    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOOR: Duration = Duration::from_millis(50);
    const CAP: Duration = Duration::from_secs(2);

    #[test]
    fn waits_double_up_to_the_cap_and_start_over() {
        let mut backoff = Backoff::new(FLOOR, CAP);
        let waits: Vec<_> = (0..8).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(waits, [50, 100, 200, 400, 800, 1600, 2000, 2000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0), FLOOR);
    }

    proptest! {
        #[test]
        fn a_wait_is_always_within_bounds(jitters in proptest::collection::vec(0.0_f64..1.0, 1..100)) {
            let mut backoff = Backoff::new(FLOOR, CAP);
            for jitter in jitters {
                let wait = backoff.next(jitter);
                prop_assert!((FLOOR..=CAP).contains(&wait), "{wait:?}");
            }
        }
    }
}
