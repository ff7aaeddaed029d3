//! Callers whom this process does not take: they are sent to the dialplan's fallback, and kept in mind until they are there.

use tracing::{info, warn};

use super::comparing::RETRY;
use super::{Dispatcher, Report, Waiting};
use crate::ari::{Error, Lane, Pending, Request};
use crate::calls::adopt::Noted;
use crate::calls::left;

impl Dispatcher {
    /// Whoever waits, on every node.
    pub(super) fn fall_back_waiting(&mut self) {
        for node in 0..self.nodes.len() {
            let waiting = self.nodes[node].waiting.take_all();
            self.fall_back_all(node, waiting);
        }
    }

    pub(super) fn fall_back_all(&mut self, node: usize, callers: impl IntoIterator<Item = Waiting>) {
        for caller in callers {
            if let Some(noted) = caller.noted {
                self.nodes[node].left.keep(caller.facts.call_id, *noted);
            }
            self.fall_back(node, caller.app, &caller.facts.channel_id);
        }
    }

    /// Sends a caller that this process does not take to the dialplan's fallback, or lets it wait there for the next one.
    pub(super) fn fall_back(&mut self, node: usize, app: u16, channel_id: &str) {
        self.nodes[node].leave(channel_id);
        let lane = self.nodes[node].handle.lane(app);
        let failing = self.context.registry.node_breakers.outage(self.nodes[node].handle.name()).is_some();
        let drained = self.nodes[node].drain.is_some();
        if self.handing_over && self.nodes[node].keeps_callers() {
            return self.give_back(node, &lane, channel_id);
        }
        let reason = match (self.handing_over, self.refusing) {
            _ if drained => "drained",
            (true, _) => "handing_over",
            (false, true) => "journal",
            (false, false) if failing && self.nodes[node].ready => "node_failing",
            (false, false) => "not_ready",
        };
        info!(
            node = self.nodes[node].handle.name(),
            channel = channel_id,
            reason,
            "sending the caller to the fallback"
        );
        // The extension says why: a variable set from here would keep Asterisk from writing the call's line (`live_dangerously`).
        let (context, exten) = ("capconduit-fallback", reason);
        let sent = lane.send(Request::ContinueInDialplan { channel_id, context, exten, priority: 1 });
        self.watch_leave(node, channel_id, sent);
    }

    /// The dialplan keeps the caller until the next process takes calls.
    fn give_back(&self, node: usize, lane: &Lane, channel_id: &str) {
        info!(node = self.nodes[node].handle.name(), channel = channel_id, "the caller waits for the next process");
        self.watch_leave(node, channel_id, lane.send(Request::GiveBack { channel_id }));
    }

    fn watch_leave(&self, node: usize, channel_id: &str, sent: Pending) {
        let (reports, channel_id) = (self.reports.clone(), channel_id.to_owned());
        tokio::spawn(async move {
            if let Err(error) = sent.await {
                // The receiver lives as long as the dispatcher; after it callers are the next start's.
                drop(reports.send(Report::Stays { node, channel_id, error }));
            }
        });
    }

    /// A caller could not be sent to the fallback.
    pub(super) fn stays(&mut self, node: usize, channel_id: &str, error: &Error) {
        if !self.nodes[node].leaving.remove(channel_id) {
            return;
        }
        // Who is not there any more has left; perhaps that was told before it was sent.
        if error.status() == Some(404) {
            return self.hand_over_left(node, channel_id);
        }
        warn!(node = self.nodes[node].handle.name(), channel = channel_id, %error, "the caller could not be sent to the fallback");
        self.compare_in(node, RETRY);
    }

    /// A caller has left the application for the dialplan's fallback: where an earlier run had it, its line is the call's record now.
    pub(super) fn hand_over_left(&mut self, node: usize, channel_id: &str) {
        match self.nodes[node].left.take_by_channel(channel_id) {
            None => {}
            Some(noted) if noted.handed_over => self.leave_to_fallback(&noted),
            // It was answered before it went there.
            Some(noted) => {
                let (call, now) = (noted.call.record.call_id, self.context.clock.now());
                for (n, counted) in self.close_as_lost(noted, now) {
                    self.settle_leg(node, (call, n), counted);
                }
            }
        }
    }

    /// The fallback's line is the record of a call for which nobody was dialled yet. Attempts stand in no line, and some of them count: a
    /// call that has some keeps its own record, and its line is left out. So does one that had ended before, as far as an earlier run knew.
    pub(super) fn leave_to_fallback(&self, noted: &Noted) {
        let call = noted.call.record.call_id;
        if noted.call.record.attempts.is_empty() && !noted.call.ended {
            return self.context.journal.forget(call);
        }
        let age = self.context.clock.now().mono.saturating_sub(noted.arrived.mono);
        self.context.journal.finish(left::handed_over(noted.call.clone(), age));
    }
}
