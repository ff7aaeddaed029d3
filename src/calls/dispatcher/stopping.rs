//! No new calls: because the process hands over to the next one, or for as long as the journal cannot keep what they commit to.

use std::time::Duration;

use tracing::info;

use super::node::Waiting;
use super::{Dispatcher, Report};
use crate::ari::Request;
use crate::calls::heartbeat;
use crate::calls::io::Input;

/// How long it takes to arrive for who has passed the dialplan's check before the hand-over, and for the requests that were made last.
const STRAGGLERS: Duration = Duration::from_millis(250);
/// A caller for whom somebody is dialled is left to the next process for so long, also where the dialplan holds others more shortly.
const HELD_AT_LEAST: Duration = Duration::from_secs(3);

impl Dispatcher {
    /// The next process goes on with everything. Talks go on by themselves. A caller for whom a client is dialled is left to it, with a time
    /// limit after which the dialplan's fallback takes the call, should nobody come. All others wait in the dialplan.
    ///
    /// No node is waited for with what happens on the others.
    pub(super) fn hand_over(&mut self) {
        self.handing_over = true;
        info!(live = self.context.registry.live(), "handing over: new calls wait for the next process, talks go on");
        let now = self.context.clock.now().mono;
        self.ends_at = Some(now + heartbeat::FAREWELL_AT_MOST + STRAGGLERS);
        for index in 0..self.nodes.len() {
            let node = &mut self.nodes[index];
            let beats = std::mem::take(&mut node.ready);
            if !node.up[0] {
                self.withdrawn(index);
                continue;
            }
            let epoch = node.epoch_at(now).filter(|_| node.keeps_callers());
            let (handle, reports) = (node.handle.clone(), self.reports.clone());
            tokio::spawn(async move {
                heartbeat::farewell(handle, beats, epoch).await;
                // The receiver lives as long as the dispatcher.
                drop(reports.send(Report::Withdrawn { node: index }));
            });
        }
        self.tell_health();
    }

    /// A node's heart beats no more, as far as that can be had. Whoever was given back before would find it beating still, and come again.
    pub(super) fn withdrawn(&mut self, node: usize) {
        self.nodes[node].withdrawn = true;
        self.leave_behind(node);
        if self.nodes.iter().all(|node| node.withdrawn) {
            self.ends_at = Some(self.context.clock.now().mono + STRAGGLERS);
        }
    }

    /// A node's callers. Those for whom somebody is dialled, now or by an earlier run, go to the dialplan's fallback when a moment has passed,
    /// should nobody come. An older dialplan would end them then: there they are left as they are.
    fn leave_behind(&mut self, node: usize) {
        let state = &mut self.nodes[node];
        let within = state.holds.map(|holds| holds.max(HELD_AT_LEAST) + Duration::from_secs(1));
        let callers: Vec<_> = state.waiting.take_all().chain(state.held.take_all()).collect();
        if let Some(within) = within {
            for (call, _) in self.context.registry.calls_on(node) {
                self.context.registry.tell(call, Input::HandOver(within));
            }
        }
        for Waiting { app, facts, noted, .. } in callers {
            match noted {
                None => self.fall_back(node, app, &facts.channel_id),
                Some(noted) => {
                    if let Some(within) = within {
                        self.limit(node, app, &facts.channel_id, within);
                    }
                    // It is the next one's, whatever lists say meanwhile.
                    self.nodes[node].left.keep(facts.call_id, *noted);
                }
            }
        }
    }

    /// How long a caller may go unanswered from now on. Should it not arrive, what was set before holds.
    pub(super) fn limit(&self, node: usize, app: u16, channel_id: &str, within: Duration) {
        let (variable, value) = ("TIMEOUT(absolute)", &within.as_secs().to_string());
        let lane = self.nodes[node].handle.lane(app);
        drop(lane.send(Request::SetChannelVariable { channel_id, variable, value }));
    }

    /// The journal's word: new calls take the dialplan's fallback while it cannot keep what they commit to.
    pub(super) fn refuse(&mut self, refusing: bool) {
        if std::mem::replace(&mut self.refusing, refusing) == refusing {
            return;
        }
        if !refusing {
            return self.open_nodes();
        }
        self.fall_back_waiting();
        for node in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[node].ready) {
                self.stop_beating(node);
            }
        }
        self.tell_health();
    }
}
