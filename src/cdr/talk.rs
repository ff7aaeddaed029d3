//! PURE: how long caller and client talked, at least and at most. Whoever reads a talk's length says which of the two it takes, or that it
//! takes the likely one (`talk_ms`).

use chrono::{DateTime, Utc};

use super::record::CallRecord;

/// Bounds of a talk's length, in milliseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Talk {
    /// They talked for so long at least: this is certain.
    pub min_ms: i64,
    /// They talked for so long at most.
    pub max_ms: i64,
}

/// From the latest moment at which the caller can have been answered to the earliest at which the call can have ended, and the other way
/// round. Both are `talk_ms` where answer and end were seen; a call that may have been answered has talked for nothing at least.
#[must_use]
pub fn bounds(record: &CallRecord) -> Talk {
    let uncertain = [record.answered_after, record.answered_before, record.ended_after, record.ended_before];
    if uncertain.iter().all(Option::is_none) {
        return Talk { min_ms: record.talk_ms, max_ms: record.talk_ms };
    }
    let millis =
        |from: Option<DateTime<Utc>>, to: DateTime<Utc>| from.map_or(0, |from| (to - from).num_milliseconds().max(0));
    let first_end = record.ended_after.unwrap_or(record.ended_at);
    let last_end = record.ended_before.unwrap_or(record.ended_at);
    let last_answer = record.answered_at.and(record.answered_before.or(record.answered_at));
    let first_answer = record.answered_after.or(record.answered_at);
    Talk { min_ms: millis(last_answer, first_end), max_ms: millis(first_answer, last_end) }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;
    use crate::calls::machine_test::bench::Bench;
    use crate::cdr::fold;
    use crate::routing::decision::tests::campaign;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis)
    }

    /// Not answered.
    fn record() -> CallRecord {
        let bench = Bench::before_arrival(campaign(&[]));
        fold::record(&bench.call, bench.now)
    }

    /// Answered after 10 s, ended after 40.
    fn talked() -> CallRecord {
        let mut record = record();
        (record.answered_at, record.ended_at, record.talk_ms) = (Some(at(10_000)), at(40_000), 30_000);
        record
    }

    #[test]
    fn what_was_seen_is_certain() {
        assert_eq!(bounds(&talked()), Talk { min_ms: 30_000, max_ms: 30_000 });
        assert_eq!(bounds(&record()), Talk::default());
    }

    #[test]
    fn an_end_and_an_answer_within_some_time_each_move_both_bounds() {
        let mut late_end = talked();
        (late_end.ended_after, late_end.ended_before) = (Some(at(40_000)), Some(at(90_000)));
        assert_eq!(bounds(&late_end), Talk { min_ms: 30_000, max_ms: 80_000 });
        let mut late_answer = talked();
        (late_answer.answered_after, late_answer.answered_before) = (Some(at(4_000)), Some(at(12_000)));
        assert_eq!(bounds(&late_answer), Talk { min_ms: 28_000, max_ms: 36_000 });
        (late_answer.ended_after, late_answer.ended_before) = (Some(at(11_000)), Some(at(41_000)));
        assert_eq!(bounds(&late_answer), Talk { min_ms: 0, max_ms: 37_000 }, "nothing is less than nothing");
    }

    #[test]
    fn who_may_have_been_answered_has_talked_for_nothing_at_least() {
        let mut unknown = CallRecord { answered_at: None, talk_ms: 0, ..talked() };
        (unknown.answered_after, unknown.answered_before) = (Some(at(20_000)), Some(at(50_000)));
        (unknown.ended_after, unknown.ended_before) = (Some(at(20_000)), Some(at(50_000)));
        assert_eq!(bounds(&unknown), Talk { min_ms: 0, max_ms: 30_000 });
    }

    proptest! {
        /// Whatever is true within what is declared lies between the bounds, and so does what is likely.
        #[test]
        fn the_truth_lies_between_them(
            answer in 0_i64..50_000, talk in 0_i64..50_000, off in proptest::array::uniform4(0_i64..20_000), seen in any::<[bool; 2]>()
        ) {
            let (answered, ended) = (at(answer), at(answer + talk));
            let mut record = talked();
            (record.answered_at, record.ended_at, record.talk_ms) = (Some(answered), ended, talk);
            if !seen[0] {
                (record.answered_after, record.answered_before) = (Some(at(answer - off[0])), Some(at(answer + off[1])));
            }
            if !seen[1] {
                (record.ended_after, record.ended_before) = (Some(at(answer + talk - off[2])), Some(at(answer + talk + off[3])));
            }
            let Talk { min_ms, max_ms } = bounds(&record);
            prop_assert!(0 <= min_ms && min_ms <= talk && talk <= max_ms);
            prop_assert!(seen != [true, true] || min_ms == max_ms);
        }
    }
}
