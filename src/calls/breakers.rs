//! Tells the breakers of clients and nodes what happens, and log and metrics when one turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::{info, warn};

use super::io::Op;
use super::machine::Call;
use super::node_breaker::{NodeBreaker, kind_of, reading};
use super::registry::Registry;
use crate::ari::Error;
use crate::clock::Now;
use crate::routing::breaker::{At, Outage, Sign, Terms, Turn};
use crate::routing::caps::PermitKey;
use crate::routing::snapshot::Client;
use crate::telemetry::name;

/// Notes what an attempt has shown of its client.
pub(super) fn note_sign(registry: &Registry, at: At<'_>, client: &Client, key: PermitKey, sign: Sign) {
    // A node without the client's transport answers 503 by itself: that is no word of the client's.
    let lacks = || registry.lacking.load().get(&**at.node).is_some_and(|clients| clients.contains(&client.id));
    let sign = if sign == Sign::Failed && lacks() { Sign::Unclear } else { sign };
    let turn = registry.book().note(at, client.id, key, sign);
    let (node, client) = (&**at.node, client.identifier.as_str());
    match turn {
        None => {}
        Some(Turn::Opened(outage)) => {
            let labels = [("node", node.to_owned()), ("client", client.to_owned())];
            metrics::counter!(name::CLIENT_BREAKER_OPENINGS, &labels).increment(1);
            warn!(
                node, client, until = %outage.until.wall,
                "client cannot be reached: it is left alone unless nobody else can take a call"
            );
        }
        Some(Turn::StillOpen(outage)) => {
            info!(node, client, until = %outage.until.wall, "client still cannot be reached");
        }
        Some(Turn::Closed(outage)) => {
            info!(node, client, elapsed_ms = elapsed_ms(outage, at.now), "client can be reached again");
        }
    }
}

fn elapsed_ms(outage: Outage, now: Now) -> u64 {
    u64::try_from(now.mono.saturating_sub(outage.since.mono).as_millis()).unwrap_or(u64::MAX)
}

/// The breakers of all nodes, by name.
#[derive(Debug, Default)]
pub(super) struct NodeBreakers {
    terms: Mutex<Terms>,
    nodes: Mutex<HashMap<Arc<str>, NodeBreaker>>,
}

impl NodeBreakers {
    pub(super) fn new(terms: Terms) -> Self {
        Self { terms: Mutex::new(terms), nodes: Mutex::default() }
    }

    /// From now on they open and close by these terms.
    pub(super) fn keep_to(&self, terms: Terms) {
        *self.terms() = terms;
        self.lock().values_mut().for_each(|breaker| breaker.keep_to(terms));
    }

    fn terms(&self) -> MutexGuard<'_, Terms> {
        self.terms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, NodeBreaker>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a call that arrives may be decided here; the first one after the pause is the trial.
    pub(super) fn admits(&self, node: &str, now: Now) -> bool {
        self.lock().get_mut(node).is_none_or(|breaker| breaker.admits(now.mono))
    }

    /// Whether a call that arrived now would take the fallback; `answered`: when the node did last.
    pub(super) fn keeps_out(&self, node: &str, now: Now, answered: Option<Duration>) -> bool {
        self.lock().get(node).is_some_and(|breaker| breaker.keeps_out(now.mono, answered))
    }

    /// Since when the node fails, and until when it gets no calls; `None` where it works.
    pub(super) fn outage(&self, node: &str) -> Option<Outage> {
        self.lock().get(node).and_then(NodeBreaker::outage)
    }

    /// The node was connected anew: what was before says nothing.
    pub(super) fn forget(&self, node: &str) {
        self.lock().remove(node);
    }

    /// Notes how a request of a call came out.
    pub(super) fn note(&self, call: &Call, op: Op, outcome: &Result<(), Error>, now: Now) {
        let Some((kind, reading)) = kind_of(op).and_then(|kind| Some((kind, reading(call, op, outcome)?))) else {
            return;
        };
        let node = &call.facts.node;
        let turn = {
            let mut nodes = self.lock();
            // A node that works has no entry: most requests end here.
            if !reading.is_failure() && !nodes.contains_key(node) {
                return;
            }
            let breaker = nodes.entry(Arc::clone(node)).or_insert_with(|| NodeBreaker::new(*self.terms()));
            breaker.note(kind, reading, now)
        };
        match turn {
            None => {}
            Some(Turn::Opened(outage)) => {
                metrics::counter!(name::NODE_BREAKER_OPENINGS, "node" => node.to_string()).increment(1);
                warn!(
                    %node, request = %kind, until = %outage.until.wall,
                    "requests fail for everybody: new calls take the dialplan's fallback"
                );
            }
            Some(Turn::StillOpen(outage)) => {
                info!(%node, request = %kind, until = %outage.until.wall, "requests still fail");
            }
            Some(Turn::Closed(outage)) => {
                info!(%node, request = %kind, elapsed_ms = elapsed_ms(outage, now), "requests succeed again: taking calls");
            }
        }
    }
}
