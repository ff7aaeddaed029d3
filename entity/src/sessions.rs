//! Sessions: each a family of refresh tokens.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sessions")]
pub struct Model {
    /// Random; part of every token of the family.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: Uuid,
    /// Whose.
    pub user_id: i64,
    /// SHA-256 (hex) of the one refresh token that is good now.
    pub refresh_hash: String,
    /// SHA-256 (hex) of the secret that all refresh tokens of the family share.
    pub family_hash: String,
    /// Log-in.
    pub created_at: ChronoDateTimeUtc,
    /// Absolute end, however often it is refreshed.
    pub expires_at: ChronoDateTimeUtc,
    /// Log-in, or the last refresh.
    pub refreshed_at: ChronoDateTimeUtc,
    /// Since when nothing of the family is good any more.
    pub revoked_at: Option<ChronoDateTimeUtc>,
    /// From where it was opened.
    pub address: Option<String>,
}

/// A session has its user.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// Whose it is.
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::UserId", to = "super::users::Column::Id")]
    User,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
