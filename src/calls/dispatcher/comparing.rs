//! After every (re)connect and at intervals: asks for Asterisk's lists, compares, and acts on what follows.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info, warn};

use super::node::{Missed, Orphan};
use super::{Asked, Dispatcher, Lists, Report, Waiting};
use crate::ari::{Bridge, Channel, ChannelState, Error, Late, Request};
use crate::calls::io::{Heed, Input};
use crate::calls::reconcile::{Adoption, Belief, Finding, Hearing, Known, Ours, Sight, compare};
use crate::calls::registry::LiveCall;
use crate::calls::{adopt, execute};
use crate::cdr::fallback::MALFORMED;
use crate::clock::Now;
use crate::id::{BridgeKind, CallId};
use crate::mistakes::{Mistake, on};
use crate::panics;
use crate::routing::caps::PermitKey;

/// How soon a second comparison follows one that left something open.
const AGAIN: Duration = Duration::from_secs(3);
/// How soon a comparison that failed is tried again.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How long a channel must have been missed before that is evidence, unless it was there and its end may have gone unheard: longer than
/// its creation, or the event of its end, may take.
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
        state.answered.clear();
        let (handle, reports) = (state.handle.clone(), self.reports.clone());
        let asked = Box::new(Asked { generation, at: self.context.clock.now().mono, belief });
        let (channels, bridges) = (self.known_channels(node), self.known_bridges(node));
        tokio::spawn(async move {
            let listing = async {
                panics::trap(|| format!("comparing {}", handle.name()));
                // Who answers the lists is asked with them: at the socket's connecting it may have been another.
                let info = async { Ok(handle.info().await.ok()) };
                let lists = tokio::try_join!(handle.list_channels(channels), handle.list_bridges(bridges), info);
                lists.map(|(channels, bridges, info)| Lists {
                    channels: channels.told,
                    untold: channels.untold,
                    bridges: bridges.told,
                    info,
                })
            };
            // Without a report nobody would ever compare again.
            let lists = panics::caught(listing).await.unwrap_or_else(|panic| Err(Error::Protocol(panic.to_string())));
            // The receiver lives as long as the dispatcher; after it nobody compares.
            drop(reports.send(Report::Listed { node, asked, lists }));
        });
    }

    pub(super) fn compare_in(&mut self, node: usize, wait: Duration) {
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
        let on_node: HashMap<CallId, &LiveCall> = calls.iter().map(|(call, live)| (*call, live)).collect();
        let seen = |(call, n): &PermitKey| on_node.get(call).is_some_and(|live| live.saw_leg(*n));
        let state = &self.nodes[node];
        let orphaned: HashSet<PermitKey> = state.orphans.values().map(|orphan| orphan.key).collect();
        let held = registry.permits_of(&calls.iter().map(|(call, _)| *call).collect::<Vec<_>>());
        let long_ago = self.context.clock.now().mono.saturating_sub(MISSING_FOR);
        Belief {
            permits: held.into_iter().filter(|key| !orphaned.contains(key)).map(|key| (key, seen(&key))).collect(),
            calls: calls
                .iter()
                .map(|(call, live)| {
                    let (task_gone, caller_gone) = (live.is_orphaned(), live.saw_caller_go());
                    (live.channel_id.clone(), Known { call: *call, task_gone, caller_gone })
                })
                .collect(),
            missing_before: state
                .missing
                .iter()
                .filter(|(_, missed)| missed.since <= long_ago)
                .map(|(channel_id, _)| channel_id.clone())
                .collect(),
            hearing: if state.compared { Hearing::All } else { Hearing::Interrupted },
        }
    }

    /// The lists came, or could not be had.
    pub(super) fn listed(&mut self, node: usize, asked: &Asked, lists: Result<Lists, Error>) {
        let state = &mut self.nodes[node];
        state.comparing = None;
        let (ended, answered) = (std::mem::take(&mut state.ended), std::mem::take(&mut state.answered));
        if asked.generation != state.generation && !on(Mistake::StaleListsCompared) {
            // The socket was away in between: these lists do not cover what was missed.
            self.start_comparing(node);
            return;
        }
        match lists {
            Ok(Lists { mut channels, untold, bridges, info }) => {
                if info.is_some_and(|info| self.nodes[node].is_anew(&info)) {
                    self.end_all(node, "Asterisk started anew");
                }
                let leaving = &self.nodes[node].leaving;
                let ended = if on(Mistake::StaleListsCompared) { HashSet::new() } else { ended };
                channels.retain(|channel| !ended.contains(&channel.id) && !leaving.contains(&channel.id));
                for channel in channels.iter_mut().filter(|channel| answered.contains(&channel.id)) {
                    channel.state = ChannelState::Up;
                }
                self.compared(node, &asked.belief, &channels, &bridges);
                self.end_untold(node, untold);
                self.nodes[node].was_compared(asked.at);
                self.open_nodes();
            }
            Err(error) => {
                warn!(node = self.nodes[node].handle.name(), %error, "Asterisk's lists could not be had");
                self.compare_in(node, RETRY);
            }
        }
    }

    /// Tells, should anybody ask, which channels the node has or may have, as far as is known here.
    pub(super) fn known_channels(&self, node: usize) -> impl FnOnce() -> Vec<String> + Send + use<> {
        let (registry, state) = (Arc::clone(&self.context.registry), &self.nodes[node]);
        let left: HashSet<CallId> = state.left.keys().copied().collect();
        let callers_left = state.left.values().map(|noted| noted.call.record.uniqueid.clone());
        let others: Vec<String> = callers_left.chain(state.orphans.keys().cloned()).collect();
        move || {
            let calls = registry.calls_on(node);
            let mut ours: Vec<CallId> = calls.iter().map(|(call, _)| *call).chain(left).collect();
            ours.sort_unstable();
            ours.dedup();
            let held = registry.permits_of(&ours);
            let legs = held.iter().map(|(call, n)| call.leg(*n));
            let callers = calls.iter().map(|(_, live)| live.channel_id.clone());
            callers.chain(legs).chain(others).collect()
        }
    }

    /// Likewise the bridges of the node's calls.
    fn known_bridges(&self, node: usize) -> impl FnOnce() -> Vec<String> + Send + use<> {
        let (registry, left) = (Arc::clone(&self.context.registry), self.nodes[node].left.keys().copied());
        let left: Vec<CallId> = left.collect();
        move || {
            let calls = registry.calls_on(node).into_iter().map(|(call, _)| call).chain(left);
            calls.flat_map(|call| BridgeKind::ALL.map(|kind| call.bridge(kind))).collect()
        }
    }

    /// Channels of ours of which Asterisk can tell nothing: no event, no list. The dialplan's fallback knows what they said, and leaves a
    /// line of it; whoever is still there after that is hung up.
    fn end_untold(&mut self, node: usize, untold: Vec<String>) {
        let sent = std::mem::take(&mut self.nodes[node].untold);
        if untold.is_empty() {
            return;
        }
        for channel_id in untold {
            let state = &mut self.nodes[node];
            let lane = state.handle.lane(0);
            if sent.contains(&channel_id) || CallId::parse_leg(&channel_id).is_some() {
                state.untold.insert(channel_id.clone());
                self.hang_up(node, &channel_id, "a channel of which Asterisk can tell nothing");
                continue;
            }
            warn!(
                node = state.handle.name(),
                channel = channel_id,
                "a caller of whom Asterisk can tell nothing, for what it sent is no UTF-8, is sent to the fallback; update extensions.conf, \
                 which refuses such calls (`capconduit doctor` says more)"
            );
            let (context, exten, channel_id) = ("capconduit-fallback", MALFORMED, channel_id);
            // If it is still there, the next comparison hangs it up.
            drop(lane.send(Request::ContinueInDialplan { channel_id: &channel_id, context, exten, priority: 1 }));
            state.untold.insert(channel_id);
        }
        self.compare_in(node, AGAIN);
    }

    fn compared(&mut self, node: usize, belief: &Belief, channels: &[Channel], bridges: &[Bridge]) {
        let state = &self.nodes[node];
        let ours = Ours { node: state.handle.name(), apps: &state.apps };
        let findings = compare(ours, belief, channels, bridges);
        let mut findings = self.hang_up_released(node, findings);
        // Whatever holds a permit comes first, so that no call is decided on caps that look free.
        findings.sort_by_key(|finding| match finding {
            Finding::Adopt(_) => 0,
            Finding::HangUp { .. } => 1,
            _ => 2,
        });
        let open = findings.iter().any(|f| matches!(f, Finding::Adopt(_) | Finding::Absent { .. }));
        self.note_drift(node, belief, &findings);
        let listed = channels.iter().map(|channel| channel.id.as_str()).collect();
        self.forget_gone(node, &listed, &findings);
        self.settle_left(node, &findings, &listed);
        findings.into_iter().for_each(|finding| self.act_on(node, finding));
        if open || !self.nodes[node].orphans.is_empty() {
            self.compare_in(node, AGAIN);
        }
        let registry = &self.context.registry;
        for (call, _) in registry.calls_on(node).iter().filter(|(_, live)| live.heeds(Heed::Everything)) {
            registry.tell(*call, Input::NodeUp);
        }
    }

    /// Nothing of the node's calls lives any more: they end as not seen, and all permits are free.
    pub(super) fn end_all(&mut self, node: usize, why: &str) {
        let belief = Belief { hearing: Hearing::Anew, ..self.belief(node) };
        let state = &mut self.nodes[node];
        let calls = belief.calls.len() + state.left.len();
        warn!(node = state.handle.name(), calls, "{why}: its calls end, their permits are free");
        state.missing.clear();
        state.leaving.clear();
        let held = std::mem::take(&mut state.held);
        let waiting = std::mem::take(&mut state.waiting).into_iter().chain(held);
        for caller in waiting.filter(|caller| caller.noted.is_some()) {
            let since = self.known_until(node, caller.facts.call_id);
            self.begin(node, caller, Input::Missing { since });
        }
        let state = &self.nodes[node];
        let ours = Ours { node: state.handle.name(), apps: &state.apps };
        let findings = compare(ours, &belief, &[], &[]);
        self.forget_gone(node, &HashSet::new(), &findings);
        self.settle_left(node, &[], &HashSet::new());
        findings.into_iter().for_each(|finding| self.act_on(node, finding));
    }

    /// Of a call that an operator took for gone nothing is taken over: its record is written.
    fn hang_up_released(&mut self, node: usize, findings: Vec<Finding>) -> Vec<Finding> {
        let state = &mut self.nodes[node];
        let released = std::mem::take(&mut state.released);
        let hang_up = |channel_id: &String, permit| Finding::HangUp { channel_id: channel_id.clone(), permit };
        let instead = |finding| match &finding {
            Finding::Adopt(it) if released.contains(&it.call) => {
                state.released.insert(it.call);
                vec![hang_up(&it.caller.id, None), hang_up(&it.leg.id, Some(((it.call, it.n), it.permit)))]
            }
            Finding::Arrive { caller, .. } => {
                let call = CallId::derive(caller.creationtime, state.handle.name(), &caller.id);
                if !released.contains(&call) {
                    return vec![finding];
                }
                state.released.insert(call);
                vec![hang_up(&caller.id, None)]
            }
            _ => vec![finding],
        };
        findings.into_iter().flat_map(instead).collect()
    }

    /// Orphans that Asterisk does not list any more are gone, and channels that it lists are not missing, nor are legs unseen.
    fn forget_gone(&mut self, node: usize, listed: &HashSet<&str>, findings: &[Finding]) {
        let gone: Vec<String> =
            self.nodes[node].orphans.keys().filter(|id| !listed.contains(id.as_str())).cloned().collect();
        gone.iter().for_each(|id| self.orphan_gone(node, id));
        let absent: HashSet<&String> = findings
            .iter()
            .filter_map(|finding| if let Finding::Absent { channel_id } = finding { Some(channel_id) } else { None })
            .collect();
        self.nodes[node].missing.retain(|channel_id, _| absent.contains(channel_id));
        let legs = listed.iter().filter_map(|channel_id| CallId::parse_leg(channel_id));
        legs.for_each(|(call, n)| self.context.registry.leg_seen(call, n));
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
            Finding::Missing(_) if on(Mistake::MissedEndNotRepaired) => {}
            Finding::Seen(call, sight) => {
                // After an interruption nobody saw when that happened.
                let unseen = !self.nodes[node].compared && !matches!(sight, Sight::LegRinging(_));
                let late = || unseen.then(|| Late { since: self.known_until(node, call), likely: None });
                registry.tell_found(call, sight.news_to(), || Input::from(sight).read(late()));
            }
            Finding::Missing(call) => {
                let since = self.known_until(node, call);
                registry.tell(call, Input::Missing { since });
            }
            Finding::LegMissing((call, n)) => {
                let since = self.known_until(node, call);
                if !registry.tell(call, Input::LegMissing { n, since }) {
                    // Whether it was answered is not known any more: it counts, so that no total is overshot.
                    registry.book().ledger.release((call, n), true);
                }
            }
            Finding::Absent { channel_id } => {
                let (since, state) = (self.context.clock.now().mono, &mut self.nodes[node]);
                state.missing.entry(channel_id).or_insert(Missed { since, heard: state.compared });
            }
            // It arrived, or was taken over, after the lists were asked for.
            Finding::Arrive { caller, .. } if self.is_live(node, &caller.id) => {}
            Finding::Arrive { caller, .. } if self.draining => {
                self.fall_back(node, self.nodes[node].app_of(&caller), &caller.id);
            }
            // Talking on without us: the successor takes it over.
            Finding::Adopt(_) if self.draining => {}
            Finding::Arrive { caller, earlier_attempts } => {
                let facts = self.nodes[node].intake.facts_of_listed(&caller);
                // It ended here, after the lists were asked for or because its hang-up was lost: it is not sold again.
                if registry.has_ended(facts.call_id) {
                    return self.hang_up(node, &caller.id, "a caller whose call has ended");
                }
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
                if let Some((key, permit)) = permit.filter(|_| !on(Mistake::OrphanWithoutPermit)) {
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

    /// The last moment at which a call's channels are known to have lived.
    pub(super) fn known_until(&self, node: usize, call: CallId) -> Now {
        let now = self.context.clock.now();
        let app = self.context.registry.app_of(call).unwrap_or_default();
        now.before(now.mono.saturating_sub(self.nodes[node].known_until(app)))
    }

    pub(super) fn is_live(&self, node: usize, channel_id: &str) -> bool {
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
        // It goes on here already, beside that leg, which is being hung up.
        if self.context.registry.is_live(adoption.call) {
            return;
        }
        let state = &mut self.nodes[node];
        let waits = state.waiting.iter().position(|caller| caller.facts.call_id == adoption.call);
        let waited = waits.and_then(|at| state.waiting.swap_remove(at).noted);
        let noted = state.left.remove(&adoption.call).or(waited.map(|noted| *noted));
        // It was to be hung up, and the client answered before it was.
        state.orphans.remove(&adoption.leg.id);
        let app = state.app_of(&adoption.caller);
        let registry = &self.context.registry;
        let Some(inputs) = registry.register(adoption.call, node, app, &adoption.caller.id) else { return };
        if !on(Mistake::AdoptedWithoutPermit) {
            registry.book().ledger.hold((adoption.call, adoption.n), adoption.permit);
        }
        registry.leg_seen(adoption.call, adoption.n);
        info!(call = %adoption.call, "adopted: its parties were bridged by an earlier run");
        let facts = state.intake.facts_of_listed(&adoption.caller);
        if let Some(invite) = &facts.invite {
            registry.invited(facts.call_id, invite);
        }
        tokio::spawn(adopt::run(facts, adoption, noted, state.handle.lane(app), self.context.clone(), inputs));
    }

    fn forget(&self, call: CallId) {
        let registry = &self.context.registry;
        error!(%call, "the call's task died; its channels are gone, its permits are given back");
        let mut book = registry.book();
        for n in book.ledger.held_by(call).collect::<Vec<_>>() {
            book.ledger.release((call, n), true);
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
