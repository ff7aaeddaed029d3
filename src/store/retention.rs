//! What is past its time is removed, in batches, so that nobody waits for it: ended sessions, API tokens that are good no more, old
//! Idempotency-Keys, and lines of the audit that have been kept for long enough.

use chrono::{DateTime, TimeDelta, Utc};
use entity::{api_tokens, audit, idempotency_keys, sessions};
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};

use super::{Db, StoreError, idempotency, tokens};
use crate::store::sessions as all_sessions;

/// Rows of one statement.
const BATCH: u64 = 1000;
/// Statements for one table at most: the rest is left to the next time.
const STATEMENTS_AT_MOST: u32 = 1000;

/// How many rows were removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Removed {
    /// Sessions that have ended.
    pub sessions: u64,
    /// API tokens that were revoked or have expired.
    pub tokens: u64,
    /// Idempotency-Keys whose answers are given no more.
    pub keys: u64,
    /// Lines of the audit.
    pub lines: u64,
}

/// Removes what is past its time at `now`; of the audit what is older than `audit_kept`, which is more than the 30 days for which the
/// database itself refuses it. What is still good is not touched, and what was removed was good for nothing.
///
/// # Errors
/// When the database cannot do it; what was removed by then stays so.
pub async fn prune(db: &Db, audit_kept: TimeDelta, now: DateTime<Utc>) -> Result<Removed, StoreError> {
    let before = now.checked_sub_signed(audit_kept).unwrap_or(DateTime::<Utc>::MIN_UTC);
    Ok(Removed {
        sessions: remove::<sessions::Entity>(db, sessions::Column::Id, all_sessions::alive(now).not()).await?,
        tokens: remove::<api_tokens::Entity>(db, api_tokens::Column::Id, tokens::good(now).not()).await?,
        keys: remove::<idempotency_keys::Entity>(db, idempotency_keys::Column::Id, idempotency::old(now)).await?,
        lines: remove::<audit::Entity>(db, audit::Column::Id, audit::Column::At.lt(before)).await?,
    })
}

async fn remove<E: EntityTrait>(db: &Db, id: E::Column, which: Expr) -> Result<u64, StoreError> {
    let mut removed = 0;
    for _ in 0..STATEMENTS_AT_MOST {
        let batch = Query::select().column(id).from(E::default()).and_where(which.clone()).limit(BATCH).to_owned();
        let deleted = E::delete_many().filter(id.in_subquery(batch)).exec(&db.connection).await?.rows_affected;
        removed += deleted;
        if deleted < BATCH {
            break;
        }
    }
    Ok(removed)
}
