//! PURE: how a call ends, and how everything of it is brought to be gone.

use std::time::Duration;

use super::{BEHIND, Call, CallerLeg, End, Phase};
use crate::calls::answer::Answer;
use crate::calls::attempt::{Attempt, Leg, Place};
use crate::calls::ending::{Ending, rejection};
use crate::calls::io::{Effect, Heed, Op};
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::id::BridgeKind;
use crate::mistakes::{Mistake, on};
use crate::routing::book::counts;

/// First wait before a hang-up that showed no effect is asked for again; doubles up to [`RETRY_MAX`].
pub(super) const RETRY_FIRST: Duration = Duration::from_secs(2);
/// How long a caller that hung up may take to be gone before it is hung up from here.
const LEAVING: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Q.850 "normal call clearing".
const NORMAL_CLEARING: i16 = 16;
/// SIP status of an INVITE that was cancelled (RFC 3261 section 9.2).
const REQUEST_TERMINATED: i16 = 487;
/// Asterisk answers the caller within milliseconds of the client's answer. A caller that went within this time without
/// having been answered had cancelled; later, its answer can only have been missed.
const ANSWER_CROSSING: Duration = Duration::from_secs(1);

impl Call {
    pub(super) fn caller_up(&mut self, now: Now) {
        match self.caller {
            CallerLeg::Waiting => {
                self.caller = CallerLeg::Up;
                self.talk_begins(now);
                let answer = Answer::of_caller(now, self.late);
                self.up_during = (self.phase == Phase::Dialling).then(|| (self.last_n(), answer));
                self.answered_before_hang_up(now);
            }
            CallerLeg::HangingUp(Some(_)) => self.answered_in_the_end(now),
            _ => {}
        }
    }

    /// The client's answer crossed our hanging it up and went through to the caller: they talk until our request takes effect.
    fn answered_before_hang_up(&mut self, now: Now) {
        let dialling = self.phase == Phase::Dialling;
        let dialling = dialling && !on(Mistake::CrossingAnswerIgnored);
        let sent = |attempt: &&mut Attempt| dialling && attempt.leg == Leg::HangingUp && !attempt.hang_up_unsent;
        let answer = Answer::of_caller(now, self.late);
        if let Some(attempt) = self.attempts.last_mut().filter(sent) {
            attempt.answered = Some(answer);
            attempt.verdict = None;
            self.phase = Phase::Talking;
        }
    }

    /// The client's answer, or our own request to answer the caller, crossed our hanging up of both, whatever we had meant to tell it.
    fn answered_in_the_end(&mut self, now: Now) {
        let hanging_up = |attempt: &&mut Attempt| {
            let asked_in = attempt.early || attempt.place != Place::Apart;
            attempt.leg == Leg::HangingUp && attempt.answered.is_none() && asked_in
        };
        let answer = Answer::of_caller(now, self.late);
        let Some(attempt) = self.attempts.last_mut().filter(hanging_up) else { return };
        attempt.answered = Some(answer);
        self.end_open = true;
        if let Some(end) = &mut self.end {
            end.sip = 200;
            end.ending = if end.ending == Ending::Operator { end.ending } else { Ending::Completed };
            end.at = now;
            end.within = self.late.or(end.within);
        }
    }

    /// The caller is on its way out: the leg need not wait until it is gone. Asterisk was seen to leave a channel that
    /// asked to go in its bridge; if this one is still there after a moment, it is hung up from here.
    pub(super) fn caller_hangs_up(
        &mut self,
        cause: Option<i16>,
        sip: Option<i16>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.caller_cause = self.caller_cause.or(cause);
        if sip == Some(REQUEST_TERMINATED) && self.caller == CallerLeg::Up {
            // Asterisk's channel was answered, but the INVITE had already been ended by the CANCEL: no 200 left.
            self.caller = CallerLeg::Waiting;
        }
        if sip == Some(REQUEST_TERMINATED) && matches!(self.caller, CallerLeg::HangingUp(_)) {
            self.had_cancelled(now);
        }
        if matches!(self.caller, CallerLeg::Waiting | CallerLeg::Up) {
            self.caller_leaves(now, effects);
            self.caller = CallerLeg::HangingUp(None);
            self.retry = Some((now.mono + LEAVING, RETRY_FIRST));
        }
    }

    pub(super) fn caller_gone(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.talk_is_over(now);
        if !self.caller_left_unwatched(now, effects) {
            self.caller_leaves(now, effects);
        }
        self.caller = CallerLeg::Gone;
    }

    pub(super) fn caller_leaves(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match self.caller {
            CallerLeg::Waiting => self.take_back_answer(now),
            CallerLeg::Up => self.was_up_already(),
            CallerLeg::HangingUp(_) | CallerLeg::Gone => {}
        }
        let ending = if self.phase == Phase::Talking { Ending::Completed } else { Ending::CallerCancelled };
        self.close(ending, HungUpBy::Caller, self.caller_cause, now);
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
    }

    /// The client answered, but the caller's CANCEL was faster than Asterisk's answer to it: the carrier heard 487.
    pub(super) fn take_back_answer(&mut self, now: Now) {
        if self.phase != Phase::Talking || self.withdraw_unjoined(AttemptOutcome::AnsweredLate) {
            return;
        }
        if self.current().is_some_and(|attempt| crossed(attempt, now)) {
            self.was_not_answered();
        }
    }

    /// The caller's CANCEL was faster than Asterisk's answer to it, and crossed our hanging up of both: the carrier heard 487.
    fn had_cancelled(&mut self, now: Now) {
        let Some(attempt) = self.attempts.last_mut().filter(|attempt| crossed(attempt, now)) else { return };
        answered_late(attempt);
        if let Some(end) = &mut self.end {
            (end.ending, end.by, end.sip) = (Ending::CallerCancelled, HungUpBy::Caller, 487);
            end.within = None;
        }
    }

    /// The client answered, and it is known that the caller was not.
    pub(super) fn was_not_answered(&mut self) {
        if let Some(attempt) = self.attempts.last_mut().filter(|_| self.phase == Phase::Talking) {
            answered_late(attempt);
            self.phase = Phase::Dialling;
        }
    }

    /// The client answered and has not come together with the caller, who was not answered: it counts as not answered. Returns
    /// whether that is so.
    pub(crate) fn withdraw_unjoined(&mut self, verdict: AttemptOutcome) -> bool {
        let unanswered = self.phase == Phase::Talking && self.caller != CallerLeg::Up;
        let Some(attempt) = self.attempts.last_mut().filter(|attempt| unanswered && attempt.awaited) else {
            return false;
        };
        attempt.awaited = false;
        attempt.answered = None;
        attempt.verdict = Some(verdict);
        self.phase = Phase::Dialling;
        true
    }

    pub(super) fn caller_leaving(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Dialling | Phase::Selecting) {
            self.close(Ending::CallerCancelled, HungUpBy::Caller, self.caller_cause, now);
            self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
            self.hang_up_caller(Some(self.limits.rejections.overloaded), now, effects);
        }
    }

    pub(super) fn fail(&mut self, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.phase, Phase::Dialling | Phase::Selecting) {
            self.reject(Ending::Failed, now, effects);
        }
    }

    /// Ends an unanswered call with the SIP status configured for this ending.
    pub(super) fn reject(&mut self, ending: Ending, now: Now, effects: &mut Vec<Effect>) {
        self.close(ending, HungUpBy::System, None, now);
        let sip = rejection(ending, &self.rejections());
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
        self.hang_up_caller(Some(sip), now, effects);
    }

    /// Settles how the call ended; only the first reason counts.
    pub(super) fn close(&mut self, ending: Ending, by: HungUpBy, cause: Option<i16>, now: Now) {
        self.phase = Phase::Clearing;
        let answered = matches!(ending, Ending::Completed | Ending::MaxDuration) || self.caller == CallerLeg::Up;
        let sip = match ending {
            _ if answered => 200,
            Ending::Lost => 0,
            _ => rejection(ending, &self.rejections()),
        };
        if on(Mistake::EndOverwritten) {
            self.end = None;
        }
        self.end.get_or_insert(End { ending, by, at: now, within: self.late, sip, cause });
    }

    pub(super) fn hang_up_leg(&mut self, verdict: AttemptOutcome, now: Now, effects: &mut Vec<Effect>) {
        let Some(attempt) = self.attempts.last_mut().filter(|a| !matches!(a.leg, Leg::Gone | Leg::HangingUp)) else {
            return;
        };
        if attempt.answered.is_none() {
            attempt.verdict.get_or_insert(verdict);
        }
        attempt.leg = Leg::HangingUp;
        effects.push(Effect::Ask(Op::HangUpLeg(attempt.n)));
        if on(Mistake::ReleasedBeforeGone) {
            effects.push(Effect::Release { n: attempt.n, counted: false });
        }
        self.retry = Some((now.mono + RETRY_FIRST, RETRY_FIRST));
    }

    pub(super) fn hang_up_caller(&mut self, sip: Option<u16>, now: Now, effects: &mut Vec<Effect>) {
        if matches!(self.caller, CallerLeg::Gone | CallerLeg::HangingUp(_)) {
            return;
        }
        // Normal clearing of a caller that is not answered yet would reach the carrier as 603, which is never retried.
        let unanswered = self.caller == CallerLeg::Waiting;
        let sip = unanswered.then(|| sip.unwrap_or(self.rejections().nobody_answered));
        self.caller = CallerLeg::HangingUp(sip);
        effects.push(Effect::Ask(Op::HangUpCaller(sip)));
        self.retry = Some((now.mono + RETRY_FIRST, RETRY_FIRST));
    }

    pub(super) fn shed(&mut self, now: Now, effects: &mut Vec<Effect>) {
        // Who hears the client already is left with it: its answer might be faster than our hanging up.
        let hears = self.phase == Phase::Dialling && self.current().is_some_and(|attempt| attempt.early);
        if matches!(self.phase, Phase::Selecting | Phase::Dialling) && !hears {
            self.reject(Ending::Overloaded, now, effects);
        }
    }

    /// The next process raises the limit of a caller that it goes on with. Should none come, the dialplan does when this has passed.
    pub(super) fn hand_over(&self, within: Duration, effects: &mut Vec<Effect>) {
        // Where the two hear each other already the client's answer is the caller's: a talk may begin while nobody is there.
        let together = self.attempts.last().is_some_and(|attempt| attempt.early);
        if self.phase == Phase::Dialling && self.caller != CallerLeg::Up && !together {
            effects.push(Effect::Ask(Op::LimitCaller(within)));
        }
    }

    /// Ends a talk from here.
    pub(super) fn end_talk(&mut self, ending: Ending, now: Now, effects: &mut Vec<Effect>) {
        self.close(ending, HungUpBy::System, Some(NORMAL_CLEARING), now);
        self.end_open = true;
        self.hang_up_leg(AttemptOutcome::Answered, now, effects);
        self.hang_up_caller(None, now, effects);
    }

    /// Ends the call whatever it is at; `endings` say how it ended, answered and not.
    pub(super) fn end_from_here(&mut self, endings: (Ending, Ending), now: Now, effects: &mut Vec<Effect>) {
        self.withdraw_unjoined(AttemptOutcome::Cancelled);
        match self.phase {
            Phase::Talking => self.end_talk(endings.0, now, effects),
            Phase::Selecting | Phase::Dialling => self.reject(endings.1, now, effects),
            Phase::New | Phase::Clearing | Phase::Done => {}
        }
    }

    /// The call is another controller's from now on. One whose caller is gone is not: the other finds nothing to record it by.
    pub(super) fn leave(&mut self, effects: &mut Vec<Effect>) {
        if self.phase == Phase::Done {
            return;
        }
        self.phase = Phase::Done;
        let recorded = self.caller == CallerLeg::Gone;
        for attempt in self.attempts.iter_mut().filter(|a| a.leg != Leg::Gone) {
            // Of one that the other records it is not known here how it comes out: it counts, so that no total is overshot.
            let answered = attempt.answered.is_some() || !recorded;
            let counted = counts(attempt.link.count_on, attempt.dialled(), answered);
            attempt.counted = counted || attempt.outcome() == AttemptOutcome::Unknown;
            effects.push(Effect::Leave { n: attempt.n, counted: attempt.counted });
        }
        effects.push(if recorded { Effect::Finish } else { Effect::Forget });
    }

    /// Nothing of this call can be alive any more.
    pub(super) fn expire(&mut self, heard_until: Now, now: Now, effects: &mut Vec<Effect>) {
        self.missing(heard_until, now, effects);
        let left: Vec<u32> = self.attempts.iter().filter(|a| a.leg != Leg::Gone).map(|a| a.n).collect();
        for n in left {
            self.leg_missing(n, heard_until, now, effects);
        }
    }

    /// Whether a talk has begun of which nobody knows that the caller was answered.
    pub(super) fn awaits_answer(&self) -> bool {
        self.phase == Phase::Talking && self.caller == CallerLeg::Waiting && self.answer_unknown
    }

    /// Asks once more for what has no evidence yet. Harmless where it happened: a channel that is gone answers 404. A leg whose
    /// hang-up never left may have been answered meanwhile: it is asked for only once the node was compared, or where it was late, once
    /// the events are read that wait as well.
    pub(super) fn ask_again(&mut self, compared: bool, now: Now, effects: &mut Vec<Effect>) {
        let mut asks = Vec::new();
        let due = |a: &&mut Attempt| a.leg == Leg::HangingUp && (compared || !a.hang_up_unsent || a.hang_up_late);
        for attempt in self.attempts.iter_mut().filter(due) {
            (attempt.hang_up_unsent, attempt.hang_up_late) = (false, false);
            attempt.absent |= compared;
            asks.push(Op::HangUpLeg(attempt.n));
        }
        if let CallerLeg::HangingUp(sip) = self.caller {
            asks.push(Op::HangUpCaller(sip));
        }
        if self.awaits_answer() {
            asks.push(Op::AnswerCaller);
        }
        if self.rings() && !std::mem::replace(&mut self.caller_rings, true) {
            asks.push(Op::RingCaller);
        }
        let until = match self.phase {
            Phase::Talking => self.talk_deadline(),
            Phase::Selecting | Phase::Dialling => Some(self.setup_deadline()),
            _ => None,
        };
        if let Some(until) = until.filter(|_| self.limit_owed) {
            self.limit_owed = false;
            asks.push(Op::LimitCaller(until.saturating_sub(now.mono) + BEHIND));
        }
        if self.phase == Phase::Talking && std::mem::take(&mut self.join_owed) {
            let (n, bridge) = (self.last_n(), self.caller_in.unwrap_or(BridgeKind::Native));
            asks.push(Op::Join { n, bridge, with_caller: false });
        }
        if self.phase == Phase::Talking && std::mem::take(&mut self.unmute_owed) {
            asks.push(Op::Unmute(self.last_n()));
        }
        let wait = self.retry.map_or(RETRY_FIRST, |(_, wait)| (wait * 2).min(RETRY_MAX));
        self.retry = (!asks.is_empty()).then(|| (now.mono + wait, wait));
        effects.extend(asks.into_iter().map(Effect::Ask));
    }

    /// What a comparison has to find to be news to this call: as long as [`Call::ask_again`] would ask for nothing, and how its channels stand
    /// is known, no more than another state.
    pub(crate) fn heed(&self) -> Heed {
        let owes = self.limit_owed || self.join_owed || self.unmute_owed || self.awaits_answer();
        let owes = owes || self.retry.is_some() || (self.rings() && !self.caller_rings);
        let Some((last, before)) = self.attempts.split_last() else { return Heed::Everything };
        let alone = before.iter().all(|attempt| attempt.leg == Leg::Gone);
        match (self.phase, self.caller, last.leg) {
            _ if owes || !alone => Heed::Everything,
            (Phase::Talking, CallerLeg::Up, Leg::Up) => Heed::Ends,
            (Phase::Dialling, CallerLeg::Waiting, Leg::Dialling)
                if last.ringing.is_some() && last.ring_by.is_none() =>
            {
                Heed::Answers
            }
            _ => Heed::Everything,
        }
    }

    pub(super) fn finish_if_gone(&mut self, effects: &mut Vec<Effect>) {
        let legs_gone = self.attempts.iter().all(|a| a.leg == Leg::Gone);
        if self.phase == Phase::Clearing && self.caller == CallerLeg::Gone && legs_gone {
            self.phase = Phase::Done;
            for kind in BridgeKind::ALL {
                if *self.bridges.asked(kind) {
                    effects.push(Effect::Ask(Op::DestroyBridge(kind)));
                }
            }
            effects.push(Effect::Finish);
        }
    }
}

/// Whether it was answered just now: a CANCEL may have crossed that.
fn crossed(attempt: &Attempt, now: Now) -> bool {
    attempt.answered.is_some_and(|answer| now.mono.saturating_sub(answer.at.mono) < ANSWER_CROSSING)
}

/// The client's answer did not reach the caller.
fn answered_late(attempt: &mut Attempt) {
    attempt.answered = None;
    attempt.verdict = Some(AttemptOutcome::AnsweredLate);
}
