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
use crate::helpers::{Home, limits, on_both};
use crate::patience::PATIENCE;

on_both!(
    a_user_has_its_places_all_have_theirs_and_nothing_else_waits,
    a_report_has_its_time_and_its_query_ends_with_it,
    the_query_of_an_abandoned_report_ends,
    a_list_waits_for_its_place_and_one_of_a_caller_needs_none,
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
