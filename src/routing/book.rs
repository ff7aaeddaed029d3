//! PURE: the one serial step that chooses a link, moves the rotation and takes the permit.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::breaker::{At, Breakers, Sign, Standing, Terms, Turn};
use super::caps::{Ledger, PermitKey};
use super::decision::{Decision, Usage, look, route};
use super::number::Dialled;
use super::snapshot::{Campaign, Client, CountOn, Link, Snapshot, Status};
use super::strategy::Rotation;
use super::trace::Outlook;
use super::visits::visit;
use crate::id::{CampaignId, ClientId, LinkId};

/// Cap usage and rotations of the whole controller. Whoever holds it exclusively decides, and keeps all others from it: what is done with it
/// visits no more than a campaign's links. There is no copy of the whole.
#[derive(Debug, Default)]
pub struct Book {
    /// Permits held and calls counted.
    pub ledger: Ledger,
    /// In order: room for one more is never made by moving all.
    rotations: BTreeMap<CampaignId, Rotation>,
    breakers: Breakers,
}

/// A candidate whose permit was taken: what an attempt needs to know.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Index in the plan; failover goes on after it.
    pub position: usize,
    /// The link as configured at that moment.
    pub link: Link,
    /// Its client.
    pub client: Arc<Client>,
}

impl Book {
    /// A book that starts from the totals counted so far, with every client reachable.
    #[must_use]
    pub fn new(totals: HashMap<LinkId, u64>, breakers: Terms) -> Self {
        Self { ledger: Ledger::with_totals(totals), rotations: BTreeMap::new(), breakers: Breakers::new(breakers) }
    }

    /// An empty book with room for what [`Book::copy_to`] copies, to be made before the book is taken.
    #[must_use]
    pub fn room_for(campaign: &Campaign, nodes: &[Arc<str>]) -> Self {
        let breakers = Breakers::room_for(campaign.links.len(), nodes);
        Self { ledger: Ledger::room_for(campaign), rotations: BTreeMap::new(), breakers }
    }

    /// Copies what decisions on this campaign's calls rest on: the use of its caps, its rotation, and how its clients stand on the nodes that
    /// `part` was made for.
    pub fn copy_to(&self, part: &mut Self, campaign: &Campaign) {
        self.ledger.copy_to(&mut part.ledger, campaign);
        for probe in self.breakers.copy_to(&mut part.breakers, campaign.links.iter().map(|link| link.client)) {
            self.ledger.copy_permit(&mut part.ledger, probe);
        }
        if let Some(rotation) = self.rotations.get(&campaign.id) {
            visit(rotation.shares());
            part.rotations.insert(campaign.id, rotation.clone());
        }
    }

    /// Decides, and takes the first candidate's permit for `key`.
    pub fn admit(
        &mut self,
        snapshot: &Snapshot,
        dialled: &Dialled,
        at: At<'_>,
        key: PermitKey,
    ) -> (Decision, Option<Offer>) {
        let decision = self.decide(snapshot, dialled, at);
        let offer = match (&decision.campaign, &decision.candidates) {
            (Some(campaign), Ok(plan)) => self.take_next(snapshot, campaign.id, (plan, 0), at, key),
            _ => None,
        };
        (decision, offer)
    }

    /// The decision that would be made now; changes nothing.
    #[must_use]
    pub fn decide(&self, snapshot: &Snapshot, dialled: &Dialled, at: At<'_>) -> Decision {
        route(snapshot, dialled, |campaign| self.usage(campaign, at))
    }

    /// Every link of a campaign, active or not, and all that keeps it from being offered a call now; changes nothing.
    #[must_use]
    pub fn look(&self, snapshot: &Snapshot, campaign: &Campaign, at: At<'_>) -> Vec<Outlook> {
        look(snapshot, campaign, self.usage(campaign.id, at))
    }

    fn usage<'a>(&'a self, campaign: CampaignId, at: At<'a>) -> Usage<'a> {
        Usage { ledger: &self.ledger, rotation: self.rotations.get(&campaign), breakers: &self.breakers, at }
    }

    /// When breakers open, and for how long, from now on.
    pub fn guard_clients(&mut self, terms: Terms) {
        self.breakers.keep_to(terms);
    }

    /// How a client's breaker stands on a node.
    #[must_use]
    pub fn breaker(&self, client: ClientId, at: At<'_>) -> Standing {
        self.breakers.standing(at, client, &self.ledger)
    }

    /// What an attempt has shown of its client; to be told once. Says how the client's breaker on the node has turned by it.
    pub fn note(&mut self, at: At<'_>, client: ClientId, key: PermitKey, sign: Sign) -> Option<Turn> {
        self.breakers.note(at, client, key, sign)
    }

    /// Takes the permit of the plan's first candidate from a position on that is still active, can be reached and has every slot free;
    /// where its breaker wants a probe, the attempt is that. Uses the snapshot of this moment: what was paused or lowered since the
    /// decision is honoured. Candidates that cannot be reached are taken where that is true of the whole plan.
    pub fn take_next(
        &mut self,
        snapshot: &Snapshot,
        campaign: CampaignId,
        (plan, from): (&[LinkId], usize),
        at: At<'_>,
        key: PermitKey,
    ) -> Option<Offer> {
        let campaign = snapshot.campaigns.get(&campaign).filter(|c| c.status == Status::Active)?;
        let left = plan.get(from..)?;
        let unreachable = |client| self.breakers.standing(at, client, &self.ledger).outage().is_some();
        let all_unreachable = plan.iter().filter_map(|id| campaign.link(*id)).all(|link| unreachable(link.client));
        for (position, id) in plan.iter().enumerate().skip(from) {
            let Some(link) = campaign.link(*id).filter(|l| l.status == Status::Active && !l.withdrawn) else {
                continue;
            };
            let Some(client) = snapshot.clients.get(&link.client).filter(|c| c.status == Status::Active) else {
                continue;
            };
            let outage = self.breakers.standing(at, client.id, &self.ledger).outage();
            if (outage.is_some() && !all_unreachable) || self.ledger.take(key, campaign, link, client).is_err() {
                continue;
            }
            self.breakers.begin(at, client.id, key, &self.ledger);
            self.rotations.entry(campaign.id).or_default().offer(campaign.strategy, link, &standing(campaign, left));
            return Some(Offer { position, link: link.clone(), client: client.clone() });
        }
        None
    }
}

/// The links of a campaign that a plan names, by id.
fn standing<'a>(campaign: &'a Campaign, plan: &[LinkId]) -> Vec<&'a Link> {
    // Links are in the order of their ids: sorting numbers and walking along is much less than a search for each of hundreds.
    let mut ids = plan.to_vec();
    ids.sort_unstable();
    let mut links = campaign.links.iter().peekable();
    let next = |id: LinkId| {
        while links.next_if(|link| link.id < id).is_some() {}
        links.next_if(|link| link.id == id)
    };
    ids.into_iter().filter_map(next).collect()
}

/// Whether an attempt that came out so counts against its link's total.
#[must_use]
pub fn counts(count_on: CountOn, dialled: bool, answered: bool) -> bool {
    match count_on {
        CountOn::Answered => answered,
        CountOn::Attempted => dialled,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::id::CallId;
    use crate::routing::breaker::Sign;
    use crate::routing::decision::Refusal;
    use crate::routing::decision::tests::{campaign, client, dialled, link, node, second, snapshot};
    use crate::routing::snapshot::Strategy;
    use crate::routing::trace::TraceView;

    fn key(n: u128) -> PermitKey {
        (CallId(uuid::Uuid::from_u128(n)), 1)
    }

    fn at(node: &Arc<str>, seconds: u64) -> At<'_> {
        At { node, now: second(seconds) }
    }

    /// A breaker opens at the second failure, for ten seconds.
    fn with_breakers() -> Book {
        let pause = Duration::from_secs(10);
        Book::new(HashMap::new(), Terms { failures: 2, pause, pause_max: pause })
    }

    /// Two attempts of this client fail on the node at second 0.
    fn fail(book: &mut Book, client: i64) {
        for n in [901, 902] {
            book.note(at(&node(), 0), ClientId(client), key(n), Sign::Failed);
        }
    }

    /// The link that a call is offered to, and the verdicts on all.
    fn admit(book: &mut Book, snapshot: &Snapshot, seconds: u64, n: u128) -> (Result<i64, Refusal>, TraceView) {
        let (decision, offer) = book.admit(snapshot, &dialled(), at(&node(), seconds), key(n));
        let refused = decision.candidates.err().unwrap_or(Refusal::AllFull);
        (offer.map(|offer| offer.link.id.0).ok_or(refused), decision.trace.expect("a campaign was reached").view())
    }

    fn verdicts(trace: &TraceView) -> Vec<&str> {
        trace.links.iter().map(|link| link.verdict.as_str()).collect()
    }

    #[test]
    fn an_unreachable_client_is_passed_over_until_one_call_may_probe_it() {
        let links = [link(1), Link { forwarding_priority: 2, ..link(2) }];
        let snapshot = snapshot(campaign(&links), &[client(1), client(2)]);
        let mut book = with_breakers();
        fail(&mut book, 1);
        let (offered, trace) = admit(&mut book, &snapshot, 9, 1);
        assert_eq!((offered, verdicts(&trace)), (Ok(2), vec!["client_unreachable", "candidate"]));
        let [since, until] = [trace.links[0].unreachable_since, trace.links[0].unreachable_until];
        assert_eq!((since, until), (Some(second(0).wall), Some(second(10).wall)));
        assert_eq!((trace.links[0].position, trace.links[1].position), (None, Some(1)));
        let (offered, trace) = admit(&mut book, &snapshot, 10, 2);
        assert_eq!((offered, verdicts(&trace)), (Ok(1), vec!["candidate", "candidate"]), "the probe");
        let (offered, trace) = admit(&mut book, &snapshot, 10, 3);
        assert_eq!((offered, verdicts(&trace)), (Ok(2), vec!["client_unreachable", "candidate"]), "one at a time");
        book.note(at(&node(), 11), ClientId(1), key(2), Sign::Alive);
        assert_eq!(admit(&mut book, &snapshot, 11, 4).0, Ok(1));
    }

    #[test]
    fn another_node_still_reaches_it() {
        let snapshot = snapshot(campaign(&[link(1), link(2)]), &[client(1), client(2)]);
        let mut book = with_breakers();
        fail(&mut book, 1);
        let elsewhere = Arc::from("pbx-2");
        let (_, offer) = book.admit(&snapshot, &dialled(), at(&elsewhere, 0), key(1));
        assert_eq!(offer.expect("offered").link.id, LinkId(1));
    }

    #[test]
    fn breakers_keep_nobody_out_where_nobody_else_is_left() {
        let full = Link { max_concurrency: Some(0), ..link(1) };
        let links = [full, link(2), Link { status: Status::Paused, ..link(3) }, link(4)];
        let snapshot = snapshot(campaign(&links), &[client(1), client(2), client(3), client(4)]);
        let mut book = with_breakers();
        (1..=4).for_each(|client| fail(&mut book, client));
        let (decision, offer) = book.admit(&snapshot, &dialled(), at(&node(), 0), key(1));
        let trace = decision.trace.expect("a campaign was reached").view();
        assert_eq!(verdicts(&trace), ["link_full", "client_unreachable", "link_paused", "client_unreachable"]);
        let plan = decision.candidates.expect("the unreachable ones are tried");
        assert_eq!((plan.len(), offer.expect("offered").position), (2, 0));
        let next = book.take_next(&snapshot, CampaignId(1), (&plan, 1), at(&node(), 0), key(2));
        assert!(next.is_some(), "and each of them");
        assert_eq!(trace.links.iter().filter_map(|link| link.position).max(), Some(2));
    }

    #[test]
    fn failover_passes_over_a_client_that_became_unreachable_since_the_decision() {
        let links = [link(1), link(2), link(3)];
        let snapshot = snapshot(campaign(&links), &[client(1), client(2), client(3)]);
        let mut book = with_breakers();
        let (decision, _) = book.admit(&snapshot, &dialled(), at(&node(), 0), key(1));
        let plan = decision.candidates.expect("three candidates");
        fail(&mut book, plan[1].0);
        let next = book.take_next(&snapshot, CampaignId(1), (&plan, 1), at(&node(), 0), key(2)).expect("a third");
        assert_eq!(next.position, 2);
    }

    #[test]
    fn a_look_tells_of_an_open_breaker_behind_full_caps() {
        let full = Link { max_concurrency: Some(0), ..link(1) };
        let snapshot = snapshot(campaign(&[full]), &[client(1)]);
        let mut book = with_breakers();
        fail(&mut book, 1);
        let found = book.look(&snapshot, &snapshot.campaigns[&CampaignId(1)], at(&node(), 0));
        assert_eq!(found[0].obstacles, ["link_full", "client_unreachable"]);
    }

    #[test]
    fn choosing_and_taking_are_one_step_so_that_the_last_slot_goes_once() {
        let links = [Link { max_concurrency: Some(1), ..link(1) }, link(2)];
        let snapshot = snapshot(campaign(&links), &[client(1), client(2)]);
        let mut book = Book::default();
        let first = book.admit(&snapshot, &dialled(), at(&node(), 0), key(1)).1.expect("link 1 is free");
        let second = book.admit(&snapshot, &dialled(), at(&node(), 0), key(2)).1.expect("link 2 is free");
        assert_eq!((first.link.id, second.link.id), (LinkId(1), LinkId(2)));
        assert_eq!(book.ledger.len(), 2);
    }

    #[test]
    fn failover_honours_what_was_paused_or_filled_since_the_decision() {
        let links = [link(1), link(2), Link { max_concurrency: Some(1), ..link(3) }, link(4), link(5)];
        let clients = [client(1), client(2), client(3), client(4), client(5)];
        let before = snapshot(campaign(&links), &clients);
        let mut book = Book::default();
        let (decision, _) = book.admit(&before, &dialled(), at(&node(), 0), key(1));
        let plan = decision.candidates.expect("five candidates");
        let mut now = links.clone();
        now[1].status = Status::Paused;
        now[3].withdrawn = true;
        let now = snapshot(campaign(&now), &clients);
        assert!(book.ledger.take(key(9), &now.campaigns[&CampaignId(1)], &links[2], &clients[2]).is_ok());
        let next = book.take_next(&now, CampaignId(1), (&plan, 1), at(&node(), 0), key(1)).expect("link 5 is left");
        assert_eq!((next.link.id, next.position), (LinkId(5), 4));
        assert!(book.take_next(&now, CampaignId(1), (&plan, 5), at(&node(), 0), key(1)).is_none());
    }

    #[test]
    fn a_failed_over_call_moves_the_round_robin_past_the_link_that_took_it() {
        let mut round = campaign(&[link(1), link(2), link(3)]);
        round.strategy = Strategy::RoundRobin;
        let snapshot = snapshot(round, &[client(1), client(2), client(3)]);
        let mut book = Book::default();
        let (decision, offer) = book.admit(&snapshot, &dialled(), at(&node(), 0), key(1));
        assert_eq!(offer.expect("offered").link.id, LinkId(1));
        book.ledger.release(key(1), false);
        let plan = decision.candidates.expect("candidates");
        let next = book.take_next(&snapshot, CampaignId(1), (&plan, 1), at(&node(), 0), key(1));
        assert_eq!(next.expect("next").link.id, LinkId(2));
        assert_eq!(book.admit(&snapshot, &dialled(), at(&node(), 0), key(2)).1.expect("offered").link.id, LinkId(3));
    }

    #[test]
    fn what_counts_follows_count_on() {
        assert!(counts(CountOn::Attempted, true, false));
        assert!(!counts(CountOn::Attempted, false, false));
        assert!(!counts(CountOn::Answered, true, false));
        assert!(counts(CountOn::Answered, true, true));
    }
}
