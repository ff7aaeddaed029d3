//! Tests of the call's machine: each path by hand here, any order of events in `any_order`.

mod answers;
mod any_order;
pub(crate) mod bench;
mod cost;
mod media;
mod signs;
mod unseen;

use std::time::Duration;

use chrono::DateTime;

use self::bench::{Bench, facts, limits};
use super::io::{Effect, Failure, Input, Op};
use super::machine::Call;
use crate::cdr::record::{AttemptOutcome, DialStatus, HungUpBy};
use crate::clock::Now;
use crate::id::{BridgeKind, CallId, LinkId};
use crate::routing::decision::tests::{campaign, client, link, snapshot};
use crate::routing::snapshot::{CountOn, Link};

const NATIVE: BridgeKind = BridgeKind::Native;
const SETTLED: [Op; 3] = [Op::CreateLeg(1), Op::CreateBridge(NATIVE), Op::AddCaller(NATIVE)];

const PROXIED: BridgeKind = BridgeKind::Proxied;

/// Of an Asterisk that cannot be asked to tell a caller of early media.
fn older(links: &[Link]) -> Bench {
    let mut bench = Bench::before_arrival(campaign(links)).of_older_asterisk();
    bench.give(Input::Arrived { overloaded: false });
    bench
}

#[test]
fn an_answered_call_from_arrival_to_record() {
    let mut bench = Bench::new(&[link(1)]);
    assert_eq!(bench.asked, SETTLED, "at once, pipelined");
    assert!(matches!(bench.give(Input::LegReady(1))[..], [Op::Dial { n: 1, .. }]));
    bench.now.mono += Duration::from_secs(1);
    assert_eq!(bench.give(Input::LegRinging(1)), [Op::RingCaller]);
    bench.now.mono += Duration::from_secs(2);
    let join = Op::Join { n: 1, bridge: NATIVE, with_caller: false };
    let limit = Op::LimitCaller(Duration::from_secs(3605));
    assert_eq!(bench.answer(1), [Op::Mute(1), Op::LookForMedia(1), Op::AnswerCaller, join, Op::Unmute(1), limit]);
    bench.now.mono += Duration::from_secs(30);
    assert_eq!(bench.give(Input::CallerGone), [Op::HangUpLeg(1)]);
    assert!(bench.released.is_empty(), "the permit stays until the leg is gone");
    assert_eq!(bench.gone(1, 16, 0), [Op::DestroyBridge(NATIVE)]);
    let record = bench.record();
    assert_eq!(
        (record.ending.as_str(), record.hung_up_by, record.sip_code),
        ("completed", HungUpBy::Caller, Some(200))
    );
    assert_eq!((record.ring_ms, record.talk_ms), (2_000, 30_000));
    assert_eq!(record.answered_link_id, Some(LinkId(1)));
    assert_eq!(bench.released, [(1, true)]);
}

#[test]
fn an_answer_that_asterisk_does_not_pass_on_is_given_to_the_caller_all_the_same() {
    let mut bench = older(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    assert_eq!(bench.call.deadline(), Some(bench.now.mono + Duration::from_millis(150)));
    assert_eq!(bench.after(Duration::from_millis(150)), [Op::AnswerCaller]);
    bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Unknown));
    assert_eq!(bench.after(Duration::from_secs(2)), [Op::AnswerCaller], "nobody knows whether it was heard");
    bench.give(Input::CallerUp);
    assert_eq!(bench.after(Duration::from_secs(4)), []);

    let mut bench = older(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    assert_eq!(bench.after(Duration::from_millis(150)), [], "Asterisk did it");
}

#[test]
fn an_attempt_that_may_use_up_a_total_is_dialled_only_when_the_journal_has_it() {
    let mut bench = Bench::before_arrival(campaign(&[Link { total_calls_allowed: Some(1), ..link(1) }, link(2)]));
    bench.commits = false;
    let asked = bench.give(Input::Arrived { overloaded: false });
    assert_eq!(asked, SETTLED, "its channel is created meanwhile");
    assert_eq!(bench.give(Input::LegReady(1)), [], "and waits");
    assert!(matches!(bench.give(Input::Committed(1))[..], [Op::Dial { n: 1, .. }]));
    bench.gone(1, 17, 486);
    assert!(matches!(bench.give(Input::LegReady(2))[..], [Op::Dial { n: 2, .. }]), "no total, no waiting");
}

#[test]
fn an_attempt_that_the_journal_cannot_keep_sends_the_caller_elsewhere() {
    let mut bench = Bench::before_arrival(campaign(&[Link { total_calls_allowed: Some(1), ..link(1) }]));
    bench.commits = false;
    bench.give(Input::Arrived { overloaded: false });
    bench.give(Input::LegReady(1));
    assert_eq!(bench.give(Input::NotCommitted(1)), [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))]);
    bench.give(Input::CallerGone);
    bench.gone(1, 0, 0);
    assert_eq!(bench.record().ending, "overloaded");
    assert_eq!(bench.released, [(1, false)]);
}

#[test]
fn listeners_are_told_each_step_once_and_in_order() {
    use super::news::{CallNews, Happening as H, Teller};
    let mut bench = Bench::new(&[link(1), link(2)]);
    let mut teller = Teller::default();
    let mut told = teller.news(&bench.call);
    assert_eq!(told, [(H::Arrived, None), (H::AttemptStarted, Some(0))]);
    for input in [Input::LegReady(1), Input::LegRinging(1), Input::LegRinging(1)] {
        bench.give(input);
        told.extend(teller.news(&bench.call));
    }
    bench.gone(1, 17, 486);
    told.extend(teller.news(&bench.call));
    for input in [Input::LegReady(2), Input::LegAnswered(2), Input::CallerUp, Input::CallerGone] {
        bench.give(input);
        told.extend(teller.news(&bench.call));
    }
    bench.gone(2, 16, 0);
    told.extend(teller.news(&bench.call));
    let rest = [
        (H::Ringing, Some(0)),
        (H::AttemptFailed, Some(0)),
        (H::AttemptStarted, Some(1)),
        (H::Answered, Some(1)),
        (H::Clearing, Some(1)),
    ];
    assert_eq!(told[2..], rest);
    let failed = CallNews::of(&bench.call, told[3], bench.now);
    assert_eq!((failed.attempt.map(|it| it.number), failed.outcome), (Some(1), Some(AttemptOutcome::Busy)));
    assert_eq!(failed.ending, Some(("completed", HungUpBy::Caller)));
    assert!(teller.news(&bench.call).is_empty());
}

#[test]
fn the_client_hanging_up_ends_the_caller_normally() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    assert_eq!(bench.gone(1, 16, 0), [Op::HangUpCaller(None)]);
    bench.give(Input::CallerGone);
    assert_eq!(bench.record().hung_up_by, HungUpBy::Client);
}

#[test]
fn a_busy_client_is_failed_over_and_the_caller_hears_the_configured_status_in_the_end() {
    let mut bench = Bench::new(&[link(1), link(2)]);
    bench.give(Input::LegReady(1));
    assert_eq!(bench.gone(1, 17, 486), [Op::CreateLeg(2)], "bridge and caller are kept");
    bench.give(Input::LegReady(2));
    assert_eq!(bench.gone(2, 34, 503), [Op::HangUpCaller(Some(480))]);
    bench.give(Input::CallerGone);
    let record = bench.record();
    let outcomes: Vec<_> = record.attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::Busy, AttemptOutcome::Congestion]);
    assert_eq!((record.ending.as_str(), record.sip_code), ("nobody_answered", Some(480)));
    assert_eq!(record.last_link_id, Some(LinkId(2)));
    assert_eq!(bench.released, [(1, false), (2, false)]);
}

#[test]
fn a_node_that_dials_late_makes_no_client_silent() {
    let mut bench = Bench::new(&[link(1)]);
    assert!(bench.after(Duration::from_secs(3)).is_empty());
    bench.give(Input::LegReady(1));
    assert!(
        bench.after(Duration::from_secs(9)).is_empty(),
        "it may have been dialled, and answered, and neither be known here"
    );
    bench.give(Input::Dialled(1));
    assert!(bench.after(Duration::from_millis(999)).is_empty());
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::Look(1)]);
}

#[test]
fn silence_ends_an_attempt_after_the_progress_timeout_and_ringing_after_its_own() {
    let mut bench = Bench::new(&[link(1), Link { ring_timeout: Some(Duration::from_secs(7)), ..link(2) }]);
    bench.give(Input::LegReady(1));
    bench.give(Input::Dialled(1));
    assert!(bench.after(Duration::from_millis(999)).is_empty());
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::Look(1)], "an answer of which no event tells?");
    assert!(bench.give(Input::LegSeen { n: 1, sip: Some(100) }).is_empty(), "any proxy says that");
    assert!(bench.after(Duration::from_millis(3_999)).is_empty());
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::Look(1)], "for the last time");
    assert_eq!(bench.give(Input::LegSeen { n: 1, sip: None }), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    bench.give(Input::LegReady(2));
    assert_eq!(bench.give(Input::LegRinging(2)), [Op::RingCaller]);
    assert!(bench.after(Duration::from_millis(6_999)).is_empty(), "ringing outlives the progress timeout");
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::HangUpLeg(2)]);
    assert_eq!(bench.gone(2, 16, 0), [Op::HangUpCaller(Some(480))]);
    bench.give(Input::CallerGone);
    let outcomes: Vec<_> = bench.record().attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::NoProgress, AttemptOutcome::NoAnswer]);
}

#[test]
fn the_setup_budget_ends_the_search() {
    let patient = |n| Link { ring_timeout: Some(Duration::from_secs(50)), ..link(n) };
    let mut bench = Bench::new(&[patient(1), patient(2), patient(3)]);
    for n in 1..=2 {
        bench.give(Input::LegReady(n));
        bench.give(Input::LegRinging(n));
        let wait = if n == 1 { 50 } else { 10 };
        assert_eq!(bench.after(Duration::from_secs(wait)), [Op::HangUpLeg(n)]);
        bench.gone(n, 16, 0);
    }
    assert_eq!(bench.asked.last(), Some(&Op::HangUpCaller(Some(480))), "the third is not tried");
    bench.give(Input::CallerGone);
    assert_eq!(bench.record().attempts.len(), 2);
}

#[test]
fn a_long_set_up_raises_the_callers_own_time_limit() {
    let mut bench = Bench::new(&[]);
    let mut patient = campaign(&[link(1)]);
    patient.setup_budget = Some(Duration::from_secs(600));
    bench.snapshot = snapshot(patient, &[client(1)]);
    bench.call = Call::new(facts(), limits(), 0, bench.now);
    let asked = bench.give(Input::Arrived { overloaded: false });
    assert_eq!(asked[0], Op::LimitCaller(Duration::from_secs(605)));
}

#[test]
fn a_caller_who_gives_up_cancels_the_leg_and_a_late_answer_is_not_counted() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    assert_eq!(bench.give(Input::CallerHangup { cause: Some(127), sip: Some(487) }), [Op::HangUpLeg(1)]);
    assert!(bench.give(Input::CallerGone).is_empty());
    assert!(bench.give(Input::LegAnswered(1)).is_empty());
    bench.gone(1, 16, 200);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    assert_eq!(record.attempts[0].outcome, AttemptOutcome::AnsweredLate);
    assert_eq!(bench.released, [(1, false)]);
}

#[test]
fn a_caller_that_hung_up_and_stays_is_hung_up_from_here() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_secs(10);
    assert_eq!(bench.give(Input::CallerHangup { cause: Some(16), sip: None }), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    assert!(bench.after(Duration::from_millis(499)).is_empty());
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::HangUpCaller(None)]);
    bench.give(Input::CallerGone);
    assert_eq!((bench.record().ending.as_str(), bench.record().talk_ms), ("completed", 10_000));
}

#[test]
fn a_cancel_that_crosses_the_answer_is_a_cancel_for_everybody() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_millis(5);
    let asked = bench.give(Input::CallerHangup { cause: Some(127), sip: Some(487) });
    assert_eq!(asked, [Op::HangUpLeg(1)], "the carrier was never sent a 200");
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 200);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.answered_at), ("caller_cancelled", Some(487), None));
    assert_eq!(record.attempts[0].outcome, AttemptOutcome::AnsweredLate);
    assert_eq!(bench.released, [(1, false)], "not counted");
}

#[test]
fn a_caller_who_goes_before_being_answered_was_not_answered() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    assert_eq!(bench.give(Input::CallerGone), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 200);
    assert_eq!((bench.record().ending.as_str(), bench.record().answered_at), ("caller_cancelled", None));
}

#[test]
fn a_leg_that_appears_after_its_caller_went_is_hung_up_again() {
    let mut bench = Bench::new(&[link(1)]);
    assert_eq!(bench.give(Input::CallerGone), [Op::HangUpLeg(1)]);
    assert_eq!(bench.give(Input::LegReady(1)), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().attempts[0].outcome, AttemptOutcome::Cancelled);
}

#[test]
fn an_endpoint_that_cannot_be_created_is_unavailable_and_was_not_dialled() {
    let mut bench = Bench::new(&[Link { count_on: CountOn::Attempted, ..link(1) }, link(2)]);
    let asked = bench.give(Input::RequestFailed(Op::CreateLeg(1), Failure::Rejected(500)));
    assert_eq!(asked, [Op::CreateLeg(2)]);
    assert_eq!(bench.released, [(1, false)]);
}

#[test]
fn a_creation_of_unknown_outcome_is_hung_up_and_waited_for() {
    let mut bench = Bench::new(&[link(1), link(2)]);
    let asked = bench.give(Input::RequestFailed(Op::CreateLeg(1), Failure::Unknown));
    assert_eq!(asked, [Op::HangUpLeg(1)]);
    assert!(bench.released.is_empty());
    assert_eq!(bench.after(Duration::from_secs(2)), [Op::HangUpLeg(1)], "asked again while there is no evidence");
    let asked = bench.give(Input::LegAbsent { n: 1, heard_until: bench.now });
    assert_eq!(asked, [Op::CreateLeg(2)], "404 is evidence");
}

#[test]
fn the_longest_duration_ends_both_sides() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    let asked = bench.answer(1);
    assert_eq!(
        asked.last(),
        Some(&Op::LimitCaller(Duration::from_secs(3605))),
        "Asterisk's own timer stands behind ours"
    );
    assert_eq!(bench.after(Duration::from_secs(3600)), [Op::HangUpLeg(1), Op::HangUpCaller(None)]);
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    assert_eq!((bench.record().ending.as_str(), bench.record().talk_ms), ("max_duration", 3_600_000));
}

#[test]
fn an_overloaded_controller_rejects_without_routing() {
    let now = Now { mono: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
    let mut call = Call::new(facts(), limits(), 0, now);
    let effects = call.step(Input::Arrived { overloaded: true }, now);
    assert_eq!(effects, [Effect::Ask(Op::HangUpCaller(Some(503)))]);
}

#[test]
fn an_invite_of_a_call_under_way_is_ended_and_names_that_call() {
    let mut bench = Bench::before_arrival(campaign(&[link(1)]));
    let first = CallId::derive(DateTime::UNIX_EPOCH, "pbx", "other");
    assert_eq!(bench.give(Input::Merged { first }), [Op::HangUpCaller(Some(486))], "nobody is dialled");
    assert_eq!(bench.give(Input::Merged { first }), [], "told twice");
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.seller_id), ("merged", Some(486), None));
    let timeline = record.timeline.read::<serde_json::Value>().expect("it is JSON");
    assert!(timeline.to_string().contains(&first.to_string()), "{timeline}");
    assert_eq!(bench.released, []);
}

#[test]
fn attempts_of_an_earlier_run_keep_their_numbers() {
    let now = Now { mono: Duration::ZERO, wall: DateTime::UNIX_EPOCH };
    let mut call = Call::new(facts(), limits(), 2, now);
    assert_eq!(call.step(Input::Arrived { overloaded: false }, now), [Effect::Route { n: 3 }]);
    assert!(call.step(Input::LegGone { n: 2, cause: None, sip: None }, now).is_empty(), "not one of ours");
}

#[test]
fn parties_who_came_together_while_the_node_was_away_are_not_cut() {
    let mut bench = older(&[Link { ring_timeout: Some(Duration::from_secs(3)), ..link(1) }, link(2)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegRinging(1));
    assert_eq!(bench.after(Duration::from_secs(3)), [Op::HangUpLeg(1)]);
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::NotSent));
    // The socket is back, and Asterisk lists both as answered.
    bench.give(Input::CallerUp);
    assert_eq!(bench.give(Input::LegAnswered(1)), [Op::LimitCaller(Duration::from_secs(3605))]);
    assert!(bench.give(Input::NodeUp).is_empty(), "nothing is torn down");
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().attempts[0].outcome, AttemptOutcome::Answered);
}

#[test]
fn a_talk_that_began_and_ended_while_the_node_was_away_is_not_sold_again() {
    let mut bench = older(&[link(1), link(2)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegRinging(1));
    bench.give(Input::CallerUp);
    assert_eq!(bench.give(Input::LegGone { n: 1, cause: None, sip: None }), [Op::HangUpCaller(None)]);
    bench.give(Input::CallerGone);
    assert_eq!((bench.record().ending.as_str(), bench.record().hung_up_by), ("completed", HungUpBy::Client));
    assert_eq!(bench.released, [(1, true)], "it counts");
}

#[test]
fn an_answer_that_crosses_our_hang_up_and_reaches_the_caller_is_an_answer() {
    let mut bench = older(&[Link { ring_timeout: Some(Duration::from_secs(3)), ..link(1) }, link(2)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegRinging(1));
    assert_eq!(bench.after(Duration::from_secs(3)), [Op::HangUpLeg(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_millis(700);
    assert_eq!(bench.gone(1, 16, 0), [Op::HangUpCaller(None)], "nobody else is dialled for a caller who was answered");
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.hung_up_by, record.talk_ms), ("completed", HungUpBy::System, 700));
    assert_eq!(bench.released, [(1, true)], "it counts");
}

#[test]
fn an_answer_that_crosses_a_rejection_and_reaches_the_caller_counts() {
    let mut bench = older(&[link(1)]);
    bench.give(Input::LegReady(1));
    assert_eq!(bench.give(Input::Operator), [Op::HangUpLeg(1), Op::HangUpCaller(Some(480))]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.hung_up_by, record.sip_code), ("operator", HungUpBy::System, Some(200)));
    assert_eq!(bench.released, [(1, true)]);
}

#[test]
fn a_hang_up_that_never_left_waits_for_the_comparison() {
    let mut bench = Bench::new(&[Link { ring_timeout: Some(Duration::from_secs(3)), ..link(1) }]);
    bench.give(Input::LegReady(1));
    bench.after(Duration::from_secs(3));
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::NotSent));
    assert!(bench.after(Duration::from_secs(2)).is_empty(), "it may have been answered meanwhile");
    assert_eq!(bench.give(Input::NodeUp), [Op::HangUpLeg(1)]);
}

#[test]
fn nobody_is_dialled_into_a_bridge_whose_caller_may_be_missing() {
    let mut bench = older(&[link(1), link(2)]);
    assert_eq!(bench.give(Input::RequestFailed(Op::AddCaller(PROXIED), Failure::Unknown)), [Op::HangUpLeg(1)]);
    let again = [Op::CreateLeg(2), Op::CreateBridge(PROXIED), Op::AddCaller(PROXIED)];
    assert_eq!(bench.gone(1, 16, 0), again);
}

#[test]
fn a_time_limit_that_asterisk_did_not_take_is_asked_for_again() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.give(Input::RequestFailed(Op::LimitCaller(Duration::ZERO), Failure::NotSent));
    assert_eq!(bench.after(Duration::from_secs(2)), [Op::LimitCaller(Duration::from_secs(3603))]);
    assert!(bench.after(Duration::from_secs(2)).is_empty());
}

#[test]
fn a_drain_that_is_over_sends_unanswered_callers_elsewhere_and_leaves_talks_alone() {
    let mut ringing = Bench::new(&[link(1), link(2)]);
    ringing.give(Input::LegReady(1));
    assert_eq!(ringing.give(Input::Shed), [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))]);
    let mut talking = Bench::new(&[link(1)]);
    talking.give(Input::LegReady(1));
    talking.give(Input::LegAnswered(1));
    assert!(talking.give(Input::Shed).is_empty());
    let mut hearing = Bench::new(&[link(1)]);
    hearing.give(Input::LegReady(1));
    hearing.give(Input::LegProgress(1));
    hearing.give(Input::LegSounds(1));
    assert!(hearing.give(Input::Shed).is_empty(), "the client may answer at any moment");
}

#[test]
fn an_operator_ends_a_talk_normally_and_an_unanswered_call_with_the_configured_status() {
    let mut talking = Bench::new(&[link(1), link(2)]);
    talking.give(Input::LegReady(1));
    talking.give(Input::LegAnswered(1));
    talking.give(Input::CallerUp);
    talking.now.mono += Duration::from_secs(8);
    assert_eq!(talking.give(Input::Operator), [Op::HangUpLeg(1), Op::HangUpCaller(None)]);
    assert!(talking.give(Input::Operator).is_empty(), "once is enough");
    assert!(!talking.book.ledger.is_empty(), "the permit stays until the leg is gone");
    talking.gone(1, 16, 0);
    talking.give(Input::CallerGone);
    let record = talking.record();
    assert_eq!((record.ending.as_str(), record.hung_up_by), ("operator", HungUpBy::System));
    assert_eq!((record.dialstatus, record.sip_code, record.talk_ms), (DialStatus::Answer, Some(200), 8_000));
    assert_eq!(talking.released, [(1, true)]);

    let mut ringing = Bench::new(&[link(1), link(2)]);
    ringing.give(Input::LegReady(1));
    ringing.give(Input::LegRinging(1));
    assert_eq!(ringing.give(Input::Operator), [Op::HangUpLeg(1), Op::HangUpCaller(Some(480))]);
    assert!(ringing.gone(1, 16, 0).is_empty(), "nobody else is tried");
    ringing.give(Input::CallerGone);
    let record = ringing.record();
    assert_eq!((record.ending.as_str(), record.dialstatus), ("operator", DialStatus::NoAnswer));
    assert_eq!(record.attempts[0].outcome, AttemptOutcome::Cancelled);
    assert_eq!(ringing.released, [(1, false)]);
}

#[test]
fn a_call_of_which_a_party_was_replaced_ends_and_says_so() {
    let mut talking = Bench::new(&[link(1)]);
    talking.give(Input::LegReady(1));
    talking.give(Input::LegAnswered(1));
    talking.give(Input::CallerUp);
    talking.now.mono += Duration::from_secs(8);
    assert_eq!(talking.give(Input::Replaced(Some(1))), [Op::HangUpLeg(1), Op::HangUpCaller(None)]);
    assert!(!talking.book.ledger.is_empty(), "the permit stays until the leg is gone");
    talking.gone(1, 16, 0);
    talking.give(Input::CallerGone);
    let record = talking.record();
    assert_eq!((record.ending.as_str(), record.hung_up_by), ("completed", HungUpBy::System));
    assert_eq!((record.dialstatus, record.talk_ms), (DialStatus::Answer, 8_000));

    let mut ringing = Bench::new(&[link(1)]);
    ringing.give(Input::LegReady(1));
    ringing.give(Input::LegRinging(1));
    assert_eq!(ringing.give(Input::Replaced(None)), [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))]);
    ringing.gone(1, 16, 0);
    ringing.give(Input::CallerGone);
    assert_eq!((ringing.record().ending.as_str(), ringing.released.as_slice()), ("failed", &[(1, false)][..]));
    assert_eq!(Input::Replaced(Some(1)).to_string(), "leg_replaced(1)");
}

#[test]
fn a_node_that_never_answers_again_gives_its_permits_back_when_asterisk_must_have_ended_all() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.after(Duration::from_secs(3600));
    // Set-up budget 60 s, ring timeout 20 s, longest duration 3600 s, and 600 s to be sure.
    bench.after(Duration::from_secs(60 + 20 + 600 - 1));
    assert!(!bench.book.ledger.is_empty(), "no evidence yet");
    bench.after(Duration::from_secs(1));
    assert_eq!(bench.record().ending, "max_duration");
}

#[test]
fn a_dial_that_did_not_happen_is_not_counted() {
    let mut bench = Bench::new(&[Link { count_on: CountOn::Attempted, ..link(1) }]);
    bench.give(Input::LegReady(1));
    bench.give(Input::RequestFailed(Op::Dial { n: 1, timeout: Duration::ZERO }, Failure::NotSent));
    bench.gone(1, 16, 0);
    assert_eq!(bench.released, [(1, false)]);
}

#[test]
fn count_on_attempted_counts_every_dial() {
    let mut bench = Bench::new(&[Link { count_on: CountOn::Attempted, ..link(1) }]);
    bench.give(Input::LegReady(1));
    bench.gone(1, 17, 486);
    assert_eq!(bench.released, [(1, true)]);
}
