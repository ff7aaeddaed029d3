//! PURE: the ledger of permits, the only place where cap usage lives.
//!
//! Usage is never counted up and down by hand: it follows from the permits held and from the calls counted.

use std::collections::HashMap;

use rustc_hash::FxHashMap;

use serde::{Deserialize, Serialize};

use super::snapshot::{Campaign, Client, Link, words};
use crate::id::{CallId, CampaignId, ClientId, LinkId};
use crate::mistakes::{Mistake, on};

/// Names one permit: attempt `n` of a call.
pub type PermitKey = (CallId, u32);

/// What one permit reserves: one slot of every cap its attempt touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permit {
    /// The campaign whose concurrency it uses.
    pub campaign: CampaignId,
    /// The link whose concurrency and total it uses.
    pub link: LinkId,
    /// The client whose concurrency it uses.
    pub client: ClientId,
}

words! {
    /// The caps there are.
    Cap {
        /// The link's `max_concurrency`.
        LinkConcurrency = "link_full",
        /// The link's `total_calls_allowed`.
        LinkTotal = "total_reached",
        /// The client's `max_concurrency`.
        ClientConcurrency = "client_full",
        /// The campaign's `max_concurrency`.
        CampaignConcurrency = "campaign_full",
    }
}

/// A cap that has no slot left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Full {
    /// Which cap.
    pub cap: Cap,
    /// Slots in use, calls in flight included.
    pub used: u64,
    /// Slots there are.
    pub limit: u64,
}

/// Every permit held and every call counted.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    held: FxHashMap<PermitKey, Permit>,
    links: FxHashMap<LinkId, LinkUse>,
    clients: FxHashMap<ClientId, u32>,
    campaigns: FxHashMap<CampaignId, u32>,
}

/// What is used of every cap that an attempt of one link touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Used {
    /// Attempts of the link that ring or talk.
    pub link_live: u32,
    /// Calls counted against its total, without those in flight.
    pub counted: u64,
    /// Attempts of its client that ring or talk.
    pub client_live: u32,
    /// Attempts of its campaign that ring or talk.
    pub campaign_live: u32,
}

impl Used {
    /// Every cap that has no slot for one more attempt.
    pub fn full(self, campaign: &Campaign, link: &Link, client: &Client) -> impl Iterator<Item = Full> + use<> {
        let in_flight = if on(Mistake::InFlightNotCounted) { 0 } else { u64::from(self.link_live) };
        let slots = [
            (Cap::LinkConcurrency, u64::from(self.link_live), link.max_concurrency.map(u64::from)),
            (Cap::LinkTotal, self.counted.saturating_add(in_flight), link.total_calls_allowed),
            (Cap::ClientConcurrency, u64::from(self.client_live), client.max_concurrency.map(u64::from)),
            (Cap::CampaignConcurrency, u64::from(self.campaign_live), campaign.max_concurrency.map(u64::from)),
        ];
        slots.into_iter().filter_map(|(cap, used, limit)| {
            let limit = limit?;
            (used >= limit).then_some(Full { cap, used, limit })
        })
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct LinkUse {
    live: u32,
    /// Ever: a reset of the count is the link's `counted_before`, so it comes with the configuration and loses no call in between.
    counted: u64,
}

impl LinkUse {
    /// Calls counted since the link's count was last reset.
    fn counted(self, link: &Link) -> u64 {
        self.counted.saturating_sub(link.counted_before)
    }
}

impl Ledger {
    /// A ledger that starts from the calls that each link ever counted.
    #[must_use]
    pub fn with_totals(totals: HashMap<LinkId, u64>) -> Self {
        let links = totals.into_iter().map(|(link, counted)| (link, LinkUse { live: 0, counted })).collect();
        Self { links, ..Self::default() }
    }

    /// Calls that each link ever counted, where no permit is held: nothing that may count is under way.
    #[must_use]
    pub fn idle_totals(&self) -> Option<HashMap<LinkId, u64>> {
        self.held.is_empty().then(|| self.links.iter().map(|(link, used)| (*link, used.counted)).collect())
    }

    /// Takes over what others have counted: a total here does not fall by it.
    pub fn raise_totals(&mut self, totals: &HashMap<LinkId, u64>) {
        for (link, counted) in totals {
            let used = self.links.entry(*link).or_default();
            used.counted = used.counted.max(*counted);
        }
    }

    /// Takes the stored totals for true, be they less, where nothing has counted since `before` and no permit is held: what was counted
    /// here for safety and in the end by others, too, counts once.
    pub fn settle_totals(&mut self, totals: &HashMap<LinkId, u64>, before: &HashMap<LinkId, u64>) {
        if !self.held.is_empty() {
            return;
        }
        for (link, used) in &mut self.links {
            let (stored, same) = (totals.get(link), before.get(link) == Some(&used.counted));
            used.counted = stored.filter(|_| same).copied().unwrap_or(used.counted);
        }
    }

    /// Attempts of this link that ring or talk.
    #[must_use]
    pub fn link_live(&self, link: LinkId) -> u32 {
        self.links.get(&link).map_or(0, |l| l.live)
    }

    /// Calls counted against this link's total since its count was last reset, without those in flight.
    #[must_use]
    pub fn link_counted(&self, link: &Link) -> u64 {
        self.links.get(&link.id).map_or(0, |used| used.counted(link))
    }

    /// Attempts of this client that ring or talk, over all campaigns.
    #[must_use]
    pub fn client_live(&self, client: ClientId) -> u32 {
        self.clients.get(&client).copied().unwrap_or(0)
    }

    /// Attempts of this campaign that ring or talk.
    #[must_use]
    pub fn campaign_live(&self, campaign: CampaignId) -> u32 {
        self.campaigns.get(&campaign).copied().unwrap_or(0)
    }

    /// How many slots of each cap are used at this moment.
    #[must_use]
    pub fn uses(&self) -> Uses {
        Uses { links: self.links.clone(), clients: self.clients.clone(), campaigns: self.campaigns.clone() }
    }

    /// Permits held in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether no permit is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Whether this permit is held.
    #[must_use]
    pub fn is_held(&self, key: PermitKey) -> bool {
        self.held.contains_key(&key)
    }

    /// Every permit held, in no order.
    pub fn held(&self) -> impl Iterator<Item = (PermitKey, Permit)> + '_ {
        self.held.iter().map(|(key, permit)| (*key, *permit))
    }

    /// What is used of the caps that an attempt of this link touches; of its campaign's so much as `campaign_live` says.
    #[must_use]
    pub fn used(&self, campaign_live: u32, link: &Link) -> Used {
        let used = self.links.get(&link.id).copied().unwrap_or_default();
        let (client_live, counted) = (self.client_live(link.client), used.counted(link));
        Used { link_live: used.live, counted, client_live, campaign_live }
    }

    /// The first cap that has no slot for one more attempt of this link.
    #[must_use]
    pub fn full(&self, campaign: &Campaign, link: &Link, client: &Client) -> Option<Full> {
        let used = self.used(self.campaign_live(campaign.id), link);
        Used { client_live: self.client_live(client.id), ..used }.full(campaign, link, client).next()
    }

    /// Pretends that a link has so many attempts that ring or talk, and so many calls counted; `None` keeps. The campaign is used as
    /// much more or less, the client is not: what its cap leaves after others' calls is not to be found out by trying.
    /// For previews on a copy only: no permit stands behind it.
    pub fn pretend(&mut self, campaign: CampaignId, link: &Link, live: Option<u32>, counted: Option<u64>) {
        let used = self.links.entry(link.id).or_default();
        let before = used.live;
        used.live = live.unwrap_or(before);
        used.counted = counted.map_or(used.counted, |counted| counted.saturating_add(link.counted_before));
        let after = used.live;
        let shared = self.campaigns.entry(campaign).or_default();
        *shared = shared.saturating_sub(before).saturating_add(after);
    }

    /// Reserves one slot of every cap the attempt touches, or none.
    ///
    /// # Errors
    /// The cap that is full.
    pub fn take(&mut self, key: PermitKey, campaign: &Campaign, link: &Link, client: &Client) -> Result<Permit, Full> {
        if let Some(full) = self.full(campaign, link, client) {
            return Err(full);
        }
        let permit = Permit { campaign: campaign.id, link: link.id, client: client.id };
        self.hold(key, permit);
        Ok(permit)
    }

    /// Holds a permit whatever the caps say: for an attempt that is already under way when we come to know of it.
    pub fn hold(&mut self, key: PermitKey, permit: Permit) {
        if self.held.insert(key, permit).is_some() {
            return;
        }
        self.links.entry(permit.link).or_default().live += 1;
        *self.clients.entry(permit.client).or_default() += 1;
        *self.campaigns.entry(permit.campaign).or_default() += 1;
    }

    /// Counts a call of this link that held no permit here: one that the old dialplan or an earlier run handled.
    pub fn count(&mut self, link: LinkId) {
        self.links.entry(link).or_default().counted += 1;
    }

    /// The mistake that a permit is given back which is not held any more.
    #[cfg(test)]
    pub(crate) fn release_again(&mut self, permit: Permit) {
        if let Some(link) = self.links.get_mut(&permit.link) {
            link.live = link.live.saturating_sub(1);
        }
        give_back(&mut self.clients, permit.client);
        give_back(&mut self.campaigns, permit.campaign);
    }

    /// Gives the permit back, once; `counted` moves its slot of the link's total from in flight to counted.
    /// Returns whether it was held.
    pub fn release(&mut self, key: PermitKey, counted: bool) -> bool {
        let Some(permit) = self.held.remove(&key) else {
            return false;
        };
        if let Some(link) = self.links.get_mut(&permit.link) {
            link.live = link.live.saturating_sub(1);
            link.counted += u64::from(counted);
        }
        give_back(&mut self.clients, permit.client);
        give_back(&mut self.campaigns, permit.campaign);
        true
    }
}

/// How many slots of each cap are used at one moment: a copy of the ledger's figures without its permits.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    links: FxHashMap<LinkId, LinkUse>,
    clients: FxHashMap<ClientId, u32>,
    campaigns: FxHashMap<CampaignId, u32>,
}

impl Uses {
    /// Attempts of this link that ring or talk, and calls counted against its total since its count was last reset, without those.
    #[must_use]
    pub fn link(&self, link: &Link) -> (u32, u64) {
        self.links.get(&link.id).map_or((0, 0), |used| (used.live, used.counted(link)))
    }

    /// Attempts of this client that ring or talk, over all campaigns.
    #[must_use]
    pub fn client(&self, client: ClientId) -> u32 {
        self.clients.get(&client).copied().unwrap_or(0)
    }

    /// Attempts of this campaign that ring or talk.
    #[must_use]
    pub fn campaign(&self, campaign: CampaignId) -> u32 {
        self.campaigns.get(&campaign).copied().unwrap_or(0)
    }
}

fn give_back<K: std::hash::Hash + Eq>(slots: &mut FxHashMap<K, u32>, key: K) {
    if let std::collections::hash_map::Entry::Occupied(mut used) = slots.entry(key) {
        *used.get_mut() = used.get().saturating_sub(1);
        if *used.get() == 0 {
            used.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::routing::decision::tests::{campaign, client, link};

    fn key(n: u32) -> PermitKey {
        (CallId(uuid::Uuid::nil()), n)
    }

    #[test]
    fn zero_means_none_and_absent_means_no_limit() {
        let (campaign, client, mut link) = (campaign(&[]), client(1), link(1));
        let mut ledger = Ledger::default();
        for n in 0..100 {
            assert!(ledger.take(key(n), &campaign, &link, &client).is_ok());
        }
        link.max_concurrency = Some(0);
        let full = ledger.take(key(200), &campaign, &link, &client).expect_err("none allowed");
        assert_eq!(full, Full { cap: Cap::LinkConcurrency, used: 100, limit: 0 });
    }

    #[test]
    fn calls_in_flight_count_against_the_total_and_uncounted_ones_give_it_back() {
        let (campaign, client, mut link) = (campaign(&[]), client(1), link(1));
        link.total_calls_allowed = Some(2);
        let mut ledger = Ledger::with_totals(HashMap::from([(link.id, 1)]));
        assert!(ledger.take(key(1), &campaign, &link, &client).is_ok());
        assert_eq!(ledger.take(key(2), &campaign, &link, &client).expect_err("full").cap, Cap::LinkTotal);
        ledger.release(key(1), false);
        assert!(ledger.take(key(2), &campaign, &link, &client).is_ok());
        ledger.release(key(2), true);
        assert_eq!(ledger.link_counted(&link), 2);
        assert_eq!(ledger.take(key(3), &campaign, &link, &client).expect_err("full").cap, Cap::LinkTotal);
    }

    #[test]
    fn a_reset_frees_what_was_counted_before_it_and_calls_in_flight_still_count() {
        let (campaign, client, mut link) = (campaign(&[]), client(1), link(1));
        link.total_calls_allowed = Some(2);
        let mut ledger = Ledger::with_totals(HashMap::from([(link.id, 1)]));
        assert!(ledger.take(key(1), &campaign, &link, &client).is_ok());
        link.counted_before = 1;
        assert_eq!(ledger.link_counted(&link), 0);
        assert!(ledger.take(key(2), &campaign, &link, &client).is_ok());
        assert_eq!(ledger.take(key(3), &campaign, &link, &client).expect_err("two in flight").cap, Cap::LinkTotal);
        ledger.release(key(1), true);
        ledger.release(key(2), true);
        assert_eq!(ledger.link_counted(&link), 2);
    }

    #[test]
    fn a_call_that_was_counted_elsewhere_uses_the_total_and_no_slot() {
        let (campaign, client, mut link) = (campaign(&[]), client(1), link(1));
        link.total_calls_allowed = Some(1);
        let mut ledger = Ledger::default();
        ledger.count(link.id);
        assert_eq!((ledger.link_live(link.id), ledger.link_counted(&link)), (0, 1));
        assert_eq!(ledger.take(key(1), &campaign, &link, &client).expect_err("full").cap, Cap::LinkTotal);
    }

    #[test]
    fn what_others_count_too_counts_once_in_the_end_and_never_too_little_before() {
        let (campaign, client, link) = (campaign(&[]), client(1), link(1));
        let stored = |counted| HashMap::from([(link.id, counted)]);
        let mut ledger = Ledger::with_totals(stored(5));
        ledger.take(key(1), &campaign, &link, &client).expect("no limit");
        assert_eq!(ledger.idle_totals(), None, "it may count yet");
        ledger.raise_totals(&stored(6));
        ledger.settle_totals(&stored(6), &stored(6));
        ledger.release(key(1), true);
        ledger.raise_totals(&stored(6));
        assert_eq!(ledger.link_counted(&link), 7, "whether the sixth was this one is not known");
        let before = ledger.idle_totals().expect("nothing is under way");
        ledger.count(link.id);
        ledger.settle_totals(&stored(6), &before);
        assert_eq!(ledger.link_counted(&link), 8, "one was counted after the totals were read");
        let before = ledger.idle_totals().expect("nothing is under way");
        ledger.settle_totals(&stored(7), &before);
        assert_eq!(ledger.link_counted(&link), 7);
    }

    proptest! {
        /// Whatever the order of taking, releasing and releasing twice: no cap is passed, and usage is what is held.
        #[test]
        fn no_interleaving_passes_a_cap(
            caps in (0_u32..4, 0_u64..12, 0_u32..6, 0_u32..6),
            ops in prop::collection::vec((any::<bool>(), 0_u32..24, 0_usize..3, any::<bool>()), 1..300),
        ) {
            let clients = [client(1), client(2)].map(|mut c| { c.max_concurrency = Some(caps.2); c });
            let links: Vec<Link> = (1..=3).map(|n| {
                let mut l = link(n);
                l.max_concurrency = Some(caps.0);
                l.total_calls_allowed = Some(caps.1);
                l
            }).collect();
            let mut campaign = campaign(&[]);
            campaign.max_concurrency = Some(caps.3);
            let mut ledger = Ledger::default();
            for (take, n, l, counted) in ops {
                let client = &clients[l % 2];
                if take {
                    // A key that is already held stands for a duplicated event: it must not take twice.
                    if !ledger.held.contains_key(&key(n)) {
                        let _ = ledger.take(key(n), &campaign, &links[l], client);
                    }
                } else {
                    ledger.release(key(n), counted);
                }
                for link in &links {
                    prop_assert!(ledger.link_live(link.id) <= caps.0);
                    prop_assert!(ledger.link_counted(link) + u64::from(ledger.link_live(link.id)) <= caps.1);
                    let held = ledger.held().filter(|(_, p)| p.link == link.id).count();
                    prop_assert_eq!(ledger.link_live(link.id) as usize, held);
                }
                for client in &clients {
                    prop_assert!(ledger.client_live(client.id) <= caps.2);
                }
                prop_assert!(ledger.campaign_live(campaign.id) <= caps.3);
                prop_assert_eq!(ledger.campaign_live(campaign.id) as usize, ledger.len());
            }
        }
    }
}
