//! The only place that reads a clock or draws randomness, but for ARI's client, which has its own (`ari/clock.rs`).

use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};
use tokio::time::Instant;

/// One moment on both clocks. Timers and durations use `mono`; `wall` only labels records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: never jumps; durations are differences of this.
    pub mono: Duration,
    /// UTC wall time, truncated to microseconds (what PostgreSQL can store).
    pub wall: DateTime<Utc>,
}

impl Now {
    /// The moment that lies `ago` before this one, by the clocks as they are now.
    #[must_use]
    pub fn before(&self, ago: Duration) -> Self {
        let wall = self.wall - chrono::Duration::from_std(ago).unwrap_or_default();
        Self { mono: self.mono.saturating_sub(ago), wall }
    }

    /// The moment of this monotonic time, which is past, by the clocks as they are now.
    #[must_use]
    pub fn when(&self, mono: Duration) -> Self {
        self.before(self.mono.saturating_sub(mono))
    }

    /// The moment that lies this much later, by the clocks as they are now.
    #[must_use]
    pub fn after(&self, later: Duration) -> Self {
        let wall = chrono::Duration::from_std(later).ok().and_then(|later| self.wall.checked_add_signed(later));
        Self { mono: self.mono.saturating_add(later), wall: wall.unwrap_or(self.wall) }
    }
}

impl From<crate::ari::Moment> for Now {
    fn from(crate::ari::Moment { mono, wall }: crate::ari::Moment) -> Self {
        Self { mono, wall }
    }
}

/// What a simulated node tells is told by the simulated clocks.
#[cfg(test)]
impl From<Now> for crate::ari::Moment {
    fn from(Now { mono, wall }: Now) -> Self {
        Self { mono, wall }
    }
}

/// A moment that another process on this machine can compare with its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Stamp {
    /// The system's monotonic clock (`CLOCK_MONOTONIC`): one for all processes until the machine is started anew.
    pub since_boot: Duration,
    /// UTC wall time.
    pub wall: DateTime<Utc>,
}

impl Stamp {
    /// The moment that lies `ago` before this one, by the clocks as they are now.
    #[must_use]
    pub fn before(&self, ago: Duration) -> Self {
        let wall = self.wall - chrono::Duration::from_std(ago).unwrap_or_default();
        Self { since_boot: self.since_boot.saturating_sub(ago), wall }
    }
}

/// Monotonic time at process start: calls that began before us have a monotonic time too.
const HEADROOM: Duration = Duration::from_secs(400 * 24 * 3600);

/// Reads both clocks, relative to one origin per process.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    origin: Instant,
    /// The system's monotonic clock at the origin.
    since_boot: Duration,
}

impl Clock {
    /// Starts the monotonic clock.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn start() -> Self {
        let system = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        let seconds = u64::try_from(system.tv_sec).unwrap_or_default();
        let since_boot = Duration::new(seconds, u32::try_from(system.tv_nsec).unwrap_or_default());
        Self { origin: Instant::now(), since_boot }
    }

    /// Both clocks, now.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn now(&self) -> Now {
        let elapsed = self.origin.elapsed();
        #[cfg(test)]
        if let Some(wall) = simulated::wall(elapsed) {
            return Now { mono: HEADROOM + elapsed, wall };
        }
        Now { mono: HEADROOM + elapsed, wall: Utc::now().trunc_subsecs(6) }
    }

    /// Now, as other processes on this machine can understand it.
    #[must_use]
    #[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
    pub fn stamp(&self) -> Stamp {
        #[cfg(test)]
        if let Some(since_boot) = simulated::since_boot(self.origin.elapsed()) {
            return Stamp { since_boot, wall: self.now().wall };
        }
        Stamp { since_boot: self.since_boot + self.origin.elapsed(), wall: self.now().wall }
    }

    /// These clocks, as ARI's client uses them: on the same axis.
    #[must_use]
    pub fn ari(&self) -> crate::ari::Clock {
        crate::ari::Clock::on_axis(self.origin, HEADROOM)
    }

    /// The tokio instant of a monotonic moment, for `sleep_until`.
    #[must_use]
    pub fn instant(&self, mono: Duration) -> Instant {
        self.origin + mono.saturating_sub(HEADROOM)
    }
}

/// CPU time that this thread has used so far (`CLOCK_THREAD_CPUTIME_ID`).
#[must_use]
pub fn thread_time() -> Duration {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let seconds = u64::try_from(used.tv_sec).unwrap_or_default();
    Duration::new(seconds, u32::try_from(used.tv_nsec).unwrap_or_default())
}

/// A random fraction in `0.0..1.0`, for jitter only.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn jitter() -> f64 {
    rand::random::<f64>()
}

/// Random bytes for secrets, from a generator fit for them (ChaCha, seeded by the system).
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that may")]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    rand::random()
}

/// The clocks of a simulated world's machine, which follow its virtual time; the wall clock jumps when it is told to. One for each thread,
/// as worlds are.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;
    use std::time::Duration;

    use chrono::{DateTime, Utc};

    /// What they showed when the process's clock was started.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct AtStart {
        pub(crate) wall: DateTime<Utc>,
        pub(crate) since_boot: Duration,
    }

    thread_local! {
        static AT_START: Cell<Option<AtStart>> = const { Cell::new(None) };
    }

    /// `None` = the real clocks.
    pub(crate) fn set(at_start: Option<AtStart>) {
        AT_START.set(at_start);
    }

    pub(super) fn wall(elapsed: Duration) -> Option<DateTime<Utc>> {
        AT_START.get().map(|start| start.wall + elapsed)
    }

    pub(super) fn since_boot(elapsed: Duration) -> Option<Duration> {
        AT_START.get().map(|start| start.since_boot + elapsed)
    }
}
