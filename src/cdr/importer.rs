//! Makes records of the lines that the dialplan's fallback leaves: follows a node's spool, or reads one file.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::fallback::{self, Fault};
use super::journal::Journal;
use super::record::CallRecord;
use super::spool::{self, Look, Position, RawLine, Way};
use crate::calls::intake::Intake;
use crate::calls::registry::Registry;
use crate::clock::Clock;
use crate::routing::snapshot::Snapshot;
use crate::store::records::fallback as store;
use crate::store::{Db, StoreError};
use crate::telemetry::name;

/// How often the spool is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Within this the controller has read what lies in a socket: a call that it takes from there is found among its own.
const TAKEN_WITHIN: Duration = Duration::from_secs(5);
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(10);
/// What becomes of lines, as metrics name it: recorded, of a call that has a record, or not to be read.
pub const LINE_OUTCOMES: [&str; 3] = ["imported", "known", "unreadable"];

/// What lines turned out to be.
#[derive(Debug, Default)]
struct Batch {
    records: Vec<CallRecord>,
    /// By line number.
    faults: Vec<(u64, Fault)>,
    /// Some of these calls may yet be taken.
    unseen: bool,
}

impl Batch {
    fn read(lines: &[RawLine], intake: &Intake, snapshot: &Snapshot, now: DateTime<Utc>) -> Self {
        let mut batch = Self::default();
        for line in lines {
            let (torn, whole) = fallback::split(&line.bytes);
            if torn.is_some() || line.torn {
                batch.faults.push((line.number, Fault { field: "line", detail: "is cut short" }));
            }
            if line.torn {
                continue;
            }
            match fallback::read(whole, now) {
                Ok(line) if line.is_probe() => {}
                Ok(line) => {
                    batch.unseen |= line.may_be_recorded();
                    batch.records.push(fallback::record(&line, intake, snapshot));
                }
                Err(fault) => batch.faults.push((line.number, fault)),
            }
        }
        batch
    }
}

/// What became of one file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines in it.
    pub lines: u64,
    /// Calls that have their record now.
    pub new: u64,
    /// Calls that had one.
    pub known: u64,
    /// Number and fault of each line that cannot be read.
    pub unreadable: Vec<(u64, Fault)>,
}

/// Why a file could not be imported; what is imported until then stays so.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The file.
    #[error("it cannot be read: {0}")]
    File(#[from] std::io::Error),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Imports a whole file at `now`, of a node whose spool this process cannot follow. Repeating is safe.
///
/// # Errors
/// When the file cannot be read, or the database refuses.
pub async fn import_file(
    db: &Db,
    intake: &Intake,
    snapshot: &Snapshot,
    path: &Path,
    now: DateTime<Utc>,
) -> Result<Tally, ImportError> {
    let (mut tally, mut position) = (Tally::default(), spool::beginning(path)?);
    while let Some((lines, next)) = spool::lines(path, position, true)? {
        let batch = Batch::read(&lines, intake, snapshot, now);
        let new = store::import(db, intake.node(), &batch.records, None).await?.len();
        tally.lines = next.lines;
        tally.new += count(new);
        tally.known += count(batch.records.len() - new);
        tally.unreadable.extend(batch.faults);
        position = next;
    }
    Ok(tally)
}

/// Follows the spool of one node.
#[derive(Debug)]
pub struct Follower {
    /// Where records go.
    pub db: Db,
    /// Which calls have a record to come, and how numbers belong to sellers now.
    pub registry: Arc<Registry>,
    /// Which records wait for the database.
    pub journal: Journal,
    /// How the node's calls are read.
    pub intake: Intake,
    /// The node's place in the configuration.
    pub index: usize,
    /// The file that its dialplan writes.
    pub path: PathBuf,
    /// What it is now: a line of the future is none.
    pub clock: Clock,
}

impl Follower {
    /// Imports what there is and what comes, until `shutdown`. Dropping it at any moment is safe: what is read is kept with the records.
    pub async fn run(self, shutdown: CancellationToken) {
        let _ = shutdown.run_until_cancelled(self.follow()).await;
    }

    async fn follow(&self) {
        let mut position = self.retried(None, || store::position(&self.db, self.intake.node())).await;
        let (mut quiet, mut unreadable, mut told) = (false, false, 0);
        loop {
            let path = self.path.clone();
            let looked = match spawn_blocking(move || spool::look(&path, position, quiet)).await {
                Ok(looked) => looked,
                Err(panicked) => Err(std::io::Error::other(panicked)),
            };
            if looked.is_ok() && std::mem::take(&mut unreadable) {
                info!(node = self.intake.node(), path = %self.path.display(), "the fallback's spool can be read again");
            }
            quiet = matches!(looked, Ok(Look::Nothing));
            match looked {
                Ok(Look::Nothing) => sleep(LOOK_EVERY).await,
                Ok(Look::Goes(next, way)) => {
                    self.tell_way(&way);
                    self.keep(next).await;
                    (position, told) = (Some(next), 0);
                }
                Ok(Look::Lines(lines, next)) => {
                    self.import(&lines, next, &mut told).await;
                    position = Some(next);
                }
                Err(error) => {
                    if !std::mem::replace(&mut unreadable, true) {
                        let path = self.path.display();
                        warn!(node = self.intake.node(), %path, %error, "the fallback's spool cannot be read; its calls wait there");
                    }
                    sleep(LOOK_EVERY).await;
                }
            }
        }
    }

    fn tell_way(&self, way: &Way) {
        let (node, path) = (self.intake.node(), self.path.display());
        match way {
            Way::Begins => info!(node, %path, "reading the fallback's spool"),
            Way::Rotated => {
                info!(node, %path, "the fallback's spool was rotated and is read to its end; reading the next one")
            }
            Way::Truncated => warn!(node, %path, "the fallback's spool was cut short; reading it from its beginning"),
            Way::Missed => warn!(
                node,
                %path,
                "the fallback's spool that was read last is gone from its folder; if it had more, give it to `capconduit import-fallback`"
            ),
        }
    }

    async fn import(&self, lines: &[RawLine], next: Position, told: &mut u64) {
        let node = self.intake.node();
        let now = self.clock.now().wall;
        let mut batch = Batch::read(lines, &self.intake, self.registry.snapshot().as_ref(), now);
        let read = batch.records.len();
        if batch.unseen {
            sleep(TAKEN_WITHIN).await;
        }
        batch.records = self.without_ours(batch.records).await;
        for (line, fault) in batch.faults.iter().filter(|(line, _)| *line > *told) {
            warn!(node, path = %self.path.display(), line, error = %fault, "a line of the fallback's spool cannot be read; it stays there");
        }
        *told = next.lines;
        let import = || store::import(&self.db, node, &batch.records, Some(next));
        let endings = self.retried(Some(read), import).await;
        let new = endings.len();
        for ending in endings {
            metrics::counter!(name::CALLS, "ending" => ending).increment(1);
        }
        for (outcome, lines) in LINE_OUTCOMES.into_iter().zip([new, read - new, batch.faults.len()]) {
            let labels = [("node", node.to_owned()), ("outcome", outcome.to_owned())];
            metrics::counter!(name::FALLBACK_LINES, &labels).increment(count(lines));
        }
        if new > 0 {
            info!(node, count = new, "calls that this controller did not take recorded");
        }
    }

    /// Without calls that this process took and whose records the database does not have yet. Asked in this order: the call that ends in
    /// between is found in the journal, the record that is written in between in the database.
    async fn without_ours(&self, records: Vec<CallRecord>) -> Vec<CallRecord> {
        let mut others = Vec::with_capacity(records.len());
        for call in records {
            let live = self.registry.to_be_recorded(self.index, &call.uniqueid).is_some();
            if !live && self.journal.find(self.intake.node(), &call.uniqueid).await.is_none() {
                others.push(call);
            }
        }
        others
    }

    async fn keep(&self, position: Position) {
        self.retried(None, || store::import(&self.db, self.intake.node(), &[], Some(position))).await;
    }

    /// Asks the database until it answers; tells once per outage that it does not.
    async fn retried<T, F>(&self, calls: Option<usize>, ask: impl Fn() -> F) -> T
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let (node, mut wait, mut tries) = (self.intake.node(), RETRY_FIRST, 0_u32);
        loop {
            match ask().await {
                Ok(answer) => {
                    if tries > 0 {
                        info!(node, count = calls, tries, "calls of the fallback can be recorded again");
                    }
                    return answer;
                }
                Err(error) if tries == 0 => {
                    warn!(node, count = calls, %error, "calls of the fallback cannot be recorded; trying again");
                }
                Err(_) => {}
            }
            tries = tries.saturating_add(1);
            sleep(wait).await;
            wait = (wait * 2).min(RETRY_MAX);
        }
    }
}

/// Says at once, with zeros, which lines will be counted.
pub fn begin_at_zero(node: &str) {
    for outcome in LINE_OUTCOMES {
        let labels = [("node", node.to_owned()), ("outcome", outcome.to_owned())];
        metrics::counter!(name::FALLBACK_LINES, &labels).increment(0);
    }
}

fn count(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
