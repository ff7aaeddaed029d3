//! Nodes that fail for everybody, and nodes that another controller has taken.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{debug, info, warn};

use super::agenda::{Due, Said};
use super::node::NodeState;
use super::orphans::Orphan;
use super::{Dispatcher, NodeStanding, Report};
use crate::ari::{Channel, DownReason, Error};
use crate::calls::heartbeat;
use crate::calls::io::Input;
use crate::clock::Now;
use crate::id::CallId;
use crate::panics;

use super::comparing::MISSING_FOR;

impl Dispatcher {
    /// How a node stands, for people.
    pub(super) fn standing(&self, node: &NodeState) -> NodeStanding {
        let now = self.context.clock.now();
        let failing = self.context.registry.node_breakers.keeps_out(node.handle.name(), now, node.answered());
        match () {
            () if node.taken.is_some() => NodeStanding::Taken,
            () if !node.is_up() => NodeStanding::Away,
            () if self.handing_over => NodeStanding::HandingOver,
            () if node.drain.is_some() => NodeStanding::Drained,
            () if node.ready && failing => NodeStanding::Failing,
            () if node.ready => NodeStanding::Ready,
            () => NodeStanding::Comparing,
        }
    }

    /// Withdraws the heartbeat of nodes whose breaker has opened, and lets those beat whose pause is over: a call that comes tries them.
    pub(super) fn watch_breakers(&mut self) {
        let now = self.context.clock.now().mono;
        for node in 0..self.nodes.len() {
            let outage = self.context.registry.node_breakers.outage(self.nodes[node].handle.name());
            let tripped = outage.is_some_and(|outage| now < outage.until.mono);
            if tripped && self.nodes[node].beats() {
                self.stop_beating(node);
            }
            self.nodes[node].tripped = tripped;
        }
        let standings = self.nodes.iter().map(|node| self.standing(node));
        if standings.ne(self.health.borrow().iter().map(|node| node.standing)) {
            self.tell_health();
        }
    }

    /// An application's socket is connected: with the first one, the node is ours.
    pub(super) fn connected(&mut self, node: usize, app: u16) {
        let state = &mut self.nodes[node];
        self.context.registry.node_breakers.forget(state.handle.name());
        state.tripped = false;
        if app == 0 {
            if state.taken.take().is_some() {
                // The other may have had the other nodes, too: what their calls use is known when they are ours as well.
                state.waits = Some(self.context.clock.now().mono);
            }
            if !self.handing_over {
                // At once: whoever looks now shall see that it is taken.
                tokio::spawn(heartbeat::ask_epoch(state.handle.clone(), self.reports.clone()));
                let (index, lane) = (state.handle.index(), state.handle.lane(0));
                tokio::spawn(heartbeat::ask_hold(index, lane, self.reports.clone()));
            }
        }
    }

    /// Another controller has this node; the socket waits until it leaves. Its calls are the other's, which finds them in Asterisk's lists.
    pub(super) fn taken(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.taken.get_or_insert(self.context.clock.now().mono);
        for caller in state.waiting.take_all().chain(state.held.take_all()) {
            if let Some(noted) = caller.noted {
                state.left.keep(caller.facts.call_id, *noted);
            }
        }
        state.missing.clear();
        self.tell_health();
    }

    /// Another controller has taken an application over. With the first one go the node and its calls. Nothing more is sent for them from
    /// here, and no heartbeat is withdrawn, which is the other's by now.
    pub(super) fn replaced(&mut self, node: usize, app: u16, at: Now, heard: Duration) {
        let reason = DownReason::Replaced.as_str();
        let state = &mut self.nodes[node];
        warn!(node = state.handle.name(), app, reason, "node disconnected: another controller has taken it over");
        state.turn(app, Some(heard), at);
        self.note_interrupted(node);
        if app == 0 {
            self.taken(node);
        }
        self.tell_health();
    }

    /// Each second: looks after the calls and permits of nodes that another controller has.
    pub(super) fn watch_taken(&mut self) {
        self.hold_yielded();
        let long_ago = self.context.clock.now().mono.saturating_sub(MISSING_FOR);
        for node in 0..self.nodes.len() {
            let state = &self.nodes[node];
            // The other has seen by then what there was to be taken over.
            let settled = state.taken.is_some_and(|since| since <= long_ago);
            if settled && (!state.left.is_empty() || !self.context.registry.calls_on(node).is_empty()) {
                self.look_elsewhere(node);
            }
        }
    }

    /// What calls that were yielded still hold, they hold until their channels are gone.
    fn hold_yielded(&mut self) {
        let since = self.context.clock.now().mono;
        for (node, key, counted) in self.context.registry.take_yielded() {
            self.nodes[node].orphans.find(&key.0.leg(key.1), Orphan { key, since, counted });
        }
    }

    /// At intervals: looks for channels that still hold permits here, on a node that another controller has.
    pub(super) fn look_for_orphans(&self, node: usize) {
        if self.nodes[node].taken.is_some() && !self.nodes[node].orphans.is_empty() {
            self.look_elsewhere(node);
        }
    }

    /// Asks a node that another controller has for its channels.
    fn look_elsewhere(&self, node: usize) {
        let state = &self.nodes[node];
        let (handle, reports) = (state.handle.clone(), self.reports.clone());
        let known = self.known_channels(node);
        tokio::spawn(async move {
            panics::trap(|| format!("looking at {}", handle.name()));
            let channels = handle.list_channels(known).await.map(|listing| listing.told);
            // The receiver lives as long as the dispatcher; after it nobody looks.
            drop(reports.send(Report::Elsewhere { node, channels }));
        });
    }

    pub(super) fn seen_elsewhere(&mut self, node: usize, channels: Result<Vec<Channel>, Error>) {
        if self.nodes[node].taken.is_none() {
            // It is ours again: a comparison tells more.
            return;
        }
        let channels = match channels {
            Ok(channels) => channels,
            Err(error) => {
                debug!(node = self.nodes[node].handle.name(), %error, "the node's channels could not be had; asking again");
                return;
            }
        };
        let listed: HashSet<String> = channels.into_iter().map(|channel| channel.id).collect();
        let calls = self.context.registry.calls_on(node);
        if !calls.is_empty() {
            let (node, count) = (self.nodes[node].handle.name(), calls.len());
            info!(node, count, "leaving the node's calls to the other controller");
        }
        let mut dues: Vec<Due> = calls.into_iter().map(|(call, _)| Due::Yield(call)).collect();
        dues.extend(self.nodes[node].left.calls().map(Due::YieldLeft));
        // One that was just being made when the node was taken is not listed yet.
        let long_ago = self.context.clock.now().mono.saturating_sub(MISSING_FOR);
        let orphans = self.nodes[node].orphans.iter();
        let gone = orphans.filter(|(id, orphan)| !listed.contains(*id) && orphan.since <= long_ago);
        dues.extend(gone.map(|(id, _)| Due::OrphanGone(id.clone())));
        dues.push(Due::Yielded);
        self.nodes[node].said = Some(Said { listed, ..Said::default() });
        self.first(node, dues);
    }

    /// A call whose caller is still there is the other's. Of one that went without our having seen it nobody knows but us; should the other
    /// have recorded it before it went, only one of the two records is kept.
    pub(super) fn yield_call(&self, node: usize, call: CallId) {
        let registry = &self.context.registry;
        let Some(caller) = registry.channel_of(call) else { return };
        if !self.is_listed(node, &caller) {
            let since = self.known_until(node, call);
            registry.tell(call, Input::Missing { since });
        }
        registry.tell(call, Input::Yield);
    }

    /// Whether the lists that are being acted on name this channel.
    fn is_listed(&self, node: usize, channel_id: &str) -> bool {
        self.nodes[node].said.as_ref().is_some_and(|said| said.listed.contains(channel_id))
    }

    /// A call that an earlier run left on a node that another controller has: one whose caller is still there is the other's, which found
    /// it in Asterisk's lists. Of one that is gone nobody knows but us; should the other have recorded it before it went, its record stands.
    pub(super) fn yield_left(&mut self, node: usize, call: CallId) {
        let now = self.context.clock.now();
        let Some(noted) = self.nodes[node].left.take(call) else { return };
        let verdicts = if self.is_listed(node, &noted.call.record.uniqueid) {
            self.context.journal.forget(call);
            // Whether it was answered is not known here any more: it counts, so that no total is overshot.
            let lived = noted.lived;
            noted.lost(lived).1
        } else if noted.handed_over {
            return self.leave_to_fallback(&noted);
        } else {
            self.close_as_lost(noted, now)
        };
        for (n, counted) in verdicts {
            let (key, since) = ((call, n), now.mono);
            if self.is_listed(node, &call.leg(n)) {
                self.nodes[node].orphans.find(&call.leg(n), Orphan { key, since, counted });
            } else {
                self.context.registry.book().ledger.release(key, counted);
            }
        }
    }
}
