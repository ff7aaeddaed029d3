//! The judge finds what is planted: a report of zeroes must mean something.

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::{Attempt, Row};
use super::load::Cap;
use super::verdict::{Evidence, judge};
use super::witness::Seen;

fn at(seconds: f64) -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::from_std(std::time::Duration::from_secs_f64(seconds)).expect("a few seconds")
}

/// A call that began at `began`, was answered a second later and hung up by its caller at `ended`, with its leg and its record.
fn add(evidence: &mut Evidence, id: &str, began: f64, ended: f64) {
    let carrier = Seen {
        by: "carrier".to_owned(),
        sip_call_id: id.to_owned(),
        call: String::new(),
        campaign: String::new(),
        began: at(began),
        answered: Some(at(began + 1.0)),
        ended: Some(at(ended)),
        hung_up_here: Some(true),
        status: Some(200),
    };
    let leg = Seen {
        by: "alpha".to_owned(),
        call: format!("call-{id}"),
        campaign: "Solar".to_owned(),
        hung_up_here: Some(false),
        ..carrier.clone()
    };
    let talked = (at(ended) - at(began + 1.0)).num_milliseconds();
    let row = Row {
        call_id: leg.call.clone(),
        sip_call_id: Some(id.to_owned()),
        ending: "completed".to_owned(),
        answered_at: carrier.answered,
        talk_ms: talked,
        talk_min_ms: talked,
        talk_max_ms: talked,
        answered_after: None,
        answered_before: None,
        ended_after: None,
        ended_before: None,
        attempts: vec![Attempt { client_identifier: "alpha".to_owned() }],
    };
    evidence.calls.push(carrier);
    evidence.legs.push(leg);
    evidence.rows.push(row);
}

/// Two calls, one after the other, at a centre that takes one at a time and two ever.
fn sound() -> Evidence {
    let caps = vec![Cap::Link("Solar", "alpha", 1), Cap::Total("Solar", "alpha", 2)];
    let (calls, legs, rows) = (Vec::new(), Vec::new(), Vec::new());
    let (spooled, counts, deaths) = (Vec::new(), Vec::new(), Vec::new());
    let mut evidence = Evidence { calls, legs, rows, spooled, counts, deaths, caps };
    add(&mut evidence, "a", 0.0, 10.0);
    add(&mut evidence, "b", 10.0, 20.0);
    evidence
}

/// How many were found of: lost, duplicate, foreign, dials, overruns, talk, dropped.
fn found(evidence: &Evidence) -> [usize; 7] {
    let f = judge(evidence);
    [&f.lost, &f.duplicate, &f.foreign, &f.unwritten_dials, &f.overruns, &f.talk, &f.dropped].map(Vec::len)
}

#[test]
fn sound_accounts_have_no_findings() {
    assert_eq!(found(&sound()), [0; 7]);
}

#[test]
fn a_missing_record_is_a_loss_and_beside_a_line_of_the_fallback_it_is_not_imported() {
    let mut evidence = sound();
    evidence.rows.remove(1);
    assert_eq!(found(&evidence), [1, 0, 0, 1, 0, 0, 0], "its dial is in no record either");
    evidence.spooled.push("b".to_owned());
    assert_eq!(found(&evidence), [0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(judge(&evidence).not_imported.len(), 1);
    evidence.spooled.push("a".to_owned());
    assert_eq!(found(&evidence), [0, 0, 0, 1, 0, 0, 0], "a record and the line that it was made of are one");
    evidence.spooled.push("nobody's".to_owned());
    assert_eq!(found(&evidence)[2], 1);
}

#[test]
fn a_call_that_asterisk_took_with_it_is_told_apart() {
    let mut evidence = sound();
    evidence.rows.remove(0);
    evidence.deaths.push(at(5.0));
    assert_eq!(found(&evidence)[0], 0);
    assert_eq!((judge(&evidence).died.len(), judge(&evidence).died_talking), (1, 1));
}

#[test]
fn a_call_recorded_twice_is_found() {
    let mut evidence = sound();
    let mut twin = evidence.rows[0].clone();
    (twin.call_id, twin.attempts) = ("another".to_owned(), Vec::new());
    evidence.rows.push(twin);
    assert_eq!(found(&evidence)[1], 1);
}

#[test]
fn one_leg_too_many_is_found_for_its_cap_and_for_the_total() {
    let mut evidence = sound();
    add(&mut evidence, "c", 15.0, 30.0);
    assert_eq!(found(&evidence), [0, 0, 0, 0, 2, 0, 0]);
    assert_eq!(judge(&evidence).peaks.iter().map(|(_, most)| *most).collect::<Vec<_>>(), [2, 3]);
}

#[test]
fn a_leg_of_a_caller_who_was_never_answered_is_not_of_the_total() {
    let mut evidence = sound();
    add(&mut evidence, "c", 20.0, 30.0);
    (evidence.calls[2].answered, evidence.calls[2].status, evidence.rows[2].talk_ms) = (None, Some(487), 0);
    evidence.rows[2].talk_min_ms = 0;
    assert_eq!(found(&evidence), [0; 7]);
}

/// They talked for so long at least and at most, in milliseconds.
fn recorded(row: &mut Row, least: i64, most: i64) {
    (row.talk_ms, row.talk_min_ms, row.talk_max_ms) = (least, least, most);
}

#[test]
fn talk_is_off_unless_its_end_is_declared_uncertain_around_the_truth() {
    let mut evidence = sound();
    recorded(&mut evidence.rows[0], 10_001, 10_001);
    assert_eq!(found(&evidence)[5], 1);
    recorded(&mut evidence.rows[0], 7_000, 11_000);
    (evidence.rows[0].ended_after, evidence.rows[0].ended_before) = (Some(at(8.0)), Some(at(12.0)));
    assert_eq!(found(&evidence)[5], 0);
    evidence.rows[0].ended_after = Some(at(11.5));
    assert_eq!(found(&evidence)[5], 1, "it ended before that");
    evidence.rows[0].ended_after = Some(at(8.0));
    evidence.rows[0].answered_at = Some(at(3.5));
    assert_eq!(found(&evidence)[5], 1, "it was answered before that");
    evidence.rows[0].answered_at = None;
    recorded(&mut evidence.rows[0], 0, 7_900);
    assert_eq!(found(&evidence)[5], 1, "they talked for longer than that");
    recorded(&mut evidence.rows[0], 0, 12_000);
    assert_eq!(found(&evidence)[5], 0, "answer and end lie in what is declared");
}

/// Chaos, seed 4711: answered at 39.8, found at 42.2 and gone at once.
#[test]
fn an_answer_that_was_found_late_is_off_unless_its_time_is_declared() {
    let mut evidence = sound();
    evidence.rows[0].answered_at = Some(at(9.9));
    recorded(&mut evidence.rows[0], 0, 0);
    (evidence.rows[0].ended_after, evidence.rows[0].ended_before) = (Some(at(9.9)), Some(at(10.0)));
    assert_eq!(found(&evidence)[5], 1);
    (evidence.rows[0].answered_after, evidence.rows[0].answered_before) = (Some(at(0.5)), Some(at(9.9)));
    recorded(&mut evidence.rows[0], 0, 9_500);
    assert_eq!(found(&evidence)[5], 0);
    evidence.rows[0].answered_after = Some(at(2.5));
    assert_eq!(found(&evidence)[5], 1, "it was answered before that");
}

#[test]
fn a_caller_who_was_never_answered_has_not_talked_for_certain() {
    let mut evidence = sound();
    evidence.calls[0].answered = None;
    recorded(&mut evidence.rows[0], 1_001, 9_000);
    assert_eq!(found(&evidence)[5], 1);
    recorded(&mut evidence.rows[0], 0, 9_000);
    assert_eq!(found(&evidence)[5], 0, "it only may have been");
}

#[test]
fn talk_ends_when_the_first_of_the_parties_hangs_up() {
    let mut evidence = sound();
    (evidence.calls[0].hung_up_here, evidence.legs[0].hung_up_here) = (Some(false), Some(true));
    evidence.legs[0].ended = Some(at(8.0));
    assert_eq!(found(&evidence)[5], 1, "the caller heard silence for two seconds, which is recorded as talk");
    recorded(&mut evidence.rows[0], 7_000, 7_000);
    assert_eq!(found(&evidence)[5], 0);
    evidence.legs[0].hung_up_here = Some(false);
    assert_eq!(found(&evidence)[5], 1, "the call centre's leg ended by another's hand");
}

#[test]
fn a_centre_that_is_gone_before_the_caller_is_answered_has_not_talked() {
    let mut evidence = sound();
    (evidence.calls[0].hung_up_here, evidence.legs[0].hung_up_here) = (Some(false), Some(true));
    evidence.legs[0].ended = Some(at(0.1));
    recorded(&mut evidence.rows[0], 900, 900);
    assert_eq!(found(&evidence)[5], 0);
    recorded(&mut evidence.rows[0], 1_100, 1_100);
    assert_eq!(found(&evidence)[5], 1);
}

#[test]
fn a_talk_that_neither_party_ended_was_dropped() {
    let mut evidence = sound();
    evidence.calls[0].hung_up_here = Some(false);
    assert_eq!(found(&evidence)[6], 1);
    evidence.legs[0].hung_up_here = Some(true);
    assert_eq!(found(&evidence)[6], 0, "the call centre hung up");
}
