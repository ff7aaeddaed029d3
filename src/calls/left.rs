//! PURE: calls that an earlier run of the controller left in the journal, and how they are closed when they are not taken over.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::EVENTS_BEHIND;
use super::ending::{Ending, dialstatus};
use crate::cdr::fold::label;
use crate::cdr::open::{OpenCall, OpenLeg};
use crate::cdr::record::{AttemptOutcome, CallRecord, HungUpBy};
use crate::routing::book::counts;

/// What becomes of the permit of an attempt that was left: its number, and whether it counts against the link's total.
pub(crate) type Verdict = (u32, bool);

/// The record of a call of which nothing is there any more. It lived for at least `lived` and at most `gone` after its arrival. An attempt
/// that may have been answered counts, so that no total is overshot.
pub(crate) fn lost(open: OpenCall, lived: Duration, gone: Duration) -> (CallRecord, Vec<Verdict>) {
    let known = open.known(lived);
    let OpenCall { ended, mut record, answer_open, end_open, legs, .. } = open;
    let unseen = !ended || record.ending == Ending::Lost.as_str();
    let verdicts = close_legs(&mut record, &legs, |answered| answered || unseen);
    if ended {
        // Only that its channels are gone was not seen. Where that is all that would have told of the talk's end it may have come until now,
        // and since the node was heard.
        if end_open {
            let heard = label(record.arrived_at, known);
            let unheard = (record.ended_at - heard).to_std().is_ok_and(|unheard| unheard > EVENTS_BEHIND);
            let first = if unheard { heard } else { record.ended_at };
            let last = label(record.arrived_at, gone).max(record.ended_at);
            record.ended_after = Some(record.ended_after.unwrap_or(first));
            record.ended_before = Some(record.ended_before.map_or(last, |before| before.max(last)));
        }
        return (record, verdicts);
    }
    let after = label(record.arrived_at, known);
    let before = label(record.arrived_at, gone).max(after);
    record.ended_at = after;
    (record.ended_after, record.ended_before) = (Some(after), Some(before));
    if let Some(at) = record.answered_at {
        record.answered_at = Some(at.min(after));
        record
            .attempts
            .iter_mut()
            .for_each(|attempt| attempt.answered_at = attempt.answered_at.map(|at| at.min(after)));
        if answer_open {
            record.answered_after = record.answered_after.or(record.answered_at);
            record.answered_before = Some(before);
        }
        record.answered_after = record.answered_after.map(|since| since.min(after));
    } else if record.attempts.iter().any(|attempt| attempt.outcome == AttemptOutcome::Unknown) {
        (record.answered_after, record.answered_before) = (Some(after), Some(before));
    }
    record.talk_ms = record.answered_at.map_or(0, |from| (after - from).num_milliseconds());
    let rang_until = record.answered_at.unwrap_or(after);
    record.ring_ms = record.ringing_at.map_or(0, |from| (rang_until - from).num_milliseconds());
    record.ending = Ending::Lost.to_string();
    record.hung_up_by = HungUpBy::System;
    record.dialstatus = dialstatus(Ending::Lost, record.attempts.last().map(|attempt| attempt.outcome));
    (record.q850_cause, record.sip_code) = (None, record.answered_at.map(|_| 200));
    remember(&mut record, before, "lost: nothing of it was left when another run looked");
    (record, verdicts)
}

/// Closes what an earlier run noted of a call whose caller still waits, unanswered: none of its attempts was answered.
pub(crate) fn unanswered(open: OpenCall) -> (CallRecord, Vec<Verdict>) {
    let mut record = open.record;
    for attempt in &mut record.attempts {
        attempt.answered_at = None;
    }
    (record.answered_at, record.talk_ms) = (None, 0);
    (record.answered_after, record.answered_before) = (None, None);
    let verdicts = close_unanswered(&mut record, &open.legs);
    (record, verdicts)
}

/// The record of a call that the dialplan's fallback has, so long after its arrival: of what was done for it until then.
pub(crate) fn handed_over(open: OpenCall, age: Duration) -> CallRecord {
    let mut record = unanswered(open).0;
    record.ended_at = label(record.arrived_at, age);
    record.ring_ms = record.ringing_at.map_or(0, |from| (record.ended_at - from).num_milliseconds());
    record.ending = Ending::Fallback.to_string();
    record.hung_up_by = HungUpBy::System;
    record.dialstatus = dialstatus(Ending::Fallback, record.attempts.last().map(|attempt| attempt.outcome));
    (record.q850_cause, record.sip_code) = (None, None);
    let at = record.ended_at;
    remember(&mut record, at, "handed over to the dialplan's fallback");
    record
}

/// Closes attempts whose channels were gone while the caller still waited. Their permits were given back then.
pub(crate) fn rule_out(open: &mut OpenCall, attempts: &[u32]) {
    let (gone, legs): (Vec<_>, _) = open.legs.iter().partition(|leg| attempts.contains(&leg.n));
    drop(close_unanswered(&mut open.record, &gone));
    open.legs = legs;
}

/// Closes attempts of which none was answered.
fn close_unanswered(record: &mut CallRecord, legs: &[OpenLeg]) -> Vec<Verdict> {
    close_legs(record, legs, |_| false)
}

/// Closes the attempts that another run of a call, which goes on, is done with: all but attempt `n`.
pub(crate) fn all_but(open: OpenCall, n: u32) -> (CallRecord, Vec<Verdict>) {
    let mut record = open.record;
    let others: Vec<_> = open.legs.into_iter().filter(|leg| leg.n != n).collect();
    let verdicts = close_unanswered(&mut record, &others);
    (record, verdicts)
}

/// `may_count` says whether an attempt is to be taken for answered, given whether it was noted as answered.
fn close_legs(record: &mut CallRecord, legs: &[OpenLeg], may_count: impl Fn(bool) -> bool) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for leg in legs {
        let Some(attempt) = record.attempts.iter_mut().find(|attempt| attempt.number == leg.n) else { continue };
        let unknown = attempt.outcome == AttemptOutcome::Unknown;
        let answered = attempt.answered_at.is_some();
        attempt.counted = counts(leg.count_on, true, may_count(answered) && (answered || unknown));
        verdicts.push((leg.n, attempt.counted));
    }
    verdicts
}

fn remember(record: &mut CallRecord, at: chrono::DateTime<chrono::Utc>, event: &str) {
    let Some(mut lines) = record.timeline.read::<Vec<Value>>() else { return };
    lines.push(json!({ "at_ms": (at - record.arrived_at).num_milliseconds(), "event": event }));
    record.timeline = Value::Array(lines).into();
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};

    use super::*;
    use crate::calls::io::Input;
    use crate::calls::machine_test::bench::Bench;
    use crate::cdr::talk::{self, Talk};
    use crate::clock::Stamp;
    use crate::id::LinkId;
    use crate::routing::decision::tests::link;
    use crate::routing::snapshot::{CountOn, Link};

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
    }

    /// A call 5 s after its arrival, after these inputs.
    fn open(link: Link, inputs: Vec<Input>) -> OpenCall {
        let mut bench = Bench::new(&[link]);
        for input in inputs {
            bench.now.mono += Duration::from_secs(1);
            bench.give(input);
        }
        bench.now.mono = Duration::from_secs(105);
        OpenCall::of(&bench.call, true, bench.now, Stamp { since_boot: Duration::ZERO, wall: DateTime::UNIX_EPOCH })
    }

    fn talking() -> Vec<Input> {
        vec![Input::LegReady(1), Input::LegRinging(1), Input::LegAnswered(1), Input::CallerUp]
    }

    #[test]
    fn an_attempt_that_was_ruled_out_does_not_count_when_its_call_is_lost() {
        let ringing = || vec![Input::LegReady(1), Input::LegRinging(1)];
        let by = Duration::from_secs(9);
        assert_eq!(lost(open(link(1), ringing()), by, by).1, [(1, true)], "it may have answered");
        let mut ruled_out = open(link(1), ringing());
        rule_out(&mut ruled_out, &[1]);
        let (record, verdicts) = lost(ruled_out, by, by);
        assert!(verdicts.is_empty() && !record.attempts[0].counted);
        let mut dialled = open(Link { count_on: CountOn::Attempted, ..link(1) }, ringing());
        rule_out(&mut dialled, &[1]);
        assert!(lost(dialled, by, by).0.attempts[0].counted, "every dial counts there");
    }

    #[test]
    fn a_talk_that_is_gone_ended_between_the_last_sign_and_the_look() {
        let (record, verdicts) = lost(open(link(1), talking()), Duration::from_secs(9), Duration::from_secs(12));
        assert_eq!((record.ending.as_str(), record.dialstatus.as_str()), ("lost", "ANSWER"));
        assert_eq!((record.ended_after, record.ended_before), (Some(at(9_000)), Some(at(12_000))));
        assert_eq!((record.ended_at, record.answered_at, record.talk_ms), (at(9_000), Some(at(4_000)), 5_000));
        assert_eq!((record.ring_ms, verdicts), (2_000, vec![(1, true)]));
        assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::Answered, true));
        let lines: Vec<Value> = record.timeline.read().expect("an array");
        assert_eq!(lines.last().map(|line| &line["at_ms"]), Some(&json!(12_000)));
    }

    #[test]
    fn a_dial_of_unknown_outcome_counts_and_is_named_so() {
        let (record, verdicts) = lost(open(link(1), vec![Input::LegReady(1)]), Duration::ZERO, Duration::from_secs(7));
        assert_eq!(record.ended_after, Some(at(1_000)), "its own last event; that it was noted later proves nothing");
        assert_eq!((record.attempts[0].outcome, verdicts), (AttemptOutcome::Unknown, vec![(1, true)]));
        assert_eq!((record.talk_ms, record.sip_code), (0, None));
        assert_eq!((record.answered_after, record.answered_before), (Some(at(1_000)), Some(at(7_000))));
        assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 6_000 });
    }

    #[test]
    fn an_answer_of_which_the_note_does_not_say_that_the_caller_had_it_may_have_come_until_the_end() {
        let silent = vec![Input::LegReady(1), Input::LegRinging(1), Input::LegAnswered(1)];
        let noted = open(link(1), silent);
        assert!(noted.answer_open && !open(link(1), talking()).answer_open);
        let (record, _) = lost(noted, Duration::from_secs(4), Duration::from_secs(12));
        assert_eq!((record.answered_after, record.answered_before), (Some(at(3_000)), Some(at(12_000))));
        assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 9_000 });
        let (record, _) = lost(open(link(1), talking()), Duration::from_secs(9), Duration::from_secs(12));
        assert_eq!((record.answered_after, talk::bounds(&record)), (None, Talk { min_ms: 5_000, max_ms: 8_000 }));
    }

    #[test]
    fn a_note_of_an_earlier_version_says_how_the_call_stood_when_it_was_noted() {
        let mut noted = open(link(1), vec![Input::LegReady(1)]);
        noted.heard = None;
        let (record, _) = lost(noted, Duration::ZERO, Duration::from_secs(7));
        assert_eq!(record.ended_after, Some(at(5_000)));
    }

    #[test]
    fn a_call_that_had_ended_keeps_its_end() {
        let inputs = [talking(), vec![Input::CallerGone]].concat();
        let (record, verdicts) = lost(open(link(1), inputs), Duration::from_secs(9), Duration::from_secs(12));
        assert_eq!((record.ending.as_str(), record.ended_after, record.ended_at), ("completed", None, at(5_000)));
        assert_eq!((record.talk_ms, verdicts), (1_000, vec![(1, true)]));
        let cancelled = open(link(1), vec![Input::LegReady(1), Input::CallerGone]);
        let (record, verdicts) = lost(cancelled, Duration::from_secs(9), Duration::from_secs(12));
        assert_eq!((record.ending.as_str(), verdicts), ("caller_cancelled", vec![(1, false)]));
    }

    /// The longest duration was over on a node that was away, and nothing told of its end before the controller died.
    #[test]
    fn a_talk_ended_from_here_may_have_been_over_since_the_node_was_heard() {
        for (lived, first) in [(3_590, 3_590), (3_601, 3_601)] {
            let mut bench = Bench::new(&[link(1)]);
            talking().into_iter().for_each(|input| drop(bench.give(input)));
            bench.after(Duration::from_secs(3_601));
            let stamp = Stamp { since_boot: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
            let open = OpenCall::of(&bench.call, true, bench.now, stamp);
            let (record, _) = lost(open, Duration::from_secs(lived), Duration::from_secs(3_700));
            assert_eq!(record.ending, "max_duration");
            assert_eq!((record.ended_after, record.ended_before), (Some(at(first * 1_000)), Some(at(3_700_000))));
        }
    }

    #[test]
    fn an_attempt_that_was_over_and_counts_is_counted_by_the_next_run_before_the_record_is_there() {
        let by_attempt = Link { count_on: CountOn::Attempted, ..link(1) };
        let busy = Input::LegGone { n: 1, cause: Some(17), sip: Some(486) };
        for (link, counted) in [(link(1), vec![]), (by_attempt, vec![LinkId(1)])] {
            let mut bench = Bench::new(&[link, crate::routing::decision::tests::link(2)]);
            [Input::LegReady(1), busy.clone()].into_iter().for_each(|input| drop(bench.give(input)));
            let stamp = Stamp { since_boot: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
            let open = OpenCall::of(&bench.call, true, bench.now, stamp);
            assert_eq!(open.counted().collect::<Vec<_>>(), counted);
            assert_eq!(open.legs.len(), 1, "the second attempt is under way and holds its permit");
        }
    }

    #[test]
    fn a_call_that_the_fallback_gets_keeps_its_attempts_and_what_they_count() {
        let by_attempt = Link { count_on: CountOn::Attempted, ..link(1) };
        let record =
            handed_over(open(by_attempt, vec![Input::LegReady(1), Input::LegRinging(1)]), Duration::from_secs(7));
        assert_eq!((record.ending.as_str(), record.ended_at, record.ring_ms), ("fallback", at(7_000), 5_000));
        assert_eq!((record.attempts.len(), record.attempts[0].counted, record.answered_at), (1, true, None));
    }

    #[test]
    fn a_call_that_was_lost_already_keeps_its_interval_and_what_may_have_been_answered_counts() {
        let unseen = |bench: &mut Bench| bench.give(Input::Missing { since: bench.now });
        let mut bench = Bench::new(&[link(1)]);
        bench.give(Input::LegReady(1));
        unseen(&mut bench);
        let stamp = Stamp { since_boot: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
        let open = OpenCall::of(&bench.call, true, bench.now, stamp);
        let (after, before) = (open.record.ended_after, open.record.ended_before);
        let (record, verdicts) = lost(open, Duration::from_secs(9), Duration::from_secs(12));
        assert!(after.is_some() && (record.ended_after, record.ended_before) == (after, before));
        assert_eq!((record.ending.as_str(), verdicts), ("lost", vec![(1, true)]));
    }

    #[test]
    fn a_caller_that_still_waits_was_not_answered() {
        let by_attempt = Link { count_on: CountOn::Attempted, ..link(1) };
        for (link, counted) in [(link(1), false), (by_attempt, true)] {
            let (record, verdicts) = unanswered(open(link, vec![Input::LegReady(1), Input::LegRinging(1)]));
            assert_eq!((record.attempts[0].counted, verdicts), (counted, vec![(1, counted)]));
        }
    }

    #[test]
    fn an_hour_s_jump_of_the_clock_bends_no_duration() {
        use crate::cdr::journal::Left;
        let told = |hours: i64| {
            let mut bench = Bench::new(&[link(1)]);
            let mut opened = Vec::new();
            for input in [talking(), vec![Input::CallerGone]].concat() {
                bench.now.mono += Duration::from_secs(1);
                bench.now.wall += TimeDelta::hours(hours);
                bench.give(input);
                let noted = Stamp { since_boot: bench.now.mono, wall: bench.now.wall };
                opened.push(OpenCall::of(&bench.call, true, bench.now, noted));
            }
            let looked = Stamp { since_boot: Duration::from_secs(120), wall: bench.now.wall + TimeDelta::hours(hours) };
            let left = Left { calls: Vec::new(), alive: None, same_boot: true };
            let close = |open: OpenCall| {
                let gone = open.age + left.ago(open.noted, looked);
                (gone, lost(open, Duration::ZERO, gone))
            };
            opened.into_iter().map(close).collect::<Vec<_>>()
        };
        let straight = told(0);
        let (gone, (last, _)) = straight.last().expect("it ended");
        assert_eq!((*gone, last.talk_ms, last.ring_ms), (Duration::from_secs(20), 1_000, 2_000));
        assert_eq!((told(1), told(-1)), (straight.clone(), straight));
    }
}
