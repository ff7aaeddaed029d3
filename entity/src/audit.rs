//! Who changed what; append-only.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "audit")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// When.
    pub at: ChronoDateTimeUtc,
    /// Who, where it was a user.
    pub user_id: Option<i64>,
    /// Username, or `apply` or `cli`; kept though the user be renamed or gone.
    pub actor: String,
    /// `session:<id>` or `token:<id>`; `None` on the command line.
    pub credential: Option<String>,
    /// Address of the client, where it came over the API.
    pub address: Option<String>,
    /// What was done, such as `user.create`.
    pub action: String,
    /// To what, such as `user:7`.
    pub object: String,
    /// The object before, without secrets.
    pub before: Option<Json>,
    /// The object after, without secrets.
    pub after: Option<Json>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
