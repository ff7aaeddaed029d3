//! Whose number is whose among the stored DIDs, by what some node may read; the pure part is `routing/number/readers.rs`.

use std::collections::{HashMap, HashSet};

use entity::dids;
use sea_orm::ActiveValue::{Set, Unchanged};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::{StoreError, change};
use crate::routing::number::readers::{Claim, Readers};
use crate::routing::number::written::{self, Number};

/// Bound values per statement.
const CHUNK: usize = 10_000;
/// Numbers that one line of the log names.
const NAMED_AT_MOST: usize = 20;

/// Positions of the numbers, each with the seller who is to have it, that some node may read as a DID of another seller's, stored or
/// wanted; or the other way round. Archived DIDs may come back, and are asked too.
pub(super) async fn contested(
    transaction: &DatabaseTransaction,
    readers: &Readers,
    wanted: &[(&str, bool, i64)],
) -> Result<Vec<usize>, DbErr> {
    let claim = |(number, raw, seller)| Claim { number, raw, seller };
    let own: HashSet<&str> = wanted.iter().map(|(number, ..)| *number).collect();
    let mut stored = dids::Entity::find().filter(dids::Column::Raw.eq(true)).all(transaction).await?;
    // Of the numbers only those as which a wanted raw text may be read: they are many.
    let readings: HashSet<String> =
        wanted.iter().filter(|(_, raw, _)| *raw).flat_map(|(text, ..)| readers.readings(text)).collect();
    let readings: Vec<String> = readings.into_iter().collect();
    for chunk in readings.chunks(CHUNK) {
        let numbers = dids::Column::Number.is_in(chunk.iter().map(String::as_str));
        stored.extend(dids::Entity::find().filter(numbers).filter(dids::Column::Raw.eq(false)).all(transaction).await?);
    }
    // A DID that changes hands is stored, too: with the seller whom it leaves.
    let others = stored.iter().filter(|row| !own.contains(row.number.as_str()));
    let others = others.map(|row| (row.number.as_str(), row.raw, row.seller_id));
    let all: Vec<_> = wanted.iter().copied().chain(others).map(claim).collect();
    let pairs = readers.overlaps(&all, |at| at < wanted.len());
    let mut positions: Vec<usize> = pairs.into_iter().flat_map(|(raw, other)| [raw, other]).collect();
    positions.retain(|at| *at < wanted.len());
    positions.sort_unstable();
    positions.dedup();
    Ok(positions)
}

/// Brings the numbers that older versions stored under the one rule: what is no E.164 number is marked raw, what is one in another
/// spelling gets its own; and tells in the log what overlaps. Part of the migration that brings the mark.
pub(super) async fn settle(transaction: &DatabaseTransaction) -> Result<(), StoreError> {
    let rows = dids::Entity::find().all(transaction).await?;
    let mut taken: HashMap<String, i64> = rows.iter().map(|row| (row.number.clone(), row.seller_id)).collect();
    let (mut settled, mut marked) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let read = written::read(&row.number).unwrap_or_else(|_| Number::Raw(row.number.clone()));
        let free = read.text() == row.number || !taken.contains_key(read.text());
        let number = if free { read } else { Number::Raw(row.number.clone()) };
        if number.text() != row.number {
            tracing::warn!(did = row.number, now = number.text(), "a DID is spelt as numbers are compared");
            taken.insert(number.text().to_owned(), row.seller_id);
        }
        if number.is_raw() {
            marked.push(number.text().to_owned());
        }
        if number.text() != row.number || number.is_raw() != row.raw {
            save(transaction, row.id, &number).await?;
        }
        settled.push((number, row.seller_id));
    }
    if marked.is_empty() {
        return Ok(());
    }
    change::bump(transaction).await?;
    let (count, first) = (marked.len(), &marked[..marked.len().min(NAMED_AT_MOST)]);
    tracing::warn!(
        count,
        ?first,
        "DIDs are no E.164 numbers and now marked raw: calls find them by their text, after the numbers"
    );
    let claims: Vec<_> = settled
        .iter()
        .map(|(number, seller)| Claim { number: number.text(), raw: number.is_raw(), seller: *seller })
        .collect();
    // The nodes' own rules are not known here: `doctor` knows them.
    for (raw, number) in Readers::default().overlaps(&claims, |_| true) {
        tracing::warn!(
            raw = claims[raw].number,
            number = claims[number].number,
            raw_seller = claims[raw].seller,
            number_seller = claims[number].seller,
            "two sellers' DIDs are the same number where a node reads the one as the other: calls go to the number"
        );
    }
    Ok(())
}

async fn save(connection: &impl ConnectionTrait, id: i64, number: &Number) -> Result<(), DbErr> {
    let model = dids::ActiveModel {
        id: Unchanged(id),
        number: Set(number.text().to_owned()),
        raw: Set(number.is_raw()),
        ..Default::default()
    };
    model.update(connection).await.map(drop)
}
