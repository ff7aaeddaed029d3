//! Calls that the dialplan's fallback took: written together with how far the spool is read.

use std::collections::HashSet;

use entity::{call_logs, fallback_spools};
use sea_orm::ActiveValue::Set;
use sea_orm::sea_query::OnConflict;
use sea_orm::{ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QuerySelect};

use super::{Batch, MAX_BINDS, insert_calls};
use crate::cdr::record::CallRecord;
use crate::cdr::spool::Position;
use crate::store::{Db, StoreError, number};

/// How far the spool of `node` is read; `None` when nothing of it was read yet.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn position(db: &Db, node: &str) -> Result<Option<Position>, StoreError> {
    const TABLE: &str = "fallback_spools";
    let row = fallback_spools::Entity::find_by_id(node).one(&db.connection).await?;
    let read = |row: fallback_spools::Model| {
        Ok(Position {
            device: row.device.cast_unsigned(),
            inode: row.inode.cast_unsigned(),
            bytes: number(TABLE, "bytes_read", row.bytes_read)?,
            lines: number(TABLE, "lines_read", row.lines_read)?,
        })
    };
    row.map(read).transpose()
}

/// Writes the records of calls of `node` and, where its spool is followed, that it is read up to `position`, in one transaction. A
/// call that has a record already, whosever, gets no second one. Returns the endings of those that were new; repeating is safe.
///
/// # Errors
/// When the database refuses or is away: nothing was written, or all of it.
pub async fn import(
    db: &Db,
    node: &str,
    records: &[CallRecord],
    position: Option<Position>,
) -> Result<Vec<String>, StoreError> {
    let transaction = db.write().await?;
    let known = known(&transaction, node, records).await?;
    let records: Vec<&CallRecord> = records.iter().filter(|record| !known.contains(&record.uniqueid)).collect();
    insert_calls(&transaction, &Batch::of(records.iter().copied())).await?;
    if let Some(position) = position {
        keep(&transaction, node, position).await?;
    }
    transaction.commit().await?;
    Ok(records.into_iter().map(|record| record.ending.clone()).collect())
}

/// Those channels of the node among `records` that have a record.
async fn known(
    transaction: &DatabaseTransaction,
    node: &str,
    records: &[CallRecord],
) -> Result<HashSet<String>, DbErr> {
    use call_logs::Column;
    let mut known = HashSet::new();
    for chunk in records.chunks(MAX_BINDS - 1) {
        let found: Vec<String> = call_logs::Entity::find()
            .select_only()
            .column(Column::Uniqueid)
            .filter(Column::Node.eq(node))
            .filter(Column::Uniqueid.is_in(chunk.iter().map(|record| record.uniqueid.as_str())))
            .into_tuple()
            .all(transaction)
            .await?;
        known.extend(found);
    }
    Ok(known)
}

async fn keep(transaction: &DatabaseTransaction, node: &str, position: Position) -> Result<(), DbErr> {
    use fallback_spools::Column;
    let count = |count: u64| Set(i64::try_from(count).unwrap_or(i64::MAX));
    let row = fallback_spools::ActiveModel {
        node: Set(node.to_owned()),
        device: Set(position.device.cast_signed()),
        inode: Set(position.inode.cast_signed()),
        bytes_read: count(position.bytes),
        lines_read: count(position.lines),
    };
    let columns = [Column::Device, Column::Inode, Column::BytesRead, Column::LinesRead];
    let conflict = OnConflict::column(Column::Node).update_columns(columns).to_owned();
    fallback_spools::Entity::insert(row).on_conflict(conflict).exec_without_returning(transaction).await?;
    Ok(())
}
