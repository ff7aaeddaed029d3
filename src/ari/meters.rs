//! What is measured of one node's events and requests. A metric is looked up by its labels once, and then kept: some thirty are counted
//! for each call.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use metrics::{Counter, Histogram};

use super::{EVENT_KINDS, REQUEST_KINDS, REQUEST_OUTCOMES};
use crate::telemetry::name;

/// One node's meters.
#[derive(Debug)]
pub(super) struct Meters {
    node: String,
    events: Kept<&'static str, Counter>,
    outcomes: Kept<(&'static str, &'static str), Counter>,
    times: Kept<&'static str, Histogram>,
}

impl Meters {
    pub(super) fn new(node: &str) -> Self {
        Self { node: node.to_owned(), events: Kept::default(), outcomes: Kept::default(), times: Kept::default() }
    }

    /// An event of this type was read.
    pub(super) fn event(&self, kind: &'static str) {
        debug_assert!(EVENT_KINDS.contains(&kind), "{kind} is not in EVENT_KINDS");
        let make = || metrics::counter!(name::ARI_EVENTS, "node" => self.node.clone(), "type" => kind);
        self.events.with(kind, make, |counter| counter.increment(1));
    }

    /// A request of this kind came out so, after this time.
    pub(super) fn request(&self, kind: &'static str, outcome: &'static str, took: Duration) {
        debug_assert!(REQUEST_KINDS.contains(&kind), "{kind} is not in REQUEST_KINDS");
        debug_assert!(REQUEST_OUTCOMES.contains(&outcome), "{outcome} is not in REQUEST_OUTCOMES");
        let node = || self.node.clone();
        let make = || metrics::counter!(name::ARI_REQUESTS, "node" => node(), "request" => kind, "outcome" => outcome);
        self.outcomes.with((kind, outcome), make, |counter| counter.increment(1));
        let make = || metrics::histogram!(name::ARI_REQUEST_SECONDS, "node" => node(), "request" => kind);
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
