//! `/metrics`: on a listener of its own, or on the API's for whoever has the token.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Request, handler};
use poem_openapi::OperationId;

use super::State;
use super::error::ApiError;
use super::{health, security};
use crate::auth::secrets;
use crate::calls::dispatcher::NodeStanding as Standing;
use crate::calls::registry::Registry;
use crate::clock::Now;
use crate::routing::breaker::{At, Standing as Breaker};
use crate::routing::snapshot::{Campaign, Client, Link};
use crate::routing::uses::Capped;
use crate::telemetry::{catalogue, name};

/// Notes how long an answer took. Labels are from closed sets: the operations, and the class of the status.
pub(super) fn note_request(operation: Option<OperationId>, status: StatusCode, took: Duration) {
    let operation = operation.map_or("none", |operation| operation.0);
    let class = ["1xx", "2xx", "3xx", "4xx", "5xx"].get(usize::from(status.as_u16() / 100).wrapping_sub(1));
    metrics::histogram!(name::API_REQUEST_SECONDS, "operation" => operation, "status" => *class.unwrap_or(&"other"))
        .record(took.as_secs_f64());
}

/// On the API's listener: never without a token.
#[handler]
pub(super) fn beside_the_api(request: &Request, Data(state): Data<&State>) -> Result<String, ApiError> {
    if state.config.now().api.metrics_token.is_none() {
        return Err(ApiError::not_found());
    }
    alone(request, state)
}

/// On a listener of its own: a token is asked for where one is configured.
#[handler]
pub(super) fn on_its_own(request: &Request, Data(state): Data<&State>) -> Result<String, ApiError> {
    alone(request, state)
}

fn alone(request: &Request, state: &State) -> Result<String, ApiError> {
    let config = state.config.now();
    let wanted = config.api.metrics_token.as_ref();
    if wanted.is_some_and(|wanted| !security::bearer(request).is_some_and(|given| secrets::same(given, wanted))) {
        return Err(ApiError::unauthorized("credential", "Send api.metrics_token as a bearer token."));
    }
    Ok(render(state))
}

/// Prometheus' text format. What is a matter of the moment is read at the moment.
fn render(state: &State) -> String {
    // Not while the dispatcher, which tells of its nodes, would have to wait for it.
    let (nodes, faults) = (state.nodes.borrow().clone(), state.faults.borrow().clone());
    for (index, node) in nodes.iter().enumerate() {
        let live = state.registry.ids_on(index).len();
        for (gauge, is_so) in [
            (name::NODE_READY, health::is_ready(node, faults.get(index).map(Vec::as_slice).unwrap_or_default())),
            (name::NODE_BREAKER_OPEN, node.standing == Standing::Failing),
            (name::NODE_TAKEN, node.standing == Standing::Taken),
            (name::NODE_DRAINED, node.standing == Standing::Drained),
        ] {
            metrics::gauge!(gauge, "node" => node.name.clone()).set(f64::from(u8::from(is_so)));
        }
        metrics::gauge!(name::CALLS_LIVE, "node" => node.name.clone()).set(f64::from(u32::try_from(live).unwrap_or(0)));
    }
    let held = state.registry.book().ledger.len();
    metrics::gauge!(name::PERMITS_HELD).set(f64::from(u32::try_from(held).unwrap_or(u32::MAX)));
    let mut text = state.metrics.render();
    write_caps(&caps(&state.registry), &mut text);
    write_breakers(state, &mut text);
    text
}

/// What stands before the samples of a gauge.
fn write_head(name: &str, text: &mut String) {
    let help = catalogue::find(name).map(catalogue::Metric::help).unwrap_or_default();
    // Writing into a text cannot fail.
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

/// Clients whose breaker on a node is open: like caps written here, so that one that is closed or gone does not stay.
fn write_breakers(state: &State, text: &mut String) {
    let mut open = open_breakers(&state.registry, &state.node_names(), state.clock.now());
    open.sort_unstable();
    let name = name::CLIENT_BREAKER_OPEN;
    write_head(name, text);
    for (node, client) in open {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "{name}{{node=\"{node}\",client=\"{client}\"}} 1");
    }
}

/// Each node and the clients whose breaker is open there, in no order.
fn open_breakers(registry: &Registry, nodes: &[Arc<str>], now: Now) -> Vec<(String, String)> {
    let snapshot = registry.snapshot().clone();
    let all = nodes.iter().flat_map(|node| snapshot.clients.values().map(move |client| (node, client)));
    let all: Vec<(&Arc<str>, &Arc<Client>)> = all.collect();
    let standings = registry.read(&all, |book, (node, client)| book.breaker(client.id, At { node, now }));
    let open = all.iter().zip(standings).filter(|(_, standing)| !matches!(standing, Breaker::Closed { .. }));
    open.map(|((node, client), _)| (node.to_string(), client.identifier.to_string())).collect()
}

/// One cap that has a limit.
#[derive(Debug, PartialEq, Eq)]
struct CapUse {
    cap: &'static str,
    id: i64,
    used: u64,
    limit: u64,
}

/// The caps that have a limit, by kind and id.
fn caps(registry: &Registry) -> Vec<CapUse> {
    let snapshot = registry.snapshot().clone();
    let mut limited = Vec::new();
    for client in snapshot.clients.values().filter(|client| client.max_concurrency.is_some()) {
        limited.push(Limited::Client(client));
    }
    for campaign in snapshot.campaigns.values() {
        limited.extend(campaign.max_concurrency.map(|_| Limited::Campaign(campaign)));
        let has_limit = |link: &&Link| link.max_concurrency.is_some() || link.total_calls_allowed.is_some();
        limited.extend(campaign.links.iter().filter(has_limit).map(Limited::Link));
    }
    let uses = registry.read(&limited, |book, of| book.ledger.use_of(of.capped()));
    let mut found = Vec::new();
    let [of_link, of_total, of_client, of_campaign] = catalogue::CAPS;
    let mut note = |cap, id, used: u64, limit: Option<u64>| {
        found.extend(limit.map(|limit| CapUse { cap, id, used, limit }));
    };
    for (of, used) in limited.iter().zip(uses) {
        let live = u64::from(used.live);
        match of {
            Limited::Client(client) => note(of_client, client.id.0, live, client.max_concurrency.map(Into::into)),
            Limited::Campaign(it) => note(of_campaign, it.id.0, live, it.max_concurrency.map(Into::into)),
            Limited::Link(link) => {
                note(of_link, link.id.0, live, link.max_concurrency.map(Into::into));
                note(of_total, link.id.0, link.counted(used).saturating_add(live), link.total_calls_allowed);
            }
        }
    }
    found.sort_unstable_by_key(|it| (it.cap, it.id));
    found
}

/// What has a cap with a limit.
enum Limited<'a> {
    Client(&'a Client),
    Campaign(&'a Campaign),
    Link(&'a Link),
}

impl Limited<'_> {
    fn capped(&self) -> Capped {
        match self {
            Self::Client(client) => Capped::Client(client.id),
            Self::Campaign(campaign) => Capped::Campaign(campaign.id),
            Self::Link(link) => Capped::Link(link.id),
        }
    }
}

/// Written here and not kept as gauges: a cap that is gone must not stay with its last value.
fn write_caps(caps: &[CapUse], text: &mut String) {
    type Value = fn(&CapUse) -> u64;
    let gauges: [(&str, Value); 2] = [(name::CAP_USED, |it| it.used), (name::CAP_LIMIT, |it| it.limit)];
    for (name, value) in gauges {
        write_head(name, text);
        for it in caps {
            // Writing into a text cannot fail.
            let _ = writeln!(text, "{name}{{cap=\"{}\",id=\"{}\"}} {}", it.cap, it.id, value(it));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn caps_are_told_with_use_and_limit() {
        let mut text = String::new();
        write_caps(&[CapUse { cap: "link", id: 7, used: 1, limit: 30 }], &mut text);
        for line in [
            "# TYPE capconduit_cap_used gauge",
            "capconduit_cap_used{cap=\"link\",id=\"7\"} 1",
            "capconduit_cap_limit{cap=\"link\",id=\"7\"} 30",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}
