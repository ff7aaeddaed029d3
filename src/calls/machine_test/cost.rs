//! What a decision and a whole call cost in allocations: that is the same on every machine and for every run, and what made them slower
//! before was nearly always more of them. Who needs more says why, and writes the new number here; who needs less, too.

use std::time::Duration;

use allocation_counter::measure;

use super::bench::Bench;
use crate::calls::io::Input;
use crate::id::CallId;
use crate::routing::book::Book;
use crate::routing::breaker::At;
use crate::routing::decision::tests::{campaign, client, dialled, link, node, second, snapshot};
use crate::routing::snapshot::Strategy;

#[test]
fn a_decision_among_ten_links() {
    let costs = [Strategy::Priority, Strategy::RoundRobin, Strategy::Weighted].map(|strategy| {
        let links: Vec<_> = (1..=10).map(link).collect();
        let clients: Vec<_> = (1..=10).map(client).collect();
        let mut offered = campaign(&links);
        offered.strategy = strategy;
        let (snapshot, dialled, node) = (snapshot(offered, &clients), dialled(), node());
        let mut book = Book::default();
        let at = At { node: &node, now: second(1) };
        let mut decide = |n: u128| {
            let (_, offer) = book.admit(&snapshot, &dialled, at, (CallId(uuid::Uuid::from_u128(n)), 1));
            assert!(offer.is_some());
        };
        // The first ones make room for the rotation and the ledger's entries.
        (1..=5).for_each(&mut decide);
        measure(|| decide(6)).count_total
    });
    assert_eq!(costs, [17, 9, 14]);
}

#[test]
fn an_answered_call_from_arrival_to_record() {
    let call = || {
        let mut bench = Bench::new(&[link(1), link(2)]);
        bench.give(Input::LegReady(1));
        bench.give(Input::Dialled(1));
        bench.now.mono += Duration::from_secs(1);
        bench.give(Input::LegRinging(1));
        bench.now.mono += Duration::from_secs(2);
        bench.answer(1);
        bench.now.mono += Duration::from_secs(30);
        bench.give(Input::CallerHangup { cause: Some(16), sip: None });
        bench.give(Input::CallerGone);
        bench.gone(1, 16, 0);
        bench.record()
    };
    let cost = measure(|| drop(call()));
    // Seven more than when Asterisk passed the answer on by itself: the caller is told of ringing and answered by request. One for the page
    // on which the ledger keeps the first link's use: a controller has them from its start.
    assert_eq!(cost.count_total, 179, "{} bytes", cost.bytes_total);
}
