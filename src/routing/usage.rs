//! PURE: what has changed in the use of caps, as it is told.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::snapshot::{Campaign, Client, Link, Snapshot};
use super::uses::{Capped, Changed, Use};
use crate::id::{CampaignId, ClientId, LinkId};

/// How much of the caps of one object is used; a limit of `None` = no limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UseChange {
    /// Of a link.
    Link {
        /// The link.
        link: LinkId,
        /// Its campaign.
        campaign: CampaignId,
        /// Its client.
        client: ClientId,
        /// Attempts ringing or talking.
        used: u32,
        /// Its `max_concurrency`.
        limit: Option<u32>,
        /// Calls counted against its total, without those in flight.
        total_used: u64,
        /// Its `total_calls_allowed`.
        total_limit: Option<u64>,
    },
    /// Of a campaign, over its links.
    Campaign {
        /// The campaign.
        campaign: CampaignId,
        /// Attempts ringing or talking.
        used: u32,
        /// Its `max_concurrency`.
        limit: Option<u32>,
    },
    /// Of a client, over all sellers.
    Client {
        /// The client.
        client: ClientId,
        /// Attempts ringing or talking.
        used: u32,
        /// Its `max_concurrency`.
        limit: Option<u32>,
    },
}

/// A configuration by which use is told: it finds a link by its id.
#[derive(Debug)]
pub struct Limits {
    snapshot: Arc<Snapshot>,
    campaigns: FxHashMap<LinkId, CampaignId>,
}

impl Limits {
    /// Goes through all links once.
    #[must_use]
    pub fn new(snapshot: Arc<Snapshot>) -> Self {
        let links =
            snapshot.campaigns.values().flat_map(|campaign| campaign.links.iter().map(|it| (it.id, campaign.id)));
        let campaigns = links.collect();
        Self { snapshot, campaigns }
    }

    /// Whether they are of this configuration.
    #[must_use]
    pub fn are_of(&self, snapshot: &Arc<Snapshot>) -> bool {
        Arc::ptr_eq(&self.snapshot, snapshot)
    }

    /// Whatever is told otherwise by these limits than by those of `before`, however much of it is used: what is new counts, what is no
    /// longer configured does not. Goes through all links.
    #[must_use]
    pub fn other_than(&self, before: &Self) -> Vec<Capped> {
        let links = self.campaigns.keys().map(|link| Capped::Link(*link));
        let campaigns = self.snapshot.campaigns.keys().map(|campaign| Capped::Campaign(*campaign));
        let clients = self.snapshot.clients.keys().map(|client| Capped::Client(*client));
        // By either use: a reset takes nothing from a count of none.
        let same = |of: &Capped| {
            let uses = [Use::default(), Use { live: 0, counted: u64::MAX }];
            uses.iter().all(|used| self.told(*of, *used) == before.told(*of, *used))
        };
        links.chain(campaigns).chain(clients).filter(|of| !same(of)).collect()
    }

    /// What of this is told where it was told by `before` last. By id: links, campaigns, clients.
    #[must_use]
    pub fn changes(&self, before: &Self, changed: &[Changed]) -> Vec<UseChange> {
        let told = |changed: &Changed| {
            let now = self.told(changed.of, changed.now)?;
            (before.told(changed.of, changed.before).as_ref() != Some(&now)).then_some((changed.of, now))
        };
        let mut changes: Vec<_> = changed.iter().filter_map(told).collect();
        changes.sort_unstable_by_key(|(of, _)| *of);
        changes.into_iter().map(|(_, change)| change).collect()
    }

    /// As this use of it is told; `None` where it is not configured.
    fn told(&self, of: Capped, used: Use) -> Option<UseChange> {
        match of {
            Capped::Link(id) => {
                let campaign = self.snapshot.campaigns.get(self.campaigns.get(&id)?)?;
                Some(of_link(campaign, campaign.link(id)?, used))
            }
            Capped::Campaign(id) => self.snapshot.campaigns.get(&id).map(|campaign| of_campaign(campaign, used)),
            Capped::Client(id) => self.snapshot.clients.get(&id).map(|client| of_client(client, used)),
        }
    }
}

fn of_link(campaign: &Campaign, link: &Link, used: Use) -> UseChange {
    UseChange::Link {
        link: link.id,
        campaign: campaign.id,
        client: link.client,
        used: used.live,
        limit: link.max_concurrency,
        total_used: link.counted(used),
        total_limit: link.total_calls_allowed,
    }
}

fn of_campaign(campaign: &Campaign, used: Use) -> UseChange {
    UseChange::Campaign { campaign: campaign.id, used: used.live, limit: campaign.max_concurrency }
}

fn of_client(client: &Client, used: Use) -> UseChange {
    UseChange::Client { client: client.id, used: used.live, limit: client.max_concurrency }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::decision::tests::{campaign, client, link, snapshot};

    fn limits(links: &[Link]) -> Limits {
        Limits::new(Arc::new(snapshot(campaign(links), &[client(1), client(2)])))
    }

    fn used(live: u32, counted: u64) -> Use {
        Use { live, counted }
    }

    #[test]
    fn what_is_as_it_was_told_is_not_told_again_and_the_rest_in_order() {
        let limits = limits(&[link(1), link(2)]);
        let changed = |of, before, now| Changed { of, before, now };
        let [one, other] = [1, 2].map(|n| Capped::Link(LinkId(n)));
        let told = limits.changes(
            &limits,
            &[
                changed(Capped::Client(ClientId(1)), used(0, 0), used(1, 0)),
                changed(other, used(1, 5), used(0, 6)),
                changed(Capped::Campaign(CampaignId(1)), used(3, 0), used(4, 0)),
                changed(one, used(2, 2), used(2, 2)),
                changed(Capped::Link(LinkId(3)), used(0, 0), used(1, 0)),
            ],
        );
        let [
            UseChange::Link { link, used: 0, total_used: 6, .. },
            UseChange::Campaign { used: 4, .. },
            UseChange::Client { client, used: 1, .. },
        ] = told[..]
        else {
            panic!("{told:?}")
        };
        assert_eq!((link, client), (LinkId(2), ClientId(1)));
    }

    #[test]
    fn another_limit_another_client_and_a_reset_are_changes_and_what_is_gone_is_none() {
        let before = limits(&[link(1), link(2)]);
        for other in [
            Link { max_concurrency: Some(3), ..link(1) },
            Link { total_calls_allowed: Some(3), ..link(1) },
            Link { client: ClientId(2), ..link(1) },
            Link { counted_before: 5, ..link(1) },
        ] {
            let now = limits(&[other]);
            assert_eq!(now.other_than(&before), [Capped::Link(LinkId(1))]);
            assert_eq!(before.other_than(&now).len(), 2, "one of them is new");
        }
        assert_eq!(limits(&[link(1)]).other_than(&before), []);
    }

    #[test]
    fn totals_are_those_since_the_reset_and_the_reset_is_a_change() {
        let (before, now) = (limits(&[link(1)]), limits(&[Link { counted_before: 5, ..link(1) }]));
        let same = Changed { of: Capped::Link(LinkId(1)), before: used(0, 7), now: used(0, 7) };
        assert!(matches!(now.changes(&before, &[same])[..], [UseChange::Link { total_used: 2, .. }]));
        assert_eq!(now.changes(&now, &[same]), []);
    }
}
