//! Sessions: families of refresh tokens. Whether one still lives is asked on every request, so that an end counts at once.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use entity::{sessions, users};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect};
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use uuid::Uuid;

use super::audit::Object;
use super::users::Account;
use super::{Db, StoreError, audit};
use crate::auth::principal::Actor;
use crate::id::UserId;
use crate::plan::UserStatus;

/// How a refresh ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// The new refresh token is the good one.
    Rotated,
    /// The token was not the good one: whoever has it may have stolen it, so the whole family has ended.
    Reused,
    /// There is no such session, it has ended before, or the token was never one of its.
    Ended,
}

/// A session to open.
#[derive(Debug)]
pub struct NewSession {
    /// Random.
    pub id: Uuid,
    /// Whose.
    pub user: UserId,
    /// Hash of the password that was found to be right.
    pub verified: SecretString,
    /// Of its first refresh token.
    pub refresh_hash: String,
    /// Of the secret that all its refresh tokens share.
    pub family_hash: String,
    /// Log-in.
    pub created_at: DateTime<Utc>,
    /// Absolute end.
    pub expires_at: DateTime<Utc>,
}

/// Opens a session and notes the log-in. Sessions that ended are forgotten on the occasion. False, and nothing is done, when the
/// user is not active or has another password by now: the log-in came too late.
///
/// # Errors
/// When the database cannot do it.
pub async fn open(db: &Db, actor: Actor<'_>, session: NewSession) -> Result<bool, StoreError> {
    let transaction = db.write().await?;
    let now = session.created_at;
    // Locked, so that a change of the password or status comes before this, and is seen, or after it, and ends the session.
    let entitled = users::Entity::find_by_id(session.user.0)
        .filter(users::Column::PasswordHash.eq(session.verified.expose_secret()))
        .filter(users::Column::Status.eq(UserStatus::Active.as_str()))
        .lock_shared()
        .one(&transaction)
        .await?;
    if entitled.is_none() {
        return Ok(false);
    }
    sessions::Entity::delete_many().filter(sessions::Column::ExpiresAt.lt(now)).exec(&transaction).await?;
    let object = Object::new("session", session.id);
    let row = sessions::ActiveModel {
        id: Set(session.id),
        user_id: Set(session.user.0),
        refresh_hash: Set(session.refresh_hash),
        family_hash: Set(session.family_hash),
        created_at: Set(now),
        expires_at: Set(session.expires_at),
        refreshed_at: Set(now),
        revoked_at: Set(None),
    };
    sessions::Entity::insert(row).exec_without_returning(&transaction).await?;
    let after = json!({ "expires_at": session.expires_at });
    audit::write(&transaction, now, actor, "session.open", object, None, Some(after)).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Notes that somebody tried to log in as `user` (`None`: as nobody there is; the name is not kept, it may be a password) and was refused.
///
/// # Errors
/// When the database cannot do it.
pub async fn note_refusal(
    db: &Db,
    user: Option<UserId>,
    address: Option<IpAddr>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let actor = Actor::Claimed { user: None, username: "unknown", address };
    let object = user.map_or_else(|| Object::new("user", "unknown"), |user| Object::new("user", user));
    Ok(audit::write(&db.connection, now, actor, "session.refuse", object, None, None).await?)
}

/// The active user of a session that lives at `now`.
///
/// # Errors
/// When the database cannot be read.
pub async fn owner(db: &Db, session: Uuid, now: DateTime<Utc>) -> Result<Option<Account>, StoreError> {
    let Some(row) = sessions::Entity::find_by_id(session).filter(alive(now)).one(&db.connection).await? else {
        return Ok(None);
    };
    active(&db.connection, row.user_id).await
}

/// The user of this id while it is active.
pub(super) async fn active(connection: &impl ConnectionTrait, user: i64) -> Result<Option<Account>, StoreError> {
    let active = users::Column::Status.eq(UserStatus::Active.as_str());
    let row = users::Entity::find_by_id(user).filter(active).one(connection).await?;
    row.map(Account::try_from).transpose()
}

/// Replaces the refresh token with the hash `old` by the one with the hash `new`; the session's absolute end stays. Any other
/// token of the family (`family` is the hash of what they share) ends it; one that was made up does nothing: ids of sessions are known
/// to others, from the audit.
///
/// # Errors
/// When the database cannot do it.
pub async fn refresh(
    db: &Db,
    session: Uuid,
    family: &str,
    old: &str,
    new: String,
    now: DateTime<Utc>,
) -> Result<Refresh, StoreError> {
    let transaction = db.write().await?;
    let rotated = sessions::Entity::update_many()
        .col_expr(sessions::Column::RefreshHash, Expr::value(new))
        .col_expr(sessions::Column::RefreshedAt, Expr::value(now))
        .filter(sessions::Column::Id.eq(session))
        .filter(sessions::Column::FamilyHash.eq(family))
        .filter(sessions::Column::RefreshHash.eq(old))
        .filter(alive(now))
        .exec(&transaction)
        .await?;
    let outcome = if rotated.rows_affected == 1 {
        Refresh::Rotated
    } else if end(&transaction, sessions::Column::Id.eq(session).and(sessions::Column::FamilyHash.eq(family)), now)
        .await?
        == 1
    {
        let object = Object::new("session", session);
        audit::write(&transaction, now, Actor::System("auth"), "session.reused", object, None, None).await?;
        Refresh::Reused
    } else {
        Refresh::Ended
    };
    transaction.commit().await?;
    Ok(outcome)
}

/// Ends one session.
///
/// # Errors
/// When the database cannot do it.
pub async fn close(db: &Db, actor: Actor<'_>, session: Uuid, now: DateTime<Utc>) -> Result<(), StoreError> {
    let transaction = db.write().await?;
    end(&transaction, sessions::Column::Id.eq(session), now).await?;
    audit::write(&transaction, now, actor, "session.close", Object::new("session", session), None, None).await?;
    Ok(transaction.commit().await?)
}

/// Whether this session of the user lives at `now`; it stays so until the transaction's end.
pub(super) async fn hold(
    transaction: &impl ConnectionTrait,
    session: Uuid,
    user: i64,
    now: DateTime<Utc>,
) -> Result<bool, DbErr> {
    let found = sessions::Entity::find_by_id(session).filter(sessions::Column::UserId.eq(user)).filter(alive(now));
    Ok(found.lock_exclusive().one(transaction).await?.is_some())
}

/// Ends all sessions of a user but one, in the transaction of what makes them end.
pub(super) async fn close_others(
    transaction: &impl ConnectionTrait,
    user: i64,
    but: Option<Uuid>,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    let mut which = sessions::Column::UserId.eq(user);
    if let Some(kept) = but {
        which = which.and(sessions::Column::Id.ne(kept));
    }
    end(transaction, which, now).await.map(|_| ())
}

pub(super) fn alive(now: DateTime<Utc>) -> Expr {
    sessions::Column::RevokedAt.is_null().and(sessions::Column::ExpiresAt.gt(now))
}

async fn end(transaction: &impl ConnectionTrait, which: Expr, now: DateTime<Utc>) -> Result<u64, DbErr> {
    let ended = sessions::Entity::update_many()
        .col_expr(sessions::Column::RevokedAt, Expr::value(now))
        .filter(which)
        .filter(alive(now))
        .exec(transaction)
        .await?;
    Ok(ended.rows_affected)
}
