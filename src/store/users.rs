//! Users: people who sign in, and sellers.

use chrono::{DateTime, Utc};
use entity::{campaigns, dids, users};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect, SqlErr,
};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::Object;
use super::{Db, StoreError, audit, change, sessions, tokens, word};
use crate::auth::principal::Actor;
use crate::auth::roles::Role;
use crate::id::UserId;
use crate::plan::UserStatus;

/// A user as it is shown: without its password's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Row id.
    pub id: UserId,
    /// Unique; lower case.
    pub username: String,
    /// For people.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Whether it may sign in.
    pub status: UserStatus,
    /// Whether it has a password at all.
    pub has_password: bool,
    /// Somebody else has set the password, and it was not changed since.
    pub must_change_password: bool,
    /// `None` where it was not noted.
    pub created_at: Option<DateTime<Utc>>,
    /// Grows with every change.
    pub version: i64,
}

/// A user to make.
#[derive(Debug)]
pub struct NewUser {
    /// Lower case, checked.
    pub username: String,
    /// For people.
    pub name: String,
    /// What it is.
    pub role: Role,
    /// Argon2 hash of the password; `None` cannot sign in.
    pub password_hash: Option<SecretString>,
    /// Whether somebody else chose the password.
    pub must_change_password: bool,
}

/// What to change of a user; `None` keeps.
#[derive(Debug, Default)]
pub struct Changes {
    /// For people.
    pub name: Option<String>,
    /// What it is.
    pub role: Option<Role>,
    /// Whether it may sign in.
    pub status: Option<UserStatus>,
    /// Argon2 hash of a password that somebody else chose.
    pub password_hash: Option<SecretString>,
    /// With a password: whether its API tokens end as well.
    pub revoke_tokens: bool,
    /// Of a seller that is disabled, and needed then: whether its active campaigns are paused as well.
    pub stop_routing: Option<bool>,
    /// The version that the change was made for.
    pub if_version: Option<i64>,
}

/// Why a user was not made or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no such user.
    #[error("there is no such user")]
    Unknown,
    /// The username is another's.
    #[error("the username is taken")]
    Taken,
    /// Nobody would be left to manage users.
    #[error("it is the last active admin")]
    LastAdmin,
    /// A seller that owns DIDs or campaigns stays one.
    #[error("the seller owns DIDs or campaigns")]
    Owns,
    /// A seller is to be disabled, and nobody says whether its routing stops.
    #[error("it is not said whether the seller's routing stops")]
    RoutingUnsaid,
    /// What the change was allowed by holds no more: another password, a disabled user or a session that has ended.
    #[error("the password, the user or the session is not good any more")]
    Outdated,
    /// The user has changed since `if_version`.
    #[error("it is at version {current}")]
    Stale {
        /// Its version now.
        current: i64,
    },
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for UserError {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

impl TryFrom<users::Model> for Account {
    type Error = StoreError;

    fn try_from(row: users::Model) -> Result<Self, StoreError> {
        Ok(Self {
            id: UserId(row.id),
            role: word("users", "role", &row.role)?,
            status: word("users", "status", &row.status)?,
            username: row.username,
            name: row.name,
            has_password: row.password_hash.is_some(),
            must_change_password: row.must_change_password,
            created_at: row.created_at,
            version: row.version,
        })
    }
}

/// Whether there is any user of this role, whatever its status.
///
/// # Errors
/// When the database cannot be read.
pub async fn any_of_role(db: &Db, role: Role) -> Result<bool, StoreError> {
    let found = users::Entity::find().filter(users::Column::Role.eq(role.as_str()));
    Ok(found.count(&db.connection).await? > 0)
}

/// The user of this name and the hash of its password, whatever its status.
///
/// # Errors
/// When the database cannot be read.
pub async fn credentials(db: &Db, username: &str) -> Result<Option<(Account, Option<SecretString>)>, StoreError> {
    let found = users::Entity::find().filter(users::Column::Username.eq(username)).one(&db.connection).await?;
    found
        .map(|mut row| {
            let hash = row.password_hash.clone().map(SecretString::from);
            row.password_hash = row.password_hash.take().map(|_| String::new());
            Ok((Account::try_from(row)?, hash))
        })
        .transpose()
}

/// Users by id, of one role and status or of all.
///
/// # Errors
/// When the database cannot be read.
pub async fn list(
    db: &Db,
    role: Option<Role>,
    status: Option<UserStatus>,
    after: Option<i64>,
    limit: u64,
) -> Result<Vec<Account>, StoreError> {
    let mut found = users::Entity::find();
    if let Some(role) = role {
        found = found.filter(users::Column::Role.eq(role.as_str()));
    }
    if let Some(status) = status {
        found = found.filter(users::Column::Status.eq(status.as_str()));
    }
    if let Some(after) = after {
        found = found.filter(users::Column::Id.gt(after));
    }
    let rows = found.order_by_asc(users::Column::Id).limit(limit).all(&db.connection).await?;
    rows.into_iter().map(Account::try_from).collect()
}

/// One user.
///
/// # Errors
/// When the database cannot be read.
pub async fn get(db: &Db, id: UserId) -> Result<Option<Account>, StoreError> {
    let found = users::Entity::find_by_id(id.0).one(&db.connection).await?;
    found.map(Account::try_from).transpose()
}

/// Makes a user.
///
/// # Errors
/// [`UserError::Taken`], or when the database cannot do it.
pub async fn create(db: &Db, actor: Actor<'_>, new: NewUser, now: DateTime<Utc>) -> Result<Account, UserError> {
    let transaction = db.write().await?;
    let account = insert(&transaction, actor, new, now).await?;
    transaction.commit().await?;
    Ok(account)
}

/// Makes a user where there is none of its role; `None` where there is one. Of several processes that try at once, one does. `announce`
/// is called before the user is there for others, and its failure keeps it from being made.
///
/// # Errors
/// What `announce` says; [`UserError::Taken`], or when the database cannot do it.
pub async fn create_first<E: From<UserError>>(
    db: &Db,
    actor: Actor<'_>,
    new: NewUser,
    now: DateTime<Utc>,
    announce: impl FnOnce() -> Result<(), E>,
) -> Result<Option<Account>, E> {
    let transaction = db.write().await.map_err(UserError::from)?;
    if db.is_postgres() {
        // Whoever reads only is not held up; SQLite has one writer anyway.
        let alone = transaction.execute_unprepared("LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE").await;
        alone.map_err(UserError::from)?;
    }
    let same = users::Entity::find().filter(users::Column::Role.eq(new.role.as_str()));
    if same.count(&transaction).await.map_err(UserError::from)? > 0 {
        return Ok(None);
    }
    let account = insert(&transaction, actor, new, now).await?;
    announce()?;
    transaction.commit().await.map_err(UserError::from)?;
    Ok(Some(account))
}

async fn insert(
    transaction: &DatabaseTransaction,
    actor: Actor<'_>,
    new: NewUser,
    now: DateTime<Utc>,
) -> Result<Account, UserError> {
    let row = users::ActiveModel {
        id: NotSet,
        username: Set(new.username),
        name: Set(new.name),
        role: Set(new.role.to_string()),
        status: Set(UserStatus::Active.to_string()),
        password_hash: Set(new.password_hash.map(|hash| hash.expose_secret().to_owned())),
        must_change_password: Set(new.must_change_password),
        created_at: Set(Some(now)),
        version: Set(1),
        legacy_id: NotSet,
    };
    let row = row.insert(transaction).await.map_err(|error| match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => UserError::Taken,
        _ => error.into(),
    })?;
    let account = Account::try_from(row)?;
    note(transaction, now, actor, "user.create", None, &account).await?;
    Ok(account)
}

/// Changes a user. Its sessions end when it is disabled or gets a password from somebody else.
///
/// # Errors
/// Why it is not allowed, or when the database cannot do it.
pub async fn update(
    db: &Db,
    actor: Actor<'_>,
    id: UserId,
    changes: Changes,
    now: DateTime<Utc>,
) -> Result<Account, UserError> {
    let transaction = change::begin(db).await?;
    let row = users::Entity::find_by_id(id.0).lock_exclusive().one(&transaction).await?.ok_or(UserError::Unknown)?;
    if changes.if_version.is_some_and(|wanted| wanted != row.version) {
        return Err(UserError::Stale { current: row.version });
    }
    let before = Account::try_from(row.clone())?;
    let role = changes.role.unwrap_or(before.role);
    let status = changes.status.unwrap_or(before.status);
    if before.role == Role::Seller && role != Role::Seller && owns(&transaction, row.id).await? {
        return Err(UserError::Owns);
    }
    let disables = before.status == UserStatus::Active && status == UserStatus::Disabled;
    if disables && before.role == Role::Seller && changes.stop_routing.is_none() {
        return Err(UserError::RoutingUnsaid);
    }
    let closes = status == UserStatus::Disabled || changes.password_hash.is_some();
    let sets_password = changes.password_hash.is_some();
    let mut changed = users::ActiveModel { id: Unchanged(row.id), ..Default::default() };
    changed.name = Set(changes.name.unwrap_or(row.name));
    changed.role = Set(role.to_string());
    changed.status = Set(status.to_string());
    changed.version = Set(row.version + 1);
    if let Some(hash) = changes.password_hash {
        changed.password_hash = Set(Some(hash.expose_secret().to_owned()));
        changed.must_change_password = Set(true);
    }
    let after = Account::try_from(changed.update(&transaction).await?)?;
    if before.role == Role::Admin && users::Entity::find().filter(active_admin()).count(&transaction).await? == 0 {
        return Err(UserError::LastAdmin);
    }
    if closes {
        sessions::close_others(&transaction, row.id, None, now).await?;
    }
    if sets_password && changes.revoke_tokens {
        tokens::revoke_all(&transaction, actor, row.id, now).await?;
    }
    if changes.stop_routing == Some(true) {
        super::campaigns::pause_all(&transaction, UserId(row.id), actor, now).await?;
    }
    if before.role == Role::Seller || role == Role::Seller {
        change::bump(&transaction).await?;
    }
    let [update, set_password] = audit::ROLE_CHANGES;
    let action = if sets_password { set_password } else { update };
    note(&transaction, now, actor, action, Some(&before), &after).await?;
    transaction.commit().await?;
    Ok(after)
}

/// A password that a user chose itself.
#[derive(Debug)]
pub struct OwnPassword<'a> {
    /// Hash of the password it was found to know; `None`: it had none.
    pub verified: Option<&'a SecretString>,
    /// Hash of the new one.
    pub hash: &'a SecretString,
    /// The session it acts in.
    pub session: Option<Uuid>,
    /// Whether its API tokens end as well.
    pub revoke_tokens: bool,
}

/// Gives an active user the password it chose itself; its other sessions end.
///
/// # Errors
/// [`UserError::Unknown`]; [`UserError::Outdated`] when the verified password was replaced, the user disabled or the session ended meanwhile; or
/// when the database cannot do it.
pub async fn change_password(
    db: &Db,
    actor: Actor<'_>,
    id: UserId,
    new: OwnPassword<'_>,
    now: DateTime<Utc>,
) -> Result<(), UserError> {
    let OwnPassword { verified, hash, session, revoke_tokens } = new;
    let transaction = db.write().await?;
    let row = users::Entity::find_by_id(id.0).lock_exclusive().one(&transaction).await?.ok_or(UserError::Unknown)?;
    let version = row.version + 1;
    let same = row.password_hash.as_deref() == verified.map(ExposeSecret::expose_secret);
    let before = Account::try_from(row)?;
    let lives = match session {
        Some(session) => sessions::hold(&transaction, session, id.0, now).await?,
        None => true,
    };
    if !same || !lives || before.status != UserStatus::Active {
        return Err(UserError::Outdated);
    }
    let changed = users::ActiveModel {
        id: Unchanged(id.0),
        password_hash: Set(Some(hash.expose_secret().to_owned())),
        must_change_password: Set(false),
        version: Set(version),
        ..Default::default()
    };
    let after = Account::try_from(changed.update(&transaction).await?)?;
    sessions::close_others(&transaction, id.0, session, now).await?;
    if revoke_tokens {
        tokens::revoke_all(&transaction, actor, id.0, now).await?;
    }
    note(&transaction, now, actor, "user.change_password", Some(&before), &after).await?;
    Ok(transaction.commit().await?)
}

fn active_admin() -> Expr {
    users::Column::Role.eq(Role::Admin.as_str()).and(users::Column::Status.eq(UserStatus::Active.as_str()))
}

async fn owns(transaction: &DatabaseTransaction, seller: i64) -> Result<bool, DbErr> {
    let dids = dids::Entity::find().filter(dids::Column::SellerId.eq(seller)).count(transaction).await?;
    let campaigns = campaigns::Entity::find().filter(campaigns::Column::SellerId.eq(seller));
    Ok(dids > 0 || campaigns.count(transaction).await? > 0)
}

async fn note(
    transaction: &DatabaseTransaction,
    now: DateTime<Utc>,
    actor: Actor<'_>,
    action: &'static str,
    before: Option<&Account>,
    after: &Account,
) -> Result<(), DbErr> {
    let object = Object::new("user", after.id);
    audit::write(transaction, now, actor, action, object, before.map(audited), Some(audited(after))).await
}

fn audited(account: &Account) -> Value {
    json!({
        "username": account.username,
        "name": account.name,
        "role": account.role.as_str(),
        "status": account.status.as_str(),
        "must_change_password": account.must_change_password,
    })
}
