//! The one front door: the only consumer of every node's events, and the only place where calls begin.

mod acting;
mod agenda;
mod arriving;
mod callers;
mod comparing;
mod desk;
mod draining;
mod drift;
mod leaving;
mod left;
mod node;
mod orphans;
mod overload;
mod pulse;
#[cfg(test)]
mod recovering_test;
mod stopping;
mod visits;
mod watching;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::comparing::Found;
use self::desk::{Answer, Seen};
pub use self::desk::{Desk, NodeView, NotReleased, Order};
pub use self::draining::{Emptying, NotEmptied};
pub(crate) use self::draining::{VARIABLE as DRAINED, drained_since};
use self::node::{NodeState, Waiting};
use self::pulse::Pulse;
use super::intake::Intake;
use super::io::Input;
use super::late::Late;
use super::reconcile::{Belief, Sight};
use super::task::Context;
use super::translate::{self, caller_input, leg_input};
use super::{heartbeat, shedding};
use crate::ari::{
    Bridge, Channel, ChannelState, DownReason, Error, Event, Info, NodeEvent, NodeEventKind, NodeHandle, Turn,
};
use crate::cdr::journal::{Alive, Left};
use crate::clock::{Clock, Now, Stamp};
use crate::config;
use crate::id::CallId;
use crate::in_force::InForce;
use crate::mistakes::{Mistake, on};
use crate::routing::snapshot::words;

/// How often each node's lists are compared with ours.
const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// How much it takes on.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Live calls at most, over all nodes.
    pub max_live: usize,
    /// How long callers on a node that is emptied may wait to be answered.
    pub drain: Duration,
}

impl Bounds {
    /// As configured.
    #[must_use]
    pub fn new(calls: &config::Calls) -> Self {
        Self { max_live: calls.max_live, drain: calls.drain }
    }
}

/// What the dispatcher's own errands bring back.
#[derive(Debug)]
pub(super) enum Report {
    /// A node's lists, or why they could not be had.
    Listed { node: usize, asked: Box<Asked>, lists: Result<Lists, Error> },
    /// They were compared, or why not.
    Found { node: usize, found: Result<Box<Found>, String> },
    /// Time to compare.
    Compare { node: usize },
    /// A caller that was sent to the fallback may still be in the application.
    Stays { node: usize, channel_id: String, error: Error },
    /// A caller whose INVITE was that of a call under way.
    Again { node: usize, call: CallId },
    /// A node was told which part of the new calls to refuse, which took so long, or could not be.
    Shed { node: usize, took: Result<Duration, Error> },
    /// The node's own time, in seconds since 1970, and since when it is being emptied, if it is; unless it would not say.
    Epoch { node: usize, epoch: String, drained: Option<String> },
    /// A node's heartbeat is withdrawn, as this process hands over.
    Withdrawn { node: usize },
    /// A node was told that it is emptied, or takes calls again, or could not be.
    Emptied { node: usize, since: Option<i64>, told: Result<(), Error>, answer: Answer<NotEmptied> },
    /// For how long the node's dialplan holds calls while the controller starts anew; `None` where it knows no such thing.
    Holds { node: usize, seconds: Option<u64> },
    /// The channels of a node that another controller has.
    Elsewhere { node: usize, channels: Result<Vec<Channel>, Error> },
    /// An operator asks how the nodes are.
    View(oneshot::Sender<Vec<Seen>>),
    /// An operator says that nothing of a silent node's calls lives any more; only asks whether that may be said unless `carry_out`.
    Release { order: Order, carry_out: bool, answer: Answer<NotReleased> },
    /// An operator empties a node, or lets it take calls again; likewise.
    Empty { order: Emptying, carry_out: bool, answer: Answer<NotEmptied> },
}

/// How things stood when a node's lists were asked for.
#[derive(Debug)]
pub(super) struct Asked {
    generation: u64,
    /// Monotonic time.
    at: Duration,
    belief: Belief,
}

/// What Asterisk says it has, and what it is.
#[derive(Debug)]
pub(super) struct Lists {
    channels: Vec<Channel>,
    /// Channels of ours that are there and of which it can tell nothing.
    untold: Vec<String>,
    bridges: Vec<Bridge>,
    /// `None` where it would not say.
    info: Option<Info>,
}

/// One node as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeHealth {
    /// Configured name.
    pub name: String,
    /// Connected and compared, and its requests do not fail: its calls are decided here.
    pub ready: bool,
    /// How it stands.
    pub standing: NodeStanding,
}

words! {
    /// How a node stands.
    NodeStanding {
        /// Its calls are decided here.
        Ready = "ready",
        /// It is not connected.
        Away = "away",
        /// It is connected; what Asterisk lists is being compared with what is known.
        Comparing = "comparing",
        /// Its requests fail for everybody: new calls take the dialplan's fallback, until one may try whether they succeed again.
        Failing = "failing",
        /// Another controller has its applications.
        Taken = "taken",
        /// An operator empties it: new calls take the dialplan's fallback, talks go on.
        Drained = "drained",
        /// This process is ending, and the next one goes on with its calls.
        HandingOver = "handing_over",
    }
}

/// Consumes events until shutdown, and hands over to the next process.
#[derive(Debug)]
pub struct Dispatcher {
    nodes: Vec<NodeState>,
    context: Context,
    bounds: InForce<Bounds>,
    /// Lists of more things than this are long.
    long: usize,
    health: watch::Sender<Vec<NodeHealth>>,
    reports: mpsc::UnboundedSender<Report>,
    inbox: mpsc::UnboundedReceiver<Report>,
    /// When it was made.
    begun: Stamp,
    pulse: Pulse,
    /// Set once and for ever by the shutdown: no new calls.
    handing_over: bool,
    /// Monotonic time at which this process may end.
    ends_at: Option<Duration>,
    /// The journal cannot keep what new calls commit to.
    refusing: bool,
}

/// Ready at this monotonic time.
async fn until(clock: &Clock, mono: Option<Duration>) {
    if let Some(mono) = mono {
        tokio::time::sleep_until(clock.instant(mono)).await;
    }
}

impl Dispatcher {
    /// A dispatcher for these nodes, each with how its inbound channels are read.
    #[must_use]
    pub(crate) fn new(
        nodes: Vec<(NodeHandle, Intake)>,
        context: Context,
        bounds: InForce<Bounds>,
        health: watch::Sender<Vec<NodeHealth>>,
        left: Left,
    ) -> Self {
        let (reports, inbox) = mpsc::unbounded_channel();
        let (started, begun) = (context.clock.now().mono, context.clock.stamp());
        let nodes = nodes.into_iter().map(|(handle, intake)| NodeState::new(handle, intake, started)).collect();
        let (handing_over, ends_at, refusing) = (false, None, false);
        let long = comparing::LONG;
        let pulse = Pulse::default();
        let mut dispatcher = Self {
            nodes,
            context,
            bounds,
            long,
            health,
            reports,
            inbox,
            begun,
            pulse,
            handing_over,
            ends_at,
            refusing,
        };
        dispatcher.hold_left(left);
        dispatcher.tell_health();
        dispatcher
    }

    /// The same, which takes lists of more things than this for long ones: a simulated node has few.
    #[cfg(test)]
    pub(crate) fn with_long_lists_from(mut self, long: usize) -> Self {
        self.long = long;
        self
    }

    /// Told each second for as long as what comes is worked through.
    #[must_use]
    pub fn pulse(&self) -> Arc<Notify> {
        self.pulse.beat()
    }

    fn tell_health(&self) {
        let health = self.nodes.iter().map(|node| {
            let standing = self.standing(node);
            let ready = standing == NodeStanding::Ready;
            NodeHealth { name: node.handle.name().to_owned(), ready, standing }
        });
        self.health.send_replace(health.collect());
        (0..self.nodes.len()).for_each(|node| self.measure_shed(node));
    }

    /// Runs until `shutdown`, and a moment longer.
    pub async fn run(mut self, mut events: mpsc::Receiver<NodeEvent>, shutdown: CancellationToken) {
        let mut second = interval(heartbeat::EVERY);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut compare = interval(COMPARE_EVERY);
        let mut shed = interval(shedding::EVERY);
        shed.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut turn = Turn::default();
        let mut journal = self.context.journal.standing();
        loop {
            tokio::select! {
                // In a fixed order, so that a run can be replayed: what is rare first, so that a flood of events keeps nothing waiting.
                biased;
                () = shutdown.cancelled(), if !self.handing_over => self.hand_over(),
                () = until(&self.context.clock, self.ends_at), if self.handing_over && !self.is_busy() => {
                    // Channels of calls that are recorded already are in no journal.
                    let ended = self.nodes.iter().all(|node| node.orphans.is_empty());
                    return self.context.journal.alive(Alive { ended, ..self.alive() });
                }
                _ = second.tick() => {
                    self.pulse.tick(events.len());
                    self.context.journal.alive(self.alive());
                    self.watch_taken();
                    if !self.handing_over {
                        self.every_second();
                    }
                }
                Ok(()) = journal.changed() => {
                    let refusing = journal.borrow_and_update().refusing.is_some();
                    self.refuse(refusing);
                }
                _ = compare.tick() => (0..self.nodes.len()).for_each(|node| {
                    self.start_comparing(node);
                    self.look_for_orphans(node);
                }),
                _ = shed.tick(), if self.may_shed() => self.shed(),
                Some(report) = self.inbox.recv() => self.receive(report, &mut events),
                () = std::future::ready(()), if self.may_work() => {
                    self.work(&mut events);
                    // The thread is the sockets' and the calls', too.
                    tokio::task::yield_now().await;
                }
                Some(event) = events.recv() => {
                    self.hear(event);
                    turn.did().await;
                }
            }
        }
    }

    /// That this controller lives, and how well it knows its nodes.
    fn alive(&self) -> Alive {
        let (now, at) = (self.context.clock.now().mono, self.context.clock.stamp());
        let heard = |node: &NodeState| (node.handle.name().to_owned(), at.before(now.saturating_sub(node.heard())));
        Alive { at, heard: self.nodes.iter().map(heard).collect(), begun: Some(self.begun), ended: false }
    }

    fn every_second(&mut self) {
        self.open_nodes();
        self.watch_breakers();
        self.ask_epochs();
        for node in 0..self.nodes.len() {
            self.look_for_late(node);
            self.expire_orphans(node);
            self.expire_left(node);
            self.empty_further(node);
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        let NodeEvent { node, app, kind, at, late } = event;
        let (at, late) = (Now::from(at), late.map(translate::late));
        match kind {
            NodeEventKind::Up(info) => {
                info!(node = self.nodes[node].handle.name(), app, version = info.version, "node connected");
                if self.nodes[node].is_anew(&info) {
                    self.note_drained(node, None);
                    let ends = self.end_all(node, "Asterisk started anew");
                    self.first(node, ends);
                }
                self.nodes[node].intake.found(&info);
                self.nodes[node].version = Some(info.version);
                self.nodes[node].turn(app, None, at);
                self.connected(node, app);
                self.start_comparing(node);
            }
            NodeEventKind::Down { reason: DownReason::Replaced, heard } => self.replaced(node, app, at, heard),
            NodeEventKind::Taken => self.taken(node),
            NodeEventKind::Down { reason, heard } => {
                let (state, reason) = (&mut self.nodes[node], reason.as_str());
                warn!(node = state.handle.name(), app, reason, "node disconnected; its calls live on in Asterisk");
                state.turn(app, Some(heard), at);
                self.note_interrupted(node);
                self.stop_beating(node);
                self.tell_health();
            }
            NodeEventKind::Event(Event::StasisStart { channel, replaced: Some(replaced), .. }) => {
                self.took_the_place(node, &channel.id, &replaced);
            }
            NodeEventKind::Event(Event::StasisStart { channel, args, .. }) => self.on_start(node, app, channel, args),
            NodeEventKind::Event(event) => self.on_channel_event(node, &event, late),
        }
    }

    /// Whether no new call of a node's is taken.
    fn sends_away(&self, node: usize) -> bool {
        self.nodes[node].withdrawn || self.refusing || self.nodes[node].drain.is_some()
    }

    /// Withdraws a node's heartbeat through whichever socket is there: the dialplan, which picks applications at random, shall fall back
    /// at once.
    fn stop_beating(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        // Nobody comes that could be refused: what is in force then, none knows.
        state.shedding.forget();
        if let Some(app) = state.up.iter().position(|up| *up).and_then(|app| u16::try_from(app).ok()) {
            let lane = state.handle.lane(app);
            // If it does not arrive, the heartbeat expires by itself.
            tokio::spawn(async move { heartbeat::withdraw(&lane).await });
        }
    }

    fn on_start(&mut self, node: usize, app: u16, channel: Channel, args: Vec<String>) {
        if let Some((call, n)) = CallId::parse_leg(&channel.id) {
            self.context.registry.leg_seen(call, n);
            if !self.context.registry.tell(call, Input::LegReady(n)) {
                self.hang_up(node, &channel.id, "an outbound channel without a call");
            }
            return;
        }
        let facts = self.nodes[node].intake.facts(&channel, &args);
        if self.context.registry.has_ended(facts.call_id) && !on(Mistake::ArrivalTwice) {
            debug!(call = %facts.call_id, "arrived again: ended already");
        } else if self.is_live(node, &channel.id) {
            debug!(call = %facts.call_id, "arrived again: known already");
        } else if self.nodes[node].waits(&channel.id) {
            // With what lists, and an earlier run, told of it; it is looked at in its turn.
            debug!(call = %facts.call_id, "arrived again: waits already");
        } else if self.sends_away(node) {
            self.fall_back(node, app, &channel.id);
        } else {
            let since = self.context.clock.now().mono;
            self.decide_or_wait(node, Waiting { app, facts, earlier_attempts: 0, noted: None, since });
        }
    }

    /// A channel that took another's place in a bridge (an INVITE with Replaces, where `res_pjsip_refer` is loaded) is in our application
    /// without a call of its own, and the other is out of its bridge and hears nothing. No cap knows the one: it is hung up, and the call ends.
    fn took_the_place(&mut self, node: usize, channel_id: &str, replaced: &str) {
        self.hang_up(node, channel_id, "a channel that took another's place");
        let leg = CallId::parse_leg(replaced);
        let call = leg.map(|(call, _)| call).or_else(|| self.context.registry.call_of(node, replaced));
        if let Some(call) = call {
            warn!(%call, node = self.nodes[node].handle.name(), channel = channel_id, replaced, "a party was replaced: the call ends");
            self.context.registry.tell(call, Input::Replaced(leg.map(|(_, n)| n)));
        }
    }

    fn on_channel_event(&mut self, node: usize, event: &Event, late: Option<Late>) {
        let Some(channel) = event.channel_id() else { return };
        if matches!(event, Event::StasisEnd { .. } | Event::ChannelDestroyed { .. }) {
            self.waiting_caller_left(node, channel, event.shows_answered());
            if self.nodes[node].leaving.remove(channel) {
                self.hand_over_left(node, channel);
            }
            if self.nodes[node].comparing.is_some() {
                self.nodes[node].ended.insert(channel.to_owned());
            }
        }
        if matches!(event, Event::ChannelStateChange { channel, .. } if channel.state == ChannelState::Up) {
            let state = &mut self.nodes[node];
            if state.comparing.is_some() {
                state.answered.insert(channel.to_owned());
            }
            self.waiting_caller_answered(node, channel);
        }
        if matches!(event, Event::ChannelDestroyed { .. }) {
            self.orphan_gone(node, channel);
        }
        self.answered_unheard(node, event);
        let registry = &self.context.registry;
        if let Some((call, n)) = CallId::parse_leg(channel) {
            registry.leg_seen(call, n);
            if let Some(input) = leg_input(n, event) {
                registry.tell(call, input.read(late));
            }
        } else if let Some(call) = registry.call_of(node, channel)
            && let Some(input) = caller_input(event)
        {
            if matches!(input, Input::CallerGone) {
                registry.caller_seen_to_go(call);
            }
            if matches!(input, Input::CallerGone | Input::CallerHangup { .. }) {
                registry.caller_leaves(call);
            }
            registry.tell(call, input.read(late));
        }
    }

    /// Whoever goes, and is shown to be up, was answered. After an interruption that may have gone unheard until lists are compared.
    fn answered_unheard(&self, node: usize, event: &Event) {
        let Some(channel) = event.channel_id().filter(|_| event.shows_answered() && !self.nodes[node].compared) else {
            return;
        };
        let leg = CallId::parse_leg(channel).map(|(call, n)| (call, Sight::LegAnswered(n)));
        let caller = || self.context.registry.call_of(node, channel).map(|call| (call, Sight::CallerUp));
        if let Some((call, sight)) = leg.or_else(caller) {
            self.seen(node, call, sight);
        }
    }

    fn on_report(&mut self, report: Report) {
        match report {
            Report::Compare { node } => {
                self.nodes[node].again = false;
                self.start_comparing(node);
            }
            Report::Found { node, found } => self.found(node, found),
            Report::Listed { node, asked, lists } => self.listed(node, asked, lists),
            Report::Again { node, call } => self.arrive_again(node, call),
            Report::Shed { node, took } => self.shed_told(node, &took),
            Report::Stays { node, channel_id, error } => self.stays(node, &channel_id, &error),
            // Whoever asked may have gone.
            Report::View(answer) => drop(answer.send(self.view())),
            Report::Release { order, carry_out, answer } => self.release(&order, carry_out, answer),
            Report::Withdrawn { node } => self.withdrawn(node),
            Report::Holds { node, seconds } => self.nodes[node].holds = seconds.map(Duration::from_secs),
            Report::Empty { order, carry_out, answer } => self.empty(&order, carry_out, answer),
            Report::Emptied { node, since, told, answer } => self.emptied(node, since, &told, answer),
            Report::Epoch { node, epoch, drained } => {
                self.nodes[node].note_epoch(&epoch, self.context.clock.now().mono);
                if let Some(value) = drained {
                    self.heard_drained(node, &value);
                }
                let state = &self.nodes[node];
                if state.up[0] && !self.handing_over {
                    heartbeat::mark(&state.handle, &epoch);
                }
                if state.beats() {
                    heartbeat::beat(&state.handle.lane(0), &epoch);
                    // Another controller that did not know yet that it had to yield may have told it something else.
                    self.nodes[node].shedding.doubt();
                }
            }
            Report::Elsewhere { node, channels } => self.seen_elsewhere(node, channels),
        }
    }

    fn ask_epochs(&self) {
        for state in self.nodes.iter().filter(|state| state.up[0]) {
            tokio::spawn(heartbeat::ask_epoch(state.handle.clone(), self.reports.clone()));
        }
    }
}
