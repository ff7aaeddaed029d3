//! Answers that are given again: `Idempotency-Key`.

use sea_orm::entity::prelude::*;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub struct Model {
    /// Row id.
    #[sea_orm(primary_key)]
    pub id: i64,
    /// Who sent it.
    pub user_id: i64,
    /// The `operationId`.
    pub operation: String,
    /// SHA-256 (hex) of the key.
    pub key_hash: String,
    /// HMAC-SHA256 (base64url) of the request under the key of access tokens: role, path, type and body.
    pub request_hash: String,
    /// Whose run it is: random for every run.
    pub holder: Uuid,
    /// When the key was first sent; it is good for 24 hours.
    pub created_at: ChronoDateTimeUtc,
    /// A run that has not answered by then is taken for dead.
    pub leased_until: ChronoDateTimeUtc,
    /// HTTP status of the answer; `None` while the request runs.
    pub status: Option<i32>,
    /// Content type of the answer.
    pub content_type: Option<String>,
    /// The answer's body, without secrets.
    pub body: Option<String>,
}

/// No relations: aggregates are read by explicit queries.
#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
