//! Which DID feeds which campaign.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "campaign_dids")]
pub struct Model {
    /// `campaigns.id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub campaign_id: i64,
    /// `dids.id`.
    #[sea_orm(primary_key, auto_increment = false)]
    pub did_id: i64,
    /// Owner of both; held equal by foreign keys.
    pub seller_id: i64,
    /// The campaign's status, carried along by a foreign key.
    pub campaign_status: String,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
