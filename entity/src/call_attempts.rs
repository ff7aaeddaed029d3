//! One row for every dial.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "call_attempts")]
pub struct Model {
    /// `call_logs.call_id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub call_id: Uuid,
    /// Counts from 1 within the call.
    #[sea_orm(primary_key, auto_increment = false)]
    pub number: i64,
    /// The link.
    pub link_id: i64,
    /// The client.
    pub client_id: i64,
    /// Its name then.
    pub client_name: String,
    /// Its PJSIP endpoint then.
    pub client_identifier: String,
    /// Start, UTC, microseconds.
    pub started_at: ChronoDateTimeUtc,
    /// First ringing.
    pub ringing_at: Option<ChronoDateTimeUtc>,
    /// Answer.
    pub answered_at: Option<ChronoDateTimeUtc>,
    /// When its channel was gone.
    pub ended_at: ChronoDateTimeUtc,
    /// How it came out.
    pub outcome: String,
    /// Q.850 cause.
    pub q850_cause: Option<i16>,
    /// Final SIP status of the client.
    pub sip_code: Option<i16>,
    /// Whether it counts against the link's total.
    pub counted: bool,
    /// `call_logs.arrived_at` of its call; this and the following are what lists are filtered by. Never `None` in rows of this version.
    pub call_arrived_at: Option<ChronoDateTimeUtc>,
    /// `call_logs.seller_id` of its call.
    pub call_seller_id: Option<i64>,
    /// `call_logs.ending` of its call.
    pub call_ending: Option<String>,
    /// `call_logs.talk_ms` of its call.
    pub call_talk_ms: Option<i64>,
    /// `call_logs.answered_at` of its call.
    pub call_answered_at: Option<ChronoDateTimeUtc>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
