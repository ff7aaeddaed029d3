//! After every (re)connect and at intervals: asks for Asterisk's lists, compares, and acts on what follows.

use std::collections::HashSet;
use std::time::Duration;

use tracing::{error, info, warn};

use super::node::Orphan;
use super::{Dispatcher, Report, Waiting};
use crate::ari::{Bridge, Channel, Error, Request};
use crate::calls::io::Input;
use crate::calls::reconcile::{Adoption, Belief, Finding, Ours, compare};
use crate::calls::{adopt, execute};
use crate::id::CallId;
use crate::routing::caps::PermitKey;

/// How soon a second comparison follows one that left something open.
const AGAIN: Duration = Duration::from_secs(3);
/// How soon a comparison that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);
/// How long a permit must have been seen without a channel before that is evidence: longer than its creation may take.
pub(super) const MISSING_FOR: Duration = Duration::from_millis(2_900);
/// How long after the start a node that is ready waits for the others, whose calls may use the same caps.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

/// Added to set-up budget and longest duration: after that no outbound channel can be alive (a campaign's own longest
/// duration is a day at most).
const ORPHANS_FOR: Duration = Duration::from_secs(24 * 3600 + 600);

impl Dispatcher {
    /// Asks for the node's lists, unless they are on their way or the node is not connected.
    pub(super) fn start_comparing(&mut self, node: usize) {
        let state = &self.nodes[node];
        if state.comparing.is_some() || !state.is_up() {
            return;
        }
        let belief = self.belief(node);
        let state = &mut self.nodes[node];
        let generation = state.generation;
        state.comparing = Some(generation);
        state.ended.clear();
        let (handle, reports) = (state.handle.clone(), self.reports.clone());
        tokio::spawn(async move {
            let lists = tokio::try_join!(handle.list_channels(), handle.list_bridges());
            // The receiver lives as long as the dispatcher; after it nobody compares.
            drop(reports.send(Report::Listed { node, generation, belief, lists }));
        });
    }

    fn compare_in(&mut self, node: usize, wait: Duration) {
        if std::mem::replace(&mut self.nodes[node].again, true) {
            return;
        }
        let reports = self.reports.clone();
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            drop(reports.send(Report::Compare { node }));
        });
    }

    fn belief(&self, node: usize) -> Belief {
        let registry = &self.context.registry;
        let calls = registry.calls_on(node);
        let on_node: HashSet<CallId> = calls.iter().map(|(call, _)| *call).collect();
        let state = &self.nodes[node];
        let orphaned: HashSet<PermitKey> = state.orphans.values().map(|orphan| orphan.key).collect();
        let held = registry.book().ledger.held().map(|(key, _)| key).collect::<Vec<_>>();
        let of_calls = |key: &PermitKey| on_node.contains(&key.0) && !orphaned.contains(key);
        let long_ago = self.context.clock.now().mono.saturating_sub(MISSING_FOR);
        Belief {
            calls: calls
                .into_iter()
                .map(|(call, live)| (live.channel_id.clone(), (call, live.is_orphaned())))
                .collect(),
            permits: held.into_iter().filter(of_calls).collect(),
            missing_before: state
                .missing
                .iter()
                .filter(|(_, since)| **since <= long_ago)
                .map(|(key, _)| *key)
                .collect(),
        }
    }

    /// The lists came, or could not be had.
    pub(super) fn listed(
        &mut self,
        node: usize,
        generation: u64,
        belief: &Belief,
        lists: Result<(Vec<Channel>, Vec<Bridge>), Error>,
    ) {
        let state = &mut self.nodes[node];
        state.comparing = None;
        let ended = std::mem::take(&mut state.ended);
        if generation != state.generation {
            // The socket was away in between: these lists do not cover what was missed.
            self.start_comparing(node);
            return;
        }
        match lists {
            Ok((mut channels, bridges)) => {
                let leaving = &self.nodes[node].leaving;
                channels.retain(|channel| !ended.contains(&channel.id) && !leaving.contains(&channel.id));
                self.compared(node, belief, &channels, &bridges);
            }
            Err(error) => {
                warn!(node = self.nodes[node].handle.name(), %error, "Asterisk's lists could not be had");
                self.compare_in(node, RETRY);
            }
        }
    }

    fn compared(&mut self, node: usize, belief: &Belief, channels: &[Channel], bridges: &[Bridge]) {
        let state = &self.nodes[node];
        let ours = Ours { node: state.handle.name(), apps: &state.apps };
        let mut findings = compare(ours, belief, channels, bridges);
        // Whatever holds a permit comes first, so that no call is decided on caps that look free.
        findings.sort_by_key(|finding| match finding {
            Finding::Adopt(_) => 0,
            Finding::HangUp { .. } => 1,
            _ => 2,
        });
        let open = findings.iter().any(|f| matches!(f, Finding::Adopt(_) | Finding::LegMissing(_)));
        self.forget_gone(node, channels, &findings);
        self.settle_left(node, &findings, channels);
        findings.into_iter().for_each(|finding| self.act_on(node, finding));
        if open || !self.nodes[node].orphans.is_empty() {
            self.compare_in(node, AGAIN);
        }
        let registry = &self.context.registry;
        registry.calls_on(node).iter().for_each(|(call, _)| {
            registry.tell(*call, Input::NodeUp);
        });
        self.nodes[node].compared = true;
        self.open_nodes();
    }

    /// Orphans that Asterisk does not list any more are gone, and permits that have their channel are not missing.
    fn forget_gone(&mut self, node: usize, channels: &[Channel], findings: &[Finding]) {
        let listed: HashSet<&str> = channels.iter().map(|c| c.id.as_str()).collect();
        let gone: Vec<String> =
            self.nodes[node].orphans.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        gone.iter().for_each(|id| self.orphan_gone(node, id));
        let missing: HashSet<PermitKey> =
            findings.iter().filter_map(|f| if let Finding::LegMissing(key) = f { Some(*key) } else { None }).collect();
        self.nodes[node].missing.retain(|key, _| missing.contains(key));
    }

    /// Lets nodes take calls: those that are compared, once all are or enough time has passed since the start.
    pub(super) fn open_nodes(&mut self) {
        let now = self.context.clock.now().mono;
        let waited = now.saturating_sub(self.started) >= WAIT_FOR_OTHERS;
        self.opened = self.opened || waited || self.nodes.iter().all(|n| n.compared);
        if self.draining || self.refusing || !self.opened {
            return;
        }
        let mut newly_ready = Vec::new();
        for (node, state) in self.nodes.iter_mut().enumerate() {
            if !state.ready && state.compared && state.is_up() {
                state.ready = true;
                info!(node = state.handle.name(), "node ready: taking calls");
                newly_ready.push(node);
            }
        }
        if !newly_ready.is_empty() {
            self.ask_epochs();
            self.tell_health();
        }
        newly_ready.into_iter().for_each(|node| self.serve_waiting(node));
    }

    fn act_on(&mut self, node: usize, finding: Finding) {
        let registry = &self.context.registry;
        match finding {
            Finding::Seen(call, sight) => {
                registry.tell(call, sight.into());
            }
            Finding::LegGone((call, n)) => {
                if !registry.tell(call, Input::LegGone { n, cause: None, sip: None }) {
                    // Whether it was answered is not known any more: it counts, so that no total is overshot.
                    registry.book().ledger.release((call, n), true);
                }
            }
            Finding::LegMissing(key) => {
                let now = self.context.clock.now().mono;
                self.nodes[node].missing.entry(key).or_insert(now);
            }
            Finding::Arrive { caller, .. } if self.draining => {
                self.forget_left(node, &caller.id);
                self.fall_back(node, self.nodes[node].app_of(&caller), &caller.id);
            }
            // Talking on without us: the successor takes it over.
            Finding::Adopt(_) if self.draining => {}
            Finding::Arrive { caller, earlier_attempts } => {
                let facts = self.nodes[node].intake.facts_of_listed(&caller);
                let (app, since) = (self.nodes[node].app_of(&caller), self.context.clock.now().mono);
                let noted = self.nodes[node].left.remove(&facts.call_id).map(Box::new);
                self.decide_or_wait(node, Waiting { app, facts, earlier_attempts, noted, since });
            }
            Finding::Adopt(adoption) => self.adopt(node, *adoption),
            // Of a call that began, or was taken over, after the lists were asked for.
            Finding::HangUp { channel_id, .. } if self.is_live(node, &channel_id) => {}
            Finding::DeleteBridge(bridge_id)
                if CallId::parse_bridge(&bridge_id).is_some_and(|call| registry.is_live(call)) => {}
            Finding::HangUp { channel_id, permit } => {
                if let Some((key, permit)) = permit {
                    registry.book().ledger.hold(key, permit);
                    let since = self.context.clock.now().mono;
                    self.nodes[node].orphans.entry(channel_id.clone()).or_insert(Orphan { key, since, counted: false });
                }
                self.hang_up(node, &channel_id, "a channel of ours without a call");
            }
            Finding::DeleteBridge(bridge_id) => {
                drop(self.nodes[node].handle.lane(0).send(Request::DeleteBridge { bridge_id: &bridge_id }));
            }
            Finding::Forget(call) => self.forget(call),
        }
    }

    fn is_live(&self, node: usize, channel_id: &str) -> bool {
        let registry = &self.context.registry;
        let Some((call, n)) = CallId::parse_leg(channel_id) else {
            return registry.call_of(node, channel_id).is_some_and(|call| registry.is_live(call));
        };
        // An orphan keeps its number while its caller, routed anew, uses later ones.
        let held = registry.book().ledger.is_held((call, n));
        registry.is_live(call) && held && !self.nodes[node].orphans.contains_key(channel_id)
    }

    /// An orphan's channel is gone: its permit is free, and its caller can be routed anew.
    pub(super) fn orphan_gone(&mut self, node: usize, channel_id: &str) {
        if let Some(orphan) = self.nodes[node].orphans.remove(channel_id) {
            self.context.registry.book().ledger.release(orphan.key, orphan.counted);
            self.serve_waiting(node);
        }
    }

    /// Orphans of a node that does not come back: Asterisk's own timers must have ended them.
    pub(super) fn expire_orphans(&mut self, node: usize) {
        let limits = &self.context.limits;
        let longest = ORPHANS_FOR + limits.setup_budget + limits.max_duration;
        let now = self.context.clock.now().mono;
        let orphans = self.nodes[node].orphans.iter();
        let over: Vec<String> =
            orphans.filter(|(_, orphan)| now >= orphan.since + longest).map(|(id, _)| id.clone()).collect();
        over.iter().for_each(|id| self.orphan_gone(node, id));
    }

    fn adopt(&mut self, node: usize, adoption: Adoption) {
        let noted = self.nodes[node].left.remove(&adoption.call);
        let state = &self.nodes[node];
        let app = state.app_of(&adoption.caller);
        let registry = &self.context.registry;
        let Some(inputs) = registry.register(adoption.call, node, app, &adoption.caller.id) else { return };
        registry.book().ledger.hold((adoption.call, adoption.n), adoption.permit);
        info!(call = %adoption.call, "adopted: its parties were bridged by an earlier run");
        let facts = state.intake.facts_of_listed(&adoption.caller);
        tokio::spawn(adopt::run(facts, adoption, noted, state.handle.lane(app), self.context.clone(), inputs));
    }

    fn forget(&self, call: CallId) {
        let registry = &self.context.registry;
        error!(%call, "the call's task died; its channels are gone, its permits are given back");
        let mut book = registry.book();
        let keys: Vec<PermitKey> = book.ledger.held().map(|(key, _)| key).filter(|(c, _)| *c == call).collect();
        for key in keys {
            book.ledger.release(key, true);
        }
        drop(book);
        registry.remove(call);
    }

    pub(super) fn hang_up(&self, node: usize, channel_id: &str, why: &str) {
        let state = &self.nodes[node];
        info!(node = state.handle.name(), channel = channel_id, "hanging up {why}");
        drop(state.handle.lane(0).send(execute::abandon(channel_id)));
    }
}
