//! `/metrics`: on a listener of its own, or on the API's for whoever has the token.

use std::fmt::Write as _;
use std::time::Duration;

use poem::http::StatusCode;
use poem::web::Data;
use poem::{Request, handler};
use poem_openapi::OperationId;

use super::State;
use super::error::ApiError;
use super::security;
use crate::auth::secrets;
use crate::calls::dispatcher::NodeStanding as Standing;
use crate::calls::registry::Registry;
use crate::routing::breaker::{At, Standing as Breaker};
use crate::routing::usage::InUse;
use crate::telemetry::name;

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
    if state.config.api.metrics_token.is_none() {
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
    let wanted = state.config.api.metrics_token.as_ref();
    if wanted.is_some_and(|wanted| !security::bearer(request).is_some_and(|given| secrets::same(given, wanted))) {
        return Err(ApiError::unauthorized("credential", "Send api.metrics_token as a bearer token."));
    }
    Ok(render(state))
}

/// Prometheus' text format. What is a matter of the moment is read at the moment.
fn render(state: &State) -> String {
    for (index, node) in state.nodes.borrow().iter().enumerate() {
        let live = state.registry.calls_on(index).len();
        for (gauge, standing) in [(name::NODE_BREAKER_OPEN, Standing::Failing), (name::NODE_TAKEN, Standing::Taken)] {
            metrics::gauge!(gauge, "node" => node.name.clone()).set(f64::from(u8::from(node.standing == standing)));
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

/// Clients whose breaker on a node is open: like caps written here, so that one that is closed or gone does not stay.
fn write_breakers(state: &State, text: &mut String) {
    let (snapshot, now) = (state.registry.snapshot().clone(), state.clock.now());
    let mut open = Vec::new();
    {
        let book = state.registry.book();
        for node in state.node_names() {
            let at = At { node: &node, now };
            let clients = snapshot.clients.values();
            let found = clients.filter(|client| !matches!(book.breaker(client.id, at), Breaker::Closed { .. }));
            open.extend(found.map(|client| (node.to_string(), client.identifier.to_string())));
        }
    }
    open.sort_unstable();
    let name = name::CLIENT_BREAKER_OPEN;
    // Writing into a text cannot fail.
    let _ = writeln!(text, "# HELP {name} Clients that cannot be reached from a node\n# TYPE {name} gauge");
    for (node, client) in open {
        let _ = writeln!(text, "{name}{{node=\"{node}\",client=\"{client}\"}} 1");
    }
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
    let InUse { uses, snapshot } = registry.in_use();
    let mut found = Vec::new();
    let mut note = |cap, id, used: u64, limit: Option<u64>| {
        found.extend(limit.map(|limit| CapUse { cap, id, used, limit }));
    };
    for client in snapshot.clients.values() {
        note("client", client.id.0, uses.client(client.id).into(), client.max_concurrency.map(Into::into));
    }
    for campaign in snapshot.campaigns.values() {
        let limit = campaign.max_concurrency.map(Into::into);
        note("campaign", campaign.id.0, uses.campaign(campaign.id).into(), limit);
        for link in &campaign.links {
            let (live, counted) = uses.link(link);
            note("link", link.id.0, live.into(), link.max_concurrency.map(Into::into));
            note("link_total", link.id.0, counted.saturating_add(live.into()), link.total_calls_allowed);
        }
    }
    found.sort_unstable_by_key(|it| (it.cap, it.id));
    found
}

/// Written here and not kept as gauges: a cap that is gone must not stay with its last value.
fn write_caps(caps: &[CapUse], text: &mut String) {
    type Value = fn(&CapUse) -> u64;
    let gauges: [(&str, &str, Value); 2] = [
        (name::CAP_USED, "Slots of a cap in use, calls in flight included", |it| it.used),
        (name::CAP_LIMIT, "Slots of a cap", |it| it.limit),
    ];
    for (name, help, value) in gauges {
        // Writing into a text cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
        for it in caps {
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
