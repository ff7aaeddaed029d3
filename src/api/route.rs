//! What would happen to a call: the decision, without making it.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::body::Body;
use super::call_filter::storable;
use super::calls::viewer;
use super::error::{ApiError, FieldError};
use super::render::{Decision, Made};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::roles::{Operation, Reach};
use crate::id::LinkId;
use crate::routing::book::Book;
use crate::routing::breaker::At;
use crate::routing::number::{find_did, is_e164};
use crate::routing::snapshot::Campaign;

/// Endpoint of routing previews.
#[derive(Debug)]
pub(super) struct Api;

/// A call that might come.
#[derive(Debug, Object)]
struct RouteRequest {
    /// What is dialled: as the carriers of the node send it, which is read by the node's own region and prefix rules; or as the DID is
    /// stored.
    #[oai(validator(min_length = 1, max_length = 80))]
    did: String,
    /// Who calls, in E.164; null for a withheld caller. No rule looks at it so far.
    caller: Option<String>,
    /// When it comes (RFC 3339 with offset); absent or null = now. Said again in the answer; no rule looks at it so far: use, caps and
    /// settings are those of this moment, unless assumed otherwise.
    time: Option<DateTime<Utc>>,
    /// Name of the Asterisk node that it comes in on: a client may be unreachable from one and not from another. Absent or null = the
    /// first one.
    #[oai(validator(max_length = 40))]
    node: Option<String>,
    /// Use of links to assume instead of what is used now.
    #[oai(validator(max_items = 200))]
    usage: Option<Vec<AssumedUse>>,
}

/// What to assume of one link of the DID's campaign. Its campaign is then used as much more or less, its client is not.
#[derive(Debug, Object)]
struct AssumedUse {
    /// Row id of the link.
    link_id: i64,
    /// Calls ringing or talking; absent or null = as now.
    used: Option<u32>,
    /// Calls counted against its total; absent or null = as now.
    total_used: Option<u64>,
}

/// The decision that would be made.
#[derive(Debug, Object)]
struct RoutePreview {
    /// When the call is taken to come.
    time: DateTime<Utc>,
    /// Row id of the DID that matches; null when none does.
    did_id: Option<i64>,
    /// Row id of its owner.
    seller_id: Option<i64>,
    /// Row id of its campaign.
    campaign_id: Option<i64>,
    /// Links in the order in which they would be tried; empty when the call would be refused.
    candidates: Vec<i64>,
    /// Why it would be refused: `unknown_did`, `inactive_campaign`, `no_active_link` or `all_full`; null when it would not.
    refusal: Option<String>,
    /// Every link with its verdict; null when no active campaign is reached.
    decision: Option<Decision>,
}

#[OpenApi(prefix_path = "/api/v1/route", tag = "Tag::Routing")]
impl Api {
    /// Preview a decision
    ///
    /// Says where a call would go now and why, with every link's verdict. Changes nothing: no permit is taken, no rotation moves. Any
    /// role; sellers for their own DIDs.
    #[oai(path = "/", method = "post", operation_id = "previewRoute")]
    async fn preview(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        body: Body<RouteRequest>,
    ) -> Result<Json<RoutePreview>, ApiError> {
        let (principal, reach) = auth.may(Operation::PreviewRoute)?;
        let asked = body.0;
        if asked.caller.as_deref().is_some_and(|caller| !is_e164(caller)) {
            let detail = "use + and 7 to 15 digits (E.164), or null";
            return Err(ApiError::invalid(vec![FieldError::new("caller", "value", detail)]));
        }
        let time = asked.time.unwrap_or_else(|| state.clock.now().wall);
        if !storable(time) {
            return Err(ApiError::invalid(vec![FieldError::new("time", "range", "use a year from 1970 to 9999")]));
        }
        let config = state.config.now();
        let nodes = &config.nodes;
        let named = |name: &String| nodes.iter().find(|node| node.name == *name);
        let Some(node) = asked.node.as_ref().map_or(nodes.first(), named) else {
            return Err(ApiError::invalid(vec![FieldError::new("node", "value", "name a configured node")]));
        };
        let dialled = node.normaliser().dialled(&asked.did);
        let at = At { node: &Arc::from(node.name.as_str()), now: state.clock.now() };
        let snapshot = state.registry.snapshot().clone();
        let did = find_did(&snapshot, &dialled);
        if reach != Reach::All && did.is_none_or(|did| did.seller != principal.user) {
            return Err(ApiError::not_found());
        }
        let campaign = did.and_then(|did| did.campaign).and_then(|id| snapshot.campaigns.get(&id));
        // Of the book no more than the decision rests on: calls are decided meanwhile.
        let nodes = std::slice::from_ref(at.node);
        let mut book = campaign.map_or_else(Book::default, |campaign| state.registry.part(campaign, nodes));
        pretend(&mut book, campaign, &asked.usage.unwrap_or_default())?;
        let decision = book.decide(&snapshot, &dialled, at);
        let viewer = viewer(state, &principal).await?;
        Ok(Json(RoutePreview {
            time,
            did_id: decision.did.as_ref().map(|did| did.id.0),
            seller_id: decision.did.as_ref().map(|did| did.seller.0),
            campaign_id: decision.campaign.as_ref().map(|campaign| campaign.id.0),
            candidates: decision.candidates.iter().flatten().map(|link| link.0).collect(),
            refusal: decision.candidates.as_ref().err().map(ToString::to_string),
            decision: decision.trace.map(|trace| viewer.decision(&trace.view(), Made::Now)),
        }))
    }
}

/// Puts the assumed use into a copy of the campaign's part of the book. A link of another campaign is as absent.
fn pretend(book: &mut Book, campaign: Option<&Arc<Campaign>>, usage: &[AssumedUse]) -> Result<(), ApiError> {
    for assumed in usage {
        let found = campaign.and_then(|campaign| Some((campaign, campaign.link(LinkId(assumed.link_id))?)));
        let (campaign, link) = found.ok_or_else(ApiError::not_found)?;
        book.ledger.pretend(campaign.id, link, assumed.used, assumed.total_used);
    }
    Ok(())
}
