//! Records as rows, and back.

use chrono::{DateTime, SubsecRound, Utc};
use entity::{call_attempts, call_logs};
use sea_orm::ActiveValue::Set;
use serde_json::Value;

use crate::cdr::record::{AttemptRecord, CallRecord, Legacy};
use crate::id::{CallId, CampaignId, ClientId, DidId, LinkId, UserId};
use crate::store::{StoreError, number, word};

/// PostgreSQL stores no NUL in text. What callers send must not keep a record from being written, so U+FFFD stands in.
fn text(given: &str) -> String {
    given.replace('\0', "\u{fffd}")
}

/// The same for the texts and keys inside JSON.
fn json(given: &Value) -> Value {
    match given {
        Value::String(given) => Value::String(text(given)),
        Value::Array(items) => items.iter().map(json).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (text(key), json(value))).collect(),
        plain => plain.clone(),
    }
}

fn optional_text(given: Option<&String>) -> Option<String> {
    given.map(|given| text(given))
}

/// Microseconds are what PostgreSQL can store; both databases must give back the same.
fn micros(at: DateTime<Utc>) -> DateTime<Utc> {
    at.trunc_subsecs(6)
}

/// The row of a call.
pub(super) fn call(record: &CallRecord) -> call_logs::ActiveModel {
    call_logs::ActiveModel {
        call_id: Set(record.call_id.0),
        node: Set(text(&record.node)),
        uniqueid: Set(text(&record.uniqueid)),
        linkedid: Set(text(&record.linkedid)),
        sip_call_id: Set(optional_text(record.sip_call_id.as_ref())),
        dialled_raw: Set(text(&record.dialled_raw)),
        dialled_number: Set(optional_text(record.dialled_number.as_ref())),
        caller_raw: Set(optional_text(record.caller_raw.as_ref())),
        caller_number: Set(optional_text(record.caller_number.as_ref())),
        caller_name: Set(optional_text(record.caller_name.as_ref())),
        caller_presentation: Set(record.caller_presentation.to_string()),
        seller_id: Set(record.seller_id.map(|id| id.0)),
        seller_name: Set(optional_text(record.seller_name.as_ref())),
        did_id: Set(record.did_id.map(|id| id.0)),
        campaign_id: Set(record.campaign_id.map(|id| id.0)),
        campaign_name: Set(optional_text(record.campaign_name.as_ref())),
        last_link_id: Set(record.last_link_id.map(|id| id.0)),
        answered_link_id: Set(record.answered_link_id.map(|id| id.0)),
        answered_client_id: Set(record.answered_client_id.map(|id| id.0)),
        answered_client_name: Set(optional_text(record.answered_client_name.as_ref())),
        arrived_at: Set(micros(record.arrived_at)),
        ringing_at: Set(record.ringing_at.map(micros)),
        answered_at: Set(record.answered_at.map(micros)),
        ended_at: Set(micros(record.ended_at)),
        ended_after: Set(record.ended_after.map(micros)),
        ended_before: Set(record.ended_before.map(micros)),
        ring_ms: Set(record.ring_ms),
        talk_ms: Set(record.talk_ms),
        dialstatus: Set(record.dialstatus.to_string()),
        q850_cause: Set(record.q850_cause),
        sip_code: Set(record.sip_code),
        hung_up_by: Set(record.hung_up_by.to_string()),
        ending: Set(text(&record.ending)),
        trace: Set(record.trace.as_ref().map(json)),
        timeline: Set(json(&record.timeline)),
        legacy: Set(record.legacy.as_ref().map(|legacy| serde_json::json!(legacy))),
    }
}

/// The row of an attempt of `call`.
pub(super) fn attempt(call: &CallRecord, record: &AttemptRecord) -> call_attempts::ActiveModel {
    call_attempts::ActiveModel {
        call_id: Set(call.call_id.0),
        number: Set(i64::from(record.number)),
        link_id: Set(record.link_id.0),
        client_id: Set(record.client_id.0),
        client_name: Set(text(&record.client_name)),
        client_identifier: Set(text(&record.client_identifier)),
        started_at: Set(micros(record.started_at)),
        ringing_at: Set(record.ringing_at.map(micros)),
        answered_at: Set(record.answered_at.map(micros)),
        ended_at: Set(micros(record.ended_at)),
        outcome: Set(record.outcome.to_string()),
        q850_cause: Set(record.q850_cause),
        sip_code: Set(record.sip_code),
        counted: Set(record.counted),
        call_arrived_at: Set(Some(micros(call.arrived_at))),
        call_seller_id: Set(call.seller_id.map(|id| id.0)),
        call_ending: Set(Some(text(&call.ending))),
        call_talk_ms: Set(Some(call.talk_ms)),
        call_answered_at: Set(call.answered_at.map(micros)),
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
        trace: row.trace,
        timeline: row.timeline,
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
