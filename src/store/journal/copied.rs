//! A journal that was copied before the database was: what it still holds of what the database has is taken out of it.

use std::path::{Path, PathBuf};

use rusqlite::params;

use super::aside::{apart, open};
use crate::cdr::open::OpenCall;
use crate::cdr::record::CallRecord;
use crate::cdr::writer::BATCH;
use crate::store::{Db, StoreError, records};

/// What was in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settled {
    /// Records that waited, and are in the database now.
    pub written: usize,
    /// Calls that had not ended when it was copied, and had when the database was: their records stand.
    pub ended: usize,
    /// Calls that had not ended: the next `serve` finds out what became of them.
    pub open: usize,
}

/// Brings the records that wait in the copy at `path` into the database, and forgets the calls of which that has a record. A call of which it
/// has none stays: its caps are held from the next start on, until it is taken over, or recorded as lost.
///
/// # Errors
/// When the file cannot be read or is a newer version's, or the database is away. Repeating is safe.
pub async fn settle(db: &Db, path: &Path) -> Result<Settled, StoreError> {
    let mut settled = Settled::default();
    let mut after = 0;
    loop {
        let batch = read(path.to_owned(), after).await?;
        let Some(last) = batch.last().map(|(place, _)| *place) else { break };
        after = last;
        // What cannot be read, or is refused, `serve` sets aside.
        let batch: Vec<(i64, CallRecord)> =
            batch.into_iter().filter_map(|(place, body)| Some((place, serde_json::from_str(&body).ok()?))).collect();
        settled.written += write(db, path, batch).await?;
    }
    let path = path.to_owned();
    for (call, body) in apart({
        let path = path.clone();
        move || open_calls(&path)
    })
    .await?
    {
        let id = serde_json::from_str::<OpenCall>(&body).ok().map(|open| open.record.call_id);
        let recorded = match id {
            Some(id) => records::by_call_id(db, id).await?.is_some(),
            None => false,
        };
        if recorded {
            let path = path.clone();
            apart(move || Ok(open(&path)?.execute("DELETE FROM open_calls WHERE call = ?1", params![call])?)).await?;
            settled.ended += 1;
        } else {
            settled.open += 1;
        }
    }
    Ok(settled)
}

/// Brings these records into the database and forgets them; how many. One that is refused stays, and keeps no other out.
async fn write(db: &Db, path: &Path, batch: Vec<(i64, CallRecord)>) -> Result<usize, StoreError> {
    let (places, found): (Vec<i64>, Vec<CallRecord>) = batch.into_iter().unzip();
    match records::write(db, &found).await {
        Ok(_) => {
            forget(path.to_owned(), places.clone()).await?;
            return Ok(places.len());
        }
        Err(error) if error.is_refusal() => {}
        Err(error) => return Err(error),
    }
    let mut written = Vec::new();
    for (place, record) in places.into_iter().zip(found) {
        match records::write(db, &[record]).await {
            Ok(_) => written.push(place),
            Err(error) if error.is_refusal() => {}
            Err(error) => return Err(error),
        }
    }
    forget(path.to_owned(), written.clone()).await?;
    Ok(written.len())
}

/// The first records behind a place.
async fn read(path: PathBuf, after: i64) -> Result<Vec<(i64, String)>, StoreError> {
    apart(move || {
        let connection = open(&path)?;
        let mut statement =
            connection.prepare("SELECT place, body FROM waiting WHERE place > ?1 ORDER BY place LIMIT ?2")?;
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let rows = statement.query_map(params![after, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        Ok(rows.collect::<Result<_, _>>()?)
    })
    .await
}

async fn forget(path: PathBuf, places: Vec<i64>) -> Result<(), StoreError> {
    apart(move || {
        let mut connection = open(&path)?;
        let transaction = connection.transaction()?;
        for place in places {
            transaction.execute("DELETE FROM waiting WHERE place = ?1", params![place])?;
        }
        Ok(transaction.commit()?)
    })
    .await
}

fn open_calls(path: &Path) -> Result<Vec<(Vec<u8>, String)>, StoreError> {
    let connection = open(path)?;
    let mut statement = connection.prepare("SELECT call, body FROM open_calls ORDER BY call")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
