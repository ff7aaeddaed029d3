//! PURE: what becomes of a call whose end, or whose client's end, nobody saw.
//!
//! What is known stays: a hang-up that was asked for, a caller's own, a leg that was seen to go. Only what is not known is called
//! lost, with an honest interval, and what may have been answered counts.

use std::time::Duration;

use super::{Call, CallerLeg, Phase};
use crate::calls::answer::{EVENTS_BEHIND, earlier, later};
use crate::calls::attempt::Leg;
use crate::calls::ending::Ending;
use crate::calls::io::{Effect, Input};
use crate::calls::late::Late;
use crate::cdr::record::{AttemptOutcome, HungUpBy};
use crate::clock::Now;
use crate::mistakes::{Mistake, on};

/// How soon after a call was taken over Asterisk shows that its caller had gone.
const SETTLED_WITHIN: Duration = Duration::from_secs(2);

impl Call {
    /// The caller's channel is gone, and nobody saw it go.
    pub(super) fn missing(&mut self, since: Now, now: Now, effects: &mut Vec<Effect>) {
        if self.caller == CallerLeg::Gone {
            return;
        }
        self.went_unheard(since);
        self.talk_is_over(now);
        if self.end.is_none() {
            self.was_up_already();
            if self.caller == CallerLeg::Waiting {
                // Never asked to be answered: whoever the client spoke to, it was not this caller.
                self.withdraw_unjoined(AttemptOutcome::AnsweredLate);
            }
            self.lose(HungUpBy::System, since, now);
            let verdict = self.may_have_talked().unwrap_or(AttemptOutcome::Cancelled);
            self.hang_up_leg(verdict, now, effects);
        }
        self.caller = CallerLeg::Gone;
    }

    /// A caller who hung up while no controller was there may be listed still: Asterisk can leave such a channel in its bridge until it is
    /// asked for something, and then it goes without a word of its hang-up. When it left is not known.
    pub(super) fn caller_left_unwatched(&mut self, now: Now, effects: &mut Vec<Effect>) -> bool {
        let fresh = self.unwatched.filter(|(_, adopted)| now.mono < *adopted + SETTLED_WITHIN);
        let Some((since, _)) = fresh.filter(|_| self.end.is_none() && self.caller == CallerLeg::Up) else {
            return false;
        };
        self.close(Ending::Lost, HungUpBy::Caller, self.caller_cause, since);
        if let Some(end) = &mut self.end {
            end.within = Some((since, now));
        }
        self.hang_up_leg(AttemptOutcome::Cancelled, now, effects);
        true
    }

    /// Attempt n's channel is gone, and nobody saw it go.
    pub(super) fn leg_missing(&mut self, n: u32, since: Now, now: Now, effects: &mut Vec<Effect>) {
        self.leg_went_unheard(n, since);
        let since = later(since, self.last_known());
        let since = later(since, self.attempt(n).map_or(since, |attempt| attempt.started));
        self.leg_ended(n, (None, None), Some(since), now, effects);
    }

    /// The call ended, at an unknown moment after `since` and before `now`.
    pub(super) fn lose(&mut self, by: HungUpBy, since: Now, now: Now) {
        let first = self.end.is_none();
        let since = later(since, self.last_known());
        self.close(Ending::Lost, by, None, since);
        if let Some(end) = self.end.as_mut().filter(|_| first) {
            end.within = Some((since, now));
        }
    }

    /// The last moment at which it is certain to have lived and stood as is known here. A call that is answered lives.
    pub(crate) fn last_known(&self) -> Now {
        let answer = self.current().and_then(|attempt| attempt.answered);
        answer.map_or(self.certain, |answer| later(self.certain, answer.after))
    }

    /// There is evidence that a party of a talk that was ended from here is gone. Where our hang-up took long to be carried out they may have
    /// talked on until now.
    pub(super) fn talk_is_over(&mut self, now: Now) {
        let until = self.late.map_or(now, |(_, until)| until);
        if let Some(end) = self.end.as_mut().filter(|_| std::mem::take(&mut self.end_open))
            && until.mono.saturating_sub(end.at.mono) > EVENTS_BEHIND
        {
            let (since, before) = end.within.unwrap_or((end.at, end.at));
            end.within = Some((since, later(before, until)));
        }
    }

    /// A party is gone, and nobody saw it go after this moment. If the talk ended later, for what else was heard or done, it may have been
    /// over before.
    pub(super) fn went_unheard(&mut self, heard_until: Now) {
        let Some(answer) = self.attempts.last().and_then(|attempt| attempt.answered) else { return };
        let since = later(heard_until, answer.after);
        if let Some(end) = self.end.as_mut().filter(|end| end.at.mono.saturating_sub(since.mono) > EVENTS_BEHIND) {
            let (first, before) = end.within.unwrap_or((end.at, end.at));
            end.within = Some((earlier(first, since), before));
        }
    }

    /// Attempt n's channel is gone, unless that was known, and nobody saw it go after this moment.
    fn leg_went_unheard(&mut self, n: u32, heard_until: Now) {
        if n == self.last_n() && self.attempt(n).is_some_and(|attempt| attempt.leg != Leg::Gone) {
            self.went_unheard(heard_until);
        }
    }

    /// There is no such channel to be hung up.
    pub(super) fn leg_not_found(&mut self, n: u32, heard_until: Now, now: Now, effects: &mut Vec<Effect>) {
        self.leg_went_unheard(n, heard_until);
        self.leg_absent(n, now, effects);
    }

    /// Likewise no caller.
    pub(super) fn caller_not_found(&mut self, heard_until: Now, now: Now, effects: &mut Vec<Effect>) {
        if self.caller != CallerLeg::Gone {
            self.went_unheard(heard_until);
        }
        self.caller_gone(now, effects);
    }

    /// The caller was seen answered while attempt n was dialled, which only this client's answer can have done: that went by while the
    /// node was away. The caller is not sold twice. Returns whether that is so.
    pub(super) fn came_up_during(&mut self, n: u32) -> bool {
        let up = self.up_during.filter(|(during, _)| self.phase == Phase::Dialling && *during == n);
        let Some((_, answer)) = up.filter(|_| !on(Mistake::CrossingAnswerIgnored)) else { return false };
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.leg != Leg::Gone) else { return false };
        attempt.answered = Some(answer);
        attempt.verdict = None;
        true
    }

    /// The caller goes. Was it answered by a client of whose own answer nothing has told?
    pub(super) fn was_up_already(&mut self) {
        if self.caller == CallerLeg::Up && self.came_up_during(self.last_n()) {
            self.phase = Phase::Talking;
        }
    }

    /// Takes what Asterisk told late. An answer, or an end, is taken for when it is likely to have happened; of an end the record says
    /// within which time. What leads to a further dial happens now.
    pub(super) fn step_late(&mut self, late: Late, input: Input, now: Now) -> Vec<Effect> {
        let goes_on = match input {
            Input::LegAnswered(_) | Input::CallerUp | Input::CallerHangup { .. } | Input::CallerGone => false,
            Input::LegGone { .. } => self.phase != Phase::Talking,
            _ => true,
        };
        let (heard, certain) = (self.heard, self.certain);
        let since = later(late.since, certain);
        let likely = later(late.likely.unwrap_or(now), heard);
        let effects = if goes_on {
            let effects = self.step(input, now);
            // It lived when it said so, not when that was read.
            self.heard = if self.heard.mono > heard.mono { likely } else { heard };
            effects
        } else {
            self.late = Some((since, now));
            let effects = self.step(input, likely);
            self.late = None;
            effects
        };
        // What follows it in the same burst, or in the same lists, happened in the same time.
        self.certain = if self.certain.mono > certain.mono { since } else { certain };
        effects
    }

    /// A leg whose caller went unseen rings on: nobody has answered it.
    pub(super) fn still_rings(&mut self, n: u32) {
        if let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.leg == Leg::HangingUp)
            && attempt.verdict == Some(AttemptOutcome::Unknown)
        {
            attempt.verdict = Some(AttemptOutcome::Cancelled);
        }
    }

    /// What is to be said of a client that was dialled and may have been answered while nobody looked.
    fn may_have_talked(&mut self) -> Option<AttemptOutcome> {
        let attempt = self.attempts.last_mut().filter(|attempt| attempt.answered.is_none())?;
        // One that was in the caller's bridge may have been answered before our hang-up.
        let crossed = attempt.hang_up_unsent || attempt.early;
        let open = attempt.leg == Leg::Dialling || (crossed && attempt.leg == Leg::HangingUp);
        let unseen = Some(AttemptOutcome::Unknown).filter(|_| open && attempt.dialled());
        if crossed {
            attempt.verdict = unseen.or(attempt.verdict);
        }
        unseen
    }
}
