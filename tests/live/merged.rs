//! The same INVITE by two paths (RFC 3261, 8.2.2.2) is one call.

use crate::harness::plan::Plan;
use crate::harness::raw::Invite;
use crate::harness::record::Record;
use crate::harness::sipp::{Sipp, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(
    the_same_invite_by_two_paths_is_one_call,
    a_call_that_an_earlier_run_left_is_known_by_its_invite,
    what_only_looks_the_same_is_another_call,
);

const DID: &str = "+442079460001";

async fn site_of(site: Preparation, ring_ms: u32) -> (Site, Sipp) {
    let alpha = site.centre("alpha", centre::answer().set("ring_ms", ring_ms)).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", DID, "");
    (site.start(&plan.link("alpha", "total_calls_allowed = 5")).await, alpha)
}

/// The record of the call itself, and those of the INVITEs that came after it.
fn told_apart(records: Vec<Record>) -> (Record, Vec<Record>) {
    let (merged, mut calls): (Vec<_>, Vec<_>) = records.into_iter().partition(|one| one.text("ending") == "merged");
    assert_eq!(calls.len(), 1, "{calls:?} {merged:?}");
    (calls.remove(0), merged)
}

async fn the_same_invite_by_two_paths_is_one_call(backend: Backend) {
    let (site, alpha) = site_of(Preparation::new(backend).nodes(2), 1500).await;
    let invite = Invite::to(DID);
    let mut first = site.send(0, &invite).await;
    first.until_status(180).await;
    // By another path to the same node, and to the other one.
    let (mut here, mut there) = (site.send(0, &invite).await, site.send(1, &invite).await);
    for again in [&mut here, &mut there] {
        assert_eq!(again.outcome().await, 486);
        assert!(!again.statuses.contains(&180), "nothing rings: {:?}", again.statuses);
    }
    assert_eq!(first.outcome().await, 200);
    // Its 200 may have been lost on the way.
    let mut late = site.send(1, &invite).await;
    assert_eq!(late.outcome().await, 486);
    first.hang_up().await;
    let (call, merged) = told_apart(site.records_of(&invite, 4).await);
    assert_eq!((call.attempts().as_slice(), merged.len()), (&["alpha answered".to_owned()][..], 3));
    for record in &merged {
        assert_eq!((record.number("sip_code"), record.text("seller_name")), (Some(486), ""), "{record:?}");
        assert!(record.0["timeline"].to_string().contains(call.text("call_id")), "it names the first: {record:?}");
        assert!(record.attempts().is_empty());
    }
    assert_eq!(alpha.trace.dialogs().len(), 1);
    site.finish().await;
}

async fn a_call_that_an_earlier_run_left_is_known_by_its_invite(backend: Backend) {
    let (mut site, alpha) = site_of(Preparation::new(backend), 50).await;
    let invite = Invite::to(DID);
    let mut first = site.send(0, &invite).await;
    assert_eq!(first.outcome().await, 200);
    site.controller.process().kill();
    site.controller.serve(&site.nodes).await;
    let mut again = site.send(0, &invite).await;
    assert_eq!(again.outcome().await, 486);
    first.hang_up().await;
    let (_, merged) = told_apart(site.records_of(&invite, 2).await);
    assert_eq!((merged.len(), alpha.trace.dialogs().len()), (1, 1));
    site.finish().await;
}

/// Another CSeq or tag, and a proxy that tries its next route after the first was refused or given up: the same INVITE with another branch.
async fn what_only_looks_the_same_is_another_call(backend: Backend) {
    let (mut site, alpha) = site_of(Preparation::new(backend).nodes(2), 1500).await;
    let invite = Invite::to(DID);
    let mut first = site.send(0, &invite).await;
    first.until_status(180).await;
    let others = [Invite { cseq: 2, ..invite.clone() }, Invite { tag: "another".to_owned(), ..invite.clone() }];
    for other in &others {
        let mut call = site.send(0, other).await;
        assert_eq!(call.outcome().await, 200);
        call.hang_up().await;
    }
    assert_eq!(first.outcome().await, 200);
    first.hang_up().await;

    let invite = Invite::to(DID);
    let mut given_up = site.send(0, &invite).await;
    given_up.until_status(180).await;
    given_up.cancel().await;
    // At once, as a proxy does: what the controller hears of the CANCEL comes by another socket.
    let mut next_route = site.send(1, &invite).await;
    assert_eq!(given_up.outcome().await, 487);
    assert_eq!(next_route.outcome().await, 200, "{:?}", next_route.statuses);
    next_route.hang_up().await;

    // Refused by the first node's dialplan, because the controller is away there: taken by nobody yet.
    let invite = Invite::to(DID);
    site.controller.process().signal("STOP");
    site.nodes[0].until_stale().await;
    let mut refused = site.send(0, &invite).await;
    assert_eq!(refused.outcome().await, 503);
    site.controller.process().signal("CONT");
    site.controller.until_ready(&site.nodes).await;
    let mut taken = site.send(1, &invite).await;
    assert_eq!(taken.outcome().await, 200);
    taken.hang_up().await;
    assert_eq!(alpha.trace.dialogs().len(), 6);
    site.finish().await;
}
