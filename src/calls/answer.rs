//! PURE: when a caller was answered, as far as is known. Talk begins then.

use std::time::Duration;

use crate::clock::Now;
use crate::mistakes::{Mistake, on};

/// How far events may be behind answers to requests, which travel another way.
pub(crate) const EVENTS_BEHIND: Duration = Duration::from_secs(1);

/// When a caller was answered by an attempt's client. The client's own answer comes first; that the caller has it as well is told by an
/// event, by the answer to our request, or by Asterisk's lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    /// Most likely then.
    pub(crate) at: Now,
    /// The last moment at which the caller was known not to be answered.
    pub(crate) after: Now,
    /// The first evidence that it was. `None`: so far nothing says so.
    pub(crate) before: Option<Now>,
    /// It was only found, or read late.
    found: bool,
}

impl Answer {
    /// The client has answered, or was asked for by the caller's answer: nothing says yet that the caller has it. `late`: within which time
    /// that was, where it was not heard when it happened.
    pub(crate) fn of_client(now: Now, late: Option<(Now, Now)>) -> Self {
        Self { at: now, after: late.map_or(now, |(since, _)| since), before: None, found: late.is_some() }
    }

    /// The caller is up.
    pub(crate) fn of_caller(now: Now, late: Option<(Now, Now)>) -> Self {
        let (since, until) = late.unwrap_or((now, now));
        Self { at: now, after: since, before: Some(until), found: late.is_some() }
    }

    /// It was found to be answered at `before`, and was known not to be at `after`; likely it was `at`.
    pub(crate) fn found(after: Now, at: Now, before: Now) -> Self {
        let before = later(after, before);
        Self { at: earlier(later(at, after), before), after, before: Some(before), found: true }
    }

    /// The caller is up, which had not been told: now, or within this time. `behind`: a request to answer it has failed, and this may have
    /// been on its way before.
    pub(crate) fn caller_is_up(&mut self, now: Now, late: Option<(Now, Now)>, behind: bool) {
        let recent = now.before(EVENTS_BEHIND);
        let (since, until) = match (self.before, late) {
            // The request had been carried out before.
            (Some(before), None) => (recent, before),
            (Some(before), Some((since, _))) => (since, before),
            (None, Some(late)) => late,
            (None, None) => (if behind { recent } else { now }, now),
        };
        // Where it is told long after it was known, this tells nothing new.
        if since.mono <= until.mono {
            self.after = later(self.after, since);
        }
        let until = later(self.after, until);
        self.found = late.is_some() && self.before.is_none();
        self.before = Some(until);
        // A request that is asked again is asked a second later.
        let crossed = behind && late.is_none() && self.at.mono > recent.mono;
        let likely = if crossed { self.at } else { now };
        self.at = earlier(later(likely, self.after), until);
    }

    /// The request to answer the caller was carried out, some time before now.
    pub(crate) fn was_carried_out(&mut self, now: Now) {
        self.before = self.before.or(Some(now));
    }

    /// The client has been brought together with a caller who was answered before: they talk from now on.
    pub(crate) fn joins(self, now: Now) -> Self {
        Self { at: now, before: Some(now), ..self }
    }

    /// Within which time it was, where nobody saw when: from the last moment at which the caller was known not to be answered to the first
    /// evidence that it was, `end` if there was none before.
    pub(crate) fn within(&self, end: Now) -> Option<(Now, Now)> {
        if on(Mistake::FoundTakenForSeen) {
            return None;
        }
        let before = later(self.after, self.before.unwrap_or(end));
        let wide = before.mono.saturating_sub(self.after.mono);
        (wide > EVENTS_BEHIND || (self.found && !wide.is_zero())).then_some((self.after, before))
    }
}

/// The later of two moments.
pub(crate) fn later(one: Now, other: Now) -> Now {
    if other.mono > one.mono { other } else { one }
}

/// The earlier of two moments.
pub(crate) fn earlier(one: Now, other: Now) -> Now {
    if other.mono < one.mono { other } else { one }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};

    use super::*;

    fn at(millis: u32) -> Now {
        let wall = DateTime::UNIX_EPOCH + TimeDelta::milliseconds(millis.into());
        Now { mono: Duration::from_millis(millis.into()), wall }
    }

    /// Likely, and the declared interval, in milliseconds.
    fn told(answer: Answer, end: u32) -> (u128, Option<(u128, u128)>) {
        let millis = |at: Now| at.mono.as_millis();
        (millis(answer.at), answer.within(at(end)).map(|(after, before)| (millis(after), millis(before))))
    }

    #[test]
    fn an_answer_that_was_heard_is_then_and_declares_nothing() {
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(4_000), None, false);
        assert_eq!(told(answer, 9_000), (4_000, None));
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(1_170), None, true);
        assert_eq!(told(answer, 9_000), (1_000, None), "its event was on its way");
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(4_000), None, true);
        assert_eq!(told(answer, 9_000), (4_000, None), "but not for so long");
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(2_000), None, true);
        assert_eq!(told(answer, 9_000), (2_000, None), "the request was asked again then");
    }

    #[test]
    fn a_caller_found_up_was_answered_since_it_was_asked_for_or_since_the_silence_began() {
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(4_000), Some((at(500), at(4_000))), false);
        assert_eq!(told(answer, 9_000), (4_000, Some((1_000, 4_000))));
        let mut answer = Answer::of_client(at(1_000), None);
        answer.caller_is_up(at(3_500), Some((at(3_200), at(4_000))), false);
        assert_eq!(told(answer, 9_000), (3_500, Some((3_200, 4_000))));
    }

    #[test]
    fn a_client_s_answer_of_which_nobody_heard_more_may_have_reached_the_caller_until_the_end() {
        let answer = Answer::of_client(at(1_000), None);
        assert_eq!(told(answer, 9_000), (1_000, Some((1_000, 9_000))));
        assert_eq!(told(answer, 2_000), (1_000, None), "by no more than events are behind");
        assert_eq!(told(Answer::of_client(at(1_000), Some((at(800), at(1_200)))), 1_500), (1_000, Some((800, 1_500))));
    }

    #[test]
    fn a_request_that_was_carried_out_is_evidence_and_its_event_says_more_only_if_it_follows_at_once() {
        let asked = Answer::of_client(at(1_000), None);
        let mut slow = asked;
        slow.was_carried_out(at(6_000));
        assert_eq!(told(slow, 9_000), (1_000, Some((1_000, 6_000))));
        let mut followed = slow;
        followed.caller_is_up(at(6_010), None, false);
        assert_eq!(told(followed, 9_000), (6_000, None));
        let mut quick = asked;
        quick.was_carried_out(at(1_010));
        quick.caller_is_up(at(8_000), None, false);
        assert_eq!(told(quick, 9_000), (1_010, None), "a list that tells it later tells nothing new");
    }
}
