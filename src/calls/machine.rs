//! PURE: the life of one call. `step` takes what happened and says what to do; it does nothing itself.
//!
//! States: `new` → `selecting` → `dialling` → (`selecting` → `dialling`)* → `talking` → `clearing` → `done`,
//! with `clearing` reachable from each. A call is done only when there is evidence that its caller and every leg are gone.

use std::sync::Arc;
use std::time::Duration;

use super::attempt::{Attempt, Leg};
use super::ending::{Ending, rejection};
use super::facts::{CallFacts, Limits};
use super::io::{Effect, Failure, Input, Op};
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::id::LinkId;
use crate::routing::book::{Offer, counts};
use crate::routing::decision::{Decision, Trace};
use crate::routing::snapshot::{Campaign, Did};

/// Where the call stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    Selecting,
    Dialling,
    Talking,
    Clearing,
    Done,
}

/// The inbound channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CallerLeg {
    Waiting,
    Up,
    /// Asked to go: with this SIP status if it was not answered.
    HangingUp(Option<u16>),
    Gone,
}

/// How and when the call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) ending: Ending,
    pub(crate) by: HungUpBy,
    pub(crate) at: Now,
    /// SIP status the caller was or will be given.
    pub(crate) sip: u16,
    pub(crate) cause: Option<i16>,
}

/// One line of the call's timeline.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) at: Now,
    pub(crate) event: String,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    pub(crate) facts: CallFacts,
    limits: Limits,
    phase: Phase,
    pub(crate) arrived: Now,
    pub(crate) did: Option<Did>,
    pub(crate) campaign: Option<Arc<Campaign>>,
    pub(crate) trace: Option<Trace>,
    pub(crate) plan: Vec<LinkId>,
    pub(crate) attempts: Vec<Attempt>,
    /// Attempts that an earlier run of the controller made: their numbers, and channel ids, are taken.
    earlier_attempts: u32,
    bridge: bool,
    caller: CallerLeg,
    caller_cause: Option<i16>,
    pub(crate) end: Option<End>,
    pub(crate) timeline: Vec<Moment>,
    /// When to ask again for what is being torn down, and how long to wait after that.
    retry: Option<(Duration, Duration)>,
}

/// First wait before a hang-up that showed no effect is asked for again; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Q.850 "normal call clearing".
const NORMAL_CLEARING: i16 = 16;
/// How much later Asterisk's own whole-second timers fire than ours.
pub(crate) const BEHIND: Duration = Duration::from_secs(5);

impl Call {
    /// A call that just arrived, or that an earlier run left unanswered after this many attempts.
    #[must_use]
    pub fn new(facts: CallFacts, limits: Limits, earlier_attempts: u32, now: Now) -> Self {
        Self {
            facts,
            limits,
            phase: Phase::New,
            arrived: now,
            did: None,
            campaign: None,
            trace: None,
            plan: Vec::new(),
            attempts: Vec::new(),
            earlier_attempts,
            bridge: false,
            caller: CallerLeg::Waiting,
            caller_cause: None,
            end: None,
            timeline: Vec::new(),
            retry: None,
        }
    }

    /// A call found talking: its parties were bridged by an earlier run of the controller. `decision` tells whose it is
    /// by today's configuration; what was decided then is not known.
    #[must_use]
    pub(crate) fn adopt(
        facts: CallFacts,
        limits: Limits,
        arrived: Now,
        decision: Decision,
        attempt: Attempt,
        now: Now,
    ) -> Self {
        let adopted = Moment { at: now, event: format!("adopted while talking({})", attempt.n) };
        Self {
            phase: Phase::Talking,
            did: decision.did,
            campaign: decision.campaign,
            attempts: vec![attempt],
            bridge: true,
            caller: CallerLeg::Up,
            timeline: vec![adopted],
            ..Self::new(facts, limits, 0, arrived)
        }
    }

    /// Where the call stands, for logs: `dialling(2)`.
    #[must_use]
    pub fn label(&self) -> String {
        let n = self.last_n();
        match self.phase {
            Phase::New => "new".into(),
            Phase::Selecting => "selecting".into(),
            Phase::Dialling => format!("dialling({n})"),
            Phase::Talking => format!("talking({n})"),
            Phase::Clearing => "clearing".into(),
            Phase::Done => "done".into(),
        }
    }

    /// Whether the call is over and its record can be written.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.phase == Phase::Done
    }

    /// The attempt with this number.
    #[must_use]
    pub(crate) fn attempt(&self, n: u32) -> Option<&Attempt> {
        self.attempts.iter().find(|a| a.n == n)
    }

    /// Talk time at most.
    #[must_use]
    pub(crate) fn max_duration(&self) -> Duration {
        self.campaign.as_ref().and_then(|c| c.max_duration).unwrap_or(self.limits.max_duration)
    }

    /// Takes one input; says what is to be done, in order. After the end: nothing.
    #[must_use]
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase == Phase::Done {
            return effects;
        }
        self.note(&input, now);
        match input {
            Input::Arrived { overloaded } => self.arrived(overloaded, now, &mut effects),
            Input::Routed(decision, offer) => self.routed(*decision, offer, now, &mut effects),
            Input::Taken(Some(offer)) => self.start_attempt(offer, now, &mut effects),
            Input::Taken(None) => self.reject(Ending::NobodyAnswered, now, &mut effects),
            Input::LegReady(n) => self.leg_ready(n, now, &mut effects),
            Input::LegRinging(n) | Input::LegProgress(n) => self.leg_rings(n, now),
            Input::LegAnswered(n) => self.leg_answered(n, now, &mut effects),
            Input::LegGone { n, cause, sip } => self.leg_gone(n, cause, sip, now, &mut effects),
            Input::CallerUp => self.caller_up(),
            Input::CallerHangup { cause, sip } => self.caller_hangs_up(cause, sip, now, &mut effects),
            Input::CallerGone => self.caller_gone(now, &mut effects),
            Input::RequestFailed(op, failure) => self.request_failed(op, failure, now, &mut effects),
            Input::NodeUp => self.ask_again(now, &mut effects),
            Input::Tick => self.tick(now, &mut effects),
        }
        self.finish_if_gone(&mut effects);
        effects
    }

    /// The monotonic time at which the machine wants an [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let current = match self.phase {
            Phase::Dialling => self.current().filter(|a| a.leg != Leg::HangingUp).map(|a| self.attempt_deadline(a)),
            Phase::Talking => self.talk_deadline(),
            _ => None,
        };
        let retry = self.retry.filter(|_| self.phase != Phase::Done).map(|(at, _)| at);
        [current, retry].into_iter().flatten().min()
    }

    /// Number of the latest attempt.
    fn last_n(&self) -> u32 {
        self.attempts.last().map_or(self.earlier_attempts, |a| a.n)
    }

    fn current(&self) -> Option<&Attempt> {
        self.attempts.last()
    }

    fn setup_deadline(&self) -> Duration {
        let budget = self.campaign.as_ref().and_then(|c| c.setup_budget).unwrap_or(self.limits.setup_budget);
        self.arrived.mono + budget
    }

    fn attempt_deadline(&self, attempt: &Attempt) -> Duration {
        let started = attempt.started.mono;
        let ring = (started + attempt.ring_timeout).min(self.setup_deadline());
        match attempt.ringing {
            None => ring.min(started + self.limits.progress_timeout),
            Some(_) => ring,
        }
    }

    fn talk_deadline(&self) -> Option<Duration> {
        Some(self.current()?.answered?.mono + self.max_duration())
    }

    fn note(&mut self, input: &Input, now: Now) {
        // Only what a person asks about later; duplicates and ticks without effect would bury it.
        let event = match input {
            Input::Tick | Input::NodeUp => return,
            Input::Taken(Some(offer)) => format!("attempt {} to {}", self.last_n() + 1, offer.client.identifier),
            Input::Routed(_, Some(offer)) => {
                format!("{input}, attempt {} to {}", self.last_n() + 1, offer.client.identifier)
            }
            _ => input.to_string(),
        };
        if self.timeline.last().is_none_or(|last| last.event != event) {
            self.timeline.push(Moment { at: now, event });
        }
    }

    fn arrived(&mut self, overloaded: bool, now: Now, effects: &mut Vec<Effect>) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = Phase::Selecting;
        if overloaded {
            self.reject(Ending::Overloaded, now, effects);
        } else {
            effects.push(Effect::Route { n: self.last_n() + 1 });
        }
    }

    fn routed(&mut self, decision: Decision, offer: Option<Offer>, now: Now, effects: &mut Vec<Effect>) {
        self.did = decision.did;
        self.campaign = decision.campaign;
        self.trace = decision.trace;
        match (decision.candidates, offer) {
            (Ok(plan), Some(offer)) => {
                self.plan = plan;
                self.start_attempt(offer, now, effects);
            }
            (Ok(_), None) => self.reject(Ending::AllFull, now, effects),
            (Err(refusal), _) => self.reject(refusal.into(), now, effects),
        }
    }

    fn start_attempt(&mut self, offer: Offer, now: Now, effects: &mut Vec<Effect>) {
        let n = self.last_n() + 1;
        let default_timeout = self.campaign.as_ref().map_or(Duration::ZERO, |c| c.dial_timeout);
        self.attempts.push(Attempt::new(n, offer, default_timeout, now));
        if self.phase != Phase::Selecting {
            // The caller went while the permit was being taken: nothing was dialled, so there is nothing to wait for.
            self.leg_gone(n, None, None, now, effects);
            return;
        }
        self.phase = Phase::Dialling;
        effects.push(Effect::Ask(Op::CreateLeg(n)));
        if !self.bridge {
            self.bridge = true;
            effects.push(Effect::Ask(Op::CreateBridge));
            effects.push(Effect::Ask(Op::AddCaller));
        }
    }

    fn leg_ready(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let deadline = self.current().map_or(Duration::ZERO, |a| a.started.mono + a.ring_timeout);
        let dialling = self.phase == Phase::Dialling;
        let Some(attempt) = self.attempt_mut(n) else { return };
        match attempt.leg {
            Leg::Creating if dialling => {
                attempt.dial();
                let timeout = deadline.saturating_sub(now.mono) + BEHIND;
                effects.push(Effect::Ask(Op::AddLeg(n)));
                effects.push(Effect::Ask(Op::Dial { n, timeout }));
            }
            Leg::HangingUp => effects.push(Effect::Ask(Op::HangUpLeg(n))),
            _ => {}
        }
    }

    fn leg_rings(&mut self, n: u32, now: Now) {
        if let Some(attempt) = self.attempt_mut(n)
            && attempt.leg == Leg::Dialling
        {
            attempt.ringing.get_or_insert(now);
        }
    }

    fn leg_answered(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let dialling = self.phase == Phase::Dialling;
        let max = self.max_duration();
        let Some(attempt) = self.attempt_mut(n) else { return };
        match attempt.leg {
            Leg::Dialling if dialling => {
                attempt.leg = Leg::Up;
                attempt.answered = Some(now);
                self.phase = Phase::Talking;
                effects.push(Effect::Ask(Op::LimitCaller(max + BEHIND)));
            }
            Leg::HangingUp if attempt.verdict == Some(AttemptOutcome::Cancelled) => {
                attempt.verdict = Some(AttemptOutcome::AnsweredLate);
            }
            _ => {}
        }
    }

    fn leg_gone(&mut self, n: u32, cause: Option<i16>, sip: Option<i16>, now: Now, effects: &mut Vec<Effect>) {
        let is_current = n == self.last_n();
        let Some(attempt) = self.attempt_mut(n) else { return };
        if attempt.leg == Leg::Gone {
            return;
        }
        attempt.end(cause, sip, now);
        let counted = counts(attempt.link.count_on, attempt.dialled(), attempt.answered.is_some());
        attempt.counted = counted;
        let (position, cause) = (attempt.position, attempt.cause);
        effects.push(Effect::Release { n, counted });
        match self.phase {
            Phase::Talking if is_current => {
                self.close(Ending::Completed, HungUpBy::Client, cause, now);
                self.hang_up_caller(None, now, effects);
            }
            Phase::Dialling if is_current => self.try_next(position + 1, now, effects),
            _ => {}
        }
    }

    fn try_next(&mut self, from: usize, now: Now, effects: &mut Vec<Effect>) {
        self.phase = Phase::Selecting;
        let made = self.last_n();
        let exhausted = from >= self.plan.len() || made >= self.limits.max_attempts;
        if exhausted || now.mono >= self.setup_deadline() {
            self.reject(Ending::NobodyAnswered, now, effects);
        } else {
            effects.push(Effect::TakeNext { n: made + 1, from });
        }
    }

    fn caller_up(&mut self) {
        if self.caller == CallerLeg::Waiting {
            self.caller = CallerLeg::Up;
        }
    }

    /// The carrier hung up or cancelled. Its channel mostly goes by itself, but was seen to stay for ever where no media flows after
    /// ringing in the audio (Asterisk 22.10.1), so it is told to go; that is harmless where it is gone.
    fn caller_hangs_up(&mut self, cause: Option<i16>, sip: Option<i16>, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.caller, CallerLeg::HangingUp(_) | CallerLeg::Gone) {
            return;
        }
        self.caller_cause = self.caller_cause.or(cause);
        let cancelled = sip == Some(487);
        if cancelled {
            // The carrier was told 487, whatever the channel's state said in between: the client answered too late.
            self.caller = CallerLeg::Waiting;
            if let Some(attempt) = self.attempts.last_mut().filter(|a| a.leg == Leg::Up) {
                attempt.answered = None;
                attempt.verdict = Some(AttemptOutcome::AnsweredLate);
            }
        }
        let talked = self.phase == Phase::Talking && !cancelled;
        let ending = if talked { Ending::Completed } else { Ending::CallerCancelled };
        self.close(ending, HungUpBy::Caller, self.caller_cause, now);
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
        self.hang_up_caller(None, now, effects);
    }

    fn caller_gone(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.caller = CallerLeg::Gone;
        let ending = if self.phase == Phase::Talking { Ending::Completed } else { Ending::CallerCancelled };
        self.close(ending, HungUpBy::Caller, self.caller_cause, now);
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
    }

    fn request_failed(&mut self, op: Op, failure: Failure, now: Now, effects: &mut Vec<Effect>) {
        let absent = matches!(failure, Failure::Rejected(404));
        match op {
            Op::CreateLeg(n) => match failure {
                // 500 "Allocation failed" is how Asterisk says that the endpoint is unknown or has no contact.
                Failure::Rejected(500) => self.never_created(n, AttemptOutcome::Unavailable, now, effects),
                Failure::Rejected(_) | Failure::NotSent => self.never_created(n, AttemptOutcome::Failed, now, effects),
                Failure::Unknown => self.give_up_leg(n, now, effects),
            },
            Op::AddLeg(n) | Op::Dial { n, .. } if !matches!(failure, Failure::Unknown) => {
                self.give_up_leg(n, now, effects)
            }
            Op::HangUpLeg(n) if absent => self.leg_gone(n, None, None, now, effects),
            Op::HangUpCaller(_) if absent => self.caller_gone(now, effects),
            // "Channel not found" and "not in Stasis": the caller is on its way out.
            Op::AddCaller if matches!(failure, Failure::Rejected(400 | 404 | 422)) => self.caller_leaving(now, effects),
            Op::CreateBridge | Op::AddCaller if failure != Failure::Unknown => self.fail(now, effects),
            _ => {}
        }
    }

    fn caller_leaving(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Dialling | Phase::Selecting) {
            self.close(Ending::CallerCancelled, HungUpBy::Caller, self.caller_cause, now);
            self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
            self.hang_up_caller(Some(self.limits.rejections.overloaded), now, effects);
        }
    }

    fn never_created(&mut self, n: u32, verdict: AttemptOutcome, now: Now, effects: &mut Vec<Effect>) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.verdict.get_or_insert(verdict);
        }
        self.leg_gone(n, None, None, now, effects);
    }

    fn give_up_leg(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if self.attempt(n).is_some_and(Attempt::is_pending) {
            self.hang_up_leg(AttemptOutcome::Failed, now, effects);
        }
    }

    fn fail(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Dialling | Phase::Selecting) {
            self.reject(Ending::Failed, now, effects);
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Dialling => self.tick_dialling(now, effects),
            Phase::Talking if self.talk_deadline().is_some_and(|at| now.mono >= at) => {
                self.close(Ending::MaxDuration, HungUpBy::System, Some(NORMAL_CLEARING), now);
                self.hang_up_leg(AttemptOutcome::Answered, now, effects);
                self.hang_up_caller(None, now, effects);
            }
            _ => {}
        }
        if self.retry.is_some_and(|(at, _)| now.mono >= at) {
            self.ask_again(now, effects);
        }
    }

    fn tick_dialling(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.current().filter(|a| a.leg != Leg::HangingUp) else { return };
        if now.mono < self.attempt_deadline(attempt) {
            return;
        }
        let silent = attempt.ringing.is_none() && now.mono >= attempt.started.mono + self.limits.progress_timeout;
        let (verdict, event) = if silent {
            (AttemptOutcome::NoProgress, "progress_timeout")
        } else if now.mono >= self.setup_deadline() {
            (AttemptOutcome::NoAnswer, "setup_budget_spent")
        } else {
            (AttemptOutcome::NoAnswer, "ring_timeout")
        };
        let n = self.last_n();
        self.timeline.push(Moment { at: now, event: format!("{event}({n})") });
        self.hang_up_leg(verdict, now, effects);
    }

    /// Ends an unanswered call with the SIP status configured for this ending.
    fn reject(&mut self, ending: Ending, now: Now, effects: &mut Vec<Effect>) {
        self.close(ending, HungUpBy::System, None, now);
        let sip = rejection(ending, &self.limits.rejections);
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
        self.hang_up_caller(Some(sip), now, effects);
    }

    /// Settles how the call ended; only the first reason counts.
    fn close(&mut self, ending: Ending, by: HungUpBy, cause: Option<i16>, now: Now) {
        self.phase = Phase::Clearing;
        let answered = matches!(ending, Ending::Completed | Ending::MaxDuration) || self.caller == CallerLeg::Up;
        let sip = if answered { 200 } else { rejection(ending, &self.limits.rejections) };
        self.end.get_or_insert(End { ending, by, at: now, sip, cause });
    }

    fn hang_up_leg(&mut self, verdict: AttemptOutcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.last_mut().filter(|a| !matches!(a.leg, Leg::Gone | Leg::HangingUp)) else {
            return;
        };
        if attempt.answered.is_none() {
            attempt.verdict.get_or_insert(verdict);
        }
        attempt.leg = Leg::HangingUp;
        effects.push(Effect::Ask(Op::HangUpLeg(attempt.n)));
        self.retry = Some((now.mono + RETRY_FIRST, RETRY_FIRST));
    }

    fn hang_up_caller(&mut self, sip: Option<u16>, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.caller, CallerLeg::Gone | CallerLeg::HangingUp(_)) {
            return;
        }
        // Normal clearing of a caller that is not answered yet would reach the carrier as 603, which is never retried.
        let unanswered = self.caller == CallerLeg::Waiting;
        let sip = unanswered.then(|| sip.unwrap_or(self.limits.rejections.nobody_answered));
        self.caller = CallerLeg::HangingUp(sip);
        effects.push(Effect::Ask(Op::HangUpCaller(sip)));
        self.retry = Some((now.mono + RETRY_FIRST, RETRY_FIRST));
    }

    /// Asks once more for every hang-up without evidence yet. Harmless where it happened: a channel that is gone answers 404.
    fn ask_again(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let legs = self.attempts.iter().filter(|a| a.leg == Leg::HangingUp).map(|a| Op::HangUpLeg(a.n));
        let caller = match self.caller {
            CallerLeg::HangingUp(sip) => Some(Op::HangUpCaller(sip)),
            _ => None,
        };
        let before = effects.len();
        effects.extend(legs.chain(caller).map(Effect::Ask));
        let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_MAX));
        self.retry = (effects.len() > before).then(|| (now.mono + wait, wait));
    }

    fn finish_if_gone(&mut self, effects: &mut Vec<Effect>) {
        let legs_gone = self.attempts.iter().all(|a| a.leg == Leg::Gone);
        if self.phase == Phase::Clearing && self.caller == CallerLeg::Gone && legs_gone {
            self.phase = Phase::Done;
            if self.bridge {
                effects.push(Effect::Ask(Op::DestroyBridge));
            }
            effects.push(Effect::Finish);
        }
    }

    fn attempt_mut(&mut self, n: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|a| a.n == n)
    }
}
