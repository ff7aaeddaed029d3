//! API tokens for scripts.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "api_tokens")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Owner, whose role it has.
    pub user_id: i64,
    /// For people.
    pub name: String,
    /// SHA-256 (hex) of the token; unique.
    pub hash: String,
    /// `read` or `write`.
    pub scope: String,
    /// When it was made.
    pub created_at: ChronoDateTimeUtc,
    /// Until when it is good; `None` = until revoked.
    pub expires_at: Option<ChronoDateTimeUtc>,
    /// Last use, to the minute.
    pub last_used_at: Option<ChronoDateTimeUtc>,
    /// Since when it is not good any more.
    pub revoked_at: Option<ChronoDateTimeUtc>,
}

/// Its owner, for lists.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {
    /// The owner.
    #[sea_orm(belongs_to = "super::users::Entity", from = "Column::UserId", to = "super::users::Column::Id")]
    User,
}

impl Related<super::users::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::User.def()
    }
}

impl ActiveModelBehavior for ActiveModel {}
