//! PURE: which events were read late, because nothing came through their socket for a while, and when they are likely to have happened.
//!
//! A half-open connection that heals brings in one burst what happened while it was silent. By this side's clock all of it happens at once; that it
//! happened since the last frame before the silence is certain. Within that the node's own time of the event says more, by how much it
//! was off when the last event came in time: a clock that jumps meanwhile bends it by no more than the silence.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::clock::Moment;

/// A node answers a ping twice a second: nothing for so long is silence. Less is less than a second, by which no record is off.
const SILENT: Duration = Duration::from_millis(700);
/// A pause between two frames that ends a burst.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a burst takes at most, unless what it brings is late by its own time, too.
const BURST: Duration = Duration::from_secs(1);

/// The monotonic time of a socket's last frame, where that is so long ago that something may have happened since and be on its way.
pub(super) fn silent_since(heard: Duration, now: Duration) -> Option<Duration> {
    (now.saturating_sub(heard) > SILENT).then_some(heard)
}

/// When an event that was read late happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Late {
    /// Not before then: the last frame before the silence.
    pub since: Moment,
    /// Most likely then; `None`: nothing says when within that time.
    pub likely: Option<Moment>,
}

/// What one socket has brought so far.
#[derive(Debug)]
pub(super) struct Lateness {
    /// Monotonic time of the last frame.
    heard: Duration,
    /// Monotonic times of the last frame before the silence whose burst is being read, and of the burst's first frame.
    burst: Option<(Duration, Duration)>,
    /// This side's monotonic time less the node's, in microseconds, of the last event that came in time.
    ahead: Option<i64>,
}

impl Lateness {
    pub(super) fn new(now: Duration) -> Self {
        Self { heard: now, burst: None, ahead: None }
    }

    /// A frame came.
    pub(super) fn hear(&mut self, now: Duration) {
        let pause = now.saturating_sub(self.heard);
        if silent_since(self.heard, now).is_some() {
            self.burst = Some((self.heard, now));
        } else if pause > PAUSE {
            self.burst = None;
        }
        self.heard = now;
    }

    /// Monotonic time up to which everything was heard, should nothing more come: of what a silence held back some may be lost still.
    pub(super) fn until(&self) -> Duration {
        self.burst.map_or(self.heard, |(since, _)| since)
    }

    /// The last frame is an event of this time by the node's clock. `None`: it came in time.
    pub(super) fn of(&mut self, at: Moment, timestamp: Option<DateTime<Utc>>) -> Option<Late> {
        let theirs = timestamp.map(|timestamp| timestamp.timestamp_micros());
        let behind = theirs.zip(self.ahead).map(|(theirs, ahead)| micros(at.mono) - theirs.saturating_add(ahead));
        // What was held back for long takes long to read; whoever reads what has just happened has caught up.
        let long = self.burst.is_some_and(|(_, began)| at.mono > began + BURST);
        if long && behind.is_none_or(|behind| behind < micros(PAUSE)) {
            self.burst = None;
        }
        let Some((since, _)) = self.burst else {
            self.ahead = theirs.map(|theirs| micros(at.mono).saturating_sub(theirs)).or(self.ahead);
            return None;
        };
        let likely = theirs.zip(self.ahead).map(|(theirs, ahead)| {
            Duration::from_micros(u64::try_from(theirs.saturating_add(ahead)).unwrap_or_default())
        });
        Some(Late { since: at.when(since), likely: likely.map(|likely| at.when(likely.clamp(since, at.mono))) })
    }
}

fn micros(span: Duration) -> i64 {
    i64::try_from(span.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: i64 = 100_000;

    fn now(millis: i64) -> Moment {
        let mono = Duration::from_millis(u64::try_from(START + millis).expect("no time before the start"));
        Moment { mono, wall: node_time(millis) }
    }

    /// What a node's clock says that is right.
    fn node_time(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(1_700_000_000_000 + millis).expect("a time")
    }

    /// Frames at these times; the last one is an event that happened at `happened` by the node's clock.
    fn read(frames: &[i64], happened: i64) -> Option<(i64, i64)> {
        let mut lateness = Lateness::new(now(0).mono);
        lateness.hear(now(10).mono);
        assert_eq!(lateness.of(now(10), Some(node_time(9))), None);
        frames.iter().for_each(|at| lateness.hear(now(*at).mono));
        let at = now(*frames.last().expect("a frame"));
        let millis = |then: Moment| i64::try_from(then.mono.as_millis()).expect("small") - START;
        lateness.of(at, Some(node_time(happened))).map(|late| (millis(late.since), late.likely.map_or(-1, millis)))
    }

    #[test]
    fn what_comes_in_time_or_after_the_burst_is_not_late() {
        assert_eq!(read(&[500, 1_100], 1_099), None);
        assert_eq!(read(&[3_000, 3_300], 3_299), None, "the burst is over");
        let steady: Vec<i64> = (0..12).map(|n| 3_000 + n * 100).collect();
        assert_eq!(read(&steady, 4_099), None, "a busy socket is not late for ever");
        assert_eq!(read(&steady, 1_799), Some((10, 1_800)), "a long burst brings what is late to its end");
    }

    #[test]
    fn what_a_silence_held_back_happened_within_it() {
        assert_eq!(read(&[1_000, 3_000, 3_001], 1_799), Some((1_000, 1_800)));
    }

    /// A process that was stopped reads what had come, and then that the connection is gone.
    #[test]
    fn what_a_silence_held_back_is_not_all_heard_before_it_is_over() {
        let until = |frames: &[i64]| {
            let mut lateness = Lateness::new(now(0).mono);
            frames.iter().for_each(|at| lateness.hear(now(*at).mono));
            lateness.until()
        };
        assert_eq!(until(&[500]), now(500).mono);
        assert_eq!(until(&[500, 5_000, 5_001]), now(500).mono);
        assert_eq!(until(&[500, 5_000, 5_300]), now(5_300).mono, "the burst is over");
    }

    #[test]
    fn a_clock_that_jumps_bends_no_more_than_the_silence() {
        assert_eq!(read(&[1_000, 3_000], 3_600_000), Some((1_000, 3_000)));
        assert_eq!(read(&[1_000, 3_000], -3_600_000), Some((1_000, 1_000)));
    }

    #[test]
    fn without_an_event_before_it_nothing_says_when() {
        let mut lateness = Lateness::new(now(0).mono);
        lateness.hear(now(2_000).mono);
        let late = lateness.of(now(2_000), Some(node_time(500))).expect("late");
        assert_eq!((late.since.mono, late.likely), (now(0).mono, None));
    }
}
