//! How long a routing decision takes: the calls of a node wait for each other here.

use std::time::{Duration, Instant};

use capconduit::routing::snapshot::Strategy;

use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::stats::{Spread, percentile};
use crate::world::World;

/// Decisions in each round.
const DECISIONS: usize = 20_000;

/// With few candidates and with many, by each strategy.
pub(crate) fn decision(wanted: Wanted) -> Section {
    let how = format!(
        "Finding the DID, a verdict on each link of its campaign, their order, and the first one's permit, in µs; all links are eligible, 10,000 in all; {} rounds of {DECISIONS} in turns. \
         (`cargo bench --bench routing` measures the same by criterion.)",
        wanted.rounds
    );
    let mut section = Section::new("Routing decision", &how, &["candidates", "strategy", "p50", "p99"]);
    let strategies = [Strategy::Priority, Strategy::RoundRobin, Strategy::Weighted];
    let kinds: Vec<_> =
        [(10, 5.0), (500, 50.0)].into_iter().flat_map(|goal| strategies.map(|strategy| (goal, strategy))).collect();
    let mut worlds: Vec<World> =
        kinds.iter().map(|((candidates, _), strategy)| World::new(*candidates, *strategy)).collect();
    let mut all = vec![(Vec::new(), Vec::new()); kinds.len()];
    for _ in 0..wanted.rounds {
        for (world, figures) in worlds.iter_mut().zip(&mut all) {
            let mut samples: Vec<Duration> = (0..DECISIONS)
                .map(|_| {
                    let begun = Instant::now();
                    let call = world.admit();
                    let took = begun.elapsed();
                    world.release(call);
                    took
                })
                .collect();
            figures.0.push(percentile(&mut samples, 0.5) * 1e3);
            figures.1.push(percentile(&mut samples, 0.99) * 1e3);
        }
    }
    for (((candidates, goal), strategy), (p50, p99)) in kinds.iter().zip(&all) {
        let p99 = Spread::of(p99);
        section.line([candidates.to_string(), strategy.as_str().to_owned(), Spread::of(p50).told(2), p99.told(2)]);
        let name = format!("{candidates} candidates, {}: p99 at most {goal} µs", strategy.as_str());
        section.verdict(&name, format!("{} µs", p99.told(2)), p99.median <= *goal);
    }
    section
}
