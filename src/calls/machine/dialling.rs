//! PURE: from the decision over every attempt to an answer.

use std::time::Duration;

use super::{BEHIND, Call, CallerLeg, Moment, Phase, SETUP_COVERED};
use crate::calls::answer::EVENTS_BEHIND;
use crate::calls::attempt::{Attempt, Leg, Looked};
use crate::calls::ending::{Ending, outcome};
use crate::calls::io::{Effect, Failure, Op};
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::mistakes::{Mistake, on};
use crate::routing::book::{Offer, counts};
use crate::routing::decision::Decision;

impl Call {
    pub(super) fn arrived(&mut self, overloaded: bool, now: Now, effects: &mut Vec<Effect>) {
        if self.phase != Phase::New {
            return;
        }
        self.phase = Phase::Selecting;
        if overloaded {
            self.reject(Ending::Overloaded, now, effects);
        } else {
            match self.resume_from {
                Some(from) => {
                    self.owe_limit(now, effects);
                    effects.push(Effect::TakeNext { n: self.last_n() + 1, from });
                }
                None => effects.push(Effect::Route { n: self.last_n() + 1 }),
            }
        }
    }

    /// The call whose INVITE this is goes on; this caller is told at once, and nobody is dialled.
    pub(super) fn merged(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.phase == Phase::New {
            self.reject(Ending::Merged, now, effects);
        }
    }

    /// A caller from an earlier run has used up part of the time that the dialplan gave it.
    fn owe_limit(&self, now: Now, effects: &mut Vec<Effect>) {
        effects.push(Effect::Ask(Op::LimitCaller(self.setup_deadline().saturating_sub(now.mono) + BEHIND)));
    }

    pub(super) fn routed(&mut self, decision: Decision, offer: Option<Offer>, now: Now, effects: &mut Vec<Effect>) {
        self.did = decision.did;
        self.campaign = decision.campaign;
        self.trace = decision.trace;
        match (decision.candidates, offer) {
            (Ok(plan), Some(offer)) => {
                self.plan = plan;
                let budget = self.setup_deadline().saturating_sub(self.arrived.mono);
                if budget > SETUP_COVERED || self.before.is_some() || self.earlier_attempts > 0 {
                    self.owe_limit(now, effects);
                }
                self.start_attempt(offer, now, effects);
            }
            (Ok(_), None) => self.reject(Ending::AllFull, now, effects),
            (Err(refusal), _) => self.reject(refusal.into(), now, effects),
        }
    }

    pub(super) fn start_attempt(&mut self, offer: Offer, now: Now, effects: &mut Vec<Effect>) {
        let n = self.last_n() + 1;
        let default_timeout = self.campaign.as_ref().map_or(Duration::ZERO, |c| c.dial_timeout);
        // Few calls have more than one.
        self.attempts.reserve_exact(1);
        self.attempts.push(Attempt::new(n, offer, default_timeout, now));
        if self.phase != Phase::Selecting {
            // The caller went while the permit was being taken: nothing was dialled, so there is nothing to wait for.
            self.leg_gone(n, None, None, now, effects);
            return;
        }
        self.phase = Phase::Dialling;
        if self.attempt(n).is_some_and(|attempt| attempt.uncommitted) {
            effects.push(Effect::Commit { n });
        }
        effects.push(Effect::Ask(Op::CreateLeg(n)));
        self.make_bridges(effects);
    }

    pub(super) fn leg_ready(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let deadline = self.current().map_or(Duration::ZERO, |a| a.started.mono + a.ring_timeout);
        let dialling = self.phase == Phase::Dialling;
        let Some(attempt) = self.attempt_mut(n) else { return };
        match attempt.leg {
            Leg::Creating if dialling && attempt.uncommitted && !on(Mistake::DialledBeforeKept) => attempt.ready = true,
            Leg::Creating if dialling => {
                attempt.dial();
                let timeout = deadline.saturating_sub(now.mono) + BEHIND;
                self.meet_before_dial(n, effects);
                effects.push(Effect::Ask(Op::Dial { n, timeout }));
            }
            // Gone: it was created after all, after there had been evidence that it was not.
            Leg::HangingUp | Leg::Gone => effects.push(Effect::Ask(Op::HangUpLeg(n))),
            _ => {}
        }
    }

    /// The journal has the attempt: it can be dialled as soon as its channel can.
    pub(super) fn committed(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.uncommitted) else { return };
        attempt.uncommitted = false;
        if attempt.ready {
            self.leg_ready(n, now, effects);
        }
    }

    /// The journal cannot keep the attempt, nor any other: the caller shall try elsewhere.
    pub(super) fn not_committed(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Dialling && self.current().is_some_and(|it| it.n == n && it.uncommitted) {
            self.reject(Ending::Overloaded, now, effects);
        }
    }

    pub(super) fn leg_gone(
        &mut self,
        n: u32,
        cause: Option<i16>,
        sip: Option<i16>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.leg_ended(n, (cause, sip), None, now, effects);
    }

    /// Attempt n's channel is gone; where nobody saw it go, `unseen` is the last moment at which it was known to live.
    pub(super) fn leg_ended(
        &mut self,
        n: u32,
        (cause, sip): (Option<i16>, Option<i16>),
        unseen: Option<Now>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let is_current = n == self.last_n();
        if is_current {
            self.talk_is_over(now);
            // Gone again before it was with the caller: nobody has talked.
            self.withdraw_unjoined(match outcome(cause, sip) {
                AttemptOutcome::Misconfigured => AttemptOutcome::Misconfigured,
                _ => AttemptOutcome::Failed,
            });
        }
        let came_up = self.came_up_during(n);
        let talking = self.phase == Phase::Talking || came_up;
        let Some(attempt) = self.attempt_mut(n) else { return };
        if attempt.leg == Leg::Gone {
            return;
        }
        let by = if attempt.leg == Leg::HangingUp { HungUpBy::System } else { HungUpBy::Client };
        attempt.end(cause, sip, unseen.unwrap_or(now));
        let counted = counts(attempt.link.count_on, attempt.dialled(), attempt.answered.is_some());
        let counted = counted || attempt.outcome() == AttemptOutcome::Unknown;
        attempt.counted = counted;
        let (position, cause) = (attempt.position, attempt.cause);
        effects.extend(attempt.last_sign().map(|sign| Effect::Sign { n, sign }));
        effects.push(Effect::Release { n, counted });
        if on(Mistake::ReleasedTwice) && self.caller != CallerLeg::Waiting && self.caller != CallerLeg::Up {
            effects.push(Effect::Release { n, counted: false });
        }
        match self.phase {
            _ if talking && is_current => {
                match unseen {
                    None => self.close(Ending::Completed, by, cause, now),
                    Some(since) => self.lose(by, since, now),
                }
                self.hang_up_caller(None, now, effects);
            }
            Phase::Dialling if is_current => self.try_next(position + 1, now, effects),
            _ => {}
        }
    }

    pub(super) fn try_next(&mut self, from: usize, now: Now, effects: &mut Vec<Effect>) {
        self.phase = Phase::Selecting;
        let made = self.last_n();
        let exhausted = from >= self.plan.len() || made >= self.limits.max_attempts;
        if exhausted || now.mono >= self.setup_deadline() {
            self.reject(Ending::NobodyAnswered, now, effects);
        } else {
            effects.push(Effect::TakeNext { n: made + 1, from });
        }
    }

    pub(super) fn request_failed(&mut self, op: Op, failure: Failure, now: Now, effects: &mut Vec<Effect>) {
        let absent = matches!(failure, Failure::Rejected(404));
        match op {
            Op::CreateLeg(n) => match failure {
                // 500 "Allocation failed" is how Asterisk says that the endpoint is unknown or has no contact.
                Failure::Rejected(500) => self.never_created(n, AttemptOutcome::Unavailable, now, effects),
                Failure::Rejected(_) | Failure::NotSent | Failure::Late => {
                    self.never_created(n, AttemptOutcome::Failed, now, effects);
                }
                Failure::Unknown if on(Mistake::UnknownTakenForFailed) => {
                    self.never_created(n, AttemptOutcome::Failed, now, effects);
                }
                Failure::Unknown => self.give_up_leg(n, now, effects),
            },
            Op::AnswerCaller => self.answer_failed(failure, now, effects),
            Op::Join { .. } => self.not_joined(op, failure, now, effects),
            Op::Listen(n) => self.cannot_listen(n, failure, now, effects),
            Op::Look(n) => self.leg_seen(n, None, now, effects),
            // Where there is none Asterisk has nothing to say, or no such channel any more.
            Op::LookForMedia(n) => self.leg_media(n, false, now, effects),
            Op::Dial { n, .. } if !matches!(failure, Failure::Unknown) => {
                if let Some(attempt) = self.attempt_mut(n) {
                    attempt.not_dialled();
                }
                self.give_up_leg(n, now, effects);
            }
            // Perhaps only now.
            Op::Dial { n, .. } => self.wait_from_now(n, now),
            Op::HangUpLeg(n) if matches!(failure, Failure::NotSent | Failure::Late) => {
                if let Some(attempt) = self.attempt_mut(n) {
                    (attempt.hang_up_unsent, attempt.hang_up_late) = (true, failure == Failure::Late);
                }
                if failure == Failure::Late {
                    self.retry = Some((now.mono + EVENTS_BEHIND, EVENTS_BEHIND));
                }
            }
            // That it rings on is all that a caller hears of it.
            Op::RingCaller if matches!(failure, Failure::NotSent | Failure::Late | Failure::Unknown) => {
                self.caller_rings = false;
                self.ask_soon(now);
            }
            Op::Unmute(_) if !absent => {
                self.unmute_owed = true;
                self.ask_soon(now);
            }
            Op::LimitCaller(_) if !absent => {
                self.limit_owed = true;
                self.ask_soon(now);
            }
            // It exists already, from a request whose outcome was not known (older versions say 500); if not, the caller cannot be added.
            Op::CreateBridge(_) if matches!(failure, Failure::Rejected(409 | 500)) => {}
            // The caller may not be in the bridge: nobody must answer into it. The next attempt asks for both again.
            Op::CreateBridge(kind) | Op::AddCaller(kind) if failure == Failure::Unknown => {
                self.forget_bridge(kind);
                self.give_up_leg(self.last_n(), now, effects);
            }
            // "Channel not found" and "not in Stasis": the caller is on its way out.
            Op::AddCaller(_) if matches!(failure, Failure::Rejected(400 | 404 | 422)) => {
                self.caller_leaving(now, effects)
            }
            Op::CreateBridge(_) | Op::AddCaller(_) => self.fail(now, effects),
            _ => {}
        }
    }

    fn answer_failed(&mut self, failure: Failure, now: Now, effects: &mut Vec<Effect>) {
        if self.is_refused_early(failure) {
            (self.answer_refused, self.answer_unknown) = (true, true);
            self.retry = Some((now.mono + EVENTS_BEHIND, EVENTS_BEHIND));
        } else if matches!(failure, Failure::Rejected(404)) {
            self.caller_absent(now, effects);
        } else if self.may_be_answered(failure) {
            // They may be talking. Asked for again: answering twice does no harm, and the answer or the event tells.
            self.answer_unknown = true;
            self.ask_soon(now);
        } else {
            // Asterisk answers whoever is up already with success.
            if self.caller == CallerLeg::Waiting && matches!(failure, Failure::Rejected(_)) {
                self.was_not_answered();
            }
            self.fail_to_join(now, effects);
        }
    }

    /// There is no such channel any more. What it did at last may still be on its way here: if it was answered, no other client is
    /// dialled. So that is waited for, unless the node was compared meanwhile.
    pub(super) fn leg_absent(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let unseen =
            |attempt: &&mut Attempt| attempt.leg == Leg::HangingUp && attempt.dialled() && attempt.answered.is_none();
        match self.attempt_mut(n).filter(unseen).filter(|attempt| !attempt.absent) {
            Some(attempt) => {
                attempt.absent = true;
                self.retry = Some((now.mono + EVENTS_BEHIND, EVENTS_BEHIND));
            }
            None => self.leg_gone(n, None, None, now, effects),
        }
    }

    /// There is no inbound channel any more. Of a caller who may have been answered its events were waited for: nobody saw it go.
    fn caller_absent(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.answer_refused && self.caller == CallerLeg::Waiting {
            self.missing(self.certain, now, effects);
        } else {
            self.caller_gone(now, effects);
        }
    }

    /// Whether the caller may have been answered although a request to do so did not succeed.
    fn may_be_answered(&self, failure: Failure) -> bool {
        let asked = self.phase == Phase::Talking && self.current().is_some_and(|a| !a.awaited);
        asked
            && (failure == Failure::Unknown
                || (self.answer_unknown && matches!(failure, Failure::NotSent | Failure::Late)))
    }

    /// Whether a caller whom Asterisk may have answered by itself cannot be answered for the first time. It was answered and went, or went
    /// unanswered: the events that tell may still be on their way here, and are waited for.
    fn is_refused_early(&self, failure: Failure) -> bool {
        let waits = self.phase == Phase::Talking && self.caller == CallerLeg::Waiting && !self.answer_refused;
        match failure {
            // "Failed to answer channel": it has cancelled, most likely.
            Failure::Rejected(500) => waits,
            Failure::Rejected(_) => waits && self.awaits_answer(),
            Failure::NotSent | Failure::Late | Failure::Unknown => false,
        }
    }

    /// The client has answered and cannot be brought together with the caller: nobody is left to talk to silence.
    pub(super) fn fail_to_join(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if self.caller == CallerLeg::Waiting {
            self.take_back_answer(now);
        }
        match self.phase {
            Phase::Talking => self.end_talk(Ending::Failed, now, effects),
            _ => self.fail(now, effects),
        }
    }

    pub(super) fn never_created(&mut self, n: u32, verdict: AttemptOutcome, now: Now, effects: &mut Vec<Effect>) {
        if let Some(attempt) = self.attempt_mut(n) {
            attempt.verdict.get_or_insert(verdict);
        }
        self.leg_gone(n, None, None, now, effects);
    }

    pub(super) fn give_up_leg(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if self.attempt(n).is_some_and(Attempt::is_pending) {
            self.hang_up_leg(AttemptOutcome::Failed, now, effects);
        }
    }

    /// Asterisk has dialled attempt n. Only from now on it says something that the client is silent: a slow node is none.
    pub(super) fn wait_from_now(&mut self, n: u32, now: Now) {
        if let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.leg == Leg::Dialling) {
            attempt.silent_since = Some(now.mono);
        }
    }

    pub(super) fn tick_dialling(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.ring_instead(now, effects);
        let Some(attempt) = self.current().filter(|a| a.leg != Leg::HangingUp) else { return };
        if now.mono < self.attempt_deadline(attempt) {
            return;
        }
        let (n, to_look) = (attempt.n, attempt.leg == Leg::Dialling && attempt.looked != Looked::Last);
        let silent = attempt.silent_by(self.limits.progress_timeout).is_some_and(|at| now.mono >= at);
        if now.mono >= self.setup_deadline() {
            self.give_up_on("setup_budget_spent", AttemptOutcome::NoAnswer, now, effects);
        } else if silent && to_look {
            self.look(n, now, effects);
        } else if silent {
            self.is_silent(n, now, effects);
        } else {
            self.give_up_on("ring_timeout", AttemptOutcome::NoAnswer, now, effects);
        }
    }

    /// A client is silent: is there an answer of which no event tells?
    fn look(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let timeout = self.limits.progress_timeout;
        if let Some(attempt) = self.attempt_mut(n) {
            let last = attempt.silent_since.is_some_and(|since| now.mono >= since + timeout);
            attempt.looked = if last { Looked::Last } else { Looked::Soon };
            effects.push(Effect::Ask(Op::Look(n)));
        }
    }

    /// Attempt n's client has shown nothing at all.
    pub(super) fn is_silent(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let shows_nothing = |attempt: &Attempt| attempt.n == n && attempt.is_pending() && attempt.ringing.is_none();
        if self.phase == Phase::Dialling && self.current().is_some_and(shows_nothing) {
            self.give_up_on("progress_timeout", AttemptOutcome::NoProgress, now, effects);
        }
    }

    fn give_up_on(&mut self, event: &str, verdict: AttemptOutcome, now: Now, effects: &mut Vec<Effect>) {
        let n = self.last_n();
        self.timeline.push(Moment { at: now, event: format!("{event}({n})") });
        self.hang_up_leg(verdict, now, effects);
    }
}
