//! How quickly records that waited in the journal are written once the database is there again.

use std::path::Path;
use std::time::Duration;

use capconduit::cdr::journal::Journal;
use capconduit::cdr::record::CallRecord;
use capconduit::cdr::writer::{self, Ending};
use capconduit::clock::Clock;
use capconduit::config;
use capconduit::id::CallId;
use capconduit::store::{self, Db, records};
use chrono::TimeDelta;
use secrecy::SecretString;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use super::dice::Dice;
use super::load;
use super::run::come_to_rest;
use super::scene::{Realtime, Scene};
use crate::harness::postgres::Postgres;

/// Calls come for so many seconds: their records are the patterns.
const SECONDS: u32 = 10;
/// What is asked of the writer.
const PER_SECOND: f64 = 10_000.0;
const PATIENCE: Duration = Duration::from_secs(300);

/// One backlog, written.
#[derive(Debug)]
pub(crate) struct Replayed {
    database: &'static str,
    records: usize,
    attempts: usize,
    /// Bytes of JSON of one record on average.
    size: usize,
    /// How long the journal took them in.
    kept: Duration,
    /// From the database's return until none waited.
    written: Duration,
    /// How many the database has then.
    found: usize,
}

impl Replayed {
    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.records).unwrap_or(u32::MAX)) / self.written.as_secs_f64()
    }

    /// Whether each was written, and quickly enough.
    pub(crate) fn is_clean(&self) -> bool {
        self.found == self.records && self.per_second() >= PER_SECOND
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        format!(
            "{:<10} {} records ({} attempts, {} bytes of JSON each): kept in {:.1} s, written in {:.1} s, {:.0} a second; {} found",
            self.database,
            self.records,
            self.attempts,
            self.size,
            self.kept.as_secs_f64(),
            self.written.as_secs_f64(),
            self.per_second(),
            self.found
        )
    }
}

/// Has as many records wait in a journal for PostgreSQL, and for SQLite, and written once it is back. They are those of real calls,
/// over and over with new identities.
pub(crate) async fn backlog(count: usize) -> (Vec<Replayed>, Scene) {
    let stage = load::stage().await;
    let plan = load::plan(&stage, 1);
    let mut scene = stage.start(&plan, Realtime::File, "").await;
    let carriers = load::begin(&scene, SECONDS, &mut Dice::new(1));
    come_to_rest(&mut scene, carriers.iter()).await;
    scene.controller.process().kill();
    let url = scene.database.url();
    let db = open(&url).await;
    let patterns = records::recent(&db, 1_000).await.expect("the records can be read");
    db.close().await.expect("it closes");

    let folder = TempDir::new().expect("a folder");
    let postgres = replay("PostgreSQL", &url, Some(&scene.database), folder.path(), &patterns, count).await;
    let file = format!("sqlite://{}", folder.path().join("main.db").display());
    let sqlite = replay("SQLite", &file, None, folder.path(), &patterns, count).await;
    (vec![postgres, sqlite], scene)
}

async fn open(url: &str) -> Db {
    let config = config::Database { url: SecretString::from(url), max_connections: 4 };
    Db::connect(&config).await.expect("the database opens")
}

async fn replay(
    name: &'static str,
    url: &str,
    server: Option<&Postgres>,
    folder: &Path,
    patterns: &[CallRecord],
    count: usize,
) -> Replayed {
    let db = open(url).await;
    let realtime = config::Realtime::Sqlite { path: folder.join("realtime.db") };
    store::migrate(&db, &realtime).await.expect("the steps run");
    let before = total(&db).await;
    // Stopped as a service is, with its connections; SQLite's file is just not written yet.
    server.inspect(|server| server.crash());
    let limits = config::Journal { max_records: u64::MAX, min_free_bytes: 1 };
    let opened = store::journal::open(folder.join(format!("{name}.journal")), limits).await;
    let (journal, _left) = opened.expect("the journal opens");
    let begun = Instant::now();
    let (attempts, size) = fill(&journal, patterns, count).await;
    let kept = begun.elapsed();
    let ending = Ending::default();
    let writer = tokio::spawn(writer::run(db.clone(), journal.clone(), Clock::start(), ending.clone()));
    if let Some(server) = server {
        // It has found out that nobody is there.
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.start_again();
        while !server.is_up() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let begun = Instant::now();
    let mut standing = journal.standing();
    // Nothing of the answer is kept: it would hold the keeper up.
    let waited =
        timeout(PATIENCE, standing.wait_for(|standing| standing.waiting == 0)).await.is_ok_and(|told| told.is_ok());
    assert!(waited, "the backlog is not written within {PATIENCE:?}");
    let written = begun.elapsed();
    ending.closing.cancel();
    writer.await.expect("the writer ends");
    let found = total(&db).await - before;
    Replayed { database: name, records: count, attempts, size, kept, written, found }
}

/// Puts copies into the journal; how many attempts they have together, and how long one is in JSON.
async fn fill(journal: &Journal, patterns: &[CallRecord], count: usize) -> (usize, usize) {
    let (mut attempts, mut bytes) = (0, 0);
    for (n, pattern) in (0..count).zip(patterns.iter().cycle()) {
        let mut record = pattern.clone();
        record.uniqueid = format!("copy.{n}");
        record.arrived_at += TimeDelta::milliseconds(i64::try_from(n).expect("a small number"));
        record.call_id = CallId::derive(record.arrived_at, &record.node, &record.uniqueid);
        attempts += record.attempts.len();
        if n < patterns.len() {
            bytes += serde_json::to_vec(&record).expect("a record is JSON").len();
        }
        journal.finish(record);
        if n % 1_000 == 0 {
            // Not all in memory at once.
            journal.settled().await;
        }
    }
    journal.settled().await;
    (attempts, bytes / patterns.len().min(count))
}

async fn total(db: &Db) -> usize {
    let (first, last) = (CallId(uuid::Uuid::nil()), CallId(uuid::Uuid::max()));
    records::between(db, first, last, 10_000_000).await.expect("the records can be read").len()
}
