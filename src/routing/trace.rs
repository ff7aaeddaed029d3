//! PURE: the form in which a decision's inputs are stored with the record and shown by `why`.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::decision::{Seen, Trace, Verdict};
use super::snapshot::{Client, Link, Strategy};
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};

/// Verdict on a link whose client is not for the campaign's seller (any more).
pub const CLIENT_WITHDRAWN: &str = "client_withdrawn";

/// Verdict on a link whose client cannot be reached from the node.
pub const CLIENT_UNREACHABLE: &str = "client_unreachable";

/// The trace as it is stored with the record and shown by `why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TraceView {
    /// Routing revision of the snapshot used.
    pub revision: i64,
    /// The DID that matched.
    pub did: DidId,
    /// Its owner.
    pub seller: UserId,
    /// Campaign id.
    pub campaign_id: CampaignId,
    /// Campaign name.
    pub campaign: String,
    /// How links were ordered.
    pub strategy: Strategy,
    /// Calls of the campaign ringing or talking at that time.
    pub campaign_used: u32,
    /// Its `max_concurrency`.
    pub campaign_limit: Option<u32>,
    /// The link that was offered the call before this one (input of `round_robin`).
    pub last_offered: Option<LinkId>,
    /// Links in the order they were to be tried.
    pub candidates: Vec<LinkId>,
    /// Every link of the campaign.
    pub links: Vec<LinkView>,
}

/// One link's verdict with every figure it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkView {
    /// The link.
    pub link: LinkId,
    /// Its client.
    pub client_id: ClientId,
    /// The client's name.
    pub client: String,
    /// The client's endpoint.
    pub identifier: String,
    /// `candidate`, `link_paused`, `client_paused`, `client_withdrawn`, the cap that was full (see `Cap`), or `client_unreachable`.
    pub verdict: String,
    /// Place among the candidates, from 1. One whose client is unreachable has one where nobody else was left.
    pub position: Option<usize>,
    /// Calls of the link ringing or talking.
    pub used: u32,
    /// Its `max_concurrency`.
    pub limit: Option<u32>,
    /// Calls counted against its total, without those in flight.
    pub total_used: u64,
    /// Its `total_calls_allowed`.
    pub total_limit: Option<u64>,
    /// Calls of the client ringing or talking, over all campaigns.
    pub client_used: u32,
    /// The client's `max_concurrency`.
    pub client_limit: Option<u32>,
    /// Its `forwarding_priority`.
    pub priority: i32,
    /// Its `weight`.
    pub weight: u32,
    /// How far it was behind (positive) its share, in millionths of a call (input of `weighted`).
    pub credit_millionths: i64,
    /// Since when its client is not reached from the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_since: Option<DateTime<Utc>>,
    /// When it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unreachable_until: Option<DateTime<Utc>>,
}

/// One link, and all that keeps it from being offered a call: verdicts, the one of a decision first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outlook {
    /// The link as a decision would see it.
    pub link: LinkView,
    /// What is in the way.
    pub obstacles: Vec<&'static str>,
}

impl Trace {
    /// The form that is stored.
    #[must_use]
    pub fn view(&self) -> TraceView {
        TraceView {
            revision: self.revision,
            did: self.did,
            seller: self.seller,
            campaign_id: self.campaign.id,
            campaign: self.campaign.name.clone(),
            strategy: self.campaign.strategy,
            campaign_used: self.campaign_live,
            campaign_limit: self.campaign.max_concurrency,
            last_offered: self.last_offered,
            candidates: self.candidates.clone(),
            links: self.links(),
        }
    }

    fn links(&self) -> Vec<LinkView> {
        let places: FxHashMap<LinkId, usize> = self.candidates.iter().zip(1..).map(|(link, at)| (*link, at)).collect();
        let view = |((link, seen), client): ((&Link, &Seen), &Option<Arc<Client>>)| {
            seen.view(link, client.as_deref(), places.get(&link.id).copied())
        };
        self.campaign.links.iter().zip(&self.links).zip(&self.clients).map(view).collect()
    }
}

impl Verdict {
    /// The word that is stored and shown.
    pub(super) fn code(self) -> &'static str {
        match self {
            Self::Eligible => "candidate",
            Self::LinkInactive => "link_paused",
            Self::ClientWithdrawn => CLIENT_WITHDRAWN,
            Self::ClientInactive => "client_paused",
            Self::Full(cap) => cap.as_str(),
            Self::Unreachable => CLIENT_UNREACHABLE,
        }
    }
}

impl Seen {
    /// The form that is stored; `position` is its place among the candidates.
    pub(super) fn view(&self, link: &Link, client: Option<&Client>, position: Option<usize>) -> LinkView {
        LinkView {
            link: link.id,
            client_id: link.client,
            client: client.map_or_else(String::new, |client| client.name.clone()),
            identifier: client.map_or_else(String::new, |client| client.identifier.to_string()),
            verdict: self.verdict.code().to_owned(),
            position,
            used: self.used.link_live,
            limit: link.max_concurrency,
            total_used: self.used.counted,
            total_limit: link.total_calls_allowed,
            client_used: self.used.client_live,
            client_limit: client.and_then(|client| client.max_concurrency),
            priority: link.forwarding_priority,
            weight: link.weight,
            credit_millionths: self.credit.millionths(),
            unreachable_since: self.outage.as_ref().map(|outage| outage.since.wall),
            unreachable_until: self.outage.as_ref().map(|outage| outage.until.wall),
        }
    }
}
