//! Keys of requests that must not be carried out twice, and the answers that a repetition gets.
//!
//! Each step is one statement that says what it expects to find, so that of any number of requests with one key one runs.

use chrono::{DateTime, TimeDelta, Utc};
use entity::idempotency_keys::{self as keys, Column, Entity};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, ExprTrait, OnConflict};
use sea_orm::{ColumnTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter};
use uuid::Uuid;

use super::{Db, StoreError};
use crate::id::UserId;

/// How long an answer is given again.
pub const KEPT: TimeDelta = TimeDelta::hours(24);
/// Keys of one user that count, at most: far more than a day's work, and no more than a table should hold for one.
pub const KEYS_AT_MOST: u64 = 10_000;
/// How long a run may take before it is taken for dead, so that a crash does not block its key.
pub const LEASE: TimeDelta = TimeDelta::seconds(90);

/// A request that came with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// Who sent it.
    pub user: UserId,
    /// Its `operationId`.
    pub operation: &'static str,
    /// Digest of the key.
    pub key: String,
    /// Digest of all that makes it this request.
    pub request: String,
    /// Random: names this run.
    pub holder: Uuid,
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Content type, where there is a body.
    pub content_type: Option<String>,
    /// The body, without secrets; empty where there is none.
    pub body: String,
}

/// What is known of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claim {
    /// Nothing: the request is to be carried out now, by this caller alone, within [`LEASE`].
    Run,
    /// It was carried out.
    Answered(Answer),
    /// It is being carried out.
    Running,
    /// The key belongs to another request.
    Reused,
    /// The user has [`KEYS_AT_MOST`] others.
    TooMany,
}

/// Takes the key, or says what became of it.
///
/// # Errors
/// When the database cannot do it.
pub async fn claim(db: &Db, keyed: &Keyed, now: DateTime<Utc>) -> Result<Claim, StoreError> {
    // Again where the row has gone between two statements, or is too old to mean anything.
    for _ in 0..3 {
        let found = Entity::find().filter(same_key(keyed)).one(&db.connection).await?;
        match found {
            None if is_crowded(db, keyed.user, now).await? => return Ok(Claim::TooMany),
            None if insert(db, keyed, now).await? => return Ok(Claim::Run),
            None => {}
            Some(row) if row.created_at <= now - KEPT && (row.status.is_some() || row.leased_until <= now) => {
                Entity::delete_many().filter(Column::Id.eq(row.id)).filter(old(now)).exec(&db.connection).await?;
            }
            Some(row) => return judge(db, keyed, row, now).await,
        }
    }
    Ok(Claim::Running)
}

/// Good no more. A key that was taken over late may be old while its run is live.
pub(super) fn old(now: DateTime<Utc>) -> Expr {
    Column::CreatedAt.lte(now - KEPT).and(Column::Status.is_not_null().or(Column::LeasedUntil.lte(now)))
}

async fn is_crowded(db: &Db, user: UserId, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let live = Column::UserId.eq(user.0).and(Column::CreatedAt.gt(now - KEPT));
    Ok(Entity::find().filter(live).count(&db.connection).await? >= KEYS_AT_MOST)
}

async fn insert(db: &Db, keyed: &Keyed, now: DateTime<Utc>) -> Result<bool, StoreError> {
    let row = keys::ActiveModel {
        id: NotSet,
        user_id: Set(keyed.user.0),
        operation: Set(keyed.operation.to_owned()),
        key_hash: Set(keyed.key.clone()),
        request_hash: Set(keyed.request.clone()),
        holder: Set(keyed.holder),
        created_at: Set(now),
        leased_until: Set(now + LEASE),
        status: Set(None),
        content_type: Set(None),
        body: Set(None),
    };
    let taken = OnConflict::columns([Column::UserId, Column::Operation, Column::KeyHash]).do_nothing().to_owned();
    match Entity::insert(row).on_conflict(taken).exec_without_returning(&db.connection).await {
        Ok(inserted) => Ok(inserted == 1),
        Err(DbErr::RecordNotInserted) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

async fn judge(db: &Db, keyed: &Keyed, row: keys::Model, now: DateTime<Utc>) -> Result<Claim, StoreError> {
    if row.request_hash != keyed.request {
        return Ok(Claim::Reused);
    }
    if let Some(status) = row.status {
        let status = super::number("idempotency_keys", "status", i64::from(status))?;
        let answer = Answer { status, content_type: row.content_type, body: row.body.unwrap_or_default() };
        return Ok(Claim::Answered(answer));
    }
    if row.leased_until > now {
        return Ok(Claim::Running);
    }
    // The run is dead. Of several who see that, one takes it over.
    let taken = Entity::update_many()
        .col_expr(Column::Holder, Expr::value(keyed.holder))
        .col_expr(Column::LeasedUntil, Expr::value(now + LEASE))
        .filter(Column::Id.eq(row.id))
        .filter(Column::Holder.eq(row.holder))
        .filter(Column::Status.is_null())
        .exec(&db.connection)
        .await?;
    Ok(if taken.rows_affected == 1 { Claim::Run } else { Claim::Running })
}

/// Keeps the answer of this run. False when the run was taken for dead meanwhile.
///
/// # Errors
/// When the database cannot do it.
pub async fn keep(db: &Db, keyed: &Keyed, answer: &Answer) -> Result<bool, StoreError> {
    let kept = Entity::update_many()
        .col_expr(Column::Status, Expr::value(i32::from(answer.status)))
        .col_expr(Column::ContentType, Expr::value(answer.content_type.clone()))
        .col_expr(Column::Body, Expr::value(answer.body.clone()))
        .filter(same_run(keyed))
        .exec(&db.connection)
        .await?;
    Ok(kept.rows_affected == 1)
}

/// Gives the key back: what this run answered is not to be repeated.
///
/// # Errors
/// When the database cannot do it.
pub async fn release(db: &Db, keyed: &Keyed) -> Result<(), StoreError> {
    Entity::delete_many().filter(same_run(keyed)).exec(&db.connection).await?;
    Ok(())
}

fn same_key(keyed: &Keyed) -> Expr {
    Column::UserId
        .eq(keyed.user.0)
        .and(Column::Operation.eq(keyed.operation))
        .and(Column::KeyHash.eq(keyed.key.as_str()))
}

fn same_run(keyed: &Keyed) -> Expr {
    same_key(keyed).and(Column::Holder.eq(keyed.holder)).and(Column::Status.is_null())
}
