//! PURE: what is told of a live call to whoever listens, when it is told, and that nothing is told twice.

use std::sync::Arc;

use super::attempt::{Attempt, Leg};
use super::live::{LiveAttempt, LiveView};
use super::machine::Call;
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::routing::snapshot::words;
use crate::routing::usage::UseChange;

words! {
    /// What happened to a live call.
    Happening {
        /// It arrived, and was decided.
        Arrived = "call.arrived",
        /// A client is dialled.
        AttemptStarted = "call.attempt_started",
        /// That client's phone rings, or it sends early media.
        Ringing = "call.ringing",
        /// That client has answered, and so has been the caller.
        Answered = "call.answered",
        /// That client did not take the call; the next one may follow.
        AttemptFailed = "call.attempt_failed",
        /// How it ended is settled; its channels are being brought to be gone.
        Clearing = "call.clearing",
        /// It is over, and no live call any more.
        Ended = "call.ended",
    }
}

/// One thing that listeners are told.
#[derive(Debug, Clone)]
pub enum News {
    /// Of a call.
    Call(Arc<CallNews>),
    /// Of caps, together as they were seen.
    Use(Arc<Vec<UseChange>>),
}

/// Something that happened to a call.
#[derive(Debug, Clone)]
pub struct CallNews {
    /// What.
    pub what: Happening,
    /// When it was told.
    pub at: Now,
    /// The call as it stood then.
    pub call: LiveView,
    /// The attempt that it is about.
    pub attempt: Option<LiveAttempt>,
    /// How that attempt came out, once it has.
    pub outcome: Option<AttemptOutcome>,
    /// Why the call ended (`calls::ending::Ending` as text), and who ended it, once that is settled.
    pub ending: Option<(&'static str, HungUpBy)>,
}

impl CallNews {
    pub(crate) fn of(call: &Call, (what, attempt): Step, at: Now) -> Self {
        let attempt = attempt.and_then(|index| call.attempts.get(index));
        Self {
            what,
            at,
            call: LiveView::of(call),
            attempt: attempt.map(LiveAttempt::of),
            outcome: attempt.filter(|attempt| attempt.leg == Leg::Gone).map(Attempt::outcome),
            ending: call.end.map(|end| (end.ending.as_str(), end.by)),
        }
    }
}

/// What happened, and to which of the call's attempts (by index).
pub(crate) type Step = (Happening, Option<usize>);

/// What of one call was told so far.
#[derive(Debug, Default)]
pub(crate) struct Teller {
    arrived: bool,
    attempts: Vec<Told>,
    clearing: bool,
}

#[derive(Debug, Default)]
struct Told {
    ringing: bool,
    answered: bool,
    failed: bool,
}

impl Teller {
    /// What happened since this was asked last, in order; all of it counts as told.
    pub(crate) fn news(&mut self, call: &Call) -> Vec<Step> {
        let mut news = Vec::new();
        if !std::mem::replace(&mut self.arrived, true) {
            news.push((Happening::Arrived, None));
        }
        for (index, attempt) in call.attempts.iter().enumerate() {
            if index == self.attempts.len() {
                self.attempts.push(Told::default());
                news.push((Happening::AttemptStarted, Some(index)));
            }
            let told = &mut self.attempts[index];
            let gone = attempt.leg == Leg::Gone && attempt.answered.is_none();
            for (now, told, what) in [
                (attempt.ringing.is_some(), &mut told.ringing, Happening::Ringing),
                (call.is_answered_by(attempt), &mut told.answered, Happening::Answered),
                (gone, &mut told.failed, Happening::AttemptFailed),
            ] {
                if now && !std::mem::replace(told, true) {
                    news.push((what, Some(index)));
                }
            }
        }
        if call.end.is_some() && !std::mem::replace(&mut self.clearing, true) {
            news.push((Happening::Clearing, call.attempts.len().checked_sub(1)));
        }
        news
    }
}
