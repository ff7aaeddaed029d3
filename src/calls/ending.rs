//! PURE: why calls and attempts end, and what Asterisk and the carrier are told.

use crate::cdr::record::{AttemptOutcome, DialStatus};
use crate::config::Rejections;
use crate::routing::breaker::Sign;
use crate::routing::decision::Refusal;
use crate::routing::snapshot::words;

words! {
    /// The one typed reason why a call ended.
    Ending {
        /// A client answered, and one of the parties hung up.
        Completed = "completed",
        /// A client answered, and the call reached its longest duration.
        MaxDuration = "max_duration",
        /// An operator hung the call up, answered or not.
        Operator = "operator",
        /// The caller gave up before anybody answered.
        CallerCancelled = "caller_cancelled",
        /// Candidates were tried; nobody answered.
        NobodyAnswered = "nobody_answered",
        /// No such DID, or it is not active.
        UnknownDid = "unknown_did",
        /// The DID feeds no active campaign.
        InactiveCampaign = "inactive_campaign",
        /// No link of the campaign is active with an active client.
        NoActiveLink = "no_active_link",
        /// Every active link is at a cap.
        AllFull = "all_full",
        /// Its end was not seen: this controller or its Asterisk was away. `ended_after` and `ended_before` say when it was at most.
        Lost = "lost",
        /// This controller was away, or did not take it: the dialplan's fallback had it.
        Fallback = "fallback",
        /// Its INVITE is that of a call that was under way, and came by another path (RFC 3261, 8.2.2.2).
        Merged = "merged",
        /// This controller or its node had no room for the call.
        Overloaded = "overloaded",
        /// Asterisk refused what the call needed, or the controller failed: the default until something better is known.
        Failed = "failed",
    }
}

impl From<Refusal> for Ending {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::UnknownDid => Self::UnknownDid,
            Refusal::InactiveCampaign => Self::InactiveCampaign,
            Refusal::NoActiveLink => Self::NoActiveLink,
            Refusal::AllFull => Self::AllFull,
        }
    }
}

/// SIP status for a caller that was not answered. `487` for one that cancelled: Asterisk sends it by itself.
#[must_use]
pub fn rejection(ending: Ending, rejections: &Rejections) -> u16 {
    match ending {
        Ending::UnknownDid => rejections.unknown_did,
        Ending::InactiveCampaign => rejections.inactive_campaign,
        Ending::NoActiveLink => rejections.no_active_link,
        Ending::AllFull => rejections.all_full,
        Ending::Overloaded | Ending::Failed | Ending::Lost | Ending::Fallback => rejections.overloaded,
        Ending::CallerCancelled => 487,
        // In place of 482, for which there is no Q.850 cause. Busy: no carrier tries elsewhere, and a proxy that forked waits for the
        // other branch, which it would cancel for a 6xx.
        Ending::Merged => 486,
        Ending::NobodyAnswered | Ending::Completed | Ending::MaxDuration | Ending::Operator => {
            rejections.nobody_answered
        }
    }
}

/// SIP statuses a caller can be given, with the Q.850 cause that makes Asterisk's `chan_pjsip` send each
/// (measured on 22.10.1; a cause outside this table ends as 603, which carriers never retry).
pub const REJECTION_CAUSES: &[(u16, u8)] =
    &[(403, 21), (404, 1), (408, 18), (410, 22), (480, 19), (484, 28), (486, 17), (488, 58), (500, 38), (503, 34)];

/// The Q.850 cause that gives the caller this SIP status; congestion (503) for one that cannot be given.
#[must_use]
pub fn q850_for_sip(sip: u16) -> u8 {
    const CONGESTION: u8 = 34;
    REJECTION_CAUSES.iter().find(|(code, _)| *code == sip).map_or(CONGESTION, |(_, cause)| *cause)
}

/// The old platform's word for a call that ended so.
#[must_use]
pub fn dialstatus(ending: Ending, last: Option<AttemptOutcome>) -> DialStatus {
    match ending {
        Ending::Completed | Ending::MaxDuration => DialStatus::Answer,
        Ending::Operator if last == Some(AttemptOutcome::Answered) => DialStatus::Answer,
        Ending::Operator => DialStatus::NoAnswer,
        Ending::CallerCancelled => DialStatus::Cancel,
        Ending::AllFull | Ending::Merged => DialStatus::Busy,
        // Whether it was answered is all that can be told.
        Ending::Lost if last == Some(AttemptOutcome::Answered) => DialStatus::Answer,
        Ending::Overloaded | Ending::Failed | Ending::Lost | Ending::Fallback => DialStatus::Congestion,
        Ending::UnknownDid | Ending::InactiveCampaign | Ending::NoActiveLink => DialStatus::ChanUnavail,
        Ending::NobodyAnswered => match last {
            Some(AttemptOutcome::Busy) => DialStatus::Busy,
            Some(AttemptOutcome::Congestion | AttemptOutcome::Failed) => DialStatus::Congestion,
            Some(AttemptOutcome::Unavailable | AttemptOutcome::Misconfigured) => DialStatus::ChanUnavail,
            _ => DialStatus::NoAnswer,
        },
    }
}

/// How an unanswered attempt came out, from its channel's SIP status (`tech_cause`) or else its Q.850 cause.
#[must_use]
pub fn outcome(cause: Option<i16>, sip: Option<i16>) -> AttemptOutcome {
    use AttemptOutcome as O;
    match sip {
        Some(486 | 600) => O::Busy,
        Some(480 | 408 | 487) => O::NoAnswer,
        Some(402 | 403 | 603 | 607 | 608) => O::Rejected,
        Some(300..=399) => O::Redirected,
        Some(401 | 404 | 406 | 407 | 410 | 414..=416 | 420 | 421 | 484 | 485 | 488 | 604 | 606) => O::Misconfigured,
        Some(500..=599) => O::Congestion,
        Some(400..=699) => O::Failed,
        _ => outcome_of_cause(cause),
    }
}

/// Q.850 (ITU-T) cause values as `chan_pjsip` reports them.
fn outcome_of_cause(cause: Option<i16>) -> AttemptOutcome {
    use AttemptOutcome as O;
    match cause {
        Some(17) => O::Busy,
        Some(18 | 19) => O::NoAnswer,
        Some(21) => O::Rejected,
        Some(23) => O::Redirected,
        Some(1 | 22 | 28 | 58 | 65 | 79 | 88) => O::Misconfigured,
        Some(34 | 38 | 41 | 42 | 44 | 47) => O::Congestion,
        Some(3 | 20 | 27) => O::Unavailable,
        _ => O::Failed,
    }
}

/// What an attempt that came out so shows of its client, where it did not ring. Whatever the client has answered itself is a sign of
/// life, busy and declined as much as a number it does not know. `failed` shows nothing: it is what Asterisk or this controller could not
/// do, and causes nobody can tell.
#[must_use]
pub fn sign(outcome: AttemptOutcome) -> Sign {
    use AttemptOutcome as O;
    match outcome {
        O::Congestion | O::Unavailable | O::NoProgress => Sign::Failed,
        O::Answered | O::AnsweredLate | O::Busy | O::NoAnswer | O::Rejected | O::Misconfigured | O::Redirected => {
            Sign::Alive
        }
        O::Cancelled | O::Failed | O::Unknown => Sign::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of ASTERISK.md "What each outcome looks like": ChannelDestroyed's cause and tech_cause.
    #[test]
    fn every_measured_answer_has_its_outcome() {
        use AttemptOutcome as O;
        let measured = [
            (17, Some(486), O::Busy),
            (17, Some(600), O::Busy),
            (19, Some(480), O::NoAnswer),
            (21, Some(603), O::Rejected),
            (34, Some(503), O::Congestion),
            (1, Some(404), O::Misconfigured),
            (58, Some(488), O::Misconfigured),
            // A 200 without SDP, and one whose SDP cannot be read.
            (127, Some(406), O::Misconfigured),
            (58, Some(406), O::Misconfigured),
            (23, Some(302), O::Redirected),
            (19, None, O::NoAnswer),
            (17, None, O::Busy),
            (16, None, O::Failed),
            (0, None, O::Failed),
        ];
        for (cause, sip, expected) in measured {
            assert_eq!(outcome(Some(cause), sip), expected, "cause {cause}, SIP {sip:?}");
        }
    }

    #[test]
    fn a_caller_is_never_declined_by_accident() {
        for sip in crate::config::REJECTION_CODES {
            assert!(REJECTION_CAUSES.iter().any(|(code, _)| code == sip), "{sip} can be configured but not given");
        }
        assert_eq!(q850_for_sip(603), 34);
        assert_eq!(q850_for_sip(200), 34);
    }
}
