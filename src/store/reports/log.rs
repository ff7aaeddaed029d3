//! SQLite's write-ahead log. It begins anew only at a moment when nobody reads what is in it: reports that overlap for ever would let it grow
//! for ever. So, where it has grown too large, new reports wait until those under way have ended, and it is emptied.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::sleep;

use super::super::Db;
use super::super::connect::LOG_FOLDED_AT;

/// Bytes of the log above which it is emptied: many times what it has where it can begin anew.
pub(super) const AT_MOST: u64 = 4 * LOG_FOLDED_AT;
/// Who writes, or reads for a moment, may stand in the way of emptying it: it is tried so often, with so long a pause.
const TRIES: u32 = 50;
const PAUSE: Duration = Duration::from_millis(20);

/// How long somebody reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reading {
    /// For as long as a report may take.
    Long,
    /// For milliseconds, as a rule.
    Short,
}

/// The log of one database.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    options: SqliteConnectOptions,
    at_most: u64,
    /// Where it could not be emptied: how large it must have become before that is tried again. Else 0.
    again_at: AtomicU64,
    /// Shared by those who read, held alone by who empties it. Turns are taken in order: whoever comes later waits.
    reading: RwLock<()>,
}

impl Log {
    /// That of `core`, to be emptied above `at_most` bytes; PostgreSQL has none that is ours.
    pub(super) fn of(core: &Db, at_most: u64) -> Option<Self> {
        if core.is_postgres() {
            return None;
        }
        let options = core.connection.get_sqlite_connection_pool().connect_options();
        let mut path = options.get_filename().as_os_str().to_owned();
        path.push("-wal");
        // Whoever waits here would keep the writer waiting, too.
        let options = (*options).clone().busy_timeout(Duration::ZERO);
        Some(Self { path: path.into(), options, at_most, again_at: AtomicU64::new(0), reading: RwLock::new(()) })
    }

    /// Lets somebody read until the guard is dropped, once the log is not too large. Short ones pass before: lists are not to wait for
    /// reports; only where the log has become twice as large do they wait as well.
    pub(super) async fn enter(&self, reading: Reading) -> Option<RwLockReadGuard<'_, ()>> {
        let at_most = match reading {
            Reading::Long => self.at_most,
            Reading::Short => self.at_most.saturating_mul(2),
        };
        if !self.is_above(at_most).await {
            return match reading {
                Reading::Long => Some(self.reading.read().await),
                Reading::Short => None,
            };
        }
        let alone = self.reading.write().await;
        // Another may have seen to it meanwhile.
        if self.is_above(at_most).await {
            self.empty().await;
        }
        Some(RwLockWriteGuard::downgrade(alone))
    }

    async fn is_above(&self, at_most: u64) -> bool {
        let size = self.size().await;
        if size <= self.at_most {
            self.again_at.store(0, Ordering::Relaxed);
        }
        size > at_most.max(self.again_at.load(Ordering::Relaxed))
    }

    async fn size(&self) -> u64 {
        tokio::fs::metadata(&self.path).await.map_or(0, |file| file.len())
    }

    async fn empty(&self) {
        match self.try_to_empty().await {
            Ok(true) => return,
            Ok(false) => tracing::warn!("somebody reads the database for long: its write-ahead log cannot be emptied"),
            Err(error) => tracing::warn!(%error, "the database's write-ahead log cannot be emptied"),
        }
        self.again_at.store(self.size().await.saturating_add(self.at_most / 2), Ordering::Relaxed);
    }

    async fn try_to_empty(&self) -> Result<bool, sqlx::Error> {
        let mut connection = self.options.connect().await?;
        let mut emptied = false;
        for _ in 0..TRIES {
            // What the second has to do while nobody can write is only what was written since the first.
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)").await?;
            let row = connection.fetch_one("PRAGMA wal_checkpoint(TRUNCATE)").await?;
            emptied = row.try_get::<i64, _>(0)? == 0;
            if emptied {
                break;
            }
            sleep(PAUSE).await;
        }
        connection.close().await?;
        Ok(emptied)
    }
}

#[cfg(test)]
mod tests {
    use sqlx::SqliteConnection;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio::time::timeout;

    use super::super::Reports;
    use super::*;
    use crate::config::{self, Config, Limits};
    use crate::id::UserId;

    const PATIENCE: Duration = Duration::from_secs(30);
    const KIB: u64 = 1024;
    const BOUND: u64 = 1024 * KIB;
    /// What is written while a report begins, about.
    const STEP: u64 = 256 * KIB;
    const WRITE: &str = "INSERT INTO written VALUES (randomblob(262144))";

    /// Reads until it is told to end.
    struct Report {
        end: oneshot::Sender<()>,
        /// Until it has.
        begun: Option<oneshot::Receiver<()>>,
        task: JoinHandle<()>,
    }

    impl Report {
        fn begin(reports: &Reports) -> Self {
            use sea_orm::ConnectionTrait as _;
            let (reports, (end, ended), (began, begun)) = (reports.clone(), oneshot::channel(), oneshot::channel());
            let task = tokio::spawn(async move {
                let report = reports.report(UserId(1), move |lane| async move {
                    let transaction = lane.read().await?;
                    transaction.execute_unprepared("SELECT COUNT(*) FROM written").await?;
                    began.send(()).expect("it is waited for");
                    ended.await.expect("it is told");
                    Ok(transaction.commit().await?)
                });
                report.await.expect("read");
            });
            Self { end, begun: Some(begun), task }
        }

        async fn begun(&mut self) {
            if let Some(begun) = self.begun.take() {
                timeout(PATIENCE, begun).await.expect("it begins").expect("it begins");
            }
        }

        async fn end(self) {
            self.end.send(()).expect("it waits for it");
            timeout(PATIENCE, self.task).await.expect("it ends").expect("it ends");
        }
    }

    /// How large the log becomes while reports follow each other: each begins before the one before it has ended, or after.
    async fn largest(at_most: u64, overlapping: bool) -> u64 {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("main.db");
        let url = format!("sqlite://{}", path.display()).into();
        let db = Db::connect(&config::Database { url, max_connections: 4, wait: Duration::from_secs(60) })
            .await
            .expect("it opens");
        let hour = Duration::from_secs(3600);
        let limits = Limits {
            reports: 3,
            reports_per_user: 3,
            report: hour,
            ..Config::from_layers(None, []).expect("valid").limits
        };
        let reports = Reports::with_log(&db, limits, at_most);
        let log = Log::of(&db, at_most).expect("SQLite's");
        // One that folds often, so that it is for the readers alone that the log grows.
        let options = log.options.clone().busy_timeout(PATIENCE).pragma("wal_autocheckpoint", "16");
        let mut writer: SqliteConnection = options.connect().await.expect("it opens");
        writer.execute("CREATE TABLE written (bytes BLOB)").await.expect("made");
        let mut report = Report::begin(&reports);
        report.begun().await;
        let mut largest = 0;
        for _ in 0..20 {
            if !overlapping {
                report.end().await;
                writer.execute(WRITE).await.expect("written");
                largest = largest.max(log.size().await);
                report = Report::begin(&reports);
                report.begun().await;
                continue;
            }
            writer.execute(WRITE).await.expect("written, whoever reads");
            let size = log.size().await;
            largest = largest.max(size);
            let mut next = Report::begin(&reports);
            if size <= at_most {
                next.begun().await;
            }
            writer.execute(WRITE).await.expect("written, whoever waits to read");
            largest = largest.max(log.size().await);
            report.end().await;
            next.begun().await;
            report = next;
        }
        report.end().await;
        reports.close().await;
        largest
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn reports_that_overlap_for_ever_do_not_let_it_grow_for_ever() {
        let (bounded, unbounded) = (largest(BOUND, true).await, largest(u64::MAX, true).await);
        assert!(bounded <= BOUND + 4 * STEP, "{bounded} bytes");
        assert!(unbounded > BOUND + 16 * STEP, "without the bound: {unbounded} bytes");
        let apart = largest(u64::MAX, false).await;
        assert!(apart < BOUND, "reports one after the other: {apart} bytes");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn where_a_stranger_reads_on_reports_go_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let url = format!("sqlite://{}", folder.path().join("main.db").display()).into();
        let db = Db::connect(&config::Database { url, max_connections: 4, wait: Duration::from_secs(60) })
            .await
            .expect("it opens");
        let log = Log::of(&db, STEP).expect("SQLite's");
        let mut writer: SqliteConnection = log.options.connect().await.expect("it opens");
        let mut stranger: SqliteConnection = log.options.connect().await.expect("it opens");
        writer.execute("CREATE TABLE written (bytes BLOB)").await.expect("made");
        stranger.execute("BEGIN").await.expect("begun");
        stranger.execute("SELECT COUNT(*) FROM written").await.expect("read");
        for _ in 0..2 {
            writer.execute(WRITE).await.expect("written");
        }
        let first = log.enter(Reading::Long).await.expect("a long one");
        assert!(log.size().await > STEP, "it is as it was");
        // It is not tried again at once: nobody waits for the first.
        let second = timeout(PATIENCE, log.enter(Reading::Long)).await.expect("beside the first");
        assert!(log.enter(Reading::Short).await.is_none(), "short ones pass");
        drop((first, second));
        stranger.execute("ROLLBACK").await.expect("ended");
        for _ in 0..2 {
            writer.execute(WRITE).await.expect("written");
        }
        let _third = log.enter(Reading::Long).await;
        assert_eq!(log.size().await, 0, "it has grown, and is tried again");
    }
}
