//! Records as rows, and back.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use entity::{call_attempts, call_logs};
use serde::Serialize;
use serde_json::Value;
use uuid::fmt::Simple;

use crate::cdr::json::Json;
use crate::cdr::record::{AttemptRecord, CallRecord, Legacy};
use crate::cdr::talk;
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use crate::store::{StoreError, number, word};

/// PostgreSQL stores no NUL in text. What callers send must not keep a record from being written, so U+FFFD stands in.
fn text(given: &str) -> Cow<'_, str> {
    if given.contains('\0') { given.replace('\0', "\u{fffd}").into() } else { given.into() }
}

fn optional_text(given: Option<&String>) -> Option<Cow<'_, str>> {
    given.map(|given| text(given))
}

/// The same for the texts and keys inside JSON.
fn json(given: &Json) -> Cow<'_, Json> {
    fn clean(given: Value) -> Value {
        match given {
            Value::String(given) => text(&given).into(),
            Value::Array(items) => items.into_iter().map(clean).collect(),
            Value::Object(fields) => {
                fields.into_iter().map(|(key, value)| (text(&key).into_owned(), clean(value))).collect()
            }
            plain => plain,
        }
    }
    let has_nul = given.text().contains("\\u0000");
    if has_nul { Cow::Owned(clean(given.value()).into()) } else { Cow::Borrowed(given) }
}

/// As both databases read it, and SQLite keeps it. Microseconds are what PostgreSQL can store; both must give back the same.
fn time(at: DateTime<Utc>) -> String {
    at.trunc_subsecs(6).to_rfc3339_opts(SecondsFormat::AutoSi, false)
}

/// A row of `call_logs`, its fields named like the columns.
#[derive(Serialize)]
pub(super) struct CallRow<'a> {
    call_id: Simple,
    node: Cow<'a, str>,
    uniqueid: Cow<'a, str>,
    linkedid: Cow<'a, str>,
    sip_call_id: Option<Cow<'a, str>>,
    dialled_raw: Cow<'a, str>,
    dialled_number: Option<Cow<'a, str>>,
    caller_raw: Option<Cow<'a, str>>,
    caller_number: Option<Cow<'a, str>>,
    caller_name: Option<Cow<'a, str>>,
    caller_presentation: &'static str,
    seller_id: Option<i64>,
    seller_name: Option<Cow<'a, str>>,
    did_id: Option<i64>,
    campaign_id: Option<i64>,
    campaign_name: Option<Cow<'a, str>>,
    last_link_id: Option<i64>,
    answered_link_id: Option<i64>,
    answered_client_id: Option<i64>,
    answered_client_name: Option<Cow<'a, str>>,
    arrived_at: String,
    ringing_at: Option<String>,
    answered_at: Option<String>,
    answered_after: Option<String>,
    answered_before: Option<String>,
    ended_at: String,
    ended_after: Option<String>,
    ended_before: Option<String>,
    ring_ms: i64,
    talk_ms: i64,
    talk_min_ms: Option<i64>,
    talk_max_ms: Option<i64>,
    dialstatus: &'static str,
    q850_cause: Option<i16>,
    sip_code: Option<i16>,
    hung_up_by: &'static str,
    ending: Cow<'a, str>,
    // Left out where there is none: SQLite would take `null` for JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<Cow<'a, Json>>,
    timeline: Cow<'a, Json>,
    #[serde(skip_serializing_if = "Option::is_none")]
    legacy: Option<&'a Legacy>,
}

/// The row of a call.
pub(super) fn call(record: &CallRecord) -> CallRow<'_> {
    let bounds = talk::bounds(record);
    let open = Some(bounds).filter(|bounds| bounds.min_ms != bounds.max_ms);
    CallRow {
        call_id: record.call_id.0.simple(),
        node: text(&record.node),
        uniqueid: text(&record.uniqueid),
        linkedid: text(&record.linkedid),
        sip_call_id: optional_text(record.sip_call_id.as_ref()),
        dialled_raw: text(&record.dialled_raw),
        dialled_number: optional_text(record.dialled_number.as_ref()),
        caller_raw: optional_text(record.caller_raw.as_ref()),
        caller_number: optional_text(record.caller_number.as_ref()),
        caller_name: optional_text(record.caller_name.as_ref()),
        caller_presentation: record.caller_presentation.as_str(),
        seller_id: record.seller_id.map(|id| id.0),
        seller_name: optional_text(record.seller_name.as_ref()),
        did_id: record.did_id.map(|id| id.0),
        campaign_id: record.campaign_id.map(|id| id.0),
        campaign_name: optional_text(record.campaign_name.as_ref()),
        last_link_id: record.last_link_id.map(|id| id.0),
        answered_link_id: record.answered_link_id.map(|id| id.0),
        answered_client_id: record.answered_client_id.map(|id| id.0),
        answered_client_name: optional_text(record.answered_client_name.as_ref()),
        arrived_at: time(record.arrived_at),
        ringing_at: record.ringing_at.map(time),
        answered_at: record.answered_at.map(time),
        answered_after: record.answered_after.map(time),
        answered_before: record.answered_before.map(time),
        ended_at: time(record.ended_at),
        ended_after: record.ended_after.map(time),
        ended_before: record.ended_before.map(time),
        ring_ms: record.ring_ms,
        talk_ms: record.talk_ms,
        talk_min_ms: open.map(|bounds| bounds.min_ms),
        talk_max_ms: open.map(|bounds| bounds.max_ms),
        dialstatus: record.dialstatus.as_str(),
        q850_cause: record.q850_cause,
        sip_code: record.sip_code,
        hung_up_by: record.hung_up_by.as_str(),
        ending: text(&record.ending),
        trace: record.trace.as_ref().map(json),
        timeline: json(&record.timeline),
        legacy: record.legacy.as_ref(),
    }
}

/// A row of `call_attempts`, its fields named like the columns.
#[derive(Serialize)]
pub(super) struct AttemptRow<'a> {
    call_id: Simple,
    number: u32,
    link_id: i64,
    client_id: i64,
    client_name: Cow<'a, str>,
    client_identifier: Cow<'a, str>,
    started_at: String,
    ringing_at: Option<String>,
    answered_at: Option<String>,
    ended_at: String,
    outcome: &'static str,
    q850_cause: Option<i16>,
    sip_code: Option<i16>,
    counted: bool,
    call_arrived_at: String,
    call_seller_id: Option<i64>,
    call_ending: Cow<'a, str>,
    call_talk_ms: i64,
    call_answered_at: Option<String>,
}

/// The row of an attempt of `call`.
pub(super) fn attempt<'a>(call: &'a CallRecord, record: &'a AttemptRecord) -> AttemptRow<'a> {
    AttemptRow {
        call_id: call.call_id.0.simple(),
        number: record.number,
        link_id: record.link_id.0,
        client_id: record.client_id.0,
        client_name: text(&record.client_name),
        client_identifier: text(&record.client_identifier),
        started_at: time(record.started_at),
        ringing_at: record.ringing_at.map(time),
        answered_at: record.answered_at.map(time),
        ended_at: time(record.ended_at),
        outcome: record.outcome.as_str(),
        q850_cause: record.q850_cause,
        sip_code: record.sip_code,
        counted: record.counted,
        call_arrived_at: time(call.arrived_at),
        call_seller_id: call.seller_id.map(|id| id.0),
        call_ending: text(&call.ending),
        call_talk_ms: call.talk_ms,
        call_answered_at: call.answered_at.map(time),
    }
}

/// A call read back, with its attempts.
pub(super) fn read_call(row: call_logs::Model, attempts: Vec<AttemptRecord>) -> Result<CallRecord, StoreError> {
    const TABLE: &str = "call_logs";
    Ok(CallRecord {
        call_id: CallId(row.call_id),
        node: row.node,
        uniqueid: row.uniqueid,
        linkedid: row.linkedid,
        sip_call_id: row.sip_call_id,
        dialled_raw: row.dialled_raw,
        dialled_number: row.dialled_number,
        caller_raw: row.caller_raw,
        caller_number: row.caller_number,
        caller_name: row.caller_name,
        caller_presentation: word(TABLE, "caller_presentation", &row.caller_presentation)?,
        seller_id: row.seller_id.map(UserId),
        seller_name: row.seller_name,
        did_id: row.did_id.map(DidId),
        campaign_id: row.campaign_id.map(CampaignId),
        campaign_name: row.campaign_name,
        last_link_id: row.last_link_id.map(LinkId),
        answered_link_id: row.answered_link_id.map(LinkId),
        answered_client_id: row.answered_client_id.map(ClientId),
        answered_client_name: row.answered_client_name,
        arrived_at: row.arrived_at,
        ringing_at: row.ringing_at,
        answered_at: row.answered_at,
        answered_after: row.answered_after,
        answered_before: row.answered_before,
        ended_at: row.ended_at,
        ended_after: row.ended_after,
        ended_before: row.ended_before,
        ring_ms: row.ring_ms,
        talk_ms: row.talk_ms,
        dialstatus: word(TABLE, "dialstatus", &row.dialstatus)?,
        q850_cause: row.q850_cause,
        sip_code: row.sip_code,
        hung_up_by: word(TABLE, "hung_up_by", &row.hung_up_by)?,
        ending: row.ending,
        trace: row.trace.map(Json::from),
        timeline: row.timeline.into(),
        legacy: row.legacy.map(legacy).transpose()?,
        attempts,
    })
}

fn legacy(stored: Value) -> Result<Legacy, StoreError> {
    let value = stored.to_string();
    serde_json::from_value(stored).map_err(|_| StoreError::Corrupt { table: "call_logs", column: "legacy", value })
}

/// An attempt read back.
pub(super) fn read_attempt(row: call_attempts::Model) -> Result<AttemptRecord, StoreError> {
    const TABLE: &str = "call_attempts";
    Ok(AttemptRecord {
        number: number(TABLE, "number", row.number)?,
        link_id: LinkId(row.link_id),
        client_id: ClientId(row.client_id),
        client_name: row.client_name,
        client_identifier: row.client_identifier,
        started_at: row.started_at,
        ringing_at: row.ringing_at,
        answered_at: row.answered_at,
        ended_at: row.ended_at,
        outcome: word(TABLE, "outcome", &row.outcome)?,
        q850_cause: row.q850_cause,
        sip_code: row.sip_code,
        counted: row.counted,
    })
}
