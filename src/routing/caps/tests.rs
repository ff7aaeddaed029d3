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
    let stored = |counted| [(link.id, counted)];
    let mut ledger = Ledger::with_totals(HashMap::from(stored(5)));
    let before = ledger.idle().expect("nothing is under way");
    ledger.take(key(1), &campaign, &link, &client).expect("no limit");
    assert_eq!(ledger.idle(), None, "it may count yet");
    ledger.raise_totals(&stored(6));
    assert!(!ledger.settle_totals(&stored(5), before), "one is under way");
    ledger.release(key(1), true);
    ledger.raise_totals(&stored(6));
    assert_eq!(ledger.link_counted(&link), 7, "whether the sixth was this one is not known");
    assert!(!ledger.settle_totals(&stored(6), before), "one was counted");
    let before = ledger.idle().expect("nothing is under way");
    ledger.count(link.id);
    assert!(!ledger.settle_totals(&stored(6), before));
    assert_eq!(ledger.link_counted(&link), 8, "one was counted after the totals were read");
    let before = ledger.idle().expect("nothing is under way");
    assert!(ledger.settle_totals(&stored(7), before) && ledger.settle_totals(&stored(7), before), "by slices");
    assert_eq!(ledger.link_counted(&link), 7);
    ledger.raise_totals(&stored(8));
    assert!(!ledger.settle_totals(&stored(7), before), "another has counted one");
    let before = ledger.idle().expect("nothing is under way");
    ledger.take(key(2), &campaign, &link, &client).expect("no limit");
    ledger.release(key(2), false);
    assert!(ledger.settle_totals(&stored(8), before), "what came of it does not count");
}

#[test]
fn the_permits_of_a_call_are_its_own() {
    let call = |n: u128| CallId(uuid::Uuid::from_u128(n));
    let permit = |client| Permit { campaign: CampaignId(1), link: LinkId(client), client: ClientId(client) };
    let mut ledger = Ledger::default();
    for (of, n) in [(1, 1), (2, 7), (2, 1), (2, u32::MAX), (3, 0)] {
        ledger.hold((call(of), n), permit(1));
    }
    let held = |of| ledger.held_by(call(of)).collect::<Vec<_>>();
    assert_eq!([held(1), held(2), held(3), held(4)], [vec![1], vec![1, 7, u32::MAX], vec![0], vec![]]);
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
                if !ledger.is_held(key(n)) {
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
