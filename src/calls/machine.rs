//! PURE: the life of one call. `step` takes what happened and says what to do; it does nothing itself.
//!
//! States: `new` → `selecting` → `dialling` → (`selecting` → `dialling`)* → `talking` → `clearing` → `done`,
//! with `clearing` reachable from each. A call is done only when there is evidence that its caller and every leg are gone.

mod clearing;
mod dialling;
mod meeting;
mod unseen;

use std::sync::Arc;
use std::time::Duration;

use super::answer::Answer;
use super::attempt::{Attempt, Leg};
use super::ending::Ending;
use super::facts::{CallFacts, Limits};
use super::io::{Effect, Input};
use super::live::State;
use crate::cdr::record::{CallRecord, HungUpBy};
use crate::clock::Now;
use crate::config::Rejections;
use crate::id::{BridgeKind, LinkId};
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
    /// When; where nobody saw it, the last moment at which the call was known to live.
    pub(crate) at: Now,
    /// Where nobody saw it, or it was read late: the last moment at which the call was known to live, and the first evidence that it was gone.
    pub(crate) within: Option<(Now, Now)>,
    /// SIP status the caller was or will be given; 0 where that is not known.
    pub(crate) sip: u16,
    pub(crate) cause: Option<i16>,
}

/// One line of the call's timeline.
#[derive(Debug, Clone)]
pub(crate) struct Moment {
    pub(crate) at: Now,
    pub(crate) event: String,
}

/// Which bridges were asked for.
#[derive(Debug, Clone, Copy, Default)]
struct Bridges {
    native: bool,
    proxied: bool,
}

impl Bridges {
    /// Whether that of this kind was.
    fn asked(&mut self, kind: BridgeKind) -> &mut bool {
        match kind {
            BridgeKind::Native => &mut self.native,
            BridgeKind::Proxied => &mut self.proxied,
        }
    }
}

/// One call.
#[derive(Debug)]
pub struct Call {
    pub(crate) facts: CallFacts,
    limits: Limits,
    phase: Phase,
    pub(crate) arrived: Now,
    /// The last sign of life that Asterisk gave of it, when it is likely to have given it.
    heard: Now,
    /// The last moment at which it is certain to have stood as is known here.
    certain: Now,
    /// A talk was ended from here, and nothing tells yet that a party of it has gone.
    pub(crate) end_open: bool,
    /// Of a call that was taken over: when it was last known to live before, and when it was taken over.
    unwatched: Option<(Now, Duration)>,
    /// While an input is taken that was read late: within which time it happened.
    late: Option<(Now, Now)>,
    pub(crate) did: Option<Did>,
    pub(crate) campaign: Option<Arc<Campaign>>,
    pub(crate) trace: Option<Trace>,
    pub(crate) plan: Vec<LinkId>,
    pub(crate) attempts: Vec<Attempt>,
    /// Attempts that an earlier run of the controller made: their numbers, and channel ids, are taken.
    earlier_attempts: u32,
    /// What an earlier run noted of the call.
    pub(crate) before: Option<Box<CallRecord>>,
    /// Where in the plan an earlier run's selection goes on.
    resume_from: Option<usize>,
    bridges: Bridges,
    /// Which of them the caller is in, or was asked into.
    caller_in: Option<BridgeKind>,
    /// Asterisk did not take the caller's time limit yet.
    limit_owed: bool,
    /// The client that talks may still be muted.
    unmute_owed: bool,
    /// It may not be in the bridge yet.
    join_owed: bool,
    /// The client is in the bridge; whether Asterisk answered the caller is not known.
    answer_unknown: bool,
    /// Asterisk would not answer the caller: what became of it is on its way here.
    answer_refused: bool,
    caller: CallerLeg,
    /// The caller was told to hear ringing.
    caller_rings: bool,
    /// The attempt that was dialled when the caller was seen answered without an answer of that attempt having been taken, and when.
    up_during: Option<(u32, Answer)>,
    caller_cause: Option<i16>,
    pub(crate) end: Option<End>,
    pub(crate) timeline: Vec<Moment>,
    /// When to ask again for what is being torn down, and how long to wait after that.
    retry: Option<(Duration, Duration)>,
}

/// A longer set-up than this needs a longer time limit of the caller's channel than the dialplan gives it
/// (`CAPCONDUIT_SETUP_SECONDS`, 300).
const SETUP_COVERED: Duration = Duration::from_secs(280);
/// Margin behind the last of Asterisk's own timers.
pub(crate) const EXPIRY: Duration = Duration::from_secs(600);
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
            heard: now,
            certain: now,
            end_open: false,
            unwatched: None,
            late: None,
            did: None,
            campaign: None,
            trace: None,
            plan: Vec::new(),
            attempts: Vec::new(),
            earlier_attempts,
            before: None,
            resume_from: None,
            bridges: Bridges::default(),
            caller_in: None,
            limit_owed: false,
            unmute_owed: false,
            join_owed: false,
            answer_unknown: false,
            answer_refused: false,
            caller: CallerLeg::Waiting,
            caller_rings: false,
            up_during: None,
            caller_cause: None,
            end: None,
            timeline: Vec::new(),
            retry: None,
        }
    }

    /// A call found talking: its parties were bridged by an earlier run of the controller. `decision` tells whose it is
    /// by today's configuration, `before` what that run noted.
    #[must_use]
    pub(crate) fn adopt(
        facts: CallFacts,
        limits: Limits,
        (arrived, lived): (Now, Now),
        decision: Decision,
        (attempt, bridge): (Attempt, BridgeKind),
        before: Option<Box<CallRecord>>,
        now: Now,
    ) -> Self {
        let adopted = Moment { at: now, event: format!("adopted while talking({})", attempt.n) };
        let mut bridges = Bridges::default();
        *bridges.asked(bridge) = true;
        Self {
            phase: Phase::Talking,
            did: decision.did,
            campaign: decision.campaign,
            attempts: vec![attempt],
            heard: now,
            certain: now,
            unwatched: Some((lived, now.mono)),
            before,
            bridges,
            caller_in: Some(bridge),
            caller: CallerLeg::Up,
            timeline: vec![adopted],
            // Whether the earlier run came to do either is not known.
            limit_owed: true,
            unmute_owed: true,
            retry: Some((now.mono, Duration::from_secs(2))),
            ..Self::new(facts, limits, 0, arrived)
        }
    }

    /// A call that an earlier run left unanswered. Its selection goes on at position `from` of the plan, or begins anew.
    #[must_use]
    pub(crate) fn resume(
        facts: CallFacts,
        limits: Limits,
        arrived: Now,
        decision: Decision,
        before: Box<CallRecord>,
        plan: Option<(Vec<LinkId>, usize)>,
        now: Now,
    ) -> Self {
        let earlier_attempts = before.attempts.iter().map(|attempt| attempt.number).max().unwrap_or(0);
        let (plan, resume_from) = plan.map_or_else(Default::default, |(plan, from)| (plan, Some(from)));
        let resumed = Moment { at: now, event: "taken over by another run".to_owned() };
        Self {
            did: decision.did,
            campaign: decision.campaign,
            plan,
            resume_from,
            before: Some(before),
            timeline: vec![resumed],
            ..Self::new(facts, limits, earlier_attempts, arrived)
        }
    }

    /// The same call, whose next attempt has a number above this one.
    #[must_use]
    pub(crate) fn numbered_after(mut self, earlier_attempts: u32) -> Self {
        self.earlier_attempts = self.earlier_attempts.max(earlier_attempts);
        self
    }

    /// Whether an earlier run, or another controller, began it.
    pub(crate) fn is_taken_over(&self) -> bool {
        self.before.is_some()
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

    /// Where the call stands, for people.
    #[must_use]
    pub(crate) fn state(&self) -> State {
        match self.phase {
            Phase::New | Phase::Selecting => State::Selecting,
            Phase::Dialling if self.current().is_some_and(|a| a.ringing.is_some()) => State::Ringing,
            Phase::Dialling => State::Dialling,
            Phase::Talking => State::Talking,
            Phase::Clearing | Phase::Done => State::Clearing,
        }
    }

    /// The inbound channel, as far as is known.
    #[must_use]
    pub(crate) fn caller_leg(&self) -> CallerLeg {
        self.caller
    }

    /// The call as it was when it arrived, with how it ended.
    #[must_use]
    pub(crate) fn bare(&self) -> Self {
        Self { end: self.end, ..Self::new(self.facts.clone(), self.limits, self.earlier_attempts, self.arrived) }
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

    /// What this call's caller is given who reaches nobody: the campaign's word before the site's.
    fn rejections(&self) -> Rejections {
        let site = self.limits.rejections;
        let Some(own) = self.campaign.as_ref().map(|campaign| campaign.rejections) else { return site };
        Rejections {
            inactive_campaign: own.inactive_campaign.unwrap_or(site.inactive_campaign),
            no_active_link: own.no_active_link.unwrap_or(site.no_active_link),
            all_full: own.all_full.unwrap_or(site.all_full),
            nobody_answered: own.nobody_answered.unwrap_or(site.nobody_answered),
            ..site
        }
    }

    /// Takes one input; says what is to be done, in order. After the end: nothing.
    #[must_use]
    pub fn step(&mut self, input: Input, now: Now) -> Vec<Effect> {
        let mut effects = Vec::new();
        if self.phase == Phase::Done {
            return effects;
        }
        let input = match input {
            Input::Late(told) => return self.step_late(told.0, told.1, now),
            input => input,
        };
        self.note(&input, now);
        if input.is_sign_of_life() {
            (self.heard, self.certain) = (now, now);
        }
        match input {
            Input::Arrived { overloaded } => self.arrived(overloaded, now, &mut effects),
            Input::Merged { .. } => self.merged(now, &mut effects),
            Input::Routed(routed) => {
                let (decision, offer) = *routed;
                self.routed(decision, offer, now, &mut effects);
            }
            Input::Taken(Some(offer)) => self.start_attempt(*offer, now, &mut effects),
            Input::Taken(None) => self.reject(Ending::NobodyAnswered, now, &mut effects),
            Input::Committed(n) => self.committed(n, now, &mut effects),
            Input::NotCommitted(n) => self.not_committed(n, now, &mut effects),
            Input::LegReady(n) => self.leg_ready(n, now, &mut effects),
            Input::LegRinging(n) => self.leg_rings(n, now, &mut effects),
            Input::LegProgress(n) => self.leg_progresses(n, now, &mut effects),
            Input::LegSounds(n) => self.leg_sounds(n, now, &mut effects),
            Input::LegSeen { n, sip } => self.leg_seen(n, sip, now, &mut effects),
            Input::LegAnswered(n) => self.leg_answered(n, now, &mut effects),
            Input::Joined(n) => self.joined(n, now, &mut effects),
            Input::LegMedia { n, usable } => self.leg_media(n, usable, now, &mut effects),
            Input::Dialled(n) => self.wait_from_now(n, now),
            Input::LegGone { n, cause, sip } => self.leg_gone(n, cause, sip, now, &mut effects),
            Input::CallerUp => self.caller_up(now),
            Input::CallerHangup { cause, sip } => self.caller_hangs_up(cause, sip, now, &mut effects),
            Input::CallerGone => self.caller_gone(now, &mut effects),
            Input::Missing { since } => self.missing(since, now, &mut effects),
            Input::LegMissing { n, since } => self.leg_missing(n, since, now, &mut effects),
            Input::RequestFailed(op, failure) => self.request_failed(op, failure, now, &mut effects),
            Input::LegAbsent { n, heard_until } => self.leg_not_found(n, heard_until, now, &mut effects),
            Input::CallerAbsent { heard_until } => self.caller_not_found(heard_until, now, &mut effects),
            Input::Shed => self.shed(now, &mut effects),
            Input::HandOver(within) => self.hand_over(within, &mut effects),
            Input::Operator => self.end_from_here((Ending::Operator, Ending::Operator), now, &mut effects),
            // Who talks now is not known; the parties that are left hear nothing.
            Input::Replaced(_) => self.end_from_here((Ending::Completed, Ending::Failed), now, &mut effects),
            Input::Yield => self.leave(&mut effects),
            Input::NodeUp => self.ask_again(true, now, &mut effects),
            Input::Tick => self.tick(now, &mut effects),
            Input::Expired { heard_until } => self.expire(heard_until, now, &mut effects),
            // Unpacked above.
            Input::Late(..) => {}
        }
        self.finish_if_gone(&mut effects);
        effects
    }

    /// The monotonic time at which the machine wants an [`Input::Tick`].
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let current = match self.phase {
            Phase::Dialling => self.current().filter(|a| a.leg != Leg::HangingUp).map(|a| {
                let deadline = self.attempt_deadline(a);
                a.ring_by.map_or(deadline, |ring| ring.min(deadline))
            }),
            Phase::Talking => self.talk_deadline(),
            _ => None,
        };
        if self.phase == Phase::Done {
            return None;
        }
        let retry = self.retry.map(|(at, _)| at);
        [current, retry, Some(self.expiry())].into_iter().flatten().min()
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

    /// When Asterisk must have ended everything of this call by its own timers, so that a node that never answers
    /// again does not keep its permits for ever.
    pub(crate) fn expiry(&self) -> Duration {
        self.setup_deadline()
            + self.attempts.last().map_or(Duration::ZERO, |a| a.ring_timeout)
            + self.max_duration()
            + EXPIRY
    }

    fn attempt_deadline(&self, attempt: &Attempt) -> Duration {
        let started = attempt.started.mono;
        let ring = (started + attempt.ring_timeout).min(self.setup_deadline());
        attempt.silent_by(self.limits.progress_timeout).map_or(ring, |silent| ring.min(silent))
    }

    fn talk_deadline(&self) -> Option<Duration> {
        Some(self.current()?.answered?.at.mono + self.max_duration())
    }

    fn note(&mut self, input: &Input, now: Now) {
        // Only what a person asks about later; duplicates and ticks without effect would bury it.
        let event = match input {
            Input::Tick | Input::Expired { .. } | Input::NodeUp | Input::Committed(_) | Input::Dialled(_) => return,
            // Where it was asked for before the answer nobody waits for it.
            Input::Joined(n) if self.attempt(*n).is_none_or(|attempt| !attempt.awaited) => return,
            // That all is well, and that nothing was seen, is nothing to tell.
            Input::LegMedia { usable: true, .. } | Input::LegSeen { sip: None | Some(..=100), .. } => return,
            // Asterisk tells both twice: once for the request and once for the end.
            Input::CallerHangup { .. } if matches!(self.caller, CallerLeg::HangingUp(_) | CallerLeg::Gone) => return,
            Input::CallerGone | Input::Missing { .. } if self.caller == CallerLeg::Gone => return,
            Input::LegMissing { n, .. } if self.attempt(*n).is_none_or(|attempt| attempt.leg == Leg::Gone) => return,
            Input::Taken(Some(offer)) => format!("attempt {} to {}", self.last_n() + 1, offer.client.identifier),
            Input::Routed(routed) => match &routed.1 {
                Some(offer) => format!("{input}, attempt {} to {}", self.last_n() + 1, offer.client.identifier),
                None => input.to_string(),
            },
            _ => input.to_string(),
        };
        if self.timeline.last().is_none_or(|last| last.event != event) {
            self.timeline.push(Moment { at: now, event });
        }
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<Effect>) {
        match self.phase {
            Phase::Dialling => self.tick_dialling(now, effects),
            Phase::Talking if self.talk_deadline().is_some_and(|at| now.mono >= at) => {
                self.end_talk(Ending::MaxDuration, now, effects);
            }
            _ => {}
        }
        if self.retry.is_some_and(|(at, _)| now.mono >= at) {
            self.ask_again(false, now, effects);
        }
    }

    /// What did not go through is asked for again, soon, unless something is already due.
    fn ask_soon(&mut self, now: Now) {
        self.retry = self.retry.or(Some((now.mono + clearing::RETRY_FIRST, clearing::RETRY_FIRST)));
    }

    fn attempt_mut(&mut self, n: u32) -> Option<&mut Attempt> {
        self.attempts.iter_mut().find(|a| a.n == n)
    }
}
