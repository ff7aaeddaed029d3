//! What the fake's callers are told to do, and what came of it: calls come when they are due, however the controller fares.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A call that is over later than this after the last one of its run was due is not counted: whoever lags behind more does not keep up.
const GRACE: Duration = Duration::from_secs(1);
/// A run is given up so long after that.
const PATIENCE: Duration = Duration::from_secs(60);

/// Calls to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wish {
    /// How many.
    pub(super) calls: u64,
    /// How many in a second.
    pub(super) per_second: f64,
    /// How long after its answer a caller hangs up; `None`: not by itself.
    pub(super) talk: Option<Duration>,
}

/// What the callers shall do next.
#[derive(Debug)]
pub(super) enum Order {
    /// Make calls; told when all are over, or up where they do not end by themselves.
    Make(Wish, oneshot::Sender<Outcome>),
    /// Hang up what is live, so many in a second; told when all of it is over.
    HangUp(f64, oneshot::Sender<Outcome>),
}

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Calls that were answered, and their caller's time limit set, which is the last thing that the controller does for a while.
    pub(super) up: u64,
    /// Calls of which nothing is left.
    pub(super) over: u64,
    /// Those of them that had been answered.
    pub(super) completed: u64,
    /// Those of them that were over in time.
    pub(super) in_time: u64,
    /// From when a call was due to its dial request.
    pub(super) waits: Vec<Duration>,
    /// How often the controller has connected so far.
    pub(super) connections: u64,
}

/// An order that is being carried out.
#[derive(Debug)]
pub(super) struct Run {
    /// The order. Of one to hang up: how many calls there are.
    pub(super) wish: Wish,
    /// Since when.
    pub(super) began: Instant,
    /// Number of its first call.
    pub(super) first: u64,
    /// How many calls of it were made so far.
    pub(super) made: u64,
    /// What has come of it so far.
    pub(super) outcome: Outcome,
    /// Who waits for that.
    pub(super) told: oneshot::Sender<Outcome>,
}

impl Run {
    fn after(&self, calls: u64) -> Instant {
        self.began + Duration::from_secs_f64(calls as f64 / self.wish.per_second)
    }

    /// The next call, if it is due: since when.
    pub(super) fn next(&mut self, now: Instant) -> Option<Instant> {
        let due = self.after(self.made);
        let is_due = self.made < self.wish.calls && due <= now;
        self.made += u64::from(is_due);
        is_due.then_some(due)
    }

    /// Whether everything has happened that was asked for, or will hardly happen any more.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let reached = if self.wish.talk.is_some() { self.outcome.over } else { self.outcome.up };
        reached >= self.wish.calls || now >= self.after(self.wish.calls) + PATIENCE
    }

    /// One of its calls is over.
    pub(super) fn count(&mut self, answered: bool) {
        let in_time = Instant::now() <= self.after(self.wish.calls) + GRACE;
        self.outcome.over += 1;
        self.outcome.completed += u64::from(answered);
        self.outcome.in_time += u64::from(answered && in_time);
    }
}
