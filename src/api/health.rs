//! Whether this process lives, and whether it takes calls.

use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};

use super::{State, Tag};

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

/// Whether calls are taken, by node.
#[derive(Debug, Object)]
struct Readiness {
    /// Whether every node is ready.
    ready: bool,
    /// The Asterisk nodes, in the order of the configuration.
    nodes: Vec<NodeReadiness>,
    /// Routing revision in force; grows with every change of the configuration.
    routing_revision: i64,
}

/// One node.
#[derive(Debug, Object)]
struct NodeReadiness {
    /// Configured name.
    name: String,
    /// Connected and compared with Asterisk's own lists: its calls are decided here. Otherwise its dialplan falls back.
    ready: bool,
}

#[derive(ApiResponse)]
enum ReadinessResponse {
    /// Every node is ready.
    #[oai(status = 200)]
    Ready(Json<Readiness>),
    /// At least one node is not: its callers take the dialplan's fallback.
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
    /// 200 when every configured Asterisk node is connected and compared, else 503 with the nodes that are not.
    #[oai(path = "/readyz", method = "get", tag = "Tag::Health", operation_id = "getReadiness")]
    #[allow(clippy::unused_async, reason = "poem-openapi wants async handlers")]
    async fn readyz(&self, Data(state): Data<&State>) -> ReadinessResponse {
        let nodes: Vec<_> =
            state.nodes.borrow().iter().map(|n| NodeReadiness { name: n.name.clone(), ready: n.ready }).collect();
        let ready = nodes.iter().all(|node| node.ready);
        let readiness = Json(Readiness { ready, nodes, routing_revision: state.registry.snapshot().revision });
        if ready { ReadinessResponse::Ready(readiness) } else { ReadinessResponse::NotReady(readiness) }
    }
}
