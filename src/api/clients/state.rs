//! What the nodes see of a client at this moment, and how much of its caps is used.

use futures_util::future::join_all;
use poem_openapi::{Enum, Object};

use crate::api::State;
use crate::api::words::Life;
use crate::ari::{Endpoint, NodeHandle, Request};
use crate::id::ClientId;
use crate::realtime::Reach;
use crate::routing::caps::Ledger;
use crate::routing::snapshot::{Campaign, ClientIdentifier, Link};
use crate::store::clients::StoredClient;

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
    /// Asks every node at once.
    pub(super) async fn of(state: &State, client: StoredClient) -> Self {
        let registers = matches!(client.values.sip.reach, Reach::Registration { .. });
        let nodes = join_all(state.handles.iter().map(|node| OnNode::ask(node, &client.identifier, registers))).await;
        let snapshot = state.registry.snapshot();
        let book = state.registry.book();
        let links = snapshot.campaigns.values().flat_map(|campaign| {
            let links = campaign.links.iter().filter(|link| link.client == client.id);
            links.map(|link| OnLink::new(&book.ledger, campaign, link))
        });
        let mut links: Vec<OnLink> = links.collect();
        links.sort_by_key(|link| link.link_id);
        Self {
            used: book.ledger.client_live(ClientId(client.id.0)),
            limit: client.values.max_concurrency,
            client_id: client.id.0,
            client_identifier: client.identifier.to_string(),
            status: client.values.status.into(),
            suspended_reason: client.suspended_reason,
            nodes,
            links,
        }
    }
}

impl OnNode {
    async fn ask(node: &NodeHandle, identifier: &ClientIdentifier, registers: bool) -> Self {
        let answer = node.http(Request::GetEndpoint { endpoint: identifier }).await;
        let mut seen = Self {
            node: node.name().to_owned(),
            answers: true,
            endpoint: EndpointState::Unknown,
            reachability: Reachability::Unknown,
            round_trip_ms: None,
            channels: None,
        };
        match answer.and_then(|answer| answer.json::<Endpoint>()) {
            Ok(endpoint) => {
                seen.endpoint = EndpointState::Present;
                seen.reachability = match endpoint.state.as_str() {
                    "online" if registers => Reachability::Registered,
                    "online" => Reachability::Reachable,
                    "offline" => Reachability::Unreachable,
                    _ => Reachability::Unknown,
                };
                seen.channels = Some(u32::try_from(endpoint.channel_ids.len()).unwrap_or(u32::MAX));
            }
            Err(error) if error.status() == Some(404) => {
                (seen.endpoint, seen.channels) = (EndpointState::Absent, Some(0));
            }
            Err(_) => seen.answers = false,
        }
        seen
    }
}

impl OnLink {
    fn new(ledger: &Ledger, campaign: &Campaign, link: &Link) -> Self {
        Self {
            link_id: link.id.0,
            campaign_id: campaign.id.0,
            campaign_name: campaign.name.clone(),
            status: link.status.into(),
            used: ledger.link_live(link.id),
            limit: link.max_concurrency,
            total_used: ledger.link_counted(link),
            total_limit: link.total_calls_allowed,
            campaign_used: ledger.campaign_live(campaign.id),
            campaign_limit: campaign.max_concurrency,
        }
    }
}
