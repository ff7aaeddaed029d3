//! The HTTP side: health, readiness and metrics, described by an OpenAPI document.

mod answers;
mod audit;
mod auth;
mod body;
mod calls;
mod campaigns;
mod changes;
mod clients;
mod dids;
mod error;
mod export;
mod headers;
mod health;
mod links;
mod live;
mod page;
mod render;
mod route;
mod security;
mod tokens;
mod users;
mod words;

use std::sync::Arc;

use poem::listener::{Acceptor, Listener, TcpListener};
use poem::{Endpoint, EndpointExt, Request, Route, Server, get, handler, web::Data};
use poem_openapi::{OpenApiService, Tags};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::auth::authority::Authority;
use crate::calls::dispatcher::NodeHealth;
use crate::calls::registry::Registry;
use crate::clock::Clock;
use crate::config::Config;
use crate::presence::Presence;
use crate::screen::Screen;
use crate::store::Db;
use crate::telemetry::{Metrics, name};

/// What the handlers look at.
#[derive(Debug, Clone)]
pub struct State {
    /// Live calls and permits.
    pub registry: Arc<Registry>,
    /// The dispatcher's view of each node.
    pub nodes: watch::Receiver<Vec<NodeHealth>>,
    /// The process's metrics.
    pub metrics: Metrics,
    /// The main database.
    pub db: Db,
    /// Time.
    pub clock: Clock,
    /// As configured.
    pub config: Arc<Config>,
    /// Keys and limits of authentication.
    pub authority: Arc<Authority>,
    /// Where clients may be.
    pub screen: Arc<Screen>,
    /// What the nodes know of clients.
    pub presence: Arc<Presence>,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("api.listen = \"{listen}\" cannot be used: {source}; choose a free ADDRESS:PORT of this machine")]
pub struct CannotListen {
    listen: std::net::SocketAddr,
    source: std::io::Error,
}

/// The OpenAPI document, as YAML.
#[must_use]
pub fn spec() -> String {
    service().spec_yaml()
}

/// Nouns of the API.
#[derive(Tags)]
enum Tag {
    /// For load balancers and monitoring; no authentication.
    Health,
    /// Log-in, one's own password, API tokens.
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
    /// Previews of decisions.
    Routing,
    /// Who changed what.
    Audit,
}

/// What routing is made of.
type Routing = (clients::Clients, dids::Dids, campaigns::Campaigns, links::Links);
/// What comes of it.
type Traffic = (calls::Api, live::Api, route::Api, audit::Api);
type Nouns = (health::Health, auth::Api, tokens::Api, users::Api, Routing, Traffic);

fn service() -> OpenApiService<Nouns, ()> {
    let routing = (clients::Clients, dids::Dids, campaigns::Campaigns, links::Links);
    let traffic = (calls::Api, live::Api, route::Api, audit::Api);
    let nouns = (health::Health, auth::Api, tokens::Api, users::Api, routing, traffic);
    OpenApiService::new(nouns, "CapConduit", env!("CARGO_PKG_VERSION"))
        .description("Routes sellers' inbound calls to call centres under strict caps.")
}

/// Binds the listener, so that a port in use is known at start, and returns the server to run until `shutdown`.
///
/// # Errors
/// When the address cannot be bound.
pub async fn serve(
    listen: std::net::SocketAddr,
    state: State,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = std::io::Result<()>>, CannotListen> {
    let acceptor = TcpListener::bind(listen).into_acceptor().await.map_err(|source| CannotListen { listen, source })?;
    let bound = acceptor.local_addr().first().map(ToString::to_string).unwrap_or_default();
    tracing::info!(listen = bound, "API listening");
    let server = Server::new_with_acceptor(acceptor).idle_timeout(std::time::Duration::from_secs(60));
    let stop = async move { shutdown.cancelled().await };
    Ok(server.run_with_graceful_shutdown(routes(state), stop, Some(std::time::Duration::from_secs(2))))
}

fn routes(state: State) -> impl Endpoint {
    let service = service();
    Route::new()
        .at("/metrics", get(metrics_text))
        .at("/openapi.json", service.spec_endpoint())
        .nest("/docs", service.swagger_ui())
        .nest("/", service)
        .data(state)
        .around(without_nul)
        .around(headers::guard)
}

/// Refuses U+0000 in a path or query, however it is encoded: PostgreSQL has no text with it, and nothing here is called so.
async fn without_nul<E: Endpoint>(endpoint: Arc<E>, request: Request) -> poem::Result<E::Output> {
    let uri = request.uri();
    let has_nul = |text: &str| percent_encoding::percent_decode_str(text).any(|byte| byte == 0);
    if has_nul(uri.path()) || uri.query().is_some_and(has_nul) {
        return Err(error::ApiError::malformed("The path or query has the character U+0000 (%00).").into());
    }
    endpoint.call(request).await
}

/// Prometheus' text format. Gauges of what is live are read at the moment of the scrape.
#[handler]
fn metrics_text(Data(state): Data<&State>) -> String {
    for (index, node) in state.nodes.borrow().iter().enumerate() {
        let live = state.registry.calls_on(index).len();
        metrics::gauge!(name::CALLS_LIVE, "node" => node.name.clone()).set(f64::from(u32::try_from(live).unwrap_or(0)));
    }
    let held = state.registry.book().ledger.len();
    metrics::gauge!(name::PERMITS_HELD).set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
    state.metrics.render()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::auth::roles::Operation;

    /// What asks nobody who they are.
    const PUBLIC: [&str; 4] = ["getHealth", "getReadiness", "login", "refreshSession"];

    #[test]
    fn every_operation_of_the_document_has_its_rule_and_asks_who_calls() {
        let document: serde_json::Value = serde_json::from_str(&super::service().spec()).unwrap();
        let paths = document["paths"].as_object().unwrap().values();
        let mut asking = BTreeSet::new();
        for operation in paths.flat_map(|path| path.as_object().unwrap().values()) {
            let id = operation["operationId"].as_str().unwrap().to_owned();
            let asks = operation["security"].as_array().is_some_and(|schemes| !schemes.is_empty());
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
    fn the_reviewed_document_is_the_one_that_is_served() {
        let reviewed = include_str!("../../openapi/capconduit.yaml");
        assert_eq!(super::spec().trim_end(), reviewed.trim_end(), "run `just openapi` and review what changed");
    }
}
