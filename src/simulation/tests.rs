//! The runs.

use super::world::{Log, Report, World};

const CALLS: usize = 200;

fn world(seed: u64, log: Log) -> Report {
    World::new(seed, CALLS, log).run()
}

#[test]
fn simulate_one() {
    let seed = std::env::var("CAPCONDUIT_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let report = world(seed, Log::Print);
    println!("calls {} faulted {} answered {} lives {}", report.calls, report.faulted, report.answered, report.lives);
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
}
