//! Ends that nobody saw: the socket or Asterisk itself was away.

use std::time::Duration;

use super::bench::{Bench, limits};
use crate::calls::answer::Answer;
use crate::calls::attempt::Attempt;
use crate::calls::io::{Failure, Input, Op};
use crate::calls::late::Late;
use crate::calls::machine::Call;
use crate::cdr::record::{AttemptOutcome, CallRecord, DialStatus, HungUpBy};
use crate::cdr::talk::{self, Talk};
use crate::id::BridgeKind;
use crate::routing::book::Offer;
use crate::routing::breaker::At;
use crate::routing::decision::tests::{campaign, link, node};
use crate::routing::snapshot::{Campaign, CountOn, Link};

pub(super) fn ringing() -> Bench {
    let mut bench = Bench::new(&[link(1), link(2)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegRinging(1));
    bench
}

pub(super) fn talking() -> Bench {
    let mut bench = ringing();
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench
}

impl Bench {
    /// A minute after its last event the caller is not there any more; until 20 s ago it was.
    pub(super) fn caller_missing(&mut self) -> Vec<Op> {
        self.now.mono += Duration::from_secs(60);
        self.give(Input::Missing { since: self.now.before(Duration::from_secs(20)) })
    }

    /// Read after 2 s of silence, and likely to have happened in the middle of it.
    pub(super) fn late(&mut self, input: Input) -> Vec<Op> {
        let (since, likely) = (self.now.before(Duration::from_secs(2)), Some(self.now.before(Duration::from_secs(1))));
        self.give(Input::Late(Box::new((Late { since, likely }, input))))
    }

    pub(super) fn leg_missing(&mut self, n: u32) -> Vec<Op> {
        self.give(Input::LegMissing { n, since: self.now.before(Duration::from_secs(20)) })
    }
}

/// Ending, and how long after the arrival it was at least and at most, in seconds.
pub(super) fn end(record: &CallRecord) -> (&str, i64, i64) {
    let since = |at: Option<chrono::DateTime<chrono::Utc>>| at.map_or(-1, |at| (at - record.arrived_at).num_seconds());
    (&record.ending, since(record.ended_after), since(record.ended_before))
}

/// How long after the arrival the caller was answered at least and at most, in seconds.
pub(super) fn answer(record: &CallRecord) -> (i64, i64) {
    let since = |at: Option<chrono::DateTime<chrono::Utc>>| at.map_or(-1, |at| (at - record.arrived_at).num_seconds());
    (since(record.answered_after), since(record.answered_before))
}

#[test]
fn a_talk_whose_end_nobody_saw_is_lost_between_the_last_sign_of_life_and_the_first_of_its_absence() {
    let mut bench = talking();
    assert_eq!(bench.caller_missing(), [Op::HangUpLeg(1)]);
    assert!(bench.released.is_empty(), "its leg may still be there");
    assert_eq!(bench.leg_missing(1), [Op::DestroyBridge(BridgeKind::Native)]);
    let record = bench.record();
    assert_eq!(end(&record), ("lost", 40, 60));
    assert_eq!(record.ended_after, Some(record.ended_at));
    assert_eq!((record.talk_ms, record.hung_up_by, record.sip_code), (40_000, HungUpBy::System, Some(200)));
    assert_eq!((record.dialstatus, record.attempts[0].outcome), (DialStatus::Answer, AttemptOutcome::Answered));
    assert_eq!(record.attempts[0].ended_at, record.ended_at);
    assert_eq!(bench.released, [(1, true)]);
}

/// The two heard each other when the client was to be hung up, and nobody heard what became of that.
#[test]
fn a_client_in_the_caller_s_bridge_may_have_been_answered_before_our_hang_up() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.give(Input::LegProgress(1));
    bench.give(Input::LegSounds(1));
    bench.give(Input::Joined(1));
    let proxied = BridgeKind::Proxied;
    bench.give(Input::RequestFailed(Op::CreateBridge(proxied), Failure::Unknown));
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::Unknown));
    bench.caller_missing();
    bench.leg_missing(1);
    let record = bench.record();
    assert_eq!((record.attempts[0].outcome, record.attempts[0].counted), (AttemptOutcome::Unknown, true));
    assert_eq!(answer(&record), (40, 60), "it may have talked");
}

#[test]
fn the_calls_own_last_event_is_a_sign_of_life() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(50);
    bench.give(Input::LegAnswered(1));
    bench.give(Input::CallerUp);
    bench.now.mono += Duration::from_secs(10);
    bench.give(Input::Missing { since: bench.now.before(Duration::from_secs(30)) });
    bench.leg_missing(1);
    assert_eq!(end(&bench.record()), ("lost", 50, 60));
}

#[test]
fn a_client_that_may_have_answered_unseen_counts_and_its_outcome_is_unknown() {
    let mut bench = ringing();
    bench.caller_missing();
    bench.leg_missing(1);
    let record = bench.record();
    assert_eq!(end(&record), ("lost", 40, 60));
    assert_eq!((record.attempts[0].outcome, record.answered_at, record.talk_ms), (AttemptOutcome::Unknown, None, 0));
    assert_eq!((record.sip_code, record.dialstatus), (None, DialStatus::Congestion));
    assert_eq!(bench.released, [(1, true)]);
}

#[test]
fn a_client_that_was_not_dialled_or_still_rings_was_not_answered() {
    let mut waiting = Bench::new(&[link(1)]);
    waiting.caller_missing();
    waiting.leg_missing(1);
    assert_eq!((end(&waiting.record()), waiting.released), (("lost", 40, 60), vec![(1, false)]));

    let mut ringing = ringing();
    assert_eq!(ringing.caller_missing(), [Op::HangUpLeg(1)]);
    ringing.give(Input::LegRinging(1));
    ringing.gone(1, 16, 0);
    assert_eq!(ringing.record().attempts[0].outcome, AttemptOutcome::Cancelled);
    assert_eq!(ringing.released, [(1, false)]);
}

#[test]
fn a_hang_up_that_never_left_may_have_been_overtaken_by_an_answer() {
    let mut bench = ringing();
    assert_eq!(bench.after(Duration::from_secs(20)), [Op::HangUpLeg(1)]);
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::NotSent));
    bench.caller_missing();
    bench.leg_missing(1);
    assert_eq!((bench.record().attempts[0].outcome, bench.released), (AttemptOutcome::Unknown, vec![(1, true)]));
}

/// The process stood still for longer than a request may wait, and its socket did not: nothing is compared after that.
#[test]
fn a_hang_up_that_did_not_leave_in_time_is_asked_for_again() {
    let mut bench = talking();
    assert_eq!(bench.give(Input::CallerHangup { cause: Some(16), sip: None }), [Op::HangUpLeg(1)]);
    bench.give(Input::CallerGone);
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::Late));
    assert_eq!(bench.after(Duration::from_secs(1)), [Op::HangUpLeg(1)]);
    bench.gone(1, 16, 0);
    assert_eq!(bench.record().ending, "completed");

    let mut answered = Bench::new(&[Link { ring_timeout: Some(Duration::from_secs(3)), ..link(1) }]);
    answered.give(Input::LegReady(1));
    assert_eq!(answered.after(Duration::from_secs(3)), [Op::HangUpLeg(1)]);
    answered.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::Late));
    assert_eq!(answered.give(Input::LegAnswered(1))[..1], [Op::Mute(1)], "what waited in the socket says so");
    assert!(answered.after(Duration::from_secs(1)).is_empty(), "they talk");
}

#[test]
fn a_known_end_stays_although_its_last_channels_went_unseen() {
    let mut by_caller = talking();
    by_caller.give(Input::CallerHangup { cause: Some(16), sip: None });
    by_caller.caller_missing();
    by_caller.leg_missing(1);
    assert_eq!(end(&by_caller.record()), ("completed", -1, -1));

    let mut by_client = talking();
    by_client.gone(1, 16, 0);
    by_client.caller_missing();
    assert_eq!((end(&by_client.record()), by_client.record().hung_up_by), (("completed", -1, -1), HungUpBy::Client));

    let mut by_us = talking();
    by_us.give(Input::Operator);
    by_us.caller_missing();
    by_us.leg_missing(1);
    assert_eq!(end(&by_us.record()), ("operator", 0, 60), "nothing shows that our hang-up was carried out before");
}

#[test]
fn a_client_that_went_unseen_from_a_talk_ended_it_within_the_interval() {
    let mut bench = talking();
    bench.now.mono += Duration::from_secs(60);
    assert_eq!(bench.leg_missing(1), [Op::HangUpCaller(None)], "the caller is there, and not sold twice");
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!((end(&record), record.talk_ms, record.hung_up_by), (("lost", 40, 60), 40_000, HungUpBy::Client));
}

#[test]
fn a_client_that_went_unseen_while_it_rang_is_followed_by_the_next() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(1);
    assert_eq!(bench.leg_missing(1), [Op::CreateLeg(2)], "the caller waits and was not answered");
    assert_eq!(bench.released, [(1, false)]);
}

#[test]
fn an_answer_that_never_came_together_with_its_caller_is_none_and_dials_still_count_where_they_shall() {
    let links = [Link { count_on: CountOn::Attempted, ..link(1) }];
    let mut bench = Bench::with(Campaign { early_media: false, ..campaign(&links) });
    bench.give(Input::LegReady(1));
    bench.give(Input::LegAnswered(1));
    bench.caller_missing();
    bench.leg_missing(1);
    let record = bench.record();
    assert_eq!((end(&record), record.attempts[0].outcome), (("lost", 40, 60), AttemptOutcome::AnsweredLate));
    assert_eq!(bench.released, [(1, true)]);
}

#[test]
fn what_is_missing_twice_or_comes_after_all_changes_nothing() {
    let mut bench = talking();
    bench.caller_missing();
    assert!(bench.caller_missing().is_empty());
    bench.gone(1, 16, 0);
    assert!(bench.leg_missing(1).is_empty());
    bench.give(Input::CallerGone);
    assert_eq!((end(&bench.record()), bench.released), (("lost", 40, 60), vec![(1, true)]));
}

#[test]
fn a_call_of_a_node_that_stays_silent_is_lost_when_all_of_asterisks_timers_are_over() {
    let mut bench = ringing();
    bench.after(Duration::from_secs(20));
    bench.give(Input::RequestFailed(Op::HangUpLeg(1), Failure::NotSent));
    // Set-up budget 60 s, ring timeout 20 s, longest duration 3600 s, and 600 s to be sure; since the arrival.
    bench.after(Duration::from_secs(60 + 3600 + 600));
    let record = bench.record();
    assert_eq!(end(&record), ("lost", 0, 60 + 20 + 3600 + 600));
    assert_eq!(record.attempts[0].outcome, AttemptOutcome::Unknown);
}

/// Comparisons tell a talk nothing as long as it goes on: what its node was heard to say, others know.
#[test]
fn a_talk_on_a_node_that_never_comes_back_went_on_until_the_node_was_last_heard() {
    let mut bench = talking();
    let heard = bench.now.after(Duration::from_secs(900));
    bench.now.mono += Duration::from_secs(60 + 20 + 3_600 + 600);
    bench.give(Input::Expired { heard_until: heard });
    let record = bench.record();
    assert_eq!((end(&record), record.talk_ms), (("lost", 900, 4_280), 900_000));
    assert_eq!(bench.released, [(1, true)]);
}

/// Taken over 30 s after the controller died, with the client that answered 10 s before that.
fn taken_over() -> Bench {
    let mut bench = talking();
    let ago = |seconds| bench.now.before(Duration::from_secs(seconds));
    let (answered, died) = (ago(40), ago(30));
    let Some(campaign) = bench.call.campaign.clone() else { panic!("it has one") };
    let at = At { node: &node(), now: bench.now };
    let decision = bench.book.decide(&bench.snapshot, &bench.call.facts.dialled, at);
    let offer = Offer { position: 0, link: campaign.links[0].clone(), client: bench.call.attempts[0].client.clone() };
    let attempt = Attempt::adopt(1, offer, answered, Answer::of_caller(answered, None));
    let facts = bench.call.facts.clone();
    bench.call =
        Call::adopt(facts, limits(), (answered, died), decision, (attempt, BridgeKind::Native), None, bench.now);
    bench
}

#[test]
fn a_caller_that_only_seemed_to_be_there_when_its_call_was_taken_over_left_while_nobody_looked() {
    let mut bench = taken_over();
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((end(&record), record.hung_up_by, record.talk_ms), (("lost", 10, 40), HungUpBy::Caller, 10_000));
    assert!(record.attempts[0].counted);

    let mut bench = taken_over();
    bench.now.mono += Duration::from_secs(1);
    bench.give(Input::CallerHangup { cause: Some(16), sip: None });
    bench.give(Input::CallerGone);
    bench.gone(1, 16, 0);
    let record = bench.record();
    assert_eq!((record.ending.as_str(), record.talk_ms), ("completed", 41_000), "its hang-up was seen");
    assert_eq!(record.ended_after, None);
}

#[test]
fn an_end_that_was_told_late_is_declared_with_its_interval() {
    let ends = [
        (Input::CallerHangup { cause: Some(16), sip: None }, HungUpBy::Caller),
        (Input::LegGone { n: 1, cause: Some(16), sip: None }, HungUpBy::Client),
    ];
    for (told, by) in ends {
        let mut bench = talking();
        bench.now.mono += Duration::from_secs(60);
        bench.late(told);
        bench.gone(1, 16, 0);
        bench.give(Input::CallerGone);
        let record = bench.record();
        assert_eq!((end(&record), record.hung_up_by), (("completed", 58, 60), by));
        assert_eq!(answer(&record), (-1, -1), "it was heard");
        assert_eq!(talk::bounds(&record), Talk { min_ms: 58_000, max_ms: 60_000 });
        assert_eq!((record.talk_ms, record.ended_at - record.arrived_at), (59_000, chrono::Duration::seconds(59)));
    }
}

#[test]
fn an_answer_that_was_told_late_is_taken_for_when_it_is_likely_and_its_end_in_the_same_burst_is_not_before_it() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(10);
    assert_answered_and_ended_in_one_burst(bench);
}

/// After 10 s, the last two of them in silence.
fn assert_answered_and_ended_in_one_burst(mut bench: Bench) {
    bench.late(Input::LegAnswered(1));
    bench.late(Input::CallerUp);
    bench.late(Input::CallerHangup { cause: Some(16), sip: None });
    bench.gone(1, 16, 0);
    bench.give(Input::CallerGone);
    let record = bench.record();
    assert_eq!(record.answered_at.map(|at| (at - record.arrived_at).num_seconds()), Some(9));
    // Only that one came before the other is certain.
    assert_eq!((end(&record), answer(&record), record.talk_ms), (("completed", 8, 10), (8, 10), 0));
    assert_eq!(talk::bounds(&record), Talk { min_ms: 0, max_ms: 2_000 });
}

#[test]
fn what_else_is_read_in_the_same_burst_moves_no_answer() {
    let mut bench = Bench::new(&[link(1)]);
    bench.give(Input::LegReady(1));
    bench.now.mono += Duration::from_secs(10);
    bench.give(Input::Dialled(1));
    bench.give(Input::Joined(1));
    bench.late(Input::LegRinging(1));
    assert_answered_and_ended_in_one_burst(bench);
}

#[test]
fn a_client_that_was_told_late_to_be_busy_is_followed_by_the_next_now() {
    let mut bench = ringing();
    bench.now.mono += Duration::from_secs(10);
    let busy = Input::LegGone { n: 1, cause: Some(17), sip: Some(486) };
    assert_eq!(bench.late(busy), [Op::CreateLeg(2)]);
    assert_eq!(bench.call.attempts[1].started.mono, bench.now.mono);
}
