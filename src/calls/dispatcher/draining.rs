//! Nodes that an operator empties. That one is being emptied stands in the node itself (`CAPCONDUIT_DRAINED`), so that its dialplan refuses
//! new calls by itself, and the next process finds it as this one left it.

use std::time::Duration;

use tracing::{info, warn};

use super::desk::Answer;
use super::{Dispatcher, Report};
use crate::ari::{Error, Request};
use crate::calls::io::Input;

/// The global variable that `asterisk/etc/extensions.conf` checks: the node's own time in seconds since 1970 at which emptying it began;
/// 0, or none, where it takes calls.
pub(crate) const VARIABLE: &str = "CAPCONDUIT_DRAINED";

/// What an operator wants of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emptying {
    /// The node's name.
    pub node: String,
    /// Whether it is to be emptied, or takes calls again.
    pub drained: bool,
}

/// Why a node is not emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotEmptied {
    /// No node has that name.
    #[error("there is no such node")]
    Unknown,
    /// It cannot be told.
    #[error("the node is not connected")]
    Away,
    /// Another controller has it.
    #[error("another controller has the node")]
    Taken,
    /// It did not take the order.
    #[error("the node did not take it")]
    Refused,
    /// The process is ending.
    #[error("the process is ending")]
    Ending,
}

/// A node that is being emptied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drain {
    /// The mark's value.
    since: i64,
    /// Monotonic time from which calls that are not answered are refused.
    refuse_at: Duration,
}

/// Since when a node is emptied, by its own clock in seconds since 1970, as the variable's value says; `None`: it takes calls. A value that
/// is no time is that of somebody who wants it emptied, too.
pub(crate) fn drained_since(value: &str) -> Option<i64> {
    match value.trim() {
        "" | "0" => None,
        value => Some(value.parse().unwrap_or(i64::MAX)),
    }
}

impl Dispatcher {
    /// An operator's order. Only asks whether it may be given unless `carry_out`.
    pub(super) fn empty(&self, order: &Emptying, carry_out: bool, answer: Answer<NotEmptied>) {
        let node = match self.may_empty(order) {
            Ok(node) if carry_out => node,
            // Whoever asked may have gone.
            asked => return drop(answer.send(asked.map(|node| self.view_of(node)))),
        };
        let (state, reports) = (&self.nodes[node], self.reports.clone());
        let now = state.epoch_at(self.context.clock.now().mono).map_or(1, |millis| millis / 1_000);
        let since = order.drained.then_some(now);
        let (lane, value) = (state.handle.lane(0), since.unwrap_or(0).to_string());
        tokio::spawn(async move {
            let told = lane.send(Request::SetGlobal { variable: VARIABLE, value: &value }).await;
            // The receiver lives as long as the dispatcher.
            drop(reports.send(Report::Emptied { node, since, told: told.map(drop), answer }));
        });
    }

    fn may_empty(&self, order: &Emptying) -> Result<usize, NotEmptied> {
        let node = self.node_named(&order.node).ok_or(NotEmptied::Unknown)?;
        match &self.nodes[node] {
            _ if self.handing_over => Err(NotEmptied::Ending),
            state if state.taken.is_some() => Err(NotEmptied::Taken),
            state if !state.up[0] => Err(NotEmptied::Away),
            _ => Ok(node),
        }
    }

    /// The node was told, or could not be.
    pub(super) fn emptied(
        &mut self,
        node: usize,
        since: Option<i64>,
        told: &Result<(), Error>,
        answer: Answer<NotEmptied>,
    ) {
        let done = match told {
            Ok(()) => {
                self.note_drained(node, since);
                Ok(self.view_of(node))
            }
            Err(error) => {
                warn!(node = self.nodes[node].handle.name(), %error, "the node did not take the order to be emptied");
                Err(NotEmptied::Refused)
            }
        };
        // Whoever asked may have gone.
        drop(answer.send(done));
    }

    /// The node says what its mark is; somebody may have told it by another path. A mark that is lost without a word (`dialplan reload` with
    /// `clearglobalvars = yes`) is set again.
    pub(super) fn heard_drained(&mut self, node: usize, value: &str) {
        let state = &self.nodes[node];
        let lost = state.drain.filter(|_| value.trim().is_empty());
        let Some(Drain { since, .. }) = lost else { return self.note_drained(node, drained_since(value)) };
        warn!(node = state.handle.name(), "the node has lost the mark that it is emptied, and gets it again");
        let value = since.to_string();
        // Should it not arrive, the next second tells.
        drop(state.handle.lane(0).send(Request::SetGlobal { variable: VARIABLE, value: &value }));
    }

    /// Since when the node is emptied, if it is.
    pub(super) fn note_drained(&mut self, node: usize, since: Option<i64>) {
        let now = self.context.clock.now().mono;
        let state = &mut self.nodes[node];
        if state.drain.is_some() == since.is_some() {
            return;
        }
        let (name, beats) = (state.handle.name().to_owned(), state.beats());
        let Some(since) = since else {
            state.drain = None;
            info!(node = name, "the node takes calls again");
            return self.tell_health();
        };
        // Perhaps it began under an earlier run.
        let ago = state.epoch_at(now).map_or(0, |millis| (millis / 1_000).saturating_sub(since));
        let ago = Duration::from_secs(u64::try_from(ago).unwrap_or_default());
        let refuse_at = now + self.bounds.copy().drain.saturating_sub(ago);
        state.drain = Some(Drain { since, refuse_at });
        info!(node = name, "the node is being emptied: new calls take the fallback, talks go on");
        // What an earlier run has begun goes on.
        let (begun, new): (Vec<_>, Vec<_>) =
            state.waiting.take_all().partition(|caller| caller.noted.is_some() || caller.earlier_attempts > 0);
        begun.into_iter().for_each(|caller| state.waiting.keep(caller.facts.call_id, caller));
        self.fall_back_all(node, new);
        if beats {
            // Its dialplan may be one that does not know the mark.
            self.stop_beating(node);
        }
        self.tell_health();
    }

    /// Callers who are not answered in time are refused, so that their carriers try elsewhere. Talks go on until they end.
    pub(super) fn empty_further(&self, node: usize) {
        let now = self.context.clock.now().mono;
        if self.nodes[node].drain.is_some_and(|drain| now >= drain.refuse_at) {
            for (call, _) in self.context.registry.calls_on(node) {
                self.context.registry.tell(call, Input::Shed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::drained_since;

    #[test]
    fn a_node_is_emptied_from_some_moment_on() {
        assert_eq!((drained_since("1796066891"), drained_since("1")), (Some(1_796_066_891), Some(1)));
        assert_eq!(drained_since("yes"), Some(i64::MAX), "just now");
        assert_eq!([drained_since("0"), drained_since(""), drained_since(" ")], [None; 3]);
    }
}
