//! API tokens for scripts.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{api_tokens, users};
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveModelTrait, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
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

/// Makes a token.
///
/// # Errors
/// When the database cannot do it.
pub async fn create(db: &Db, actor: Actor<'_>, new: NewToken, now: DateTime<Utc>) -> Result<Token, StoreError> {
    let transaction = db.write().await?;
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
    let owner = users::Entity::find_by_id(row.user_id).one(&transaction).await?;
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
