//! Making the stored state what a document says, in one transaction.

mod writer;

use sea_orm::{DatabaseTransaction, DbErr};

use self::writer::Writer;
use super::audit::Object;
use super::{Db, StoreError, audit, change, plan, realtime};
use crate::auth::principal::Actor;
use crate::auth::secrets;
use crate::clock::Clock;
use crate::config::Realtime;
use crate::plan::{Action, Change, Current, Document, Kind, Manner, Plan, Problems, Screening, diff, screen};

/// Why a document was not applied; nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The document itself, or what it wants of what is stored, is not allowed.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<DbErr> for ApplyError {
    fn from(error: DbErr) -> Self {
        Self::Store(error.into())
    }
}

/// What [`apply`] would do, without doing it.
///
/// # Errors
/// As [`apply`].
pub async fn preview(db: &Db, screening: &Screening, document: &Document, prune: bool) -> Result<Plan, ApplyError> {
    let wanted = document.check()?;
    let transaction = db.read().await?;
    let current = plan::load(&transaction).await?;
    transaction.commit().await?;
    screen(&current, &wanted, screening, prune)?;
    Ok(diff(&current, &wanted, Manner { prune, drawn: secrets::drawn() })?)
}

/// How often what is stored is read again because somebody changed it meanwhile, before all others are made to wait for the reading.
const TRIES: u32 = 3;

/// Makes the stored state what `document` says and returns what was changed; with `prune`, what it does not name is removed. One transaction: changes, the routing
/// revision, and in PostgreSQL realtime mode the `ps_*` rows too; two applies at once take turns. Nothing is written when nothing differs.
///
/// What is stored is read and compared before, while everybody goes on, and begun anew where it has changed until it is nobody else's turn:
/// writers of records wait for the changes alone.
///
/// # Errors
/// When the document has problems (all of them are named), or the database cannot do it.
pub async fn apply(
    db: &Db,
    realtime_mode: &Realtime,
    screening: &Screening,
    document: &Document,
    prune: bool,
) -> Result<Plan, ApplyError> {
    let wanted = document.check()?;
    let manner = Manner { prune, drawn: secrets::drawn() };
    let compare = |current: &Current| -> Result<Plan, ApplyError> {
        screen(current, &wanted, screening, prune)?;
        Ok(diff(current, &wanted, manner)?)
    };
    for _ in 0..TRIES {
        let reading = db.read().await?;
        let seen = plan::fingerprint(&reading).await?;
        let current = plan::load(&reading).await?;
        reading.commit().await?;
        let plan = compare(&current)?;
        if plan.is_empty() {
            return Ok(plan);
        }
        let transaction = change::begin_apart(db).await?;
        if plan::fingerprint(&transaction).await? == seen && write(&transaction, realtime_mode, &current, &plan).await?
        {
            transaction.commit().await?;
            return Ok(plan);
        }
        transaction.rollback().await?;
    }
    let transaction = change::begin(db).await?;
    let current = plan::load(&transaction).await?;
    let plan = compare(&current)?;
    if !plan.is_empty() && !write(&transaction, realtime_mode, &current, &plan).await? {
        // Nobody writes records meanwhile: what was read is true.
        return Err(DbErr::Custom("records refer to what was without any under the same lock".to_owned()).into());
    }
    transaction.commit().await?;
    Ok(plan)
}

/// Makes the changes; `false` where what is to be deleted has records by now.
async fn write(
    transaction: &DatabaseTransaction,
    realtime_mode: &Realtime,
    current: &Current,
    plan: &Plan,
) -> Result<bool, ApplyError> {
    let now = Clock::start().now().wall;
    if !Writer::new(transaction, current, now).write(plan).await? {
        return Ok(false);
    }
    change::bump(transaction).await?;
    // The plan's lines hold no secret: they are what `apply` prints.
    let after = Some(serde_json::Value::String(plan.to_string()));
    let object = Object::new("plan", "whole");
    audit::write(transaction, now, Actor::System("apply"), "plan.apply", object, None, after).await?;
    let of_clients =
        |change: &Change| matches!(change.action, Action::Client { .. } | Action::Remove { kind: Kind::Client, .. });
    if matches!(realtime_mode, Realtime::Postgres) && plan.changes.iter().any(of_clients) {
        realtime::write_beside(transaction).await?;
    }
    Ok(true)
}
