//! Whether this process lives, and whether it takes calls.

use std::time::Duration;

use poem::Request;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::{State, Tag, security};
use crate::auth::roles::Role;
use crate::calls::dispatcher::{NodeHealth, NodeStanding};
use crate::inspect::NodeFault;

/// A database that has not answered for so long is away; it is asked twice a second.
const AWAY_AFTER: Duration = Duration::from_secs(10);

/// Health endpoints.
#[derive(Debug)]
pub(super) struct Health;

/// The process lives.
#[derive(Debug, Object)]
struct Alive {
    /// Always `ok`.
    status: String,
    /// Version of CapConduit.
    version: String,
}

/// Whether calls are taken.
#[derive(Debug, Object)]
struct Readiness {
    /// `ready` or `not_ready`.
    status: String,
    /// Why; to admins only.
    #[oai(skip_serializing_if_is_none)]
    details: Option<ReadinessDetails>,
}

/// What readiness is made of.
#[derive(Debug, Object)]
struct ReadinessDetails {
    /// Whether the database answers. While it does not, calls are still taken, with the configuration in memory.
    database: bool,
    /// Whether the database takes no changes: a standby, or read only. Calls are taken, their records wait on this machine.
    database_read_only: bool,
    /// The Asterisk nodes, in the order of the configuration.
    nodes: Vec<NodeReadiness>,
    /// Records of ended calls that wait on this machine until the database takes them.
    records_waiting: u64,
    /// Why no new calls are taken although nodes may be connected: what they commit to could not be kept. Null when they are.
    refusing: Option<String>,
    /// Routing revision in force; grows with every change of the configuration.
    routing_revision: i64,
    /// Seconds since the configuration in force was last known to be the database's; below 1 where all is well.
    snapshot_age_seconds: f64,
}

/// One node.
#[derive(Debug, Object)]
struct NodeReadiness {
    /// Configured name.
    name: String,
    /// Connected and compared with Asterisk's own lists, and nothing there keeps calls from us: its calls are decided here. Otherwise its
    /// dialplan falls back.
    ready: bool,
    /// `ready`; `away` (not connected); `comparing` (connected, its channels are being compared); `failing` (its requests fail for
    /// everybody: running calls go on, new ones take the fallback; after a pause the node is `ready` again, and the next call shows whether it is); `taken` (another controller has its Stasis
    /// applications: this one waits until it leaves); `drained` (an operator empties it); `handing_over` (the process is ending, and the next one goes
    /// on).
    standing: String,
    /// What stops calls there, or quietly changes them, although it is connected: a sentence each.
    faults: Vec<String>,
}

#[derive(ApiResponse)]
enum ReadinessResponse {
    /// Every node that is not drained is ready, and one is; what calls commit to can be kept, and the database answers and takes changes.
    #[oai(status = 200)]
    Ready(Json<Readiness>),
    /// One is not, or all are drained, or the journal cannot keep what calls commit to: callers take the dialplan's fallback. Or the database
    /// does not answer, or takes no changes.
    #[oai(status = 503)]
    NotReady(Json<Readiness>),
}

#[OpenApi]
impl Health {
    /// The process lives
    ///
    /// Answers as long as the process runs, whatever the state of the database and of Asterisk.
    #[oai(path = "/healthz", method = "get", tag = "Tag::Health", operation_id = "getHealth")]
    #[allow(clippy::unused_async, reason = "poem-openapi wants async handlers")]
    async fn healthz(&self) -> Json<Alive> {
        Json(Alive { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() })
    }

    /// Calls are taken
    ///
    /// 200 when every configured Asterisk node that is not drained is connected and compared, and one is; calls get through its dialplan to us, the journal can be written and the database answers, else 503. Needs no credential, and
    /// tells no more than a word; to an admin's credential it answers with `details`. Example: `{"status": "ready"}`.
    #[oai(path = "/readyz", method = "get", tag = "Tag::Health", operation_id = "getReadiness")]
    #[allow(clippy::unused_async, reason = "poem-openapi wants async handlers")]
    async fn readyz(&self, request: &Request, Data(state): Data<&State>) -> ReadinessResponse {
        let found = details(state);
        let ready =
            found.database && !found.database_read_only && found.refusing.is_none() && takes_calls(&found.nodes);
        let admin = security::who(request).is_some_and(|who| who.role == Role::Admin && !who.must_change_password);
        let status = if ready { "ready" } else { "not_ready" }.to_owned();
        let readiness = Json(Readiness { status, details: admin.then_some(found) });
        if ready { ReadinessResponse::Ready(readiness) } else { ReadinessResponse::NotReady(readiness) }
    }
}

/// Whether the node's calls are decided here: it is connected and compared, and nothing on it keeps them from us.
pub(super) fn is_ready(node: &NodeHealth, faults: &[NodeFault]) -> bool {
    node.ready && !faults.iter().any(|fault| fault.stops)
}

/// A node that is drained is as its operator wants it, as long as another takes calls.
fn takes_calls(nodes: &[NodeReadiness]) -> bool {
    let drained = NodeStanding::Drained.as_str();
    nodes.iter().all(|node| node.ready || node.standing == drained) && nodes.iter().any(|node| node.ready)
}

/// Asks nobody: whoever may ask for readiness may ask often.
fn details(state: &State) -> ReadinessDetails {
    let nodes = state.nodes.borrow();
    let faults = state.faults.borrow();
    let nodes = nodes.iter().enumerate().map(|(index, node)| {
        let faults = faults.get(index).map(Vec::as_slice).unwrap_or_default();
        NodeReadiness {
            name: node.name.clone(),
            ready: is_ready(node, faults),
            standing: node.standing.to_string(),
            faults: faults.iter().map(|fault| fault.text.clone()).collect(),
        }
    });
    let nodes = nodes.collect();
    let journal = state.journal.standing().borrow().clone();
    let age = state.clock.now().mono.saturating_sub(state.registry.confirmed());
    ReadinessDetails {
        database: age < AWAY_AFTER,
        database_read_only: *state.read_only.borrow(),
        nodes,
        records_waiting: journal.waiting,
        refusing: journal.refusing.map(|why| why.as_str().to_owned()),
        routing_revision: state.registry.snapshot().revision,
        snapshot_age_seconds: age.as_secs_f64(),
    }
}
