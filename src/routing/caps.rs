//! PURE: the ledger of permits, the only place where cap usage lives.
//!
//! Usage is never counted up and down by hand: it follows from the permits held and from the calls counted.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::snapshot::{Campaign, Client, Link, words};
use super::uses::{Capped, Changed, Changes, Use, Uses};
use super::visits::visit;
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
#[derive(Debug, Default)]
pub struct Ledger {
    /// In order, so that those of one call are found together, and room for one more is never made by moving all.
    held: BTreeMap<PermitKey, Permit>,
    used: Uses,
    /// Grows whenever a call is counted.
    counts: u64,
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

impl Ledger {
    /// A ledger that starts from the calls that each link ever counted.
    #[must_use]
    pub fn with_totals(totals: HashMap<LinkId, u64>) -> Self {
        // Also for those that have counted none: room that is made for a call keeps the others waiting.
        let mut used = Uses::room_for(totals.keys().copied(), 0);
        totals.into_iter().for_each(|(link, counted)| used.set(Capped::Link(link), Use { live: 0, counted }));
        Self { used, ..Self::default() }
    }

    /// An empty ledger with room for what is used of a campaign's caps.
    #[must_use]
    pub(super) fn room_for(campaign: &Campaign) -> Self {
        let used = Uses::room_for(campaign.links.iter().map(|link| link.id), campaign.links.len());
        Self { used, ..Self::default() }
    }

    /// Copies what is used of a campaign's caps: of its links, of their clients and of its own.
    pub(super) fn copy_to(&self, part: &mut Self, campaign: &Campaign) {
        let capped = campaign.links.iter().flat_map(|link| [Capped::Link(link.id), Capped::Client(link.client)]);
        for capped in capped.chain([Capped::Campaign(campaign.id)]) {
            part.used.set(capped, self.used.of(capped));
        }
    }

    /// Copies a permit, if it is held, without using any slot.
    pub(super) fn copy_permit(&self, part: &mut Self, key: PermitKey) {
        part.held.extend(self.held.get(&key).map(|permit| (key, *permit)));
    }

    /// How many calls were counted so far, where no permit is held: while that number stays the same, nothing that may count has come of
    /// anything.
    #[must_use]
    pub fn idle(&self) -> Option<u64> {
        self.held.is_empty().then_some(self.counts)
    }

    /// Takes over what others have counted of these links: a total here does not fall by it.
    pub fn raise_totals(&mut self, totals: &[(LinkId, u64)]) {
        for (link, counted) in totals {
            let used = self.link(*link);
            if *counted > used.counted {
                self.counts += 1;
                self.used.set(Capped::Link(*link), Use { counted: *counted, ..used });
            }
        }
    }

    /// Takes the stored totals of these links for true, be they less, where no call was counted since [`Ledger::idle`] told this number, and
    /// no permit is held: what was counted here for safety and in the end by others, too, counts once. Says whether it did.
    pub fn settle_totals(&mut self, totals: &[(LinkId, u64)], idle: u64) -> bool {
        if self.idle() != Some(idle) {
            return false;
        }
        for (link, counted) in totals {
            self.used.set(Capped::Link(*link), Use { live: 0, counted: *counted });
        }
        true
    }

    fn link(&self, link: LinkId) -> Use {
        self.used.of(Capped::Link(link))
    }

    /// Attempts of this link that ring or talk.
    #[must_use]
    pub fn link_live(&self, link: LinkId) -> u32 {
        self.link(link).live
    }

    /// Calls counted against this link's total since its count was last reset, without those in flight.
    #[must_use]
    pub fn link_counted(&self, link: &Link) -> u64 {
        link.counted(self.link(link.id))
    }

    /// Attempts of this client that ring or talk, over all campaigns.
    #[must_use]
    pub fn client_live(&self, client: ClientId) -> u32 {
        self.used.of(Capped::Client(client)).live
    }

    /// Attempts of this campaign that ring or talk.
    #[must_use]
    pub fn campaign_live(&self, campaign: CampaignId) -> u32 {
        self.used.of(Capped::Campaign(campaign)).live
    }

    /// How much of these caps is used.
    #[must_use]
    pub fn use_of(&self, capped: Capped) -> Use {
        self.used.of(capped)
    }

    /// Notes from now on which use changes, or no more where nobody wants to know; gives back what was noted so far, to be freed where that
    /// keeps nobody waiting.
    pub fn watch(&mut self, changes: Option<Changes>) -> Option<Changes> {
        self.used.watch(changes)
    }

    /// Lets this be told as changed, although it is as before: its limits are others.
    pub fn touch(&mut self, capped: Capped) {
        self.used.touch(capped);
    }

    /// How many uses have changed, and were not taken yet.
    #[must_use]
    pub fn changed(&self) -> usize {
        self.used.changed()
    }

    /// So many of the uses that have changed at most; they count as told.
    pub fn take_changes(&mut self, most: usize, into: &mut Vec<Changed>) {
        self.used.take_changes(most, into);
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

    /// The attempts of a call that hold a permit, in order.
    pub fn held_by(&self, call: CallId) -> impl Iterator<Item = u32> + '_ {
        let held = self.held.range((call, 0)..=(call, u32::MAX));
        held.map(|((_, n), _)| *n).inspect(|_| visit(1))
    }

    /// Every permit held, in order. As many as there are: not for use under the book's lock.
    #[cfg(test)]
    pub(crate) fn held(&self) -> impl Iterator<Item = (PermitKey, Permit)> + '_ {
        self.held.iter().map(|(key, permit)| (*key, *permit)).inspect(|_| visit(1))
    }

    /// What is used of the caps that an attempt of this link touches; of its campaign's so much as `campaign_live` says.
    #[must_use]
    pub fn used(&self, campaign_live: u32, link: &Link) -> Used {
        let used = self.link(link.id);
        let (client_live, counted) = (self.client_live(link.client), link.counted(used));
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
        let before = self.link(link.id);
        let now = Use {
            live: live.unwrap_or(before.live),
            counted: counted.map_or(before.counted, |counted| counted.saturating_add(link.counted_before)),
        };
        self.used.set(Capped::Link(link.id), now);
        let shared = self.campaign_live(campaign).saturating_sub(before.live).saturating_add(now.live);
        self.used.set(Capped::Campaign(campaign), Use { live: shared, counted: 0 });
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
        if self.held.insert(key, permit).is_none() {
            permit.slots().into_iter().for_each(|capped| self.change(capped, |used| used.live += 1));
        }
    }

    /// Counts a call of this link that held no permit here: one that the old dialplan or an earlier run handled.
    pub fn count(&mut self, link: LinkId) {
        self.counts += 1;
        self.change(Capped::Link(link), |used| used.counted += 1);
    }

    /// The mistake that a permit is given back which is not held any more.
    #[cfg(test)]
    pub(crate) fn release_again(&mut self, permit: Permit) {
        self.give_back(permit);
    }

    /// Gives the permit back, once; `counted` moves its slot of the link's total from in flight to counted.
    /// Returns whether it was held.
    pub fn release(&mut self, key: PermitKey, counted: bool) -> bool {
        let Some(permit) = self.held.remove(&key) else {
            return false;
        };
        self.give_back(permit);
        if counted {
            self.count(permit.link);
        }
        true
    }

    fn give_back(&mut self, permit: Permit) {
        permit
            .slots()
            .into_iter()
            .for_each(|capped| self.change(capped, |used| used.live = used.live.saturating_sub(1)));
    }

    fn change(&mut self, capped: Capped, change: impl FnOnce(&mut Use)) {
        let mut used = self.used.of(capped);
        change(&mut used);
        self.used.set(capped, used);
    }
}

impl Permit {
    /// Whose slots it uses.
    fn slots(self) -> [Capped; 3] {
        [Capped::Link(self.link), Capped::Client(self.client), Capped::Campaign(self.campaign)]
    }
}

impl Link {
    /// Calls counted since the link's count was last reset.
    #[must_use]
    pub fn counted(&self, used: Use) -> u64 {
        used.counted.saturating_sub(self.counted_before)
    }
}

#[cfg(test)]
mod tests;
