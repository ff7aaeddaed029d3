//! PURE: one dial of one client.

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::ending::{outcome, sign};
use crate::cdr::record::AttemptOutcome;
use crate::clock::Now;
use crate::routing::book::Offer;
use crate::routing::breaker::Sign;
use crate::routing::snapshot::{Client, Link};

/// How long a client is silent before its channel is looked at for the first time.
const LOOK_SOON: Duration = Duration::from_secs(1);
/// How long the last look may take; it is answered within a millisecond or two.
const LOOK_TAKES: Duration = Duration::from_secs(1);

/// The outbound channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leg {
    /// Asked for; not dialled yet.
    Creating,
    /// Dialled; it may ring.
    Dialling,
    /// Answered.
    Up,
    /// Asked to go.
    HangingUp,
    /// There is evidence that it is gone.
    Gone,
}

/// Where an attempt's channel is with regard to the caller's bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// By itself.
    Apart,
    /// Asked into the bridge.
    Joining,
    /// In the bridge, or on a way to it on which nothing overtakes.
    Joined,
}

/// How often a silent client's channel was looked at for provisional answers of which no event tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    Never,
    /// Soon, so that the caller hears ringing.
    Soon,
    /// For the last time.
    Last,
}

/// One dial of one client within a call.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) n: u32,
    /// Place of its link in the plan.
    pub(crate) position: usize,
    pub(crate) link: Link,
    pub(crate) client: Arc<Client>,
    pub(crate) ring_timeout: Duration,
    pub(crate) leg: Leg,
    pub(crate) started: Now,
    /// Monotonic time from which a client that does nothing is silent: it was asked for, or is known to be dialled. `None` while it is not
    /// known whether Asterisk has dialled it: that says something of the node, and a client may have answered meanwhile.
    pub(crate) silent_since: Option<Duration>,
    pub(crate) ringing: Option<Now>,
    pub(crate) answered: Option<Answer>,
    pub(crate) ended: Option<Now>,
    pub(crate) cause: Option<i16>,
    pub(crate) sip: Option<i16>,
    /// Why we hung it up, or why it never was; overrides what the causes say.
    pub(crate) verdict: Option<AttemptOutcome>,
    pub(crate) counted: bool,
    /// Its hang-up never left: it may still be answered.
    pub(crate) hang_up_unsent: bool,
    /// It did not leave in time although the node is there: no comparison follows after which it would be asked for again.
    pub(crate) hang_up_late: bool,
    /// Asterisk has said that there is no such channel, or was compared after the hang-up: the next such answer is evidence.
    pub(crate) absent: bool,
    /// Answered, and not known to be heard, or to be with the caller where it was before: until then the caller is not answered.
    pub(crate) awaited: bool,
    pub(crate) place: Place,
    /// It came, or was asked, into the bridge before its answer, which Asterisk then passes on by itself.
    pub(crate) early: bool,
    /// Asterisk was asked to tell of its client's first sound.
    pub(crate) listening: bool,
    /// Monotonic time at which the caller hears ringing, should its client's early media not be heard before.
    pub(crate) ring_by: Option<Duration>,
    pub(crate) looked: Looked,
    /// It may not be dialled before the journal has it: it may count against a total.
    pub(crate) uncommitted: bool,
    /// Its channel can be dialled; only the journal was waited for.
    pub(crate) ready: bool,
    was_dialled: bool,
    /// What it shows of its client was told.
    sign_told: bool,
}

impl Attempt {
    pub(crate) fn new(n: u32, offer: Offer, default_timeout: Duration, now: Now) -> Self {
        Self {
            n,
            position: offer.position,
            ring_timeout: offer.link.ring_timeout.unwrap_or(default_timeout),
            client: offer.client,
            leg: Leg::Creating,
            started: now,
            silent_since: Some(now.mono),
            ringing: None,
            answered: None,
            ended: None,
            cause: None,
            sip: None,
            verdict: None,
            counted: false,
            hang_up_unsent: false,
            hang_up_late: false,
            absent: false,
            awaited: false,
            place: Place::Apart,
            early: false,
            listening: false,
            ring_by: None,
            looked: Looked::Never,
            uncommitted: offer.link.total_calls_allowed.is_some(),
            ready: false,
            was_dialled: false,
            sign_told: false,
            link: offer.link,
        }
    }

    /// An attempt found talking.
    pub(crate) fn adopt(n: u32, offer: Offer, started: Now, answered: Answer) -> Self {
        Self {
            leg: Leg::Up,
            answered: Some(answered),
            place: Place::Joined,
            was_dialled: true,
            sign_told: true,
            uncommitted: false,
            ..Self::new(n, offer, Duration::ZERO, started)
        }
    }

    /// Whether it may still be answered.
    pub(crate) fn is_pending(&self) -> bool {
        matches!(self.leg, Leg::Creating | Leg::Dialling)
    }

    /// Whether the client was sent an INVITE, as far as we know.
    pub(crate) fn dialled(&self) -> bool {
        self.was_dialled
    }

    /// When a client that has shown nothing yet is looked at next, or given up: it has been silent for so long.
    pub(crate) fn silent_by(&self, progress_timeout: Duration) -> Option<Duration> {
        let since = self.silent_since.filter(|_| self.ringing.is_none())?;
        Some(match self.looked {
            // Nobody has asked it yet: there is nothing to look for.
            _ if self.leg == Leg::Creating => since + progress_timeout,
            Looked::Never => since + progress_timeout.min(LOOK_SOON),
            Looked::Soon => since + progress_timeout,
            Looked::Last => since + progress_timeout + LOOK_TAKES,
        })
    }

    /// Notes that the dial request goes out.
    pub(crate) fn dial(&mut self) {
        self.leg = Leg::Dialling;
        self.silent_since = None;
        self.was_dialled = true;
    }

    /// Notes that the dial request did not happen after all.
    pub(crate) fn not_dialled(&mut self) {
        self.was_dialled = false;
    }

    /// Notes that its channel is gone.
    pub(crate) fn end(&mut self, cause: Option<i16>, sip: Option<i16>, now: Now) {
        self.leg = Leg::Gone;
        self.ended = Some(now);
        self.cause = cause.filter(|c| *c != 0);
        // An answered channel's last SIP status is that of its answer, not of its end.
        self.sip = if self.answered.is_some() { Some(200) } else { sip.filter(|s| *s != 0) };
    }

    /// That its client lives; `None` where its sign was told.
    pub(crate) fn alive(&mut self) -> Option<Sign> {
        self.tell(Sign::Alive)
    }

    /// What it has shown of its client, now that it is gone; `None` where its sign was told.
    pub(crate) fn last_sign(&mut self) -> Option<Sign> {
        // A time-out, ours or that of Asterisk's own INVITE (408): nobody has answered anything.
        let timed_out = self.verdict == Some(AttemptOutcome::NoAnswer) || self.sip == Some(408);
        let waited_in_vain = timed_out && self.ringing.is_none() && self.outcome() == AttemptOutcome::NoAnswer;
        // Asterisk did not get as far as asking it.
        let never_asked = !self.was_dialled && self.outcome() == AttemptOutcome::NoProgress;
        self.tell(if waited_in_vain || never_asked { Sign::Unclear } else { sign(self.outcome()) })
    }

    fn tell(&mut self, sign: Sign) -> Option<Sign> {
        (!std::mem::replace(&mut self.sign_told, true)).then_some(sign)
    }

    /// How it came out, once it is gone.
    pub(crate) fn outcome(&self) -> AttemptOutcome {
        match (self.answered, self.verdict) {
            (Some(_), _) => AttemptOutcome::Answered,
            (None, Some(verdict)) => verdict,
            (None, None) if self.leg != Leg::Gone => AttemptOutcome::Unknown,
            (None, None) => outcome(self.cause, self.sip),
        }
    }
}
