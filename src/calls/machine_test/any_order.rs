//! Any order, loss and duplication of events.

use std::collections::HashSet;
use std::time::Duration;

use chrono::DateTime;
use proptest::prelude::{Just, Strategy as Generator, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::bench::Bench;
use crate::calls::io::{Failure, Heed, Input, Op};
use crate::cdr::record::AttemptOutcome;
use crate::cdr::talk;
use crate::clock::Now;
use crate::id::BridgeKind;
use crate::routing::decision::tests::{campaign, link};
use crate::routing::snapshot::{Campaign, Link};

/// Before the call arrived, so that the machine has to know better.
const EARLIER: Now = Now { mono: Duration::from_secs(50), wall: DateTime::UNIX_EPOCH };

/// Anything that may happen to a call with up to four attempts, in any order.
fn any_input() -> impl Generator<Value = (Input, u64)> {
    let n = 1_u32..=4;
    let failure = prop_oneof![
        prop_oneof![Just(400_u16), Just(404), Just(409), Just(422), Just(500)].prop_map(Failure::Rejected),
        Just(Failure::NotSent),
        Just(Failure::Late),
        Just(Failure::Unknown),
    ];
    let op = (0_u8..19, n.clone()).prop_map(|(kind, n)| match kind {
        0 => Op::CreateLeg(n),
        1 => Op::Join { n, bridge: BridgeKind::Native, with_caller: true },
        10 => Op::Join { n, bridge: BridgeKind::Proxied, with_caller: false },
        11 => Op::Listen(n),
        12 => Op::StopListening(n),
        13 => Op::Look(n),
        14 => Op::LookForMedia(n),
        15 => Op::Progress,
        17 => Op::Mute(n),
        18 => Op::Unmute(n),
        16 => Op::CreateBridge(BridgeKind::Proxied),
        2 => Op::Dial { n, timeout: Duration::ZERO },
        3 => Op::HangUpLeg(n),
        4 => Op::AddCaller(BridgeKind::Proxied),
        5 => Op::CreateBridge(BridgeKind::Native),
        6 => Op::LimitCaller(Duration::ZERO),
        7 => Op::RingCaller,
        8 => Op::AnswerCaller,
        _ => Op::HangUpCaller(None),
    });
    let input = prop_oneof![
        4 => n.clone().prop_map(Input::LegReady),
        1 => n.clone().prop_map(Input::Committed),
        1 => n.clone().prop_map(Input::NotCommitted),
        2 => n.clone().prop_map(Input::LegRinging),
        1 => n.clone().prop_map(Input::LegProgress),
        1 => n.clone().prop_map(Input::LegSounds),
        1 => (n.clone(), prop_oneof![Just(None), Just(Some(100)), Just(Some(182))]).prop_map(|(n, sip)| Input::LegSeen { n, sip }),
        2 => (n.clone(), any::<bool>()).prop_map(|(n, usable)| Input::LegMedia { n, usable }),
        3 => n.clone().prop_map(Input::LegAnswered),
        2 => n.clone().prop_map(Input::Joined),
        3 => (n, 0_i16..60, any::<bool>()).prop_map(|(n, cause, sip)| {
            Input::LegGone { n, cause: Some(cause), sip: sip.then_some(486) }
        }),
        1 => Just(Input::CallerUp),
        1 => Just(Input::CallerGone),
        1 => Just(Input::Missing { since: EARLIER }),
        1 => (1_u32..=4).prop_map(|n| Input::LegMissing { n, since: EARLIER }),
        1 => Just(Input::CallerHangup { cause: Some(16), sip: None }),
        1 => Just(Input::NodeUp),
        1 => Just(Input::Shed),
        1 => Just(Input::Operator),
        1 => Just(Input::Replaced(None)),
        3 => Just(Input::Tick),
        2 => (op, failure).prop_map(|(op, failure)| Input::RequestFailed(op, failure)),
    ];
    (input, 0_u64..8_000)
}

/// What a comparison would tell a call that heeds no such thing changes nothing of it.
fn is_no_news(bench: &mut Bench) {
    let last = bench.call.attempts.last().map_or(0, |attempt| attempt.n);
    let told = match bench.call.heed() {
        Heed::Everything => vec![],
        Heed::Answers => vec![Input::NodeUp],
        Heed::Ends => vec![Input::NodeUp, Input::CallerUp, Input::LegAnswered(last), Input::LegRinging(last)],
    };
    for input in told {
        let stands = |bench: &Bench| (bench.call.label(), bench.call.deadline(), bench.call.heed());
        let (before, event) = (stands(bench), input.to_string());
        assert_eq!((bench.give(input), stands(bench)), (vec![], before), "{event}");
    }
}

proptest! {
    /// Whatever comes, in whatever order, lost or twice: once everything is gone the call has ended exactly once, every
    /// permit is back exactly once, and nothing is asked for after the end (the bench asserts the last two at each step).
    #[test]
    fn every_call_ends_exactly_once(
        events in prop::collection::vec(any_input(), 0..60),
        early_media: bool,
        can_progress: bool,
        commits: bool,
    ) {
        let few = |id| Link { total_calls_allowed: Some(9), ..link(id) };
        let mut bench = Bench::before_arrival(Campaign { early_media, ..campaign(&[few(1), link(2), few(3), link(4)]) });
        bench.call.facts.can_progress = can_progress;
        bench.commits = commits;
        bench.give(Input::Arrived { overloaded: false });
        let mut joined = false;
        for (input, wait) in events {
            bench.now.mono += Duration::from_millis(wait);
            joined |= matches!(input, Input::Joined(_));
            let asked = if wait % 5 == 0 { bench.late(input) } else { bench.give(input) };
            // It is brought there on the same ordered way. Whether that is known to have succeeded must not be waited for: a caller whose
            // client talks would hear nothing (simulation, seed 2337).
            joined |= asked.iter().any(|op| matches!(op, Op::Join { .. }));
            prop_assert!(joined || !asked.contains(&Op::AnswerCaller), "answered to nobody");
            prop_assert!(bench.book.ledger.len() <= 1, "one call holds one permit at a time");
            is_no_news(&mut bench);
        }
        bench.give(Input::CallerGone);
        for n in 1..=4 {
            bench.give(Input::LegGone { n, cause: None, sip: None });
        }
        let record = bench.record();
        let released: HashSet<u32> = bench.released.iter().map(|(n, _)| *n).collect();
        prop_assert_eq!(released.len(), record.attempts.len(), "every attempt's permit came back");
        prop_assert!(bench.call.is_done());
        prop_assert_eq!(bench.call.deadline(), None);
        let answered = record.attempts.iter().filter(|a| a.outcome == AttemptOutcome::Answered).count();
        prop_assert!(answered <= 1, "a call is answered once at most");
        prop_assert_eq!(answered == 1, record.answered_at.is_some());
        let unknown = record.attempts.iter().filter(|a| a.outcome == AttemptOutcome::Unknown);
        prop_assert!(unknown.clone().count() == 0 || record.ending == "lost", "only of a call whose end was not seen");
        prop_assert!(unknown.clone().all(|a| a.counted), "what may have been answered counts");
        prop_assert!(record.ending != "lost" || record.ended_after.is_some());
        prop_assert!(record.answered_at.is_none_or(|at| at <= record.ended_at));
        prop_assert_eq!(record.answered_after.is_some(), record.answered_before.is_some());
        if let (Some(after), Some(before)) = (record.answered_after, record.answered_before) {
            prop_assert!(record.arrived_at <= after && after <= before, "an honest interval");
            prop_assert!(record.answered_at.is_none_or(|at| after <= at && at <= before));
        }
        let bounds = talk::bounds(&record);
        prop_assert!(bounds.min_ms <= record.talk_ms && record.talk_ms <= bounds.max_ms);
        if let (Some(after), Some(before)) = (record.ended_after, record.ended_before) {
            prop_assert!(record.arrived_at <= after && after <= before, "an honest interval");
            prop_assert!(after <= record.ended_at && record.ended_at <= before);
        }
    }

    /// A caller that is there and not answered always has a deadline: nobody rings for ever.
    #[test]
    fn there_is_always_a_next_deadline_until_the_end(
        events in prop::collection::vec(any_input(), 0..40),
        early_media: bool,
        can_progress: bool,
    ) {
        let mut bench = Bench::before_arrival(Campaign { early_media, ..campaign(&[link(1), link(2), link(3), link(4)]) });
        bench.call.facts.can_progress = can_progress;
        bench.give(Input::Arrived { overloaded: false });
        for (input, wait) in events {
            bench.now.mono += Duration::from_millis(wait);
            bench.give(input);
            prop_assert!(bench.call.is_done() || bench.call.deadline().is_some(), "{} waits for nothing", bench.call.label());
            if let Some(at) = bench.call.deadline() {
                bench.after(at.saturating_sub(bench.now.mono));
                let next = bench.call.deadline();
                prop_assert!(next.is_none_or(|next| next > at), "a tick at its deadline must move it: {}", bench.call.label());
            }
        }
    }
}
