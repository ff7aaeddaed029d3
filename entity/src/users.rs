//! People who sign in, and sellers.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "users")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Unique; lower case.
    pub username: String,
    /// For people.
    pub name: String,
    /// `admin`, `staff` or `seller`.
    pub role: String,
    /// `active` or `disabled`.
    pub status: String,
    /// Argon2 hash; `None` cannot sign in.
    pub password_hash: Option<String>,
    /// Whether somebody else set the password: nothing else is allowed until it is changed.
    pub must_change_password: bool,
    /// When the row was made; `None` before this was kept, and for sellers that `apply` made.
    pub created_at: Option<ChronoDateTimeUtc>,
    /// Grows with every change over the API.
    pub version: i64,
    /// Its id on the old platform; unique.
    pub legacy_id: Option<String>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
