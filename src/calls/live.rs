//! PURE: a live call as people see it.

use std::sync::Arc;

use super::attempt::Attempt;
use super::machine::Call;
use crate::cdr::record::Presentation;
use crate::clock::Now;
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::snapshot::words;

words! {
    /// Where a live call stands.
    State {
        /// Being decided.
        Selecting = "selecting",
        /// A client is dialled; it does not ring yet.
        Dialling = "dialling",
        /// A client's phone rings, or it sends early media.
        Ringing = "ringing",
        /// A client has answered.
        Talking = "talking",
        /// Ended; its channels are being brought to be gone.
        Clearing = "clearing",
    }
}

/// One live call at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveView {
    /// The call.
    pub call_id: CallId,
    /// Where it stands.
    pub state: State,
    /// Name of its Asterisk node.
    pub node: Arc<str>,
    /// What was dialled: in E.164 where it is a number.
    pub dialled: String,
    /// Who calls, in E.164; `None` when withheld, absent or no number.
    pub caller: Option<String>,
    /// Whether the caller may be shown.
    pub presentation: Presentation,
    /// Owner of the DID.
    pub seller: Option<(UserId, String)>,
    /// The DID.
    pub did: Option<DidId>,
    /// The campaign.
    pub campaign: Option<(CampaignId, String)>,
    /// The latest attempt.
    pub attempt: Option<LiveAttempt>,
    /// When it arrived.
    pub arrived: Now,
    /// When a client answered.
    pub answered: Option<Now>,
}

/// The latest attempt of a live call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveAttempt {
    /// Counts from 1 within the call.
    pub number: u32,
    /// The link it is made for.
    pub link: LinkId,
    /// The client.
    pub client: ClientId,
    /// Its name.
    pub client_name: String,
    /// Its PJSIP endpoint.
    pub client_identifier: String,
}

impl LiveAttempt {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        Self {
            number: attempt.n,
            link: attempt.link.id,
            client: attempt.client.id,
            client_name: attempt.client.name.clone(),
            client_identifier: attempt.client.identifier.to_string(),
        }
    }
}

/// What of a call's view changes while it lives: as long as this is the same, so is the view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    state: State,
    did: Option<DidId>,
    campaign: Option<CampaignId>,
    attempt: Option<(u32, LinkId)>,
    answered: Option<Now>,
}

impl Mark {
    pub(crate) fn of(call: &Call) -> Self {
        let attempt = call.attempts.last();
        Self {
            state: call.state(),
            did: call.did.as_ref().map(|did| did.id),
            campaign: call.campaign.as_ref().map(|campaign| campaign.id),
            attempt: attempt.map(|attempt| (attempt.n, attempt.link.id)),
            answered: attempt.and_then(|attempt| attempt.answered).map(|answer| answer.at),
        }
    }
}

impl LiveView {
    /// The call as it stands.
    #[must_use]
    pub(crate) fn of(call: &Call) -> Self {
        let facts = &call.facts;
        let attempt = call.attempts.last();
        Self {
            call_id: facts.call_id,
            state: call.state(),
            node: Arc::clone(&facts.node),
            dialled: facts.dialled.e164.clone().unwrap_or_else(|| facts.dialled.raw.clone()),
            caller: facts.caller.e164.clone(),
            presentation: facts.caller.presentation,
            seller: call.did.as_ref().map(|did| (did.seller, did.seller_name.clone())),
            did: call.did.as_ref().map(|did| did.id),
            campaign: call.campaign.as_ref().map(|campaign| (campaign.id, campaign.name.clone())),
            attempt: attempt.map(LiveAttempt::of),
            arrived: call.arrived,
            answered: attempt.and_then(|attempt| attempt.answered).map(|answer| answer.at),
        }
    }
}
