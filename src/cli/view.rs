//! PURE: records as people read them in a terminal.

mod why;

use chrono::{DateTime, Utc};

use super::table::{self, Align};
use crate::cdr::record::{CallRecord, Presentation};
use crate::cdr::talk::{self, Talk};
use crate::id::CallId;

pub use why::why;

/// Characters of a call id that hold its time; fewer would hardly ever name one call.
const SHORT_ID: usize = 13;

/// Columns of [`calls`]: heading, alignment, and how wide a cell may get before it is cut.
const COLUMNS: &[(&str, Align, usize)] = &[
    ("time (UTC)", Align::Left, 19),
    ("DID", Align::Left, 20),
    ("caller", Align::Left, 20),
    ("campaign", Align::Left, 20),
    ("client", Align::Left, 24),
    ("ring s", Align::Right, 8),
    ("talk s", Align::Right, 17),
    ("ending", Align::Left, 20),
    ("SIP", Align::Right, 3),
    ("call", Align::Left, 36),
];

/// A table of calls. Where it is not certain how long a talk was: at least and at most. A client in parentheses was the last one tried; the others answered. The call column is a prefix that
/// `why` accepts.
#[must_use]
pub fn calls(records: &[CallRecord]) -> String {
    if records.is_empty() {
        return "no calls yet\n".to_owned();
    }
    let ids: Vec<String> = records.iter().map(|record| record.call_id.to_string()).collect();
    let length = short_length(&ids);
    let rows = records.iter().zip(&ids).map(|(record, id)| row(record, &id[..length])).collect();
    table::render(COLUMNS, rows)
}

fn row(record: &CallRecord, id: &str) -> Vec<String> {
    vec![
        record.arrived_at.format("%Y-%m-%d %H:%M:%S").to_string(),
        record.dialled_number.clone().unwrap_or_else(|| record.dialled_raw.clone()),
        caller(record),
        record.campaign_name.clone().unwrap_or_else(dash),
        client(record),
        record.ringing_at.map_or_else(dash, |_| seconds(record.ring_ms)),
        talked(record).unwrap_or_else(dash),
        record.ending.clone(),
        code(record.sip_code),
        id.to_owned(),
    ]
}

/// How long they talked, in seconds: at least and at most, where that is not certain. `None` where they did not.
fn talked(record: &CallRecord) -> Option<String> {
    let Talk { min_ms, max_ms } = talk::bounds(record);
    if min_ms == max_ms {
        return record.answered_at.map(|_| seconds(record.talk_ms));
    }
    Some(format!("{}-{}", seconds(min_ms), seconds(max_ms)))
}

fn caller(record: &CallRecord) -> String {
    match record.caller_presentation {
        Presentation::Withheld => "withheld".to_owned(),
        Presentation::Unavailable => "unavailable".to_owned(),
        Presentation::Allowed => {
            record.caller_number.clone().or_else(|| record.caller_raw.clone()).unwrap_or_else(dash)
        }
    }
}

fn client(record: &CallRecord) -> String {
    match (&record.answered_client_name, record.attempts.last()) {
        (Some(name), _) => name.clone(),
        (None, Some(attempt)) => format!("({})", attempt.client_name),
        (None, None) => dash(),
    }
}

/// How many characters of each id tell all of them apart.
fn short_length(ids: &[String]) -> usize {
    let mut sorted: Vec<&str> = ids.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted.dedup();
    let common = |pair: &[&str]| pair[0].bytes().zip(pair[1].bytes()).take_while(|(a, b)| a == b).count();
    let longest = sorted.windows(2).map(common).max().unwrap_or(0);
    SHORT_ID.max(longest + 1)
}

/// The first and the last call id that begin with `prefix`; `None` where no call id can.
#[must_use]
pub fn id_range(prefix: &str) -> Option<(CallId, CallId)> {
    let digits: String = prefix.trim().chars().filter(|c| *c != '-').collect();
    if digits.is_empty() || digits.len() > 32 || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let filled = |fill: &str| uuid::Uuid::try_parse(&format!("{digits}{}", fill.repeat(32 - digits.len()))).ok();
    Some((CallId(filled("0")?), CallId(filled("f")?)))
}

fn instant(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S%.3f UTC").to_string()
}

fn seconds(millis: i64) -> String {
    // Tenths are enough for a phone call, and whole milliseconds stay exact in integers.
    let tenths = (millis.max(0) + 50) / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn code(code: Option<i16>) -> String {
    code.map_or_else(dash, |code| code.to_string())
}

fn dash() -> String {
    "-".to_owned()
}

#[cfg(test)]
mod tests;
