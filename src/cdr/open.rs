//! PURE: a call that has not ended, as the journal keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fold;
use super::record::CallRecord;
use crate::calls::attempt::{Attempt, Leg};
use crate::calls::machine::Call;
use crate::clock::{Now, Stamp};
use crate::id::{CampaignId, ClientId, LinkId};
use crate::routing::caps::{Permit, PermitKey};
use crate::routing::snapshot::CountOn;

/// A call that has not ended, as noted last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OpenCall {
    /// What its record would be, had it ended then.
    pub record: CallRecord,
    /// How old it was then.
    pub age: Duration,
    /// How old it was when Asterisk had last shown how it stands. A note of an earlier version does not say: when it was noted.
    #[serde(default)]
    pub heard: Option<Duration>,
    /// Its client has answered, and nothing had told yet that the caller was answered, too.
    #[serde(default)]
    pub answer_open: bool,
    /// Its talk was ended from here, and nothing had told yet that a party of it had gone.
    #[serde(default)]
    pub end_open: bool,
    /// Whether it has ended: only its channels were not known to be gone yet.
    pub ended: bool,
    /// Attempts whose channels were not known to be gone.
    pub legs: Vec<OpenLeg>,
    /// When it was noted.
    pub noted: Stamp,
}

/// An attempt that holds its permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenLeg {
    /// Attempt number.
    pub n: u32,
    /// The campaign.
    pub campaign: CampaignId,
    /// The link.
    pub link: LinkId,
    /// The client.
    pub client: ClientId,
    /// What counts against the link's total.
    pub count_on: CountOn,
}

impl OpenLeg {
    /// The permit it holds.
    #[must_use]
    pub fn permit(&self) -> Permit {
        Permit { campaign: self.campaign, link: self.link, client: self.client }
    }
}

impl OpenCall {
    /// The call as it stands. Its trace is the longest part of it and does not change: `with_trace` the first time.
    #[must_use]
    pub(crate) fn of(call: &Call, with_trace: bool, now: Now, noted: Stamp) -> Self {
        let record = if with_trace { fold::record(call, now) } else { fold::so_far(call, now) };
        let campaign = call.campaign.as_ref().map(|campaign| campaign.id);
        let open = call.attempts.iter().filter(|attempt| attempt.leg != Leg::Gone);
        let leg = |attempt: &Attempt| {
            let (link, client) = (&attempt.link, attempt.client.id);
            Some(OpenLeg { n: attempt.n, campaign: campaign?, link: link.id, client, count_on: link.count_on })
        };
        Self {
            record,
            age: now.mono.saturating_sub(call.arrived.mono),
            heard: Some(call.last_known().mono.saturating_sub(call.arrived.mono)),
            answer_open: call.attempts.last().and_then(|it| it.answered).is_some_and(|answer| answer.before.is_none()),
            end_open: call.end_open,
            ended: call.end.is_some(),
            legs: open.filter_map(leg).collect(),
            noted,
        }
    }

    /// How old it was when it was last known how it stands; its node was last heard when it was `lived` old, if later.
    #[must_use]
    pub(crate) fn known(&self, lived: Duration) -> Duration {
        self.heard.unwrap_or(self.age).max(lived)
    }

    /// The links of attempts that are over and count: no finished record tells of them yet.
    pub fn counted(&self) -> impl Iterator<Item = LinkId> + '_ {
        let over = |number| self.legs.iter().all(|leg| leg.n != number);
        self.record.attempts.iter().filter(move |it| it.counted && over(it.number)).map(|it| it.link_id)
    }

    /// Every permit the call holds.
    pub fn permits(&self) -> impl Iterator<Item = (PermitKey, Permit)> + '_ {
        self.legs.iter().map(|leg| ((self.record.call_id, leg.n), leg.permit()))
    }
}
