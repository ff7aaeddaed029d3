//! How quickly finished records are written: those that waited in the journal when the database comes back.

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

use crate::calls::contest::Contest;
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::site::{ANSWERED, FAILED_OVER};
use crate::calls::stats::Spread;
use crate::harness::postgres::Postgres;

const PATIENCE: Duration = Duration::from_secs(300);
/// Records that wait, for each second that is wanted of other rows.
const FOR_EACH_SECOND: usize = 10_000;

/// One backlog, written.
struct Replayed {
    attempts: usize,
    /// Bytes of JSON of one record on average.
    size: usize,
    /// How many records a second the journal took in, and the writer wrote.
    kept: f64,
    written: f64,
}

/// Has records wait in a journal for PostgreSQL, and for SQLite, and written once it is back. They are those of real calls, over and over
/// with new identities.
pub(crate) async fn written(contest: &mut Contest, wanted: Wanted) -> Section {
    let who = contest.contestants.iter().find(|who| who.is_ours()).expect("a controller").clone();
    contest.block(&who, ANSWERED, (100, 50.0), Duration::from_millis(300)).await;
    contest.block(&who, FAILED_OVER, (50, 50.0), Duration::from_millis(300)).await;
    let records = contest.sites[who.site].controller.records().await.into_iter();
    let patterns: Vec<CallRecord> =
        records.map(|it| serde_json::from_value(it).expect("as the controller prints it")).collect();
    let count = FOR_EACH_SECOND * wanted.seconds;
    let how = format!(
        "{count} finished records of real calls (answered, a third of them after a busy client) wait in the journal, then the database comes back: records written in a second, until none \
         waits. {} rounds in turns; the writer, the journal's keeper and the database share the cores.",
        wanted.rounds
    );
    let head = ["database", "records/s", "into the journal, records/s", "attempts", "bytes of JSON each"];
    let mut section = Section::new("Records", &how, &head);
    let databases = [("PostgreSQL", 10_000.0), ("SQLite", 20_000.0)];
    let mut all = [Vec::new(), Vec::new()];
    for _ in 0..wanted.rounds {
        for ((name, _), rounds) in databases.iter().zip(&mut all) {
            let folder = TempDir::new().expect("a folder");
            let server = (*name == "PostgreSQL").then(Postgres::start);
            rounds.push(replay(server.as_ref(), folder.path(), &patterns, count).await);
        }
    }
    for ((name, goal), rounds) in databases.iter().zip(&all) {
        let spread = |of: fn(&Replayed) -> f64| Spread::of(&rounds.iter().map(of).collect::<Vec<_>>());
        let (written, kept) = (spread(|one| one.written), spread(|one| one.kept));
        let [attempts, size] = [rounds[0].attempts, rounds[0].size].map(|count| count.to_string());
        section.line([(*name).to_owned(), written.told(0), kept.told(0), attempts, size]);
        section.verdict(&format!("{name}: at least {goal} records/s"), written.told(0), written.median >= *goal);
    }
    section
}

async fn open(url: &str) -> Db {
    let config = config::Database { url: SecretString::from(url), max_connections: 4, wait: Duration::from_secs(5) };
    Db::connect(&config).await.expect("the database opens")
}

async fn replay(server: Option<&Postgres>, folder: &Path, patterns: &[CallRecord], count: usize) -> Replayed {
    let file = || format!("sqlite://{}", folder.join("main.db").display());
    let db = open(&server.map_or_else(file, Postgres::url)).await;
    let realtime = config::Realtime::Sqlite { path: folder.join("realtime.db") };
    store::migrate(&db, &realtime).await.expect("the steps run");
    // Stopped as a service is, with its connections; SQLite's file is just not written yet.
    server.inspect(|server| server.crash());
    let limits = config::Journal { max_records: u64::MAX, min_free_bytes: 1 };
    let opened = store::journal::open(folder.join("journal"), limits).await;
    let (journal, _left) = opened.expect("the journal opens");
    let begun = Instant::now();
    let (attempts, size) = fill(&journal, patterns, count).await;
    let kept = count as f64 / begun.elapsed().as_secs_f64();
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
    let written = count as f64 / begun.elapsed().as_secs_f64();
    ending.closing.cancel();
    writer.await.expect("the writer ends");
    assert_eq!(total(&db).await, count, "every record is there once");
    Replayed { attempts, size, kept, written }
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
