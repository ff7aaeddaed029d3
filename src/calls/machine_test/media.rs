//! What the caller hears and is told where its campaign has a say in it.

use std::time::Duration;

use super::bench::Bench;
use crate::calls::io::{Failure, Input, Op};
use crate::cdr::record::AttemptOutcome;
use crate::routing::decision::tests::{campaign, link};
use crate::routing::snapshot::{Campaign, CampaignRejections, Link, Status};

fn without_early_media(links: &[Link]) -> Campaign {
    Campaign { early_media: false, ..campaign(links) }
}

/// A call whose first leg was dialled.
fn dialled(links: &[Link]) -> Bench {
    let mut bench = Bench::with(without_early_media(links));
    let asked = bench.give(Input::LegReady(1));
    assert!(matches!(asked[..], [Op::Dial { n: 1, .. }]), "the leg stays out of the bridge: {asked:?}");
    bench
}

#[test]
fn without_early_media_the_caller_rings_and_is_joined_on_the_answer() {
    let mut bench = dialled(&[link(1)]);
    assert_eq!(bench.give(Input::LegProgress(1)), [Op::RingCaller]);
    assert_eq!(bench.give(Input::LegRinging(1)), [], "once");
    assert_eq!(bench.give(Input::LegAnswered(1)), [Op::AddLeg(1)], "the bridge first");
    let asked = bench.give(Input::Joined(1));
    assert!(matches!(asked[..], [Op::AnswerCaller, Op::LimitCaller(_)]), "{asked:?}");
    assert_eq!(bench.give(Input::Joined(1)), [], "once");
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_secs(30);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.talk_ms), ("completed", Some(200), 30_000));
    assert!(record.attempts[0].counted);
}

#[test]
fn the_ringing_goes_on_through_the_next_attempt() {
    let mut bench = dialled(&[link(1), link(2)]);
    assert_eq!(bench.give(Input::LegRinging(1)), [Op::RingCaller]);
    assert_eq!(bench.gone(1, 17, 486), [Op::CreateLeg(2)]);
    assert!(matches!(bench.give(Input::LegReady(2))[..], [Op::Dial { n: 2, .. }]));
    assert_eq!(bench.give(Input::LegProgress(2)), []);
    assert_eq!(bench.give(Input::LegAnswered(2)), [Op::AddLeg(2)]);
    assert!(matches!(bench.give(Input::Joined(2))[..], [Op::AnswerCaller, Op::LimitCaller(_)]));
}

#[test]
fn with_early_media_nothing_waits_for_the_bridge() {
    let mut bench = Bench::new(&[link(1)]);
    assert!(matches!(bench.give(Input::LegReady(1))[..], [Op::AddLeg(1), Op::Dial { n: 1, .. }]));
    assert_eq!(bench.give(Input::Joined(1)), []);
    assert!(matches!(bench.give(Input::LegAnswered(1))[..], [Op::LimitCaller(_)]));
    assert_eq!(bench.give(Input::Joined(1)), []);
}

#[test]
fn a_caller_who_is_gone_before_it_is_answered_was_not() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegRinging(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::Joined(1));
    bench.now.mono += Duration::from_millis(20);
    let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404)));
    assert_eq!(asked, [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::AnsweredLate, false));
}

#[test]
fn a_client_that_cannot_be_joined_is_followed_by_the_next_and_the_caller_is_not_answered() {
    for failure in [Failure::Rejected(404), Failure::Rejected(500), Failure::NotSent, Failure::Unknown] {
        let mut bench = dialled(&[link(1), link(2)]);
        bench.give(Input::LegAnswered(1));
        // However long that took: nobody has talked.
        bench.now.mono += Duration::from_secs(3);
        let asked = bench.give(Input::RequestFailed(Op::AddLeg(1), failure));
        assert_eq!(asked, [Op::HangUpLeg(1)], "{failure}");
        assert_eq!(bench.give(Input::Joined(1)), [], "{failure}: too late");
        assert!(bench.released.is_empty(), "{failure}: the permit stays until the leg is gone");
        assert_eq!(bench.gone(1, 16, 0), [Op::CreateLeg(2)], "{failure}");
        bench.give(Input::LegReady(2));
        assert_eq!(bench.gone(2, 17, 486), [Op::HangUpCaller(Some(480))], "{failure}");
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!((record.ending.as_str(), record.sip_code, record.talk_ms), ("nobody_answered", Some(480), 0));
        assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::Failed, false));
        assert!(!bench.asked.contains(&Op::AnswerCaller), "{failure}: {:?}", bench.asked);
    }
}

#[test]
fn a_client_that_goes_before_it_is_joined_is_followed_by_the_next() {
    let mut bench = dialled(&[link(1), link(2)]);
    bench.give(Input::LegAnswered(1));
    assert_eq!(bench.gone(1, 16, 0), [Op::CreateLeg(2)]);
    assert_eq!(bench.give(Input::RequestFailed(Op::AddLeg(1), Failure::Rejected(404))), []);
    bench.give(Input::LegReady(2));
    bench.give(Input::LegAnswered(2));
    bench.give(Input::Joined(2));
    bench.give(Input::CallerUp);
    bench.give(Input::CallerGone);
    bench.gone(2, 16, 0);
    let record = bench.record();
    let outcomes: Vec<_> = record.attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(
        (record.ending.as_str(), outcomes.as_slice()),
        ("completed", &[AttemptOutcome::Failed, AttemptOutcome::Answered][..])
    );
}

#[test]
fn whoever_ends_the_call_before_the_client_is_joined_ends_one_that_was_not_answered() {
    for (input, ending, sip) in [(Input::CallerGone, "caller_cancelled", 487), (Input::Operator, "operator", 480)] {
        let mut bench = dialled(&[link(1)]);
        bench.give(Input::LegAnswered(1));
        bench.now.mono += Duration::from_secs(3);
        bench.give(input);
        assert_eq!(bench.give(Input::Joined(1)), []);
        bench.give(Input::CallerGone);
        bench.gone(1, 16, 0);
        let record = bench.record();
        assert_eq!((record.ending.as_str(), record.sip_code, record.answered_at), (ending, Some(sip), None));
        assert_eq!(bench.released, [(1, false)]);
    }
}

#[test]
fn a_caller_that_cannot_be_answered_ends_the_call() {
    for failure in [Failure::Rejected(409), Failure::NotSent] {
        let mut bench = dialled(&[link(1)]);
        bench.give(Input::LegAnswered(1));
        bench.give(Input::Joined(1));
        let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, failure));
        assert_eq!(asked, [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))], "{failure}");
        bench.give(Input::CallerGone);
        bench.gone(1, 16, 0);
        assert_eq!(bench.record().ending, "failed", "{failure}");
    }
}

#[test]
fn a_talk_that_may_have_begun_is_not_cut() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::Joined(1));
    assert_eq!(bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Unknown)), []);
    assert_eq!(bench.after(Duration::from_secs(2)), [Op::AnswerCaller], "asked for again");
    assert_eq!(bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::NotSent)), [], "the node is away");
    assert_eq!(bench.give(Input::NodeUp), [Op::AnswerCaller]);
    bench.give(Input::CallerUp);
    assert_eq!(bench.after(Duration::from_secs(60)), [], "now it is known");
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.talk_ms), ("completed", Some(200), 62_000));
}

#[test]
fn a_caller_that_turns_out_not_to_be_answered_ends_the_call() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::Joined(1));
    bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Unknown));
    let refused = || Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(409));
    assert_eq!(bench.give(refused()), [], "its events may tell");
    assert_eq!(bench.after(Duration::from_secs(1)), [Op::AnswerCaller], "they did not");
    assert_eq!(bench.give(refused()).len(), 2);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().ending, "failed");
}

/// A call whose client has answered, and whose caller Asterisk would not answer: there is none any more.
fn refused() -> Bench {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    assert_eq!(bench.after(Duration::from_millis(150)), [Op::AnswerCaller]);
    assert_eq!(bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404))), []);
    bench.now.mono += Duration::from_millis(20);
    bench
}

#[test]
fn a_caller_that_is_not_there_any_more_may_have_been_answered_by_events_on_their_way() {
    let mut bench = refused();
    bench.give(Input::CallerUp);
    assert_eq!(bench.give(Input::CallerGone), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.talk_ms), ("completed", Some(200), 170));
    assert!(record.attempts[0].counted);

    let mut bench = refused();
    bench.give(Input::CallerHangup { cause: None, sip: Some(487) });
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    assert!(!record.attempts[0].counted);

    let mut bench = refused();
    assert_eq!(bench.after(Duration::from_secs(1)), [Op::AnswerCaller], "no event came");
    let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404)));
    assert_eq!(asked, [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!(record.ending, "lost", "nobody saw it go");
    assert!(record.ended_after.is_some() && record.ended_before.is_some());

    let mut bench = refused();
    assert_eq!(bench.after(Duration::from_secs(1)), [Op::AnswerCaller]);
    bench.give(Input::CallerUp);
    bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404)));
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().ending, "completed", "it was answered, and is gone");
}

#[test]
fn a_campaign_says_what_its_callers_are_told() {
    let rejections = CampaignRejections {
        inactive_campaign: Some(410),
        no_active_link: Some(403),
        all_full: Some(503),
        nobody_answered: Some(488),
    };
    let paused = Link { status: Status::Paused, ..link(1) };
    let full = Link { max_concurrency: Some(0), ..link(1) };
    let inactive = Campaign { status: Status::Paused, ..campaign(&[link(1)]) };
    for (own, told, site) in [(inactive, 410, 404), (campaign(&[paused]), 403, 480), (campaign(&[full]), 503, 486)] {
        assert_eq!(Bench::with(own.clone()).asked, [Op::HangUpCaller(Some(site))]);
        let mut bench = Bench::with(Campaign { rejections, ..own });
        assert_eq!(bench.asked, [Op::HangUpCaller(Some(told))]);
        bench.give(Input::CallerGone);
        assert_eq!(bench.record().sip_code, Some(i16::try_from(told).expect("a SIP status")));
    }
    let mut bench = Bench::with(Campaign { rejections, ..campaign(&[link(1)]) });
    bench.give(Input::LegReady(1));
    assert_eq!(bench.gone(1, 17, 486), [Op::HangUpCaller(Some(488))]);
}
