//! Links: one campaign–client pair.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaign_client_settings")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// `campaigns.id`.
    pub campaign_id: i64,
    /// `clients.id`.
    pub client_id: i64,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<i64>,
    /// Counted calls ever; `None` = no limit.
    pub total_calls_allowed: Option<i64>,
    /// Counted calls since `counted_since`; changes only with records and resets.
    pub current_total_calls: i64,
    /// Calls counted before that.
    pub counted_before: i64,
    /// When the count was last reset; attempts that ended before are not in it. `None` = never.
    pub counted_since: Option<ChronoDateTimeUtc>,
    /// Lower is tried first.
    pub forwarding_priority: i32,
    /// Share, 1 to 10000.
    pub weight: i32,
    /// Ringing time, in seconds; `None` = the campaign's.
    pub ring_timeout_seconds: Option<i64>,
    /// `answered` or `attempted`.
    pub count_on: String,
    /// `active`, `paused` or `archived`.
    pub status: String,
    /// Grows with every change.
    pub version: i64,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
