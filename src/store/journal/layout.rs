//! Which layout the journal's tables have (SQLite's `user_version`), and how an older file is brought to the present one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use crate::store::StoreError;

/// One for each layout there was: `STEPS[n]` makes layout n + 1 of layout n. Layout 0 is a file without tables, and one of before layouts had
/// numbers, which has the tables of the first already. A later step must leave a default in each new column: a record of an older version
/// that waits must stay readable.
const STEPS: &[&str] = &["
    CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS open_calls (call BLOB PRIMARY KEY, body TEXT NOT NULL, trace TEXT) STRICT;
    CREATE TABLE IF NOT EXISTS waiting (place INTEGER PRIMARY KEY AUTOINCREMENT, call BLOB NOT NULL UNIQUE, node TEXT NOT NULL,
        uniqueid TEXT NOT NULL, counted TEXT NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE INDEX IF NOT EXISTS waiting_channel ON waiting (node, uniqueid);
    CREATE INDEX IF NOT EXISTS waiting_counted ON waiting (counted) WHERE counted <> '';
    CREATE TABLE IF NOT EXISTS set_aside (call BLOB PRIMARY KEY, why TEXT NOT NULL, body TEXT NOT NULL) STRICT;"];

/// The layout of this version.
pub const LAYOUT: usize = STEPS.len();

/// What to run where the file is a newer version's.
const SET_ASIDE: &str = "capconduit journal set-aside";

/// Brings the file to the present layout, all steps or none.
pub(super) fn bring_up(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    // Nobody else may be at it meanwhile: what is read is what is changed.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = known(&transaction, path)?;
    for step in STEPS.iter().skip(found) {
        transaction.execute_batch(step)?;
    }
    if found < LAYOUT {
        transaction.pragma_update(None, "user_version", i64::try_from(LAYOUT).unwrap_or(i64::MAX))?;
    }
    Ok(transaction.commit()?)
}

/// The file's layout.
///
/// # Errors
/// [`StoreError::Newer`] where this version does not know it.
pub(super) fn known(connection: &Connection, path: &Path) -> Result<usize, StoreError> {
    let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    StoreError::refuse_newer(path, found, LAYOUT, SET_ASIDE)
}
