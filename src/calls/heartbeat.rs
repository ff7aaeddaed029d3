//! Tells the node's dialplan, in the node's own clock, that this controller is there and takes calls.

use std::time::Duration;

use tokio::sync::mpsc;
use tracing::warn;

use super::dispatcher::{DRAINED, Report};
use crate::ari::{Error, Lane, NodeHandle, Request, Response, Variable};
use crate::panics;
use crate::telemetry::name;

/// How often. The dialplan falls back when the last beat is more than 3 s old.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// How long a node may take to answer when the heartbeat is withdrawn: after that it has expired.
pub(super) const FAREWELL_AT_MOST: Duration = Duration::from_secs(3);
/// The global variable that `asterisk/etc/extensions.conf` checks.
const VARIABLE: &str = "CAPCONDUIT_HEARTBEAT";
/// The one that says when the controller handed over, in the node's own time.
const HANDED_OVER: &str = "CAPCONDUIT_HANDOVER";

/// Asks for the node's time; the beat itself is sent by the dispatcher, so that it proves the dispatcher alive. Should this panic, one
/// beat is missing: the next second asks again.
pub(super) async fn ask_epoch(handle: NodeHandle, reports: mpsc::UnboundedSender<Report>) {
    let node = handle.index();
    panics::trap(|| format!("the heartbeat of {node}"));
    let lane = handle.lane(0);
    let drained = lane.send(Request::GetGlobal { variable: DRAINED });
    let answer = lane.send(Request::GetGlobal { variable: "EPOCH" }).await;
    let drained = value(drained.await);
    // A node that does not answer gets no beat, which is what tells its dialplan to fall back; the socket's ping reports it.
    match value(answer) {
        Some(epoch) => drop(reports.send(Report::Epoch { node, epoch, drained })),
        None => metrics::counter!(name::HEARTBEAT_FAILURES, "node" => handle.name().to_owned()).increment(1),
    }
}

/// The value that a node has told, if it has.
fn value(response: Result<Response, Error>) -> Option<String> {
    Some(response.ok()?.json::<Variable>().ok()?.value)
}

/// Asks for how long the dialplan holds calls while the controller starts anew. An older one, which does not tell, holds nobody.
pub(super) async fn ask_hold(node: usize, lane: Lane, reports: mpsc::UnboundedSender<Report>) {
    panics::trap(|| format!("asking {node} for how long it holds calls"));
    let answer = lane.send(Request::GetGlobal { variable: "CAPCONDUIT_HOLD_SECONDS" }).await;
    let seconds = value(answer).and_then(|seconds| seconds.trim().parse().ok());
    // The receiver lives as long as the dispatcher.
    drop(reports.send(Report::Holds { node, seconds }));
}

/// Tells other controllers that this one has the node, whether it takes calls or not. On the first application's socket, so that a
/// process that has lost it cannot say so.
pub(super) fn mark(node: &NodeHandle, epoch: &str) {
    if let Some((variable, value)) = node.mark(epoch) {
        drop(node.lane(0).send(Request::SetGlobal { variable: &variable, value: &value }));
    }
}

/// This process takes no more calls, and another controller may take the node over. From `epoch`, the node's time in milliseconds, on the
/// dialplan holds new calls for a moment; without it falls back at once. In this order: a beat of the other's is not to be withdrawn. A node that does not
/// answer is not waited for.
pub(super) async fn farewell(node: NodeHandle, beats: bool, epoch: Option<i64>) {
    let lane = node.lane(0);
    let epoch = epoch.map_or_else(|| "0".to_owned(), |millis| format!("{}.{:03}", millis / 1_000, millis % 1_000));
    drop(lane.send(Request::SetGlobal { variable: HANDED_OVER, value: &epoch }));
    let withdrawn = beats.then(|| lane.send(Request::SetGlobal { variable: VARIABLE, value: "0" }));
    // Whoever comes next may be one that does not know of it.
    drop(lane.send(Request::SetGlobal { variable: super::shedding::VARIABLE, value: "0" }));
    let mark = node.mark("0").map(|(variable, _)| variable);
    let released = mark.map(|variable| lane.send(Request::SetGlobal { variable: &variable, value: "0" }));
    let answers = async {
        if let Some(withdrawn) = withdrawn
            && let Err(error) = withdrawn.await
        {
            warn!(node = node.name(), %error, "the heartbeat could not be withdrawn; it expires by itself");
        }
        // If it does not arrive, the mark expires by itself.
        if let Some(released) = released {
            drop(released.await);
        }
    };
    if tokio::time::timeout(FAREWELL_AT_MOST, answers).await.is_err() {
        warn!(node = node.name(), "the node does not answer to the heartbeat's withdrawal; it expires by itself");
    }
}

/// Whether the dialplan still takes a beat for one, both in the node's own seconds (`asterisk/etc/extensions.conf`).
pub(crate) fn is_fresh(beat: &str, epoch: &str) -> bool {
    let number = |text: &str| text.parse::<i64>().ok();
    number(beat).zip(number(epoch)).is_some_and(|(beat, now)| beat + 3 >= now)
}

/// One beat.
pub(super) fn beat(lane: &Lane, epoch: &str) {
    drop(lane.send(Request::SetGlobal { variable: VARIABLE, value: epoch }));
}

/// No more beats: the next call falls back at once.
pub(super) async fn withdraw(lane: &Lane) -> Result<(), Error> {
    lane.send(Request::SetGlobal { variable: VARIABLE, value: "0" }).await.map(drop)
}
