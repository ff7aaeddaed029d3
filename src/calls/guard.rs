//! What becomes of a call whose task panicked. What panicked is not trusted again: neither the machine nor what else acted for the call.
//! Its channels are hung up, its permits stay until each channel is seen to be gone, and it gets its one record.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_channel::mpsc;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;
use tracing::error;

use super::attempt::{Attempt, Leg};
use super::ending::{Ending, rejection};
use super::execute;
use super::io::{Heed, Input, Op};
use super::machine::{Call, CallerLeg, End, Moment};
use super::news::{CallNews, Happening};
use super::task::{Context, hand_over};
use crate::ari::{Error, Lane};
use crate::cdr::fold;
use crate::cdr::record::{AttemptOutcome, CallRecord, HungUpBy};
use crate::clock::Now;
use crate::id::BridgeKind;
use crate::panics::{self, Panic, caught_now};
use crate::routing::book::counts;

/// First wait before a hang-up that showed no effect is asked for again; doubles up to [`RETRY_MAX`].
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_MAX: Duration = Duration::from_secs(30);
/// Added to set-up budget and longest duration: after that Asterisk's own timers have ended everything (a campaign's own longest
/// duration is a day at most).
const MARGIN: Duration = Duration::from_secs(24 * 3600 + 600);

/// What a call's task leaves behind.
#[derive(Debug)]
pub(super) struct Remains {
    pub(super) call: Call,
    pub(super) lane: Lane,
    pub(super) context: Context,
    /// Its record has been handed over.
    pub(super) recorded: bool,
}

type Asked = BoxFuture<'static, (Op, Result<(), Error>)>;

/// The rest of such a call.
struct Clearing {
    call: Call,
    lane: Lane,
    context: Context,
    at: Now,
    /// Attempts whose permits are held: their channels may live.
    legs: BTreeSet<u32>,
    caller_gone: bool,
    asked: FuturesUnordered<Asked>,
}

/// Ends the call cleanly. Returns when all its channels are gone and its record is handed over.
pub(super) async fn clear(remains: Remains, panic: Panic, mut inputs: mpsc::UnboundedReceiver<Input>) {
    let Remains { mut call, lane, context, recorded } = remains;
    let (id, at) = (call.facts.call_id, context.clock.now());
    error!(call = %id, place = panic.place, error = panic.message, "the call's task panicked; the call is ended");
    // A client that answered and was not brought together with its caller yet: the caller hears of a failure, not of an answer.
    call.withdraw_unjoined(AttemptOutcome::Failed);
    let answered = call.caller_leg() == CallerLeg::Up || call.attempts.iter().any(|attempt| attempt.answered.is_some());
    let sip = if answered { 200 } else { rejection(Ending::Failed, &context.limits.copy().rejections) };
    call.end.get_or_insert(End { ending: Ending::Failed, by: HungUpBy::System, at, within: None, sip, cause: None });
    call.timeline.push(Moment { at, event: "failed inside the controller".to_owned() });
    context.registry.heed(id, Heed::Everything);
    let legs = context.registry.book().ledger.held_by(id).collect();
    let caller_gone = call.caller_leg() == CallerLeg::Gone;
    let mut clearing = Clearing { call, lane, context, at, legs, caller_gone, asked: FuturesUnordered::new() };
    clearing.until_gone(&mut inputs).await;
    clearing.finish(recorded);
}

impl Clearing {
    async fn until_gone(&mut self, inputs: &mut mpsc::UnboundedReceiver<Input>) {
        let limits = self.context.limits.copy();
        let longest = self.at.mono + limits.setup_budget + limits.max_duration + MARGIN;
        let mut wait = RETRY_FIRST;
        let mut again = self.hang_up(wait);
        while !(self.caller_gone && self.legs.is_empty()) {
            if self.context.clock.now().mono >= longest {
                self.caller_gone = true;
                self.legs.clone().into_iter().for_each(|n| self.leg_gone(n, None, None));
                break;
            }
            tokio::select! {
                biased;
                Some(input) = inputs.next() => match input.into_told() {
                    Input::LegGone { n, cause, sip } => self.leg_gone(n, cause, sip),
                    Input::LegMissing { n, .. } => self.leg_gone(n, None, None),
                    Input::CallerGone | Input::Missing { .. } => self.caller_gone = true,
                    Input::Yield => self.leave(),
                    // It came to be after all.
                    Input::LegReady(n) => self.ask(Op::HangUpLeg(n)),
                    Input::NodeUp => again = self.hang_up(wait),
                    _ => {}
                },
                Some((op, outcome)) = self.asked.next(), if !self.asked.is_empty() => self.answered(op, &outcome),
                () = tokio::time::sleep_until(again) => {
                    wait = (wait * 2).min(RETRY_MAX);
                    again = self.hang_up(wait);
                }
            }
        }
    }

    /// Another controller has the node and whatever lives of the call. It counts, so that no total is overshot.
    fn leave(&mut self) {
        self.caller_gone = true;
        for n in std::mem::take(&mut self.legs) {
            self.context.registry.yield_permit((self.call.facts.call_id, n), true);
        }
    }

    /// Asks for everything to go; says when to ask again.
    fn hang_up(&mut self, wait: Duration) -> Instant {
        for n in self.legs.clone() {
            self.ask(Op::HangUpLeg(n));
        }
        if !self.caller_gone {
            let unanswered = self.call.caller_leg() != CallerLeg::Up;
            let sip = unanswered.then(|| rejection(Ending::Failed, &self.context.limits.copy().rejections));
            self.ask(Op::HangUpCaller(sip));
        }
        self.context.clock.instant(self.context.clock.now().mono + wait)
    }

    fn ask(&mut self, op: Op) {
        if let Some(pending) = execute::ask(&self.call, &self.lane, op) {
            self.asked.push(Box::pin(async move { (op, pending.await.map(drop)) }));
        }
    }

    /// What is not there is gone. Requests of one call are carried out in order: a creation that was under way came before.
    fn answered(&mut self, op: Op, outcome: &Result<(), Error>) {
        if outcome.as_ref().is_err_and(|error| error.status() == Some(404)) {
            match op {
                Op::HangUpLeg(n) => self.leg_gone(n, None, None),
                Op::HangUpCaller(_) => self.caller_gone = true,
                _ => {}
            }
        }
    }

    fn leg_gone(&mut self, n: u32, cause: Option<i16>, sip: Option<i16>) {
        if !self.legs.remove(&n) {
            return;
        }
        let (id, now) = (self.call.facts.call_id, self.context.clock.now());
        let attempt = self.call.attempts.iter_mut().find(|attempt| attempt.n == n);
        // Without an attempt its permit was taken and nothing was asked of Asterisk for it.
        let counted = attempt.is_some_and(|attempt| settle(attempt, cause, sip, now));
        self.context.registry.book().ledger.release((id, n), counted);
    }

    fn finish(mut self, recorded: bool) {
        // Which of them it had is not trusted; of the other Asterisk says that there is none.
        BridgeKind::ALL.into_iter().for_each(|kind| self.ask(Op::DestroyBridge(kind)));
        let Self { call, context, .. } = self;
        let now = context.clock.now();
        if !recorded {
            hand_over(&context, record(&call, now));
        }
        context.registry.remove(call.facts.call_id);
        let step = (Happening::Ended, call.attempts.len().checked_sub(1));
        // Listeners are told what can be told: the call has its record.
        drop(caught_now(|| context.registry.announce(|| CallNews::of(&call, step, now))));
    }
}

/// Settles an attempt whose channel is gone; says whether it counts. One that may have been answered without having been seen to does, so
/// that no total is passed.
fn settle(attempt: &mut Attempt, cause: Option<i16>, sip: Option<i16>, now: Now) -> bool {
    if attempt.leg != Leg::Gone {
        attempt.end(cause, sip, now);
        let unseen = attempt.dialled() && attempt.answered.is_none();
        if attempt.answered.is_none() {
            attempt.verdict = Some(if unseen { AttemptOutcome::Unknown } else { AttemptOutcome::Cancelled });
        }
        attempt.counted = unseen || counts(attempt.link.count_on, attempt.dialled(), attempt.answered.is_some());
    }
    attempt.counted
}

/// The record with all that is known; where that cannot be told any more, with what was known at the call's arrival.
fn record(call: &Call, now: Now) -> CallRecord {
    let whole = || {
        trap(call, "record");
        fold::record(call, now)
    };
    caught_now(whole).unwrap_or_else(|panic| {
        error!(call = %call.facts.call_id, place = panic.place, error = panic.message, "the record tells only of the arrival");
        fold::record(&call.bare(), now)
    })
}

/// Where tests let a call's task panic: `<caller> <what happened> <state after it>`.
pub(super) fn trap(call: &Call, at: &str) {
    panics::trap(|| format!("{} {at} {}", call.facts.caller.raw.as_deref().unwrap_or_default(), call.label()));
}

#[cfg(test)]
mod tests;
