//! The one front door: the only consumer of every node's events, and the only place where calls begin.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use super::adopt;
use super::execute;
use super::facts::CallFacts;
use super::heartbeat;
use super::intake::Intake;
use super::io::Input;
use super::reconcile::{Adoption, Belief, Finding, Ours, compare};
use super::task::{self, Context};
use super::translate::{caller_input, leg_input};
use crate::ari::{Bridge, Channel, Event, NodeEvent, NodeEventKind, NodeHandle, Request};
use crate::id::CallId;
use crate::routing::caps::PermitKey;

/// How often each node's lists are compared with ours.
const COMPARE_EVERY: Duration = Duration::from_secs(30);
/// How soon after a first comparison the second follows, so that a leg that went in between is not held for long.
const COMPARE_AGAIN: Duration = Duration::from_secs(3);
/// How soon a comparison that failed is tried again.
const COMPARE_RETRY: Duration = Duration::from_secs(1);

/// What the dispatcher's own errands bring back.
#[derive(Debug)]
pub(super) enum Report {
    /// A node's lists, with what was believed before they were asked for.
    Listed { node: usize, belief: Belief, lists: Result<(Vec<Channel>, Vec<Bridge>), crate::ari::Error> },
    /// Time to compare.
    Compare { node: usize },
    /// The node's own time, in seconds since 1970.
    Epoch { node: usize, epoch: String },
}

/// One node as the dispatcher sees it.
#[derive(Debug)]
struct NodeState {
    handle: NodeHandle,
    intake: Intake,
    apps: Vec<String>,
    up: Vec<bool>,
    /// Compared since it came up: its calls can be decided.
    ready: bool,
    comparing: bool,
    missing: HashSet<PermitKey>,
    /// Arrivals before the node was ready: app, channel, arguments.
    waiting: Vec<(u16, Channel, Vec<String>)>,
}

/// One node as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// Configured name.
    pub name: String,
    /// Connected and compared: its calls are decided here.
    pub ready: bool,
}

/// Consumes events until shutdown, then until the last call has ended or the drain time is over.
#[derive(Debug)]
pub struct Dispatcher {
    nodes: Vec<NodeState>,
    context: Context,
    max_live: usize,
    health: watch::Sender<Vec<NodeHealth>>,
    reports: mpsc::UnboundedSender<Report>,
    inbox: mpsc::UnboundedReceiver<Report>,
    /// Set once and for ever by the shutdown: no new calls.
    draining: bool,
}

impl Dispatcher {
    /// A dispatcher for these nodes, each with how its inbound channels are read.
    #[must_use]
    pub(crate) fn new(
        nodes: Vec<(NodeHandle, Intake)>,
        context: Context,
        max_live: usize,
        health: watch::Sender<Vec<NodeHealth>>,
    ) -> Self {
        let nodes = nodes.into_iter().map(|(handle, intake)| NodeState::new(handle, intake)).collect();
        let (reports, inbox) = mpsc::unbounded_channel();
        let dispatcher = Self { nodes, context, max_live, health, reports, inbox, draining: false };
        dispatcher.tell_health();
        dispatcher
    }

    fn tell_health(&self) {
        let health = self.nodes.iter().map(|n| NodeHealth { name: n.handle.name().to_owned(), ready: n.ready });
        self.health.send_replace(health.collect());
    }

    /// Runs until `shutdown`, then at most `drain` longer while calls are live.
    pub async fn run(mut self, mut events: mpsc::Receiver<NodeEvent>, shutdown: CancellationToken, drain: Duration) {
        let mut heartbeat = interval(heartbeat::EVERY);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare = interval(COMPARE_EVERY);
        let mut drained_at = None;
        loop {
            tokio::select! {
                Some(event) = events.recv() => self.on_event(event),
                Some(report) = self.inbox.recv() => self.on_report(report),
                _ = heartbeat.tick() => {
                    if drained_at.is_none() { self.ask_epochs(); }
                    if self.is_drained(drained_at) { return; }
                }
                _ = compare.tick() => (0..self.nodes.len()).for_each(|node| self.start_comparing(node)),
                () = shutdown.cancelled(), if drained_at.is_none() => {
                    drained_at = Some(self.context.clock.now().mono + drain);
                    self.withdraw().await;
                    if self.is_drained(drained_at) { return; }
                }
            }
        }
    }

    fn is_drained(&self, deadline: Option<Duration>) -> bool {
        let Some(deadline) = deadline else { return false };
        let live = self.context.registry.live();
        if live > 0 && self.context.clock.now().mono < deadline {
            return false;
        }
        if live > 0 {
            warn!(live, "leaving calls to the next start: the drain time is over");
        }
        true
    }

    /// No new calls: the dialplan falls back at once.
    async fn withdraw(&mut self) {
        self.draining = true;
        info!(live = self.context.registry.live(), "draining: the heartbeat is withdrawn, running calls go on");
        for node in 0..self.nodes.len() {
            for (app, channel, _) in std::mem::take(&mut self.nodes[node].waiting) {
                self.fall_back(node, app, &channel.id);
            }
        }
        for node in self.nodes.iter_mut().filter(|n| n.ready) {
            node.ready = false;
            if let Err(error) = heartbeat::withdraw(&node.handle.lane(0)).await {
                warn!(node = node.handle.name(), %error, "the heartbeat could not be withdrawn; it expires by itself");
            }
        }
        self.tell_health();
    }

    fn on_event(&mut self, event: NodeEvent) {
        let NodeEvent { node, app, kind, .. } = event;
        match kind {
            NodeEventKind::Up(info) => {
                info!(node = self.nodes[node].handle.name(), app, version = info.version, "node connected");
                self.nodes[node].up[usize::from(app)] = true;
                self.start_comparing(node);
            }
            NodeEventKind::Down(reason) => {
                let state = &mut self.nodes[node];
                warn!(
                    node = state.handle.name(),
                    app,
                    reason = reason.as_str(),
                    "node disconnected; its calls live on in Asterisk"
                );
                state.up[usize::from(app)] = false;
                state.ready = false;
                self.tell_health();
            }
            NodeEventKind::Event(Event::StasisStart { channel, args, .. }) => self.on_start(node, app, channel, args),
            NodeEventKind::Event(event) => self.on_channel_event(node, &event),
        }
    }

    fn on_start(&mut self, node: usize, app: u16, channel: Channel, args: Vec<String>) {
        if let Some((call, n)) = CallId::parse_leg(&channel.id) {
            if !self.context.registry.tell(call, Input::LegReady(n)) {
                self.hang_up(node, &channel.id, "an outbound channel without a call");
            }
        } else if self.draining {
            self.fall_back(node, app, &channel.id);
        } else if self.nodes[node].ready {
            let facts = self.nodes[node].intake.facts(&channel, &args);
            self.arrive(node, app, facts, 0);
        } else {
            self.nodes[node].waiting.push((app, channel, args));
        }
    }

    /// Sends a caller that came too late for this process to the dialplan's fallback.
    fn fall_back(&self, node: usize, app: u16, channel_id: &str) {
        let lane = self.nodes[node].handle.lane(app);
        info!(
            node = self.nodes[node].handle.name(),
            channel = channel_id,
            "draining: sending the caller to the fallback"
        );
        drop(lane.send(Request::SetChannelVariable { channel_id, variable: "CAPCONDUIT_REASON", value: "draining" }));
        let (context, exten) = ("capconduit-fallback", "s");
        drop(lane.send(Request::ContinueInDialplan { channel_id, context, exten, priority: 1 }));
    }

    /// A call begins: register, so that it is found; check the load; start its task.
    fn arrive(&mut self, node: usize, app: u16, facts: CallFacts, earlier_attempts: u32) {
        let registry = &self.context.registry;
        let overloaded = registry.live() >= self.max_live;
        let Some(inputs) = registry.register(facts.call_id, node, app, &facts.channel_id) else {
            debug!(call = %facts.call_id, "arrived again: known already");
            return;
        };
        let lane = self.nodes[node].handle.lane(app);
        let first = Input::Arrived { overloaded };
        tokio::spawn(task::run(facts, earlier_attempts, first, lane, self.context.clone(), inputs));
    }

    fn on_channel_event(&self, node: usize, event: &Event) {
        let Some(channel) = event.channel() else { return };
        let registry = &self.context.registry;
        if let Some((call, n)) = CallId::parse_leg(&channel.id) {
            if let Some(input) = leg_input(n, event) {
                registry.tell(call, input);
            }
        } else if let Some(call) = registry.call_of(node, &channel.id)
            && let Some(input) = caller_input(event)
        {
            registry.tell(call, input);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Compare { node } => self.start_comparing(node),
            Report::Epoch { node, epoch } => {
                let state = &self.nodes[node];
                if state.ready {
                    heartbeat::beat(&state.handle.lane(0), &epoch);
                }
            }
            Report::Listed { node, belief, lists } => {
                self.nodes[node].comparing = false;
                match lists {
                    Ok((channels, bridges)) => self.compared(node, &belief, &channels, &bridges),
                    Err(error) => {
                        warn!(node = self.nodes[node].handle.name(), %error, "Asterisk's lists could not be had");
                        self.compare_in(node, COMPARE_RETRY);
                    }
                }
            }
        }
    }

    /// Asks for the node's lists, unless they are on their way or the node is not connected.
    fn start_comparing(&mut self, node: usize) {
        let belief = self.belief(node);
        let state = &mut self.nodes[node];
        if state.comparing || !state.is_up() {
            return;
        }
        state.comparing = true;
        let (handle, reports) = (state.handle.clone(), self.reports.clone());
        tokio::spawn(async move {
            let lists = tokio::try_join!(handle.list_channels(), handle.list_bridges());
            // The receiver lives as long as the dispatcher; after it nobody compares.
            drop(reports.send(Report::Listed { node, belief, lists }));
        });
    }

    fn compare_in(&self, node: usize, wait: Duration) {
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
        let permits = registry.book().ledger.held().map(|(key, _)| key).filter(|(c, _)| on_node.contains(c)).collect();
        Belief {
            calls: calls
                .into_iter()
                .map(|(call, live)| (live.channel_id.clone(), (call, live.is_orphaned())))
                .collect(),
            permits,
            missing_before: self.nodes[node].missing.clone(),
        }
    }

    fn compared(&mut self, node: usize, belief: &Belief, channels: &[Channel], bridges: &[Bridge]) {
        let state = &self.nodes[node];
        let ours = Ours { node: state.handle.name(), apps: &state.apps };
        let findings = compare(ours, belief, channels, bridges);
        self.nodes[node].missing.clear();
        findings.into_iter().for_each(|finding| self.act_on(node, finding));
        if !self.nodes[node].missing.is_empty() {
            self.compare_in(node, COMPARE_AGAIN);
        }
        let state = &mut self.nodes[node];
        if !self.draining && !state.ready && state.is_up() {
            state.ready = true;
            info!(node = state.handle.name(), "node ready: taking calls");
            for (app, channel, args) in std::mem::take(&mut state.waiting) {
                self.on_start(node, app, channel, args);
            }
            self.context.registry.calls_on(node).iter().for_each(|(call, _)| {
                self.context.registry.tell(*call, Input::NodeUp);
            });
            self.ask_epochs();
            self.tell_health();
        }
    }

    fn act_on(&mut self, node: usize, finding: Finding) {
        let registry = &self.context.registry;
        match finding {
            Finding::CallerGone(call) => {
                registry.tell(call, Input::CallerGone);
            }
            Finding::LegGone((call, n)) => {
                if !registry.tell(call, Input::LegGone { n, cause: None, sip: None }) {
                    registry.book().ledger.release((call, n), false);
                }
            }
            Finding::LegMissing(key) => {
                self.nodes[node].missing.insert(key);
            }
            Finding::Arrive { caller, .. } if self.draining => {
                self.fall_back(node, self.nodes[node].app_of(&caller), &caller.id);
            }
            // Talking on without us: the successor takes it over.
            Finding::Adopt(_) if self.draining => {}
            Finding::Arrive { caller, earlier_attempts } => {
                let facts = self.nodes[node].intake.facts_of_listed(&caller);
                let app = self.nodes[node].app_of(&caller);
                self.arrive(node, app, facts, earlier_attempts);
            }
            Finding::Adopt(adoption) => self.adopt(node, *adoption),
            Finding::HangUp(channel_id) if self.is_live(node, &channel_id) => {}
            Finding::HangUp(channel_id) => self.hang_up(node, &channel_id, "a channel of ours without a call"),
            Finding::DeleteBridge(bridge_id) => {
                drop(self.nodes[node].handle.lane(0).send(Request::DeleteBridge { bridge_id: &bridge_id }));
            }
            Finding::Forget(call) => self.forget(call),
        }
    }

    /// Whether a channel belongs to a call that began, or was taken over, after the lists were asked for.
    fn is_live(&self, node: usize, channel_id: &str) -> bool {
        let registry = &self.context.registry;
        let call = CallId::parse_leg(channel_id).map(|(call, _)| call).or_else(|| registry.call_of(node, channel_id));
        call.is_some_and(|call| registry.is_live(call))
    }

    fn adopt(&self, node: usize, adoption: Adoption) {
        let state = &self.nodes[node];
        let app = state.app_of(&adoption.caller);
        let registry = &self.context.registry;
        let Some(inputs) = registry.register(adoption.call, node, app, &adoption.caller.id) else { return };
        registry.book().ledger.hold((adoption.call, adoption.n), adoption.permit);
        info!(call = %adoption.call, "adopted: its parties were bridged by an earlier run");
        let facts = state.intake.facts_of_listed(&adoption.caller);
        tokio::spawn(adopt::run(facts, adoption, state.handle.lane(app), self.context.clone(), inputs));
    }

    fn forget(&self, call: CallId) {
        let registry = &self.context.registry;
        error!(%call, "the call's task died; its channels are gone, its permits are given back");
        let mut book = registry.book();
        let keys: Vec<PermitKey> = book.ledger.held().map(|(key, _)| key).filter(|(c, _)| *c == call).collect();
        // Whether it was answered is not known any more: it counts, so that no total is overshot.
        for key in keys {
            book.ledger.release(key, true);
        }
        drop(book);
        registry.remove(call);
    }

    fn hang_up(&self, node: usize, channel_id: &str, why: &str) {
        let state = &self.nodes[node];
        info!(node = state.handle.name(), channel = channel_id, "hanging up {why}");
        drop(state.handle.lane(0).send(execute::abandon(channel_id)));
    }

    fn ask_epochs(&self) {
        for state in self.nodes.iter().filter(|state| state.ready) {
            let node = state.handle.index();
            tokio::spawn(heartbeat::ask_epoch(node, state.handle.lane(0), self.reports.clone()));
        }
    }
}

impl NodeState {
    fn new(handle: NodeHandle, intake: Intake) -> Self {
        let apps: Vec<String> = (0..handle.apps()).map(|app| handle.app_name(app).to_owned()).collect();
        let up = vec![false; apps.len()];
        Self { handle, intake, apps, up, ready: false, comparing: false, missing: HashSet::new(), waiting: Vec::new() }
    }

    fn is_up(&self) -> bool {
        self.up.iter().all(|up| *up)
    }

    /// Index of the application a listed channel is in.
    fn app_of(&self, channel: &Channel) -> u16 {
        let name = channel.app_data.split(',').next().unwrap_or_default();
        self.apps.iter().position(|app| app == name).and_then(|at| u16::try_from(at).ok()).unwrap_or(0)
    }
}
