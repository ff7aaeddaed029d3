//! Answers that nobody saw, and ends that were asked for and not confirmed: what the record declares of them.

use std::time::Duration;

use super::bench::Bench;
use super::unseen::{answer, end, ringing, talking};
use crate::calls::io::{Failure, Input, Op};
use crate::calls::late::Late;
use crate::cdr::talk::{self, Talk};
use crate::routing::decision::tests::{campaign, link};
use crate::routing::snapshot::Campaign;

#[test]
fn an_answer_that_only_lists_show_is_declared_with_all_the_time_in_which_it_may_have_come() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(10);
    let since = bench.now.before(Duration::from_secs(7));
    // That the caller is up is listed first; it does not say that nobody had answered until now.
    for input in [Input::CallerUp, Input::LegAnswered(1)] {
        bench.give(Input::Late(Box::new((Late { since, likely: None }, input))));
    }
    bench.now.mono += Duration::from_secs(20);
    bench.give(Input::CallerHangup { cause: Some(16), sip: None });
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((answer(&record), end(&record)), ((3, 10), ("completed", -1, -1)));
    assert_eq!((record.talk_ms, talk::bounds(&record)), (20_000, Talk { min_ms: 20_000, max_ms: 27_000 }));
}

/// Chaos, seed 4711: answered 2.4 s before it was found, and gone at once.
#[test]
fn a_call_that_is_gone_when_its_answer_has_just_been_found_declares_both() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(10);
    let since = bench.now.before(Duration::from_secs(7));
    for input in [Input::CallerUp, Input::LegAnswered(1)] {
        bench.give(Input::Late(Box::new((Late { since, likely: None }, input))));
    }
    bench.now.mono += Duration::from_micros(14);
    bench.give(Input::Missing { since });
    bench.give(Input::LegMissing { n: 1, since });
    let record = bench.record();
    assert_eq!((answer(&record), end(&record)), ((3, 10), ("lost", 3, 10)));
    assert!(record.answered_at.is_some_and(|at| at <= record.ended_at));
    assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 7_000 });
}

#[test]
fn a_caller_who_may_have_been_answered_declares_when_and_for_how_long_at_most() {
    let mut bench = ringing();
    bench.caller_missing();
    bench.leg_missing(1);
    let record = bench.record();
    assert_eq!((record.answered_at, answer(&record)), (None, (40, 60)));
    assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 20_000 });

    // One whose hang-up was seen cannot have been.
    let mut cancelled = ringing();
    cancelled.give(Input::CallerHangup { cause: Some(127), sip: Some(487) });
    cancelled.give(Input::CallerGone);
    cancelled.leg_missing(1);
    assert_eq!((answer(&cancelled.record()), talk::bounds(&cancelled.record())), ((-1, -1), Talk::default()));
}

/// The client has answered; the answer to our request to answer the caller, and all that came after it, was lost.
#[test]
fn an_answer_that_was_asked_for_and_never_confirmed_may_have_come_until_the_end() {
    let mut bench = Bench::with(Campaign { early_media: false, ..campaign(&[link(1)]) });
    bench.give(Input::LegReady(1));
    bench.now.mono += Duration::from_secs(5);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.caller_missing();
    bench.leg_missing(1);
    let record = bench.record();
    assert_eq!((answer(&record), end(&record)), ((5, 65), ("lost", 45, 65)));
    assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 60_000 });

    // That the leg was brought to the caller says that the caller was answered before.
    let mut bench = Bench::with(Campaign { early_media: false, ..campaign(&[link(1)]) });
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.now.mono += Duration::from_secs(3);
    bench.give(Input::Joined(1));
    bench.caller_missing();
    bench.leg_missing(1);
    assert_eq!((answer(&bench.record()), end(&bench.record())), ((0, 3), ("lost", 43, 63)));
}

/// The node is away when the longest duration is over: they talk on until our hang-up reaches it.
#[test]
fn a_talk_that_we_end_may_have_gone_on_until_a_party_is_seen_to_be_gone() {
    for (slow, declared) in [(900, (-1, -1)), (5_000, (3_600, 3_605))] {
        let mut bench = talking();
        assert_eq!(bench.after(Duration::from_secs(3_600)), [Op::HangUpLeg(1), Op::HangUpCaller(None)]);
        bench.now.mono += Duration::from_millis(slow);
        bench.gone(1, 16, 0);
        bench.now.mono += Duration::from_secs(9);
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!(end(&record), ("max_duration", declared.0, declared.1));
        let bounds = talk::bounds(&record);
        assert_eq!((record.talk_ms, bounds.min_ms), (3_600_000, 3_600_000));
    }
}

/// All that is left of it is the caller's going: as the event shows, it was up, and only the client under way can have answered it.
#[test]
fn a_caller_who_goes_and_was_up_was_answered_although_nothing_told_of_its_client() {
    let up = |bench: &Bench| Late { since: bench.now.before(Duration::from_secs(7)), likely: None };
    let goes: [fn(&Bench) -> Input; 2] = [
        |_| Input::CallerHangup { cause: Some(16), sip: None },
        |bench| Input::Missing { since: bench.now.before(Duration::from_secs(7)) },
    ];
    for (goes, (ending, first)) in goes.into_iter().zip([("completed", -1), ("lost", 3)]) {
        let mut bench = ringing();
        bench.now.mono += Duration::from_secs(10);
        let late = up(&bench);
        bench.give(Input::Late(Box::new((late, Input::CallerUp))));
        let going = goes(&bench);
        assert_eq!(bench.give(going), [Op::HangUpLeg(1)]);
        bench.give(Input::LegAnswered(1));
        bench.gone(1, 16, 0);
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!((answer(&record), end(&record).0, end(&record).1), ((3, 10), ending, first));
        assert_eq!(talk::bounds(&record).max_ms, 7_000);
        assert_eq!(bench.released, [(1, true)]);
    }
    // Its INVITE had been cancelled before Asterisk could answer it.
    let mut cancelled = ringing();
    cancelled.now.mono += Duration::from_secs(10);
    let late = up(&cancelled);
    cancelled.give(Input::Late(Box::new((late, Input::CallerUp))));
    cancelled.give(Input::CallerHangup { cause: Some(127), sip: Some(487) });
    cancelled.gone(1, 16, 0);
    cancelled.give(Input::CallerGone);
    assert_eq!((cancelled.record().answered_at, cancelled.released), (None, vec![(1, false)]));
}

/// It was answered unheard, and given up for it; its end shows that it was up.
#[test]
fn a_client_found_to_have_answered_before_its_hang_up_talked_until_then() {
    let mut bench = Bench::new(&[link(1), link(2)]).of_older_asterisk();
    bench.give(Input::LegReady(1));
    bench.give(Input::LegRinging(1));
    assert_eq!(bench.after(Duration::from_secs(20)), [Op::HangUpLeg(1)]);
    let since = bench.now.before(Duration::from_secs(7));
    bench.give(Input::Late(Box::new((Late { since, likely: None }, Input::LegAnswered(1)))));
    assert_eq!(bench.gone(1, 16, 0), [Op::HangUpCaller(Some(480))], "its caller is not sold twice");
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((answer(&record), end(&record).0), ((13, 20), "completed"));
    assert_eq!(bench.released, [(1, true)]);
}

/// Whether the first request to answer the caller was carried out is not known; the second was, and then the client was not there any more.
#[test]
fn a_client_that_is_gone_when_it_is_joined_again_was_answered_and_left_nobody_knows_when() {
    let mut bench = Bench::with(Campaign { early_media: false, ..campaign(&[link(1)]) });
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    let asked = bench.give(Input::LegMedia { n: 1, usable: true });
    let join = asked.into_iter().find(|op| matches!(op, Op::Join { .. })).expect("joined");
    for op in [Op::AnswerCaller, join] {
        bench.give(Input::RequestFailed(op, Failure::Unknown));
    }
    bench.now.mono += Duration::from_secs(5);
    bench.give(Input::RequestFailed(join, Failure::Rejected(400)));
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((answer(&record), end(&record)), ((0, 5), ("failed", 0, 5)));
    assert_eq!((record.talk_ms, talk::bounds(&record)), (5_000, Talk { min_ms: 0, max_ms: 5_000 }));
}

/// Asterisk was gone when the longest duration was over: our hang-up was not what ended it.
#[test]
fn a_talk_that_we_end_on_a_node_that_is_away_may_have_ended_since_it_was_last_heard() {
    let mut bench = talking();
    bench.after(Duration::from_secs(3_600));
    for op in [Op::HangUpLeg(1), Op::HangUpCaller(None)] {
        bench.give(Input::RequestFailed(op, Failure::NotSent));
    }
    bench.now.mono += Duration::from_secs(5);
    let since = bench.now.before(Duration::from_secs(10));
    bench.give(Input::Missing { since });
    bench.give(Input::LegMissing { n: 1, since });
    let record = bench.record();
    assert_eq!(end(&record), ("max_duration", 3_595, 3_605));
    assert_eq!(talk::bounds(&record), Talk { min_ms: 3_595_000, max_ms: 3_605_000 });
}

/// The client's hang-up is heard, and then there is no caller to be hung up: it may have left while the node was away.
#[test]
fn a_talk_whose_other_party_is_found_gone_may_have_been_over_since_all_was_heard() {
    for (away, declared) in [(9_000, (51, 60)), (400, (-1, -1))] {
        let mut bench = talking();
        bench.now.mono += Duration::from_secs(60);
        assert_eq!(bench.gone(1, 16, 0), [Op::HangUpCaller(None)]);
        bench.give(Input::CallerAbsent { heard_until: bench.now.before(Duration::from_millis(away)) });
        let record = bench.record();
        assert_eq!(end(&record), ("completed", declared.0, declared.1));
        assert_eq!(record.talk_ms, 60_000);
    }
    let mut by_caller = talking();
    by_caller.now.mono += Duration::from_secs(60);
    by_caller.give(Input::CallerHangup { cause: Some(16), sip: None });
    by_caller.give(Input::CallerGone);
    by_caller.give(Input::LegAbsent { n: 1, heard_until: by_caller.now.before(Duration::from_secs(9)) });
    assert_eq!(end(&by_caller.record()), ("completed", 51, 60));

    let mut both_heard = talking();
    both_heard.now.mono += Duration::from_secs(60);
    both_heard.gone(1, 16, 0);
    both_heard.give(Input::CallerGone);
    assert_eq!(end(&both_heard.record()), ("completed", -1, -1), "it was there until then");
}

/// The caller was told 503 when our own request to answer it, slow on its way, was carried out.
#[test]
fn a_caller_answered_by_request_after_all_has_talked() {
    let mut bench = Bench::with(Campaign { early_media: false, ..campaign(&[link(1)]) });
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    let asked = bench.give(Input::LegMedia { n: 1, usable: true });
    let join = asked.into_iter().find(|op| matches!(op, Op::Join { .. })).expect("joined");
    bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(500)));
    bench.give(Input::RequestFailed(join, Failure::Unknown));
    bench.now.mono += Duration::from_secs(1);
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_secs(2);
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((record.sip_code, record.answered_at.is_some(), record.ending.as_str()), (Some(200), true, "completed"));
    assert_eq!(talk::bounds(&record).max_ms, 2_000);
    assert_eq!(bench.released, [(1, true)]);
}

/// The caller's hang-up is heard after an interruption; that its client had gone before is found by lists.
#[test]
fn a_client_that_lists_do_not_name_after_its_caller_left_may_have_gone_before() {
    let mut bench = talking();
    bench.now.mono += Duration::from_secs(60);
    let heard_until = bench.now.before(Duration::from_secs(9));
    bench.give(Input::CallerHangup { cause: Some(16), sip: None });
    bench.give(Input::CallerGone);
    bench.give(Input::LegMissing { n: 1, since: heard_until });
    assert_eq!(end(&bench.record()), ("completed", 51, 60));
}

/// Its early media was to be heard, and it could not be brought to the caller: its answer, found later, has reached nobody.
#[test]
fn a_client_that_could_not_be_joined_has_answered_nobody() {
    let mut bench = Bench::new(&[link(1), link(2)]).of_older_asterisk();
    let asked = bench.give(Input::LegReady(1));
    let join = asked.into_iter().find(|op| matches!(op, Op::Join { .. })).expect("joined before the dial");
    bench.give(Input::RequestFailed(join, Failure::Rejected(400)));
    let since = bench.now;
    bench.now.mono += Duration::from_secs(1);
    bench.give(Input::Late(Box::new((Late { since, likely: None }, Input::LegAnswered(1)))));
    assert_eq!(bench.gone(1, 16, 0), [Op::CreateLeg(2)], "the caller waits");
    assert_eq!(bench.released, [(1, false)]);
}
