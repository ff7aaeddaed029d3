//! What a routing decision takes: finding the DID, the verdict on each link of its campaign, their order, and the first one's permit.

#![allow(missing_docs, reason = "criterion's macros make functions that nobody calls by name")]

mod world;

use capconduit::routing::snapshot::Strategy;
use criterion::{Criterion, criterion_group, criterion_main};

use world::World;

fn decisions(criterion: &mut Criterion) {
    for candidates in [10, 500] {
        for strategy in [Strategy::Priority, Strategy::RoundRobin, Strategy::Weighted] {
            let mut world = World::new(candidates, strategy);
            let name = format!("admit, {candidates} candidates among 10,000 links, {}", strategy.as_str());
            let mut last = None;
            criterion.bench_function(&name, |bencher| {
                bencher.iter(|| {
                    let call = world.admit();
                    if let Some(before) = last.replace(call) {
                        world.release(before);
                    }
                });
            });
        }
    }
}

criterion_group!(benches, decisions);
criterion_main!(benches);
