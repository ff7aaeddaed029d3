//! Writing and reading call records.

mod bulk;
pub mod fallback;
pub mod legacy;
mod rows;

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, Utc};
use entity::{call_attempts, call_logs, campaign_client_settings};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::Serialize;
use uuid::Uuid;

use super::{Db, StoreError, change};
use crate::cdr::record::{AttemptRecord, CallRecord};
use crate::id::CallId;

/// Bound values per statement: below SQLite's limit of 32,766 (PostgreSQL's is 65,535).
const MAX_BINDS: usize = 32_000;

/// Writes records and grows each link's `current_total_calls` by its counted attempts, in one transaction. What is already
/// stored (the call by its id, an attempt by call and number) is left as it is and counted no second time, so repeating is safe.
/// Returns how many calls were new.
///
/// # Errors
/// When the database refuses or is away; then nothing of `records` was written.
pub async fn write(db: &Db, records: &[CallRecord]) -> Result<usize, StoreError> {
    write_batch(db, &Batch::of(records)).await
}

/// Records in the form in which the database takes them. Making it takes longer than handing it over: it can be done beforehand, and once
/// for several tries.
#[derive(Debug)]
pub struct Batch {
    calls: String,
    attempts: String,
}

impl Batch {
    /// Of these records; of several with one call id the first.
    #[must_use]
    pub fn of<'a>(records: impl IntoIterator<Item = &'a CallRecord>) -> Self {
        let mut seen = HashSet::new();
        let records: Vec<&CallRecord> = records.into_iter().filter(|record| seen.insert(record.call_id)).collect();
        Self {
            calls: document(records.iter().map(|record| rows::call(record))),
            attempts: document(
                records.iter().flat_map(|record| record.attempts.iter().map(|attempt| rows::attempt(record, attempt))),
            ),
        }
    }
}

/// A JSON array.
fn document<T: Serialize>(rows: impl Iterator<Item = T>) -> String {
    serde_json::to_string(&rows.collect::<Vec<_>>()).expect("rows are texts, numbers and JSON")
}

/// Like [`write`].
///
/// # Errors
/// When the database refuses or is away; then nothing of the batch was written.
pub async fn write_batch(db: &Db, batch: &Batch) -> Result<usize, StoreError> {
    let transaction = db.write().await?;
    let new = insert_calls(&transaction, batch).await?;
    let counted = insert_attempts(&transaction, batch).await?;
    if !counted.is_empty() {
        count(db, &transaction, counted).await?;
    }
    transaction.commit().await?;
    Ok(new)
}

/// Grows the counts of links by attempts that ended (or were reported) at these times. One that did so before its link's count was reset belongs to what was
/// counted before.
async fn count(db: &Db, transaction: &DatabaseTransaction, counted: Counted) -> Result<(), StoreError> {
    use campaign_client_settings::Column;
    if db.is_postgres() {
        // A reset takes this table for itself: it has ended, or waits for us (SQLite has one writer anyway).
        transaction.execute_unprepared("LOCK TABLE campaign_client_settings IN ROW EXCLUSIVE MODE").await?;
    }
    let since: HashMap<i64, Option<DateTime<Utc>>> = campaign_client_settings::Entity::find()
        .select_only()
        .columns([Column::Id, Column::CountedSince])
        .filter(Column::Id.is_in(counted.keys().copied()))
        .into_tuple::<(i64, Option<DateTime<Utc>>)>()
        .all(transaction)
        .await?
        .into_iter()
        .collect();
    let mut late = false;
    // By ascending id, as everywhere, so that two transactions never wait for each other's rows.
    for (link, ended) in counted {
        let since = since.get(&link).copied().flatten();
        let (before, after): (Vec<_>, Vec<_>) =
            ended.into_iter().partition(|ended| since.is_some_and(|since| *ended < since));
        late |= !before.is_empty();
        let grown = |column: Column, by: usize| Expr::col(column).add(i64::try_from(by).unwrap_or(i64::MAX));
        campaign_client_settings::Entity::update_many()
            .col_expr(Column::CurrentTotalCalls, grown(Column::CurrentTotalCalls, after.len()))
            .col_expr(Column::CountedBefore, grown(Column::CountedBefore, before.len()))
            .filter(Column::Id.eq(link))
            .exec(transaction)
            .await?;
    }
    if late {
        // Running controllers have counted these, too.
        change::bump(transaction).await?;
    }
    Ok(())
}

async fn insert_calls(transaction: &DatabaseTransaction, batch: &Batch) -> Result<usize, DbErr> {
    // Whatever is there already: the call's id, or the channel of a call that the old dialplan reported.
    let new = bulk::insert::<call_logs::Entity>(transaction, &batch.calls, &[call_logs::Column::CallId]).await?;
    Ok(new.len())
}

/// When the attempts that count ended (or were reported), by link.
type Counted = BTreeMap<i64, Vec<DateTime<Utc>>>;

/// Inserts the attempts that are not stored yet; returns those of them that count.
async fn insert_attempts(transaction: &DatabaseTransaction, batch: &Batch) -> Result<Counted, DbErr> {
    use call_attempts::Column;
    let returning = [Column::LinkId, Column::Counted, Column::EndedAt];
    let mut counted = Counted::new();
    for row in bulk::insert::<call_attempts::Entity>(transaction, &batch.attempts, &returning).await? {
        if row.try_get("", "counted")? {
            counted.entry(row.try_get("", "link_id")?).or_default().push(row.try_get("", "ended_at")?);
        }
    }
    Ok(counted)
}

/// The newest records by arrival, newest first, with their attempts.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn recent(db: &Db, limit: u64) -> Result<Vec<CallRecord>, StoreError> {
    let transaction = db.read().await?;
    let calls = call_logs::Entity::find()
        .order_by_desc(call_logs::Column::ArrivedAt)
        .order_by_desc(call_logs::Column::CallId)
        .limit(limit)
        .all(&transaction)
        .await?;
    with_attempts(&transaction, calls).await
}

/// One call's whole record; `None` when there is none.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn by_call_id(db: &Db, call: CallId) -> Result<Option<CallRecord>, StoreError> {
    one(&db.read().await?, call).await
}

pub(super) async fn one(transaction: &DatabaseTransaction, call: CallId) -> Result<Option<CallRecord>, StoreError> {
    let row = call_logs::Entity::find_by_id(call.0).one(transaction).await?;
    Ok(with_attempts(transaction, row.into_iter().collect()).await?.pop())
}

/// Calls whose ids lie between `first` and `last`, both included: at most `limit`, in the order of their ids.
///
/// # Errors
/// When the database cannot be read.
pub async fn between(db: &Db, first: CallId, last: CallId, limit: u64) -> Result<Vec<CallRecord>, StoreError> {
    let transaction = db.read().await?;
    let calls = call_logs::Entity::find()
        .filter(call_logs::Column::CallId.between(first.0, last.0))
        .order_by_asc(call_logs::Column::CallId)
        .limit(limit)
        .all(&transaction)
        .await?;
    with_attempts(&transaction, calls).await
}

pub(super) async fn with_attempts(
    transaction: &DatabaseTransaction,
    calls: Vec<call_logs::Model>,
) -> Result<Vec<CallRecord>, StoreError> {
    let ids: Vec<Uuid> = calls.iter().map(|call| call.call_id).collect();
    let mut attempts: HashMap<Uuid, Vec<AttemptRecord>> = HashMap::new();
    for chunk in ids.chunks(MAX_BINDS) {
        let rows = call_attempts::Entity::find()
            .filter(call_attempts::Column::CallId.is_in(chunk.iter().copied()))
            .order_by_asc(call_attempts::Column::Number)
            .all(transaction)
            .await?;
        for row in rows {
            attempts.entry(row.call_id).or_default().push(rows::read_attempt(row)?);
        }
    }
    calls
        .into_iter()
        .map(|call| {
            let attempts = attempts.remove(&call.call_id).unwrap_or_default();
            rows::read_call(call, attempts)
        })
        .collect()
}
