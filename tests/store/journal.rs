//! The journal: what a killed process left is there, records wait until the database has them, and nothing is taken that cannot be kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use capconduit::cdr::journal::{Alive, Journal, Left, Refusing, Standing};
use capconduit::cdr::open::{OpenCall, OpenLeg};
use capconduit::cdr::record::CallRecord;
use capconduit::cdr::writer;
use capconduit::clock::{Clock, Stamp};
use capconduit::config;
use capconduit::id::{CampaignId, ClientId, LinkId};
use capconduit::routing::snapshot::CountOn;
use capconduit::store::journal::{Held, inspect};
use capconduit::store::{self, records, snapshot};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::timeout;

use crate::helpers::{Home, on_both, sql};
use crate::patience::PATIENCE;
use crate::recording::{attempt, record};

on_both!(
    what_waits_is_written_once_and_what_is_refused_is_set_aside,
    a_kill_between_commit_and_deletion_counts_nothing_twice
);

const LIMITS: config::Journal = config::Journal { max_records: 1_000, min_free_bytes: 1 };

fn file(folder: &TempDir) -> PathBuf {
    folder.path().join("journal.db")
}

async fn open(path: &Path) -> (Journal, Left) {
    store::journal::open(path.to_owned(), LIMITS).await.expect("the journal opens")
}

/// Waits until it stands so. Nobody is told of each record that waits: it is looked at whenever the keeper has done what it was given.
async fn until(journal: &Journal, mut wanted: impl FnMut(&Standing) -> bool) {
    let standing = journal.standing();
    let looking = async {
        while !wanted(&standing.borrow()) {
            journal.settled().await;
        }
    };
    timeout(PATIENCE, looking).await.expect("in time");
}

fn under_way(n: i64) -> OpenCall {
    OpenCall {
        record: record(n, vec![attempt(1, 7, false)]),
        age: Duration::from_millis(1_500),
        heard: Some(Duration::from_millis(1_400)),
        answer_open: true,
        end_open: false,
        ended: false,
        legs: vec![OpenLeg {
            n: 1,
            campaign: CampaignId(1),
            link: LinkId(7),
            client: ClientId(1),
            count_on: CountOn::Answered,
        }],
        noted: Clock::start().stamp(),
    }
}

fn at(seconds: u64) -> Stamp {
    Stamp { since_boot: Duration::from_secs(seconds), wall: crate::recording::moment(0) }
}

#[tokio::test]
async fn what_a_killed_process_had_committed_is_found_again() {
    let folder = TempDir::new().expect("a folder");
    let (journal, left) = open(&file(&folder)).await;
    assert!(left.calls.is_empty() && left.alive.is_none());
    let alive = Alive { at: at(5), heard: [("pbx".to_owned(), at(3))].into(), begun: Some(at(1)), ended: false };
    journal.alive(alive.clone());
    journal.note(under_way(1), false);
    // Later notes come without the trace.
    let mut later = under_way(1);
    later.record.trace = None;
    later.record.timeline = json!([{"at_ms": 9, "event": "answered(1)"}]).into();
    journal.note(later.clone(), true);
    journal.note(under_way(2), false);
    journal.finish(record(2, Vec::new()));
    journal.note(under_way(3), false);
    journal.forget(under_way(3).record.call_id);
    journal.settled().await;
    journal.commit(under_way(4)).await.expect("it is kept");

    // Copied while it is open, as a killed process leaves it; the last page of the log torn.
    let copy = folder.path().join("copy.db");
    std::fs::copy(file(&folder), &copy).expect("a copy");
    let log = std::fs::read(folder.path().join("journal.db-wal")).expect("the log");
    let mut torn = log.clone();
    torn.extend_from_slice(&log[log.len() - 3_000..]);
    std::fs::write(folder.path().join("copy.db-wal"), torn).expect("a copy of the log");
    let (copied, left) = open(&copy).await;
    let mut expected = later;
    expected.record.trace = under_way(1).record.trace;
    assert_eq!(left.calls, [expected, OpenCall { noted: left.calls[1].noted, ..under_way(4) }]);
    assert_eq!((alive.heard_of("pbx"), alive.heard_of("other")), (at(3), at(5)));
    assert_eq!(left.alive, Some(alive));
    assert!(left.same_boot);
    let waiting: Vec<CallRecord> = copied.oldest(0, 10).await.into_iter().map(|it| it.record).collect();
    assert_eq!(waiting, [record(2, Vec::new())]);

    // Torn within what was committed last: that is gone, what came before it is not.
    let copy = folder.path().join("other.db");
    std::fs::copy(file(&folder), &copy).expect("a copy");
    std::fs::write(folder.path().join("other.db-wal"), &log[..log.len() - 100]).expect("a copy of the log");
    let (_, left) = open(&copy).await;
    assert_eq!(left.calls.len(), 1, "{left:?}");
}

#[tokio::test]
async fn records_wait_in_order_once_and_are_found_by_their_channel() {
    let folder = TempDir::new().expect("a folder");
    let (journal, _) = open(&file(&folder)).await;
    for n in [1, 2, 1, 3] {
        journal.finish(record(n, vec![attempt(1, 7, true), attempt(2, 8, n == 2)]));
    }
    let waiting = journal.oldest(0, 2).await;
    assert_eq!(waiting.iter().map(|it| it.record.uniqueid.as_str()).collect::<Vec<_>>(), ["17.1", "17.2"]);
    let rest = journal.oldest(waiting[1].place, 10).await;
    assert_eq!(rest.len(), 1, "a record that is told twice waits once");
    let counted = journal.counted().await;
    assert_eq!((counted[&LinkId(7)], counted[&LinkId(8)]), (3, 1));
    assert_eq!(journal.find("pbx", "17.2").await, Some(record(2, Vec::new()).call_id));
    assert_eq!(journal.find("other", "17.2").await, None);
    journal.written(waiting.iter().map(|it| it.place).collect());
    assert_eq!(journal.find("pbx", "17.2").await, None);
    // The record of a call that is under way is certain to come, unless nobody was dialled for it.
    let undialled = OpenCall { record: record(5, Vec::new()), ..under_way(5) };
    for call in [under_way(4), undialled] {
        journal.note(call, false);
    }
    assert_eq!(journal.find("pbx", "17.4").await, Some(record(4, Vec::new()).call_id));
    assert_eq!((journal.find("other", "17.4").await, journal.find("pbx", "17.5").await), (None, None));
    until(&journal, |standing| standing.waiting == 1).await;
}

#[tokio::test]
async fn new_calls_are_refused_while_too_many_records_wait() {
    let folder = TempDir::new().expect("a folder");
    let (journal, _) = open(&file(&folder)).await;
    for n in 0..1_000 {
        journal.finish(record(n, Vec::new()));
    }
    until(&journal, |standing| standing.refusing == Some(Refusing::Full)).await;
    journal.finish(record(1_000, Vec::new()));
    until(&journal, |standing| standing.waiting == 1_001).await;
    let places = journal.oldest(0, 2).await.into_iter().map(|it| it.place).collect();
    journal.written(places);
    until(&journal, |standing| standing.refusing.is_none()).await;
}

#[tokio::test]
async fn new_calls_are_refused_while_the_disk_is_nearly_full() {
    let folder = TempDir::new().expect("a folder");
    let limits = config::Journal { min_free_bytes: u64::MAX, ..LIMITS };
    let (journal, _) = store::journal::open(file(&folder), limits).await.expect("the journal opens");
    journal.alive(at(5));
    until(&journal, |standing| standing.refusing == Some(Refusing::DiskLow)).await;
    journal.commit(under_way(1)).await.expect("calls under way are kept all the same");
}

#[tokio::test]
async fn what_cannot_be_kept_is_said_at_once_and_kept_when_that_is_possible_again() {
    let folder = TempDir::new().expect("a folder");
    let (journal, _) = open(&file(&folder)).await;
    journal.commit(under_way(1)).await.expect("it is kept");
    let thief = rusqlite::Connection::open(file(&folder)).expect("another connection");
    thief.execute_batch("BEGIN IMMEDIATE").expect("the write lock");
    journal.finish(record(1, Vec::new()));
    timeout(PATIENCE, journal.commit(under_way(2))).await.expect("in time").expect_err("it cannot be kept now");
    until(&journal, |standing| standing.refusing == Some(Refusing::Failing)).await;
    thief.execute_batch("COMMIT").expect("the lock is free");
    until(&journal, |standing| *standing == Standing { refusing: None, waiting: 1 }).await;
    let held = inspect(file(&folder)).await.expect("readable beside its keeper");
    assert_eq!(
        held,
        Some(Held { layout: 1, open: 1, waiting: 1, set_aside: 0 }),
        "the second call; the first one's record waits"
    );
    assert_eq!(inspect(folder.path().join("none.db")).await.expect("no error"), None);
    let other = folder.path().join("other.db");
    std::fs::write(&other, "not a database, but long enough to look like one".repeat(100)).expect("a file");
    assert!(inspect(other).await.expect_err("no journal").to_string().contains("journal"));
}

/// A database that refuses one record takes the others.
async fn what_waits_is_written_once_and_what_is_refused_is_set_aside(home: Home) {
    let db = home.migrated().await;
    let refuse = match home {
        Home::Sqlite(_) => {
            "CREATE TRIGGER poison BEFORE INSERT ON call_logs WHEN NEW.uniqueid = '17.2' BEGIN SELECT RAISE(ABORT, 'no'); END"
        }
        Home::Postgres(_) => "ALTER TABLE call_logs ADD CONSTRAINT poison CHECK (uniqueid <> '17.2')",
    };
    sql(&home, refuse).await.expect("a rule");
    let folder = TempDir::new().expect("a folder");
    let (journal, _) = open(&file(&folder)).await;
    for n in 1..=3 {
        journal.finish(record(n, Vec::new()));
    }
    let ending = writer::Ending::default();
    let writing = tokio::spawn(writer::run(db.clone(), journal.clone(), Clock::start(), ending.clone()));
    until(&journal, |standing| standing.waiting == 3).await;
    until(&journal, |standing| standing.waiting == 0).await;
    ending.closing.cancel();
    timeout(PATIENCE, writing).await.expect("in time").expect("the writer ends");
    let written = records::recent(&db, 10).await.expect("records");
    assert_eq!(written.iter().map(|it| it.uniqueid.as_str()).collect::<Vec<_>>(), ["17.3", "17.1"]);
    let journal = rusqlite::Connection::open(file(&folder)).expect("another connection");
    let kept: String = journal.query_row("SELECT body FROM set_aside", [], |row| row.get(0)).expect("one record");
    assert_eq!(serde_json::from_str::<CallRecord>(&kept).expect("a record"), record(2, Vec::new()));
}

/// Killed after the database had taken a batch, before the journal knew.
async fn a_kill_between_commit_and_deletion_counts_nothing_twice(home: Home) {
    let db = home.migrated().await;
    crate::recording::two_links(&home).await;
    let folder = TempDir::new().expect("a folder");
    let (journal, _) = open(&file(&folder)).await;
    let both: Vec<CallRecord> = (1..=2).map(|n| record(n, vec![attempt(1, 1, true)])).collect();
    both.iter().for_each(|it| journal.finish(it.clone()));
    records::write(&db, &both[..1]).await.expect("written");
    store::journal::settle(&db, &journal, 1).await.expect("settled");
    let stored = snapshot::totals(&db).await.expect("totals")[&LinkId(1)];
    let waiting = journal.counted().await[&LinkId(1)];
    assert_eq!((stored, waiting), (1, 1), "each counts in one place");
}
