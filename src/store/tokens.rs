//! API tokens for scripts.

use std::collections::HashSet;

use chrono::{DateTime, TimeDelta, Utc};
use entity::{api_tokens, users};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, ExprTrait, LockType};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect,
};
use serde_json::{Value, json};

use super::audit::Object;
use super::sessions::active;
use super::users::Account;
use super::{Db, StoreError, audit, word};
use crate::auth::principal::Actor;
use crate::auth::roles::Scope;
use crate::id::UserId;

/// Uses within this of the noted one are not noted: a write for every request would be dear.
const USE_NOTED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// A token as it is shown: without itself and without its hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// Row id.
    pub id: i64,
    /// Owner.
    pub user: UserId,
    /// Username of the owner.
    pub username: String,
    /// For people.
    pub name: String,
    /// What it may do at most.
    pub scope: Scope,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// Until when it is good; `None` = until revoked.
    pub expires_at: Option<DateTime<Utc>>,
    /// Last use, to the minute.
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token to make.
#[derive(Debug)]
pub struct NewToken {
    /// Owner.
    pub user: UserId,
    /// For people.
    pub name: String,
    /// Of the secret.
    pub hash: String,
    /// What it may do at most.
    pub scope: Scope,
    /// Until when it is good; `None` = until revoked.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Why a token was not made.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Its owner has as many as are allowed.
    #[error("the user has {0} tokens that are good, which is as many as are allowed")]
    TooMany(u64),
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for TokenError {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// Makes a token where its owner has less than `at_most` that are good.
///
/// # Errors
/// [`TokenError::TooMany`], or when the database cannot do it.
pub async fn create(
    db: &Db,
    actor: Actor<'_>,
    new: NewToken,
    at_most: u64,
    now: DateTime<Utc>,
) -> Result<Token, TokenError> {
    let transaction = db.write().await?;
    // Of requests at once each counts the others' tokens.
    let owner = users::Entity::find_by_id(new.user.0).lock(LockType::NoKeyUpdate).one(&transaction).await?;
    let good_ones = api_tokens::Entity::find().filter(api_tokens::Column::UserId.eq(new.user.0)).filter(good(now));
    let has = good_ones.count(&transaction).await?;
    if has >= at_most {
        return Err(TokenError::TooMany(has));
    }
    let row = api_tokens::ActiveModel {
        id: NotSet,
        user_id: Set(new.user.0),
        name: Set(new.name),
        hash: Set(new.hash),
        scope: Set(new.scope.to_string()),
        created_at: Set(now),
        expires_at: Set(new.expires_at),
        last_used_at: Set(None),
        revoked_at: Set(None),
    };
    let row = row.insert(&transaction).await?;
    let token = shown(row, owner)?;
    let object = Object::new("token", token.id);
    audit::write(&transaction, now, actor, "token.create", object, None, Some(audited(&token))).await?;
    transaction.commit().await?;
    Ok(token)
}

/// Tokens that are good, by id: of one user, or of all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &Db,
    of: Option<UserId>,
    after: Option<i64>,
    limit: u64,
    now: DateTime<Utc>,
) -> Result<Vec<Token>, StoreError> {
    let mut found = api_tokens::Entity::find().filter(good(now)).find_also_related(users::Entity);
    if let Some(user) = of {
        found = found.filter(api_tokens::Column::UserId.eq(user.0));
    }
    if let Some(after) = after {
        found = found.filter(api_tokens::Column::Id.gt(after));
    }
    let rows = found.order_by_asc(api_tokens::Column::Id).limit(limit).all(&db.connection).await?;
    rows.into_iter().map(|(token, owner)| shown(token, owner)).collect()
}

/// Ends a token, of one user or of anybody. `false`: there is none that is good.
///
/// # Errors
/// When the database cannot do it.
pub async fn revoke(
    db: &Db,
    actor: Actor<'_>,
    id: i64,
    of: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let transaction = db.write().await?;
    let mut which = api_tokens::Column::Id.eq(id).and(good(now));
    if let Some(user) = of {
        which = which.and(api_tokens::Column::UserId.eq(user.0));
    }
    let found = api_tokens::Entity::find().filter(which.clone()).find_also_related(users::Entity);
    let Some((row, owner)) = found.one(&transaction).await? else { return Ok(false) };
    let revoked = Expr::value(now);
    let update = api_tokens::Entity::update_many().col_expr(api_tokens::Column::RevokedAt, revoked).filter(which);
    if update.exec(&transaction).await?.rows_affected == 0 {
        return Ok(false);
    }
    let before = audited(&shown(row, owner)?);
    audit::write(&transaction, now, actor, "token.revoke", Object::new("token", id), Some(before), None).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Ends all tokens of a user that are good, in the transaction of what makes them end, each with its line in the audit.
pub(super) async fn revoke_all(
    transaction: &impl ConnectionTrait,
    actor: Actor<'_>,
    user: i64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let which = api_tokens::Column::UserId.eq(user).and(good(now));
    let found = api_tokens::Entity::find().filter(which.clone()).order_by_asc(api_tokens::Column::Id);
    let rows = found.find_also_related(users::Entity).all(transaction).await?;
    let revoked = Expr::value(now);
    let update = api_tokens::Entity::update_many().col_expr(api_tokens::Column::RevokedAt, revoked).filter(which);
    update.exec(transaction).await?;
    for (row, owner) in rows {
        let (object, before) = (Object::new("token", row.id), audited(&shown(row, owner)?));
        audit::write(transaction, now, actor, "token.revoke", object, Some(before), None).await?;
    }
    Ok(())
}

/// The active owner, id and scope of the good token with this hash; notes its use.
///
/// # Errors
/// When the database cannot do it.
pub async fn owner(db: &Db, hash: &str, now: DateTime<Utc>) -> Result<Option<(Account, i64, Scope)>, StoreError> {
    let which = api_tokens::Column::Hash.eq(hash).and(good(now));
    let Some(row) = api_tokens::Entity::find().filter(which).one(&db.connection).await? else { return Ok(None) };
    let Some(account) = active(&db.connection, row.user_id).await? else { return Ok(None) };
    if row.last_used_at.is_none_or(|last| now - last >= USE_NOTED_EVERY) {
        api_tokens::Entity::update_many()
            .col_expr(api_tokens::Column::LastUsedAt, Expr::value(now))
            .filter(api_tokens::Column::Id.eq(row.id))
            .exec(&db.connection)
            .await?;
    }
    Ok(Some((account, row.id, word("api_tokens", "scope", &row.scope)?)))
}

/// Those of the hashes that are good tokens', by one question.
///
/// # Errors
/// When the database cannot be read.
pub async fn good_among(db: &Db, hashes: HashSet<String>, now: DateTime<Utc>) -> Result<HashSet<String>, StoreError> {
    let found = api_tokens::Entity::find().filter(api_tokens::Column::Hash.is_in(hashes)).filter(good(now));
    let hashes = found.select_only().column(api_tokens::Column::Hash).into_tuple().all(&db.connection).await?;
    Ok(hashes.into_iter().collect())
}

pub(super) fn good(now: DateTime<Utc>) -> Expr {
    let unexpired = api_tokens::Column::ExpiresAt.is_null().or(api_tokens::Column::ExpiresAt.gt(now));
    api_tokens::Column::RevokedAt.is_null().and(unexpired)
}

fn shown(row: api_tokens::Model, owner: Option<users::Model>) -> Result<Token, StoreError> {
    Ok(Token {
        id: row.id,
        user: UserId(row.user_id),
        // A foreign key sees to it that it is there.
        username: owner.map(|owner| owner.username).unwrap_or_default(),
        name: row.name,
        scope: word("api_tokens", "scope", &row.scope)?,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    })
}

fn audited(token: &Token) -> Value {
    json!({
        "user": token.username,
        "name": token.name,
        "scope": token.scope.as_str(),
        "expires_at": token.expires_at,
    })
}
