//! When `accept` fails: not to spin, and not to fill the log.

use std::io::{Error, ErrorKind};
use std::time::Duration;

/// The pause after the first error of an outage; each further one is twice as long, up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(1);
/// `ENETDOWN`, `EPROTO`, `EHOSTDOWN`, `ENONET` and their like have no other name here; accept(2) says to try again at once after them, as
/// after what happened to the one connection.
const OF_ONE: [ErrorKind; 7] = [
    ErrorKind::ConnectionAborted,
    ErrorKind::ConnectionReset,
    ErrorKind::ConnectionRefused,
    ErrorKind::HostUnreachable,
    ErrorKind::NetworkUnreachable,
    ErrorKind::NetworkDown,
    ErrorKind::Interrupted,
];

/// One that has succeeded for so long does not fail any more: at the very limit it fails and succeeds by turns.
const CALM: Duration = Duration::from_secs(5);

/// Errors of `accept`, until it has succeeded for a while.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// In all.
    failures: u32,
    /// Since the last success.
    in_turn: u32,
    last: Duration,
}

impl Outage {
    /// How long to wait before the next try, and whether it is the outage's first error, which is logged. `None`: what went wrong was
    /// one connection's own, and is gone with it.
    pub(super) fn failed(&mut self, error: &Error, now: Duration) -> Option<(Duration, bool)> {
        if OF_ONE.contains(&error.kind()) {
            return None;
        }
        let pause = FIRST_PAUSE.saturating_mul(1 << self.in_turn.min(10)).min(LAST_PAUSE);
        (self.failures, self.in_turn, self.last) =
            (self.failures.saturating_add(1), self.in_turn.saturating_add(1), now);
        Some((pause, self.failures == 1))
    }

    /// How many errors there were, where it is over now.
    pub(super) fn succeeded(&mut self, now: Duration) -> Option<u32> {
        self.in_turn = 0;
        let over = self.failures > 0 && now.saturating_sub(self.last) >= CALM;
        over.then(|| std::mem::take(&mut self.failures))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn none_left() -> Error {
        Error::other("no descriptors left")
    }

    #[test]
    fn an_outage_is_told_once_and_tried_again_ever_more_slowly() {
        let mut outage = Outage::default();
        let told: Vec<_> = (0..12).filter_map(|_| outage.failed(&none_left(), at(100))).collect();
        assert_eq!(told[0], (Duration::from_millis(10), true));
        assert_eq!(told[1], (Duration::from_millis(20), false));
        assert_eq!(told[11], (Duration::from_secs(1), false));
        assert_eq!(told.iter().filter(|(_, first)| *first).count(), 1);
        // At the very limit: one comes in now and then.
        assert_eq!(outage.succeeded(at(101)), None);
        assert_eq!(outage.failed(&none_left(), at(102)), Some((Duration::from_millis(10), false)));
        assert_eq!(outage.succeeded(at(106)), None);
        assert_eq!(outage.succeeded(at(107)), Some(13));
        assert_eq!(outage.succeeded(at(108)), None);
        assert_eq!(outage.failed(&none_left(), at(109)), Some((Duration::from_millis(10), true)));
    }

    #[test]
    fn what_happened_to_one_connection_holds_up_no_other() {
        let mut outage = Outage::default();
        assert_eq!(outage.failed(&ErrorKind::ConnectionAborted.into(), at(100)), None);
        assert_eq!(outage.succeeded(at(200)), None);
    }
}
