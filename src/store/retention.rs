//! What is past its time is removed, in slices, so that nobody waits for it: ended sessions, API tokens that are good no more, old
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

/// What is removed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Table {
    Sessions,
    Tokens,
    Keys,
    Audit,
}

/// The removal of what is past its time at one moment, slice by slice: whoever carries it out lets others write in between.
#[derive(Debug)]
pub struct Removal {
    now: DateTime<Utc>,
    /// Of the audit what is older.
    before: DateTime<Utc>,
    at: Table,
    /// How many statements there have been for that table.
    statements: u32,
    removed: Removed,
}

impl Removal {
    /// Of what is past its time at `now`; of the audit of what is older than `audit_kept`, which is more than the 30 days for which the
    /// database itself refuses it. What is still good is not touched, and what is removed was good for nothing.
    #[must_use]
    pub fn new(audit_kept: TimeDelta, now: DateTime<Utc>) -> Self {
        let before = now.checked_sub_signed(audit_kept).unwrap_or(DateTime::<Utc>::MIN_UTC);
        Self { now, before, at: Table::Sessions, statements: 0, removed: Removed::default() }
    }

    /// What was removed by now.
    #[must_use]
    pub fn removed(&self) -> Removed {
        self.removed
    }

    /// Removes the next slice, by one statement; false when nothing is left to do.
    ///
    /// # Errors
    /// When the database cannot do it; what was removed by then stays so.
    pub async fn slice(&mut self, db: &Db) -> Result<bool, StoreError> {
        let (now, before) = (self.now, self.before);
        let removed = match self.at {
            Table::Sessions => {
                remove::<sessions::Entity>(db, sessions::Column::Id, all_sessions::alive(now).not()).await?
            }
            Table::Tokens => remove::<api_tokens::Entity>(db, api_tokens::Column::Id, tokens::good(now).not()).await?,
            Table::Keys => {
                remove::<idempotency_keys::Entity>(db, idempotency_keys::Column::Id, idempotency::old(now)).await?
            }
            Table::Audit => remove::<audit::Entity>(db, audit::Column::Id, audit::Column::At.lt(before)).await?,
        };
        let (of_table, next) = match self.at {
            Table::Sessions => (&mut self.removed.sessions, Some(Table::Tokens)),
            Table::Tokens => (&mut self.removed.tokens, Some(Table::Keys)),
            Table::Keys => (&mut self.removed.keys, Some(Table::Audit)),
            Table::Audit => (&mut self.removed.lines, None),
        };
        *of_table += removed;
        self.statements += 1;
        if removed == BATCH && self.statements < STATEMENTS_AT_MOST {
            return Ok(true);
        }
        self.statements = 0;
        self.at = next.unwrap_or(self.at);
        Ok(next.is_some())
    }
}

async fn remove<E: EntityTrait>(db: &Db, id: E::Column, which: Expr) -> Result<u64, StoreError> {
    let batch = Query::select().column(id).from(E::default()).and_where(which).limit(BATCH).to_owned();
    Ok(E::delete_many().filter(id.in_subquery(batch)).exec(&db.connection).await?.rows_affected)
}
