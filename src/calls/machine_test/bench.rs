//! A call with its book, on a clock of its own.

use std::sync::Arc;
use std::time::Duration;

use chrono::DateTime;

use crate::calls::facts::{CallFacts, Limits};
use crate::calls::io::{Effect, Input, Op};
use crate::calls::machine::Call;
use crate::cdr::record::{CallRecord, Presentation};
use crate::clock::Now;
use crate::config::Rejections;
use crate::id::{CallId, CampaignId, LinkId};
use crate::routing::book::Book;
use crate::routing::breaker::{At, Sign};
use crate::routing::decision::tests::{campaign, client, dialled, node, snapshot};
use crate::routing::number::Caller;
use crate::routing::snapshot::{Campaign, Link, Snapshot};

pub(crate) fn limits() -> Limits {
    Limits {
        progress_timeout: Duration::from_secs(5),
        setup_budget: Duration::from_secs(60),
        max_duration: Duration::from_secs(3600),
        max_attempts: 10,
        rejections: Rejections {
            unknown_did: 404,
            inactive_campaign: 404,
            all_full: 486,
            no_active_link: 480,
            nobody_answered: 480,
            overloaded: 503,
        },
    }
}

pub(crate) fn facts() -> CallFacts {
    CallFacts {
        call_id: CallId::derive(DateTime::UNIX_EPOCH, "pbx", "1.1"),
        node: Arc::from("pbx"),
        channel_id: "1.1".into(),
        sip_call_id: None,
        invite: None,
        dialled: dialled(),
        caller: Caller { raw: None, e164: None, presentation: Presentation::Withheld },
        caller_name: None,
        can_progress: true,
    }
}

/// A call with its book, on a clock of its own: carries out what is synchronous, collects the rest.
pub(crate) struct Bench {
    pub(crate) call: Call,
    pub(crate) book: Book,
    pub(crate) snapshot: Snapshot,
    pub(crate) now: Now,
    pub(crate) asked: Vec<Op>,
    pub(crate) released: Vec<(u32, bool)>,
    /// Attempts left to another controller, and whether they count.
    pub(crate) left: Vec<(u32, bool)>,
    /// What each attempt has shown of its client.
    pub(crate) signs: Vec<(u32, Sign)>,
    pub(crate) finished: u32,
    /// How often the journal was told to forget it.
    pub(crate) forgotten: u32,
    /// The journal answers at once; else as the test says.
    pub(crate) commits: bool,
}

impl Bench {
    pub(crate) fn new(links: &[Link]) -> Self {
        Self::with(campaign(links))
    }

    pub(crate) fn with(campaign: Campaign) -> Self {
        let mut bench = Self::before_arrival(campaign);
        bench.give(Input::Arrived { overloaded: false });
        bench
    }

    pub(crate) fn before_arrival(campaign: Campaign) -> Self {
        let clients: Vec<_> = (1..=9).map(client).collect();
        let now = Now { mono: Duration::from_secs(100), wall: DateTime::UNIX_EPOCH };
        Self {
            call: Call::new(facts(), limits(), 0, now),
            book: Book::default(),
            snapshot: snapshot(campaign, &clients),
            now,
            asked: Vec::new(),
            released: Vec::new(),
            left: Vec::new(),
            signs: Vec::new(),
            finished: 0,
            forgotten: 0,
            commits: true,
        }
    }

    /// The same, of an Asterisk that cannot be asked to tell a caller of early media: parties meet before the dial.
    pub(crate) fn of_older_asterisk(mut self) -> Self {
        self.call.facts.can_progress = false;
        self
    }

    /// Attempt n is answered, and so is the caller.
    pub(crate) fn answer(&mut self, n: u32) -> Vec<Op> {
        let inputs = [Input::LegAnswered(n), Input::LegMedia { n, usable: true }, Input::CallerUp, Input::Joined(n)];
        inputs.into_iter().flat_map(|input| self.give(input)).collect()
    }

    /// Feeds one input and returns what was asked of Asterisk because of it.
    pub(crate) fn give(&mut self, input: Input) -> Vec<Op> {
        let before = self.asked.len();
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            for effect in self.call.step(input, self.now) {
                assert_eq!(self.finished, 0, "{effect:?} after the end");
                inputs.extend(self.carry_out(effect));
            }
        }
        self.asked[before..].to_vec()
    }

    fn carry_out(&mut self, effect: Effect) -> Option<Input> {
        let id = self.call.facts.call_id;
        match effect {
            Effect::Route { n } => {
                let at = At { node: &node(), now: self.now };
                let (decision, offer) = self.book.admit(&self.snapshot, &dialled(), at, (id, n));
                return Some(Input::Routed(Box::new((decision, offer))));
            }
            Effect::TakeNext { n, from } => {
                let plan: Vec<LinkId> = self.snapshot.campaigns[&CampaignId(1)].links.iter().map(|l| l.id).collect();
                let at = At { node: &node(), now: self.now };
                let offer = self.book.take_next(&self.snapshot, CampaignId(1), (&plan, from), at, (id, n));
                return Some(Input::Taken(offer.map(Box::new)));
            }
            Effect::Sign { n, sign } => {
                assert!(
                    self.signs.iter().all(|(earlier, _)| *earlier != n),
                    "attempt {n} told twice: {:?}",
                    self.signs
                );
                self.signs.push((n, sign));
            }
            Effect::Commit { n } => return self.commits.then_some(Input::Committed(n)),
            Effect::Release { n, counted } => {
                assert!(self.signs.iter().any(|(told, _)| *told == n), "attempt {n} ends without a sign");
                assert!(self.book.ledger.release((id, n), counted), "permit {n} released without being held");
                self.released.push((n, counted));
            }
            Effect::Leave { n, counted } => self.left.push((n, counted)),
            Effect::Ask(op) => self.asked.push(op),
            Effect::Forget => self.forgotten += 1,
            Effect::Finish => self.finished += 1,
        }
        None
    }

    pub(crate) fn after(&mut self, wait: Duration) -> Vec<Op> {
        self.now.mono += wait;
        let expired = self.now.mono >= self.call.expiry();
        // Nothing but the call itself knows of its node.
        self.give(if expired { Input::Expired { heard_until: self.call.last_known() } } else { Input::Tick })
    }

    pub(crate) fn gone(&mut self, n: u32, cause: i16, sip: i16) -> Vec<Op> {
        self.give(Input::LegGone { n, cause: Some(cause), sip: Some(sip) })
    }

    pub(crate) fn record(&self) -> CallRecord {
        assert_eq!(self.finished, 1, "the call has one end");
        assert!(self.book.ledger.is_empty(), "no permit outlives the call");
        crate::cdr::fold::record(&self.call, self.now)
    }
}
