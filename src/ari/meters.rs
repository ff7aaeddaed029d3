//! What is measured of one node's events and requests. A metric is looked up by its labels once, and then kept: a call may count dozens.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::error::REQUEST_OUTCOMES;
use super::event::EVENT_KINDS;
use super::request::REQUEST_KINDS;

/// How the names of the metrics end, behind [`metrics_prefix`](super::Settings::metrics_prefix). Each has the label `node`.
pub mod metric {
    /// Counter: events that were read, by `type`.
    pub const EVENTS: &str = "ari_events_total";
    /// Counter: events that could not be read.
    pub const UNDECODABLE: &str = "ari_undecodable_total";
    /// Counter: requests, by `request` and `outcome`.
    pub const REQUESTS: &str = "ari_requests_total";
    /// Histogram: time of a request from its queueing to its outcome, by `request`.
    pub const REQUEST_SECONDS: &str = "ari_request_seconds";
    /// Counter: how often a socket was opened anew, or tried to.
    pub const RECONNECTS: &str = "ari_reconnects_total";
    /// Counter: how often a socket went away, by `reason`.
    pub const DISCONNECTS: &str = "ari_disconnects_total";
    /// Gauge: events that wait for their consumer.
    pub const EVENT_QUEUE_DEPTH: &str = "ari_event_queue_depth";
}

/// One node's meters.
#[derive(Debug)]
pub(super) struct Meters {
    node: String,
    prefix: &'static str,
    events: Kept<&'static str, Counter>,
    outcomes: Kept<(&'static str, &'static str), Counter>,
    times: Kept<&'static str, Histogram>,
}

impl Meters {
    pub(super) fn new(node: &str, prefix: &'static str) -> Self {
        Self {
            node: node.to_owned(),
            prefix,
            events: Kept::default(),
            outcomes: Kept::default(),
            times: Kept::default(),
        }
    }

    fn name(&self, metric: &str) -> String {
        format!("{}{metric}", self.prefix)
    }

    /// An event could not be read.
    pub(super) fn undecodable(&self) {
        metrics::counter!(self.name(metric::UNDECODABLE), "node" => self.node.clone()).increment(1);
    }

    /// A socket was opened anew so many times, or tried to.
    pub(super) fn reconnects(&self, times: u64) {
        metrics::counter!(self.name(metric::RECONNECTS), "node" => self.node.clone()).increment(times);
    }

    /// A socket went away.
    pub(super) fn disconnect(&self, reason: &'static str) {
        metrics::counter!(self.name(metric::DISCONNECTS), "node" => self.node.clone(), "reason" => reason).increment(1);
    }

    /// How many events wait for their consumer.
    pub(super) fn event_queue_depth(&self) -> Gauge {
        metrics::gauge!(self.name(metric::EVENT_QUEUE_DEPTH), "node" => self.node.clone())
    }

    /// An event of this type was read.
    pub(super) fn event(&self, kind: &'static str) {
        debug_assert!(EVENT_KINDS.contains(&kind), "{kind} is not in EVENT_KINDS");
        let make = || metrics::counter!(self.name(metric::EVENTS), "node" => self.node.clone(), "type" => kind);
        self.events.with(kind, make, |counter| counter.increment(1));
    }

    /// A request of this kind came out so, after this time.
    pub(super) fn request(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        debug_assert!(REQUEST_KINDS.contains(&kind), "{kind} is not in REQUEST_KINDS");
        debug_assert!(REQUEST_OUTCOMES.contains(&outcome), "{outcome} is not in REQUEST_OUTCOMES");
        let node = || self.node.clone();
        let make = || metrics::counter!(self.name(metric::REQUESTS), "node" => node(), "request" => kind, "outcome" => outcome);
        self.outcomes.with((kind, outcome), make, |counter| counter.increment(1));
        let make = || metrics::histogram!(self.name(metric::REQUEST_SECONDS), "node" => node(), "request" => kind);
        self.times.with(kind, make, |histogram| histogram.record(took.as_secs_f64()));
    }
}

/// Metrics by their labels, which are a handful from a closed set.
#[derive(Debug)]
struct Kept<K, M>(Mutex<Vec<(K, M)>>);

impl<K, M> Default for Kept<K, M> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: PartialEq, M> Kept<K, M> {
    fn with(&self, labels: K, make: impl FnOnce() -> M, act: impl FnOnce(&M)) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.iter().find(|(known, _)| *known == labels) {
            Some((_, metric)) => act(metric),
            None => {
                let metric = make();
                act(&metric);
                kept.push((labels, metric));
            }
        }
    }
}
