//! Tells each node's dialplan which part of the new calls to refuse, while requests wait.

use tracing::{info, warn};

use super::{Dispatcher, Report};
use crate::ari::Request;
use crate::calls::shedding::{NONE_BELOW, News};
use crate::panics;
use crate::telemetry::name;

/// The global variable that `asterisk/etc/extensions.conf` reads: percent.
const VARIABLE: &str = "CAPCONDUIT_SHED";

impl Dispatcher {
    /// Whether there is anything to look at.
    pub(super) fn may_shed(&self) -> bool {
        let mut nodes = self.nodes.iter().filter(|node| node.beats());
        !self.draining && nodes.any(|node| !node.shedding.is_at_rest() || node.handle.waited() > NONE_BELOW)
    }

    /// Looks at each node whose calls are decided here.
    pub(super) fn shed(&mut self) {
        let now = self.context.clock.now().mono;
        for state in self.nodes.iter_mut().filter(|node| node.beats()) {
            let (node, waited) = (state.handle.name(), state.handle.waited());
            let (tell, news) = state.shedding.look(now, waited);
            match news {
                Some(News::Begun) => warn!(
                    node,
                    waited_ms = waited.as_millis(),
                    "requests wait for Asterisk: part of the new calls is refused until it has caught up"
                ),
                Some(News::Over { most }) => info!(node, most_percent = most, "no new calls are refused any more"),
                None => {}
            }
            let Some(percent) = tell else { continue };
            metrics::gauge!(name::SHED_PERCENT, "node" => node.to_owned()).set(f64::from(percent));
            let (handle, reports) = (state.handle.clone(), self.reports.clone());
            tokio::spawn(async move {
                panics::trap(|| format!("telling {} what to refuse", handle.name()));
                let value = percent.to_string();
                // Not on a socket, where it would wait behind what is to be relieved.
                let told = handle.http(Request::SetGlobal { variable: VARIABLE, value: &value }).await;
                // The receiver lives as long as the dispatcher; after it nobody sheds.
                drop(reports.send(Report::Shed { node: handle.index(), told: told.is_ok() }));
            });
        }
    }

    /// A node was told, or could not be.
    pub(super) fn shed_told(&mut self, node: usize, told: bool) {
        let now = self.context.clock.now().mono;
        self.nodes[node].shedding.told(now, told);
    }
}
