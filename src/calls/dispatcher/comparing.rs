//! After every (re)connect and at intervals: asks for Asterisk's lists, and compares. What follows is acted on in slices.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::agenda::{Due, Rest, Said};
use super::node::Waiting;
use super::{Asked, Dispatcher, Lists, Report};
use crate::ari::{Bridge, Channel, ChannelState, Error, Request};
use crate::calls::adopt::Noted;
use crate::calls::io::Heed;
use crate::calls::reconcile::{Belief, Finding, Hearing, Known, Ours, compare};
use crate::calls::registry::LiveCall;
use crate::cdr::fallback::MALFORMED;
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
/// How long a node waits for the others, whose calls may use the same caps: from the start, or from its takeover from another controller,
/// which had the others, too.
const WAIT_FOR_OTHERS: Duration = Duration::from_secs(5);

/// Lists of more things than this are compared on another thread: it takes milliseconds.
pub(super) const LONG: usize = 2_000;

/// What lists were found to say.
#[derive(Debug)]
pub(in crate::calls) struct Found {
    asked: Box<Asked>,
    findings: Vec<Finding>,
    said: Said,
    untold: Vec<String>,
}

/// Looks on another thread.
#[cfg(not(test))]
async fn elsewhere<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, tokio::task::JoinError> {
    tokio::task::spawn_blocking(look).await
}

/// The simulation has one thread, and the same seed is the same world: a while later.
#[cfg(test)]
async fn elsewhere<T>(look: impl FnOnce() -> T) -> Result<T, tokio::task::JoinError> {
    tokio::time::sleep(Duration::from_millis(5)).await;
    Ok(look())
}

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
        let orphaned: HashSet<PermitKey> = state.orphans.iter().map(|(_, orphan)| orphan.key).collect();
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
    pub(super) fn listed(&mut self, node: usize, asked: Box<Asked>, mut lists: Result<Lists, Error>) {
        let state = &mut self.nodes[node];
        let stale = asked.generation != state.generation && !on(Mistake::StaleListsCompared);
        let info = lists.as_mut().ok().filter(|_| !stale).and_then(|lists| lists.info.take());
        if info.is_some_and(|info| state.is_anew(&info)) {
            // What was before ends before what is there now is looked at.
            let mut ends = self.end_all(node, "Asterisk started anew");
            ends.push(Due::Report(Box::new(Report::Listed { node, asked, lists })));
            return self.first(node, ends);
        }
        let state = &mut self.nodes[node];
        state.comparing = None;
        let (ended, answered) = (std::mem::take(&mut state.ended), std::mem::take(&mut state.answered));
        if stale {
            // The socket was away in between: these lists do not cover what was missed.
            self.start_comparing(node);
            return;
        }
        match lists {
            Ok(Lists { mut channels, untold, bridges, .. }) => {
                let leaving = &self.nodes[node].leaving;
                let ended = if on(Mistake::StaleListsCompared) { HashSet::new() } else { ended };
                channels.retain(|channel| !ended.contains(&channel.id) && !leaving.contains(&channel.id));
                for channel in channels.iter_mut().filter(|channel| answered.contains(&channel.id)) {
                    channel.state = ChannelState::Up;
                }
                self.look_into(node, asked, (channels, bridges, untold));
            }
            Err(error) => self.not_compared(node, &error.to_string()),
        }
    }

    fn not_compared(&mut self, node: usize, error: &str) {
        warn!(node = self.nodes[node].handle.name(), error, "Asterisk's lists could not be had");
        self.compare_in(node, RETRY);
    }

    /// Compares lists with what was believed: long ones on another thread. Whatever happens on the node waits for that.
    fn look_into(&mut self, node: usize, asked: Box<Asked>, lists: (Vec<Channel>, Vec<Bridge>, Vec<String>)) {
        let (channels, bridges, untold) = lists;
        let state = &mut self.nodes[node];
        let (handle, apps) = (state.handle.clone(), state.apps.clone());
        let long = channels.len() + bridges.len() > self.long;
        let look = move || {
            let ours = Ours { node: handle.name(), apps: &apps };
            let findings = compare(ours, &asked.belief, &channels, &bridges);
            // Of whom Asterisk can tell nothing is there, too.
            let listed = channels.into_iter().map(|channel| channel.id).chain(untold.iter().cloned()).collect();
            let said = Said::new(asked.at, listed, &findings);
            Box::new(Found { asked, findings, said, untold })
        };
        if !long {
            return self.found(node, Ok(look()));
        }
        state.elsewhere = true;
        let reports = self.reports.clone();
        tokio::spawn(async move {
            // Without a report nothing of the node would ever be done again.
            let found = elsewhere(look).await.map_err(|died| died.to_string());
            drop(reports.send(Report::Found { node, found }));
        });
    }

    /// Tells, should anybody ask, which channels the node has or may have, as far as is known here.
    pub(super) fn known_channels(&self, node: usize) -> impl FnOnce() -> Vec<String> + Send + use<> {
        let (registry, state) = (Arc::clone(&self.context.registry), &self.nodes[node]);
        let left: HashSet<CallId> = state.left.calls().collect();
        let callers_left = state.left.iter().map(|(_, noted)| noted.call.record.uniqueid.clone());
        let waiters = state.waiting.iter().chain(state.held.iter()).map(|(_, caller)| caller.facts.channel_id.clone());
        let orphans = state.orphans.iter().map(|(id, _)| id.clone());
        let others: Vec<String> = callers_left.chain(waiters).chain(orphans).collect();
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
        let registry = Arc::clone(&self.context.registry);
        let left: Vec<CallId> = self.nodes[node].left.calls().collect();
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

    /// Lists were compared; what follows is done call by call.
    pub(super) fn found(&mut self, node: usize, found: Result<Box<Found>, String>) {
        self.nodes[node].elsewhere = false;
        let Found { asked, findings, said, untold } = match found {
            Ok(found) => *found,
            Err(died) => return self.not_compared(node, &died),
        };
        let mut findings = self.hang_up_released(node, findings);
        // Whatever holds a permit comes first, so that no call is decided on caps that look free.
        findings.sort_by_key(|finding| match finding {
            Finding::Adopt(_) => 0,
            Finding::HangUp { .. } => 1,
            _ => 2,
        });
        let open = findings.iter().any(|f| matches!(f, Finding::Adopt(_) | Finding::Absent { .. }));
        self.note_drift(node, &asked.belief, &findings);
        self.see(node, &said, &findings);
        let mut dues = self.dues(node, said, findings);
        dues.push(Due::Acted(Box::new(Rest { open, untold, asked_at: asked.at })));
        self.first(node, dues);
    }

    /// What follows from lists and from what they were found to say.
    fn dues(&mut self, node: usize, said: Said, findings: Vec<Finding>) -> Vec<Due> {
        let state = &mut self.nodes[node];
        // After an interruption, callers who waited when the lists were asked for may have left unheard, or have been answered by an orphan:
        // such a one is settled before that is.
        let waits = state.waiting.iter().chain(state.held.iter()).filter(|_| !state.compared);
        let waited = waits.filter(|(_, caller)| caller.since < said.asked_at);
        let is_over = |(call, caller): &(CallId, &Waiting)| {
            let channel_id = &caller.facts.channel_id;
            !said.listed.contains(channel_id) || (said.hung_up.contains(channel_id) && state.orphans.has_of(*call))
        };
        let waiters = waited.filter(is_over).map(|(call, _)| Due::WaiterGone(call));
        // Orphans that are not listed any more are gone.
        let gone = state.orphans.iter().map(|(id, _)| id).filter(|id| !said.listed.contains(*id));
        // Of one on its way to the fallback its own events tell.
        let stays = |noted: &Noted| !state.leaving.contains(&noted.call.record.uniqueid);
        let left = state.left.iter().filter(|(_, noted)| stays(noted)).map(|(call, _)| call);
        let dues = waiters.chain(gone.cloned().map(Due::OrphanGone)).chain(left.map(Due::SettleLeft));
        let dues = dues.chain(findings.into_iter().map(|finding| Due::Act(Box::new(finding)))).collect();
        state.said = Some(said);
        dues
    }

    /// All that was found is acted on: live calls are told.
    pub(super) fn acted(&mut self, node: usize, rest: Box<Rest>) {
        let state = &self.nodes[node];
        if rest.open || !state.orphans.is_empty() || state.left.calls().next().is_some() {
            self.compare_in(node, AGAIN);
        }
        // The others have nothing to ask for again.
        let calls = self.context.registry.calls_on(node).into_iter().filter(|(_, live)| live.heeds(Heed::Everything));
        let dues = calls.map(|(call, _)| Due::NodeUp(call)).chain([Due::Compared(rest)]).collect();
        self.first(node, dues);
    }

    /// They were told: the node's calls are known.
    pub(super) fn compared(&mut self, node: usize, rest: Rest) {
        self.nodes[node].said = None;
        self.end_untold(node, rest.untold);
        self.nodes[node].was_compared(rest.asked_at);
        self.note_interrupted(node);
        self.open_nodes();
    }

    /// Nothing of the node's calls lives any more: how they end as not seen, and how all permits become free.
    pub(super) fn end_all(&mut self, node: usize, why: &str) -> Vec<Due> {
        let belief = Belief { hearing: Hearing::Anew, ..self.belief(node) };
        let state = &mut self.nodes[node];
        let calls = belief.calls.len() + state.left.len();
        warn!(node = state.handle.name(), calls, "{why}: its calls end, their permits are free");
        state.missing.clear();
        state.leaving.clear();
        let waiting = state.waiting.take_all().chain(state.held.take_all());
        let waiting = waiting.filter(|caller| caller.noted.is_some()).map(|caller| Due::Lost(Box::new(caller)));
        let mut dues: Vec<Due> = waiting.collect();
        let ours = Ours { node: state.handle.name(), apps: &state.apps };
        let findings = compare(ours, &belief, &[], &[]);
        dues.extend(self.dues(node, Said::default(), findings));
        dues.push(Due::Ended);
        dues
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

    /// Channels that Asterisk lists are not missing, nor are legs unseen.
    fn see(&mut self, node: usize, said: &Said, findings: &[Finding]) {
        let absent: HashSet<&String> = findings
            .iter()
            .filter_map(|finding| if let Finding::Absent { channel_id } = finding { Some(channel_id) } else { None })
            .collect();
        self.nodes[node].missing.retain(|channel_id, _| absent.contains(channel_id));
        let legs = said.listed.iter().filter_map(|channel_id| CallId::parse_leg(channel_id));
        legs.for_each(|(call, n)| self.context.registry.leg_seen(call, n));
    }

    /// Lets nodes take calls: those that are compared, once all are or they have waited long enough.
    pub(super) fn open_nodes(&mut self) {
        let (now, all) = (self.context.clock.now().mono, self.nodes.iter().all(|node| node.compared));
        for state in &mut self.nodes {
            state.waits = state.waits.filter(|since| !all && now.saturating_sub(*since) < WAIT_FOR_OTHERS);
        }
        if self.handing_over || self.refusing {
            return;
        }
        let mut newly_ready = Vec::new();
        for (node, state) in self.nodes.iter_mut().enumerate() {
            if !state.ready && state.compared && state.is_up() && state.waits.is_none() {
                state.ready = true;
                info!(node = state.handle.name(), "node ready: taking calls");
                newly_ready.push(node);
            }
        }
        if !newly_ready.is_empty() {
            self.ask_epochs();
            self.tell_health();
        }
        newly_ready.into_iter().for_each(|node| self.look_at_all(node));
    }
}
