//! Whether a campaign could take a call now, and what is in the way.

use std::sync::Arc;

use poem::web::Data;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::calls::viewer;
use super::changes::Caller;
use super::error::ApiError;
use super::render::{ClientName, Obstacle, Viewer};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::clock::Now;
use crate::id::CampaignId;
use crate::routing::book::Book;
use crate::routing::breaker::At;
use crate::routing::number::readers::Readers;
use crate::routing::snapshot::{Campaign, Link, Snapshot, Status};
use crate::routing::trace::Outlook;
use crate::store::campaigns;

/// Endpoint of campaigns' readiness.
#[derive(Debug)]
pub(super) struct Api;

/// Whether a campaign could take a call now.
#[derive(Debug, Object)]
struct CampaignReadiness {
    /// Row id of the campaign.
    campaign_id: i64,
    /// Whether a call to one of its DIDs would be offered to a client that can be reached.
    ready: bool,
    /// What is in the way: `campaign_paused`, `campaign_archived`, `not_in_force` (made within the last second), `no_did`, `no_active_did`,
    /// `no_link`, `no_ready_link`, `no_node`. Empty where nothing is.
    obstacles: Vec<Obstacle>,
    /// What is not as it should be but does not keep every call out: `node_away`, `unmatched_did` (no call can match one of its DIDs).
    warnings: Vec<Obstacle>,
    /// Its links, by id.
    links: Vec<LinkReadiness>,
}

/// Whether a link could take a call now.
#[derive(Debug, Object)]
struct LinkReadiness {
    /// Row id of the link.
    link_id: i64,
    /// Its client.
    client: ClientName,
    /// Whether a call could be offered to it.
    ready: bool,
    /// What is in the way: `client_withdrawn`, `link_paused`, `client_paused`, `link_full`, `total_reached`, `client_full`,
    /// `campaign_full`, `client_unreachable` (from every node: its last attempts failed there; it is still tried where nobody else is
    /// left). Empty where nothing is.
    obstacles: Vec<Obstacle>,
}

#[OpenApi(prefix_path = "/api/v1/campaigns", tag = "Tag::Campaigns")]
impl Api {
    /// Say whether a campaign is ready
    ///
    /// Why it could not take a call now, for the campaign and for each link, in words and in stable codes. Any role; sellers their own.
    /// Example of an answer: `{"campaign_id": 3, "ready": false, "obstacles": [{"code": "no_did", "explanation": "No DID feeds the
    /// campaign."}], "warnings": [], "links": []}`.
    #[oai(path = "/:id/readiness", method = "get", operation_id = "getCampaignReadiness")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
    ) -> Result<Json<CampaignReadiness>, ApiError> {
        let caller = Caller::new(auth, Operation::GetCampaignReadiness)?;
        let stored = campaigns::get(&state.db, caller.owner, CampaignId(id.0)).await?;
        let viewer = viewer(state, caller.principal()).await?;
        let snapshot = state.registry.snapshot().clone();
        let in_force = snapshot.campaigns.get(&stored.id);
        let (nodes, now) = (state.node_names(), state.clock.now());
        let links = |campaign: &Arc<Campaign>| {
            // Of the book no more than this: calls are decided meanwhile.
            let book = state.registry.part(campaign, &nodes);
            let used = book.ledger.campaign_live(campaign.id);
            of_links(campaign, look(campaign, &snapshot, &book, &nodes, now), used, &snapshot, &viewer)
        };
        let links = in_force.map(links).unwrap_or_default();
        let mut obstacles = of_campaign(stored.values.status, in_force, &snapshot);
        if in_force.is_some_and(|campaign| !campaign.links.is_empty()) && !links.iter().any(|link| link.ready) {
            obstacles.push(Obstacle::new("no_ready_link", "No link can take a call: see each link's obstacles."));
        }
        let (no_node, mut warnings) = of_nodes(state);
        obstacles.extend(no_node);
        warnings.extend(of_dids(stored.id, &snapshot, &state.config.now().readers()));
        Ok(Json(CampaignReadiness {
            campaign_id: stored.id.0,
            ready: obstacles.is_empty(),
            obstacles,
            warnings,
            links,
        }))
    }
}

/// What is in the way of every call to the campaign, its links' caps aside.
fn of_campaign(status: Status, in_force: Option<&Arc<Campaign>>, snapshot: &Snapshot) -> Vec<Obstacle> {
    if status == Status::Archived {
        return vec![Obstacle::new("campaign_archived", "The campaign is archived.")];
    }
    let Some(campaign) = in_force else {
        return vec![Obstacle::new("not_in_force", "The campaign is new and not in force yet: ask again in a second.")];
    };
    let mut obstacles = Vec::new();
    if campaign.status != Status::Active {
        obstacles.push(Obstacle::new("campaign_paused", "The campaign is paused."));
    }
    let mut feeding = snapshot.dids.values().filter(|did| did.campaign == Some(campaign.id)).peekable();
    if feeding.peek().is_none() {
        obstacles.push(Obstacle::new("no_did", "No DID feeds the campaign."));
    } else if feeding.all(|did| did.status != Status::Active) {
        obstacles.push(Obstacle::new("no_active_did", "Every DID that feeds the campaign is paused."));
    }
    if campaign.links.is_empty() {
        obstacles.push(Obstacle::new("no_link", "The campaign has no link to a client."));
    }
    obstacles
}

/// DIDs that feed the campaign and that no call can match, by number.
fn of_dids(campaign: CampaignId, snapshot: &Snapshot, readers: &Readers) -> Vec<Obstacle> {
    let feeding = snapshot.dids.iter().filter(|(_, did)| did.campaign == Some(campaign));
    let mut unmatched: Vec<_> =
        feeding.filter_map(|(number, did)| Some((number, readers.unmatched(snapshot, number, did)?))).collect();
    unmatched.sort_by_key(|(number, _)| *number);
    let warning =
        |(number, why)| Obstacle::new("unmatched_did", format!("No call can match the DID {number}: it {why}."));
    unmatched.into_iter().map(warning).collect()
}

/// Every link as the node sees it on which it stands best: a client may be unreachable from some.
fn look(campaign: &Campaign, snapshot: &Snapshot, book: &Book, nodes: &[Arc<str>], now: Now) -> Vec<Outlook> {
    let on_node = |node: &Arc<str>| book.look(snapshot, campaign, At { node, now });
    let better = |one: Outlook, other: Outlook| if other.obstacles.len() < one.obstacles.len() { other } else { one };
    let all = nodes.iter().map(on_node);
    all.reduce(|one, other| one.into_iter().zip(other).map(|(one, other)| better(one, other)).collect())
        .unwrap_or_default()
}

fn of_links(
    campaign: &Campaign,
    seen: Vec<Outlook>,
    used: u32,
    snapshot: &Snapshot,
    viewer: &Viewer,
) -> Vec<LinkReadiness> {
    let of_link = |(link, seen): (&Link, _)| {
        let obstacles = viewer.obstacles(&seen, (used, campaign.max_concurrency));
        let client = snapshot.clients.get(&link.client);
        let (name, identifier) = client.map_or(("", ""), |client| (client.name.as_str(), client.identifier.as_str()));
        LinkReadiness {
            link_id: link.id.0,
            client: viewer.client_now(link.client, name, identifier),
            ready: obstacles.is_empty(),
            obstacles,
        }
    };
    campaign.links.iter().zip(seen).map(of_link).collect()
}

/// Nodes that take no calls: an obstacle where none does, else a warning.
fn of_nodes(state: &State) -> (Option<Obstacle>, Vec<Obstacle>) {
    let nodes = state.nodes.borrow();
    if !nodes.iter().any(|node| node.ready) {
        let words = "No Asterisk node takes calls at the moment: callers take the dialplan's fallback.";
        return (Some(Obstacle::new("no_node", words)), Vec::new());
    }
    let away = nodes.iter().filter(|node| !node.ready).map(|node| {
        let words = format!(
            "The Asterisk node {} takes no calls at the moment: its callers take the dialplan's fallback.",
            node.name
        );
        Obstacle::new("node_away", words)
    });
    (None, away.collect())
}
