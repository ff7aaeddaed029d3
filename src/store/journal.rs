//! Keeps the journal's file: SQLite, on a thread of its own, many entries in one commit.
//!
//! Write-ahead log without a sync at each commit: what is committed survives the death of the process at any instant; the death of the
//! machine can cost the last moments, never the file (SQLite, `PRAGMA synchronous`).

pub mod aside;
pub mod copied;
mod layout;
mod tables;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::{oneshot, watch};
use tracing::{error, info, warn};

pub use self::layout::LAYOUT;
use self::layout::bring_up;
use self::tables::{Changed, carry_out, read_left, set_aside, up_to_date};
use super::connect::create_file;
use super::{Db, StoreError, records};
use crate::cdr::journal::{Entry, Inbox, Journal, Left, Refusing, Standing, Waiting};
use crate::cdr::record::CallRecord;
use crate::config;
use crate::id::{CallId, LinkId};
use crate::panics;
use crate::telemetry::name;

/// Its name in `data.dir`.
pub const FILE: &str = "journal.db";

/// The call of a channel whose record waits, or will: one that is open and has attempts keeps its own, whatever else tells of it. The
/// text is looked through first, as reading it is what takes long.
const FIND: &str = "SELECT call FROM waiting WHERE node = ?1 AND uniqueid = ?2 UNION ALL
    SELECT call FROM open_calls WHERE instr(body, ?2) > 0 AND json_extract(body, '$.record.uniqueid') = ?2
        AND json_extract(body, '$.record.node') = ?1 AND json_array_length(body, '$.record.attempts') > 0 LIMIT 1";

/// Entries in one commit at most.
const BATCH: usize = 2_000;
/// Records that are kept in memory besides, so that the writer need not have them read: as many as it has under way when it keeps up.
const AT_HAND: usize = 2_000;
/// How long a journal that cannot be written is left alone before the next try.
const RETRY: Duration = Duration::from_millis(500);
/// How often the disk's free space is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long another process (a backup, say) may hold the file.
const BUSY: Duration = Duration::from_secs(1);

/// Opens the journal at `path`, made where there is none, and starts its keeper. Returns what an earlier run left in it.
///
/// # Errors
/// When the file cannot be made, opened or read.
pub async fn open(path: PathBuf, limits: config::Journal) -> Result<(Journal, Left), StoreError> {
    let opened = tokio::task::spawn_blocking(move || Keeper::open(&path, limits));
    let (mut keeper, left) = opened.await.map_err(|died| broken(&died))??;
    let (journal, entries, standing) = Journal::new();
    standing.send_replace(keeper.standing());
    // A thread, and not a task: it blocks on the disk, and on entries.
    std::thread::Builder::new()
        .name("journal".to_owned())
        .spawn(move || keeper.run(entries, &standing))
        .map_err(|error| broken(&error))?;
    Ok((journal, left))
}

/// What a journal holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The layout of its tables.
    pub layout: usize,
    /// Calls that have not ended.
    pub open: u64,
    /// Records that wait for the database.
    pub waiting: u64,
    /// Records that the database will never take.
    pub set_aside: u64,
}

/// Looks at the journal at `path` without changing it, also while it is in use; `None` where there is none.
///
/// # Errors
/// When it cannot be read, or is no journal.
pub async fn inspect(path: PathBuf) -> Result<Option<Held>, StoreError> {
    aside::apart(move || if path.exists() { aside::look(&path).map(Some) } else { Ok(None) }).await
}

fn broken(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Journal(error.to_string())
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        broken(&error)
    }
}

/// Brings the records into the database that an earlier run may have been writing when it was killed, so that from here on every waiting
/// record is known not to be there.
///
/// # Errors
/// When the database cannot be written.
pub async fn settle(db: &Db, journal: &Journal, batch: usize) -> Result<(), StoreError> {
    let (places, found): (Vec<i64>, Vec<CallRecord>) =
        journal.oldest(0, batch).await.into_iter().map(|it| (it.place, it.record)).unzip();
    if let Err(error) = records::write(db, &found).await {
        if error.is_read_only() {
            // As below: the writer writes them when it can.
            warn!(%error, "records that wait cannot be written yet");
            return Ok(());
        }
        if !error.is_refusal() {
            return Err(error);
        }
        // The writer finds out which one it is. What of them is there already is counted twice in memory until the next start: not too few.
        warn!(%error, "the database refuses one of the records that wait");
        return Ok(());
    }
    journal.written(places);
    Ok(())
}

struct Keeper {
    connection: Connection,
    folder: PathBuf,
    limits: config::Journal,
    waiting: u64,
    /// Waiting records by their places, until they are asked for; never more than [`AT_HAND`].
    at_hand: HashMap<i64, CallRecord>,
    failing: bool,
    disk_low: bool,
}

impl Keeper {
    fn open(path: &Path, limits: config::Journal) -> Result<(Self, Left), StoreError> {
        create_file(path, 0o600)?;
        let mut connection = Connection::open(path)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        bring_up(&mut connection, path)?;
        let left = read_left(&connection)?;
        let waiting: i64 = connection.query_row("SELECT count(*) FROM waiting", [], |row| row.get(0))?;
        let waiting = u64::try_from(waiting).unwrap_or_default();
        if waiting > 0 || !left.calls.is_empty() {
            info!(waiting, open = left.calls.len(), "the journal holds what an earlier run left");
        }
        let folder = path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
        let keeper =
            Self { connection, folder, limits, waiting, at_hand: HashMap::new(), failing: false, disk_low: false };
        Ok((keeper, left))
    }

    fn standing(&self) -> Standing {
        let refusing = if self.failing {
            Some(Refusing::Failing)
        } else if self.disk_low {
            Some(Refusing::DiskLow)
        } else {
            (self.waiting >= self.limits.max_records).then_some(Refusing::Full)
        };
        Standing { refusing, waiting: self.waiting }
    }

    /// Works until every handle is gone.
    fn run(&mut self, mut entries: Inbox, standing: &watch::Sender<Standing>) {
        let mut batch = Vec::new();
        let mut looked = Duration::ZERO;
        while entries.gather(&mut batch, BATCH) {
            panics::trap(|| format!("the journal's keeper in {}", self.folder.display()));
            self.look_at_disk(&batch, &mut looked);
            self.keep(&mut batch, &mut entries, standing);
            self.tell(standing);
        }
    }

    /// Commits a batch, however often that must be tried; what comes meanwhile goes with it.
    fn keep(&mut self, batch: &mut Vec<Entry>, entries: &mut Inbox, standing: &watch::Sender<Standing>) {
        let places = loop {
            match self.commit(batch) {
                Ok(places) => break places,
                Err(error) => {
                    metrics::counter!(name::JOURNAL_FAILURES).increment(1);
                    if !std::mem::replace(&mut self.failing, true) {
                        error!(%error, "the journal cannot be written: no new calls are taken until it can; what it holds back is in memory");
                    }
                    self.tell(standing);
                    // Nobody waits for what may take long: those calls go elsewhere.
                    for entry in batch.iter_mut() {
                        if let Entry::Open { kept, .. } = entry {
                            drop(kept.take());
                        }
                    }
                    pause();
                    batch.extend(std::iter::from_fn(|| entries.try_recv()));
                }
            }
        };
        if std::mem::take(&mut self.failing) {
            info!("the journal can be written again");
        }
        let mut places = places.into_iter();
        for entry in batch.drain(..) {
            match entry {
                Entry::Finished(record) => {
                    if let Some(place) = places.next().flatten().filter(|_| self.at_hand.len() < AT_HAND) {
                        self.at_hand.insert(place, *record);
                    }
                }
                entry => self.answer(entry),
            }
        }
    }

    /// Commits a batch; returns the places of its finished records, `None` for one that waits already.
    fn commit(&mut self, batch: &[Entry]) -> rusqlite::Result<Vec<Option<i64>>> {
        let asks = |entry: &Entry| matches!(entry, Entry::Oldest { .. } | Entry::Find { .. } | Entry::Counted { .. });
        if batch.iter().all(asks) {
            return Ok(Vec::new());
        }
        let mut changed = Changed { waiting: self.waiting, places: Vec::new() };
        let transaction = self.connection.transaction()?;
        for entry in up_to_date(batch) {
            carry_out(&transaction, entry, &mut changed)?;
        }
        transaction.commit()?;
        self.waiting = changed.waiting;
        Ok(changed.places)
    }

    /// Answers what was asked, after everything before it is committed.
    fn answer(&mut self, entry: Entry) {
        // Whoever asked may have gone meanwhile.
        match entry {
            Entry::Open { kept: Some(kept), .. } => drop(kept.send(())),
            Entry::Oldest { after, limit, reply } => reply_with(reply, self.oldest(after, limit)),
            Entry::Find { node, uniqueid, reply } => reply_with(reply, self.find(&node, &uniqueid)),
            Entry::Counted { reply } => reply_with(reply, self.counted()),
            _ => {}
        }
    }

    fn oldest(&mut self, after: i64, limit: usize) -> rusqlite::Result<Vec<Waiting>> {
        let mut places =
            self.connection.prepare_cached("SELECT place FROM waiting WHERE place > ?1 ORDER BY place LIMIT ?2")?;
        // Apart from their places: of a record at hand it is not even read.
        let mut body = self.connection.prepare_cached("SELECT body FROM waiting WHERE place = ?1")?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let (mut found, mut unreadable) = (Vec::new(), Vec::new());
        for place in places.query_map(params![after, limit], |row| row.get(0))? {
            let place: i64 = place?;
            let record = match self.at_hand.remove(&place) {
                Some(record) => Ok(record),
                None => body.query_row(params![place], |row| Ok(serde_json::from_str(row.get_ref(0)?.as_str()?)))?,
            };
            match record {
                Ok(record) => found.push(Waiting { place, record }),
                Err(error) => unreadable.push((place, error.to_string())),
            }
        }
        drop((places, body));
        for (place, why) in unreadable {
            error!(
                place,
                error = why,
                "a record in the journal cannot be read by this version: it is kept in its table set_aside"
            );
            self.waiting = self.waiting.saturating_sub(set_aside(&self.connection, place, &why)?);
        }
        Ok(found)
    }

    fn find(&self, node: &str, uniqueid: &str) -> rusqlite::Result<Option<CallId>> {
        let mut statement = self.connection.prepare_cached(FIND)?;
        let found: Option<Vec<u8>> = statement.query_row(params![node, uniqueid], |row| row.get(0)).optional()?;
        Ok(found.and_then(|bytes| uuid::Uuid::from_slice(&bytes).ok()).map(CallId))
    }

    fn counted(&self) -> rusqlite::Result<HashMap<LinkId, u64>> {
        let mut statement = self.connection.prepare_cached("SELECT counted FROM waiting WHERE counted <> ''")?;
        let mut counted = HashMap::new();
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        for row in rows {
            for link in row?.split(',').filter_map(|link| link.parse().ok()) {
                *counted.entry(LinkId(link)).or_default() += 1;
            }
        }
        Ok(counted)
    }

    /// The controller's sign of life comes each second: as good a time as any to look at the disk.
    fn look_at_disk(&mut self, batch: &[Entry], looked: &mut Duration) {
        let alive = |entry: &Entry| if let Entry::Alive(alive) = entry { Some(alive.at.since_boot) } else { None };
        let Some(now) = batch.iter().find_map(alive).filter(|now| *now >= *looked + LOOK_EVERY) else { return };
        *looked = now;
        let Ok(disk) = rustix::fs::statvfs(&self.folder) else { return };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        metrics::gauge!(name::JOURNAL_FREE_BYTES).set(as_gauge(free));
        metrics::gauge!(name::JOURNAL_MIN_FREE_BYTES).set(as_gauge(self.limits.min_free_bytes));
        // Where it cannot be read, whoever writes next says what is wrong.
        if let Ok(count) = self.connection.query_row("SELECT count(*) FROM set_aside", [], |row| row.get::<_, u32>(0)) {
            metrics::gauge!(name::RECORDS_SET_ASIDE_NOW).set(f64::from(count));
        }
        let low = free < self.limits.min_free_bytes;
        if low != std::mem::replace(&mut self.disk_low, low) {
            if low {
                error!(free_mb = free >> 20, "the journal's disk is nearly full: no new calls are taken");
            } else {
                info!(free_mb = free >> 20, "the journal's disk has space again");
            }
        }
    }

    fn tell(&self, standing: &watch::Sender<Standing>) {
        let now = self.standing();
        metrics::gauge!(name::RECORDS_WAITING).set(as_gauge(now.waiting));
        standing.send_if_modified(|told| {
            if *told == now {
                return false;
            }
            if let Some(why) = now.refusing.filter(|why| told.refusing != Some(*why)) {
                warn!(why = why.as_str(), waiting = now.waiting, "no new calls are taken");
            }
            // How many wait is there to be read; nobody is woken for each record.
            let turns = told.refusing != now.refusing || (told.waiting == 0) != (now.waiting == 0);
            *told = now;
            turns
        });
    }
}

#[allow(clippy::disallowed_methods, reason = "the keeper has a thread of its own; no call waits for it")]
fn pause() {
    std::thread::sleep(RETRY);
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; 2^53 records do not fit onto a disk")]
fn as_gauge(count: u64) -> f64 {
    count as f64
}

fn reply_with<T: Default>(reply: oneshot::Sender<T>, found: rusqlite::Result<T>) {
    let found = found.unwrap_or_else(|error| {
        error!(%error, "the journal cannot be read");
        T::default()
    });
    drop(reply.send(found));
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::clock::Stamp;

    #[tokio::test]
    async fn a_keeper_that_dies_is_noticed_by_everyone_and_what_it_kept_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let limits = config::Config::from_layers(None, []).expect("the defaults are valid").journal;
        let (journal, _) = open(folder.path().join(FILE), limits).await.expect("a journal");
        let at = |seconds| Stamp { since_boot: Duration::from_secs(seconds), wall: chrono::DateTime::UNIX_EPOCH };
        journal.alive(at(7));
        journal.settled().await;
        for file in ["journal.db", "journal.db-wal", "journal.db-shm"] {
            let found = std::fs::metadata(folder.path().join(file)).expect(file);
            assert_eq!(found.permissions().mode() & 0o777, 0o600, "{file}");
        }
        panics::set_trap(&format!("the journal's keeper in {}", folder.path().display()), 1);
        journal.alive(at(8));
        let mut standing = journal.standing();
        while standing.changed().await.is_ok() {}
        // Nobody waits for the dead.
        journal.settled().await;
        assert!(journal.oldest(0, 1).await.is_empty());
        let (_, left) = open(folder.path().join(FILE), limits).await.expect("the journal again");
        assert_eq!(left.alive.map(|it| it.at.since_boot), Some(Duration::from_secs(7)));
    }
}
