//! PURE: calls that the old dialplan handled, as its AGI script reports them, and the records that are made of them.

mod causes;
#[cfg(test)]
mod fuzz;
mod reading;
#[cfg(test)]
mod tests;
mod times;

use chrono::{DateTime, Utc};
use serde_json::json;

pub(super) use reading::dialstatus;
pub use reading::{FIELDS, Fault, read};

use super::record::{AttemptOutcome, AttemptRecord, CallRecord, DialStatus, HungUpBy, Legacy, Presentation};
use crate::calls::ending::{self, Ending};
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::book::counts;
use crate::routing::number::{Caller, Dialled};
use crate::routing::snapshot::CountOn;

/// One call as reported. Texts that were empty are absent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The Asterisk that handled it, where the script says so.
    pub node: Option<String>,
    /// Asterisk's unique id of the inbound channel.
    pub uniqueid: String,
    /// Asterisk's linked id; the same where it was not reported.
    pub linkedid: String,
    /// SIP Call-ID of the carrier's INVITE.
    pub sip_call_id: Option<String>,
    /// What the carrier dialled.
    pub dnid: String,
    /// The caller as sent; empty when there was none.
    pub caller_number: String,
    /// Its display name.
    pub caller_name: Option<String>,
    /// Asterisk's `CALLERID(num-pres)`; `allowed` where it was not reported.
    pub caller_presentation: String,
    /// Begin of the call.
    pub start: DateTime<Utc>,
    /// Its answer, whoever gave it (the old dialplan may have answered before it dialled).
    pub answer: Option<DateTime<Utc>>,
    /// Its end.
    pub end: DateTime<Utc>,
    /// How the last dial came out; `None` when nobody was dialled.
    pub dialstatus: Option<DialStatus>,
    /// Q.850 cause; `None` when there was none.
    pub cause: Option<i16>,
    /// Who ended it; [`HungUpBy::System`] where that was not reported.
    pub hung_up_by: HungUpBy,
    /// Ids of the old platform.
    pub ids: Ids,
    /// Fields that hold what could not be understood, or bytes that are no text: the rest was logged without.
    pub unreadable: Vec<String>,
}

/// The node of a report that does not say which of several it is.
pub const UNKNOWN_NODE: &str = "unknown";

/// Ids of the old platform; all of them may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ids {
    /// `effective_ccs_id`: the last attempted link.
    pub link: Option<String>,
    /// `campaign_id`
    pub campaign: Option<String>,
    /// `did_id`
    pub did: Option<String>,
    /// `user_id`: the seller.
    pub user: Option<String>,
}

/// A report with what this controller makes of its numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reported {
    /// The report.
    pub report: Report,
    /// The Asterisk that handled the call.
    pub node: String,
    /// What was dialled, in E.164 where it is a number.
    pub dialled: Dialled,
    /// Who called, or that it is withheld.
    pub caller: Caller,
}

/// The objects here that a report's ids stand for; they belong together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parties {
    /// The last attempted link.
    pub link: Option<DialledLink>,
    /// The campaign and its name.
    pub campaign: Option<(CampaignId, String)>,
    /// The seller and its name.
    pub seller: Option<(UserId, String)>,
    /// The DID.
    pub did: Option<DidId>,
    /// As in [`Legacy::unknown_ids`].
    pub unknown_ids: Vec<String>,
}

/// What the record of an attempt needs to know of its link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DialledLink {
    /// The link.
    pub id: LinkId,
    /// What counts against its total.
    pub count_on: CountOn,
    /// Its client.
    pub client: ClientId,
    /// The client's name.
    pub client_name: String,
    /// The client's PJSIP endpoint.
    pub client_identifier: String,
}

/// The record of a reported call.
#[must_use]
pub fn record(call: &Reported, parties: Parties) -> CallRecord {
    let report = &call.report;
    // An answer of the dialplan's own is none: only DIALSTATUS says that a client answered.
    let answered = report.dialstatus == Some(DialStatus::Answer);
    let answered_at = answered.then(|| report.answer.unwrap_or(report.end));
    let attempt = parties.link.as_ref().map(|link| attempt(report, link, answered_at));
    let answering = attempt.as_ref().filter(|_| answered);
    let shown = call.caller.presentation != Presentation::Withheld;
    CallRecord {
        call_id: CallId::derive(report.start, &call.node, &report.uniqueid),
        node: call.node.clone(),
        uniqueid: report.uniqueid.clone(),
        linkedid: report.linkedid.clone(),
        sip_call_id: report.sip_call_id.clone(),
        dialled_raw: call.dialled.raw.clone(),
        dialled_number: call.dialled.e164.clone(),
        caller_raw: call.caller.raw.clone(),
        caller_number: call.caller.e164.clone(),
        caller_name: report.caller_name.clone().filter(|_| shown),
        caller_presentation: call.caller.presentation,
        seller_id: parties.seller.as_ref().map(|(id, _)| *id),
        seller_name: parties.seller.map(|(_, name)| name),
        did_id: parties.did,
        campaign_id: parties.campaign.as_ref().map(|(id, _)| *id),
        campaign_name: parties.campaign.map(|(_, name)| name),
        last_link_id: attempt.as_ref().map(|a| a.link_id),
        answered_link_id: answering.map(|a| a.link_id),
        answered_client_id: answering.map(|a| a.client_id),
        answered_client_name: answering.map(|a| a.client_name.clone()),
        arrived_at: report.start,
        ringing_at: None,
        answered_at,
        ended_at: report.end,
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 0,
        talk_ms: answered_at.map_or(0, |from| (report.end - from).num_milliseconds()),
        dialstatus: report.dialstatus.unwrap_or(DialStatus::ChanUnavail),
        q850_cause: report.cause,
        sip_code: None,
        hung_up_by: if report.dialstatus == Some(DialStatus::Cancel) { HungUpBy::Caller } else { report.hung_up_by },
        ending: ending(report.dialstatus).to_string(),
        trace: None,
        timeline: json!([{ "at_ms": 0, "event": "handled and reported by the old dialplan" }]).into(),
        legacy: Some(Legacy { unknown_ids: parties.unknown_ids, unreadable_fields: report.unreadable.clone() }),
        attempts: attempt.into_iter().collect(),
    }
}

/// The last dial, the only one that a report tells of. When it began is not told: it has the call's times.
fn attempt(report: &Report, link: &DialledLink, answered_at: Option<DateTime<Utc>>) -> AttemptRecord {
    // As here: what could not be dialled is no attempt that counts.
    let dialled = report.dialstatus.is_some_and(|status| status != DialStatus::ChanUnavail);
    AttemptRecord {
        number: 1,
        link_id: link.id,
        client_id: link.client,
        client_name: link.client_name.clone(),
        client_identifier: link.client_identifier.clone(),
        started_at: report.start,
        ringing_at: None,
        answered_at,
        ended_at: report.end,
        outcome: outcome(report.dialstatus, report.cause),
        q850_cause: report.cause,
        sip_code: None,
        counted: counts(link.count_on, dialled, answered_at.is_some()),
    }
}

/// Why the call ended. Without a dial the old dialplan does not say why: [`Ending::Failed`] stands for "nothing better is known".
fn ending(dialstatus: Option<DialStatus>) -> Ending {
    match dialstatus {
        Some(DialStatus::Answer) => Ending::Completed,
        Some(DialStatus::Cancel) => Ending::CallerCancelled,
        Some(DialStatus::Busy | DialStatus::NoAnswer | DialStatus::Congestion | DialStatus::ChanUnavail) => {
            Ending::NobodyAnswered
        }
        None => Ending::Failed,
    }
}

/// How the dial came out. `NOANSWER` is Asterisk's word for refusals too: the cause tells them apart.
fn outcome(dialstatus: Option<DialStatus>, cause: Option<i16>) -> AttemptOutcome {
    match dialstatus {
        Some(DialStatus::Answer) => AttemptOutcome::Answered,
        Some(DialStatus::Busy) => AttemptOutcome::Busy,
        Some(DialStatus::Cancel) => AttemptOutcome::Cancelled,
        Some(DialStatus::Congestion) => AttemptOutcome::Congestion,
        Some(DialStatus::ChanUnavail) => AttemptOutcome::Unavailable,
        Some(DialStatus::NoAnswer) => match ending::outcome(cause, None) {
            AttemptOutcome::Failed => AttemptOutcome::NoAnswer,
            told => told,
        },
        None => AttemptOutcome::Failed,
    }
}
