//! What there is to do for a node, in order, and in slices: after thousands of calls were found the work takes a while, in which the
//! sockets, the calls and the other nodes have their turns.
//!
//! Whatever comes for a node while something of it is still to be done waits behind that: what was said before lists is done before them,
//! and what comes while they are acted on, after.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use super::desk::{NotReleased, Seen};
use super::node::{NodeState, Waiting};
use super::{Dispatcher, Report, visits};
use crate::ari::{NodeEvent, SLICE};
use crate::calls::io::Input;
use crate::calls::reconcile::Finding;
use crate::id::CallId;

/// How many events are read after each slice: fewer than are done, so that what waits becomes less, and the queue's own bound holds.
const READ: usize = SLICE / 2;

/// One thing to do for a node.
#[derive(Debug)]
pub(super) enum Due {
    /// Something happened.
    Event(Box<NodeEvent>),
    /// An errand came back.
    Report(Box<Report>),
    /// A caller who waited, and is not listed any more.
    WaiterGone(CallId),
    /// An orphan that is not listed any more.
    OrphanGone(String),
    /// A call that was left: what lists say of it.
    SettleLeft(CallId),
    /// What a comparison found.
    Act(Box<Finding>),
    /// All findings are acted on.
    Acted(Box<Rest>),
    /// A live call is told that its node is compared.
    NodeUp(CallId),
    /// The comparison is over.
    Compared(Box<Rest>),
    /// A caller who waits while its call ends.
    Lost(Box<Waiting>),
    /// Nothing of before lives.
    Ended,
    /// An operator is told that this has been done.
    Released(oneshot::Sender<Result<Seen, NotReleased>>),
    /// A caller may be decided now.
    Look(CallId),
    /// A caller has waited for long.
    Late(CallId),
    /// A live call is another controller's now.
    Yield(CallId),
    /// Likewise one that was left.
    YieldLeft(CallId),
    /// All calls are.
    Yielded,
}

/// What of a comparison is to be done once its findings are acted on.
#[derive(Debug)]
pub(super) struct Rest {
    /// Something was found that another comparison has to tell more of.
    pub(super) open: bool,
    /// Channels of which Asterisk can tell nothing.
    pub(super) untold: Vec<String>,
    /// Monotonic time at which the lists were asked for.
    pub(super) asked_at: Duration,
}

/// What lists say, for as long as they are acted on.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Monotonic time at which they were asked for.
    pub(super) asked_at: Duration,
    /// Channels that are there.
    pub(super) listed: HashSet<String>,
    /// Calls that are taken over, and by which attempt.
    pub(super) adopted: HashMap<CallId, u32>,
    /// Inbound channels of callers who are still to be routed.
    pub(super) arriving: HashSet<String>,
    /// Channels that are to be hung up.
    pub(super) hung_up: HashSet<String>,
    /// Channels that were asked to go because of them.
    pub(super) sent_off: HashSet<String>,
}

impl Said {
    pub(super) fn new(asked_at: Duration, listed: HashSet<String>, findings: &[Finding]) -> Self {
        let mut said = Self { asked_at, listed, ..Self::default() };
        for finding in findings {
            match finding {
                Finding::Adopt(adoption) => drop(said.adopted.insert(adoption.call, adoption.n)),
                Finding::Arrive { caller, .. } => drop(said.arriving.insert(caller.id.clone())),
                Finding::HangUp { channel_id, .. } => drop(said.hung_up.insert(channel_id.clone())),
                _ => {}
            }
        }
        said
    }
}

impl Report {
    /// The node that it waits its turn for.
    fn waits_for(&self) -> Option<usize> {
        match self {
            Self::Listed { node, .. }
            | Self::Compare { node }
            | Self::Stays { node, .. }
            | Self::Again { node, .. }
            | Self::Elsewhere { node, .. } => Some(*node),
            // What was found is what all else waits for. Beats go on meanwhile; the node of an operator's order is found by its name.
            Self::Found { .. }
            | Self::Holds { .. }
            | Self::Epoch { .. }
            | Self::Shed { .. }
            | Self::View(_)
            | Self::Release { .. }
            | Self::Empty { .. }
            | Self::Emptied { .. }
            | Self::Withdrawn { .. } => None,
        }
    }
}

impl Dispatcher {
    /// An errand came back.
    pub(super) fn receive(&mut self, report: Report, events: &mut mpsc::Receiver<NodeEvent>) {
        if matches!(report, Report::Listed { .. } | Report::Elsewhere { .. }) {
            // What was read before lists came is older than they are: an end among it was seen, and is not missed.
            for event in (0..events.len()).map_while(|_| events.try_recv().ok()) {
                self.pulse.did();
                self.nodes[event.node].agenda.push_back(Due::Event(Box::new(event)));
            }
        }
        let node = match &report {
            Report::Release { order, .. } => self.nodes.iter().position(|state| state.handle.name() == order.node),
            report => report.waits_for(),
        };
        match node.filter(|node| self.nodes[*node].is_busy()) {
            Some(node) => self.nodes[node].agenda.push_back(Due::Report(Box::new(report))),
            None => self.on_report(report),
        }
    }

    /// Something happened.
    pub(super) fn hear(&mut self, event: NodeEvent) {
        self.pulse.did();
        match &mut self.nodes[event.node] {
            node if node.is_busy() => node.agenda.push_back(Due::Event(Box::new(event))),
            _ => self.on_event(event),
        }
    }

    /// Whether something is still to be done.
    pub(super) fn is_busy(&self) -> bool {
        self.nodes.iter().any(NodeState::is_busy)
    }

    /// Whether something may be done now.
    pub(super) fn may_work(&self) -> bool {
        self.nodes.iter().any(|node| !node.elsewhere && !node.agenda.is_empty())
    }

    /// One slice.
    pub(super) fn work(&mut self, events: &mut mpsc::Receiver<NodeEvent>) {
        for node in 0..self.nodes.len() {
            for _ in 0..SLICE {
                let state = &mut self.nodes[node];
                let Some(due) = state.agenda.pop_front_if(|_| !state.elsewhere) else { break };
                visits::did();
                self.carry_out(node, due);
            }
            let agenda = &mut self.nodes[node].agenda;
            if agenda.is_empty() && agenda.capacity() > SLICE {
                *agenda = VecDeque::new();
            }
        }
        (0..READ).map_while(|_| events.try_recv().ok()).for_each(|event| self.hear(event));
    }

    /// To be done before anything else of the node.
    pub(super) fn first(&mut self, node: usize, dues: Vec<Due>) {
        let agenda = &mut self.nodes[node].agenda;
        dues.into_iter().rev().for_each(|due| agenda.push_front(due));
    }

    fn carry_out(&mut self, node: usize, due: Due) {
        match due {
            Due::Event(event) => self.on_event(*event),
            Due::Report(report) => self.on_report(*report),
            Due::WaiterGone(call) => self.waiter_gone(node, call),
            Due::OrphanGone(channel_id) => self.orphan_gone(node, &channel_id),
            Due::SettleLeft(call) => self.settle_left(node, call),
            Due::Act(finding) => self.act_on(node, *finding),
            Due::Acted(rest) => self.acted(node, rest),
            Due::NodeUp(call) => drop(self.context.registry.tell(call, Input::NodeUp)),
            Due::Compared(rest) => self.compared(node, *rest),
            Due::Lost(caller) => self.went_unheard(node, *caller),
            Due::Ended | Due::Yielded => self.nodes[node].said = None,
            // Whoever asked may have gone.
            Due::Released(answer) => drop(answer.send(Ok(self.view_of(node)))),
            Due::Look(call) => self.look(node, call),
            Due::Late(call) => self.waited_long(node, call),
            Due::Yield(call) => self.yield_call(node, call),
            Due::YieldLeft(call) => self.yield_left(node, call),
        }
    }
}
