//! Callers, from their arrival to their call's beginning.

use std::time::Duration;

use tracing::debug;

use super::agenda::Due;
use super::node::Waiting;
use super::{Dispatcher, Report};
use crate::calls::io::Input;
use crate::calls::machine::Call;
use crate::calls::{adopt, task};
use crate::id::CallId;

/// How long a caller may wait for its node to be ready; then the dialplan's fallback takes it.
const WAIT_AT_MOST: Duration = Duration::from_secs(3);

/// How long a caller waits whose INVITE is that of a call under way, until that is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(250);

impl Dispatcher {
    /// A caller is decided at once where the node is ready and no channel of an earlier run holds its slot; else it waits.
    pub(super) fn decide_or_wait(&mut self, node: usize, caller: Waiting) {
        let (state, call) = (&mut self.nodes[node], caller.facts.call_id);
        let now = self.context.clock.now();
        if !state.keeps(call) {
            // What an earlier run has begun goes on.
            if caller.noted.is_some() || self.context.registry.node_breakers.admits(state.handle.name(), now) {
                self.arrive(node, caller);
            } else {
                self.fall_back(node, caller.app, &caller.facts.channel_id);
            }
        } else if state.waiting.get(call).is_none() {
            state.waiting.keep(call, caller);
        }
    }

    /// What a call's caller waits for has changed.
    pub(super) fn look(&mut self, node: usize, call: CallId) {
        if let Some(caller) = self.nodes[node].waiting.take(call) {
            self.decide_or_wait(node, caller);
        }
    }

    /// What all callers of a node wait for has changed.
    pub(super) fn look_at_all(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.agenda.extend(state.waiting.calls().map(Due::Look));
    }

    /// Each second: callers who have waited for long. Those of whom lists tell that are being acted on are looked at after that.
    pub(super) fn look_for_late(&mut self, node: usize) {
        let since = self.context.clock.now().mono.saturating_sub(WAIT_AT_MOST);
        let state = &mut self.nodes[node];
        if state.said.is_none() {
            let late = state.waiting.iter().filter(|(_, caller)| caller.since <= since);
            state.agenda.extend(late.map(|(call, _)| Due::Late(call)));
        }
    }

    /// What an earlier run has begun is not the fallback's: it goes on, beside the channel that does not go. Nothing goes on while the
    /// journal refuses.
    pub(super) fn waited_long(&mut self, node: usize, call: CallId) {
        let state = &mut self.nodes[node];
        let Some(caller) = state.waiting.take(call) else { return };
        match caller.noted.is_some() && !self.refusing {
            // Since that was noticed.
            _ if !state.keeps(call) => self.decide_or_wait(node, caller),
            true if state.ready => self.arrive(node, caller),
            true => state.waiting.keep(call, caller),
            false => self.fall_back_all(node, [caller]),
        }
    }

    /// A call begins, unless it is one that is under way already.
    pub(super) fn arrive(&mut self, node: usize, caller: Waiting) {
        if self.first_of(&caller).is_some() {
            return self.look_again(node, caller);
        }
        let overloaded = self.context.registry.live() >= self.bounds.copy().max_live;
        self.begin(node, caller, Input::Arrived { overloaded });
    }

    /// The call under way whose INVITE this caller's is. What has been dialled for goes on, and of a node that is away nobody knows whether
    /// its calls are under way.
    fn first_of(&self, caller: &Waiting) -> Option<CallId> {
        let dialled = caller.noted.as_ref().is_some_and(|noted| !noted.call.record.attempts.is_empty());
        let invite = caller.facts.invite.as_ref().filter(|_| !dialled && caller.earlier_attempts == 0)?;
        let (first, node) = self.context.registry.first_of(caller.facts.call_id, invite)?;
        self.nodes[node].is_up().then_some(first)
    }

    /// A proxy that gives one route up and tries the next sends both within a moment, and what tells of the first's end comes by a socket
    /// of its own.
    fn look_again(&mut self, node: usize, caller: Waiting) {
        let (call, held) = (caller.facts.call_id, &mut self.nodes[node].held);
        if held.get(call).is_some() {
            return;
        }
        held.keep(call, caller);
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(LOOK_AGAIN).await;
            // The receiver lives as long as the dispatcher; after it callers are the next start's.
            drop(reports.send(Report::Again { node, call }));
        });
    }

    pub(super) fn arrive_again(&mut self, node: usize, call: CallId) {
        // It may have left meanwhile.
        let Some(caller) = self.nodes[node].held.take(call) else { return };
        match self.first_of(&caller) {
            _ if self.sends_away(node) => self.fall_back(node, caller.app, &caller.facts.channel_id),
            Some(first) => self.begin(node, caller, Input::Merged { first }),
            None => self.decide_or_wait(node, caller),
        }
    }

    /// Register, so that the call is found; start its task.
    pub(super) fn begin(&mut self, node: usize, caller: Waiting, first: Input) {
        let Waiting { app, facts, earlier_attempts, noted, .. } = caller;
        let registry = &self.context.registry;
        let Some(inputs) = registry.register(facts.call_id, node, app, &facts.channel_id) else {
            debug!(call = %facts.call_id, "arrived again: known already");
            return;
        };
        if let Some(invite) = &facts.invite {
            registry.invited(facts.call_id, invite);
        }
        let lane = self.nodes[node].handle.lane(app);
        let call = match noted {
            Some(noted) => adopt::resume(facts, *noted, earlier_attempts, &self.context),
            None => Call::new(facts, self.context.limits.copy(), earlier_attempts, self.context.clock.now()),
        };
        tokio::spawn(task::run(call, first, lane, self.context.clone(), inputs));
    }

    /// A caller that waits has gone, and was up or not as far as its channel shows. Nothing was begun for it, unless by an earlier run: then
    /// it has its record.
    pub(super) fn waiting_caller_left(&mut self, node: usize, channel_id: &str, up: bool) {
        let state = &mut self.nodes[node];
        let caller = state.waiting.take_by_channel(channel_id).or_else(|| state.held.take_by_channel(channel_id));
        if up {
            caller.into_iter().for_each(|caller| self.went_unheard(node, caller));
        } else if let Some(caller) = caller.filter(|caller| caller.noted.is_some()) {
            self.begin(node, caller, Input::CallerGone);
        }
    }

    /// Lists do not name a caller that waits: it left while something went unheard.
    pub(super) fn waiter_gone(&mut self, node: usize, call: CallId) {
        let state = &mut self.nodes[node];
        if let Some(caller) = state.waiting.take(call).or_else(|| state.held.take(call)) {
            debug!(%call, "a caller that waited is gone");
            self.went_unheard(node, caller);
        }
    }

    /// What an earlier run has dialled for it, and is being hung up, may have answered it before it went.
    pub(super) fn went_unheard(&mut self, node: usize, caller: Waiting) {
        let (call, now) = (caller.facts.call_id, self.context.clock.now());
        let since = now.when(self.nodes[node].known_until(caller.app));
        let state = &mut self.nodes[node];
        match caller.noted {
            None => {}
            Some(mut noted) if state.orphans.has_of(call) => {
                state.orphans.count(call, &noted.call.legs);
                // It waited then.
                noted.lived = noted.lived.max(since.mono.min(now.mono).saturating_sub(noted.arrived.mono));
                state.left.keep(call, *noted);
                self.settle_left(node, call);
            }
            noted => self.begin(node, Waiting { noted, ..caller }, Input::Missing { since }),
        }
    }
}
