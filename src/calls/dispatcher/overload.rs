//! Tells each node's dialplan which part of the new calls to refuse, while requests wait.

use std::time::Duration;

use tracing::{info, warn};

use super::{Dispatcher, Report};
use crate::ari::{Error, Request};
use crate::calls::shedding::{NONE_BELOW, News, VARIABLE};
use crate::panics;
use crate::telemetry::name;

impl Dispatcher {
    /// Whether there is anything to look at.
    pub(super) fn may_shed(&self) -> bool {
        let mut nodes = self.nodes.iter().filter(|node| node.beats());
        !self.handing_over && nodes.any(|node| !node.shedding.is_at_rest() || node.handle.waited() > NONE_BELOW)
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
                Some(News::Untold) | None => {}
            }
            let Some(percent) = tell else { continue };
            let (handle, reports, clock) = (state.handle.clone(), self.reports.clone(), self.context.clock);
            tokio::spawn(async move {
                let telling = async {
                    panics::trap(|| format!("telling {} what to refuse", handle.name()));
                    let (value, since) = (percent.to_string(), clock.now().mono);
                    // Not on a socket, where it would wait behind what is to be relieved.
                    let told = handle.http(Request::SetGlobal { variable: VARIABLE, value: &value }).await;
                    told.map(|_| clock.now().mono.saturating_sub(since))
                };
                // Without a report it would never be told again.
                let took =
                    panics::caught(telling).await.unwrap_or_else(|panic| Err(Error::Protocol(panic.to_string())));
                // The receiver lives as long as the dispatcher; after it nobody sheds.
                drop(reports.send(Report::Shed { node: handle.index(), took }));
            });
        }
    }

    /// A node was told, or could not be.
    pub(super) fn shed_told(&mut self, node: usize, took: &Result<Duration, Error>) {
        let now = self.context.clock.now().mono;
        let state = &mut self.nodes[node];
        let news = state.shedding.told(now, took.as_ref().ok().copied());
        if let (Some(News::Untold), Err(error)) = (news, took) {
            warn!(node = state.handle.name(), %error, "the node could not be told which part of the new calls to refuse; trying again");
        }
        self.measure_shed(node);
    }

    /// For the metrics: what is known to be in force.
    pub(super) fn measure_shed(&self, node: usize) {
        let state = &self.nodes[node];
        let percent = state.shedding.in_force();
        metrics::gauge!(name::SHED_PERCENT, "node" => state.handle.name().to_owned()).set(f64::from(percent));
    }
}
