//! Nodes that fail for everybody, and nodes that another controller has taken.

use std::collections::HashSet;

use tracing::{debug, info, warn};

use super::node::{NodeState, Orphan};
use super::{Dispatcher, NodeStanding, Report};
use crate::ari::{Channel, DownReason, Error};
use crate::calls::io::Input;
use crate::calls::{heartbeat, left};
use crate::clock::Now;
use crate::panics;

use super::comparing::MISSING_FOR;

impl Dispatcher {
    /// How a node stands, for people.
    pub(super) fn standing(&self, node: &NodeState) -> NodeStanding {
        let failing = self.context.registry.node_breakers.outage(node.handle.name()).is_some();
        match () {
            () if node.taken.is_some() => NodeStanding::Taken,
            () if !node.is_up() => NodeStanding::Away,
            () if self.draining => NodeStanding::Draining,
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
            state.taken = None;
            if !self.draining {
                // At once: whoever looks now shall see that it is taken.
                let (index, lane) = (state.handle.index(), state.handle.lane(0));
                tokio::spawn(heartbeat::ask_epoch(index, lane, self.reports.clone()));
            }
        }
    }

    /// Another controller has this node; the socket waits until it leaves. Its calls are the other's, which finds them in Asterisk's lists.
    pub(super) fn taken(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        state.taken.get_or_insert(self.context.clock.now().mono);
        let held = std::mem::take(&mut state.held);
        let waiting = std::mem::take(&mut state.waiting).into_iter().chain(held);
        state.left.extend(waiting.filter_map(|it| Some((it.facts.call_id, *it.noted?))));
        state.missing.clear();
        self.tell_health();
    }

    /// Another controller has taken an application over. With the first one go the node and its calls. Nothing more is sent for them from
    /// here, and no heartbeat is withdrawn, which is the other's by now.
    pub(super) fn replaced(&mut self, node: usize, app: u16, at: Now) {
        let reason = DownReason::Replaced.as_str();
        let state = &mut self.nodes[node];
        warn!(node = state.handle.name(), app, reason, "node disconnected: another controller has taken it over");
        state.turn(app, false, at);
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
            self.nodes[node].orphans.entry(key.0.leg(key.1)).or_insert(Orphan { key, since, counted });
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
        let listed: HashSet<&str> = channels.iter().map(|channel| channel.id.as_str()).collect();
        self.yield_calls(node, &listed);
        self.yield_left(node, &listed);
        // One that was just being made when the node was taken is not listed yet.
        let long_ago = self.context.clock.now().mono.saturating_sub(MISSING_FOR);
        let orphans = self.nodes[node].orphans.iter();
        let gone = orphans.filter(|(id, orphan)| !listed.contains(id.as_str()) && orphan.since <= long_ago);
        let gone: Vec<String> = gone.map(|(id, _)| id.clone()).collect();
        gone.iter().for_each(|id| self.orphan_gone(node, id));
    }

    /// A call whose caller is still there is the other's. Of one that went without our having seen it nobody knows but us; should the other
    /// have recorded it before it went, only one of the two records is kept.
    fn yield_calls(&self, node: usize, listed: &HashSet<&str>) {
        let calls = self.context.registry.calls_on(node);
        let count = calls.len();
        if count > 0 {
            info!(node = self.nodes[node].handle.name(), count, "leaving the node's calls to the other controller");
        }
        for (call, live) in calls {
            if !listed.contains(live.channel_id.as_str()) {
                let since = self.known_until(node, call);
                self.context.registry.tell(call, Input::Missing { since });
            }
            self.context.registry.tell(call, Input::Yield);
        }
    }

    /// Calls that an earlier run left on a node that another controller has: one whose caller is still there is the other's, which found
    /// it in Asterisk's lists. Of one that is gone nobody knows but us; should the other have recorded it before it went, its record stands.
    fn yield_left(&mut self, node: usize, listed: &HashSet<&str>) {
        let now = self.context.clock.now();
        for (call, noted) in std::mem::take(&mut self.nodes[node].left) {
            let verdicts = if listed.contains(noted.call.record.uniqueid.as_str()) {
                self.context.journal.forget(call);
                // Whether it was answered is not known here any more: it counts, so that no total is overshot.
                left::lost(noted.call, noted.lived, noted.lived).1
            } else if noted.handed_over {
                self.hand_over(&noted);
                continue;
            } else {
                self.close_as_lost(noted, now)
            };
            for (n, counted) in verdicts {
                let (key, since) = ((call, n), now.mono);
                if listed.contains(call.leg(n).as_str()) {
                    self.nodes[node].orphans.entry(call.leg(n)).or_insert(Orphan { key, since, counted });
                } else {
                    self.context.registry.book().ledger.release(key, counted);
                }
            }
        }
    }
}
