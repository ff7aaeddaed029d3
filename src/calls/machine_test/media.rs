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
    let asked = bench.give(Input::LegAnswered(1));
    assert!(matches!(asked[..], [Op::AddLeg(1), Op::AnswerCaller, Op::LimitCaller(_)]), "{asked:?}");
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
    assert!(matches!(bench.give(Input::LegAnswered(2))[..], [Op::AddLeg(2), Op::AnswerCaller, Op::LimitCaller(_)]));
}

#[test]
fn a_caller_who_is_gone_before_it_is_answered_was_not() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegRinging(1));
    bench.give(Input::LegAnswered(1));
    bench.now.mono += Duration::from_millis(20);
    let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404)));
    assert_eq!(asked, [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::AnsweredLate, false));
}

#[test]
fn a_client_that_cannot_be_joined_is_not_left_with_silence() {
    for (op, failure) in [
        (Op::AddLeg(1), Failure::Rejected(500)),
        (Op::AddLeg(1), Failure::Unknown),
        (Op::AnswerCaller, Failure::Rejected(409)),
        (Op::AnswerCaller, Failure::NotSent),
    ] {
        let mut bench = dialled(&[link(1)]);
        bench.give(Input::LegAnswered(1));
        let asked = bench.give(Input::RequestFailed(op, failure));
        assert_eq!(asked, [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))], "{op}: {failure}");
        bench.give(Input::CallerGone);
        bench.gone(1, 16, 0);
        assert_eq!(bench.record().ending, "failed", "{op}: {failure}");
    }
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
