//! PURE: what a connection is waiting for its peer to do, since when, and when that has gone on for too long.

use std::time::Duration;

/// How long a peer may keep a connection waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// From a connection's beginning, or a later head's first byte, to the head's last byte.
    pub(super) header: Duration,
    /// From when a body is first waited for to its last byte.
    pub(super) body: Duration,
    /// From an answer to the next head's first byte.
    pub(super) idle: Duration,
    /// Without a byte of an answer being taken.
    pub(super) stall: Duration,
}

/// What did not come in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// A head; `begun`: some of it has come.
    Header { begun: bool },
    /// The rest of a body.
    Body,
    /// The next request.
    Idle,
    /// The peer taking what it is sent.
    Stall,
}

/// Between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Between {
    /// Nothing has come yet.
    New,
    /// Part of a head has come.
    Head,
    /// The last request was answered.
    Answered,
}

/// One connection. Times are monotonic.
#[derive(Debug)]
pub(super) struct Pulse {
    /// `None` while a request is being served.
    between: Option<(Between, Duration)>,
    /// A request's body is waited for.
    body: Option<Duration>,
    /// What was written last has not been taken.
    stalled: Option<Duration>,
    /// The answer to the request has begun.
    answering: bool,
    /// Bytes of an answer may be under way to the socket.
    owed: bool,
}

impl Pulse {
    pub(super) fn new(now: Duration) -> Self {
        Self { between: Some((Between::New, now)), body: None, stalled: None, answering: false, owed: false }
    }

    /// Bytes have come.
    pub(super) fn came(&mut self, now: Duration) {
        self.between = match self.between {
            Some((Between::New, since)) => Some((Between::Head, since)),
            Some((Between::Answered, _)) => Some((Between::Head, now)),
            same => same,
        };
    }

    /// A request is served from now on.
    pub(super) fn asked(&mut self) {
        *self = Self { between: None, answering: false, owed: true, ..*self };
    }

    /// Its body is waited for.
    pub(super) fn body_waits(&mut self, now: Duration) {
        self.body.get_or_insert(now);
    }

    /// Nobody waits for its body any more.
    pub(super) fn body_ended(&mut self) {
        self.body = None;
    }

    /// Its answer begins.
    pub(super) fn answers(&mut self) {
        (self.answering, self.body) = (true, None);
    }

    /// All of its answer has been handed over.
    pub(super) fn answered(&mut self, now: Duration) {
        *self = Self { between: Some((Between::Answered, now)), body: None, answering: false, ..*self };
    }

    /// Bytes were not taken.
    pub(super) fn stalls(&mut self, now: Duration) {
        self.stalled.get_or_insert(now);
    }

    /// Bytes were taken.
    pub(super) fn taken(&mut self) {
        self.stalled = None;
    }

    /// Everything that was written has been taken.
    pub(super) fn flushed(&mut self) {
        self.owed &= self.between.is_none();
    }

    /// Whether what is written belongs to an answer of ours: else it is the HTTP library's own.
    pub(super) fn is_owed(&self) -> bool {
        self.owed
    }

    /// Whether the peer could read another answer: none has begun.
    pub(super) fn can_be_told(&self) -> bool {
        !self.answering && self.stalled.is_none()
    }

    /// When the peer is late, and with what.
    pub(super) fn due(&self, patience: Patience) -> Option<(Duration, Late)> {
        let between = self.between.map(|(what, since)| match what {
            Between::New => (since + patience.header, Late::Header { begun: false }),
            Between::Head => (since + patience.header, Late::Header { begun: true }),
            Between::Answered => (since + patience.idle, Late::Idle),
        });
        let body = self.body.map(|since| (since + patience.body, Late::Body));
        let stalled = self.stalled.map(|since| (since + patience.stall, Late::Stall));
        [between, body, stalled].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    /// Since when the peer has kept it waiting, in whatever way; `None` while we work for it.
    pub(super) fn waits_since(&self) -> Option<Duration> {
        [self.between.map(|(_, since)| since), self.body, self.stalled].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { header: at(10), body: at(30), idle: at(60), stall: at(20) };

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn due(pulse: &Pulse) -> Option<(u64, Late)> {
        pulse.due(PATIENCE).map(|(at, late)| (at.as_secs(), late))
    }

    #[test]
    fn a_head_has_one_deadline_however_its_bytes_drip() {
        let mut pulse = Pulse::new(at(100));
        assert_eq!(due(&pulse), Some((110, Late::Header { begun: false })));
        for now in 101..109 {
            pulse.came(at(now));
            assert_eq!(due(&pulse), Some((110, Late::Header { begun: true })));
        }
        pulse.asked();
        assert_eq!(due(&pulse), None, "how long we take is not the peer's fault");
        assert_eq!(pulse.waits_since(), None);
    }

    #[test]
    fn a_later_head_counts_from_its_first_byte() {
        let mut pulse = Pulse::new(at(0));
        pulse.asked();
        pulse.answered(at(100));
        assert_eq!(due(&pulse), Some((160, Late::Idle)));
        pulse.came(at(150));
        assert_eq!(due(&pulse), Some((160, Late::Header { begun: true })));
        pulse.came(at(155));
        assert_eq!((due(&pulse), pulse.waits_since()), (Some((160, Late::Header { begun: true })), Some(at(150))));
    }

    #[test]
    fn a_body_counts_from_when_it_is_first_waited_for_until_it_is_there() {
        let mut pulse = Pulse::new(at(0));
        pulse.asked();
        pulse.body_waits(at(5));
        pulse.body_waits(at(20));
        assert_eq!(due(&pulse), Some((35, Late::Body)));
        assert!(pulse.can_be_told());
        pulse.body_ended();
        assert_eq!(due(&pulse), None);
        pulse.body_waits(at(40));
        pulse.answers();
        assert_eq!(due(&pulse), None, "it was answered without");
        assert!(!pulse.can_be_told());
    }

    #[test]
    fn a_stall_counts_from_the_last_byte_that_was_taken() {
        let mut pulse = Pulse::new(at(0));
        pulse.asked();
        pulse.answers();
        pulse.stalls(at(10));
        pulse.stalls(at(25));
        assert_eq!(due(&pulse), Some((30, Late::Stall)));
        pulse.taken();
        assert_eq!(due(&pulse), None);
        pulse.stalls(at(29));
        assert_eq!((due(&pulse), pulse.waits_since()), (Some((49, Late::Stall)), Some(at(29))));
    }

    #[test]
    fn only_what_is_written_between_requests_after_all_was_taken_is_not_ours() {
        let mut pulse = Pulse::new(at(0));
        assert!(!pulse.is_owed());
        pulse.asked();
        pulse.flushed();
        assert!(pulse.is_owed(), "100 Continue, and the answer");
        pulse.answered(at(1));
        assert!(pulse.is_owed(), "its last bytes wait in a buffer");
        pulse.flushed();
        assert!(!pulse.is_owed());
    }
}
