//! Who changed what: one line, in the transaction of the change itself. Append-only; triggers refuse the rest.

use chrono::{DateTime, Utc};
use entity::audit;
use sea_orm::ActiveValue::{NotSet, Set};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait,
};
use serde_json::Value;

use super::StoreError;
use super::reports::{Lane, ReportError, Reports};
use crate::auth::principal::{Actor, Credential};
use crate::id::UserId;

/// Actions that can change a user's role.
pub(super) const ROLE_CHANGES: [&str; 2] = ["user.update", "user.set_password"];

/// A kind of object and its id, or any other thing that can be changed.
#[derive(Debug, Clone)]
pub struct Object(String);

impl Object {
    /// `kind:id`, such as `user:7`.
    pub fn new(kind: &str, id: impl std::fmt::Display) -> Self {
        Self(format!("{kind}:{id}"))
    }
}

/// Lines of one statement at most: a statement has only so many parameters.
const LINES_AT_ONCE: usize = 1000;

/// Notes in `transaction` that `actor` did `action` (such as `user.create`) to `object` at `at`. `before` and `after` are views that
/// hold no secret, not rows.
pub(super) async fn write(
    transaction: &impl ConnectionTrait,
    at: DateTime<Utc>,
    actor: Actor<'_>,
    action: &'static str,
    object: Object,
    before: Option<Value>,
    after: Option<Value>,
) -> Result<(), DbErr> {
    let line = line(at, actor, action, object, before, after);
    audit::Entity::insert(line).exec_without_returning(transaction).await.map(|_| ())
}

/// The same of many `objects`, each of which has a line.
pub(super) async fn write_all(
    transaction: &impl ConnectionTrait,
    at: DateTime<Utc>,
    actor: Actor<'_>,
    action: &'static str,
    objects: &[Object],
    after: Option<&Value>,
) -> Result<(), DbErr> {
    for objects in objects.chunks(LINES_AT_ONCE) {
        let lines = objects.iter().map(|object| line(at, actor, action, object.clone(), None, after.cloned()));
        audit::Entity::insert_many(lines).exec_without_returning(transaction).await?;
    }
    Ok(())
}

fn line(
    at: DateTime<Utc>,
    actor: Actor<'_>,
    action: &'static str,
    object: Object,
    before: Option<Value>,
    after: Option<Value>,
) -> audit::ActiveModel {
    let (user, name, credential, address) = match actor {
        Actor::System(name) => (None, name, None, None),
        Actor::Claimed { user, username, address } => (user, username, None, address),
        Actor::Principal(p) => {
            let credential = match p.credential {
                Credential::Session(id) => format!("session:{id}"),
                Credential::Token { id, .. } => format!("token:{id}"),
            };
            (Some(p.user), p.username.as_str(), Some(credential), p.address)
        }
    };
    audit::ActiveModel {
        id: NotSet,
        at: Set(at),
        user_id: Set(user.map(|user| user.0)),
        actor: Set(name.to_owned()),
        credential: Set(credential),
        address: Set(address.map(|address| address.to_string())),
        action: Set(action.to_owned()),
        object: Set(object.0),
        before: Set(before),
        after: Set(after),
    }
}

/// One line as it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Row id; grows.
    pub id: i64,
    /// When.
    pub at: DateTime<Utc>,
    /// Who, where it was a user.
    pub user: Option<UserId>,
    /// Username, or `apply` or `cli`.
    pub actor: String,
    /// `session:<id>` or `token:<id>`.
    pub credential: Option<String>,
    /// Address of the client, where it came over the API.
    pub address: Option<String>,
    /// What was done.
    pub action: String,
    /// To what.
    pub object: String,
    /// The object before.
    pub before: Option<Value>,
    /// The object after.
    pub after: Option<Value>,
}

/// Which lines; every field that is given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only this user's: what the asker may see at most.
    pub owner: Option<UserId>,
    /// Only lines with a greater id: what the asker may see at most.
    pub after: Option<i64>,
    /// What this user did.
    pub user: Option<UserId>,
    /// What was done to this object (`kind:id`).
    pub object: Option<String>,
    /// What was done.
    pub action: Option<String>,
    /// Then or later.
    pub from: Option<DateTime<Utc>>,
    /// Before then.
    pub to: Option<DateTime<Utc>>,
}

/// The line that gave the user its present role; `None` where it has had no other. What it did before that, it did as another.
///
/// # Errors
/// When the database cannot be read.
pub async fn role_given(reports: &Reports, user: UserId) -> Result<Option<i64>, ReportError> {
    use audit::Column as C;
    let changes = audit::Entity::find()
        .filter(C::Object.eq(Object::new("user", user).0))
        .filter(C::Action.is_in(ROLE_CHANGES))
        .order_by_desc(C::Id);
    let read = move |lane: Lane| async move { Ok(changes.all(&lane.read().await?).await?) };
    let changes = reports.quick(user, read).await?;
    let role = |view: &Option<Value>| view.as_ref().and_then(|view| view.get("role")).cloned();
    Ok(changes.iter().find(|line| role(&line.before) != role(&line.after)).map(|line| line.id))
}

/// Lines that match, newest first: at most `limit`, of those below the id `before`. A list among the reports of `asker`.
///
/// # Errors
/// When there is no place for it, it takes too long, or the database cannot be read.
pub async fn list(
    reports: &Reports,
    asker: UserId,
    filter: &Filter,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<Line>, ReportError> {
    let filter = filter.clone();
    reports.list(asker, move |lane| async move { read(&lane.read().await?, &filter, before, limit).await }).await
}

async fn read(
    transaction: &DatabaseTransaction,
    filter: &Filter,
    before: Option<i64>,
    limit: u64,
) -> Result<Vec<Line>, StoreError> {
    use audit::Column as C;
    let rows = audit::Entity::find()
        .apply_if(filter.owner, |query, user| query.filter(C::UserId.eq(user.0)))
        .apply_if(filter.after, |query, id| query.filter(C::Id.gt(id)))
        .apply_if(filter.user, |query, user| query.filter(C::UserId.eq(user.0)))
        .apply_if(filter.object.as_ref(), |query, object| query.filter(C::Object.eq(object.as_str())))
        .apply_if(filter.action.as_ref(), |query, action| query.filter(C::Action.eq(action.as_str())))
        .apply_if(filter.from, |query, at| query.filter(C::At.gte(at)))
        .apply_if(filter.to, |query, at| query.filter(C::At.lt(at)))
        .apply_if(before, |query, id| query.filter(C::Id.lt(id)))
        .order_by_desc(C::Id)
        .limit(limit)
        .all(transaction)
        .await?;
    let line = |row: audit::Model| Line {
        id: row.id,
        at: row.at,
        user: row.user_id.map(UserId),
        actor: row.actor,
        credential: row.credential,
        address: row.address,
        action: row.action,
        object: row.object,
        before: row.before,
        after: row.after,
    };
    Ok(rows.into_iter().map(line).collect())
}
