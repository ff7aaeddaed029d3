//! PURE: the routing decision and its trace, from which "why did this call go there?" is answered.

use std::sync::Arc;

use super::breaker::{At, Breakers, Outage};
use super::caps::{Cap, Ledger, Used};
use super::number::Dialled;
use super::snapshot::{Campaign, Client, Did, Link, Snapshot, Status, Strategy, words};
use super::strategy::{Credit, Rotation};
use super::trace::Outlook;
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};

/// What routing may know besides the configuration: used counts and the rotation of the call's campaign.
#[derive(Debug, Clone, Copy)]
pub struct Usage<'a> {
    /// Permits held and calls counted.
    pub ledger: &'a Ledger,
    /// Where the campaign's rotation stands; `None` for a campaign that never offered a call.
    pub rotation: Option<&'a Rotation>,
    /// Which clients cannot be reached.
    pub breakers: &'a Breakers,
    /// Where and when it is decided.
    pub at: At<'a>,
}

impl Usage<'_> {
    fn outage(&self, client: ClientId) -> Option<Outage> {
        self.breakers.standing(self.at, client, self.ledger).outage()
    }

    fn credit(&self, strategy: Strategy, link: &Link) -> Credit {
        self.rotation.map_or_else(Credit::default, |rotation| rotation.credit(strategy, link))
    }
}

/// Where one call may go, and why.
#[derive(Debug, Clone)]
pub struct Decision {
    /// The DID that matched.
    pub did: Option<Did>,
    /// Its campaign, active or not.
    pub campaign: Option<Arc<Campaign>>,
    /// Links in the order they are to be tried, or why there is none.
    pub candidates: Result<Vec<LinkId>, Refusal>,
    /// Every input of the decision.
    pub trace: Option<Trace>,
}

words! {
    /// Why nobody could be tried.
    Refusal {
        /// No such DID, or it is not active.
        UnknownDid = "unknown_did",
        /// The DID feeds no active campaign.
        InactiveCampaign = "inactive_campaign",
        /// No link of the campaign is active with an active client.
        NoActiveLink = "no_active_link",
        /// Every active link is at a cap.
        AllFull = "all_full",
    }
}

/// One link as the decision saw it. Small, because a decision makes one for each link of its campaign.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) verdict: Verdict,
    pub(super) used: Used,
    pub(super) credit: Credit,
    /// Since when its client is not reached from the node, whatever the verdict.
    pub(super) outage: Option<Box<Outage>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Eligible,
    LinkInactive,
    ClientWithdrawn,
    ClientInactive,
    Full(Cap),
    Unreachable,
}

/// The decision's inputs, kept cheap while the call lives; `Trace::view` makes the form that is stored.
#[derive(Debug, Clone)]
pub struct Trace {
    pub(super) revision: i64,
    pub(super) did: DidId,
    pub(super) seller: UserId,
    pub(super) campaign: Arc<Campaign>,
    pub(super) campaign_live: u32,
    pub(super) last_offered: Option<LinkId>,
    pub(super) candidates: Vec<LinkId>,
    /// One for each link of the campaign, in the same order.
    pub(super) links: Vec<Seen>,
    /// Their clients.
    pub(super) clients: Vec<Option<Arc<Client>>>,
}

/// Decides where a call to `dialled` may go. Reserves nothing and changes nothing.
#[must_use]
pub fn route<'a>(snapshot: &Snapshot, dialled: &Dialled, usage: impl FnOnce(CampaignId) -> Usage<'a>) -> Decision {
    let nobody = |did: Option<&Did>, campaign: Option<&Arc<Campaign>>, why| Decision {
        did: did.cloned(),
        campaign: campaign.cloned(),
        candidates: Err(why),
        trace: None,
    };
    let Some(did) = super::number::find_did(snapshot, dialled) else {
        return nobody(None, None, Refusal::UnknownDid);
    };
    let campaign = did.campaign.and_then(|id| snapshot.campaigns.get(&id));
    if did.status != Status::Active {
        return nobody(Some(did), campaign, Refusal::UnknownDid);
    }
    let Some(campaign) = campaign.filter(|c| c.status == Status::Active) else {
        return nobody(Some(did), campaign, Refusal::InactiveCampaign);
    };
    order_links(snapshot, did, campaign, usage(campaign.id))
}

fn order_links(snapshot: &Snapshot, did: &Did, campaign: &Arc<Campaign>, usage: Usage<'_>) -> Decision {
    let campaign_live = usage.ledger.campaign_live(campaign.id);
    let clients: Vec<Option<&Arc<Client>>> =
        campaign.links.iter().map(|link| snapshot.clients.get(&link.client)).collect();
    let see = |(link, client): (&Link, &Option<&Arc<Client>>)| {
        see((campaign, campaign_live), (link, client.map(Arc::as_ref)), usage)
    };
    let links: Vec<Seen> = campaign.links.iter().zip(&clients).map(see).collect();
    let which = |wanted: fn(Verdict) -> bool| {
        let found = campaign.links.iter().zip(&links).filter(|(_, seen)| wanted(seen.verdict));
        found.map(|(link, _)| link).collect::<Vec<_>>()
    };
    let mut eligible = which(|verdict| verdict == Verdict::Eligible);
    if eligible.is_empty() {
        // A try that will probably fail is better than a refusal: where nobody else is left, breakers keep nobody out.
        eligible = which(|verdict| verdict == Verdict::Unreachable);
    }
    let order = match usage.rotation {
        Some(rotation) => rotation.order(campaign.strategy, &eligible),
        None => Rotation::default().order(campaign.strategy, &eligible),
    };
    let candidates = if !order.is_empty() {
        Ok(order.clone())
    } else if links.iter().any(|s| matches!(s.verdict, Verdict::Full(_))) {
        Err(Refusal::AllFull)
    } else {
        Err(Refusal::NoActiveLink)
    };
    let trace = Trace {
        revision: snapshot.revision,
        did: did.id,
        seller: did.seller,
        campaign: Arc::clone(campaign),
        campaign_live,
        last_offered: usage.rotation.and_then(Rotation::last_offered),
        candidates: order,
        links,
        clients: clients.into_iter().map(Option::<&Arc<Client>>::cloned).collect(),
    };
    Decision { did: Some(did.clone()), campaign: Some(Arc::clone(campaign)), candidates, trace: Some(trace) }
}

fn see((campaign, live): (&Campaign, u32), (link, client): (&Link, Option<&Client>), usage: Usage<'_>) -> Seen {
    let outage = usage.outage(link.client);
    let used = usage.ledger.used(live, link);
    let verdict = match client {
        _ if link.withdrawn => Verdict::ClientWithdrawn,
        _ if link.status != Status::Active => Verdict::LinkInactive,
        Some(client) if client.status == Status::Active => match used.full(campaign, link, client).next() {
            Some(full) => Verdict::Full(full.cap),
            None if outage.is_some() => Verdict::Unreachable,
            None => Verdict::Eligible,
        },
        _ => Verdict::ClientInactive,
    };
    Seen { verdict, used, credit: usage.credit(campaign.strategy, link), outage: outage.map(Box::new) }
}

/// Every link of a campaign, active or not, as a decision would see it, and all that keeps it from being offered a call. Codes are those of
/// verdicts; the first is the verdict that a decision gives.
#[must_use]
pub fn look(snapshot: &Snapshot, campaign: &Campaign, usage: Usage<'_>) -> Vec<Outlook> {
    let live = usage.ledger.campaign_live(campaign.id);
    let look = |link: &Link| {
        let client = snapshot.clients.get(&link.client).map(Arc::as_ref);
        let seen = see((campaign, live), (link, client), usage);
        Outlook { obstacles: obstacles(campaign, link, client, &seen), link: seen.view(link, client, None) }
    };
    campaign.links.iter().map(look).collect()
}

fn obstacles(campaign: &Campaign, link: &Link, client: Option<&Client>, seen: &Seen) -> Vec<&'static str> {
    let active = client.is_some_and(|client| client.status == Status::Active);
    let mut found = Vec::new();
    for (is, verdict) in [
        (link.withdrawn, Verdict::ClientWithdrawn),
        (link.status != Status::Active, Verdict::LinkInactive),
        (!active, Verdict::ClientInactive),
    ] {
        found.extend(is.then(|| verdict.code()));
    }
    if let Some(client) = client {
        found.extend(seen.used.full(campaign, link, client).map(|full| full.cap.as_str()));
        found.extend(seen.outage.is_some().then(|| Verdict::Unreachable.code()));
    }
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Now;
    use crate::routing::snapshot::{CallerId, CampaignRejections, CountOn, Strategy};
    use crate::routing::trace::TraceView;

    pub(crate) fn link(n: i64) -> Link {
        Link {
            id: LinkId(n),
            client: ClientId(n),
            status: Status::Active,
            withdrawn: false,
            max_concurrency: None,
            total_calls_allowed: None,
            counted_before: 0,
            forwarding_priority: 1,
            weight: 1,
            ring_timeout: None,
            count_on: CountOn::Answered,
        }
    }

    pub(crate) fn client(n: i64) -> Client {
        Client {
            id: ClientId(n),
            name: format!("Client {n}"),
            identifier: format!("client-{n}").parse().expect("allowed"),
            status: Status::Active,
            max_concurrency: None,
            send_headers: false,
            caller_id: CallerId::Pass,
        }
    }

    pub(crate) fn campaign(links: &[Link]) -> Campaign {
        Campaign {
            id: CampaignId(1),
            name: "Solar".into(),
            status: Status::Active,
            strategy: Strategy::Priority,
            dial_timeout: Duration::from_secs(20),
            setup_budget: None,
            max_duration: None,
            max_concurrency: None,
            early_media: true,
            rejections: CampaignRejections::default(),
            links: links.to_vec(),
        }
    }

    pub(crate) fn snapshot(campaign: Campaign, clients: &[Client]) -> Snapshot {
        let did = Did {
            id: DidId(1),
            raw: false,
            seller: UserId(1),
            seller_name: "Acme".into(),
            status: Status::Active,
            campaign: Some(campaign.id),
        };
        Snapshot {
            revision: 7,
            dids: [("+442071234567".to_owned(), did)].into(),
            campaigns: [(campaign.id, Arc::new(campaign))].into_iter().collect(),
            clients: clients.iter().map(|c| (c.id, Arc::new(c.clone()))).collect(),
        }
    }

    pub(crate) fn dialled() -> Dialled {
        Dialled { raw: "+442071234567".into(), e164: Some("+442071234567".into()) }
    }

    pub(crate) fn node() -> Arc<str> {
        Arc::from("pbx")
    }

    /// This many seconds after the start.
    pub(crate) fn second(seconds: u64) -> Now {
        Now { mono: Duration::from_secs(seconds), wall: chrono::DateTime::UNIX_EPOCH + Duration::from_secs(seconds) }
    }

    /// Without any use, rotation or failure.
    fn unused<R>(act: impl FnOnce(Usage<'_>) -> R) -> R {
        let (ledger, breakers, node) = (Ledger::default(), Breakers::default(), node());
        act(Usage { ledger: &ledger, rotation: None, breakers: &breakers, at: At { node: &node, now: second(0) } })
    }

    fn decide_for(snapshot: &Snapshot, dialled: &Dialled) -> Decision {
        unused(|usage| route(snapshot, dialled, |_| usage))
    }

    fn decide(snapshot: &Snapshot) -> Decision {
        decide_for(snapshot, &dialled())
    }

    fn verdicts(decision: &Decision) -> Vec<String> {
        let view = decision.trace.as_ref().expect("a campaign was reached").view();
        view.links.into_iter().map(|l| l.verdict).collect()
    }

    #[test]
    fn a_number_nobody_owns_or_a_paused_one_is_unknown() {
        let mut snapshot = snapshot(campaign(&[link(1)]), &[client(1)]);
        let other = Dialled { raw: "+1".into(), e164: None };
        assert_eq!(decide_for(&snapshot, &other).candidates, Err(Refusal::UnknownDid));
        snapshot.dids.values_mut().for_each(|d| d.status = Status::Paused);
        let decision = decide(&snapshot);
        assert_eq!(decision.candidates, Err(Refusal::UnknownDid));
        assert!(decision.did.is_some(), "the record still says whose number it was");
    }

    #[test]
    fn a_did_without_an_active_campaign_is_inactive() {
        let mut paused = campaign(&[link(1)]);
        paused.status = Status::Paused;
        assert_eq!(decide(&snapshot(paused, &[client(1)])).candidates, Err(Refusal::InactiveCampaign));
        let mut fed_nowhere = snapshot(campaign(&[]), &[]);
        fed_nowhere.dids.values_mut().for_each(|d| d.campaign = None);
        assert_eq!(decide(&fed_nowhere).candidates, Err(Refusal::InactiveCampaign));
    }

    #[test]
    fn each_link_gets_its_own_verdict() {
        let paused_link = Link { status: Status::Paused, ..link(1) };
        let full = Link { max_concurrency: Some(0), ..link(3) };
        let spent = Link { total_calls_allowed: Some(0), ..link(4) };
        let paused_client = Client { status: Status::Paused, ..client(2) };
        let withdrawn = Link { withdrawn: true, ..link(7) };
        let links = [paused_link, link(2), full, spent, link(5), link(6), withdrawn];
        let clients = [client(1), paused_client, client(3), client(4), client(5), client(7)];
        let snapshot = snapshot(campaign(&links), &clients);
        let decision = decide(&snapshot);
        assert_eq!(decision.candidates, Ok(vec![LinkId(5)]));
        assert_eq!(
            verdicts(&decision),
            [
                "link_paused",
                "client_paused",
                "link_full",
                "total_reached",
                "candidate",
                "client_paused",
                "client_withdrawn"
            ]
        );
    }

    #[test]
    fn a_look_tells_all_that_is_in_the_way_the_verdict_first() {
        let mut crowded = Link { status: Status::Paused, max_concurrency: Some(0), withdrawn: true, ..link(2) };
        crowded.total_calls_allowed = Some(0);
        let mut paused = campaign(&[link(1), crowded, link(3)]);
        paused.status = Status::Paused;
        let resting = Client { status: Status::Paused, max_concurrency: Some(0), ..client(2) };
        let snapshot = snapshot(paused.clone(), &[client(1), resting]);
        let found = unused(|usage| look(&snapshot, &paused, usage));
        let all =
            ["client_withdrawn", "link_paused", "client_paused", "link_full", "total_reached", "client_full"].to_vec();
        assert_eq!(
            found.iter().map(|one| one.obstacles.clone()).collect::<Vec<_>>(),
            [vec![], all, vec!["client_paused"]]
        );
        for one in found {
            assert_eq!(one.link.verdict, one.obstacles.first().copied().unwrap_or("candidate"));
        }
    }

    #[test]
    fn full_and_inactive_are_told_apart() {
        let full = Link { max_concurrency: Some(0), ..link(1) };
        assert_eq!(decide(&snapshot(campaign(&[full]), &[client(1)])).candidates, Err(Refusal::AllFull));
        let paused = Link { status: Status::Paused, ..link(1) };
        assert_eq!(decide(&snapshot(campaign(&[paused]), &[client(1)])).candidates, Err(Refusal::NoActiveLink));
        assert_eq!(decide(&snapshot(campaign(&[]), &[])).candidates, Err(Refusal::NoActiveLink));
        let mut crowded = campaign(&[link(1)]);
        crowded.max_concurrency = Some(0);
        let decision = decide(&snapshot(crowded, &[client(1)]));
        assert_eq!(decision.candidates, Err(Refusal::AllFull));
        assert_eq!(verdicts(&decision), ["campaign_full"]);
    }

    #[test]
    fn the_trace_survives_storage() {
        let decision = decide(&snapshot(campaign(&[link(1), link(2)]), &[client(1), client(2)]));
        let view = decision.trace.expect("a trace").view();
        let stored = serde_json::to_value(&view).expect("serialises");
        assert_eq!(stored["candidates"], serde_json::json!([1, 2]));
        assert_eq!(stored["links"][1]["position"], 2);
        assert_eq!(serde_json::from_value::<TraceView>(stored).expect("reads back"), view);
    }
}
