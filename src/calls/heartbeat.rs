//! Tells the node's dialplan, in the node's own clock, that this controller is there and takes calls.

use std::time::Duration;

use tokio::sync::mpsc;

use super::dispatcher::Report;
use crate::ari::{Error, Lane, NodeHandle, Request, Variable};
use crate::panics;

/// How often. The dialplan falls back when the last beat is more than 3 s old.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// The global variable that `asterisk/etc/extensions.conf` checks.
const VARIABLE: &str = "CAPCONDUIT_HEARTBEAT";

/// Asks for the node's time; the beat itself is sent by the dispatcher, so that it proves the dispatcher alive. Should this panic, one
/// beat is missing: the next second asks again.
pub(super) async fn ask_epoch(node: usize, lane: Lane, reports: mpsc::UnboundedSender<Report>) {
    panics::trap(|| format!("the heartbeat of {node}"));
    let answer = lane.send(Request::GetGlobal { variable: "EPOCH" }).await;
    // A node that does not answer gets no beat, which is what tells its dialplan to fall back; the socket's ping reports it.
    match answer.ok().and_then(|response| response.json::<Variable>().ok()) {
        Some(variable) => drop(reports.send(Report::Epoch { node, epoch: variable.value })),
        None => metrics::counter!(crate::telemetry::name::HEARTBEAT_FAILURES).increment(1),
    }
}

/// Tells other controllers that this one has the node, whether it takes calls or not. On the first application's socket, so that a
/// process that has lost it cannot say so.
pub(super) fn mark(node: &NodeHandle, epoch: &str) {
    if let Some((variable, value)) = node.mark(epoch) {
        drop(node.lane(0).send(Request::SetGlobal { variable: &variable, value: &value }));
    }
}

/// Another controller may take the node over at once.
pub(super) async fn release(node: &NodeHandle) {
    if let Some((variable, _)) = node.mark("0") {
        // If it does not arrive, the mark expires by itself.
        drop(node.lane(0).send(Request::SetGlobal { variable: &variable, value: "0" }).await);
    }
}

/// One beat.
pub(super) fn beat(lane: &Lane, epoch: &str) {
    drop(lane.send(Request::SetGlobal { variable: VARIABLE, value: epoch }));
}

/// No more beats: the next call falls back at once.
pub(super) async fn withdraw(lane: &Lane) -> Result<(), Error> {
    lane.send(Request::SetGlobal { variable: VARIABLE, value: "0" }).await.map(drop)
}
