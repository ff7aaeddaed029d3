//! How a world is furnished: nodes, clients, campaigns, caps, and how busy it is.

use std::sync::Arc;
use std::time::Duration;

use super::chance::Chance;
use super::faults::Faults;
use crate::calls::facts::Limits;
use crate::config::Config;
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::snapshot::{
    CallerId, Campaign, CampaignRejections, Client, CountOn, Did, Link, Snapshot, Status, Strategy,
};

#[derive(Debug, Clone)]
pub(super) struct Setting {
    pub(super) nodes: usize,
    pub(super) calls: usize,
    /// Mean time between callers.
    pub(super) every: Duration,
    pub(super) snapshot: Snapshot,
    /// The first so many campaigns are called.
    pub(super) campaigns: u64,
    pub(super) limits: Limits,
    pub(super) faults: Faults,
    pub(super) request_timeout: Duration,
}

impl Setting {
    /// Caps are small and callers many: every cap is reached all the time.
    pub(super) fn draw(chance: &mut Chance, calls: usize) -> Self {
        let campaigns = chance.between(1, 3);
        let clients = chance.between(2, 4);
        let config = Config::from_layers(None, []).expect("the defaults are valid");
        let mut limits = Limits::new(&config.calls, config.rejections);
        limits.progress_timeout = chance.millis(1_000, 5_000);
        limits.setup_budget = chance.millis(10_000, 60_000);
        limits.max_attempts = chance.one_of(&[1, 2, 3, 10]);
        limits.max_duration = Duration::from_secs(chance.one_of(&[30, 120, 3_600, 3_600]));
        let snapshot = Snapshot {
            revision: 1,
            dids: (1..=campaigns).map(|n| (number(n), did(n))).collect(),
            campaigns: (1..=campaigns)
                .map(|n| (CampaignId(id(n)), Arc::new(campaign(n, clients, calls, chance))))
                .collect(),
            clients: (1..=clients).map(|n| (ClientId(id(n)), Arc::new(client(n, chance)))).collect(),
        };
        Self {
            nodes: if chance.percent(25) { 2 } else { 1 },
            calls,
            every: chance.millis(40, 400),
            snapshot,
            campaigns,
            limits,
            faults: Faults::draw(chance),
            request_timeout: config.calls.request_timeout,
        }
    }

    /// So many links more, ten to a campaign, that nobody calls.
    pub(super) fn add_idle(&mut self, links: u64, chance: &mut Chance) {
        for n in (1_000..).take(usize::try_from(links / 10).unwrap_or(0)) {
            self.snapshot.campaigns.insert(CampaignId(id(n)), Arc::new(campaign(n, 10, self.calls, chance)));
        }
    }
}

fn id(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The number that callers of a campaign dial.
pub(super) fn number(campaign: u64) -> String {
    format!("+44207123456{campaign}")
}

fn did(n: u64) -> Did {
    Did {
        id: DidId(id(n)),
        raw: false,
        seller: UserId(1),
        seller_name: "Acme".to_owned(),
        status: Status::Active,
        campaign: Some(CampaignId(id(n))),
    }
}

fn client(n: u64, chance: &mut Chance) -> Client {
    Client {
        id: ClientId(id(n)),
        name: format!("Client {n}"),
        identifier: format!("client-{n}").parse().expect("it is allowed"),
        status: Status::Active,
        max_concurrency: chance.percent(60).then(|| small(chance, 3, 15)),
        send_headers: chance.percent(20),
        caller_id: chance.one_of(&[CallerId::Pass, CallerId::Pass, CallerId::Withhold]),
    }
}

fn small(chance: &mut Chance, low: u64, high: u64) -> u32 {
    u32::try_from(chance.between(low, high)).unwrap_or(u32::MAX)
}

fn campaign(n: u64, clients: u64, calls: usize, chance: &mut Chance) -> Campaign {
    let links = (1..=clients).map(|client| link(n * 10 + client, client, calls, chance)).collect();
    Campaign {
        id: CampaignId(id(n)),
        name: format!("Campaign {n}"),
        status: Status::Active,
        strategy: chance.one_of(&[Strategy::Priority, Strategy::RoundRobin, Strategy::Weighted]),
        dial_timeout: chance.millis(3_000, 20_000),
        setup_budget: None,
        max_duration: None,
        max_concurrency: chance.percent(50).then(|| small(chance, 5, 25)),
        early_media: chance.percent(60),
        rejections: CampaignRejections::default(),
        links,
    }
}

fn link(n: u64, client: u64, calls: usize, chance: &mut Chance) -> Link {
    Link {
        id: LinkId(id(n)),
        client: ClientId(id(client)),
        status: Status::Active,
        withdrawn: false,
        max_concurrency: chance.percent(70).then(|| small(chance, 1, 8)),
        total_calls_allowed: chance.percent(60).then(|| chance.between(1, 1 + calls as u64 / 6)),
        counted_before: 0,
        forwarding_priority: 1,
        weight: small(chance, 1, 5),
        ring_timeout: chance.percent(20).then(|| chance.millis(2_000, 10_000)),
        count_on: chance.one_of(&[CountOn::Answered, CountOn::Answered, CountOn::Attempted]),
    }
}
