//! PURE: when a node's ARI fails for everybody, and when it is tried again.
//!
//! The heartbeat proves no more than that global variables can be set. What counts here are the requests that every call needs, each kind
//! by itself: a node that makes channels and cannot make bridges fails. A request counts against its node when no answer came in time
//! or the answer was a 5xx. A channel that cannot be made is told apart: "Allocation failed" (500) is how an endpoint without a contact
//! looks, so that it counts against the node only when several clients of several campaigns are refused one after the other: whoever sells to
//! clients that are all gone closes the node for nobody else. What a lost connection leaves
//! open counts for nothing: the socket's own watch sees to that.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use super::io::Op;
use super::machine::Call;
use crate::ari::Error;
use crate::clock::Now;
use crate::id::{CampaignId, ClientId};
use crate::routing::breaker::{Outage, Terms, Turn};
use crate::routing::snapshot::words;

/// So many different clients must be refused a channel in a row until it is the node's fault.
const SEVERAL: usize = 3;
/// Of so many different campaigns.
const SEVERAL_CAMPAIGNS: usize = 2;
/// How long one trial call may take to show how its request comes out; then the next one tries.
const TRIAL: Duration = Duration::from_secs(5);

words! {
    /// Requests that every call needs.
    Kind {
        /// Making an outbound channel.
        Create = "create",
        /// Making a bridge.
        Bridge = "bridge",
        /// Putting a channel into a bridge.
        Join = "join",
        /// Dialling a channel.
        Dial = "dial",
    }
}

/// What the outcome of a request says of its node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// It works.
    Works,
    /// It fails.
    Fails,
    /// It fails, or this client cannot be reached.
    FailsFor(CampaignId, ClientId),
}

impl Reading {
    /// Whether it may be the node that fails.
    #[must_use]
    pub fn is_failure(self) -> bool {
        self != Self::Works
    }
}

/// The kind of a call's request; `None` for those that only a call in trouble needs.
#[must_use]
pub fn kind_of(op: Op) -> Option<Kind> {
    match op {
        Op::CreateLeg(_) => Some(Kind::Create),
        Op::CreateBridge(_) => Some(Kind::Bridge),
        Op::AddCaller(_) | Op::Join { .. } => Some(Kind::Join),
        Op::Dial { .. } => Some(Kind::Dial),
        _ => None,
    }
}

/// What the outcome of a call's request says of its node; `None` = nothing.
#[must_use]
pub fn reading(call: &Call, op: Op, outcome: &Result<(), Error>) -> Option<Reading> {
    match (outcome, op) {
        (Ok(()), _) => Some(Reading::Works),
        (Err(error), _) if error.is_unanswered() => Some(Reading::Fails),
        (Err(Error::Rejected { status: 500..=599, .. }), Op::CreateLeg(n)) => {
            Some(Reading::FailsFor(call.campaign.as_ref()?.id, call.attempt(n)?.client.id))
        }
        // Older versions say 500 of a bridge that is there already, as an earlier run has left it.
        (Err(Error::Rejected { status: 500, .. }), Op::CreateBridge(_)) if call.is_taken_over() => None,
        (Err(Error::Rejected { status: 500..=599, .. }), _) => Some(Reading::Fails),
        // 4xx: what it names has gone meanwhile.
        _ => None,
    }
}

/// The breaker of one node.
#[derive(Debug, Clone)]
pub struct NodeBreaker {
    terms: Terms,
    runs: HashMap<Kind, Run>,
    open: Option<Open>,
}

/// Failures of one kind since the last success.
#[derive(Debug, Clone, Default)]
struct Run {
    failures: u32,
    /// Those that only the node can have caused.
    certain: u32,
    /// Clients of the others, and their campaigns.
    clients: HashSet<ClientId>,
    campaigns: HashSet<CampaignId>,
}

#[derive(Debug, Clone, Copy)]
struct Open {
    kind: Kind,
    outage: Outage,
    pause: Duration,
    /// When the latest trial call was let in since the pause was over.
    trial: Option<Duration>,
}

impl Open {
    /// Whether a trial call may be let in.
    fn is_due(&self, mono: Duration) -> bool {
        mono >= self.outage.until.mono && self.trial.is_none_or(|began| mono >= began + TRIAL)
    }
}

impl NodeBreaker {
    /// A closed one.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, runs: HashMap::new(), open: None }
    }

    /// From now on it opens and closes by these terms. Without any (no failure opens it) it is closed.
    pub fn keep_to(&mut self, terms: Terms) {
        self.terms = terms;
        if terms.failures == 0 {
            self.runs.clear();
            self.open = None;
        }
    }

    /// Since when it is open; `None` where it is closed.
    #[must_use]
    pub fn outage(&self) -> Option<Outage> {
        self.open.map(|open| open.outage)
    }

    /// Whether a call that arrived at this monotonic time would take the fallback. Once the pause is over, and the node has `answered` a
    /// heartbeat since then, none would until a trial call is under way: in a night without calls nothing else shows that it works again.
    #[must_use]
    pub fn keeps_out(&self, mono: Duration, answered: Option<Duration>) -> bool {
        let answers = |open: &Open| answered.is_some_and(|answered| answered >= open.outage.until.mono);
        self.open.is_some_and(|open| !open.is_due(mono) || !answers(&open))
    }

    /// Whether a call that arrives at this monotonic time may be decided; after the pause one call after the other is, until one shows
    /// whether the node works again.
    pub fn admits(&mut self, mono: Duration) -> bool {
        let Some(open) = &mut self.open else { return true };
        let due = open.is_due(mono);
        if due {
            open.trial = Some(mono);
        }
        due
    }

    /// How a request came out.
    pub fn note(&mut self, kind: Kind, reading: Reading, now: Now) -> Option<Turn> {
        match (&mut self.open, reading) {
            _ if self.terms.failures == 0 => None,
            (None, Reading::Works) => {
                self.runs.remove(&kind);
                None
            }
            (None, _) => self.fail(kind, reading, now),
            // Before the pause is over nothing is believed: where every other request fails, the breaker would flutter.
            (Some(open), _) if now.mono < open.outage.until.mono => None,
            (Some(open), Reading::Works) if kind == open.kind => {
                let outage = open.outage;
                self.open = None;
                self.runs.clear();
                Some(Turn::Closed(outage))
            }
            (Some(_), Reading::Works) => None,
            // It shows nothing: the next call tries.
            (Some(open), Reading::FailsFor(..)) => {
                open.trial = None;
                None
            }
            (Some(open), _) => {
                open.trial = None;
                open.pause = open.pause.saturating_mul(2).min(self.terms.pause_max).max(self.terms.pause);
                open.outage.until = now.after(open.pause);
                Some(Turn::StillOpen(open.outage))
            }
        }
    }

    fn fail(&mut self, kind: Kind, reading: Reading, now: Now) -> Option<Turn> {
        let terms = self.terms;
        let run = self.runs.entry(kind).or_default();
        run.failures = run.failures.saturating_add(1);
        match reading {
            Reading::FailsFor(campaign, client) => {
                run.clients.insert(client);
                run.campaigns.insert(campaign);
            }
            _ => run.certain = run.certain.saturating_add(1),
        }
        let several = run.clients.len() >= SEVERAL && run.campaigns.len() >= SEVERAL_CAMPAIGNS;
        let blamed = run.certain >= terms.failures || (run.failures >= terms.failures && several);
        if !blamed {
            return None;
        }
        let outage = Outage { since: now, until: now.after(terms.pause) };
        self.open = Some(Open { kind, outage, pause: terms.pause, trial: None });
        self.runs.clear();
        Some(Turn::Opened(outage))
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    const TERMS: Terms = Terms { failures: 3, pause: Duration::from_secs(5), pause_max: Duration::from_secs(12) };

    fn second(seconds: u64) -> Now {
        Now { mono: Duration::from_secs(100 + seconds), wall: DateTime::UNIX_EPOCH }
    }

    fn opened() -> NodeBreaker {
        let mut breaker = NodeBreaker::new(TERMS);
        let turns = [0, 0, 0].map(|at| breaker.note(Kind::Bridge, Reading::Fails, second(at)));
        assert!(matches!(turns, [None, None, Some(Turn::Opened(_))]), "{turns:?}");
        breaker
    }

    #[test]
    fn each_kind_is_counted_by_itself() {
        let mut breaker = NodeBreaker::new(TERMS);
        for _ in 0..2 {
            assert_eq!(breaker.note(Kind::Create, Reading::Works, second(0)), None);
            assert_eq!(breaker.note(Kind::Bridge, Reading::Fails, second(0)), None);
        }
        assert_eq!(breaker.note(Kind::Create, Reading::Works, second(0)), None);
        assert!(matches!(breaker.note(Kind::Bridge, Reading::Fails, second(0)), Some(Turn::Opened(_))));
    }

    #[test]
    fn a_success_in_between_starts_the_count_anew() {
        let mut breaker = NodeBreaker::new(TERMS);
        for reading in [Reading::Fails, Reading::Fails, Reading::Works].repeat(5) {
            assert_eq!(breaker.note(Kind::Dial, reading, second(0)), None);
        }
    }

    #[test]
    fn clients_without_a_contact_are_not_the_nodes_fault_unless_there_are_several() {
        let mut breaker = NodeBreaker::new(TERMS);
        for n in 0..50 {
            let reading = Reading::FailsFor(CampaignId(n % 3), ClientId(n % 2));
            assert_eq!(breaker.note(Kind::Create, reading, second(0)), None, "two clients are away");
        }
        let third = breaker.note(Kind::Create, Reading::FailsFor(CampaignId(1), ClientId(3)), second(0));
        assert!(matches!(third, Some(Turn::Opened(_))), "{third:?}");
        assert!(breaker.admits(second(5).mono) && !breaker.admits(second(6).mono), "a trial");
        assert_eq!(breaker.note(Kind::Create, Reading::FailsFor(CampaignId(1), ClientId(3)), second(6)), None);
        assert!(breaker.admits(second(6).mono), "that one showed nothing");
        let mut breaker = NodeBreaker::new(TERMS);
        for n in 0..50 {
            let reading = Reading::FailsFor(CampaignId(1), ClientId(n));
            assert_eq!(
                breaker.note(Kind::Create, reading, second(0)),
                None,
                "one campaign, whose clients are all gone"
            );
        }
        let mut breaker = NodeBreaker::new(TERMS);
        for reading in [Reading::FailsFor(CampaignId(1), ClientId(1)), Reading::Fails, Reading::Fails] {
            assert_eq!(breaker.note(Kind::Create, reading, second(0)), None);
        }
        assert!(breaker.note(Kind::Create, Reading::Fails, second(0)).is_some(), "no answer is always the node's");
    }

    #[test]
    fn after_the_pause_one_call_after_the_other_tries_it() {
        let mut breaker = opened();
        assert!(!breaker.admits(second(4).mono));
        assert_eq!(breaker.note(Kind::Bridge, Reading::Works, second(4)), None, "not believed yet");
        assert!(breaker.admits(second(5).mono));
        assert!(!breaker.admits(second(6).mono), "one at a time");
        assert!(breaker.admits(second(10).mono), "that one showed nothing");
        assert!(matches!(breaker.note(Kind::Bridge, Reading::Fails, second(11)), Some(Turn::StillOpen(_))));
        assert!(!breaker.admits(second(20).mono), "twice the pause");
        assert!(breaker.admits(second(21).mono));
        assert_eq!(breaker.note(Kind::Create, Reading::Works, second(21)), None, "of what failed, nothing is known");
        assert!(matches!(breaker.note(Kind::Bridge, Reading::Fails, second(21)), Some(Turn::StillOpen(_))));
        assert!(breaker.admits(second(33).mono), "up to the bound");
        assert!(matches!(breaker.note(Kind::Bridge, Reading::Works, second(33)), Some(Turn::Closed(_))));
        assert!(breaker.admits(second(33).mono) && breaker.admits(second(33).mono));
        assert_eq!(breaker.note(Kind::Bridge, Reading::Fails, second(33)), None, "the count starts anew");
    }

    #[test]
    fn it_keeps_calls_out_during_its_pause_and_while_one_call_tries() {
        let mut breaker = opened();
        // The node answers all the while.
        let out = |breaker: &NodeBreaker, at: u64| breaker.keeps_out(second(at).mono, Some(second(at).mono));
        assert!(out(&breaker, 4));
        assert!(!out(&breaker, 5) && !out(&breaker, 9_000), "nobody calls");
        assert!(breaker.admits(second(9_000).mono));
        assert!(out(&breaker, 9_001), "one tries");
        breaker.note(Kind::Bridge, Reading::Fails, second(9_001));
        assert!(out(&breaker, 9_010) && !out(&breaker, 9_011), "twice the pause");
        assert!(breaker.admits(second(9_011).mono));
        breaker.note(Kind::Bridge, Reading::Works, second(9_012));
        assert!(!out(&breaker, 9_012));
    }

    #[test]
    fn a_node_that_does_not_answer_after_the_pause_fails_still() {
        let breaker = opened();
        for answered in [None, Some(second(4).mono)] {
            assert!(breaker.keeps_out(second(60).mono, answered), "{answered:?}");
        }
        assert!(!breaker.keeps_out(second(60).mono, Some(second(5).mono)));
        assert!(!NodeBreaker::new(TERMS).keeps_out(second(60).mono, None), "one that is closed");
    }

    #[test]
    fn terms_that_switch_it_off_close_it() {
        let mut breaker = opened();
        breaker.keep_to(Terms::default());
        assert!(
            !breaker.keeps_out(second(0).mono, None)
                && breaker.admits(second(0).mono)
                && breaker.admits(second(0).mono)
        );
    }

    #[test]
    fn zero_failures_switch_it_off() {
        let mut breaker = NodeBreaker::new(Terms::default());
        assert!((0..100).all(|_| breaker.note(Kind::Dial, Reading::Fails, second(0)).is_none()));
    }
}
