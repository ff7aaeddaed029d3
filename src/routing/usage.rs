//! PURE: how much of each cap is used at one moment, and what has changed since another.

use std::sync::Arc;

use super::caps::Uses;
use super::snapshot::{Campaign, Client, Link, Snapshot};
use crate::id::{CampaignId, ClientId, LinkId};

/// Use of all caps at one moment.
#[derive(Debug, Clone)]
pub struct InUse {
    /// Permits held and calls counted.
    pub uses: Uses,
    /// The configuration in force, with the limits.
    pub snapshot: Arc<Snapshot>,
}

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

impl InUse {
    /// What is otherwise now than in `before`: what is new counts, what is no longer configured does not. By id: links, campaigns, clients.
    #[must_use]
    pub fn changes_since(&self, before: &Self) -> Vec<UseChange> {
        let mut changes = Vec::new();
        for campaign in self.snapshot.campaigns.values() {
            let earlier = before.snapshot.campaigns.get(&campaign.id);
            for link in &campaign.links {
                let now = self.of_link(campaign, link);
                let then = earlier.and_then(|earlier| Some(before.of_link(earlier, find(earlier, link.id)?)));
                changes.extend(Some(now).filter(|now| then.as_ref() != Some(now)));
            }
            let (now, then) = (self.of_campaign(campaign), earlier.map(|earlier| before.of_campaign(earlier)));
            changes.extend(Some(now).filter(|now| then.as_ref() != Some(now)));
        }
        for client in self.snapshot.clients.values() {
            let then = before.snapshot.clients.get(&client.id).map(|earlier| before.of_client(earlier));
            changes.extend(Some(self.of_client(client)).filter(|now| then.as_ref() != Some(now)));
        }
        changes.sort_by_key(place);
        changes
    }

    fn of_link(&self, campaign: &Campaign, link: &Link) -> UseChange {
        let (used, total_used) = self.uses.link(link);
        UseChange::Link {
            link: link.id,
            campaign: campaign.id,
            client: link.client,
            used,
            limit: link.max_concurrency,
            total_used,
            total_limit: link.total_calls_allowed,
        }
    }

    fn of_campaign(&self, campaign: &Campaign) -> UseChange {
        UseChange::Campaign {
            campaign: campaign.id,
            used: self.uses.campaign(campaign.id),
            limit: campaign.max_concurrency,
        }
    }

    fn of_client(&self, client: &Client) -> UseChange {
        UseChange::Client { client: client.id, used: self.uses.client(client.id), limit: client.max_concurrency }
    }
}

fn find(campaign: &Campaign, id: LinkId) -> Option<&Link> {
    campaign.links.binary_search_by_key(&id, |link| link.id).ok().map(|at| &campaign.links[at])
}

fn place(change: &UseChange) -> (u8, i64) {
    match change {
        UseChange::Link { link, .. } => (0, link.0),
        UseChange::Campaign { campaign, .. } => (1, campaign.0),
        UseChange::Client { client, .. } => (2, client.0),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::id::CallId;
    use crate::routing::caps::{Ledger, PermitKey};
    use crate::routing::decision::tests::{campaign, client, link, snapshot};

    fn key(n: u128) -> PermitKey {
        (CallId(uuid::Uuid::from_u128(n)), 1)
    }

    fn in_use(ledger: &Ledger, snapshot: &Snapshot) -> InUse {
        InUse { uses: ledger.uses(), snapshot: Arc::new(snapshot.clone()) }
    }

    #[test]
    fn a_permit_changes_its_link_campaign_and_client_and_nothing_else() {
        let (links, clients) = ([link(1), link(2)], [client(1), client(2)]);
        let snapshot = snapshot(campaign(&links), &clients);
        let of = snapshot.campaigns.values().next().expect("one campaign").clone();
        let mut ledger = Ledger::default();
        let before = in_use(&ledger, &snapshot);
        assert!(before.changes_since(&before).is_empty());
        ledger.take(key(1), &of, &links[0], &clients[0]).expect("it is free");
        let now = in_use(&ledger, &snapshot);
        let changes = now.changes_since(&before);
        let UseChange::Link { link, used, total_used, .. } = changes[0] else { panic!("{changes:?}") };
        assert_eq!((changes.len(), link, used, total_used), (3, links[0].id, 1, 0));
        assert!(matches!(changes[1], UseChange::Campaign { used: 1, .. }), "{changes:?}");
        assert!(
            matches!(changes[2], UseChange::Client { client, used: 1, .. } if client == clients[0].id),
            "{changes:?}"
        );
        ledger.release(key(1), true);
        let after = in_use(&ledger, &snapshot).changes_since(&before);
        assert!(matches!(after[..], [UseChange::Link { used: 0, total_used: 1, .. }]), "{after:?}");
    }

    #[test]
    fn another_limit_is_a_change_and_what_is_gone_is_none() {
        let clients = [client(1), client(2)];
        let ledger = Ledger::default();
        let before = in_use(&ledger, &snapshot(campaign(&[link(1), link(2)]), &clients));
        let lowered = Link { max_concurrency: Some(3), ..link(1) };
        let after = in_use(&ledger, &snapshot(campaign(&[lowered]), &clients)).changes_since(&before);
        assert!(matches!(after[..], [UseChange::Link { limit: Some(3), .. }]), "{after:?}");
    }

    #[test]
    fn totals_are_those_since_the_reset_and_the_reset_is_a_change() {
        let clients = [client(1)];
        let ledger = Ledger::with_totals(HashMap::from([(link(1).id, 7)]));
        let before = in_use(&ledger, &snapshot(campaign(&[link(1)]), &clients));
        let reset = Link { counted_before: 5, ..link(1) };
        let now = in_use(&ledger, &snapshot(campaign(&[reset]), &clients));
        let after = now.changes_since(&before);
        assert!(matches!(after[..], [UseChange::Link { total_used: 2, .. }]), "{after:?}");
        assert!(now.changes_since(&now).is_empty());
    }
}
