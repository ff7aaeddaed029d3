//! What the caller hears and is told where its campaign has a say in it.

use std::time::Duration;

use super::bench::Bench;
use crate::calls::io::{Failure, Input, Op};
use crate::calls::news::{Happening, Teller};
use crate::cdr::record::AttemptOutcome;
use crate::id::BridgeKind;
use crate::routing::decision::tests::{campaign, link};
use crate::routing::snapshot::{Campaign, CampaignRejections, Link, Status};

const NATIVE: BridgeKind = BridgeKind::Native;
const PROXIED: BridgeKind = BridgeKind::Proxied;
const JOIN_1: Op = native(1, false);

const fn native(n: u32, with_caller: bool) -> Op {
    Op::Join { n, bridge: NATIVE, with_caller }
}

const fn proxied(n: u32, with_caller: bool) -> Op {
    Op::Join { n, bridge: PROXIED, with_caller }
}

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
    assert_eq!(
        bench.give(Input::LegAnswered(1)),
        [Op::Mute(1), Op::LookForMedia(1)],
        "not before it is known to be heard"
    );
    let asked = bench.give(Input::LegMedia { n: 1, usable: true });
    assert!(
        matches!(asked[..], [Op::AnswerCaller, JOIN_1, Op::Unmute(1), Op::LimitCaller(_)]),
        "both are up when the leg joins: {asked:?}"
    );
    assert_eq!(bench.give(Input::LegMedia { n: 1, usable: true }), [], "once");
    assert_eq!(bench.give(Input::Joined(1)), []);
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
    assert_eq!(bench.give(Input::LegAnswered(2)), [Op::Mute(2), Op::LookForMedia(2)]);
    let asked = bench.give(Input::LegMedia { n: 2, usable: true });
    assert!(asked.starts_with(&[Op::AnswerCaller, native(2, false), Op::Unmute(2)]), "{asked:?}");
}

#[test]
fn a_caller_who_is_gone_before_it_is_answered_was_not() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegRinging(1));
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.now.mono += Duration::from_millis(20);
    let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(404)));
    assert_eq!(asked, [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::AnsweredLate, false));
}

#[test]
fn a_client_that_is_not_known_to_be_heard_is_followed_by_the_next_and_the_caller_is_not_answered() {
    for failure in [Failure::Rejected(404), Failure::Rejected(500), Failure::NotSent, Failure::Unknown] {
        let mut bench = dialled(&[link(1), link(2)]);
        bench.give(Input::LegAnswered(1));
        // However long that took: nobody has talked.
        bench.now.mono += Duration::from_secs(3);
        let asked = bench.give(Input::RequestFailed(Op::LookForMedia(1), failure));
        assert_eq!(asked, [Op::HangUpLeg(1)], "{failure}");
        assert_eq!(bench.give(Input::LegMedia { n: 1, usable: true }), [], "{failure}: too late");
        assert!(bench.released.is_empty(), "{failure}: the permit stays until the leg is gone");
        assert_eq!(bench.gone(1, 16, 0), [Op::CreateLeg(2)], "{failure}");
        bench.give(Input::LegReady(2));
        assert_eq!(bench.gone(2, 17, 486), [Op::HangUpCaller(Some(480))], "{failure}");
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!((record.ending.as_str(), record.sip_code, record.talk_ms), ("nobody_answered", Some(480), 0));
        assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::Misconfigured, false));
        assert!(!bench.asked.contains(&Op::AnswerCaller), "{failure}: {:?}", bench.asked);
    }
}

#[test]
fn a_caller_who_was_answered_and_whose_client_could_not_be_joined_is_not_left_in_dead_air() {
    for failure in [Failure::Rejected(400), Failure::Rejected(500)] {
        let mut bench = dialled(&[link(1), link(2)]);
        bench.give(Input::LegAnswered(1));
        bench.give(Input::LegMedia { n: 1, usable: true });
        // That the caller is up is told later: it was asked for before, and did not fail.
        let asked = bench.give(Input::RequestFailed(JOIN_1, failure));
        assert_eq!(asked, [Op::HangUpLeg(1), Op::HangUpCaller(None)], "{failure}");
        bench.gone(1, 16, 0);
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!((record.ending.as_str(), record.sip_code), ("failed", Some(200)), "{failure}");
        assert_eq!(bench.released, [(1, true)], "it was answered");
    }
}

#[test]
fn a_client_that_goes_before_it_is_joined_is_followed_by_the_next() {
    let mut bench = dialled(&[link(1), link(2)]);
    bench.give(Input::LegAnswered(1));
    assert_eq!(bench.gone(1, 16, 0), [Op::CreateLeg(2)]);
    assert_eq!(bench.give(Input::RequestFailed(Op::LookForMedia(1), Failure::Rejected(404))), []);
    bench.give(Input::LegReady(2));
    bench.answer(2);
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
        assert_eq!(bench.give(Input::LegMedia { n: 1, usable: true }), []);
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
    bench.give(Input::LegMedia { n: 1, usable: true });
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
    bench.give(Input::LegMedia { n: 1, usable: true });
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
    let mut bench = Bench::before_arrival(campaign(&[link(1)])).of_older_asterisk();
    bench.give(Input::Arrived { overloaded: false });
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

/// A call, of an Asterisk that can tell callers of early media, whose first leg was dialled.
fn early(links: &[Link]) -> Bench {
    let mut bench = Bench::new(links);
    assert!(matches!(bench.give(Input::LegReady(1))[..], [Op::Dial { n: 1, .. }]), "the leg stays out of the bridge");
    bench
}

#[test]
fn early_media_is_passed_on_when_it_is_first_heard() {
    let mut bench = early(&[link(1)]);
    assert_eq!(bench.give(Input::LegProgress(1)), [Op::Listen(1), Op::CreateBridge(PROXIED)]);
    assert_eq!(bench.give(Input::LegProgress(1)), [], "once");
    assert_eq!(bench.give(Input::LegSounds(1)), [Op::Progress, proxied(1, true), Op::StopListening(1)]);
    assert_eq!(bench.give(Input::LegSounds(1)), [], "once");
    assert_eq!(bench.give(Input::Joined(1)), []);
    assert_eq!(bench.after(Duration::from_secs(3)), [], "nothing rings over it");
    let asked = bench.give(Input::LegAnswered(1));
    assert!(matches!(asked[..], [Op::LimitCaller(_)]), "Asterisk passes the answer on: {asked:?}");
    bench.give(Input::CallerUp);
    assert_eq!(bench.after(Duration::from_secs(1)), []);
    bench.give(Input::CallerGone);
    let gone = bench.gone(1, 16, 0);
    assert_eq!(gone, [Op::DestroyBridge(NATIVE), Op::DestroyBridge(PROXIED)]);
    assert_eq!(bench.record().ending, "completed");
}

#[test]
fn announced_media_that_is_not_heard_is_ringing_to_the_caller() {
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    assert_eq!(bench.call.deadline(), Some(bench.now.mono + Duration::from_millis(250)));
    assert_eq!(bench.after(Duration::from_millis(249)), []);
    assert_eq!(bench.after(Duration::from_millis(1)), [Op::RingCaller]);
    assert_eq!(bench.after(Duration::from_secs(2)), [], "once");
    // Later it is heard all the same.
    assert_eq!(bench.give(Input::LegSounds(1)), [Op::Progress, proxied(1, true), Op::StopListening(1)]);

    // 180 with SDP: Asterisk tells of ringing as well, and the caller rings at once.
    let mut bench = early(&[link(1)]);
    assert_eq!(bench.give(Input::LegRinging(1)), [Op::RingCaller]);
    assert_eq!(bench.give(Input::LegProgress(1)), [Op::Listen(1), Op::CreateBridge(PROXIED)]);
    assert_eq!(bench.after(Duration::from_secs(1)), []);
    let asked = bench.give(Input::LegAnswered(1));
    assert_eq!(asked, [Op::StopListening(1), Op::Mute(1), Op::LookForMedia(1)]);
    assert!(
        bench.give(Input::LegMedia { n: 1, usable: true }).contains(&JOIN_1),
        "who meet at the answer talk natively"
    );
}

#[test]
fn after_early_media_the_next_client_rings_in_the_audio_and_is_heard_in_the_same_bridge() {
    let mut bench = early(&[link(1), link(2)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    bench.give(Input::Joined(1));
    assert_eq!(bench.gone(1, 17, 486), [Op::CreateLeg(2)]);
    bench.give(Input::LegReady(2));
    assert_eq!(bench.give(Input::LegRinging(2)), [Op::RingCaller]);
    assert_eq!(bench.give(Input::LegProgress(2)), [Op::Listen(2)]);
    assert_eq!(bench.give(Input::LegSounds(2)), [Op::StopRinging, proxied(2, false), Op::StopListening(2)]);

    let mut bench = early(&[link(1), link(2)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    bench.give(Input::Joined(1));
    bench.gone(1, 17, 486);
    bench.give(Input::LegReady(2));
    let asked = bench.answer(2);
    assert!(
        matches!(asked[..], [Op::LookForMedia(2), Op::AnswerCaller, join, Op::LimitCaller(_)] if join == proxied(2, false)),
        "the caller stays where it is: {asked:?}"
    );
}

#[test]
fn an_answer_that_may_have_come_before_its_leg_into_the_bridge_is_given_to_the_caller() {
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    assert_eq!(bench.give(Input::LegAnswered(1)), []);
    assert!(matches!(bench.give(Input::Joined(1))[..], [Op::AnswerCaller, Op::LimitCaller(_)]));
}

/// Whether the leg came into the bridge is not known. That its answer brought the caller up says so, and since when they talk.
#[test]
fn a_caller_who_comes_up_by_the_answer_was_together_with_the_client() {
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    bench.give(Input::RequestFailed(proxied(1, true), Failure::Unknown));
    bench.now.mono += Duration::from_secs(4);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_secs(1);
    assert!(
        bench.give(Input::LegMedia { n: 1, usable: true }).contains(&proxied(1, false)),
        "it is asked for all the same"
    );
    bench.give(Input::Joined(1));
    bench.now.mono += Duration::from_secs(9);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.talk_ms, record.answered_after), (10_000, None));
}

#[test]
fn an_answer_without_usable_media_is_none() {
    for early_media in [true, false] {
        let mut bench = Bench::with(Campaign { early_media, ..campaign(&[link(1), link(2)]) });
        bench.give(Input::LegReady(1));
        bench.give(Input::LegRinging(1));
        let mut teller = Teller::default();
        teller.news(&bench.call);
        bench.give(Input::LegAnswered(1));
        assert_eq!(teller.news(&bench.call), [], "nobody is told of an answer that may be none");
        assert_eq!(bench.give(Input::LegMedia { n: 1, usable: false }), [Op::HangUpLeg(1)]);
        assert_eq!(bench.gone(1, 16, 200), [Op::CreateLeg(2)], "the caller still rings");
        bench.give(Input::LegReady(2));
        let asked = bench.answer(2);
        assert!(asked.contains(&native(2, false)) && asked.contains(&Op::AnswerCaller), "{asked:?}");
        let told = teller.news(&bench.call);
        assert!(told.contains(&(Happening::Answered, Some(1))) && !told.contains(&(Happening::Answered, Some(0))));
        bench.give(Input::CallerGone);
        bench.gone(2, 16, 0);
        let record = bench.record();
        let outcomes: Vec<_> = record.attempts.iter().map(|a| (a.outcome, a.counted)).collect();
        assert_eq!(outcomes, [(AttemptOutcome::Misconfigured, false), (AttemptOutcome::Answered, true)]);
    }
}

#[test]
fn early_media_that_asterisk_cannot_tell_of_is_passed_on_when_it_is_announced() {
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    let asked = bench.give(Input::RequestFailed(Op::Listen(1), Failure::Rejected(500)));
    assert_eq!(asked, [Op::Progress, proxied(1, true), Op::StopListening(1)]);
}

#[test]
fn early_media_that_cannot_be_passed_on_is_ringing_and_the_answer_is_tried_again() {
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    assert_eq!(bench.give(Input::RequestFailed(proxied(1, true), Failure::Rejected(500))), [Op::RingCaller]);
    let asked = bench.answer(1);
    assert!(asked.contains(&native(1, true)) && asked.contains(&Op::AnswerCaller), "{asked:?}");
}

#[test]
fn an_older_asterisk_brings_them_together_before_the_dial() {
    let mut bench = Bench::before_arrival(campaign(&[link(1)])).of_older_asterisk();
    let asked = bench.give(Input::Arrived { overloaded: false });
    assert_eq!(asked, [Op::CreateLeg(1), Op::CreateBridge(PROXIED), Op::AddCaller(PROXIED)]);
    assert!(matches!(bench.give(Input::LegReady(1))[..], [join, Op::Dial { n: 1, .. }] if join == proxied(1, false)));
    assert_eq!(bench.give(Input::LegRinging(1)), [], "Asterisk passes it on");
    assert_eq!(bench.give(Input::LegProgress(1)), []);
    assert_eq!(bench.give(Input::Joined(1)), []);
    assert!(matches!(bench.give(Input::LegAnswered(1))[..], [Op::LimitCaller(_)]));
    assert_eq!(bench.give(Input::Joined(1)), []);
}

#[test]
fn a_client_that_may_still_be_muted_is_not_left_so() {
    let mut bench = dialled(&[link(1)]);
    bench.answer(1);
    bench.give(Input::RequestFailed(Op::Unmute(1), Failure::NotSent));
    assert_eq!(bench.give(Input::NodeUp), [Op::Unmute(1)]);
    bench.give(Input::RequestFailed(Op::Unmute(1), Failure::Unknown));
    assert_eq!(bench.after(Duration::from_secs(4)), [Op::Unmute(1)]);
    assert_eq!(bench.after(Duration::from_secs(60)), []);
}

#[test]
fn a_caller_that_asterisk_fails_to_answer_has_cancelled_as_its_events_say() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    assert_eq!(bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(500))), [], "they are on their way");
    assert_eq!(bench.give(Input::CallerHangup { cause: Some(127), sip: Some(487) }), [Op::HangUpLeg(1)]);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.answered_at), ("caller_cancelled", Some(487), None));
    assert_eq!(bench.released, [(1, false)]);
}

/// Both are being hung up, as they could not be brought together, when the caller's CANCEL is told.
#[test]
fn a_caller_who_had_cancelled_was_not_answered_whatever_was_done_meanwhile() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    assert!(bench.give(Input::RequestFailed(JOIN_1, Failure::Rejected(500))).contains(&Op::HangUpLeg(1)));
    assert_eq!(bench.give(Input::CallerHangup { cause: Some(127), sip: Some(487) }), []);
    bench.give(Input::CallerUp);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.sip_code, record.answered_at), ("caller_cancelled", Some(487), None));
    assert_eq!(record.attempts[0].outcome, AttemptOutcome::AnsweredLate);
}

#[test]
fn parties_of_whom_nobody_knows_whether_they_are_together_are_brought_together_again() {
    for failure in [Failure::NotSent, Failure::Unknown] {
        let mut bench = dialled(&[link(1), link(2)]);
        bench.give(Input::LegAnswered(1));
        bench.give(Input::LegMedia { n: 1, usable: true });
        bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Unknown));
        assert_eq!(bench.give(Input::RequestFailed(JOIN_1, failure)), [], "{failure}");
        assert_eq!(bench.give(Input::NodeUp), [Op::AnswerCaller, JOIN_1, Op::Unmute(1)], "{failure}");
        bench.give(Input::CallerUp);
        bench.give(Input::Joined(1));
        assert_eq!(bench.after(Duration::from_secs(60)), [], "{failure}");
        bench.give(Input::CallerGone);
        bench.gone(1, 16, 0);
        assert_eq!(bench.record().ending, "completed", "{failure}");
    }
}

#[test]
fn a_caller_that_asterisk_will_not_answer_was_not_answered_however_long_that_took() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(500)));
    assert_eq!(bench.after(Duration::from_millis(1_200)), [Op::AnswerCaller]);
    let asked = bench.give(Input::RequestFailed(Op::AnswerCaller, Failure::Rejected(500)));
    assert_eq!(asked, [Op::HangUpLeg(1), Op::HangUpCaller(Some(503))]);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!((bench.record().answered_at, &bench.released[..]), (None, &[(1, false)][..]));
}

/// Asterisk was away between the client's answer and ours to the caller: who waits for an answer is not charged.
#[test]
fn talk_begins_when_the_caller_is_answered() {
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegRinging(1));
    bench.give(Input::LegAnswered(1));
    bench.now.mono += Duration::from_secs(4);
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.now.mono += Duration::from_secs(3);
    bench.give(Input::CallerUp);
    bench.give(Input::Joined(1));
    bench.give(Input::LegAnswered(1));
    bench.now.mono += Duration::from_secs(10);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!((bench.record().talk_ms, bench.record().ring_ms), (10_000, 7_000));

    // That it is up is told only by a list, long after it is known that it was answered.
    let mut bench = dialled(&[link(1)]);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::LegMedia { n: 1, usable: true });
    bench.give(Input::Joined(1));
    bench.now.mono += Duration::from_secs(5);
    bench.give(Input::CallerUp);
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().talk_ms, 5_000);
}

#[test]
fn ringing_that_did_not_reach_asterisk_is_asked_for_again() {
    for early_media in [true, false] {
        let mut bench = Bench::with(Campaign { early_media, ..campaign(&[link(1)]) });
        bench.give(Input::LegReady(1));
        assert_eq!(bench.give(Input::LegRinging(1)), [Op::RingCaller]);
        assert_eq!(bench.give(Input::RequestFailed(Op::RingCaller, Failure::NotSent)), []);
        assert_eq!(bench.give(Input::NodeUp), [Op::RingCaller]);
        assert_eq!(bench.give(Input::LegRinging(1)), [], "once");
        assert_eq!(
            bench.give(Input::RequestFailed(Op::RingCaller, Failure::Rejected(409))),
            [],
            "it is on its way out"
        );
    }
    let mut bench = early(&[link(1)]);
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    assert_eq!(bench.give(Input::NodeUp), [], "who hears the client hears no ringing");
}
