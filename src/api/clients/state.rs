//! What the nodes see of a client at this moment, and how much of its caps is used.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem_openapi::{Enum, Object};

use crate::api::State;
use crate::api::error::ApiError;
use crate::api::words::Life;
use crate::calls::registry::Registry;
use crate::id::ClientId;
use crate::presence::Seen;
use crate::realtime::{self, Reach};
use crate::routing::breaker::{At, Outage, Standing};
use crate::routing::caps::Used;
use crate::routing::snapshot::{Campaign, Link};
use crate::store::clients::StoredClient;

/// When a look has probably ended.
const RETRY: Duration = Duration::from_secs(2);

/// A client at this moment.
#[derive(Debug, Object)]
pub(super) struct ClientState {
    /// Id of the client.
    client_id: i64,
    /// Its PJSIP endpoint.
    client_identifier: String,
    /// Life.
    status: Life,
    /// Why it is offered no calls although it is active.
    suspended_reason: Option<String>,
    /// What each node sees, in the order of the configuration.
    nodes: Vec<OnNode>,
    /// Calls ringing or talking over all sellers' campaigns.
    used: u32,
    /// Its `max_concurrency`; null = no limit.
    limit: Option<u32>,
    /// Its links that are not archived, by id.
    links: Vec<OnLink>,
}

/// A client as one node sees it.
#[derive(Debug, Object)]
struct OnNode {
    /// The node.
    node: String,
    /// Whether it could be asked; where not, the rest is unknown.
    answers: bool,
    /// Whether it has the endpoint.
    endpoint: EndpointState,
    /// Whether the client can be reached from it.
    reachability: Reachability,
    /// Milliseconds from OPTIONS to its answer, when last asked; null where that is not known.
    round_trip_ms: Option<f64>,
    /// Channels to or from the client there.
    channels: Option<u32>,
    /// Whether calls of this node are offered to it.
    breaker: Breaker,
}

/// What the client's last attempts on a node have led to. It opens when several in a row met congestion, no contact or no provisional
/// answer; never when the client was busy or did not answer.
#[derive(Debug, Object)]
struct Breaker {
    /// How it stands.
    state: BreakerState,
    /// Attempts that have failed since its last sign of life; 0 unless it is closed.
    failures: u32,
    /// When it opened; null while it is closed.
    since: Option<DateTime<Utc>>,
    /// When one call tries the client again; null while it is closed.
    until: Option<DateTime<Utc>>,
}

/// How a client's breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum BreakerState {
    /// It is offered calls.
    Closed,
    /// It is offered calls only where nobody else is left.
    Open,
    /// The pause is over: the next call it is offered tries it.
    Due,
    /// One call is trying it.
    Probing,
}

impl From<Standing> for Breaker {
    fn from(standing: Standing) -> Self {
        let open = |state, outage: Outage| Self {
            state,
            failures: 0,
            since: Some(outage.since.wall),
            until: Some(outage.until.wall),
        };
        match standing {
            Standing::Closed { failures } => Self { state: BreakerState::Closed, failures, since: None, until: None },
            Standing::Open(outage) => open(BreakerState::Open, outage),
            Standing::Due(outage) => open(BreakerState::Due, outage),
            Standing::Probing(outage) => open(BreakerState::Probing, outage),
        }
    }
}

/// Whether a node has an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum EndpointState {
    /// It has it.
    Present,
    /// It has not, or not used it yet.
    Absent,
    /// It could not be asked.
    Unknown,
}

/// Whether a client can be reached from a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum Reachability {
    /// It has registered there, and nothing says that it went away.
    Registered,
    /// It answers OPTIONS there.
    Reachable,
    /// It has not registered there, or does not answer OPTIONS.
    Unreachable,
    /// It was not asked by OPTIONS there (yet).
    Unknown,
}

/// How much of a link's caps is used.
#[derive(Debug, Object)]
struct OnLink {
    /// Id of the link.
    link_id: i64,
    /// Id of its campaign.
    campaign_id: i64,
    /// Name of its campaign.
    campaign_name: String,
    /// Its life; `paused` too where its seller may not use the client any more.
    status: Life,
    /// Calls of the link ringing or talking.
    used: u32,
    /// Its `max_concurrency`; null = no limit.
    limit: Option<u32>,
    /// Calls counted against its total, without those in flight.
    total_used: u64,
    /// Its `total_calls_allowed`; null = no limit.
    total_limit: Option<u64>,
    /// Calls of the campaign ringing or talking.
    campaign_used: u32,
    /// The campaign's `max_concurrency`; null = no limit.
    campaign_limit: Option<u32>,
}

impl ClientState {
    /// Asks every node at once, unless that was just done; refused where too many others wait for that.
    pub(super) async fn of(state: &State, client: StoredClient) -> Result<Self, ApiError> {
        let registers = matches!(client.values.sip.reach, Reach::Registration { .. });
        let aor = realtime::aor(&client.identifier, &client.values.sip, &client.values.secrets);
        let seen = state.presence.look(&client.identifier, aor).await.ok_or_else(|| {
            let detail = "The nodes are being asked for as many other clients as may wait: try again in a moment.";
            ApiError::unavailable("nodes_busy", detail, RETRY)
        })?;
        let (registry, now) = (&state.registry, state.clock.now());
        let standings = registry
            .read(&seen, |book, seen| book.breaker(client.id, At { node: &Arc::from(seen.node.as_str()), now }));
        let on_node = |(seen, standing)| OnNode::new(seen, registers, standing);
        let nodes = seen.iter().zip(standings).map(on_node).collect();
        let used = registry.book().ledger.client_live(client.id);
        Ok(Self {
            used,
            limit: client.values.max_concurrency,
            client_id: client.id.0,
            client_identifier: client.identifier.to_string(),
            status: client.values.status.into(),
            suspended_reason: client.suspended_reason,
            nodes,
            links: links_of(registry, client.id),
        })
    }
}

/// The use of a client's links, by their ids.
fn links_of(registry: &Registry, client: ClientId) -> Vec<OnLink> {
    let snapshot = registry.snapshot().clone();
    let all = snapshot.campaigns.values().flat_map(|campaign| campaign.links.iter().map(move |link| (campaign, link)));
    let mut links: Vec<(&Arc<Campaign>, &Link)> = all.filter(|(_, link)| link.client == client).collect();
    links.sort_by_key(|(_, link)| link.id);
    let uses =
        registry.read(&links, |book, (campaign, link)| book.ledger.used(book.ledger.campaign_live(campaign.id), link));
    links.into_iter().zip(uses).map(|((campaign, link), used)| OnLink::new(used, campaign, link)).collect()
}

impl OnNode {
    fn new(seen: &Seen, registers: bool, breaker: Standing) -> Self {
        let has = seen.endpoint.is_some();
        Self {
            answers: has,
            endpoint: match seen.endpoint {
                Some(true) => EndpointState::Present,
                Some(false) => EndpointState::Absent,
                None => EndpointState::Unknown,
            },
            reachability: Reachability::of(seen, registers),
            round_trip_ms: seen.contacts.iter().flatten().find_map(|contact| contact.round_trip).map(millis),
            channels: has.then_some(seen.channels),
            breaker: breaker.into(),
            node: seen.node.clone(),
        }
    }
}

impl Reachability {
    fn of(seen: &Seen, registers: bool) -> Self {
        if seen.endpoint != Some(true) {
            return Self::Unknown;
        }
        let Some(contacts) = &seen.contacts else {
            return if seen.state == "offline" { Self::Unreachable } else { Self::Unknown };
        };
        // The contacts know better than the endpoint, which is offline for a moment when it is first used.
        let any = |word: &str| contacts.iter().any(|contact| contact.status == word);
        match (any("Reachable"), any("Unreachable") || contacts.is_empty(), registers) {
            (true, _, false) => Self::Reachable,
            (true, _, true) | (false, false, true) => Self::Registered,
            (false, true, _) => Self::Unreachable,
            (false, false, false) => Self::Unknown,
        }
    }
}

/// Milliseconds with three decimals.
fn millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1e6).round() / 1e3
}

impl OnLink {
    fn new(used: Used, campaign: &Campaign, link: &Link) -> Self {
        Self {
            link_id: link.id.0,
            campaign_id: campaign.id.0,
            campaign_name: campaign.name.clone(),
            status: link.status.into(),
            used: used.link_live,
            limit: link.max_concurrency,
            total_used: used.counted,
            total_limit: link.total_calls_allowed,
            campaign_used: used.campaign_live,
            campaign_limit: campaign.max_concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::Contact;

    #[test]
    fn reachability_is_what_the_contacts_say() {
        let seen = |state: &str, contacts: Option<&[&str]>| Seen {
            node: "pbx".into(),
            endpoint: Some(true),
            state: state.into(),
            channels: 0,
            contacts: contacts.map(|all| {
                let contact = |status: &&str| Contact { status: (*status).to_owned(), round_trip: None };
                all.iter().map(contact).collect()
            }),
        };
        for (seen, fixed, registers) in [
            (seen("online", Some(&["Reachable"])), Reachability::Reachable, Reachability::Registered),
            (seen("online", Some(&["NonQualified"])), Reachability::Unknown, Reachability::Registered),
            (seen("offline", Some(&["NonQualified"])), Reachability::Unknown, Reachability::Registered),
            (seen("online", Some(&["Unreachable"])), Reachability::Unreachable, Reachability::Unreachable),
            (seen("offline", Some(&[])), Reachability::Unreachable, Reachability::Unreachable),
            (seen("offline", None), Reachability::Unreachable, Reachability::Unreachable),
            (seen("online", None), Reachability::Unknown, Reachability::Unknown),
            (Seen { endpoint: Some(false), ..seen("", Some(&[])) }, Reachability::Unknown, Reachability::Unknown),
            (Seen { endpoint: None, ..seen("", None) }, Reachability::Unknown, Reachability::Unknown),
        ] {
            assert_eq!((Reachability::of(&seen, false), Reachability::of(&seen, true)), (fixed, registers), "{seen:?}");
        }
    }
}
