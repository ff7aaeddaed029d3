//! PURE: the form in which a decision's inputs are stored with the record and shown by `why`.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::decision::{Seen, Trace, Verdict};
use super::snapshot::Strategy;
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
            links: self.links.iter().map(|seen| seen.view(&self.candidates)).collect(),
        }
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
            Self::Full(full) => full.cap.as_str(),
            Self::Unreachable(_) => CLIENT_UNREACHABLE,
        }
    }
}

impl Seen {
    /// The form that is stored; `candidates` tell its place.
    pub(super) fn view(&self, candidates: &[LinkId]) -> LinkView {
        LinkView {
            link: self.link.id,
            client_id: self.link.client,
            client: self.client.as_ref().map_or_else(String::new, |c| c.name.clone()),
            identifier: self.client.as_ref().map_or_else(String::new, |c| c.identifier.to_string()),
            verdict: self.verdict.code().to_owned(),
            position: candidates.iter().position(|id| *id == self.link.id).map(|at| at + 1),
            used: self.live,
            limit: self.link.max_concurrency,
            total_used: self.counted,
            total_limit: self.link.total_calls_allowed,
            client_used: self.client_live,
            client_limit: self.client.as_ref().and_then(|c| c.max_concurrency),
            priority: self.link.forwarding_priority,
            weight: self.link.weight,
            credit_millionths: self.credit_millionths,
            unreachable_since: self.outage.map(|outage| outage.since.wall),
            unreachable_until: self.outage.map(|outage| outage.until.wall),
        }
    }
}
