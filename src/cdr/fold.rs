//! PURE: folds what a call went through into its record.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::record::{AttemptRecord, CallRecord, HungUpBy};
use crate::calls::attempt::Attempt;
use crate::calls::ending::{Ending, dialstatus};
use crate::calls::machine::{Call, End};
use crate::clock::Now;

/// The record of a call; `now` is used for whatever has not ended, so that no call is without a record.
#[must_use]
pub fn record(call: &Call, now: Now) -> CallRecord {
    let end = call.end.unwrap_or(End {
        ending: Ending::Failed,
        by: HungUpBy::System,
        at: now,
        before: None,
        sip: 0,
        cause: None,
    });
    let ringing = call.attempts.iter().filter_map(|a| a.ringing).min_by_key(|at| at.mono);
    let answering = call.attempts.iter().find(|a| a.answered.is_some());
    let answered = answering.and_then(|a| a.answered);
    let last = call.attempts.last();
    let facts = &call.facts;
    CallRecord {
        call_id: facts.call_id,
        node: facts.node.to_string(),
        uniqueid: facts.channel_id.clone(),
        linkedid: facts.channel_id.clone(),
        sip_call_id: facts.sip_call_id.clone(),
        dialled_raw: facts.dialled.raw.clone(),
        dialled_number: facts.dialled.e164.clone(),
        caller_raw: facts.caller.raw.clone(),
        caller_number: facts.caller.e164.clone(),
        caller_name: facts.caller_name.clone(),
        caller_presentation: facts.caller.presentation,
        seller_id: call.did.as_ref().map(|d| d.seller),
        seller_name: call.did.as_ref().map(|d| d.seller_name.clone()),
        did_id: call.did.as_ref().map(|d| d.id),
        campaign_id: call.campaign.as_ref().map(|c| c.id),
        campaign_name: call.campaign.as_ref().map(|c| c.name.clone()),
        last_link_id: last.map(|a| a.link.id),
        answered_link_id: answering.map(|a| a.link.id),
        answered_client_id: answering.map(|a| a.client.id),
        answered_client_name: answering.map(|a| a.client.name.clone()),
        arrived_at: call.arrived.wall,
        ringing_at: ringing.map(|at| moment(call.arrived, at)),
        answered_at: answered.map(|at| moment(call.arrived, at)),
        ended_at: moment(call.arrived, end.at),
        ended_after: end.before.map(|_| moment(call.arrived, end.at)),
        ended_before: end.before.map(|at| moment(call.arrived, at)),
        ring_ms: ringing.map_or(0, |from| millis(from, answered.unwrap_or(end.at))),
        talk_ms: answered.map_or(0, |from| millis(from, end.at)),
        dialstatus: dialstatus(end.ending, last.map(Attempt::outcome)),
        q850_cause: end.cause.or_else(|| last.and_then(|a| a.cause)),
        sip_code: i16::try_from(end.sip).ok().filter(|sip| *sip != 0),
        hung_up_by: end.by,
        ending: end.ending.to_string(),
        trace: call.trace.as_ref().and_then(|t| serde_json::to_value(t.view()).ok()),
        timeline: timeline(call),
        legacy: None,
        attempts: call.attempts.iter().map(|a| attempt(call, a, now)).collect(),
    }
}

fn attempt(call: &Call, attempt: &Attempt, now: Now) -> AttemptRecord {
    AttemptRecord {
        number: attempt.n,
        link_id: attempt.link.id,
        client_id: attempt.client.id,
        client_name: attempt.client.name.clone(),
        client_identifier: attempt.client.identifier.to_string(),
        started_at: moment(call.arrived, attempt.started),
        ringing_at: attempt.ringing.map(|at| moment(call.arrived, at)),
        answered_at: attempt.answered.map(|at| moment(call.arrived, at)),
        ended_at: moment(call.arrived, attempt.ended.unwrap_or(now)),
        outcome: attempt.outcome(),
        q850_cause: attempt.cause,
        sip_code: attempt.sip,
        counted: attempt.counted,
    }
}

/// Wall time by the clock as it was when the call arrived: a clock that jumps later bends no record.
fn moment(arrived: Now, at: Now) -> DateTime<Utc> {
    let since = at.mono.saturating_sub(arrived.mono);
    let since = Duration::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    arrived.wall + chrono::Duration::from_std(since).unwrap_or_default()
}

fn millis(from: Now, to: Now) -> i64 {
    i64::try_from(to.mono.saturating_sub(from.mono).as_millis()).unwrap_or(i64::MAX)
}

fn timeline(call: &Call) -> serde_json::Value {
    call.timeline.iter().map(|m| serde_json::json!({ "at_ms": millis(call.arrived, m.at), "event": m.event })).collect()
}
