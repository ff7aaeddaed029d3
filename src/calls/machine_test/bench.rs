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

pub(super) fn limits() -> Limits {
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

pub(super) fn facts() -> CallFacts {
    CallFacts {
        call_id: CallId::derive(DateTime::UNIX_EPOCH, "pbx", "1.1"),
        node: Arc::from("pbx"),
        channel_id: "1.1".into(),
        sip_call_id: None,
        dialled: dialled(),
        caller: Caller { raw: None, e164: None, presentation: Presentation::Withheld },
        caller_name: None,
    }
}

/// A call with its book, on a clock of its own: carries out what is synchronous, collects the rest.
pub(super) struct Bench {
    pub(super) call: Call,
    pub(super) book: Book,
    pub(super) snapshot: Snapshot,
    pub(super) now: Now,
    pub(super) asked: Vec<Op>,
    pub(super) released: Vec<(u32, bool)>,
    /// Attempts left to another controller.
    pub(super) left: Vec<u32>,
    /// What each attempt has shown of its client.
    pub(super) signs: Vec<(u32, Sign)>,
    pub(super) finished: u32,
}

impl Bench {
    pub(super) fn new(links: &[Link]) -> Self {
        Self::with(campaign(links))
    }

    pub(super) fn with(campaign: Campaign) -> Self {
        let clients: Vec<_> = (1..=9).map(client).collect();
        let now = Now { mono: Duration::from_secs(100), wall: DateTime::UNIX_EPOCH };
        let mut bench = Self {
            call: Call::new(facts(), limits(), 0, now),
            book: Book::default(),
            snapshot: snapshot(campaign, &clients),
            now,
            asked: Vec::new(),
            released: Vec::new(),
            left: Vec::new(),
            signs: Vec::new(),
            finished: 0,
        };
        bench.give(Input::Arrived { overloaded: false });
        bench
    }

    /// Feeds one input and returns what was asked of Asterisk because of it.
    pub(super) fn give(&mut self, input: Input) -> Vec<Op> {
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
                return Some(Input::Routed(Box::new(decision), offer));
            }
            Effect::TakeNext { n, from } => {
                let plan: Vec<LinkId> = self.snapshot.campaigns[&CampaignId(1)].links.iter().map(|l| l.id).collect();
                let at = At { node: &node(), now: self.now };
                let offer = self.book.take_next(&self.snapshot, CampaignId(1), (&plan, from), at, (id, n));
                return Some(Input::Taken(offer));
            }
            Effect::Sign { n, sign } => {
                assert!(self.signs.iter().all(|(earlier, _)| *earlier != n), "attempt {n} told twice: {:?}", self.signs);
                self.signs.push((n, sign));
            }
            Effect::Release { n, counted } => {
                assert!(self.signs.iter().any(|(told, _)| *told == n), "attempt {n} ends without a sign");
                assert!(self.book.ledger.release((id, n), counted), "permit {n} released without being held");
                self.released.push((n, counted));
            }
            Effect::Leave { n } => self.left.push(n),
            Effect::Ask(op) => self.asked.push(op),
            Effect::Finish => self.finished += 1,
        }
        None
    }

    pub(super) fn after(&mut self, wait: Duration) -> Vec<Op> {
        self.now.mono += wait;
        self.give(Input::Tick)
    }

    pub(super) fn gone(&mut self, n: u32, cause: i16, sip: i16) -> Vec<Op> {
        self.give(Input::LegGone { n, cause: Some(cause), sip: Some(sip) })
    }

    pub(super) fn record(&self) -> CallRecord {
        assert_eq!(self.finished, 1, "the call has one end");
        assert!(self.book.ledger.is_empty(), "no permit outlives the call");
        crate::cdr::fold::record(&self.call, self.now)
    }
}
