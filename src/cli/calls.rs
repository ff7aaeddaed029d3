//! `capconduit calls` and `capconduit why`.

use anyhow::{Context, bail};

use super::view;
use crate::cdr::record::CallRecord;
use crate::store::{Db, records};

/// Calls that one beginning of an id may name before the rest is only counted.
const SHOWN: u64 = 10;

/// The latest calls, as a table or as JSON.
pub(super) async fn recent(db: &Db, limit: u64, json: bool) -> anyhow::Result<String> {
    let found = records::recent(db, limit).await?;
    if json { to_json(&found) } else { Ok(view::calls(&found)) }
}

/// The one call whose id begins with `id`.
pub(super) async fn why(db: &Db, id: &str, json: bool) -> anyhow::Result<String> {
    let (first, last) = view::id_range(id).with_context(|| {
        format!("CALL_ID = {id:?} is not allowed: use a call id or its beginning, as `capconduit calls` prints it")
    })?;
    let mut found = records::between(db, first, last, SHOWN).await?;
    match found.len() {
        0 => bail!(
            "no call's id begins with {id}: `capconduit calls` lists the recent ones (a call is there once it has ended)"
        ),
        1 => {
            let record = found.remove(0);
            if json { to_json(&record) } else { Ok(view::why(&record)) }
        }
        count => bail!("{id} begins the ids of {count}{} calls; give more of it:\n{}", more(count), whole_ids(&found)),
    }
}

fn more(count: usize) -> &'static str {
    if u64::try_from(count).is_ok_and(|count| count >= SHOWN) { " or more" } else { "" }
}

fn whole_ids(records: &[CallRecord]) -> String {
    records.iter().map(|record| format!("  {}\n", record.call_id)).collect()
}

fn to_json(value: &impl serde::Serialize) -> anyhow::Result<String> {
    serde_json::to_string_pretty(value).context("cannot write the records as JSON")
}
