//! Sessions: families of refresh tokens. Whether one still lives is asked on every request, so that an end counts at once.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use entity::{sessions, users};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::{Expr, ExprTrait, LockType};
use sea_orm::{ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};
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
    /// From where.
    pub address: Option<IpAddr>,
}

/// A session as it is shown: without any hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Row id; no secret.
    pub id: Uuid,
    /// Username of whose it is.
    pub username: String,
    /// From where it was opened; `None` where that was not noted.
    pub address: Option<String>,
    /// Log-in.
    pub created_at: DateTime<Utc>,
    /// Log-in, or the last refresh.
    pub refreshed_at: DateTime<Utc>,
    /// Absolute end.
    pub expires_at: DateTime<Utc>,
}

/// Place of a session in the list.
pub type Key = (DateTime<Utc>, Uuid);

/// Opens a session and notes the log-in; where the user would have more than `at_most`, its oldest end. False, and nothing is done, when
/// the user is not active or has another password by now: the log-in came too late.
///
/// # Errors
/// When the database cannot do it.
pub async fn open(db: &Db, actor: Actor<'_>, session: NewSession, at_most: u64) -> Result<bool, StoreError> {
    let transaction = db.write().await?;
    let now = session.created_at;
    // Locked, so that a change of the password or status comes before this, and is seen, or after it, and ends the session; and so that
    // of log-ins at once each counts the others' sessions.
    let entitled = users::Entity::find_by_id(session.user.0)
        .filter(users::Column::PasswordHash.eq(session.verified.expose_secret()))
        .filter(users::Column::Status.eq(UserStatus::Active.as_str()))
        .lock(LockType::NoKeyUpdate)
        .one(&transaction)
        .await?;
    if entitled.is_none() {
        return Ok(false);
    }
    end_oldest(&transaction, actor, session.user, at_most.saturating_sub(1), now).await?;
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
        address: Set(session.address.map(|address| address.to_string())),
    };
    sessions::Entity::insert(row).exec_without_returning(&transaction).await?;
    let after = json!({ "expires_at": session.expires_at });
    audit::write(&transaction, now, actor, "session.open", object, None, Some(after)).await?;
    transaction.commit().await?;
    Ok(true)
}

/// Ends all sessions of a user but the `kept` newest, however many they are, by one statement; each has its line in the audit.
async fn end_oldest(
    transaction: &impl ConnectionTrait,
    actor: Actor<'_>,
    user: UserId,
    kept: u64,
    now: DateTime<Utc>,
) -> Result<(), DbErr> {
    use sessions::Column as C;
    let living = sessions::Entity::find().filter(C::UserId.eq(user.0)).filter(alive(now));
    let newest_first = living.order_by_desc(C::CreatedAt).order_by_desc(C::Id).select_only().column(C::Id);
    let newest = newest_first.clone().limit(kept).into_query();
    let ids: Vec<Uuid> = newest_first.into_tuple().all(transaction).await?;
    let objects: Vec<_> = ids.iter().skip(usize::try_from(kept).unwrap_or(usize::MAX)).collect();
    if objects.is_empty() {
        return Ok(());
    }
    end(transaction, C::UserId.eq(user.0).and(C::Id.not_in_subquery(newest)), now).await?;
    let objects: Vec<_> = objects.into_iter().map(|id| Object::new("session", id)).collect();
    let because = json!({ "because": "sessions_per_user" });
    audit::write_all(transaction, now, actor, "session.close", &objects, Some(&because)).await
}

/// Sessions that live, newest first: of one user, or of all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &Db,
    of: Option<UserId>,
    before: Option<Key>,
    limit: u64,
    now: DateTime<Utc>,
) -> Result<Vec<Session>, StoreError> {
    use sessions::Column as C;
    let rows = sessions::Entity::find()
        .filter(alive(now))
        .find_also_related(users::Entity)
        .apply_if(of, |query, user| query.filter(C::UserId.eq(user.0)))
        .apply_if(before, |query, (at, id)| query.filter(C::CreatedAt.lt(at).or(C::CreatedAt.eq(at).and(C::Id.lt(id)))))
        .order_by_desc(C::CreatedAt)
        .order_by_desc(C::Id)
        .limit(limit)
        .all(&db.connection)
        .await?;
    let shown = |(row, user): (sessions::Model, Option<users::Model>)| Session {
        id: row.id,
        // A foreign key sees to it that it is there.
        username: user.map(|user| user.username).unwrap_or_default(),
        address: row.address,
        created_at: row.created_at,
        refreshed_at: row.refreshed_at,
        expires_at: row.expires_at,
    };
    Ok(rows.into_iter().map(shown).collect())
}

/// Notes that somebody tried to log in as `user` (`None`: as nobody there is; the name is not kept, it may be a password) and was refused;
/// `unnoted` were before it of which there is no line.
///
/// # Errors
/// When the database cannot do it.
pub async fn note_refusal(
    db: &Db,
    user: Option<UserId>,
    address: Option<IpAddr>,
    unnoted: u64,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let actor = Actor::Claimed { user: None, username: "unknown", address };
    let object = user.map_or_else(|| Object::new("user", "unknown"), |user| Object::new("user", user));
    let others = (unnoted > 0).then(|| json!({ "not_noted_before": unnoted }));
    Ok(audit::write(&db.connection, now, actor, "session.refuse", object, None, others).await?)
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

/// Ends a session, of one user or of anybody. `false`: there is none that lives.
///
/// # Errors
/// When the database cannot do it.
pub async fn close(
    db: &Db,
    actor: Actor<'_>,
    session: Uuid,
    of: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let transaction = db.write().await?;
    let mut which = sessions::Column::Id.eq(session);
    if let Some(user) = of {
        which = which.and(sessions::Column::UserId.eq(user.0));
    }
    let found = sessions::Entity::find().filter(which.clone()).find_also_related(users::Entity);
    let owner = found.one(&transaction).await?.and_then(|(_, owner)| owner).map(|owner| owner.username);
    if end(&transaction, which, now).await? == 0 {
        return Ok(false);
    }
    let (object, before) = (Object::new("session", session), json!({ "user": owner }));
    audit::write(&transaction, now, actor, "session.close", object, Some(before), None).await?;
    transaction.commit().await?;
    Ok(true)
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
