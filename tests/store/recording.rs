//! Call records: written once, counted once, read back the same.

use capconduit::cdr::record::{AttemptOutcome, AttemptRecord, CallRecord, DialStatus, HungUpBy, Presentation};
use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::store::{records, snapshot};
use chrono::{DateTime, Duration, Utc};
use serde_json::json;

use crate::helpers::{Home, on_both, sql};

on_both!(
    records_come_back_as_written,
    a_repeated_write_changes_and_counts_nothing,
    late_attempts_of_a_known_call_are_added_and_counted,
    large_batches_and_two_writers_count_exactly,
    newest_first_by_arrival,
    every_outcome_can_be_stored,
);

pub(crate) fn moment(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(1_795_000_000_000_000 + micros).expect("a time in range")
}

pub(crate) fn attempt(number: u32, link: i64, counted: bool) -> AttemptRecord {
    AttemptRecord {
        number,
        link_id: LinkId(link),
        client_id: ClientId(1),
        client_name: "North".into(),
        client_identifier: "north".into(),
        started_at: moment(10),
        ringing_at: Some(moment(20)),
        answered_at: counted.then(|| moment(30)),
        ended_at: moment(40),
        outcome: if counted { AttemptOutcome::Answered } else { AttemptOutcome::NoProgress },
        q850_cause: Some(16),
        sip_code: None,
        counted,
    }
}

pub(crate) fn record(n: i64, attempts: Vec<AttemptRecord>) -> CallRecord {
    CallRecord {
        call_id: CallId::derive(moment(n * 1000), "pbx", &n.to_string()),
        node: "pbx".into(),
        uniqueid: format!("17.{n}"),
        linkedid: format!("17.{n}"),
        sip_call_id: Some("a@b".into()),
        dialled_raw: "+442071234567".into(),
        dialled_number: Some("+442071234567".into()),
        caller_raw: None,
        caller_number: None,
        caller_name: Some("Zoë \"<x>\" 'y'; DROP TABLE call_logs".into()),
        caller_presentation: Presentation::Withheld,
        seller_id: Some(UserId(1)),
        seller_name: Some("Ann".into()),
        did_id: Some(DidId(1)),
        campaign_id: Some(CampaignId(1)),
        campaign_name: Some("Solar UK".into()),
        last_link_id: Some(LinkId(1)),
        answered_link_id: None,
        answered_client_id: None,
        answered_client_name: None,
        arrived_at: moment(n * 1000 + 1),
        ringing_at: Some(moment(n * 1000 + 500_000)),
        answered_at: None,
        ended_at: moment(n * 1000 + 1_000_000),
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        ring_ms: 500,
        talk_ms: 0,
        dialstatus: DialStatus::NoAnswer,
        q850_cause: Some(19),
        sip_code: Some(480),
        hung_up_by: HungUpBy::System,
        ending: "nobody_answered".into(),
        trace: Some(json!({"weights": [1, 2.5, null], "b": 1, "a": "x"}).into()),
        timeline: json!([{"at_ms": 0, "event": "arrived"}]).into(),
        legacy: None,
        attempts,
    }
}

/// Two links, so that counts have somewhere to go.
pub(crate) async fn two_links(home: &Home) {
    for statement in [
        "INSERT INTO users (id, username, name, role) VALUES (1, 'ann', 'Ann', 'seller')",
        "INSERT INTO clients (id, client_identifier, name, send_headers, sip) VALUES
            (1, 'north', 'N', CAST(0 AS BOOLEAN), '{}'), (2, 'south', 'S', CAST(0 AS BOOLEAN), '{}')",
        "INSERT INTO campaigns (id, seller_id, name, routing_strategy, dial_timeout_seconds) VALUES (1, 1, 'c', 'priority', 20)",
        "INSERT INTO campaign_client_settings (id, campaign_id, client_id) VALUES (1, 1, 1), (2, 1, 2)",
    ] {
        sql(home, statement).await.expect(statement);
    }
}

async fn records_come_back_as_written(home: Home) {
    let db = home.migrated().await;
    let mut written = record(1, vec![attempt(1, 1, false), attempt(2, 2, true)]);
    written.caller_raw = Some("a\u{0}b".into());
    (written.answered_at, written.talk_ms) = (Some(moment(600_000)), 401);
    (written.answered_after, written.answered_before) = (Some(moment(500_001)), Some(moment(700_002)));
    (written.ended_after, written.ended_before) = (Some(moment(800_003)), Some(moment(1_001_000)));
    written.timeline = json!([{"at_ms": 0, "event": "\u{0}", "\u{0}": []}]).into();
    assert_eq!(records::write(&db, std::slice::from_ref(&written)).await.expect("written"), 1);
    // PostgreSQL stores no NUL in text; a hostile caller must not thereby go unrecorded.
    written.caller_raw = Some("a\u{fffd}b".into());
    written.timeline = json!([{"at_ms": 0, "event": "\u{fffd}", "\u{fffd}": []}]).into();
    assert_eq!(records::by_call_id(&db, written.call_id).await.expect("read"), Some(written.clone()));
    assert_eq!(records::recent(&db, 10).await.expect("listed"), [written]);
    assert_eq!(records::by_call_id(&db, record(2, vec![]).call_id).await.expect("read"), None);
}

/// How many calls are stored.
async fn stored(home: &Home) -> usize {
    sql(home, "SELECT node FROM call_logs").await.expect("counted").len()
}

async fn a_repeated_write_changes_and_counts_nothing(home: Home) {
    let db = home.migrated().await;
    two_links(&home).await;
    let first = record(1, vec![attempt(1, 1, true), attempt(2, 2, false)]);
    let second = record(2, vec![attempt(1, 1, true)]);
    assert_eq!(records::write(&db, &[first.clone(), first.clone()]).await.expect("written"), 1);
    let mut altered = first.clone();
    altered.ending = "other".into();
    assert_eq!(records::write(&db, &[altered, second]).await.expect("written again"), 1);
    assert_eq!(stored(&home).await, 2);
    assert_eq!(records::by_call_id(&db, first.call_id).await.expect("read"), Some(first));
    let totals = snapshot::totals(&db).await.expect("read");
    assert_eq!((totals[&LinkId(1)], totals[&LinkId(2)]), (2, 0));
    assert_eq!(records::write(&db, &[]).await.expect("nothing to write"), 0);
}

async fn late_attempts_of_a_known_call_are_added_and_counted(home: Home) {
    let db = home.migrated().await;
    two_links(&home).await;
    let mut call = record(1, vec![attempt(1, 1, true)]);
    records::write(&db, std::slice::from_ref(&call)).await.expect("written");
    call.attempts.push(attempt(2, 2, true));
    assert_eq!(records::write(&db, std::slice::from_ref(&call)).await.expect("written"), 0);
    assert_eq!(records::by_call_id(&db, call.call_id).await.expect("read"), Some(call));
    let totals = snapshot::totals(&db).await.expect("read");
    assert_eq!((totals[&LinkId(1)], totals[&LinkId(2)]), (1, 1));
}

async fn large_batches_and_two_writers_count_exactly(home: Home) {
    let (one, two) = (home.migrated().await, home.connect().await);
    two_links(&home).await;
    // More rows than one statement can bind, half of them known to the other writer too.
    let batch = |from: i64| -> Vec<_> {
        (from..from + 2_500).map(|n| record(n, vec![attempt(1, 1, true), attempt(2, 2, n % 2 == 0)])).collect()
    };
    let (first, second) = (batch(0), batch(1_250));
    let (a, b) = tokio::join!(records::write(&one, &first), records::write(&two, &second));
    assert_eq!(a.expect("one") + b.expect("two"), 3_750);
    assert_eq!(stored(&home).await, 3_750);
    let totals = snapshot::totals(&two).await.expect("read");
    assert_eq!((totals[&LinkId(1)], totals[&LinkId(2)]), (3_750, 1_875));
}

async fn newest_first_by_arrival(home: Home) {
    let db = home.migrated().await;
    let mut all: Vec<_> = (0..6).map(|n| record(n, vec![])).collect();
    // Whole seconds, milliseconds and microseconds must sort as times, though SQLite keeps them as text.
    for (record, micros) in all.iter_mut().zip([0, 1, 1_000, 500_000, 500_001, 1_000_000]) {
        record.arrived_at = moment(0) + Duration::microseconds(micros);
    }
    let written: Vec<_> = [3, 0, 5, 1, 4, 2].iter().map(|n| all[*n].clone()).collect();
    records::write(&db, &written).await.expect("written");
    all.reverse();
    assert_eq!(records::recent(&db, 4).await.expect("listed"), all[..4]);
}

/// The database checks the words, too: it must know those that the code knows.
async fn every_outcome_can_be_stored(home: Home) {
    let db = home.migrated().await;
    two_links(&home).await;
    for (n, outcome) in (1..).zip(AttemptOutcome::ALL) {
        let attempt = AttemptRecord { outcome: *outcome, ..attempt(1, 1, false) };
        let written = records::write(&db, &[record(n, vec![attempt])]).await;
        assert_eq!(written.unwrap_or_else(|refused| panic!("{outcome}: {refused}")), 1);
    }
}
