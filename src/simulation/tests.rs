//! The runs.

use std::sync::atomic::{AtomicU64, Ordering};

use super::world::{Log, Report, World};

const CALLS: usize = 200;

fn world(seed: u64, log: Log) -> Report {
    World::new(seed, CALLS, log).run()
}

#[test]
fn simulate_one() {
    let Some(seed) = std::env::var("CAPCONDUIT_SEED").ok().and_then(|text| text.parse().ok()) else { return };
    let report = world(seed, Log::Print);
    println!("calls {} faulted {} answered {} lives {}", report.calls, report.faulted, report.answered, report.lives);
    assert!(report.wrong.is_empty(), "{}", report.wrong.join("\n"));
}

#[test]
fn many() {
    let worlds: u64 = std::env::var("CAPCONDUIT_WORLDS").ok().and_then(|text| text.parse().ok()).unwrap_or(20);
    let next = AtomicU64::new(1);
    let began = std::time::Instant::now();
    let reports = std::thread::scope(|scope| {
        let run = || {
            let mut reports = Vec::new();
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed > worlds {
                    return reports;
                }
                reports.push((seed, world(seed, Log::Off)));
            }
        };
        let threads = [scope.spawn(run), scope.spawn(run)];
        threads.into_iter().flat_map(|thread| thread.join().expect("it does not panic")).collect::<Vec<_>>()
    });
    let sum = |of: fn(&Report) -> usize| reports.iter().map(|(_, report)| of(report)).sum::<usize>();
    for (seed, report) in reports.iter().filter(|(_, report)| !report.wrong.is_empty()) {
        println!("SEED {seed}: {}", report.wrong[0]);
    }
    println!(
        "calls {} faulted {} answered {} lives {} wrong {} took {:?}",
        sum(|r| r.calls), sum(|r| r.faulted), sum(|r| r.answered), sum(|r| r.lives),
        reports.iter().filter(|(_, r)| !r.wrong.is_empty()).count(), began.elapsed()
    );
}
