//! PURE: folds what a call went through into its record.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Serialize;
use serde_json::Value;

use super::json::Json;
use super::record::{AttemptOutcome, AttemptRecord, CallRecord, HungUpBy};
use crate::calls::answer::{Answer, earlier, later};
use crate::calls::attempt::Attempt;
use crate::calls::ending::{Ending, dialstatus};
use crate::calls::machine::{Call, End};
use crate::clock::Now;

/// The record of a call; `now` is used for whatever has not ended, so that no call is without a record.
#[must_use]
pub fn record(call: &Call, now: Now) -> CallRecord {
    let trace = call.trace.as_ref().and_then(|trace| Json::of(&trace.view()));
    let earlier = || call.before.as_ref().and_then(|before| before.trace.clone());
    CallRecord { trace: trace.or_else(earlier), ..so_far(call, now) }
}

/// The same without its trace, which is long and changes only once.
#[must_use]
pub fn so_far(call: &Call, now: Now) -> CallRecord {
    let end = call.end.unwrap_or(End {
        ending: Ending::Failed,
        by: HungUpBy::System,
        at: now,
        within: None,
        sip: 0,
        cause: None,
    });
    let attempts = attempts(call, now);
    let ringing_at = attempts.iter().filter_map(|attempt| attempt.ringing_at).min();
    let answering = call.attempts.iter().find(|a| a.answered.is_some());
    let (likely, within) = answered(call, answering, end);
    let answered_at = likely.map(|at| moment(call.arrived, at));
    let ended_at = moment(call.arrived, end.at);
    let last = call.attempts.last();
    let before = call.before.as_deref();
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
        seller_id: before.and_then(|b| b.seller_id).or(call.did.as_ref().map(|d| d.seller)),
        seller_name: before.and_then(|b| b.seller_name.clone()).or(call.did.as_ref().map(|d| d.seller_name.clone())),
        did_id: before.and_then(|b| b.did_id).or(call.did.as_ref().map(|d| d.id)),
        campaign_id: before.and_then(|b| b.campaign_id).or(call.campaign.as_ref().map(|c| c.id)),
        campaign_name: before.and_then(|b| b.campaign_name.clone()).or(call.campaign.as_ref().map(|c| c.name.clone())),
        last_link_id: attempts.last().map(|a| a.link_id),
        answered_link_id: answering.map(|a| a.link.id),
        answered_client_id: answering.map(|a| a.client.id),
        answered_client_name: answering.map(|a| a.client.name.clone()),
        arrived_at: call.arrived.wall,
        ringing_at,
        answered_at,
        answered_after: within.map(|(after, _)| moment(call.arrived, after)),
        answered_before: within.map(|(_, before)| moment(call.arrived, before)),
        ended_at,
        ended_after: end.within.map(|(after, _)| moment(call.arrived, after)),
        ended_before: end.within.map(|(_, before)| moment(call.arrived, before)),
        ring_ms: ringing_at.map_or(0, |from| (answered_at.unwrap_or(ended_at) - from).num_milliseconds()),
        talk_ms: answered_at.map_or(0, |from| (ended_at - from).num_milliseconds()),
        dialstatus: dialstatus(end.ending, last.map(Attempt::outcome)),
        q850_cause: end.cause.or_else(|| last.and_then(|a| a.cause)),
        sip_code: i16::try_from(end.sip).ok().filter(|sip| *sip != 0),
        hung_up_by: end.by,
        ending: end.ending.to_string(),
        trace: None,
        timeline: timeline(call),
        legacy: None,
        attempts,
    }
}

/// When the caller was answered, most likely, and within which time, where nobody saw when.
fn answered(call: &Call, by: Option<&Attempt>, end: End) -> (Option<Now>, Option<(Now, Now)>) {
    let Some(answer) = by.and_then(|attempt| attempt.answered) else { return (None, may_have_answered(call)) };
    let likely = answer_at(answer, call.end);
    let within = answer.within(end.within.map_or(end.at, |(_, before)| before));
    (Some(likely), within.map(|(after, before)| (earlier(after, likely), later(before, likely))))
}

/// When the caller was answered, most likely. Where the end is only likely, too, the answer lies before it.
fn answer_at(answer: Answer, end: Option<End>) -> Now {
    end.map_or(answer.at, |end| earlier(answer.at, end.at))
}

/// Within which time a caller was answered of whom nobody knows whether it was.
fn may_have_answered(call: &Call) -> Option<(Now, Now)> {
    let end = call.end?;
    let attempt = call.attempts.iter().find(|attempt| attempt.outcome() == AttemptOutcome::Unknown)?;
    Some(end.within.unwrap_or((attempt.started, later(end.at, attempt.ended.unwrap_or(end.at)))))
}

/// What an earlier run noted of its attempts, then those of this one.
fn attempts(call: &Call, now: Now) -> Vec<AttemptRecord> {
    let own = |number| call.attempt(number).is_some();
    let earlier = call.before.iter().flat_map(|before| before.attempts.iter()).filter(|it| !own(it.number)).cloned();
    earlier.chain(call.attempts.iter().map(|it| attempt(call, it, now))).collect()
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
        answered_at: attempt.answered.map(|answer| moment(call.arrived, answer_at(answer, call.end))),
        ended_at: moment(call.arrived, attempt.ended.unwrap_or(now)),
        outcome: attempt.outcome(),
        q850_cause: attempt.cause,
        sip_code: attempt.sip,
        counted: attempt.counted,
    }
}

/// Wall time by the clock as it was when the call arrived: a clock that jumps later bends no record.
fn moment(arrived: Now, at: Now) -> DateTime<Utc> {
    label(arrived.wall, at.mono.saturating_sub(arrived.mono))
}

/// One line of the timeline.
#[derive(Serialize)]
struct Line<'a> {
    at_ms: i64,
    event: &'a str,
}

fn timeline(call: &Call) -> Json {
    let own = call.timeline.iter().map(|moment| {
        let at_ms = moment.at.mono.saturating_sub(call.arrived.mono).as_millis();
        Line { at_ms: i64::try_from(at_ms).unwrap_or(i64::MAX), event: &moment.event }
    });
    match &call.before {
        None => Json::of(&own.collect::<Vec<_>>()).unwrap_or_else(|| Json::from(Value::Null)),
        Some(before) => {
            let earlier = before.timeline.read::<Vec<Value>>().into_iter().flatten();
            Json::from(earlier.chain(own.filter_map(|line| serde_json::to_value(line).ok())).collect::<Value>())
        }
    }
}

/// Wall time of a moment of a call, by the clock as it was when the call arrived.
#[must_use]
pub(crate) fn label(arrived: DateTime<Utc>, since: Duration) -> DateTime<Utc> {
    let since = Duration::from_micros(u64::try_from(since.as_micros()).unwrap_or(u64::MAX));
    arrived + chrono::Duration::from_std(since).unwrap_or_default()
}
