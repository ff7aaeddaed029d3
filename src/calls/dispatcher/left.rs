//! Calls that an earlier run left in the journal: their permits are held from the start, until Asterisk's lists say what became of them.

use std::time::Duration;

use tracing::{info, warn};

use super::Dispatcher;
use super::orphans::Orphan;
use crate::calls::adopt::Noted;
use crate::calls::left;
use crate::calls::machine::EXPIRY;
use crate::calls::task::measure;
use crate::cdr::journal::Left;
use crate::clock::Now;
use crate::id::CallId;
use crate::mistakes::{Mistake, on};

/// A process that starts so soon after another has handed over follows it: nobody else has had the nodes in between.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(30);

impl Dispatcher {
    /// Holds every permit of the calls that were left, and counts what of them counts already. Before anything is decided.
    pub(super) fn hold_left(&mut self, left: Left) {
        let (now, stamp) = (self.context.clock.now(), self.context.clock.stamp());
        // How long ago everything of a node had been heard.
        let heard = |node: &str| left.alive.as_ref().map(|alive| left.ago(alive.heard_of(node), stamp));
        // The run that handed over just now has noted the calls of all nodes: their permits are held.
        let recent = |at| left.same_boot && left.ago(at, stamp) < FOLLOWED_WITHIN;
        let followed = left.alive.as_ref().is_some_and(|alive| alive.ended && recent(alive.at));
        for node in &mut self.nodes {
            node.waits = node.waits.filter(|_| !followed);
            let ago = heard(node.handle.name()).unwrap_or(Duration::MAX);
            node.known = now.mono.saturating_sub(ago);
        }
        for open in &left.calls {
            let age = left.ago(open.noted, stamp) + open.age;
            let arrived = Now { mono: now.mono.saturating_sub(age), wall: open.record.arrived_at };
            let lived = heard(&open.record.node).map_or(Duration::ZERO, |ago| age.saturating_sub(ago));
            // What the run before that one noted: that one had not come to take the call over.
            let lived = if left.is_followed(open) { lived } else { Duration::ZERO };
            let lived = open.known(lived);
            let noted = Noted { call: open.clone(), arrived, lived, handed_over: false, ruled_out: Vec::new() };
            let mut book = self.context.registry.book();
            if !on(Mistake::AdoptedWithoutPermit) {
                open.permits().for_each(|(key, permit)| book.ledger.hold(key, permit));
            }
            if !on(Mistake::NotCountedByNextRun) {
                open.counted().for_each(|link| book.ledger.count(link));
            }
            if on(Mistake::CountedAgain) {
                open.counted().for_each(|link| book.ledger.count(link));
            }
            drop(book);
            let Some(node) = self.nodes.iter_mut().find(|node| node.handle.name() == open.record.node) else {
                warn!(call = %open.record.call_id, node = open.record.node, "a call was left on a node that is not configured any more");
                self.lose(noted, now);
                continue;
            };
            node.left.keep(open.record.call_id, noted);
        }
    }

    /// Says of a call that was left on this node what Asterisk's lists tell: taken over by one of the findings, or lost. Permits of legs
    /// that are not there any more are given back.
    pub(super) fn settle_left(&mut self, node: usize, call: CallId) {
        let state = &mut self.nodes[node];
        let Some(mut noted) = state.left.take(call) else { return };
        let said = state.said.as_ref();
        let adopted = said.and_then(|said| said.adopted.get(&call)).copied().map(Some);
        let arrives = said.is_some_and(|said| said.arriving.contains(&noted.call.record.uniqueid));
        let taken_over = adopted.or_else(|| arrives.then_some(None));
        let verdicts = match taken_over {
            Some(Some(n)) => left::all_but(noted.call.clone(), n).1,
            Some(None) => left::unanswered(noted.call.clone()).1,
            None if noted.handed_over => return self.leave_to_fallback(&noted),
            // Answered, and with nobody whom it could be left with: it is being hung up, and ends when it is gone.
            None if said.is_some_and(|said| said.hung_up.contains(&noted.call.record.uniqueid)) => {
                let verdicts = noted.clone().lost(noted.lived).1;
                self.nodes[node].left.keep(call, noted.clone());
                verdicts
            }
            None => self.close_as_lost(noted.clone(), self.context.clock.now()),
        };
        for (n, counted) in &verdicts {
            self.settle_leg(node, (call, *n), *counted);
        }
        if let Some(adopted) = taken_over {
            noted.handed_over = false;
            if adopted.is_none() {
                let gone = |n: &u32| !self.nodes[node].orphans.has(&call.leg(*n));
                noted.ruled_out = verdicts.iter().map(|(n, _)| *n).filter(gone).collect();
            }
            self.nodes[node].left.keep(call, noted);
        }
    }

    pub(super) fn settle_leg(&mut self, node: usize, key: (CallId, u32), counted: bool) {
        let (channel_id, state) = (key.0.leg(key.1), &mut self.nodes[node]);
        if state.said.is_none() && state.orphans.set_counted(&channel_id, counted) {
            // No lists say that it is gone.
            return;
        }
        let said = state.said.as_mut().filter(|said| said.listed.contains(&channel_id));
        if let Some(said) = said.filter(|_| !on(Mistake::OrphanWithoutPermit)) {
            said.sent_off.insert(channel_id.clone());
            let since = self.context.clock.now().mono;
            state.orphans.put(channel_id.clone(), Orphan { key, since, counted });
            self.hang_up(node, &channel_id, "an outbound channel of an earlier run");
        } else {
            self.context.registry.book().ledger.release(key, counted);
        }
    }

    /// Calls that were left on a node that does not come back: Asterisk's own timers must have ended them.
    pub(super) fn expire_left(&mut self, node: usize) {
        let (now, limits) = (self.context.clock.now(), self.context.limits.copy());
        let snapshot = self.context.registry.snapshot().clone();
        let longest = |noted: &Noted| {
            let campaign = noted.call.record.campaign_id.and_then(|id| snapshot.campaigns.get(&id));
            let max = campaign.and_then(|campaign| campaign.max_duration).unwrap_or(limits.max_duration);
            let setup = campaign.and_then(|campaign| campaign.setup_budget).unwrap_or(limits.setup_budget);
            // Either may have been longer when it began.
            max.max(limits.max_duration) + setup.max(limits.setup_budget) + EXPIRY
        };
        let over = |noted: &Noted| now.mono >= noted.arrived.mono + longest(noted);
        let over: Vec<CallId> =
            self.nodes[node].left.iter().filter(|(_, noted)| over(noted)).map(|(call, _)| call).collect();
        for call in over {
            let Some(noted) = self.nodes[node].left.take(call) else { continue };
            self.lose(noted, now);
        }
    }

    /// A call of which nothing lives any more: its record is written, and its permits are free.
    fn lose(&self, noted: Noted, now: Now) {
        let call = noted.call.record.call_id;
        for (n, counted) in self.close_as_lost(noted, now) {
            self.context.registry.book().ledger.release((call, n), counted);
        }
    }

    /// A caller who waits until a leg of an earlier run is hung up was answered by that leg: it is not sold again. Lists tell whether the
    /// two are together still.
    pub(super) fn waiting_caller_answered(&mut self, node: usize, channel_id: &str) {
        let Some(caller) = self.nodes[node].waiting.take_by_channel(channel_id) else {
            return self.leaving_caller_answered(node, channel_id);
        };
        let call = caller.facts.call_id;
        let state = &mut self.nodes[node];
        if let Some(noted) = caller.noted {
            state.orphans.count(call, &noted.call.legs);
            state.left.keep(call, *noted);
        }
        self.start_comparing(node);
    }

    /// A caller who is on the way to the fallback was answered by such a leg: they talk until our requests take effect, for nobody knows how
    /// long.
    fn leaving_caller_answered(&mut self, node: usize, channel_id: &str) {
        let state = &mut self.nodes[node];
        let call = state.left.call_of(channel_id).filter(|_| state.leaving.contains(channel_id));
        let Some((call, noted)) = call.and_then(|call| Some((call, state.left.get_mut(call)?))) else { return };
        if !noted.call.legs.is_empty() {
            noted.handed_over = false;
            state.orphans.count(call, &noted.call.legs);
        }
    }

    pub(super) fn close_as_lost(&self, noted: Noted, now: Now) -> Vec<left::Verdict> {
        let gone = now.mono.saturating_sub(noted.arrived.mono);
        let (record, verdicts) = noted.lost(gone);
        info!(call = %record.call_id, node = record.node, "left by an earlier run, and gone");
        measure(&record);
        self.context.journal.finish(record);
        verdicts
    }
}
