//! The journal's tables, and what each entry does to them.

use std::collections::HashSet;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use tracing::error;

use crate::cdr::journal::{Alive, Entry, Left};
use crate::cdr::json::Json;
use crate::cdr::open::OpenCall;
use crate::cdr::record::CallRecord;
use crate::store::StoreError;

/// Without the notes of calls of which a later entry says the same and more.
pub(super) fn up_to_date(batch: &[Entry]) -> impl Iterator<Item = &Entry> {
    let mut ended = HashSet::new();
    let mut noted = HashSet::new();
    let mut told: Vec<&Entry> = Vec::with_capacity(batch.len());
    for entry in batch.iter().rev() {
        match entry {
            Entry::Finished(record) => drop(ended.insert(record.call_id)),
            Entry::Forget(call) => drop(ended.insert(*call)),
            Entry::Open { call, trace, .. } => {
                // The trace is noted once: a later note does not have it.
                let said_again = !noted.insert(call.record.call_id) && trace.is_none();
                if said_again || ended.contains(&call.record.call_id) {
                    continue;
                }
            }
            _ => {}
        }
        told.push(entry);
    }
    told.into_iter().rev()
}

/// What entries have done to the records that wait.
#[derive(Debug)]
pub(super) struct Changed {
    /// How many wait.
    pub(super) waiting: u64,
    /// The place of each finished record, in order; `None` for one that waits already.
    pub(super) places: Vec<Option<i64>>,
}

/// Does what an entry says; what it asks is answered by the keeper, once everything before it is committed.
pub(super) fn carry_out(transaction: &Transaction<'_>, entry: &Entry, changed: &mut Changed) -> rusqlite::Result<()> {
    match entry {
        Entry::Open { call, trace, .. } => {
            let statement =
                "INSERT INTO open_calls (call, body, trace) VALUES (?1, ?2, ?3) ON CONFLICT (call) DO UPDATE
                SET body = excluded.body, trace = coalesce(excluded.trace, trace)";
            let mut statement = transaction.prepare_cached(statement)?;
            let body = as_json(call)?;
            statement.execute(params![call.record.call_id.0.as_bytes(), body, trace.as_ref().map(Json::text)])?;
        }
        Entry::Finished(record) => {
            let place = finish(transaction, record)?;
            changed.waiting += u64::from(place.is_some());
            changed.places.push(place);
        }
        Entry::Forget(call) => {
            transaction
                .prepare_cached("DELETE FROM open_calls WHERE call = ?1")?
                .execute(params![call.0.as_bytes()])?;
        }
        Entry::Alive(alive) => {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO about (key, value) VALUES ('alive', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?;
            statement.execute(params![as_json(alive)?])?;
        }
        Entry::Written(places) => {
            let mut statement = transaction.prepare_cached("DELETE FROM waiting WHERE place = ?1")?;
            for place in places {
                changed.waiting = changed.waiting.saturating_sub(as_count(statement.execute(params![place])?));
            }
        }
        Entry::SetAside(place, why) => {
            changed.waiting = changed.waiting.saturating_sub(set_aside(transaction, *place, why)?);
        }
        Entry::Oldest { .. } | Entry::Find { .. } | Entry::Counted { .. } => {}
    }
    Ok(())
}

/// Keeps the record at this place apart; says how many wait no longer.
pub(super) fn set_aside(connection: &Connection, place: i64, why: &str) -> rusqlite::Result<u64> {
    let copy = "INSERT OR REPLACE INTO set_aside (call, why, body) SELECT call, ?2, body FROM waiting WHERE place = ?1";
    connection.prepare_cached(copy)?.execute(params![place, why])?;
    Ok(as_count(connection.prepare_cached("DELETE FROM waiting WHERE place = ?1")?.execute(params![place])?))
}

/// Keeps a finished record; returns its place, `None` where it waits already.
fn finish(transaction: &Transaction<'_>, record: &CallRecord) -> rusqlite::Result<Option<i64>> {
    let call = record.call_id.0.as_bytes();
    transaction.prepare_cached("DELETE FROM open_calls WHERE call = ?1")?.execute(params![call])?;
    let counted: Vec<String> =
        record.attempts.iter().filter(|attempt| attempt.counted).map(|attempt| attempt.link_id.to_string()).collect();
    let insert =
        "INSERT INTO waiting (call, node, uniqueid, counted, body) VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
    let new = transaction.prepare_cached(insert)?.execute(params![
        call,
        record.node,
        record.uniqueid,
        counted.join(","),
        as_json(record)?
    ])?;
    Ok((new > 0).then(|| transaction.last_insert_rowid()))
}

fn as_count(rows: usize) -> u64 {
    u64::try_from(rows).unwrap_or(u64::MAX)
}

fn as_json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

/// What an earlier run left, and from here on this boot's identity.
pub(super) fn read_left(connection: &Connection) -> Result<Left, StoreError> {
    let about = |key: &str| {
        let mut statement = connection.prepare("SELECT value FROM about WHERE key = ?1")?;
        statement.query_row(params![key], |row| row.get::<_, String>(0)).optional()
    };
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let same_boot = !boot.is_empty() && about("boot")?.as_deref() == Some(boot.as_str());
    let alive: Option<Alive> = about("alive")?.and_then(|text| serde_json::from_str(&text).ok());
    connection.execute("INSERT OR REPLACE INTO about (key, value) VALUES ('boot', ?1)", params![boot])?;
    let mut statement = connection.prepare("SELECT body, trace FROM open_calls ORDER BY call")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, Option<String>>(1)?)))?;
    let mut calls = Vec::new();
    for row in rows {
        let (body, trace) = row?;
        match serde_json::from_str::<OpenCall>(&body) {
            Ok(mut call) => {
                call.record.trace = trace.and_then(|trace| serde_json::from_str(&trace).ok());
                calls.push(call);
            }
            Err(error) => {
                error!(%error, body, "an open call in the journal cannot be read by this version; it stays there")
            }
        }
    }
    Ok(Left { calls, alive, same_boot })
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use proptest::prelude::{Strategy, any, prop, prop_assert_eq, prop_oneof, proptest};
    use serde_json::json;

    use super::*;
    use crate::clock::Stamp;
    use crate::id::CallId;
    use crate::store::journal::layout::bring_up;

    fn call(n: u8) -> CallId {
        CallId(uuid::Uuid::from_u128(n.into()))
    }

    fn record(n: u8, talk_ms: u64) -> CallRecord {
        let moment = chrono::DateTime::UNIX_EPOCH;
        let record = json!({
            "call_id": call(n), "node": "pbx", "uniqueid": format!("1.{n}"), "linkedid": "", "dialled_raw": "", "caller_presentation": "allowed",
            "arrived_at": moment, "ended_at": moment, "ring_ms": 0, "talk_ms": talk_ms, "dialstatus": "ANSWER", "hung_up_by": "caller",
            "ending": "completed", "timeline": [], "attempts": [],
        });
        serde_json::from_value(record).expect("a record")
    }

    /// Any entry about one of three calls; no two notes say the same.
    fn entry() -> impl Strategy<Value = Entry> {
        prop_oneof![
            4 => (0_u8..3, any::<u16>(), any::<bool>(), any::<bool>()).prop_map(|(n, age, trace, may_wait)| {
                let noted = Stamp { since_boot: Duration::ZERO, wall: chrono::DateTime::UNIX_EPOCH };
                let age = Duration::from_millis(age.into());
                let call = OpenCall {
                    record: record(n, 0),
                    age,
                    heard: None,
                    answer_open: false,
                    end_open: false,
                    ended: false,
                    legs: Vec::new(),
                    noted,
                };
                let trace = trace.then(|| json!({ "age": age }).into());
                Entry::Open { call: Box::new(call), trace, kept: None, may_wait }
            }),
            1 => (0_u8..3, any::<u16>()).prop_map(|(n, talk)| Entry::Finished(Box::new(record(n, talk.into())))),
            1 => (0_u8..3).prop_map(|n| Entry::Forget(call(n))),
            1 => (1_i64..4).prop_map(|place| Entry::Written(vec![place])),
            1 => (1_i64..4).prop_map(|place| Entry::SetAside(place, "why".to_owned())),
        ]
    }

    /// Everything in the tables after these entries, how many records wait, and where they came to be.
    fn carried_out<'a>(entries: impl Iterator<Item = &'a Entry>) -> (Vec<String>, u64, Vec<Option<i64>>) {
        let mut connection = Connection::open_in_memory().expect("a database");
        bring_up(&mut connection, Path::new("in memory")).expect("tables");
        let transaction = connection.transaction().expect("a transaction");
        let mut changed = Changed { waiting: 0, places: Vec::new() };
        entries.for_each(|entry| carry_out(&transaction, entry, &mut changed).expect("it is carried out"));
        let all = "SELECT concat_ws(' ', 'open', hex(call), body, trace) FROM open_calls
            UNION ALL SELECT concat_ws(' ', 'waiting', place, hex(call), body) FROM waiting
            UNION ALL SELECT concat_ws(' ', 'aside', hex(call), body) FROM set_aside ORDER BY 1";
        let mut statement = transaction.prepare(all).expect("a statement");
        let rows = statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("a row")).collect();
        let waiting: i64 =
            transaction.query_row("SELECT count(*) FROM waiting", [], |row| row.get(0)).expect("a number");
        let waiting = u64::try_from(waiting).expect("a number");
        assert_eq!(changed.waiting, waiting, "what is counted is what is there");
        (rows, waiting, changed.places)
    }

    proptest! {
        #[test]
        fn what_is_left_out_of_a_batch_changes_nothing(batch in prop::collection::vec(entry(), 0..24)) {
            prop_assert_eq!(carried_out(up_to_date(&batch)), carried_out(batch.iter()));
        }
    }
}
