//! `just attack [SECONDS]`: see `mod.rs`. No call may fail, `/readyz` must be right throughout, and nobody may wait for longer than a
//! second to log in.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

#[path = "mod.rs"]
mod attack;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../tests/live/harness/mod.rs"]
mod harness;

use std::process::ExitCode;
use std::time::Duration;

const USAGE: &str = "usage: attack [SECONDS]   (300)";

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let seconds = match arguments.as_slice() {
        [] => Some(300),
        [seconds] => seconds.parse().ok().filter(|seconds| (1..=86_400).contains(seconds)),
        _ => None,
    };
    let Some(seconds) = seconds else {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    };
    println!("attack: {seconds} s of attacks on the API beside 20 calls a second");
    let (outcome, site) = attack::attack(Duration::from_secs(seconds)).await;
    println!("\n{}", outcome.report());
    if outcome.is_clean() && outcome.is_quick() {
        return ExitCode::SUCCESS;
    }
    println!("not all is well; the controller said:\n{}", site.controller.log());
    ExitCode::FAILURE
}
