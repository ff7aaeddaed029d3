//! One row for every call.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "call_logs")]
pub struct Model {
    /// `UUIDv8` of the call.
    #[sea_orm(primary_key, auto_increment = false)]
    pub call_id: Uuid,
    /// Asterisk node.
    pub node: String,
    /// Asterisk's id of the inbound channel.
    pub uniqueid: String,
    /// Asterisk's linked id.
    pub linkedid: String,
    /// SIP Call-ID of the carrier's INVITE.
    pub sip_call_id: Option<String>,
    /// What the carrier dialled.
    pub dialled_raw: String,
    /// The same in E.164.
    pub dialled_number: Option<String>,
    /// The caller as sent.
    pub caller_raw: Option<String>,
    /// The same in E.164.
    pub caller_number: Option<String>,
    /// Display name.
    pub caller_name: Option<String>,
    /// `allowed`, `withheld` or `unavailable`.
    pub caller_presentation: String,
    /// Owner of the DID then.
    pub seller_id: Option<i64>,
    /// Its name then.
    pub seller_name: Option<String>,
    /// The DID.
    pub did_id: Option<i64>,
    /// The campaign.
    pub campaign_id: Option<i64>,
    /// Its name then.
    pub campaign_name: Option<String>,
    /// The last attempted link.
    pub last_link_id: Option<i64>,
    /// The link that answered.
    pub answered_link_id: Option<i64>,
    /// The client that answered.
    pub answered_client_id: Option<i64>,
    /// Its name then.
    pub answered_client_name: Option<String>,
    /// Arrival, UTC, microseconds.
    pub arrived_at: ChronoDateTimeUtc,
    /// First ringing.
    pub ringing_at: Option<ChronoDateTimeUtc>,
    /// Answer.
    pub answered_at: Option<ChronoDateTimeUtc>,
    /// Where the answer was not seen: the last evidence that the caller was not answered.
    pub answered_after: Option<ChronoDateTimeUtc>,
    /// Where the answer was not seen: the first evidence that it was.
    pub answered_before: Option<ChronoDateTimeUtc>,
    /// End.
    pub ended_at: ChronoDateTimeUtc,
    /// Where the end was not seen: the last evidence that the call lived.
    pub ended_after: Option<ChronoDateTimeUtc>,
    /// Where the end was not seen: the first evidence that it was gone.
    pub ended_before: Option<ChronoDateTimeUtc>,
    /// First ringing to answer or end, in milliseconds.
    pub ring_ms: i64,
    /// Answer to end, in milliseconds.
    pub talk_ms: i64,
    /// How long it was at least, where `talk_ms` is not certain.
    pub talk_min_ms: Option<i64>,
    /// How long it was at most, where `talk_ms` is not certain.
    pub talk_max_ms: Option<i64>,
    /// Asterisk's word for the outcome.
    pub dialstatus: String,
    /// Q.850 cause.
    pub q850_cause: Option<i16>,
    /// Final SIP status to the carrier.
    pub sip_code: Option<i16>,
    /// `caller`, `client` or `system`.
    pub hung_up_by: String,
    /// The typed reason.
    pub ending: String,
    /// The routing decision.
    pub trace: Option<Json>,
    /// The call's events.
    pub timeline: Json,
    /// What the old dialplan's report said beyond the rest; `None` for calls handled here.
    pub legacy: Option<Json>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
