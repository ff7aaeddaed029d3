//! The HTTP side: health, readiness and metrics, described by an OpenAPI document.

mod admission;
mod answers;
mod audit;
mod auth;
mod batches;
mod body;
mod bounds;
mod call_filter;
mod calls;
mod campaigns;
mod cells;
mod changes;
mod clients;
mod connections;
mod cors;
mod did_rows;
mod dids;
mod docs;
mod document;
mod error;
mod events;
mod export;
mod guesses;
mod headers;
mod health;
mod idempotency;
mod internal;
mod json;
mod legacy_ids;
mod links;
mod live;
mod methods;
mod metrics;
mod nodes;
mod operations;
mod page;
mod rates;
mod readiness;
mod render;
mod reports;
mod rights;
mod route;
mod secret;
mod security;
mod sessions;
mod strangers;
mod tokens;
mod twice;
mod users;
mod versions;
mod visits;
mod words;

use std::sync::Arc;

use arc_swap::ArcSwap;
use poem::{Endpoint, EndpointExt, Request, Route, get};
use poem_openapi::{OpenApiService, Tags};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::connections::Terms;
use crate::auth::authority::Authority;
use crate::auth::roles::Role;
use crate::calls::dispatcher::{Desk, NodeHealth};
use crate::calls::registry::Registry;
use crate::cdr::journal::Journal;
use crate::clock::Clock;
use crate::config::{Config, Realtime};
use crate::in_force::InForce;
use crate::inspect::NodeFault;
use crate::presence::Presence;
use crate::screen::Screen;
use crate::store::Db;
use crate::store::reports::Reports;
use crate::store::sight::Sight;
use crate::telemetry::Metrics;

pub(crate) use connections::LEAVING_AT_MOST;
pub use visits::Visits;

/// What the handlers look at.
#[derive(Debug, Clone)]
pub struct State {
    /// Live calls and permits.
    pub registry: Arc<Registry>,
    /// What waits on this machine for the database.
    pub journal: Journal,
    /// The dispatcher's view of each node.
    pub nodes: watch::Receiver<Vec<NodeHealth>>,
    /// What is wrong with each node although it is connected.
    pub faults: watch::Receiver<Vec<Vec<NodeFault>>>,
    /// Whether the database takes no changes.
    pub read_only: watch::Receiver<bool>,
    /// Where the dispatcher is asked how the nodes are.
    pub desk: Desk,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The main database.
    pub db: Db,
    /// The same for what reads much of it.
    pub reports: InForce<Reports>,
    /// Time.
    pub clock: Clock,
    /// Where Asterisk reads its PJSIP objects.
    pub realtime: Realtime,
    /// As configured; what may change while the process runs included.
    pub config: InForce<Config>,
    /// Keys and limits of authentication.
    pub authority: Arc<Authority>,
    /// Answers that go on for long.
    pub visits: Arc<Visits>,
    /// What sellers may see of clients, as of the last change.
    pub sight: Arc<ArcSwap<Sight>>,
    /// Where clients may be.
    pub screen: InForce<Screen>,
    /// What the nodes know of clients.
    pub presence: Arc<Presence>,
}

impl State {
    /// Names of the Asterisk nodes, in the order of the configuration.
    fn node_names(&self) -> Vec<Arc<str>> {
        self.config.now().nodes.iter().map(|node| Arc::from(node.name.as_str())).collect()
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("{key} = \"{listen}\" cannot be used: {source}; choose a free ADDRESS:PORT of this machine")]
pub struct CannotListen {
    key: &'static str,
    listen: std::net::SocketAddr,
    source: std::io::Error,
}

/// The OpenAPI document as YAML: whole, or what `role` reaches and may set.
///
/// # Errors
/// When it cannot be written as YAML.
pub fn spec(role: Option<Role>) -> Result<String, serde_yaml::Error> {
    document::yaml(&document(role))
}

fn document(role: Option<Role>) -> serde_json::Value {
    document::publish(serde_json::from_str(&service().spec()).unwrap_or_default(), role)
}

/// Nouns of the API.
#[derive(Tags)]
enum Tag {
    /// For load balancers and monitoring; no authentication.
    Health,
    /// Log-in, sessions, one's own password, API tokens.
    Auth,
    /// People who sign in, and sellers. Admins only.
    Users,
    /// Call centres and how they are reached. Sellers see of one its id, name and status.
    Clients,
    /// Inbound numbers.
    Dids,
    /// Sellers' offers: where the calls of their DIDs may go.
    Campaigns,
    /// One campaign–client pair with its own caps.
    Links,
    /// Finished calls. A seller sees the calls to its own DIDs.
    Calls,
    /// Calls that have not ended, and the caps they use. A seller sees the calls to its own DIDs.
    Live,
    /// Asterisk nodes. Admins and staff.
    Nodes,
    /// Previews of decisions.
    Routing,
    /// Who changed what.
    Audit,
    /// For our own machines.
    Internal,
}

/// What routing is made of.
type Routing = (clients::Clients, dids::Dids, campaigns::Campaigns, readiness::Api, links::Links);
/// What comes of it.
type Traffic = (calls::Api, live::Api, events::Api, route::Api, audit::Api, nodes::Nodes);
/// What moving over from the old platform needs.
type Legacy = (legacy_ids::LegacyIds, internal::Internal);
/// Who may ask.
type People = (auth::Api, sessions::Api, tokens::Api, users::Api);
type Nouns = (health::Health, People, Routing, Traffic, Legacy);

fn nouns() -> Nouns {
    let routing = (clients::Clients, dids::Dids, campaigns::Campaigns, readiness::Api, links::Links);
    let traffic = (calls::Api, live::Api, events::Api, route::Api, audit::Api, nodes::Nodes);
    let legacy = (legacy_ids::LegacyIds, internal::Internal);
    let people = (auth::Api, sessions::Api, tokens::Api, users::Api);
    (health::Health, people, routing, traffic, legacy)
}

fn service() -> OpenApiService<operations::Guarded<Nouns>, ()> {
    OpenApiService::new(operations::Guarded(nouns()), "CapConduit", env!("CARGO_PKG_VERSION"))
        .description("Routes sellers' inbound calls to call centres under strict caps.")
}

/// Binds the listeners, so that a port in use is known at start, and returns the servers to run until `shutdown`. `connections`: how many
/// the API's may have at once.
///
/// # Errors
/// When an address cannot be bound.
pub async fn serve(
    connections: usize,
    state: State,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = std::io::Result<()>>, CannotListen> {
    let (api, clock) = (state.config.now(), state.clock);
    let scraped = match api.api.metrics_listen {
        Some(listen) => {
            let (listener, terms) =
                (bind("api.metrics_listen", listen).await?, Terms::new(&api.api, METRICS_CONNECTIONS));
            let routes = metrics_routes(state.clone()).map_to_response();
            Some(connections::serve(listener, routes, terms, clock, shutdown.clone()))
        }
        None => None,
    };
    let (listener, terms) = (bind("api.listen", api.api.listen).await?, Terms::new(&api.api, connections));
    let served = connections::serve(listener, routes(state).map_to_response(), terms, clock, shutdown);
    Ok(async move {
        match scraped {
            Some(scraped) => tokio::try_join!(served, scraped).map(drop),
            None => served.await,
        }
    })
}

/// Connections of the listener for metrics alone.
pub(crate) const METRICS_CONNECTIONS: usize = 32;

async fn bind(key: &'static str, listen: std::net::SocketAddr) -> Result<TcpListener, CannotListen> {
    let cannot = |source| CannotListen { key, listen, source };
    let listener = TcpListener::bind(listen).await.map_err(cannot)?;
    let bound = listener.local_addr().map_err(cannot)?;
    tracing::info!(listen = %bound, key, "API listening");
    Ok(listener)
}

fn routes(state: State) -> impl Endpoint {
    let rates = Arc::new(admission::Rates::new(&state.config.now().api));
    Route::new()
        .at("/metrics", get(metrics::beside_the_api))
        .at("/openapi.json", get(docs::openapi_json))
        .nest("/docs", Route::new().at("/", get(docs::page)))
        .nest("/", service())
        .around(readable)
        .around(admission::admit)
        .around(twice::refuse)
        .around(headers::guard)
        .around(cors::allow)
        .data(rates)
        .data(state)
}

fn metrics_routes(state: State) -> impl Endpoint {
    Route::new().at("/metrics", get(metrics::on_its_own)).around(headers::guard).data(state)
}

/// Refuses what is too long, and U+0000 in a path or query, however it is encoded: PostgreSQL has no text with it, and nothing here is
/// called so.
async fn readable<E: Endpoint>(endpoint: Arc<E>, request: Request) -> poem::Result<E::Output> {
    let uri = request.uri();
    if uri.path_and_query().is_some_and(|text| text.as_str().len() > error::URI_AT_MOST) {
        return Err(error::ApiError::uri_too_long().into());
    }
    let has_nul = |text: &str| percent_encoding::percent_decode_str(text).any(|byte| byte == 0);
    if has_nul(uri.path()) || uri.query().is_some_and(has_nul) {
        return Err(error::ApiError::malformed("The path or query has the character U+0000 (%00).").into());
    }
    endpoint.call(request).await
}

#[cfg(test)]
mod holds_test;
#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::auth::roles::{Operation, Role};

    /// What asks nobody who they are; the last asks for a token that is no user's.
    const PUBLIC: [&str; 5] = ["getHealth", "getReadiness", "login", "refreshSession", "logCall"];

    #[test]
    fn every_operation_of_the_document_has_its_rule_and_asks_who_calls() {
        let document: serde_json::Value = serde_json::from_str(&super::service().spec()).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let mut asking = BTreeSet::new();
        for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let schemes = operation["security"].as_array().into_iter().flatten();
            let asks =
                schemes.flat_map(|scheme| scheme.as_object().unwrap().keys()).any(|name| name != "InternalToken");
            assert_eq!(asks, !PUBLIC.contains(&id.as_str()), "{id}");
            assert!(operation["summary"].is_string() && operation["description"].is_string(), "{id} is described");
            if asks {
                assert!(asking.insert(id.clone()), "{id} is there twice");
            }
        }
        let ruled: BTreeSet<String> = Operation::ALL.iter().map(|operation| operation.id().to_owned()).collect();
        assert_eq!(asking, ruled, "src/auth/roles.rs has a rule for each operation, and no other");
    }

    #[test]
    fn the_reviewed_documents_are_those_that_are_served() {
        for (role, reviewed) in [
            (None, include_str!("../../openapi/capconduit.yaml")),
            (Some(Role::Admin), include_str!("../../openapi/admin.yaml")),
            (Some(Role::Staff), include_str!("../../openapi/staff.yaml")),
            (Some(Role::Seller), include_str!("../../openapi/seller.yaml")),
        ] {
            let served = super::spec(role).unwrap();
            assert!(served.trim_end() == reviewed.trim_end(), "run `just openapi` and review what changed ({role:?})");
        }
    }
}
