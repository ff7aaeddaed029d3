//! What attempts show of their clients; and calls that are left to another controller.

use std::time::Duration;

use super::bench::Bench;
use crate::calls::attempt::Attempt;
use crate::calls::ending::sign;
use crate::calls::io::{Failure, Input, Op};
use crate::cdr::record::AttemptOutcome as O;
use crate::routing::breaker::Sign;
use crate::routing::decision::tests::link;
use crate::routing::snapshot::Link;

#[test]
fn whatever_a_client_answers_is_a_sign_of_life_and_what_nobody_can_tell_is_none() {
    for outcome in O::ALL {
        let expected = match outcome {
            O::Congestion | O::Unavailable | O::NoProgress => Sign::Failed,
            O::Failed | O::Cancelled | O::Unknown => Sign::Unclear,
            _ => Sign::Alive,
        };
        assert_eq!(sign(*outcome), expected, "{outcome}");
    }
}

#[test]
fn ringing_is_told_at_once_and_what_follows_is_not() {
    let mut bench = Bench::new(&[link(1), link(2)]);
    bench.give(Input::LegReady(1));
    assert!(bench.signs.is_empty());
    bench.give(Input::LegRinging(1));
    assert_eq!(bench.signs, [(1, Sign::Alive)]);
    bench.gone(1, 34, 503);
    assert_eq!(bench.signs, [(1, Sign::Alive)]);
}

#[test]
fn failures_are_told_when_the_attempt_is_over() {
    let mut bench = Bench::new(&[link(1), link(2), link(3), link(4)]);
    bench.give(Input::RequestFailed(Op::CreateLeg(1), Failure::Rejected(500)));
    bench.give(Input::LegReady(2));
    bench.gone(2, 34, 503);
    bench.give(Input::LegReady(3));
    bench.give(Input::Dialled(3));
    bench.after(Duration::from_secs(5));
    bench.give(Input::LegSeen { n: 3, sip: None });
    bench.gone(3, 16, 0);
    bench.give(Input::RequestFailed(Op::CreateLeg(4), Failure::Rejected(400)));
    let signs = [(1, Sign::Failed), (2, Sign::Failed), (3, Sign::Failed), (4, Sign::Unclear)];
    assert_eq!(bench.signs, signs, "what Asterisk refuses shows nothing of the client");
}

#[test]
fn a_caller_that_goes_early_and_a_short_patience_show_nothing() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!(bench.signs, [(1, Sign::Unclear)]);
    let mut bench = Bench::new(&[Link { ring_timeout: Some(Duration::from_secs(2)), ..link(1) }]);
    bench.give(Input::LegReady(1));
    bench.after(Duration::from_secs(2));
    bench.gone(1, 16, 0);
    assert_eq!(
        (bench.call.attempt(1).map(Attempt::outcome), &bench.signs[..]),
        (Some(O::NoAnswer), &[(1, Sign::Unclear)][..])
    );
}

#[test]
fn a_client_that_queues_a_call_lives_and_the_caller_hears_ringing() {
    for sip in [181, 182, 199] {
        let mut bench = Bench::new(&[Link { ring_timeout: Some(Duration::from_secs(12)), ..link(1) }]);
        bench.give(Input::LegReady(1));
        bench.give(Input::Dialled(1));
        assert_eq!(bench.after(Duration::from_secs(1)), [Op::Look(1)]);
        assert_eq!(bench.give(Input::LegSeen { n: 1, sip: Some(sip) }), [Op::RingCaller]);
        assert_eq!(bench.signs, [(1, Sign::Alive)]);
        assert_eq!(bench.after(Duration::from_secs(10)), [], "no progress time-out");
        assert_eq!(bench.after(Duration::from_secs(1)), [Op::HangUpLeg(1)], "it has rung for long enough");
    }
}

#[test]
fn a_client_that_cannot_be_looked_at_is_given_up_when_the_look_has_taken_long_enough() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::Dialled(1));
    bench.after(Duration::from_secs(1));
    assert_eq!(bench.after(Duration::from_secs(4)), [Op::Look(1)]);
    assert_eq!(bench.after(Duration::from_millis(999)), []);
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::HangUpLeg(1)]);
    assert_eq!(bench.give(Input::LegSeen { n: 1, sip: Some(182) }), [], "too late");
}

#[test]
fn a_client_that_asterisk_did_not_come_to_ask_has_shown_nothing() {
    let mut bench = Bench::new(&[link(1)]);
    bench.after(Duration::from_secs(5));
    bench.gone(1, 16, 0);
    assert_eq!(
        (bench.call.attempt(1).map(Attempt::outcome), &bench.signs[..]),
        (Some(O::NoProgress), &[(1, Sign::Unclear)][..])
    );
}

#[test]
fn a_call_left_to_another_controller_asks_for_nothing_keeps_its_permit_and_has_no_record() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    assert!(bench.give(Input::Yield).is_empty());
    assert!(bench.call.is_done());
    assert_eq!(
        (bench.finished, bench.forgotten, &bench.left[..], bench.book.ledger.len()),
        (0, 1, &[(1, true)][..], 1)
    );
    assert!(bench.give(Input::CallerGone).is_empty() && bench.gone(1, 16, 0).is_empty());
    assert_eq!((bench.finished, bench.forgotten), (0, 1));
}

#[test]
fn a_call_whose_caller_is_gone_is_recorded_by_whoever_saw_it_go() {
    for (answered, counted) in [(false, false), (true, true)] {
        let mut bench = Bench::new(&[link(1)]);
        bench.give(Input::LegReady(1));
        if answered {
            bench.give(Input::LegAnswered(1));
            bench.give(Input::CallerUp);
        }
        bench.give(Input::CallerGone);
        assert!(bench.give(Input::Yield).is_empty());
        assert_eq!((bench.finished, bench.forgotten, &bench.left[..]), (1, 0, &[(1, counted)][..]));
    }
}

#[test]
fn a_call_whose_caller_went_unseen_is_lost_and_what_may_have_been_answered_counts() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::Missing { since: bench.now });
    bench.give(Input::Yield);
    assert_eq!((bench.finished, bench.forgotten, &bench.left[..]), (1, 0, &[(1, true)][..]));
    let attempt = bench.call.attempt(1).map(|attempt| (attempt.outcome(), attempt.counted));
    assert_eq!(attempt, Some((O::Unknown, true)));
}
