//! What all changes of single objects share: whose objects are meant, expected versions, taking turns, and what refuses a change.

use chrono::{DateTime, Utc};
use entity::{routing_revision, users};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, Select,
};
use serde::Serialize;
use serde_json::Value;

use super::audit::{self, Object};
use super::{Db, StoreError, realtime};
use crate::auth::principal::Actor;
use crate::config::Realtime;
use crate::id::UserId;
use crate::routing::snapshot::Status;

/// On PostgreSQL changes of configuration take turns by this lock, and writers of records (which update the same rows, in another
/// order) wait for them: no deadlock, and what is unreferenced stays so until it is deleted. SQLite has one writer anyway.
const TAKE_TURNS: &str = "LOCK TABLE campaign_client_settings IN SHARE ROW EXCLUSIVE MODE";

/// Whose objects a caller sees; others are to it as if they were not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// Everybody's.
    Anyone,
    /// One seller's.
    Only(UserId),
}

impl Owner {
    pub(super) fn sees(self, seller: UserId) -> bool {
        match self {
            Self::Anyone => true,
            Self::Only(user) => user == seller,
        }
    }

    pub(super) fn id(self) -> Option<i64> {
        match self {
            Self::Anyone => None,
            Self::Only(user) => Some(user.0),
        }
    }
}

/// Which part of a list is wanted: ascending by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keyset {
    /// Only ids above this.
    pub after: Option<i64>,
    /// At most so many.
    pub limit: u64,
}

/// Why a change was not made; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The object is not there, or not for this caller.
    #[error("not found")]
    NotFound,
    /// Something that the object is to refer to is not there, or not for this caller.
    #[error("{field}: not found")]
    Unknown {
        /// Which field refers to it.
        field: &'static str,
    },
    /// The object is not as the caller believes.
    #[error("the version is {version} by now")]
    Stale {
        /// Its version now.
        version: i64,
    },
    /// The state of this or another object is against it.
    #[error("{detail}")]
    Conflict {
        /// Stable word.
        code: &'static str,
        /// A sentence for people.
        detail: String,
    },
    /// A count is not what the caller believes.
    #[error("the count is {actual} by now")]
    Counter {
        /// The count now.
        actual: u64,
    },
    /// Values that are not allowed: field, and what is.
    #[error("{} values are not allowed", .0.len())]
    Invalid(Vec<(String, String)>),
    /// Numbers that cannot be had: their positions among those asked for.
    #[error("{} numbers cannot be had", .0.len())]
    Taken(Vec<usize>),
    /// Addresses that another client is known by, or at: field, and a sentence.
    #[error("{} addresses are another client's", .0.len())]
    AddressTaken(Vec<(String, String)>),
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for Refusal {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

impl Refusal {
    pub(super) fn conflict(code: &'static str, detail: impl Into<String>) -> Self {
        Self::Conflict { code, detail: detail.into() }
    }
}

/// Who changes what where: every change of a single object is made through one.
#[derive(Debug, Clone, Copy)]
pub struct Editor<'a> {
    /// The database.
    pub db: &'a Db,
    /// Where the `ps_*` rows go.
    pub realtime: &'a Realtime,
    /// Who, for the audit.
    pub actor: Actor<'a>,
    /// When, for the audit.
    pub at: DateTime<Utc>,
    /// Whose objects it may touch.
    pub owner: Owner,
}

impl Editor<'_> {
    /// Writes the audit's line, tells `serve`, and commits.
    pub(super) async fn commit(
        &self,
        transaction: DatabaseTransaction,
        action: &'static str,
        object: Object,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), Refusal> {
        self.note(&transaction, action, object, before, after).await?;
        bump(&transaction).await?;
        Ok(transaction.commit().await?)
    }

    /// Writes the audit's line only.
    pub(super) async fn note(
        &self,
        transaction: &DatabaseTransaction,
        action: &'static str,
        object: Object,
        before: Option<Value>,
        after: Option<Value>,
    ) -> Result<(), DbErr> {
        audit::write(transaction, self.at, self.actor, action, object, before, after).await
    }

    /// Writes the `ps_*` rows that stand beside the clients, where they do; elsewhere `serve` does so when it sees the new revision.
    pub(super) async fn publish(&self, transaction: &DatabaseTransaction) -> Result<(), Refusal> {
        if matches!(self.realtime, Realtime::Postgres) {
            realtime::write_beside(transaction).await?;
        }
        Ok(())
    }
}

/// As [`TAKE_TURNS`] among changes of configuration, but writers of records go on: for what touches no row that they do.
const TAKE_TURNS_APART: &str = "LOCK TABLE campaign_client_settings IN SHARE UPDATE EXCLUSIVE MODE";

/// A transaction that changes configuration, and holds up no writer of records until it [`hold_up_records`]. On SQLite it does from the
/// beginning.
pub(super) async fn begin_apart(db: &Db) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db.write().await?;
    if db.is_postgres() {
        transaction.execute_unprepared(TAKE_TURNS_APART).await?;
    }
    Ok(transaction)
}

/// From here to its end writers of records wait for this transaction.
pub(super) async fn hold_up_records(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    if transaction.get_database_backend() == DbBackend::Postgres {
        transaction.execute_unprepared(TAKE_TURNS).await?;
    }
    Ok(())
}

/// A transaction that changes configuration: others that do wait until it ends, so that what it has read stays true.
pub(super) async fn begin(db: &Db) -> Result<DatabaseTransaction, DbErr> {
    let transaction = db.write().await?;
    hold_up_records(&transaction).await?;
    Ok(transaction)
}

/// Tells `serve` that routing changed.
pub(super) async fn bump(transaction: &DatabaseTransaction) -> Result<(), DbErr> {
    let column = routing_revision::Column::Revision;
    let grown = Expr::col(column).add(1);
    routing_revision::Entity::update_many().col_expr(column, grown).exec(transaction).await.map(|_| ())
}

/// An object as the audit shows it.
pub(super) fn view(object: &impl Serialize) -> Result<Value, DbErr> {
    serde_json::to_value(object).map_err(|error| DbErr::Json(error.to_string()))
}

/// Makes the version of one row one more.
macro_rules! grow {
    ($transaction:expr, $table:ident, $id:expr) => {
        $table::Entity::update_many()
            .col_expr(
                $table::Column::Version,
                sea_orm::sea_query::ExprTrait::add(sea_orm::sea_query::Expr::col($table::Column::Version), 1),
            )
            .filter($table::Column::Id.eq($id))
            .exec($transaction)
            .await?
    };
}
pub(super) use grow;

/// Refuses a change of an object whose version is another than expected, or that is archived and stays so.
pub(super) fn may_change(
    version: i64,
    expected: Option<i64>,
    before: Status,
    after: Option<Status>,
) -> Result<(), Refusal> {
    if expected.is_some_and(|expected| expected != version) {
        return Err(Refusal::Stale { version });
    }
    if before == Status::Archived && after == Some(Status::Archived) {
        let detail = "it is archived and so read-only: set its status to active or paused in the same change";
        return Err(Refusal::conflict("archived", detail));
    }
    Ok(())
}

/// The rows of a keyset.
pub(super) async fn slice<E: EntityTrait>(
    connection: &impl ConnectionTrait,
    select: Select<E>,
    id: E::Column,
    keyset: Keyset,
) -> Result<Vec<E::Model>, DbErr> {
    let select = match keyset.after {
        Some(after) => select.filter(id.gt(after)),
        None => select,
    };
    select.order_by_asc(id).limit(keyset.limit).all(connection).await
}

/// How many rows of one table have a value in one column: what refers to an object that is to go.
pub(super) async fn count<E: EntityTrait<Model: Send + Sync>>(
    transaction: &DatabaseTransaction,
    column: E::Column,
    id: i64,
) -> Result<u64, DbErr> {
    E::find().filter(column.eq(id)).count(transaction).await
}

/// Whether a table has a row with a value in one column; for tables too big to count.
pub(super) async fn any<E: EntityTrait>(
    transaction: &DatabaseTransaction,
    column: E::Column,
    id: i64,
) -> Result<bool, DbErr> {
    let row = E::find().select_only().column(column).filter(column.eq(id)).limit(1);
    Ok(row.into_tuple::<i64>().one(transaction).await?.is_some())
}

/// Refuses with everything that refers to an object, such as `2 links`; nothing when nothing does.
pub(super) fn unless_used(users: &[String], instead: &str) -> Result<(), Refusal> {
    if users.is_empty() {
        return Ok(());
    }
    Err(Refusal::conflict("in_use", format!("still in use by {}: {instead}", users.join(", "))))
}

/// Adds `n things` to what refers to an object.
pub(super) fn note(users: &mut Vec<String>, n: u64, thing: &str) {
    if n > 0 {
        users.push(format!("{n} {thing}{}", if n == 1 { "" } else { "s" }));
    }
}

/// Refuses a seller that is not there or no seller.
pub(super) async fn seller_exists(transaction: &DatabaseTransaction, seller: UserId) -> Result<(), Refusal> {
    let found = users::Entity::find_by_id(seller.0).one(transaction).await?;
    let is_seller = found.is_some_and(|user| user.role == "seller");
    if is_seller { Ok(()) } else { Err(Refusal::Unknown { field: "seller_id" }) }
}
