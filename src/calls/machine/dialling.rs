//! PURE: from the decision over every attempt to an answer.

use std::time::Duration;

use super::clearing::RETRY_FIRST;
use super::{BEHIND, Call, CallerLeg, Moment, Phase, SETUP_COVERED};
use crate::calls::attempt::{Attempt, Leg};
use crate::calls::ending::Ending;
use crate::calls::io::{Effect, Failure, Op};
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::mistakes::{Mistake, on};
use crate::routing::book::{Offer, counts};
use crate::routing::decision::Decision;

/// How far events may be behind answers to requests, which travel another way.
const EVENTS_BEHIND: Duration = Duration::from_secs(1);

/// How long the caller's own event may take after the client's answer before Asterisk is asked to answer the caller. It comes within
/// 10 ms on a node that is not overloaded, and asking once more does no harm.
const PASSED_ON: Duration = Duration::from_millis(150);

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
        if !self.bridge {
            self.bridge = true;
            effects.push(Effect::Ask(Op::CreateBridge));
            effects.push(Effect::Ask(Op::AddCaller));
        }
    }

    pub(super) fn leg_ready(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let deadline = self.current().map_or(Duration::ZERO, |a| a.started.mono + a.ring_timeout);
        let (dialling, early_media) = (self.phase == Phase::Dialling, self.early_media());
        let Some(attempt) = self.attempt_mut(n) else { return };
        match attempt.leg {
            Leg::Creating if dialling && attempt.uncommitted && !on(Mistake::DialledBeforeKept) => attempt.ready = true,
            Leg::Creating if dialling => {
                attempt.dial();
                let timeout = deadline.saturating_sub(now.mono) + BEHIND;
                if early_media {
                    effects.push(Effect::Ask(Op::AddLeg(n)));
                }
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

    pub(super) fn leg_rings(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        self.still_rings(n);
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.leg == Leg::Dialling) else { return };
        attempt.ringing.get_or_insert(now);
        effects.extend(attempt.alive().map(|sign| Effect::Sign { n, sign }));
        // Once told, the caller's phone rings on through the attempts that follow.
        if !self.early_media() && !self.caller_rings {
            self.caller_rings = true;
            effects.push(Effect::Ask(Op::RingCaller));
        }
    }

    pub(super) fn leg_answered(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let (dialling, early_media) = (matches!(self.phase, Phase::Dialling | Phase::Talking), self.early_media());
        let max = self.max_duration();
        let Some(attempt) = self.attempt_mut(n) else { return };
        effects.extend(attempt.alive().map(|sign| Effect::Sign { n, sign }));
        match attempt.leg {
            // Answered while the node was away and our own hang-up could not be sent: they talk, so let them.
            Leg::Dialling | Leg::HangingUp if dialling && (attempt.leg == Leg::Dialling || attempt.hang_up_unsent) => {
                attempt.verdict = None;
                attempt.leg = Leg::Up;
                attempt.answered.get_or_insert(now);
                attempt.joining = !early_media;
                self.phase = Phase::Talking;
                // Else Asterisk passes the answer on by itself. The bridge first: the caller is not answered to nobody.
                let next = if early_media { Op::LimitCaller(max + BEHIND) } else { Op::AddLeg(n) };
                effects.push(Effect::Ask(next));
                if early_media && self.caller == CallerLeg::Waiting {
                    self.watch_answer(now);
                }
            }
            Leg::HangingUp if attempt.verdict == Some(AttemptOutcome::Cancelled) => {
                attempt.verdict = Some(AttemptOutcome::AnsweredLate);
            }
            _ => {}
        }
    }

    /// Asterisk does not always pass on the answer of a client that answers within 2 ms, and then nobody would ever tell the caller. As its
    /// sources read (`res_stasis.c`), the loop that carries out the leg's requests may take the answer off the channel itself and drop it.
    fn watch_answer(&mut self, now: Now) {
        self.answer_unknown = true;
        let by = now.mono + PASSED_ON;
        if self.retry.is_none_or(|(at, _)| at > by) {
            self.retry = Some((by, PASSED_ON));
        }
    }

    /// Attempt n's channel is in the bridge. Where it came there by its answer, the caller can be answered.
    pub(super) fn joined(&mut self, n: u32, effects: &mut Vec<Effect>) {
        let (talking, max) = (self.phase == Phase::Talking, self.max_duration());
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| talking && attempt.joining) else { return };
        attempt.joining = false;
        effects.push(Effect::Ask(Op::AnswerCaller));
        effects.push(Effect::Ask(Op::LimitCaller(max + BEHIND)));
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
            // Gone again before it was with the caller: nobody has talked.
            self.withdraw_unjoined(AttemptOutcome::Failed);
        }
        let caller_came_up = self.up_during.filter(|(during, _)| self.phase == Phase::Dialling && *during == n);
        let caller_came_up = caller_came_up.filter(|_| !on(Mistake::CrossingAnswerIgnored));
        let mut talking = self.phase == Phase::Talking;
        let Some(attempt) = self.attempt_mut(n) else { return };
        if attempt.leg == Leg::Gone {
            return;
        }
        let by = if attempt.leg == Leg::HangingUp { HungUpBy::System } else { HungUpBy::Client };
        if let Some((_, up)) = caller_came_up {
            // The caller is up, which only this client's answer can have done: both its answer and its end went by while the
            // node was away. The caller is not sold twice.
            attempt.answered = Some(up);
            attempt.verdict = None;
            talking = true;
        }
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
                Failure::Rejected(_) | Failure::NotSent => self.never_created(n, AttemptOutcome::Failed, now, effects),
                Failure::Unknown if on(Mistake::UnknownTakenForFailed) => {
                    self.never_created(n, AttemptOutcome::Failed, now, effects);
                }
                Failure::Unknown => self.give_up_leg(n, now, effects),
            },
            Op::AnswerCaller if self.is_refused_early(failure) => {
                self.answer_refused = true;
                self.retry = Some((now.mono + EVENTS_BEHIND, EVENTS_BEHIND));
            }
            Op::AnswerCaller if absent => self.caller_absent(now, effects),
            Op::AnswerCaller if self.may_be_answered(failure) => {
                // They may be talking. Asked for again: answering twice does no harm, and the answer or the event tells.
                self.answer_unknown = true;
                self.retry = self.retry.or(Some((now.mono + RETRY_FIRST, RETRY_FIRST)));
            }
            Op::AnswerCaller => self.fail_to_join(now, effects),
            Op::AddLeg(n) if self.phase == Phase::Talking && n == self.last_n() => {
                // The caller has heard nothing of it and goes on to the next client, unless something else has answered it.
                if self.withdraw_unjoined(AttemptOutcome::Failed) {
                    self.hang_up_leg(AttemptOutcome::Failed, now, effects);
                } else {
                    self.fail_to_join(now, effects);
                }
            }
            Op::AddLeg(n) | Op::Dial { n, .. } if !matches!(failure, Failure::Unknown) => {
                if let (Op::Dial { .. }, Some(attempt)) = (op, self.attempt_mut(n)) {
                    attempt.not_dialled();
                }
                self.give_up_leg(n, now, effects);
            }
            // Perhaps only now.
            Op::Dial { n, .. } => self.wait_from_now(n, now),
            Op::HangUpLeg(n) if failure == Failure::NotSent => {
                if let Some(attempt) = self.attempt_mut(n) {
                    attempt.hang_up_unsent = true;
                }
            }
            Op::LimitCaller(_) if !absent => {
                self.limit_owed = true;
                self.retry = self.retry.or(Some((now.mono + RETRY_FIRST, RETRY_FIRST)));
            }
            // It exists already, from a request whose outcome was not known (older versions say 500); if not, the caller cannot be added.
            Op::CreateBridge if matches!(failure, Failure::Rejected(409 | 500)) => {}
            // The caller may not be in the bridge: nobody must answer into it. The next attempt asks for both again.
            Op::CreateBridge | Op::AddCaller if failure == Failure::Unknown => {
                self.bridge = false;
                self.give_up_leg(self.last_n(), now, effects);
            }
            Op::HangUpLeg(n) if absent => self.leg_absent(n, now, effects),
            Op::HangUpCaller(_) if absent => self.caller_gone(now, effects),
            // "Channel not found" and "not in Stasis": the caller is on its way out.
            Op::AddCaller if matches!(failure, Failure::Rejected(400 | 404 | 422)) => self.caller_leaving(now, effects),
            Op::CreateBridge | Op::AddCaller => self.fail(now, effects),
            _ => {}
        }
    }

    /// There is no such channel any more. What it did at last may still be on its way here: if it was answered, no other client is
    /// dialled. So that is waited for, unless the node was compared meanwhile.
    fn leg_absent(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
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
            self.missing(self.heard, now, effects);
        } else {
            self.caller_gone(now, effects);
        }
    }

    /// Whether the caller may have been answered although a request to do so did not succeed.
    fn may_be_answered(&self, failure: Failure) -> bool {
        let asked = self.phase == Phase::Talking && self.current().is_some_and(|a| !a.joining);
        asked && (failure == Failure::Unknown || (self.answer_unknown && failure == Failure::NotSent))
    }

    /// Whether a caller whom Asterisk may have answered by itself cannot be answered for the first time. It was answered and went, or went
    /// unanswered: the events that tell may still be on their way here, and are waited for.
    fn is_refused_early(&self, failure: Failure) -> bool {
        matches!(failure, Failure::Rejected(_)) && !self.answer_refused && self.awaits_answer()
    }

    /// The client has answered and cannot be brought together with the caller: nobody is left to talk to silence.
    fn fail_to_join(&mut self, now: Now, effects: &mut Vec<Effect>) {
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
        let Some(attempt) = self.current().filter(|a| a.leg != Leg::HangingUp) else { return };
        if now.mono < self.attempt_deadline(attempt) {
            return;
        }
        let silent = attempt.silent_by(self.limits.progress_timeout).is_some_and(|at| now.mono >= at);
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
}
