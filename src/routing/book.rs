//! PURE: the one serial step that chooses a link, moves the rotation and takes the permit.

use std::collections::HashMap;

use super::caps::{Ledger, PermitKey};
use super::decision::{Decision, Usage, look, route};
use super::number::Dialled;
use super::snapshot::{Campaign, Client, CountOn, Link, Snapshot, Status};
use super::strategy::Rotation;
use super::trace::Outlook;
use crate::id::{CampaignId, LinkId};

/// Cap usage and rotations of the whole controller. Whoever holds it exclusively decides.
#[derive(Debug, Clone, Default)]
pub struct Book {
    /// Permits held and calls counted.
    pub ledger: Ledger,
    rotations: HashMap<CampaignId, Rotation>,
}

/// A candidate whose permit was taken: what an attempt needs to know.
#[derive(Debug, Clone)]
pub struct Offer {
    /// Index in the plan; failover goes on after it.
    pub position: usize,
    /// The link as configured at that moment.
    pub link: Link,
    /// Its client.
    pub client: std::sync::Arc<Client>,
}

impl Book {
    /// A book that starts from the totals counted so far.
    #[must_use]
    pub fn with_totals(totals: HashMap<LinkId, u64>) -> Self {
        Self { ledger: Ledger::with_totals(totals), rotations: HashMap::new() }
    }

    /// Decides, and takes the first candidate's permit for `key`.
    pub fn admit(&mut self, snapshot: &Snapshot, dialled: &Dialled, key: PermitKey) -> (Decision, Option<Offer>) {
        let decision = self.decide(snapshot, dialled);
        let offer = match (&decision.campaign, &decision.candidates) {
            (Some(campaign), Ok(plan)) => self.take_next(snapshot, campaign.id, plan, 0, key),
            _ => None,
        };
        (decision, offer)
    }

    /// The decision that would be made now; changes nothing.
    #[must_use]
    pub fn decide(&self, snapshot: &Snapshot, dialled: &Dialled) -> Decision {
        route(snapshot, dialled, |campaign| Usage { ledger: &self.ledger, rotation: self.rotations.get(&campaign) })
    }

    /// Every link of a campaign, active or not, and all that keeps it from being offered a call now; changes nothing.
    #[must_use]
    pub fn look(&self, snapshot: &Snapshot, campaign: &Campaign) -> Vec<Outlook> {
        look(snapshot, campaign, Usage { ledger: &self.ledger, rotation: self.rotations.get(&campaign.id) })
    }

    /// Takes the permit of the first candidate at or after `from` that is still active and has every slot free.
    /// Uses the snapshot of this moment: what was paused or lowered since the decision is honoured.
    pub fn take_next(
        &mut self,
        snapshot: &Snapshot,
        campaign: CampaignId,
        plan: &[LinkId],
        from: usize,
        key: PermitKey,
    ) -> Option<Offer> {
        let campaign = snapshot.campaigns.get(&campaign).filter(|c| c.status == Status::Active)?;
        let standing: Vec<&Link> = plan.get(from..)?.iter().filter_map(|id| find(campaign, *id)).collect();
        for (position, id) in plan.iter().enumerate().skip(from) {
            let Some(link) = find(campaign, *id).filter(|l| l.status == Status::Active && !l.withdrawn) else {
                continue;
            };
            let Some(client) = snapshot.clients.get(&link.client).filter(|c| c.status == Status::Active) else {
                continue;
            };
            if self.ledger.take(key, campaign, link, client).is_err() {
                continue;
            }
            self.rotations.entry(campaign.id).or_default().offer(campaign.strategy, link, &standing);
            return Some(Offer { position, link: link.clone(), client: client.clone() });
        }
        None
    }
}

fn find(campaign: &Campaign, id: LinkId) -> Option<&Link> {
    campaign.links.binary_search_by_key(&id, |l| l.id).ok().map(|at| &campaign.links[at])
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
    use super::*;
    use crate::id::CallId;
    use crate::routing::decision::tests::{campaign, client, dialled, link, snapshot};
    use crate::routing::snapshot::Strategy;

    fn key(n: u128) -> PermitKey {
        (CallId(uuid::Uuid::from_u128(n)), 1)
    }

    #[test]
    fn choosing_and_taking_are_one_step_so_that_the_last_slot_goes_once() {
        let links = [Link { max_concurrency: Some(1), ..link(1) }, link(2)];
        let snapshot = snapshot(campaign(&links), &[client(1), client(2)]);
        let mut book = Book::default();
        let first = book.admit(&snapshot, &dialled(), key(1)).1.expect("link 1 is free");
        let second = book.admit(&snapshot, &dialled(), key(2)).1.expect("link 2 is free");
        assert_eq!((first.link.id, second.link.id), (LinkId(1), LinkId(2)));
        assert_eq!(book.ledger.len(), 2);
    }

    #[test]
    fn failover_honours_what_was_paused_or_filled_since_the_decision() {
        let links = [link(1), link(2), Link { max_concurrency: Some(1), ..link(3) }, link(4), link(5)];
        let clients = [client(1), client(2), client(3), client(4), client(5)];
        let before = snapshot(campaign(&links), &clients);
        let mut book = Book::default();
        let (decision, _) = book.admit(&before, &dialled(), key(1));
        let plan = decision.candidates.expect("five candidates");
        let mut now = links.clone();
        now[1].status = Status::Paused;
        now[3].withdrawn = true;
        let now = snapshot(campaign(&now), &clients);
        assert!(book.ledger.take(key(9), &now.campaigns[&CampaignId(1)], &links[2], &clients[2]).is_ok());
        let next = book.take_next(&now, CampaignId(1), &plan, 1, key(1)).expect("link 5 is left");
        assert_eq!((next.link.id, next.position), (LinkId(5), 4));
        assert!(book.take_next(&now, CampaignId(1), &plan, 5, key(1)).is_none());
    }

    #[test]
    fn a_failed_over_call_moves_the_round_robin_past_the_link_that_took_it() {
        let mut round = campaign(&[link(1), link(2), link(3)]);
        round.strategy = Strategy::RoundRobin;
        let snapshot = snapshot(round, &[client(1), client(2), client(3)]);
        let mut book = Book::default();
        let (decision, offer) = book.admit(&snapshot, &dialled(), key(1));
        assert_eq!(offer.expect("offered").link.id, LinkId(1));
        book.ledger.release(key(1), false);
        let plan = decision.candidates.expect("candidates");
        assert_eq!(book.take_next(&snapshot, CampaignId(1), &plan, 1, key(1)).expect("next").link.id, LinkId(2));
        assert_eq!(book.admit(&snapshot, &dialled(), key(2)).1.expect("offered").link.id, LinkId(3));
    }

    #[test]
    fn what_counts_follows_count_on() {
        assert!(counts(CountOn::Attempted, true, false));
        assert!(!counts(CountOn::Attempted, false, false));
        assert!(!counts(CountOn::Answered, true, false));
        assert!(counts(CountOn::Answered, true, true));
    }
}
