//! Figures over many calls: the same on both databases, in any time zone, on the days when clocks change.

use std::collections::{BTreeMap, HashMap};

use capconduit::cdr::record::{AttemptRecord, CallRecord};
use capconduit::cdr::talk;
use capconduit::id::{CallId, ClientId, LinkId, UserId};
use capconduit::store::calls::{By, Figures, Filter, GROUPS_AT_MOST, Group, Key, summary};
use capconduit::store::records;
use chrono::{DateTime, Duration, Utc};
use chrono_tz::Tz;

use crate::calls::varied;
use crate::helpers::{Home, on_both, reports, sql};
use crate::recording::record;

on_both!(
    hours_and_days_follow_the_clock_through_its_changes,
    groups_by_object_and_ending_add_up,
    clients_and_links_count_their_own_attempts,
    an_answer_has_so_many_groups_and_says_that_there_are_more,
);

fn at(text: &str) -> DateTime<Utc> {
    text.parse().expect(text)
}

/// Each group as `key calls`.
async fn counted(db: &capconduit::store::Db, by: By, zone: &str) -> Vec<String> {
    let zone: Tz = zone.parse().expect("a zone");
    let found = summary(&reports(db), UserId(1), &Filter::default(), by, zone).await.expect("summed");
    let line = |group: &Group| match &group.key {
        Key::Time(begins) => format!("{} {}", begins.to_rfc3339(), group.figures.calls),
        other => panic!("{other:?} is no time"),
    };
    found.groups.iter().map(line).collect()
}

async fn hours_and_days_follow_the_clock_through_its_changes(home: Home) {
    let db = home.migrated().await;
    let arrivals = [
        // London goes forward at 01:00 UTC on 29 March 2026 and back at 01:00 UTC on 25 October.
        "2026-03-29T00:59:59.999999Z",
        "2026-03-29T01:00:00Z",
        "2026-03-29T22:59:59Z",
        "2026-03-29T23:00:00Z",
        "2026-10-25T00:00:00Z",
        "2026-10-25T00:30:00.5Z",
        "2026-10-25T01:29:59Z",
        "2026-10-25T23:59:59Z",
        // Cairo skips the first hour of 24 April 2026.
        "2026-04-23T21:59:59Z",
        "2026-04-23T22:00:00Z",
    ];
    let calls: Vec<CallRecord> = (0..).zip(arrivals).map(|(n, arrival)| arrived(n, at(arrival))).collect();
    records::write(&db, &calls).await.expect("written");
    assert_eq!(
        counted(&db, By::Hour, "Europe/London").await,
        [
            "2026-03-29T00:00:00+00:00 1",
            "2026-03-29T02:00:00+01:00 1",
            "2026-03-29T23:00:00+01:00 1",
            "2026-03-30T00:00:00+01:00 1",
            "2026-04-23T22:00:00+01:00 1",
            "2026-04-23T23:00:00+01:00 1",
            "2026-10-25T01:00:00+01:00 2",
            "2026-10-25T01:00:00+00:00 1",
            "2026-10-25T23:00:00+00:00 1",
        ]
    );
    assert_eq!(
        counted(&db, By::Day, "Europe/London").await,
        [
            "2026-03-29T00:00:00+00:00 3",
            "2026-03-30T00:00:00+01:00 1",
            "2026-04-23T00:00:00+01:00 2",
            "2026-10-25T00:00:00+01:00 4",
        ]
    );
    let cairo = counted(&db, By::Day, "Africa/Cairo").await;
    assert!(cairo.contains(&"2026-04-23T00:00:00+02:00 1".to_owned()), "{cairo:?}");
    assert!(cairo.contains(&"2026-04-24T01:00:00+03:00 1".to_owned()), "{cairo:?}");
    // +05:45: quarters of an hour matter.
    let kathmandu = counted(&db, By::Hour, "Asia/Kathmandu").await;
    assert!(kathmandu.contains(&"2026-10-25T05:00:00+05:45 1".to_owned()), "{kathmandu:?}");
    assert!(kathmandu.contains(&"2026-10-25T06:00:00+05:45 1".to_owned()), "{kathmandu:?}");
}

/// Calls that dial the numbers from `first` to `last`, one each.
async fn dialled(home: &Home, first: usize, last: usize) {
    let (id, at) = match home {
        Home::Sqlite(_) => ("randomblob(16)", "'2026-03-29T00:00:00+00:00'"),
        Home::Postgres(_) => ("gen_random_uuid()", "'2026-03-29T00:00:00+00:00'::timestamptz"),
    };
    let statement = format!(
        "INSERT INTO call_logs (call_id, node, uniqueid, linkedid, dialled_raw, caller_presentation, arrived_at, ended_at, ring_ms,
            talk_ms, dialstatus, hung_up_by, ending, timeline)
         WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})
         SELECT {id}, 'pbx', '{first}.' || CAST(i AS TEXT), 'x', CAST(i AS TEXT), 'allowed', {at}, {at}, 0, 0, 'NOANSWER', 'system',
            'unknown_did', '[]' FROM n"
    );
    sql(home, &statement).await.expect("written");
}

async fn an_answer_has_so_many_groups_and_says_that_there_are_more(home: Home) {
    let db = home.migrated().await;
    let (first, last) = (10_000, 10_000 + GROUPS_AT_MOST - 1);
    dialled(&home, first, last).await;
    let by_did =
        async || summary(&reports(&db), UserId(1), &Filter::default(), By::Did, Tz::UTC).await.expect("summed");
    let whole = by_did().await;
    assert_eq!((whole.groups.len(), whole.truncated, whole.total.calls), (GROUPS_AT_MOST, false, 10_000));
    // One more, which is the largest although it comes last.
    dialled(&home, last + 1, last + 1).await;
    sql(&home, &format!("UPDATE call_logs SET dialled_raw = '{}' WHERE dialled_raw = '{first}'", last + 1))
        .await
        .expect("dialled");
    dialled(&home, first, first).await;
    let more = by_did().await;
    assert_eq!((more.groups.len(), more.truncated, more.total.calls), (GROUPS_AT_MOST, true, 10_002));
    assert_eq!((&more.groups[0].key, more.groups[0].figures.calls), (&Key::Text((last + 1).to_string()), 2));
    assert!(!more.groups.iter().any(|group| group.key == Key::Text(last.to_string())), "the last of the small ones");
    let by_ending = summary(&reports(&db), UserId(1), &Filter::default(), By::Ending, Tz::UTC).await.expect("summed");
    assert_eq!((by_ending.groups.len(), by_ending.truncated), (1, false));
}

fn arrived(n: i64, at: DateTime<Utc>) -> CallRecord {
    let mut call = record(n, vec![]);
    (call.arrived_at, call.ended_at) = (at, at + Duration::seconds(1));
    call.call_id = CallId::derive(at, "pbx", &n.to_string());
    call
}

/// Figures by a key, in plain code: of calls, whether each was answered and whether it may have been.
fn expected<'a>(calls: impl Iterator<Item = (String, &'a CallRecord, [bool; 2])>) -> BTreeMap<String, Figures> {
    let mut groups: BTreeMap<String, Figures> = BTreeMap::new();
    for (key, call, [answered, perhaps]) in calls {
        let sum = groups.entry(key).or_default();
        sum.calls += 1;
        sum.answered += u64::from(answered);
        sum.talk_ms += if answered { call.talk_ms } else { 0 };
        let bounds = talk::bounds(call);
        sum.talk_min_ms += if answered { bounds.min_ms } else { 0 };
        // What may have been answered counts for the most.
        sum.talk_max_ms += if answered || perhaps { bounds.max_ms } else { 0 };
    }
    groups
}

fn keyed(groups: &[Group]) -> BTreeMap<String, Figures> {
    groups.iter().map(|group| (format!("{:?}", group.key), group.figures)).collect()
}

async fn groups_by_object_and_ending_add_up(home: Home) {
    let db = home.migrated().await;
    let calls = varied(60);
    records::write(&db, &calls).await.expect("written");
    let object = |id: Option<i64>, name: &Option<String>| format!("{:?}", Key::Object { id, name: name.clone() });
    let text = |text: &String| format!("{:?}", Key::Text(text.clone()));
    let key = |by: By, call: &CallRecord| match by {
        By::Seller => object(call.seller_id.map(|id| id.0), &call.seller_name),
        By::Campaign => object(call.campaign_id.map(|id| id.0), &call.campaign_name),
        By::Did => text(call.dialled_number.as_ref().unwrap_or(&call.dialled_raw)),
        _ => text(&call.ending),
    };
    for by in [By::Seller, By::Campaign, By::Did, By::Ending] {
        let found = summary(&reports(&db), UserId(1), &Filter::default(), by, Tz::UTC).await.expect("summed");
        assert_eq!(
            keyed(&found.groups),
            expected(calls.iter().map(|c| (key(by, c), c, [c.answered_at.is_some(), c.answered_at.is_none()]))),
            "{by}"
        );
        assert!(found.groups.is_sorted_by(|a, b| a.figures.calls >= b.figures.calls), "{by}: the largest comes first");
        let sum = |field: fn(&Figures) -> u64| found.groups.iter().map(|group| field(&group.figures)).sum::<u64>();
        assert_eq!((found.total.calls, found.total.answered), (sum(|f| f.calls), sum(|f| f.answered)), "{by}");
    }
    let filter = Filter { answered: Some(true), ..Filter::default() };
    let found = summary(&reports(&db), UserId(1), &filter, By::Day, Tz::UTC).await.expect("summed");
    assert_eq!((found.total.calls, found.total.answered), (20, 20));
    let nothing = Filter { ending: Some("no such".into()), ..Filter::default() };
    let found = summary(&reports(&db), UserId(1), &nothing, By::Seller, Tz::UTC).await.expect("summed");
    assert_eq!((found.total, found.groups), (Figures::default(), vec![]));
}

async fn clients_and_links_count_their_own_attempts(home: Home) {
    let db = home.migrated().await;
    let mut calls = varied(60);
    // Dialled twice for one link, as around a restart: still one call.
    let mut again = calls[1].attempts[0].clone();
    again.number = 9;
    calls[1].attempts.push(again);
    records::write(&db, &calls).await.expect("written");
    let last = |call: &CallRecord| call.attempts.last().map(|attempt| (attempt.link_id, attempt.client_id));
    let last: HashMap<CallId, _> = calls.iter().map(|call| (call.call_id, last(call))).collect();
    let perhaps = |call: &CallRecord, attempt: &AttemptRecord| {
        call.answered_at.is_none() && last[&call.call_id] == Some((attempt.link_id, attempt.client_id))
    };
    calls[1].attempts.pop();
    let attempts = || calls.iter().flat_map(|call| call.attempts.iter().map(move |attempt| (call, attempt)));
    let of_client = attempts().map(|(call, attempt)| {
        let key = Key::Object { id: Some(attempt.client_id.0), name: Some(attempt.client_name.clone()) };
        (format!("{key:?}"), call, [call.answered_client_id == Some(attempt.client_id), perhaps(call, attempt)])
    });
    let found = summary(&reports(&db), UserId(1), &Filter::default(), By::Client, Tz::UTC).await.expect("summed");
    assert_eq!(keyed(&found.groups), expected(of_client));
    assert_eq!(found.total.calls, 60, "each call once, though many were dialled twice");
    let of_link = attempts().map(|(call, attempt)| {
        let (id, client) = (attempt.link_id.0, attempt.client_id.0);
        let key = Key::Link { id, client, client_name: attempt.client_name.clone() };
        (format!("{key:?}"), call, [call.answered_link_id == Some(attempt.link_id), perhaps(call, attempt)])
    });
    let found = summary(&reports(&db), UserId(1), &Filter::default(), By::Link, Tz::UTC).await.expect("summed");
    assert_eq!(keyed(&found.groups), expected(of_link));
    let only = Filter { client: Some(ClientId(3)), ..Filter::default() };
    let found = summary(&reports(&db), UserId(1), &only, By::Client, Tz::UTC).await.expect("summed");
    assert_eq!(found.groups.len(), 1, "a filter for one client shows no other: {:?}", found.groups);
    let only = Filter { link: Some(LinkId(2)), ..Filter::default() };
    let found = summary(&reports(&db), UserId(1), &only, By::Link, Tz::UTC).await.expect("summed");
    assert_eq!(found.groups.len(), 1, "a filter for one link shows no other: {:?}", found.groups);
}
