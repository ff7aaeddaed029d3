//! Reports: places, an end for each, and that nothing else waits for them. What holds a report is a query that does not end.

use std::task::Poll;
use std::time::Duration;

use capconduit::config::Limits;
use capconduit::id::UserId;
use capconduit::store::calls::{self, By, Filter};
use capconduit::store::reports::{ReportError, Reports};
use capconduit::store::{Db, users};
use chrono_tz::Tz;

use crate::held::Held;
use crate::helpers::{Home, limits, on_both, sql};
use crate::patience::PATIENCE;

on_both!(
    a_user_has_its_places_all_have_theirs_and_nothing_else_waits,
    a_report_has_its_time_and_its_query_ends_with_it,
    the_query_of_an_abandoned_report_ends,
    a_list_waits_for_its_place_and_one_of_a_caller_needs_none,
    reports_take_no_list_away_from_anybody,
    lists_of_a_caller_that_do_not_end_hold_up_nothing_but_themselves,
);

const HOUR: Duration = Duration::from_secs(3600);
const ONE: UserId = UserId(1);
const OTHER: UserId = UserId(2);

/// What holds reports of this database.
async fn hold(home: &Home) -> Held {
    match home {
        Home::Sqlite(folder) => Held::sqlite(folder.path().join("deep/er/main.db")).await,
        Home::Postgres(postgres) => Held::postgres(postgres.url()).await,
    }
}

/// A report that reads `call_attempts`.
async fn by_client(reports: &Reports, user: UserId) -> Result<(), ReportError> {
    calls::summary(reports, user, &Filter::default(), By::Client, Tz::UTC).await.map(drop)
}

/// Begins one, which has its place when this returns.
async fn begin(reports: &Reports, user: UserId) -> tokio::task::JoinHandle<Result<(), ReportError>> {
    let reports = reports.clone();
    let mut report = Box::pin(async move { by_client(&reports, user).await });
    let begun = std::future::poll_fn(|context| Poll::Ready(report.as_mut().poll(context))).await;
    assert!(begun.is_pending(), "{begun:?}");
    tokio::spawn(report)
}

/// What log-in needs.
async fn core_answers(db: &Db) {
    let found = tokio::time::timeout(PATIENCE, users::credentials(db, "nobody")).await.expect("it is answered");
    assert!(found.expect("read").is_none());
}

async fn a_user_has_its_places_all_have_theirs_and_nothing_else_waits(home: Home) {
    let db = home.migrated().await;
    // More than all else has connections.
    let reports = Reports::of(&db, Limits { reports: 7, reports_per_user: 6, report: HOUR, ..limits() });
    let held = hold(&home).await;
    let mut under_way = Vec::new();
    for _ in 0..6 {
        under_way.push(begin(&reports, ONE).await);
    }
    assert!(matches!(by_client(&reports, ONE).await, Err(ReportError::OwnPlaces(6))));
    under_way.push(begin(&reports, OTHER).await);
    assert!(matches!(by_client(&reports, OTHER).await, Err(ReportError::AllPlaces)));
    core_answers(&db).await;
    for report in under_way {
        report.abort();
    }
    held.until_at_work(false).await;
    held.let_go().await;
    let again = async {
        while matches!(by_client(&reports, ONE).await, Err(ReportError::OwnPlaces(_) | ReportError::AllPlaces)) {}
    };
    tokio::time::timeout(PATIENCE, again).await.expect("places are free again");
    by_client(&reports, ONE).await.expect("summed up");
}

async fn a_report_has_its_time_and_its_query_ends_with_it(home: Home) {
    let db = home.migrated().await;
    let time = Duration::from_secs(1);
    let reports = Reports::of(&db, Limits { reports: 1, report: time, ..limits() });
    let held = hold(&home).await;
    for _ in 0..2 {
        // The second time too: the one place and connection are free again, and good.
        let ended = tokio::time::timeout(PATIENCE, by_client(&reports, ONE)).await.expect("it ends");
        assert!(matches!(ended, Err(ReportError::TooLong(limit)) if limit == time), "{ended:?}");
        held.until_at_work(false).await;
    }
    held.let_go().await;
    by_client(&reports, ONE).await.expect("summed up");
}

async fn the_query_of_an_abandoned_report_ends(home: Home) {
    let db = home.migrated().await;
    let reports = Reports::of(&db, Limits { reports: 1, report: HOUR, ..limits() });
    let held = hold(&home).await;
    let report = begin(&reports, ONE).await;
    held.until_at_work(true).await;
    report.abort();
    held.until_at_work(false).await;
    held.let_go().await;
    let again = async { while matches!(by_client(&reports, ONE).await, Err(ReportError::AllPlaces)) {} };
    tokio::time::timeout(PATIENCE, again).await.expect("its place is free again");
    by_client(&reports, ONE).await.expect("summed up");
}

async fn a_list_waits_for_its_place_and_one_of_a_caller_needs_none(home: Home) {
    let db = home.migrated().await;
    let reports = Reports::of(&db, Limits { reports_per_user: 1, report: HOUR, ..limits() });
    let held = hold(&home).await;
    let report = begin(&reports, ONE).await;
    held.until_at_work(true).await;
    let of_a_caller = Filter { caller: Some("+447700900123".into()), ..Filter::default() };
    let list = async |filter: &Filter| calls::page(&reports, ONE, filter, None, 51).await;
    assert!(list(&of_a_caller).await.expect("read").is_empty());
    assert!(matches!(list(&Filter::default()).await, Err(ReportError::OwnPlaces(1))));
    // On SQLite there is a call, whose attempts are held.
    if matches!(home, Home::Postgres(_)) {
        assert!(calls::page(&reports, OTHER, &Filter::default(), None, 51).await.expect("read").is_empty());
    }
    report.abort();
    held.until_at_work(false).await;
    held.let_go().await;
    let again = async { while matches!(list(&Filter::default()).await, Err(ReportError::OwnPlaces(1))) {} };
    tokio::time::timeout(PATIENCE, again).await.expect("its turn comes");
    list(&Filter::default()).await.expect("read");
}

/// On SQLite lists read what is held there, so they do not end; what matters is that they begin.
async fn reports_take_no_list_away_from_anybody(home: Home) {
    let db = home.migrated().await;
    let reports = Reports::of(&db, Limits { reports: 2, reports_per_user: 2, report: HOUR, ..limits() });
    let held = hold(&home).await;
    let under_way = [begin(&reports, ONE).await, begin(&reports, ONE).await];
    assert!(matches!(by_client(&reports, OTHER).await, Err(ReportError::AllPlaces)));
    let mut list = {
        let reports = reports.clone();
        tokio::spawn(async move { calls::page(&reports, OTHER, &Filter::default(), None, 51).await })
    };
    // Longer than a list waits for its place.
    let ended = tokio::time::timeout(Duration::from_secs(4), &mut list).await;
    match home {
        Home::Postgres(_) => assert!(ended.expect("read").expect("no panic").expect("it has a place").is_empty()),
        Home::Sqlite(_) => assert!(ended.is_err(), "it is read: {ended:?}"),
    }
    list.abort();
    for report in under_way {
        report.abort();
    }
    held.until_at_work(false).await;
    held.let_go().await;
}

/// A call of this caller, whose attempts are held.
async fn call_of(home: &Home, caller: &str) {
    let known = match home {
        Home::Sqlite(_) => format!("UPDATE call_logs SET caller_number = '{caller}'"),
        Home::Postgres(_) => format!(
            "INSERT INTO call_logs (call_id, node, uniqueid, linkedid, dialled_raw, caller_presentation, caller_number, arrived_at, ended_at,
                ring_ms, talk_ms, dialstatus, hung_up_by, ending, timeline)
             VALUES ('00000000-0000-8000-8000-000000000001', 'pbx', '1.1', '1.1', 'x', 'allowed', '{caller}', now(), now(), 0, 0,
                'NOANSWER', 'system', 'nobody_answered', '[]')"
        ),
    };
    sql(home, &known).await.expect("there is one");
}

async fn lists_of_a_caller_that_do_not_end_hold_up_nothing_but_themselves(home: Home) {
    let db = home.migrated().await;
    let time = Duration::from_secs(3);
    let reports = Reports::of(&db, Limits { report: time, ..limits() });
    let held = hold(&home).await;
    call_of(&home, "+447700900123").await;
    let of_a_caller = Filter { caller: Some("+447700900123".into()), ..Filter::default() };
    // More than all else has connections, which they had before they had their own.
    let lists: Vec<_> = (0..8)
        .map(|_| {
            let (reports, filter) = (reports.clone(), of_a_caller.clone());
            tokio::spawn(async move { calls::page(&reports, ONE, &filter, None, 51).await })
        })
        .collect();
    held.until_at_work(true).await;
    core_answers(&db).await;
    let mut ends = (0, 0);
    for list in lists {
        match tokio::time::timeout(PATIENCE, list).await.expect("it ends").expect("no panic") {
            Err(ReportError::TooLong(limit)) if limit == time => ends.0 += 1,
            Err(ReportError::Busy) => ends.1 += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(ends, (4, 4));
    held.until_at_work(false).await;
    held.let_go().await;
    assert_eq!(calls::page(&reports, ONE, &of_a_caller, None, 51).await.expect("read").len(), 1);
}
