//! What an operator does with journals: looks at them, sets one aside that this version cannot use, and reads back what was set aside.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, OpenFlags, params};

use super::layout::{bring_up, known};
use super::{BUSY, FILE, Held, broken};
use crate::cdr::open::OpenCall;
use crate::cdr::record::CallRecord;
use crate::store::connect::create_file;
use crate::store::{Db, StoreError, records};

/// How the name begins that a journal gets when it is set aside.
const ASIDE: &str = "journal-aside-";

/// A record that the database will not take, or that this version cannot read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetAside {
    /// The call, as hexadecimal digits.
    pub call: String,
    /// Why.
    pub why: String,
}

/// A journal that was set aside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Aside {
    /// Where it is now.
    pub path: PathBuf,
    /// Calls under way that the new journal holds, with their permits.
    pub carried: usize,
    /// Calls under way that this version cannot read: their permits are held again once their nodes have listed their channels.
    pub unread: usize,
}

/// What became of the records in a journal that were to be read back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restored {
    /// In the database now; they are gone from the file.
    pub written: usize,
    /// Calls that had not ended: the next `serve` closes their records.
    pub open: usize,
    /// Those that stay in the file, and why.
    pub kept: Vec<SetAside>,
}

/// Every journal in `folder` by its path: the one in use first, then those that were set aside, the oldest first.
///
/// # Errors
/// When the folder cannot be read.
pub fn files(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let failed = |source| StoreError::File { action: "read the folder", path: folder.to_owned(), source };
    let mut asides = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if is_aside(name) {
            asides.push(path);
        }
    }
    asides.sort();
    Ok(std::iter::once(folder.join(FILE)).filter(|path| path.exists()).chain(asides).collect())
}

/// Whether a file of this name is a journal that was set aside.
#[must_use]
pub fn is_aside(name: &str) -> bool {
    name.starts_with(ASIDE) && name.ends_with(".db")
}

/// What is set aside in one journal's table, the first so many.
///
/// # Errors
/// When it cannot be read.
pub fn set_aside(path: &Path, at_most: usize) -> Result<Vec<SetAside>, StoreError> {
    let connection = read_only(path)?;
    known(&connection, path)?;
    let mut statement = connection.prepare("SELECT hex(call), why FROM set_aside ORDER BY call LIMIT ?1")?;
    let limit = i64::try_from(at_most).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![limit], |row| Ok(SetAside { call: row.get(0)?, why: row.get(1)? }))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// Moves the journal in `folder` aside and makes a new one, into which the calls under way go that this version can read. No `serve` may
/// run: who asks for this holds the folder's lock.
///
/// # Errors
/// When the file cannot be moved, or no new one made. Where nothing is there to be set aside.
pub fn set_file_aside(folder: &Path, now: DateTime<Utc>) -> Result<Aside, StoreError> {
    let path = folder.join(FILE);
    let (mut carried, mut unread) = (Vec::new(), 0);
    // A file that cannot even be opened goes as it is.
    if let Ok(connection) = Connection::open(&path) {
        (carried, unread) = open_calls(&connection).unwrap_or_default();
        // Folded into the file, which is moved alone; where that fails, what lies beside it goes with it.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    }
    let stamp = now.format("%Y%m%dT%H%M%S");
    let name =
        |n: usize| folder.join(if n == 0 { format!("{ASIDE}{stamp}.db") } else { format!("{ASIDE}{stamp}-{n}.db") });
    let aside = (0..).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    std::fs::rename(&path, &aside).map_err(|source| StoreError::File { action: "move", path: path.clone(), source })?;
    for side in ["-wal", "-shm"] {
        let of = |path: &Path| PathBuf::from(format!("{}{side}", path.display()));
        if of(&path).exists() {
            let failed = |source| StoreError::File { action: "move", path: of(&path), source };
            std::fs::rename(of(&path), of(&aside)).map_err(failed)?;
        }
    }
    create_file(&path, 0o600)?;
    let mut connection = Connection::open(&path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    bring_up(&mut connection, &path)?;
    for (call, body, trace) in &carried {
        keep_open(&connection, call, body, trace.as_deref())?;
    }
    Ok(Aside { path: aside, carried: carried.len(), unread })
}

/// Writes the records in `file` that wait or were set aside into the database, each by itself. Calls in it that had not ended, and that have
/// no record, go into the journal of `folder`, unless that is the file itself. No `serve` may run.
///
/// # Errors
/// When the file cannot be read or is a newer version's, or the database is away; what was written until then stays so, and repeating is
/// safe.
pub async fn restore(db: &Db, folder: &Path, file: &Path) -> Result<Restored, StoreError> {
    let mut restored = Restored::default();
    let connection = open(file)?;
    for (table, call, body) in bodies(&connection)? {
        let written = match serde_json::from_str::<CallRecord>(&body) {
            Ok(record) => match records::write(db, &[record]).await {
                Ok(_) => Ok(()),
                Err(error) if error.is_refusal() => Err(error.to_string()),
                Err(error) => return Err(error),
            },
            Err(error) => Err(format!("this version cannot read it: {error}")),
        };
        match written {
            Ok(()) => {
                connection.execute(&format!("DELETE FROM {table} WHERE call = ?1"), params![call])?;
                restored.written += 1;
            }
            Err(why) => restored.kept.push(SetAside { call: hex(&call), why }),
        }
    }
    let own = folder.join(FILE);
    if file.canonicalize().ok() != own.canonicalize().ok() {
        let journal = open(&own)?;
        for (call, body, trace) in open_calls(&connection)?.0 {
            let known = match serde_json::from_str::<OpenCall>(&body) {
                Ok(open) => records::by_call_id(db, open.record.call_id).await?.is_some(),
                Err(_) => continue,
            };
            if !known {
                keep_open(&journal, &call, &body, trace.as_deref())?;
                restored.open += 1;
            }
            connection.execute("DELETE FROM open_calls WHERE call = ?1", params![call])?;
        }
    }
    Ok(restored)
}

/// Opens a journal to change it, brought to the present layout.
pub(super) fn open(path: &Path) -> Result<Connection, StoreError> {
    if !path.exists() {
        let source = std::io::ErrorKind::NotFound.into();
        return Err(StoreError::File { action: "open the journal", path: path.to_owned(), source });
    }
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY)?;
    bring_up(&mut connection, path)?;
    Ok(connection)
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// Looks at a journal without changing it.
pub(super) fn look(path: &Path) -> Result<Held, StoreError> {
    let connection = read_only(path)?;
    let layout = known(&connection, path)?;
    let count = |table: &str| {
        let count: i64 = connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
        Ok::<_, StoreError>(u64::try_from(count).unwrap_or_default())
    };
    Ok(Held { layout, open: count("open_calls")?, waiting: count("waiting")?, set_aside: count("set_aside")? })
}

/// A call under way: its id, what is known of it, and its trace.
type Open = (Vec<u8>, String, Option<String>);

/// The calls under way that this version can read, and how many it cannot.
fn open_calls(connection: &Connection) -> Result<(Vec<Open>, usize), StoreError> {
    let mut statement = connection.prepare("SELECT call, body, trace FROM open_calls ORDER BY call")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let all: Vec<Open> = rows.collect::<Result<_, _>>()?;
    let total = all.len();
    let read: Vec<Open> =
        all.into_iter().filter(|(_, body, _)| serde_json::from_str::<OpenCall>(body).is_ok()).collect();
    let unread = total - read.len();
    Ok((read, unread))
}

fn keep_open(connection: &Connection, call: &[u8], body: &str, trace: Option<&str>) -> Result<(), StoreError> {
    let insert = "INSERT OR IGNORE INTO open_calls (call, body, trace) VALUES (?1, ?2, ?3)";
    connection.execute(insert, params![call, body, trace])?;
    Ok(())
}

/// A record: its table, its call, and what it says.
type Body = (&'static str, Vec<u8>, String);

/// Every record that waits or was set aside, with its table: oldest first.
fn bodies(connection: &Connection) -> Result<Vec<Body>, StoreError> {
    let mut found = Vec::new();
    for (table, order) in [("waiting", "place"), ("set_aside", "call")] {
        let mut statement = connection.prepare(&format!("SELECT call, body FROM {table} ORDER BY {order}"))?;
        let rows = statement.query_map([], |row| Ok((table, row.get(0)?, row.get(1)?)))?;
        found.extend(rows.collect::<Result<Vec<_>, _>>()?);
    }
    Ok(found)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}

/// Carries `work` out where blocking is allowed.
pub(super) async fn apart<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work).await.map_err(|died| broken(&died))?
}
