//! `just chaos [SEED] [MINUTES]`: see `mod.rs`. The report's last part must be all zeroes; else the logs are kept and it fails.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]
#![allow(clippy::disallowed_methods, reason = "a seed that nobody gave is drawn")]

#[path = "mod.rs"]
mod chaos;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/live/harness/mod.rs"]
mod harness;

use std::process::ExitCode;
use std::time::Duration;

use chaos::run::{Wanted, run};

const USAGE: &str = "usage: chaos [SEED] [MINUTES]";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => chaos(rand::random::<u32>().into(), 10.0).await,
        [seed] => numbers(seed, "10").await,
        [seed, minutes] => numbers(seed, minutes).await,
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::FAILURE
}

async fn numbers(seed: &str, minutes: &str) -> ExitCode {
    match (seed.parse(), minutes.parse()) {
        (Ok(seed), Ok(minutes)) => chaos(seed, minutes).await,
        _ => usage(),
    }
}

async fn chaos(seed: u64, minutes: f64) -> ExitCode {
    println!("chaos: seed {seed}, {minutes} minutes of calls; the same seed makes the same faults");
    let wanted = Wanted { seed, lasting: Duration::from_secs_f64(60.0 * minutes) };
    let (outcome, mut scene) = run(wanted, |line| println!("chaos: {line}")).await;
    let report = outcome.report();
    println!("\n{report}");
    if outcome.is_clean() {
        return ExitCode::SUCCESS;
    }
    let folder = scene.keep();
    // The report is on the screen already; beside the logs it is a convenience.
    let _convenience = std::fs::write(folder.join("report.txt"), report);
    println!("not all is well: the logs are kept in {}", folder.display());
    ExitCode::FAILURE
}
