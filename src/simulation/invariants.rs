//! What must hold when a world is quiet: one record for each call, one row for each dial, counters and permits that agree with them.

use std::time::Duration;

use chrono::{DateTime, Utc};

use super::asterisk::epoch;
use super::journal::Journal;
use super::store::Store;
use super::truth::{Call, Ended, Place, Truth};
use super::world::Line;
use crate::calls::registry::Registry;
use crate::cdr::record::{CallRecord, HungUpBy};
use crate::cdr::talk;

/// What events and requests may take without any fault.
const USUAL: Duration = Duration::from_millis(1_500);

pub(super) fn at_the_end(truth: &mut Truth, journal: &Journal, store: &Store, registry: &Registry, lines: &[Line]) {
    let mut wrong = Vec::new();
    for call in truth.calls() {
        let record = call.id.and_then(|id| store.rows.get(&id));
        let unseen = unseen(call, &lines[call.node]);
        match record {
            None => {
                let why = (!call.fell_back).then(|| missed(call, journal, unseen)).flatten();
                wrong.extend(
                    why.map(|why| format!("no record of a call {why}: {}\n    unseen {unseen:?}", call.story())),
                );
            }
            Some(record) => {
                let told = |fault| format!("{fault}: {}\n    unseen {unseen:?}\n    record {record:?}", call.story());
                wrong.extend(faults_of(truth, call, record, unseen).into_iter().map(told));
                wrong.extend(undeclared(truth, call, record, &lines[call.node], unseen).into_iter().map(told));
            }
        }
    }
    wrong.extend(journal.twice.iter().map(|call| format!("a second record of call {call}")));
    let book = registry.book();
    let snapshot = registry.snapshot();
    for link in snapshot.campaigns.values().flat_map(|campaign| &campaign.links) {
        let (ledger, rows) = (book.ledger.link_counted(link), store.totals.get(&link.id).copied().unwrap_or(0));
        if ledger != rows {
            wrong.push(format!("link {}: the ledger counts {ledger}, the records {rows}", link.id));
        }
        let really = truth.counted(link.id);
        if rows < really && link.total_calls_allowed.is_some() {
            let told_less = truth.calls().iter().filter(|call| {
                let record = call.id.and_then(|id| store.rows.get(&id));
                let counted = record.map_or(0, |record| {
                    record.attempts.iter().filter(|it| it.counted && it.link_id == link.id).count()
                });
                truth.counted_of(call, link.id) > counted
            });
            let stories: Vec<_> = told_less.map(Call::story).collect();
            wrong.push(format!(
                "link {}: the records count {rows}, really there were {really}: {}",
                link.id,
                stories.join("; ")
            ));
        }
    }
    truth.wrong.append(&mut wrong);
}

/// Why a call should have a record. A controller that is killed may take with it what the journal was just told of a call; where that
/// was all, and the call had ended before the next run looked, nobody knows of it.
fn missed(call: &Call, journal: &Journal, unseen: Duration) -> Option<&'static str> {
    let id = call.id?;
    let waited = call.caller_gone?.saturating_sub(call.entered?).saturating_sub(unseen);
    match (journal.known.contains(&id), journal.lost.contains(&id)) {
        (true, _) => Some("that the journal knew"),
        // Its end was given, too, and could not be committed.
        (false, true) if call.caller_left.is_some_and(|(by, _)| by == Place::Controller) => None,
        (false, false) if call.taken => Some("that was taken"),
        (false, _) => (waited > Duration::from_secs(4)).then_some("that nobody took"),
    }
}

/// For how long of its life a call was out of the controller's sight, or seen late.
fn unseen(call: &Call, line: &Line) -> Duration {
    let Some(entered) = call.entered else { return Duration::ZERO };
    let gone = call.dials.values().filter_map(|dial| dial.gone).chain(call.caller_gone).max().unwrap_or(entered);
    let overlap = |(from, to): &(Duration, Duration)| {
        let to = (*to).min(gone.max(*from) + (*to - *from));
        to.saturating_sub((*from).max(entered))
    };
    line.dark.iter().filter(|(from, to)| *from <= gone && *to >= entered).map(overlap).sum()
}

fn faults_of(truth: &Truth, call: &Call, record: &CallRecord, unseen: Duration) -> Vec<String> {
    let mut wrong = Vec::new();
    for (n, dial) in &call.dials {
        let kept = truth.total_of(dial.permit).is_some() || !truth.forgotten.contains(&record.call_id);
        if kept && !record.attempts.iter().any(|attempt| attempt.number == *n) {
            wrong.push(format!("dial {n} has no row"));
        }
    }
    let completed = matches!(record.ending.as_str(), "completed" | "max_duration");
    if completed != record.answered_at.is_some() && !matches!(record.ending.as_str(), "lost" | "failed" | "operator") {
        wrong.push(format!("its ending is {}, and answered at {:?}", record.ending, record.answered_at));
    }
    let seen_well = unseen.is_zero() && record.ending != "lost";
    if seen_well && call.met.is_some() != record.answered_at.is_some() {
        wrong.push("whether it was answered is told wrongly".to_owned());
    }
    if let (Some((_, met)), Some((parted, by))) = (call.met, call.parted)
        && record.answered_at.is_some()
        && record.ended_before.is_none()
    {
        let talked = parted.saturating_sub(met);
        // One that lingers although it has hung up, and of which that was not told, talks on for all that can be seen.
        let lingered = call.caller_gone.unwrap_or(parted).saturating_sub(parted);
        let unseen = if unseen.is_zero() { unseen } else { unseen + lingered };
        let told = Duration::from_millis(u64::try_from(record.talk_ms).unwrap_or(0));
        // Of a call that the journal did not come to note only the clocks tell, and they may have jumped.
        if talked.abs_diff(told) > USUAL + unseen && !truth.forgotten.contains(&record.call_id) {
            wrong.push(format!("they talked for {talked:?}, the record says {told:?}"));
        }
        let (ends, said) = (by, record.hung_up_by);
        let right = match ends {
            Ended::Caller => said == HungUpBy::Caller || call.both_left(),
            Ended::Client => said == HungUpBy::Client || call.both_left(),
            Ended::Controller => said == HungUpBy::System,
            Ended::Asterisk => true,
        };
        if seen_well && !right {
            wrong.push(format!("{ends:?} ended it, the record says {said}"));
        }
    }
    wrong
}

/// What may lie between the truth and what a record declares, as `just chaos` allows for.
const SLACK: Duration = Duration::from_secs(1);

/// Where answer, end or talk do not lie within what the record declares: whatever was unseen, the record says so.
fn undeclared(truth: &Truth, call: &Call, record: &CallRecord, line: &Line, unseen: Duration) -> Vec<String> {
    // Of a call that the journal did not come to note only the clocks tell, and they may have jumped.
    if truth.forgotten.contains(&record.call_id) {
        return Vec::new();
    }
    let Some(entered) = call.entered else { return Vec::new() };
    let over = call.caller_gone.unwrap_or(Duration::MAX);
    let late = line.late.iter().filter(|(from, to)| *from <= over && *to >= entered).map(|(from, to)| *to - *from);
    let slack = millis(SLACK + late.max().unwrap_or_default());
    // The controller's clock jumps by whole hours; a call's times are all by the clock as it was when the call arrived.
    let off = (record.arrived_at - epoch()).num_milliseconds() - millis(entered);
    let jumped = (off + HOUR / 2).div_euclid(HOUR) * HOUR;
    let at = |wall: DateTime<Utc>| (wall - epoch()).num_milliseconds() - jumped;
    let declared = |after: Option<DateTime<Utc>>, before: Option<DateTime<Utc>>, likely: Option<DateTime<Utc>>| {
        let (first, last) = (after.or(likely)?, before.or(likely)?);
        Some((at(first) - slack, at(last) + slack))
    };
    let answer = declared(record.answered_after, record.answered_before, record.answered_at);
    let end = declared(record.ended_after, record.ended_before, Some(record.ended_at));
    let talk = talk::bounds(record);
    let Some((_, met)) = call.met.map(|(n, met)| (n, millis(met))) else {
        // One that has cancelled unheard and lingers is answered for all that can be seen.
        let left = call.caller_left.map_or(Duration::MAX, |(_, left)| left);
        let lingers = !unseen.is_zero() && left.saturating_add(SLACK) < over;
        let least = if lingers { 0 } else { talk.min_ms };
        return Vec::from_iter((least > slack).then(|| format!("never answered, and {least} ms of talk for certain")));
    };
    let Some((parted, _)) = call.parted else { return Vec::new() };
    // One that lingers although it has hung up, and of which that was not told, talks on for all that can be seen.
    let (parted, gone) = (millis(parted), millis(call.caller_gone.unwrap_or(parted)));
    let mut wrong = Vec::new();
    if let Some((first, last)) = answer.filter(|(first, last)| !(*first..=*last).contains(&met)) {
        wrong.push(format!("answered at {met} ms, declared from {first} to {last} ms"));
    }
    if let Some((first, last)) = end.filter(|(first, last)| answer.is_some() && !(*first <= gone && parted <= *last)) {
        wrong.push(format!("ended at {parted} ms, declared from {first} to {last} ms"));
    }
    if talk.min_ms - slack > gone - met || talk.max_ms + slack < parted - met {
        wrong.push(format!("they talked for {} ms, declared are {} to {} ms", parted - met, talk.min_ms, talk.max_ms));
    }
    wrong
}

/// Milliseconds by which a clock jumps.
const HOUR: i64 = 3_600_000;

fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}
