//! What answers tell of calls: the fields, and what they mean.

use chrono::{DateTime, Utc};
use poem_openapi::Object;

/// A client as calls name it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct ClientName {
    /// Row id of the client.
    pub(in crate::api) id: i64,
    /// Its name at the time; for sellers its alias where one is set, and null where it was withdrawn from the seller.
    pub(in crate::api) name: Option<String>,
    /// Its endpoint in Asterisk. Not shown to sellers.
    pub(in crate::api) client_identifier: Option<String>,
}

/// One finished call.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct Call {
    /// The call's id; ids sort by time.
    pub(in crate::api) call_id: String,
    /// When it arrived.
    pub(in crate::api) arrived_at: DateTime<Utc>,
    /// When a client's phone first rang.
    pub(in crate::api) ringing_at: Option<DateTime<Utc>>,
    /// When a client answered, and the caller with it; null when none did, as far as is known. Where that was not seen: when it is likely to
    /// have been.
    pub(in crate::api) answered_at: Option<DateTime<Utc>>,
    /// Where its answer was not seen, or Asterisk could tell it late only: the caller was answered at this time or later. Null for all other
    /// calls. With `answered_at` null: nobody knows whether it was answered at all.
    pub(in crate::api) answered_after: Option<DateTime<Utc>>,
    /// Where its answer was not seen, or Asterisk could tell it late only: the caller was answered at this time or earlier, if at all. Null for
    /// all other calls.
    pub(in crate::api) answered_before: Option<DateTime<Utc>>,
    /// When it ended. Where that was not seen (`lost`): the last moment at which it was known to live; where it was told late: when it is likely to
    /// have ended; where it was ended from here: when that was asked for.
    pub(in crate::api) ended_at: DateTime<Utc>,
    /// Where its end was not seen, Asterisk could tell it late only, or took long to carry it out: it ended at this time or later. Null for all
    /// other calls.
    pub(in crate::api) ended_after: Option<DateTime<Utc>>,
    /// Where its end was not seen, Asterisk could tell it late only, or took long to carry it out: it ended at this time or earlier. Null for all
    /// other calls.
    pub(in crate::api) ended_before: Option<DateTime<Utc>>,
    /// The number dialled, in E.164 where it is one.
    pub(in crate::api) did: String,
    /// Row id of the DID; null when none matched.
    pub(in crate::api) did_id: Option<i64>,
    /// Who called, in E.164; null when withheld, absent or not a number.
    pub(in crate::api) caller: Option<String>,
    /// The caller's display name, as the carrier sent it.
    pub(in crate::api) caller_name: Option<String>,
    /// `allowed`, `withheld` or `unavailable`.
    pub(in crate::api) caller_presentation: String,
    /// Owner of the DID at the time.
    pub(in crate::api) seller_id: Option<i64>,
    /// The owner's name at the time.
    pub(in crate::api) seller_name: Option<String>,
    /// The campaign.
    pub(in crate::api) campaign_id: Option<i64>,
    /// Its name at the time.
    pub(in crate::api) campaign_name: Option<String>,
    /// The last link that was dialled.
    pub(in crate::api) link_id: Option<i64>,
    /// The client that answered, else the last one that was dialled.
    pub(in crate::api) client: Option<ClientName>,
    /// Whether a client answered, as is known: false where it only may have.
    pub(in crate::api) answered: bool,
    /// From first ringing to answer or end, in milliseconds.
    pub(in crate::api) ring_ms: i64,
    /// From answer to end, in milliseconds, as is likely; 0 when not answered.
    pub(in crate::api) talk_ms: i64,
    /// They talked for so long at least, in milliseconds: this is certain. As `talk_ms` where answer and end were seen.
    pub(in crate::api) talk_min_ms: i64,
    /// They talked for so long at most, in milliseconds. As `talk_ms` where answer and end were seen; more than 0 also where nobody knows
    /// whether the call was answered.
    pub(in crate::api) talk_max_ms: i64,
    /// Why it ended: `completed`, `max_duration`, `operator`, `caller_cancelled`, `nobody_answered`, `unknown_did`,
    /// `inactive_campaign`, `no_active_link`, `all_full`, `lost`, `fallback`, `merged`, `overloaded` or `failed`.
    pub(in crate::api) ending: String,
    /// Who ended it: `caller`, `client` or `system`.
    pub(in crate::api) hung_up_by: String,
    /// Asterisk's word for the outcome: `ANSWER`, `BUSY`, `NOANSWER`, `CANCEL`, `CONGESTION` or `CHANUNAVAIL`.
    pub(in crate::api) dialstatus: String,
    /// Final SIP status given to the caller (RFC 3261).
    pub(in crate::api) sip_code: Option<i16>,
    /// Q.850 cause that ended the call.
    pub(in crate::api) q850_cause: Option<i16>,
    /// How many dials were made.
    pub(in crate::api) dials: u64,
    /// Asterisk node that the call came in on.
    pub(in crate::api) node: String,
    /// Who handled it: `capconduit`, or `old_dialplan` for a call that the old platform's dialplan reported.
    pub(in crate::api) handled_by: String,
}

/// One finished call with everything that is known of it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct CallDetail {
    /// What lists show of it.
    #[oai(flatten)]
    pub(super) call: Call,
    /// SIP Call-ID of the carrier's INVITE.
    pub(super) sip_call_id: Option<String>,
    /// Asterisk's id of the inbound channel.
    pub(super) uniqueid: String,
    /// What the carrier sent as the number dialled, untouched.
    pub(super) dialled_raw: String,
    /// Every dial, in order.
    pub(super) attempts: Vec<Attempt>,
    /// What happened, in order.
    pub(super) timeline: Vec<TimelineEvent>,
    /// Why the call went where it went; null when no campaign was reached.
    pub(super) decision: Option<Decision>,
    /// Ids in the old dialplan's report that name no object here, or one that does not belong to the others: `field=id`. Not shown to
    /// sellers; null for calls that CapConduit handled.
    pub(super) unknown_ids: Option<Vec<String>>,
    /// Fields of the old dialplan's report that could not be read. Not shown to sellers; null for calls that CapConduit handled.
    pub(super) unreadable_fields: Option<Vec<String>>,
}

/// One dial of one client.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct Attempt {
    /// Counts from 1 within the call.
    pub(super) number: u32,
    /// The link it was made for.
    pub(super) link_id: i64,
    /// The client that was dialled.
    pub(super) client: ClientName,
    /// When it began.
    pub(super) started_at: DateTime<Utc>,
    /// When it first rang.
    pub(super) ringing_at: Option<DateTime<Utc>>,
    /// When the client answered.
    pub(super) answered_at: Option<DateTime<Utc>>,
    /// When its channel was gone.
    pub(super) ended_at: DateTime<Utc>,
    /// `answered`, `busy`, `no_answer`, `no_progress`, `rejected`, `congestion`, `unavailable`, `misconfigured`, `redirected`,
    /// `cancelled`, `answered_late`, `unknown` or `failed`.
    pub(super) outcome: String,
    /// Q.850 cause of its channel.
    pub(super) q850_cause: Option<i16>,
    /// Final SIP status that the client gave.
    pub(super) sip_code: Option<i16>,
    /// Whether it counts against the link's total.
    pub(super) counted: bool,
}

/// One line of a call's timeline.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct TimelineEvent {
    /// Milliseconds since the call arrived.
    pub(super) at_ms: i64,
    /// What happened.
    pub(super) event: String,
}

/// Why a call may go where: every link of the campaign, and what was found of it.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct Decision {
    /// Routing revision it was made by; grows with every change of the configuration.
    pub(super) revision: i64,
    /// Row id of the campaign.
    pub(super) campaign_id: i64,
    /// Its name.
    pub(super) campaign_name: String,
    /// How links are ordered: `priority`, `round_robin` or `weighted`.
    pub(super) strategy: String,
    /// Calls of the campaign ringing or talking.
    pub(super) campaign_used: u32,
    /// Its `max_concurrency`; null = no limit.
    pub(super) campaign_limit: Option<u32>,
    /// The link that was offered a call last (what `round_robin` goes by).
    pub(super) last_offered: Option<i64>,
    /// Links in the order in which they are to be tried.
    pub(super) candidates: Vec<i64>,
    /// Every link of the campaign.
    pub(super) links: Vec<LinkVerdict>,
}

/// What was found of one link.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct LinkVerdict {
    /// Row id of the link.
    pub(super) link_id: i64,
    /// Its client.
    pub(super) client: ClientName,
    /// `candidate`, `link_paused`, `client_withdrawn`, `client_paused`, `link_full`, `total_reached`, `client_full`, `campaign_full` or
    /// `client_unreachable` (its last attempts on the node failed).
    pub(super) verdict: String,
    /// The verdict in a sentence.
    pub(super) explanation: String,
    /// Place among the candidates, from 1. An unreachable client has one where nobody else was left.
    pub(super) position: Option<u64>,
    /// Calls of the link ringing or talking.
    pub(super) used: u32,
    /// The link's `max_concurrency`; null = no limit.
    pub(super) limit: Option<u32>,
    /// Calls counted against the link's total, without those in flight.
    pub(super) total_used: u64,
    /// The link's `total_calls_allowed`; null = no limit.
    pub(super) total_limit: Option<u64>,
    /// Calls of the client ringing or talking, over all sellers. Not shown to sellers.
    pub(super) client_used: Option<u32>,
    /// The client's `max_concurrency`; null = no limit. Not shown to sellers.
    pub(super) client_limit: Option<u32>,
    /// `forwarding_priority`: lower is tried first.
    pub(super) priority: i32,
    /// `weight`: share of the calls.
    pub(super) weight: u32,
    /// How far it was behind (positive) its share, in millionths of a call (what `weighted` goes by).
    pub(super) credit_millionths: i64,
    /// Since when its client could not be reached from the node; null where it could.
    pub(super) unreachable_since: Option<DateTime<Utc>>,
    /// When it was to be tried again.
    pub(super) unreachable_until: Option<DateTime<Utc>>,
}

/// Something that is in the way of calls.
#[derive(Debug, Clone, PartialEq, Eq, Object)]
pub(in crate::api) struct Obstacle {
    /// What, in a stable word.
    pub(super) code: String,
    /// What, in a sentence.
    pub(super) explanation: String,
}

impl Obstacle {
    pub(in crate::api) fn new(code: &str, explanation: impl Into<String>) -> Self {
        Self { code: code.to_owned(), explanation: explanation.into() }
    }
}
