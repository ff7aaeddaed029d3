//! Live calls and the caps they use.

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{ApiResponse, Object, OpenApi};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::calls::viewer;
use super::error::ApiError;
use super::page::{Page, Window};
use super::render::{ClientName, Viewer};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::principal::Principal;
use crate::auth::roles::{Operation, Reach};
use crate::calls::io::Input;
use crate::calls::live::LiveView;
use crate::clock::Now;
use crate::id::CallId;
use crate::routing::breaker;
use crate::routing::caps::Used;
use crate::routing::snapshot::{Campaign, Link, Snapshot};
use crate::store::calls;

/// Endpoints of live calls.
#[derive(Debug)]
pub(super) struct Api;

/// One live call.
#[derive(Debug, Object)]
pub(super) struct LiveCall {
    /// The call's id.
    call_id: String,
    /// `selecting`, `dialling` (a client is dialled and does not ring yet), `ringing`, `talking`, or `clearing` (ended, its channels
    /// are being taken down).
    state: String,
    /// When it arrived.
    arrived_at: DateTime<Utc>,
    /// Milliseconds since it arrived.
    age_ms: u64,
    /// Milliseconds since a client answered, as is likely where that was not seen; null when none has.
    talk_ms: Option<u64>,
    /// The number dialled, in E.164 where it is one.
    did: String,
    /// Row id of the DID.
    did_id: Option<i64>,
    /// Who calls, in E.164; null when withheld, absent or not a number.
    caller: Option<String>,
    /// `allowed`, `withheld` or `unavailable`.
    caller_presentation: String,
    /// Owner of the DID.
    seller_id: Option<i64>,
    /// The owner's name.
    seller_name: Option<String>,
    /// The campaign.
    campaign_id: Option<i64>,
    /// Its name.
    campaign_name: Option<String>,
    /// The latest dial.
    attempt: Option<LiveAttempt>,
    /// Asterisk node that the call came in on.
    node: String,
}

/// The latest dial of a live call.
#[derive(Debug, Object)]
struct LiveAttempt {
    /// Counts from 1 within the call.
    number: u32,
    /// The link it is made for.
    link_id: i64,
    /// The client that is dialled.
    client: ClientName,
}

/// A link and how much of its caps is used now.
#[derive(Debug, Object)]
struct LinkUse {
    /// Row id of the link.
    link_id: i64,
    /// `active` or `paused`.
    status: String,
    /// The client is not for the campaign's seller (any more): the link gets no calls.
    client_withdrawn: bool,
    /// Row id of its campaign.
    campaign_id: i64,
    /// Name of its campaign.
    campaign_name: String,
    /// Its client.
    client: ClientName,
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
    /// Calls of the client ringing or talking, over all sellers. Not shown to sellers.
    client_used: Option<u32>,
    /// The client's `max_concurrency`; null = no limit. Not shown to sellers.
    client_limit: Option<u32>,
    /// Nodes from which the client cannot be reached: its last attempts there failed, and it is offered their calls only where nobody else
    /// is left.
    unreachable_from: Vec<String>,
}

#[derive(ApiResponse)]
enum HangUpResponse {
    /// The call is being hung up; its record says `operator`.
    #[oai(status = 202)]
    Accepted,
}

/// Place of a call in the list.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct At {
    at: DateTime<Utc>,
    id: Uuid,
}

impl At {
    fn of(call: &LiveView) -> Self {
        Self { at: call.arrived.wall, id: call.call_id.0 }
    }
}

#[OpenApi(prefix_path = "/api/v1/live", tag = "Tag::Live")]
impl Api {
    /// List live calls
    ///
    /// Newest arrival first. Any role; sellers get their own calls. A call is in this list until it has ended; then it is among `/calls`.
    #[oai(path = "/calls", method = "get", operation_id = "listLiveCalls")]
    async fn calls(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Calls per page, 1 to 200.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<LiveCall>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListLiveCalls)?;
        let window = Window::<At>::new(limit.0, cursor.0.as_deref(), "")?;
        let mut found = state.registry.views();
        found.retain(|call| sees(&principal, reach, call));
        found.retain(|call| window.after.as_ref().is_none_or(|after| At::of(call) < *after));
        found.sort_by_cached_key(|call| Reverse(At::of(call)));
        found.truncate(usize::try_from(window.read).unwrap_or(usize::MAX));
        let (viewer, now) = (viewer(state, &principal).await?, state.clock.now());
        let place = |call: &Arc<LiveView>| At::of(call);
        Ok(Json(window.page(found, place, |call| shown(&call, &viewer, now))?))
    }

    /// Hang up a live call
    ///
    /// Caller and client are hung up; a caller who was not answered gets the SIP status configured for `nobody_answered`. Any role;
    /// sellers their own calls. Noted in the audit.
    #[oai(path = "/calls/:call_id", method = "delete", operation_id = "hangUpCall")]
    async fn hang_up(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// The call's id.
        call_id: Path<String>,
    ) -> Result<HangUpResponse, ApiError> {
        let (principal, reach) = auth.may(Operation::HangUpCall)?;
        let id = call_id.0.parse::<CallId>().map_err(|_| ApiError::not_found())?;
        let call = state.registry.view(id).filter(|call| sees(&principal, reach, call));
        call.ok_or_else(ApiError::not_found)?;
        calls::note_hang_up(&state.db, (&principal).into(), id, state.clock.now().wall).await?;
        // It may have ended by itself while that was noted.
        if state.registry.tell(id, Input::Operator) { Ok(HangUpResponse::Accepted) } else { Err(ApiError::not_found()) }
    }

    /// List the use of caps
    ///
    /// Every link that is not archived, by its id, with what of its caps is used now. Any role; sellers get their own links.
    #[oai(path = "/links", method = "get", operation_id = "listLiveLinks")]
    async fn links(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Links per page, 1 to 200.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<LinkUse>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListLiveLinks)?;
        let window = Window::<i64>::new(limit.0, cursor.0.as_deref(), "")?;
        let own = match reach {
            Reach::All => None,
            Reach::Own | Reach::None => Some(calls::campaigns_of(&state.db, principal.user).await?),
        };
        let viewer = viewer(state, &principal).await?;
        let snapshot = state.registry.snapshot().clone();
        let campaigns = snapshot.campaigns.values().filter(|c| own.as_ref().is_none_or(|own| own.contains(&c.id)));
        let mut links: Vec<_> = campaigns.flat_map(|c| c.links.iter().map(move |link| (c, link))).collect();
        links.retain(|(_, link)| window.after.is_none_or(|after| link.id.0 > after));
        links.sort_by_key(|(_, link)| link.id);
        links.truncate(usize::try_from(window.read).unwrap_or(usize::MAX));
        let (nodes, now) = (state.node_names(), state.clock.now());
        let uses = state.registry.read(&links, |book, (campaign, link)| {
            let open = |node: &&Arc<str>| book.breaker(link.client, breaker::At { node, now }).outage().is_some();
            let unreachable: Vec<Arc<str>> = nodes.iter().filter(open).cloned().collect();
            (book.ledger.used(book.ledger.campaign_live(campaign.id), link), unreachable)
        });
        let row = |((campaign, link), (used, unreachable))| (campaign, link, used, unreachable);
        let rows = links.into_iter().zip(uses).map(row).collect();
        let shown = |(campaign, link, used, unreachable): Row| LinkUse {
            unreachable_from: if viewer.is_withdrawn(link.client) { Vec::new() } else { names(&unreachable) },
            ..usage(campaign, link, &snapshot, used, &viewer)
        };
        Ok(Json(window.page(rows, |(_, link, ..)| link.id.0, shown)?))
    }
}

/// A link of a campaign, its use, and the nodes from which its client cannot be reached.
type Row<'a> = (&'a Arc<Campaign>, &'a Link, Used, Vec<Arc<str>>);

fn names(nodes: &[Arc<str>]) -> Vec<String> {
    nodes.iter().map(ToString::to_string).collect()
}

/// Whether the call is one that the principal may know of.
pub(super) fn sees(principal: &Principal, reach: Reach, call: &LiveView) -> bool {
    reach == Reach::All || call.seller.as_ref().is_some_and(|(seller, _)| *seller == principal.user)
}

pub(super) fn shown(call: &LiveView, viewer: &Viewer, now: Now) -> LiveCall {
    let since = |at: Now| millis(now.mono.saturating_sub(at.mono));
    LiveCall {
        call_id: call.call_id.to_string(),
        state: call.state.to_string(),
        arrived_at: call.arrived.wall,
        age_ms: since(call.arrived),
        talk_ms: call.answered.map(since),
        did: call.dialled.clone(),
        did_id: call.did.map(|id| id.0),
        caller: call.caller.clone(),
        caller_presentation: call.presentation.to_string(),
        seller_id: call.seller.as_ref().map(|(id, _)| id.0),
        seller_name: call.seller.as_ref().map(|(_, name)| name.clone()),
        campaign_id: call.campaign.as_ref().map(|(id, _)| id.0),
        campaign_name: call.campaign.as_ref().map(|(_, name)| name.clone()),
        attempt: call.attempt.as_ref().map(|attempt| LiveAttempt {
            number: attempt.number,
            link_id: attempt.link.0,
            client: viewer.client(attempt.client, &attempt.client_name, &attempt.client_identifier),
        }),
        node: call.node.to_string(),
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn usage(campaign: &Campaign, link: &Link, snapshot: &Snapshot, used: Used, viewer: &Viewer) -> LinkUse {
    let client = snapshot.clients.get(&link.client);
    let (name, identifier) = client.map_or(("", ""), |client| (client.name.as_str(), client.identifier.as_str()));
    LinkUse {
        link_id: link.id.0,
        status: link.status.to_string(),
        client_withdrawn: link.withdrawn || viewer.is_withdrawn(link.client),
        campaign_id: campaign.id.0,
        campaign_name: campaign.name.clone(),
        client: viewer.client_now(link.client, name, identifier),
        used: used.link_live,
        limit: link.max_concurrency,
        total_used: used.counted,
        total_limit: link.total_calls_allowed,
        campaign_used: used.campaign_live,
        campaign_limit: campaign.max_concurrency,
        client_used: viewer.unless_seller(used.client_live),
        client_limit: client.and_then(|client| client.max_concurrency).and_then(|limit| viewer.unless_seller(limit)),
        unreachable_from: Vec::new(),
    }
}
