//! How the lists of calls are read: every filter, as each role asks for it, in a table where one seller has nearly all calls.

use capconduit::auth::roles::{self, Operation, Reach, Role};
use capconduit::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use capconduit::store::calls::{self, Filter, Position};
use capconduit::store::{Db, statistics};
use chrono::{DateTime, Utc};
use sea_orm::prelude::Uuid;

use crate::helpers::{Home, on_both, sql};

on_both!(every_filter_of_every_role_is_read_in_the_order_of_its_own_index);

/// Seller 1 has nine calls of ten, and one caller has a twentieth of all.
const SQLITE: [&str; 2] = [
    "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 30000)
    INSERT INTO call_logs (call_id, node, uniqueid, linkedid, dialled_raw, dialled_number, caller_number, caller_presentation, seller_id,
            did_id, campaign_id, arrived_at, answered_at, ended_at, ring_ms, talk_ms, dialstatus, hung_up_by, ending, timeline)
        SELECT CAST(printf('%016d', n) AS BLOB), 'pbx', n, n, 'x', '+4420' || (n % 50),
            '+44' || CASE WHEN n % 20 = 0 THEN 7 ELSE n END, 'allowed', CASE WHEN n % 10 = 0 THEN 2 + n % 7 ELSE 1 END, n % 50, n % 150,
            strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + n * 60, 'unixepoch'),
            CASE WHEN n % 2 = 0 THEN strftime('%Y-%m-%dT%H:%M:%fZ', 1700000000 + n * 60, 'unixepoch') END, 'x', 0, n % 1000 * 1000, 'ANSWER',
            'caller', CASE WHEN n % 1000 = 0 THEN 'failed' WHEN n % 2 = 0 THEN 'completed' ELSE 'nobody_answered' END, '[]' FROM n",
    "INSERT INTO call_attempts (call_id, number, link_id, client_id, client_name, client_identifier, started_at, ended_at, outcome, counted,
            call_arrived_at, call_seller_id, call_ending, call_talk_ms, call_answered_at)
        SELECT call_id, 1, campaign_id, did_id % 9, 'c', 'c', arrived_at, arrived_at, 'failed', 0, arrived_at, seller_id, ending, talk_ms,
            answered_at FROM call_logs",
];
const POSTGRES: [&str; 3] = [
    "INSERT INTO call_logs (call_id, node, uniqueid, linkedid, dialled_raw, dialled_number, caller_number, caller_presentation, seller_id,
            did_id, campaign_id, arrived_at, answered_at, ended_at, ring_ms, talk_ms, dialstatus, hung_up_by, ending, timeline)
        SELECT CAST(lpad(to_hex(n), 32, '0') AS UUID), 'pbx', n, n, 'x', '+4420' || (n % 50),
            '+44' || CASE WHEN n % 20 = 0 THEN 7 ELSE n END, 'allowed', CASE WHEN n % 10 = 0 THEN 2 + n % 7 ELSE 1 END, n % 50, n % 150,
            to_timestamp(1700000000 + n * 60), CASE WHEN n % 2 = 0 THEN to_timestamp(1700000000 + n * 60) END, now(), 0, n % 1000 * 1000,
            'ANSWER', 'caller', CASE WHEN n % 1000 = 0 THEN 'failed' WHEN n % 2 = 0 THEN 'completed' ELSE 'nobody_answered' END, '[]'
        FROM generate_series(1, 30000) AS n",
    "INSERT INTO call_attempts (call_id, number, link_id, client_id, client_name, client_identifier, started_at, ended_at, outcome, counted,
            call_arrived_at, call_seller_id, call_ending, call_talk_ms, call_answered_at)
        SELECT call_id, 1, campaign_id, did_id % 9, 'c', 'c', arrived_at, arrived_at, 'failed', false, arrived_at, seller_id, ending, talk_ms,
            answered_at FROM call_logs",
    "ANALYZE call_logs, call_attempts",
];

/// When the call of this number arrived.
fn minute(n: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + n * 60, 0).expect("a time in range")
}

/// A filter, and the index that finds its calls in order: of everybody's, and of a seller's own.
struct Case {
    filter: Filter,
    of_all: &'static str,
    of_own: &'static str,
}

fn case(filter: Filter, of_all: &'static str, of_own: &'static str) -> Case {
    Case { filter, of_all, of_own }
}

fn cases() -> Vec<Case> {
    let any = Filter::default;
    let (caller, did) = (Some("+447".to_owned()), Some("+44207".to_owned()));
    // A day in the middle.
    let (from, to) = (Some(minute(15_000)), Some(minute(16_440)));
    vec![
        case(any(), "call_logs_arrived", "call_logs_seller"),
        case(Filter { from, to, ..any() }, "call_logs_arrived", "call_logs_seller"),
        case(Filter { caller: caller.clone(), ..any() }, "call_logs_caller", "call_logs_caller"),
        case(Filter { caller: Some("+4412345".into()), ..any() }, "call_logs_caller", "call_logs_caller"),
        case(Filter { caller: Some("+1555".into()), ..any() }, "call_logs_caller", "call_logs_caller"),
        case(
            Filter { caller: caller.clone(), ending: Some("failed".into()), ..any() },
            "call_logs_caller",
            "call_logs_caller",
        ),
        case(Filter { caller: caller.clone(), answered: Some(true), ..any() }, "call_logs_caller", "call_logs_caller"),
        case(Filter { caller: caller.clone(), did: Some(DidId(7)), ..any() }, "call_logs_caller", "call_logs_caller"),
        case(
            Filter { caller: caller.clone(), client: Some(ClientId(4)), ..any() },
            "call_logs_caller",
            "call_logs_caller",
        ),
        case(
            Filter { caller: caller.clone(), link: Some(LinkId(77)), ..any() },
            "call_logs_caller",
            "call_logs_caller",
        ),
        case(Filter { caller, dialled: did.clone(), from, to, ..any() }, "call_logs_caller", "call_logs_caller"),
        case(Filter { dialled: did.clone(), ..any() }, "call_logs_dialled", "call_logs_dialled"),
        case(
            Filter { dialled: did, ending: Some("completed".into()), ..any() },
            "call_logs_dialled",
            "call_logs_dialled",
        ),
        case(Filter { did: Some(DidId(7)), ..any() }, "call_logs_did", "call_logs_did"),
        case(Filter { campaign: Some(CampaignId(77)), ..any() }, "call_logs_campaign", "call_logs_campaign"),
        case(Filter { client: Some(ClientId(4)), ..any() }, "call_attempts_client", "call_attempts_seller_client"),
        case(
            Filter { client: Some(ClientId(4)), answered: Some(true), ..any() },
            "call_attempts_client",
            "call_attempts_seller_client",
        ),
        case(Filter { link: Some(LinkId(77)), ..any() }, "call_attempts_link", "call_attempts_link"),
        case(Filter { link: Some(LinkId(77)), from, to, ..any() }, "call_attempts_link", "call_attempts_link"),
        case(Filter { ending: Some("failed".into()), ..any() }, "call_logs_ending", "call_logs_seller_ending"),
        case(Filter { ending: Some("completed".into()), ..any() }, "call_logs_ending", "call_logs_seller_ending"),
        case(Filter { seller: Some(UserId(1)), ..any() }, "call_logs_seller", "call_logs_seller"),
        case(Filter { answered: Some(true), ..any() }, "call_logs_arrived", "call_logs_seller"),
        case(Filter { min_talk_ms: Some(1000), ..any() }, "call_logs_arrived", "call_logs_seller"),
    ]
}

/// What reading a page may cost where PostgreSQL takes another index than expected: a tenth of reading all calls in order.
const CHEAP: f64 = 340.0;

/// The most that PostgreSQL expects a plan to cost.
fn cost(plan: &[String]) -> Option<f64> {
    plan.first()?.split_once("..")?.1.split(' ').next()?.parse().ok()
}

/// Nothing is sorted or read whole, and the rows are found by `index`; PostgreSQL, which knows how often each value occurs, may take another
/// that is as good.
fn judge(postgres: bool, plan: &[String], index: &str) -> Result<(), String> {
    let text = plan.join("\n");
    let whole = |line: &&String| {
        let line = line.trim_start();
        line.contains("Seq Scan") || line.contains("Bitmap") || line.starts_with("SCAN") && !line.contains("USING")
    };
    let sorted =
        |line: &&String| line.contains("Sort  (") || line.contains("TEMP B-TREE") || line.contains("MATERIALIZE");
    let found = if postgres { format!("using {index} on") } else { format!("INDEX {index} ") };
    let found = text.contains(&found) || text.ends_with(found.trim_end());
    let found = found || (postgres && cost(plan).is_some_and(|cost| cost <= CHEAP));
    match (plan.iter().find(whole), plan.iter().find(sorted), found) {
        (None, None, true) => Ok(()),
        (Some(_), _, _) => Err(format!("reads everything:\n{text}")),
        (_, Some(_), _) => Err(format!("sorts:\n{text}")),
        _ => Err(format!("not by {index}:\n{text}")),
    }
}

async fn unmet(db: &Db, home: &Home, when: &str) -> Vec<String> {
    let postgres = matches!(home, Home::Postgres(_));
    let far = Position { arrived_at: minute(100), call: CallId(Uuid::max()) };
    let mut unmet = Vec::new();
    for case in cases() {
        for role in Role::ALL {
            let own = roles::reach(*role, Operation::ListCalls) != Reach::All;
            // Of a large seller and of a small one.
            let owners = if own { vec![Some(UserId(1)), Some(UserId(3))] } else { vec![None] };
            for (owner, after) in owners.into_iter().flat_map(|owner| [(owner, None), (owner, Some(far))]) {
                let filter = Filter { owner, ..case.filter.clone() };
                let plan = calls::explained(db, &filter, after, 51).await.expect("explained");
                let index = if own { case.of_own } else { case.of_all };
                if let Err(why) = judge(postgres, &plan, index) {
                    unmet.push(format!("{when}, {role}: {filter:?} after {}: {why}", after.is_some()));
                }
            }
        }
    }
    unmet
}

async fn every_filter_of_every_role_is_read_in_the_order_of_its_own_index(home: Home) {
    let db = home.migrated().await;
    let statements = if matches!(home, Home::Postgres(_)) { POSTGRES.as_slice() } else { SQLITE.as_slice() };
    for statement in statements {
        sql(&home, statement).await.expect("filled");
    }
    let mut found = Vec::new();
    if matches!(home, Home::Sqlite(_)) {
        found = unmet(&db, &home, "without statistics").await;
        statistics::keep(&db).await.expect("kept");
        let known = sql(&home, "SELECT idx FROM sqlite_stat1 WHERE tbl = 'call_logs' AND idx IS NOT NULL").await;
        let known = known.expect("there are statistics");
        assert!(known.contains(&"call_logs_caller".to_owned()), "{known:?}");
    }
    // Another connection: statistics are read when one is made.
    let db = home.connect().await;
    found.extend(unmet(&db, &home, "with statistics").await);
    assert!(found.is_empty(), "{} plans are wrong:\n{}", found.len(), found.join("\n\n"));
}
