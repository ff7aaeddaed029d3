//! The only place here that reads a clock or draws randomness.

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use tokio::time::Instant;

/// One moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Monotonic time on the [`Clock`]'s axis: never jumps; durations are differences of this.
    pub mono: Duration,
    /// UTC wall time, truncated to microseconds.
    pub wall: DateTime<Utc>,
}

impl Moment {
    /// The moment of this monotonic time, which is past, by the clocks as they are now.
    #[must_use]
    pub fn when(&self, mono: Duration) -> Self {
        let ago = self.mono.saturating_sub(mono);
        let wall = self.wall - chrono::Duration::from_std(ago).unwrap_or_default();
        Self { mono: self.mono.saturating_sub(ago), wall }
    }
}

/// The axis on which a client's monotonic times are told.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    at_origin: Duration,
}

impl Clock {
    /// An axis that begins now, at zero.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn start() -> Self {
        Self::on_axis(Instant::now(), Duration::ZERO)
    }

    /// The axis of a program that has one already: it shows `at_origin` at `origin`.
    #[must_use]
    pub const fn on_axis(origin: Instant, at_origin: Duration) -> Self {
        Self { origin, at_origin }
    }

    /// Both clocks, now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now(&self) -> Moment {
        Moment { mono: self.mono(), wall: Utc::now().trunc_subsecs(6) }
    }

    /// Monotonic time, now.
    #[must_use]
    pub fn mono(&self) -> Duration {
        self.at_origin + self.origin.elapsed()
    }

    /// The tokio instant of a monotonic time, for `sleep_until`.
    pub(super) fn instant(&self, mono: Duration) -> Instant {
        self.origin + mono.saturating_sub(self.at_origin)
    }
}

/// What fits into an atomic.
pub(super) fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A random fraction in `0.0..1.0`, for jitter only.
#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
pub(super) fn jitter() -> f64 {
    rand::random::<f64>()
}
