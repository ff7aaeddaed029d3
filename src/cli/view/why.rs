//! PURE: one call, told from its record: the decision with every link's verdict, the attempts, the timeline.

use std::fmt::Write as _;

use super::super::table::{self, Align};
use super::{caller, code, dash, instant, seconds, talked};
use crate::calls::ending::Ending;
use crate::cdr::record::{AttemptRecord, CallRecord};
use crate::routing::caps::Cap;
use crate::routing::trace::{CLIENT_UNREACHABLE, CLIENT_WITHDRAWN, LinkView, TraceView};

const LINKS: &[(&str, Align, usize)] = &[
    ("try", Align::Right, 3),
    ("link", Align::Right, 10),
    ("client", Align::Left, 30),
    ("verdict", Align::Left, 60),
    ("prio", Align::Right, 11),
    ("weight", Align::Right, 6),
    ("link used", Align::Right, 20),
    ("total used", Align::Right, 30),
    ("client used", Align::Right, 20),
];

const ATTEMPTS: &[(&str, Align, usize)] = &[
    ("#", Align::Right, 4),
    ("client", Align::Left, 30),
    ("link", Align::Right, 10),
    ("outcome", Align::Left, 20),
    ("SIP", Align::Right, 3),
    ("Q.850", Align::Right, 5),
    ("after s", Align::Right, 8),
    ("rings s", Align::Right, 8),
    ("talks s", Align::Right, 8),
    ("counted", Align::Left, 7),
];

/// Everything that is known of why a call went as it did.
#[must_use]
pub fn why(record: &CallRecord) -> String {
    let mut text = head(record);
    text.push_str("\ndecision\n");
    text.push_str(&indent(&decision(record)));
    text.push_str("\nattempts\n");
    text.push_str(&indent(&attempts(record)));
    text.push_str("\ntimeline (s since arrival)\n");
    text.push_str(&indent(&timeline(record)));
    text
}

fn head(record: &CallRecord) -> String {
    let line = |name: &str, value: &str| format!("  {name:<9} {}\n", table::safe(value));
    let or_dash = |text: &Option<String>| text.clone().unwrap_or_else(dash);
    let dialled = match &record.dialled_number {
        Some(number) if *number != record.dialled_raw => format!("{number} (sent as {})", record.dialled_raw),
        Some(number) => number.clone(),
        None => record.dialled_raw.clone(),
    };
    let name = record.caller_name.as_ref().map_or_else(String::new, |name| format!(" \"{name}\""));
    let mut text = format!("call {}\n", record.call_id);
    text += &line("arrived", &format!("{} on node {}", instant(record.arrived_at), record.node));
    text += &line("DID", &format!("{dialled}, seller {}", or_dash(&record.seller_name)));
    text += &line("caller", &format!("{}{name}", caller(record)));
    text += &line("campaign", &or_dash(&record.campaign_name));
    let answered = match (&record.answered_client_name, talked(record)) {
        (Some(client), talked) => format!("answered by {client}, talked {} s", talked.unwrap_or_else(dash)),
        (None, Some(talked)) if record.answered_at.is_none() => format!("perhaps answered, talked {talked} s"),
        (None, _) => "not answered".to_owned(),
    };
    let rang = record.ringing_at.map_or_else(String::new, |_| format!(", rang {} s", seconds(record.ring_ms)));
    text += &line("ended", &format!("{} by {}: {answered}{rang}", record.ending, record.hung_up_by));
    if let (Some(after), Some(before)) = (record.answered_after, record.answered_before) {
        let perhaps = if record.answered_at.is_none() { ", if it came," } else { "" };
        let unseen = format!("its answer{perhaps} was not seen: between {} and {}", instant(after), instant(before));
        text += &line("unseen", &unseen);
    }
    if let (Some(after), Some(before)) = (record.ended_after, record.ended_before) {
        let why = if record.ending == Ending::Lost.as_str() { "was not seen" } else { "was told late" };
        text += &line("unseen", &format!("its end {why}: between {} and {}", instant(after), instant(before)));
    }
    text += &line(
        "signalled",
        &format!(
            "SIP {} to the caller, Q.850 cause {}, dialstatus {}",
            code(record.sip_code),
            code(record.q850_cause),
            record.dialstatus
        ),
    );
    text + &line("SIP", &format!("Call-ID {}, uniqueid {}", or_dash(&record.sip_call_id), record.uniqueid))
}

fn decision(record: &CallRecord) -> String {
    let Some(trace) = &record.trace else {
        return format!("no campaign was reached: {}\n", table::safe(&record.ending));
    };
    let Some(trace) = trace.read::<TraceView>() else {
        // Written by another version: still an answer, if not a pretty one.
        return format!("{:#}\n", trace.value());
    };
    let mut text = format!(
        "strategy {} in campaign {} (calls: {}), routing revision {}\n",
        trace.strategy,
        table::safe(&trace.campaign),
        used(trace.campaign_used.into(), trace.campaign_limit.map(Into::into)),
        trace.revision
    );
    let mut links: Vec<&LinkView> = trace.links.iter().collect();
    links.sort_by_key(|link| (link.position.unwrap_or(usize::MAX), link.link));
    text.push_str(&table::render(LINKS, links.into_iter().map(|link| link_row(link, &trace)).collect()));
    text
}

fn link_row(link: &LinkView, trace: &TraceView) -> Vec<String> {
    vec![
        link.position.map_or_else(dash, |at| at.to_string()),
        link.link.to_string(),
        format!("{} ({})", link.client, link.identifier),
        verdict(link, trace),
        link.priority.to_string(),
        link.weight.to_string(),
        used(link.used.into(), link.limit.map(Into::into)),
        used(link.total_used, link.total_limit),
        used(link.client_used.into(), link.client_limit.map(Into::into)),
    ]
}

/// The verdict in words, a full cap with its figures.
fn verdict(link: &LinkView, trace: &TraceView) -> String {
    let full = |what: &str, count: u64, limit: Option<u64>| format!("{what}: {}", used(count, limit));
    match (link.verdict.parse::<Cap>().ok(), link.verdict.as_str()) {
        (Some(Cap::LinkConcurrency), _) => full("link full", link.used.into(), link.limit.map(Into::into)),
        (Some(Cap::LinkTotal), _) => {
            full("link's total reached (calls in flight count)", link.total_used, link.total_limit)
        }
        (Some(Cap::ClientConcurrency), _) => {
            full("client full", link.client_used.into(), link.client_limit.map(Into::into))
        }
        (Some(Cap::CampaignConcurrency), _) => {
            full("campaign full", trace.campaign_used.into(), trace.campaign_limit.map(Into::into))
        }
        (None, "candidate") => "candidate".to_owned(),
        (None, "link_paused") => "link is not active".to_owned(),
        (None, CLIENT_WITHDRAWN) => "client is not for this seller".to_owned(),
        (None, "client_paused") => "client is not active".to_owned(),
        (None, CLIENT_UNREACHABLE) => unreachable(link),
        (None, other) => other.to_owned(),
    }
}

fn unreachable(link: &LinkView) -> String {
    let at = |time: Option<chrono::DateTime<chrono::Utc>>| time.map_or_else(dash, |time| time.format("%T").to_string());
    let (since, until) = (at(link.unreachable_since), at(link.unreachable_until));
    format!("client not reached since {since}, next try {until}")
}

fn used(count: u64, limit: Option<u64>) -> String {
    limit.map_or_else(|| format!("{count}, no limit"), |limit| format!("{count} of {limit}"))
}

fn attempts(record: &CallRecord) -> String {
    if record.attempts.is_empty() {
        return "nobody was dialled\n".to_owned();
    }
    table::render(ATTEMPTS, record.attempts.iter().map(|attempt| attempt_row(record, attempt)).collect())
}

fn attempt_row(record: &CallRecord, attempt: &AttemptRecord) -> Vec<String> {
    let between = |from, to| seconds(chrono::DateTime::signed_duration_since(to, from).num_milliseconds());
    let rang_until = attempt.answered_at.unwrap_or(attempt.ended_at);
    vec![
        attempt.number.to_string(),
        format!("{} ({})", attempt.client_name, attempt.client_identifier),
        attempt.link_id.to_string(),
        attempt.outcome.to_string(),
        code(attempt.sip_code),
        code(attempt.q850_cause),
        between(record.arrived_at, attempt.started_at),
        attempt.ringing_at.map_or_else(dash, |at| between(at, rang_until)),
        attempt.answered_at.map_or_else(dash, |at| between(at, attempt.ended_at)),
        if attempt.counted { "yes" } else { "no" }.to_owned(),
    ]
}

fn timeline(record: &CallRecord) -> String {
    let mut text = String::new();
    for moment in record.timeline.read::<Vec<serde_json::Value>>().into_iter().flatten() {
        let millis = moment["at_ms"].as_i64().unwrap_or(0).max(0);
        let event = moment["event"].as_str().map_or_else(|| moment.to_string(), table::safe);
        let _ = writeln!(text, "{:>6}.{:03}  {event}", millis / 1000, millis % 1000);
    }
    if text.is_empty() { "none was kept\n".to_owned() } else { text }
}

fn indent(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
}
