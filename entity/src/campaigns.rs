//! Sellers' offers.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaigns")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Owner (`users.id`).
    pub seller_id: i64,
    /// Unique per seller.
    pub name: String,
    /// `priority`, `round_robin` or `weighted`.
    pub routing_strategy: String,
    /// Ringing time of one attempt, in seconds.
    pub dial_timeout_seconds: i64,
    /// From arrival to answer at most, in seconds; `None` = configured default.
    pub setup_budget_seconds: Option<i64>,
    /// Talk time at most, in seconds; `None` = configured default.
    pub max_duration_seconds: Option<i64>,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<i64>,
    /// Whether the caller hears what a client sends before it answers.
    pub early_media: bool,
    /// SIP status instead of the site's, when the campaign is not active.
    pub reject_inactive_campaign: Option<i16>,
    /// When no link is active.
    pub reject_no_active_link: Option<i16>,
    /// When every link is at a cap.
    pub reject_all_full: Option<i16>,
    /// When every attempt failed.
    pub reject_nobody_answered: Option<i16>,
    /// `active`, `paused` or `archived`.
    pub status: String,
    /// Grows with every change.
    pub version: i64,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
