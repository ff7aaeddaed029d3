//! PURE: the record of one call and the rows of its attempts, as they are stored.

use chrono::{DateTime, Utc};

use super::json::Json;
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::snapshot::words;

/// One finished call (row of `call_logs`). Names are copied so that records survive their objects.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct CallRecord {
    /// Identity; writing the same call twice changes nothing.
    pub call_id: CallId,
    /// Name of the Asterisk node.
    pub node: String,
    /// Asterisk's unique id of the inbound channel.
    pub uniqueid: String,
    /// Asterisk's linked id; for an inbound channel the same as `uniqueid`.
    pub linkedid: String,
    /// SIP Call-ID of the carrier's INVITE (RFC 3261).
    pub sip_call_id: Option<String>,
    /// What the carrier dialled, untouched.
    pub dialled_raw: String,
    /// The dialled number in E.164, where it is one.
    pub dialled_number: Option<String>,
    /// The caller as the carrier sent it; `None` when withheld or absent.
    pub caller_raw: Option<String>,
    /// The caller in E.164, where it is a number and not withheld.
    pub caller_number: Option<String>,
    /// Display name; `None` when withheld or absent.
    pub caller_name: Option<String>,
    /// Whether the caller may be shown.
    pub caller_presentation: Presentation,
    /// Owner of the DID.
    pub seller_id: Option<UserId>,
    /// Owner's name at the time.
    pub seller_name: Option<String>,
    /// The DID, where one matched.
    pub did_id: Option<DidId>,
    /// The campaign, where the DID fed one.
    pub campaign_id: Option<CampaignId>,
    /// Its name at the time.
    pub campaign_name: Option<String>,
    /// The last attempted link (the old platform's `EFFECTIVE_CCS_ID`).
    pub last_link_id: Option<LinkId>,
    /// The link that answered.
    pub answered_link_id: Option<LinkId>,
    /// The client that answered.
    pub answered_client_id: Option<ClientId>,
    /// Its name at the time.
    pub answered_client_name: Option<String>,
    /// Arrival in the Stasis application.
    pub arrived_at: DateTime<Utc>,
    /// First ringing or early media of any attempt.
    pub ringing_at: Option<DateTime<Utc>>,
    /// When a client answered and the caller with it; where that was not seen, when it is likely to have been. `None`: none did, as far as is
    /// known.
    pub answered_at: Option<DateTime<Utc>>,
    /// The caller was answered at this time or later: the last evidence that it was not. `None` where its answer was seen, or there was none;
    /// with `answered_at` `None`: it may have been answered.
    pub answered_after: Option<DateTime<Utc>>,
    /// The caller was answered at this time or earlier, if at all: the first evidence that it was.
    pub answered_before: Option<DateTime<Utc>>,
    /// When the call ended; where that was not seen, the last moment at which it was known to live.
    pub ended_at: DateTime<Utc>,
    /// The call ended at this time or later: the last evidence that it lived, or when it was ended from here. `None` where its end was seen.
    pub ended_after: Option<DateTime<Utc>>,
    /// The call ended at this time or earlier: the first evidence that it was gone. `None` where its end was seen.
    pub ended_before: Option<DateTime<Utc>>,
    /// From first ringing to answer or end, in milliseconds.
    pub ring_ms: i64,
    /// From `answered_at` to `ended_at`, in milliseconds; 0 when not answered. How much it may be off: [`super::talk::bounds`].
    pub talk_ms: i64,
    /// The old platform's word for the outcome.
    pub dialstatus: DialStatus,
    /// Q.850 cause that ended the call.
    pub q850_cause: Option<i16>,
    /// Final SIP status given to the caller's INVITE (200 when answered; 487 when the caller cancelled).
    pub sip_code: Option<i16>,
    /// Who ended it.
    pub hung_up_by: HungUpBy,
    /// The one typed reason (`calls::ending::Ending` as text).
    pub ending: String,
    /// The routing decision with every input, as JSON; `None` when no campaign was reached.
    pub trace: Option<Json>,
    /// The call's events: array of `{"at_ms": since arrival, "event": text}`.
    pub timeline: Json,
    /// For a call that the old dialplan handled and reported; `None` for one handled here.
    pub legacy: Option<Legacy>,
    /// One row for every dial.
    pub attempts: Vec<AttemptRecord>,
}

/// What is told apart in the record of a call that the old dialplan reported.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Legacy {
    /// Ids of the report that name no object here, or one that does not belong to the others, as `field=id`.
    pub unknown_ids: Vec<String>,
    /// Fields of the report that could not be read.
    #[serde(default)]
    pub unreadable_fields: Vec<String>,
}

/// One dial of one client (row of `call_attempts`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct AttemptRecord {
    /// Counts from 1 within the call.
    pub number: u32,
    /// The link it was made for.
    pub link_id: LinkId,
    /// The client dialled.
    pub client_id: ClientId,
    /// Its name at the time.
    pub client_name: String,
    /// Its PJSIP endpoint.
    pub client_identifier: String,
    /// When the permit was taken.
    pub started_at: DateTime<Utc>,
    /// First ringing or early media.
    pub ringing_at: Option<DateTime<Utc>>,
    /// When it answered; the one that the caller was brought together with, when the caller was answered.
    pub answered_at: Option<DateTime<Utc>>,
    /// When its channel was gone.
    pub ended_at: DateTime<Utc>,
    /// How it came out.
    pub outcome: AttemptOutcome,
    /// Q.850 cause of its channel.
    pub q850_cause: Option<i16>,
    /// Final SIP status the client gave.
    pub sip_code: Option<i16>,
    /// Whether it counts against the link's total: `current_total_calls` grows by one with this row.
    pub counted: bool,
}

words! {
    /// Whether the caller's identity may be shown (RFC 3323).
    Presentation {
        /// May be shown.
        Allowed = "allowed",
        /// The caller asked for it not to be shown.
        Withheld = "withheld",
        /// The carrier had none.
        Unavailable = "unavailable",
    }
}

words! {
    /// Asterisk's `DIALSTATUS` words.
    DialStatus {
        /// A client answered.
        Answer = "ANSWER",
        /// The last attempt was busy, or all caps were full.
        Busy = "BUSY",
        /// Nobody answered in time.
        NoAnswer = "NOANSWER",
        /// The caller gave up.
        Cancel = "CANCEL",
        /// Congestion, here or there.
        Congestion = "CONGESTION",
        /// No client could be reached, or no one was to be dialled.
        ChanUnavail = "CHANUNAVAIL",
    }
}

words! {
    /// Who ended the call.
    HungUpBy {
        /// The caller (or its carrier).
        Caller = "caller",
        /// The call centre.
        Client = "client",
        /// This controller or its Asterisk.
        System = "system",
    }
}

words! {
    /// How one attempt came out.
    AttemptOutcome {
        /// The client answered while the caller was there.
        Answered = "answered",
        /// 486 or 600.
        Busy = "busy",
        /// It rang until its timeout, or said 480 or 408.
        NoAnswer = "no_answer",
        /// Neither ringing nor early media within `progress_timeout_ms`; a mere 100 Trying does not count.
        NoProgress = "no_progress",
        /// 603 or 403.
        Rejected = "rejected",
        /// 503, or the network was congested.
        Congestion = "congestion",
        /// No endpoint, no contact, or unreachable.
        Unavailable = "unavailable",
        /// 404, 484 or 488: the client's set-up does not fit; needs an engineer.
        Misconfigured = "misconfigured",
        /// 3xx: never followed.
        Redirected = "redirected",
        /// Ended by us: the caller gave up or the set-up budget was spent.
        Cancelled = "cancelled",
        /// The client answered a caller who had gone; hung up, not counted.
        AnsweredLate = "answered_late",
        /// Not known: the controller or its Asterisk was away when it came out. It counts against the link's total.
        Unknown = "unknown",
        /// Anything else.
        Failed = "failed",
    }
}
