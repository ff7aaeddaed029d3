//! What operators see of the nodes, and the override for one that stays silent.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::sync::{mpsc, oneshot};

use super::agenda::Due;
use super::draining::{Emptying, NotEmptied};
use super::{Dispatcher, Report};
use crate::calls::registry::Registry;
use crate::id::CallId;

/// Where operators ask. Clones are the same desk. Calls and permits are counted where it is asked, not on the calls' thread.
#[derive(Debug, Clone)]
pub struct Desk {
    reports: mpsc::UnboundedSender<Report>,
    registry: Arc<Registry>,
}

/// A node as the dispatcher sees it: without the numbers of calls and permits, but with the calls that the registry does not know.
#[derive(Debug)]
pub(in crate::calls) struct Seen {
    index: usize,
    view: NodeView,
    others: Vec<CallId>,
}

/// Where what came of an order is told.
pub(in crate::calls) type Answer<E> = oneshot::Sender<Result<Seen, E>>;

/// One node as operators see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// Configured name.
    pub name: String,
    /// All of its sockets are connected.
    pub connected: bool,
    /// Connected and compared, and not being emptied: its calls are decided here.
    pub ready: bool,
    /// An operator empties it: new calls take the dialplan's fallback.
    pub drained: bool,
    /// Since when it is connected, or is not.
    pub since: DateTime<Utc>,
    /// When it was last heard, whatever it said; `None` before the first time.
    pub heard: Option<DateTime<Utc>>,
    /// Asterisk's version, as it said last.
    pub version: Option<String>,
    /// When this Asterisk started, by its own clock.
    pub startup_time: Option<DateTime<Utc>>,
    /// Its calls that are not known to be gone, those that an earlier run left included.
    pub calls: usize,
    /// Permits that they hold.
    pub permits: usize,
    /// Part of its new calls that its dialplan refuses because requests wait for Asterisk, in percent.
    pub shed_percent: u8,
    /// Channels that did not agree with their permits at the last comparison.
    pub drift: usize,
    /// Such channels since the start.
    pub drift_repaired: u64,
}

/// What an operator says of a node that is silent.
#[derive(Debug, Clone)]
pub struct Order {
    /// The node's name.
    pub node: String,
    /// How many calls it is believed to have.
    pub expected: usize,
}

/// Why a node is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotReleased {
    /// No node has that name.
    #[error("there is no such node")]
    Unknown,
    /// It can be asked itself.
    #[error("the node is connected")]
    Connected,
    /// Another controller has it.
    #[error("another controller has the node")]
    Taken,
    /// It has another number of calls by now.
    #[error("the node has {0} calls by now")]
    Calls(usize),
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

impl Desk {
    pub(super) fn new(reports: mpsc::UnboundedSender<Report>, registry: Arc<Registry>) -> Self {
        Self { reports, registry }
    }

    /// Every node, in the order of the configuration; none once the process ends.
    pub async fn nodes(&self) -> Vec<NodeView> {
        let (answer, answered) = oneshot::channel();
        // Without a dispatcher there is no answer either.
        drop(self.reports.send(Report::View(answer)));
        answered.await.unwrap_or_default().into_iter().map(|seen| self.counted(seen)).collect()
    }

    fn counted(&self, Seen { index, view, others }: Seen) -> NodeView {
        let calls: HashSet<CallId> = self.registry.ids_on(index).into_iter().chain(others).collect();
        let calls: Vec<CallId> = calls.into_iter().collect();
        NodeView { calls: calls.len(), permits: self.registry.permits_of(&calls).len(), ..view }
    }

    /// Whether [`Desk::release`] would do it now.
    ///
    /// # Errors
    /// Why not.
    pub async fn may_release(&self, order: Order) -> Result<(), NotReleased> {
        self.order(NotReleased::Ending, |answer| Report::Release { order, carry_out: false, answer }).await.map(drop)
    }

    /// Says that nothing of the node's calls lives any more: they end as `lost` and their permits are free. Should one live all the same,
    /// it is hung up when the node is back.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn release(&self, order: Order) -> Result<NodeView, NotReleased> {
        self.order(NotReleased::Ending, |answer| Report::Release { order, carry_out: true, answer }).await
    }

    /// Whether [`Desk::empty`] would do it now.
    ///
    /// # Errors
    /// Why not.
    pub async fn may_empty(&self, order: Emptying) -> Result<(), NotEmptied> {
        self.order(NotEmptied::Ending, |answer| Report::Empty { order, carry_out: false, answer }).await.map(drop)
    }

    /// Empties a node, or lets it take calls again: new calls take the dialplan's fallback, callers who are not answered within
    /// `calls.drain_seconds` are refused, talks go on until they end.
    ///
    /// # Errors
    /// Why it was not done.
    pub async fn empty(&self, order: Emptying) -> Result<NodeView, NotEmptied> {
        self.order(NotEmptied::Ending, |answer| Report::Empty { order, carry_out: true, answer }).await
    }

    /// Gives an order to the dispatcher; `ending` where there is none any more.
    async fn order<E>(&self, ending: E, order: impl FnOnce(Answer<E>) -> Report) -> Result<NodeView, E> {
        let (answer, answered) = oneshot::channel();
        drop(self.reports.send(order(answer)));
        answered.await.unwrap_or(Err(ending)).map(|seen| self.counted(seen))
    }
}

impl Dispatcher {
    /// Where operators ask.
    #[must_use]
    pub fn desk(&self) -> Desk {
        Desk::new(self.reports.clone(), Arc::clone(&self.context.registry))
    }

    pub(super) fn view(&self) -> Vec<Seen> {
        (0..self.nodes.len()).map(|node| self.view_of(node)).collect()
    }

    pub(super) fn view_of(&self, index: usize) -> Seen {
        let (state, now) = (&self.nodes[index], self.context.clock.now());
        let heard = (0..state.handle.apps()).filter_map(|app| state.handle.heard(app)).max();
        let ago = |mono: Duration| now.when(mono).wall;
        let view = NodeView {
            name: state.handle.name().to_owned(),
            connected: state.is_up(),
            ready: state.ready && state.drain.is_none(),
            drained: state.drain.is_some(),
            since: ago(state.since),
            heard: heard.map(ago),
            version: state.version.clone(),
            startup_time: state.startup_time,
            calls: 0,
            permits: 0,
            shed_percent: state.shedding.in_force(),
            drift: state.drift.found(),
            drift_repaired: state.drift.repaired(),
        };
        Seen { index, view, others: self.others_of(index).collect() }
    }

    /// Every call of a node that is not known to be gone, whoever began it.
    fn calls_of(&self, node: usize) -> HashSet<CallId> {
        self.context.registry.ids_on(node).into_iter().chain(self.others_of(node)).collect()
    }

    /// Those of them that did not begin in this run, or have not yet.
    fn others_of(&self, node: usize) -> impl Iterator<Item = CallId> + '_ {
        let state = &self.nodes[node];
        let waiting = state.waiting.iter().filter(|(_, caller)| caller.noted.is_some()).map(|(call, _)| call);
        let orphans = state.orphans.iter().map(|(_, orphan)| orphan.key.0);
        state.left.calls().chain(waiting).chain(orphans)
    }

    pub(super) fn release(&mut self, order: &Order, carry_out: bool, answer: Answer<NotReleased>) {
        match self.may_release(order) {
            Ok((node, calls)) if carry_out => {
                let mut ends = self.end_all(node, "released by an operator");
                ends.push(Due::Released(answer));
                self.first(node, ends);
                self.nodes[node].released.extend(calls);
            }
            // Whoever asked may have gone.
            asked => drop(answer.send(asked.map(|(node, _)| self.view_of(node)))),
        }
    }

    pub(super) fn node_named(&self, name: &str) -> Option<usize> {
        self.nodes.iter().position(|state| state.handle.name() == name)
    }

    /// The node, and its calls.
    fn may_release(&self, order: &Order) -> Result<(usize, HashSet<CallId>), NotReleased> {
        let node = self.node_named(&order.node).ok_or(NotReleased::Unknown)?;
        if self.nodes[node].up.iter().any(|up| *up) {
            return Err(NotReleased::Connected);
        }
        if self.nodes[node].taken.is_some() {
            return Err(NotReleased::Taken);
        }
        let calls = self.calls_of(node);
        if calls.len() != order.expected {
            return Err(NotReleased::Calls(calls.len()));
        }
        Ok((node, calls))
    }
}
