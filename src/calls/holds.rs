//! How long the book's lock is held in this process, by the CPU time of whoever holds it: one that the system puts aside holds it longer,
//! and that says nothing of what it did. Benches switch it on; until then it costs one look at a flag.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock;

/// Width of a step.
const STEP: Duration = Duration::from_nanos(100);
/// Steps there are: up to a millisecond.
const STEPS: usize = 10_000;

static HOLDS: OnceLock<Holds> = OnceLock::new();

/// How long the lock was held, and how often.
#[derive(Debug)]
pub struct Holds {
    /// Of each step, how many.
    steps: Box<[AtomicU64]>,
    /// In nanoseconds.
    longest: AtomicU64,
}

/// Measures from now on.
pub fn measure() -> &'static Holds {
    HOLDS.get_or_init(|| Holds { steps: (0..=STEPS).map(|_| AtomicU64::new(0)).collect(), longest: AtomicU64::new(0) })
}

/// CPU time of this thread so far, where it is measured.
pub(super) fn begin() -> Option<Duration> {
    HOLDS.get().map(|_| clock::thread_time())
}

/// A hold that began at this CPU time ends.
pub(super) fn end(began: Duration) {
    if let Some(holds) = HOLDS.get() {
        holds.note(clock::thread_time().saturating_sub(began));
    }
}

impl Holds {
    fn note(&self, took: Duration) {
        let step = usize::try_from(took.as_nanos() / STEP.as_nanos()).unwrap_or(STEPS).min(STEPS);
        self.steps[step].fetch_add(1, Ordering::Relaxed);
        self.longest.fetch_max(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Forgets what was measured so far.
    pub fn clear(&self) {
        self.steps.iter().for_each(|step| step.store(0, Ordering::Relaxed));
        self.longest.store(0, Ordering::Relaxed);
    }

    /// How many holds were measured.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.steps.iter().map(|step| step.load(Ordering::Relaxed)).sum()
    }

    /// The longest of them.
    #[must_use]
    pub fn longest(&self) -> Duration {
        Duration::from_nanos(self.longest.load(Ordering::Relaxed))
    }

    /// So long did this share of them take at most, in steps of a tenth of a microsecond, rounded up; those of more than a millisecond as
    /// long as the longest.
    #[must_use]
    #[allow(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "counts are small"
    )]
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (step, count) in (1_u32..).zip(&self.steps) {
            seen += count.load(Ordering::Relaxed);
            if seen >= wanted && usize::try_from(step).is_ok_and(|step| step <= STEPS) {
                return (STEP * step).min(self.longest());
            }
        }
        self.longest()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_what_was_noted() {
        let steps = (0..=STEPS).map(|_| AtomicU64::new(0)).collect();
        let holds = Holds { steps, longest: AtomicU64::new(0) };
        assert_eq!((holds.quantile(0.5), holds.count()), (Duration::ZERO, 0));
        (1..=998).for_each(|_| holds.note(Duration::from_nanos(1_250)));
        holds.note(Duration::from_micros(70));
        holds.note(Duration::from_millis(3));
        let quantiles = [0.5, 0.998, 0.999, 1.0].map(|share| holds.quantile(share));
        let micros = |tenths: u64| Duration::from_nanos(tenths * 100);
        assert_eq!(quantiles, [micros(13), micros(13), micros(701), micros(30_000)]);
        assert_eq!(holds.longest(), Duration::from_millis(3));
        holds.clear();
        assert_eq!((holds.longest(), holds.count()), (Duration::ZERO, 0));
    }
}
