//! Permits against channels: what a comparison repairs although nothing of the node went unheard is drift. In a correct run there is none.

use std::collections::HashSet;

use tracing::error;

use super::Dispatcher;
use crate::calls::reconcile::{Belief, Finding, Hearing};
use crate::id::CallId;
use crate::telemetry::name;

/// Drift of one node.
#[derive(Debug, Default)]
pub(super) struct Drift {
    /// Channels of which the last comparison found that they did not agree with their permits.
    found: HashSet<String>,
    /// How many such channels were found since the start, each once.
    repaired: u64,
}

impl Drift {
    pub(super) fn found(&self) -> usize {
        self.found.len()
    }

    pub(super) fn repaired(&self) -> u64 {
        self.repaired
    }
}

impl Dispatcher {
    /// Notes which of these findings are drift. `act_on` repairs them: a permit without a channel is given back, a channel without a
    /// permit is hung up.
    pub(super) fn note_drift(&mut self, node: usize, belief: &Belief, findings: &[Finding]) {
        let found: Vec<(String, &'static str)> = match belief.hearing {
            Hearing::All => findings.iter().filter_map(|finding| self.drift(node, belief, finding)).collect(),
            // Its end, or its beginning, may have gone unheard.
            Hearing::Interrupted | Hearing::Anew => Vec::new(),
        };
        let state = &mut self.nodes[node];
        let mut new = 0;
        for (channel, what) in &found {
            if !state.drift.found.contains(channel) {
                new += 1;
                error!(node = state.handle.name(), channel, "drift: {what}; repaired");
            }
        }
        state.drift.found = found.into_iter().map(|(channel, _)| channel).collect();
        state.drift.repaired += new;
        let node = state.handle.name().to_owned();
        metrics::counter!(name::DRIFT_REPAIRED, "node" => node.clone()).increment(new);
        let count = u32::try_from(state.drift.found.len()).unwrap_or(u32::MAX);
        metrics::gauge!(name::DRIFT, "node" => node).set(f64::from(count));
    }

    fn drift(&self, node: usize, belief: &Belief, finding: &Finding) -> Option<(String, &'static str)> {
        let state = &self.nodes[node];
        match finding {
            Finding::LegMissing(key) => {
                let channel = key.0.leg(key.1);
                // One that was never there, because its creation failed unheard, is no drift, nor is one that an interruption took.
                let seen = belief.permits.get(key).copied().unwrap_or_default();
                let heard = state.missing.get(&channel).is_some_and(|missed| missed.heard);
                (seen && heard).then_some((channel, "a permit without a channel"))
            }
            Finding::HangUp { channel_id, .. } => {
                let strange = CallId::parse_leg(channel_id).is_some()
                    && !self.is_live(node, channel_id)
                    && !state.orphans.has(channel_id);
                strange.then(|| (channel_id.clone(), "a channel without a permit"))
            }
            _ => None,
        }
    }
}
