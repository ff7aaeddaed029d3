//! PURE: how client and caller come together: when, in which bridge, and what the caller hears until then.
//!
//! A leg that is in a bridge with the caller before the answer gets packets of Asterisk's core first and, where the bridge then hands
//! packets on as they are, the other party's own ones: another SSRC and sequence after a packet or two, on which phones were measured to
//! play nothing any more. So the parties meet when the client is first heard, in a bridge that keeps to the core, or else at the answer:
//! the caller is answered, the leg joins it, and until both are there the leg is muted, so that the core passes nothing on. That the
//! leg is heard again makes Asterisk look at the bridge once more, which is native from then on.

use std::time::Duration;

use super::{BEHIND, Call, CallerLeg, Phase};
use crate::calls::answer::Answer;
use crate::calls::attempt::{Attempt, Leg, Looked, Place};
use crate::calls::ending::Ending;
use crate::calls::io::{Effect, Failure, Op};
use crate::cdr::record::AttemptOutcome;
use crate::clock::Now;
use crate::id::BridgeKind;

/// How long the caller's own event may take after the client's answer before Asterisk is asked to answer the caller. It comes within
/// 10 ms on a node that is not overloaded, and asking once more does no harm.
const PASSED_ON: Duration = Duration::from_millis(150);
/// How long the early media that a client announced (183) may take to be heard before the caller hears ringing instead.
const RING_INSTEAD: Duration = Duration::from_millis(250);

/// When a client's channel and the caller's come together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meeting {
    /// When the client answers. Until then the caller hears ringing of Asterisk's own.
    AtAnswer,
    /// When the client is first heard, or else when it answers.
    AtSound,
    /// Before the dial: ringing, early media and answer then pass from leg to caller inside Asterisk. For an Asterisk that cannot be
    /// asked to tell a caller of early media.
    BeforeDial,
}

impl Call {
    fn meeting(&self) -> Meeting {
        match self.campaign.as_ref().is_none_or(|campaign| campaign.early_media) {
            false => Meeting::AtAnswer,
            true if self.facts.can_progress => Meeting::AtSound,
            true => Meeting::BeforeDial,
        }
    }

    /// The caller waits in a bridge from the first attempt on, so that nothing but the leg has to come into it at the answer.
    pub(super) fn make_bridges(&mut self, effects: &mut Vec<Effect>) {
        if self.caller_in.is_none() {
            let kind = match self.meeting() {
                Meeting::BeforeDial => BridgeKind::Proxied,
                Meeting::AtAnswer | Meeting::AtSound => BridgeKind::Native,
            };
            self.make_bridge(kind, effects);
            effects.push(Effect::Ask(Op::AddCaller(kind)));
            self.caller_in = Some(kind);
        }
    }

    /// Whether the bridge is there is not known: the next attempt asks for it, and for the caller in it, again.
    pub(super) fn forget_bridge(&mut self, kind: BridgeKind) {
        *self.bridges.asked(kind) = false;
        self.caller_in = self.caller_in.filter(|bridge| *bridge != kind);
    }

    fn make_bridge(&mut self, kind: BridgeKind, effects: &mut Vec<Effect>) {
        if !std::mem::replace(self.bridges.asked(kind), true) {
            effects.push(Effect::Ask(Op::CreateBridge(kind)));
        }
    }

    /// Attempt n is about to be dialled.
    pub(super) fn meet_before_dial(&mut self, n: u32, effects: &mut Vec<Effect>) {
        if self.meeting() != Meeting::BeforeDial {
            return;
        }
        if let Some(attempt) = self.attempt_mut(n) {
            // Its dial goes the same way, behind this: whether it is in the bridge need not be waited for, and whose answer is lost on the
            // way back must not keep the caller from hearing the client (simulation, seed 2337).
            (attempt.place, attempt.early) = (Place::Joined, true);
            effects.push(Effect::Ask(Op::Join { n, bridge: BridgeKind::Proxied, with_caller: false }));
        }
    }

    /// Attempt n's client shows that it lives.
    fn shows_life(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) -> bool {
        self.still_rings(n);
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.leg == Leg::Dialling) else { return false };
        attempt.ringing.get_or_insert(now);
        effects.extend(attempt.alive().map(|sign| Effect::Sign { n, sign }));
        true
    }

    pub(super) fn leg_rings(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if self.shows_life(n, now, effects) && self.meeting() != Meeting::BeforeDial {
            self.ring_caller(effects);
        }
    }

    /// Once told, the caller's phone rings on through the attempts that follow.
    fn ring_caller(&mut self, effects: &mut Vec<Effect>) {
        if !std::mem::replace(&mut self.caller_rings, true) {
            effects.push(Effect::Ask(Op::RingCaller));
        }
    }

    /// Whether the caller shall hear ringing now: a client shows that it lives, and is not heard itself.
    pub(super) fn rings(&self) -> bool {
        let rings = |attempt: &Attempt| {
            let lives = attempt.leg == Leg::Dialling && attempt.ringing.is_some() && attempt.ring_by.is_none();
            lives && attempt.place == Place::Apart
        };
        self.phase == Phase::Dialling && self.current().is_some_and(rings)
    }

    pub(super) fn leg_progresses(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if !self.shows_life(n, now, effects) {
            return;
        }
        match self.meeting() {
            Meeting::BeforeDial => {}
            Meeting::AtAnswer => self.ring_caller(effects),
            Meeting::AtSound => {
                let Some(attempt) = self.attempt_mut(n) else { return };
                if attempt.place == Place::Apart && !std::mem::replace(&mut attempt.listening, true) {
                    attempt.ring_by = Some(now.mono + RING_INSTEAD);
                    effects.push(Effect::Ask(Op::Listen(n)));
                    self.make_bridge(BridgeKind::Proxied, effects);
                }
            }
        }
    }

    /// What was announced is not heard: the caller hears ringing instead.
    pub(super) fn ring_instead(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = |attempt: &&mut Attempt| attempt.ring_by.is_some_and(|at| now.mono >= at);
        if let Some(attempt) = self.attempts.last_mut().filter(due) {
            attempt.ring_by = None;
            self.ring_caller(effects);
        }
    }

    /// Attempt n's client is heard before it has answered: so it shall be by the caller.
    pub(super) fn leg_sounds(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        if !self.shows_life(n, now, effects) {
            return;
        }
        let with_caller = self.caller_in != Some(BridgeKind::Proxied);
        let listens = |attempt: &&mut Attempt| attempt.listening && attempt.place == Place::Apart;
        let Some(attempt) = self.attempt_mut(n).filter(listens) else { return };
        (attempt.listening, attempt.ring_by) = (false, None);
        (attempt.place, attempt.early) = (Place::Joining, true);
        let rang = std::mem::take(&mut self.caller_rings);
        if with_caller {
            effects.push(Effect::Ask(Op::Progress));
        } else if rang {
            effects.push(Effect::Ask(Op::StopRinging));
        }
        effects.push(Effect::Ask(Op::Join { n, bridge: BridgeKind::Proxied, with_caller }));
        effects.push(Effect::Ask(Op::StopListening(n)));
        self.caller_in = Some(BridgeKind::Proxied);
    }

    pub(super) fn leg_answered(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let dialling = matches!(self.phase, Phase::Dialling | Phase::Talking);
        // The caller may be known to be up already, which only this client can have done.
        let up = self.up_during.filter(|(during, _)| *during == n && self.caller == CallerLeg::Up);
        let answer = up.map_or_else(|| Answer::of_client(now, self.late), |(_, up)| up);
        let late = self.late.is_some();
        let Some(attempt) = self.attempt_mut(n) else { return };
        effects.extend(attempt.alive().map(|sign| Effect::Sign { n, sign }));
        match attempt.leg {
            // Answered while the node was away and our own hang-up could not be sent: they talk, so let them.
            Leg::Dialling | Leg::HangingUp if dialling && (attempt.leg == Leg::Dialling || attempt.hang_up_unsent) => {
                attempt.verdict = None;
                attempt.leg = Leg::Up;
                attempt.ring_by = None;
                attempt.answered.get_or_insert(answer);
                self.phase = Phase::Talking;
                self.meet_at_answer(n, now, effects);
            }
            // Found to have been answered before our hang-up, in the caller's bridge: Asterisk has answered the caller, too.
            Leg::HangingUp if dialling && late && attempt.early => {
                attempt.verdict = None;
                attempt.answered.get_or_insert(answer);
                self.phase = Phase::Talking;
            }
            Leg::HangingUp if attempt.verdict == Some(AttemptOutcome::Cancelled) => {
                attempt.verdict = Some(AttemptOutcome::AnsweredLate);
            }
            _ => {}
        }
    }

    /// Whether the caller is known to be answered by this attempt's client: its answer alone may turn out to be none.
    pub(crate) fn is_answered_by(&self, attempt: &Attempt) -> bool {
        attempt.answered.is_some() && (self.caller == CallerLeg::Up || self.phase != Phase::Talking)
    }

    /// Attempt n was answered.
    fn meet_at_answer(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let native = self.caller_in != Some(BridgeKind::Proxied);
        let Some(attempt) = self.attempt_mut(n) else { return };
        let listening = std::mem::take(&mut attempt.listening);
        match attempt.place {
            Place::Joined => {
                self.limit_talk(effects);
                if self.caller == CallerLeg::Waiting {
                    self.watch_answer(now);
                }
            }
            // It has been heard. Whether the answer came behind it into the bridge, and so to the caller, is not known.
            Place::Joining => attempt.awaited = true,
            Place::Apart => {
                attempt.awaited = true;
                if listening {
                    effects.push(Effect::Ask(Op::StopListening(n)));
                }
                if native {
                    effects.push(Effect::Ask(Op::Mute(n)));
                }
                effects.push(Effect::Ask(Op::LookForMedia(n)));
            }
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

    /// Attempt n's channel is in the bridge. Who was heard before the answer, and then answered, may not have been passed on.
    pub(super) fn joined(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let (talking, answer_unknown) = (self.phase == Phase::Talking, self.answer_unknown);
        let Some(attempt) = self.attempt_mut(n).filter(|attempt| attempt.place == Place::Joining) else { return };
        attempt.place = Place::Joined;
        if talking && std::mem::take(&mut attempt.awaited) {
            effects.push(Effect::Ask(Op::AnswerCaller));
            self.limit_talk(effects);
        } else if let Some(answer) = attempt.answered.as_mut().filter(|_| talking && !answer_unknown) {
            // The request to answer the caller went before this one, and did not fail.
            answer.was_carried_out(now);
        }
    }

    /// Asterisk ends a talk by itself, should nobody be there to do it.
    fn limit_talk(&self, effects: &mut Vec<Effect>) {
        effects.push(Effect::Ask(Op::LimitCaller(self.max_duration() + BEHIND)));
    }

    /// Whether what attempt n's client answered can be heard. A 200 without SDP, or with one that Asterisk cannot use, is no answer: Asterisk
    /// says that the channel is up, and ends it a moment later. The caller goes on to the next client, unless something else has answered it.
    pub(super) fn leg_media(&mut self, n: u32, usable: bool, now: Now, effects: &mut Vec<Effect>) {
        let awaited = |attempt: &Attempt| attempt.awaited && attempt.place == Place::Apart;
        if self.phase != Phase::Talking || !self.attempt(n).is_some_and(awaited) {
            return;
        }
        if usable {
            self.answer_and_join(n, now, effects);
        } else if self.withdraw_unjoined(AttemptOutcome::Misconfigured) {
            self.hang_up_leg(AttemptOutcome::Misconfigured, now, effects);
        } else {
            self.fail_to_join(now, effects);
        }
    }

    fn answer_and_join(&mut self, n: u32, now: Now, effects: &mut Vec<Effect>) {
        let (bridge, with_caller) = (self.caller_in.unwrap_or(BridgeKind::Native), self.caller_in.is_none());
        let up = self.caller == CallerLeg::Up;
        if let Some(attempt) = self.attempt_mut(n) {
            (attempt.awaited, attempt.place) = (false, Place::Joining);
            // The caller is answered by request, and not before that.
            let before = attempt.answered.filter(|_| up);
            // Only its answer can have brought the caller up meanwhile: they were together then, whatever became of the request.
            let passed_on = |answer: &Answer| attempt.early && answer.before.is_some();
            attempt.answered = Some(match before {
                Some(answer) if passed_on(&answer) => answer,
                Some(answer) => answer.joins(now),
                None => Answer::of_client(now, None),
            });
        }
        self.caller_in = Some(bridge);
        effects.push(Effect::Ask(Op::AnswerCaller));
        self.make_bridge(bridge, effects);
        effects.push(Effect::Ask(Op::Join { n, bridge, with_caller }));
        if bridge == BridgeKind::Native {
            effects.push(Effect::Ask(Op::Unmute(n)));
        }
        self.limit_talk(effects);
    }

    /// The caller is answered, and the talk begins: while Asterisk is away the client may have waited for it.
    pub(super) fn talk_begins(&mut self, now: Now) {
        let (talking, late, behind) = (self.phase == Phase::Talking, self.late, self.answer_unknown);
        if let Some(answer) = self.attempts.last_mut().filter(|_| talking).and_then(|it| it.answered.as_mut()) {
            answer.caller_is_up(now, late, behind);
        }
    }

    /// Attempt n's channel could not be brought together with the caller.
    pub(super) fn not_joined(&mut self, op: Op, failure: Failure, now: Now, effects: &mut Vec<Effect>) {
        let Op::Join { n, with_caller, .. } = op else { return };
        if with_caller && matches!(failure, Failure::Rejected(_)) {
            // Where the caller is now is not known.
            self.caller_in = None;
        }
        let (current, before_dial) = (n == self.last_n(), self.meeting() == Meeting::BeforeDial);
        if let Some(attempt) = self.attempt_mut(n).filter(|_| failure != Failure::Unknown) {
            // Its answer goes to nobody.
            attempt.early = false;
        }
        match self.phase {
            Phase::Talking if current => {
                // The caller has heard nothing of it and goes on to the next client, unless something else has answered it.
                if self.withdraw_unjoined(AttemptOutcome::Failed) {
                    self.hang_up_leg(AttemptOutcome::Failed, now, effects);
                } else if self.current().is_some_and(|attempt| attempt.early) {
                    self.fail_to_join(now, effects);
                } else if self.answer_refused && self.caller == CallerLeg::Waiting {
                    self.was_not_answered();
                    self.fail_to_join(now, effects);
                } else if matches!(failure, Failure::Rejected(_)) {
                    // The request to answer the caller went before this one and did not fail: it is up, which its event is about to say.
                    // Where an earlier one's outcome is not known, that may have answered it, and a party may be gone for as long.
                    let since = self.last_known();
                    let unseen = self.answer_unknown.then_some((since, now));
                    self.caller = CallerLeg::Up;
                    if let Some(answer) = self.attempts.last_mut().and_then(|attempt| attempt.answered.as_mut()) {
                        answer.was_carried_out(now);
                    }
                    self.end_talk(Ending::Failed, now, effects);
                    if let Some(end) = &mut self.end {
                        end.within = end.within.or(unseen);
                    }
                } else {
                    // They may be together, and the caller may be answered: both are asked for again, which does no harm.
                    (self.join_owed, self.answer_unknown) = (true, true);
                    self.unmute_owed = true;
                    self.ask_soon(now);
                }
            }
            _ if before_dial && failure == Failure::Unknown => {}
            _ if before_dial => self.give_up_leg(n, now, effects),
            // It is not heard before it answers; then it is tried again.
            _ => {
                if let Some(attempt) = self.attempt_mut(n) {
                    attempt.place = Place::Apart;
                }
                if self.phase == Phase::Dialling && current {
                    self.ring_caller(effects);
                }
            }
        }
    }

    /// Asterisk does not tell when attempt n's client is first heard: it is taken for heard now, unless its channel is gone.
    pub(super) fn cannot_listen(&mut self, n: u32, failure: Failure, now: Now, effects: &mut Vec<Effect>) {
        match failure {
            Failure::Rejected(404) | Failure::NotSent | Failure::Late => {
                if let Some(attempt) = self.attempt_mut(n) {
                    attempt.listening = false;
                }
            }
            Failure::Rejected(_) | Failure::Unknown => self.leg_sounds(n, now, effects),
        }
    }

    /// What was seen of a silent client: 181, 182 and the like say that the call is in its hands.
    pub(super) fn leg_seen(&mut self, n: u32, sip: Option<u16>, now: Now, effects: &mut Vec<Effect>) {
        let looked = self.attempt(n).map(|attempt| attempt.looked);
        if sip.is_some_and(|sip| (101..=199).contains(&sip)) {
            self.leg_rings(n, now, effects);
        } else if looked == Some(Looked::Last) {
            self.is_silent(n, now, effects);
        }
    }
}
