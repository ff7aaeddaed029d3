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

use chaos::adoption::adopt;
use chaos::alerts::watch;
use chaos::beside::beside;
use chaos::outage::{Away, outage};
use chaos::prometheus::Pace;
use chaos::ringing::ring;
use chaos::run::{Wanted, run};
use chaos::scene::{Realtime, Scene};

const USAGE: &str = "usage: chaos [SEED] [MINUTES]              everything at once, drawn from the seed
       chaos adoption [CALLS]              kill -9 while so many talk (300)
       chaos ringing [CALLS]               kill -9 while so many ring (300)
       chaos alerts [quick]                each alert fires in a real Prometheus while there is reason for it, and ends
       chaos backup [SECONDS]              backups beside calls (120 s), with 200,000 records
       chaos database [SECONDS] [realtime] PostgreSQL away (300 s), stopped and silent; realtime: Asterisk's tables in it, too";

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [] => chaos(rand::random::<u32>().into(), 10.0).await,
        ["adoption"] => adoption(300).await,
        ["adoption", calls] => with(calls, adoption).await,
        ["ringing"] => ringing(300).await,
        ["ringing", calls] => with(calls, ringing).await,
        ["alerts"] => alerts(Pace::Real).await,
        ["alerts", "quick"] => alerts(Pace::Quick).await,
        ["backup"] => backup(120).await,
        ["backup", seconds] => with(seconds, backup).await,
        ["database"] => database(300, Realtime::File).await,
        ["database", seconds] => with(seconds, |seconds| database(seconds, Realtime::File)).await,
        ["database", seconds, "realtime"] => with(seconds, |seconds| database(seconds, Realtime::Postgres)).await,
        [seed] => with(seed, |seed| chaos(seed, 10.0)).await,
        [seed, minutes] => match minutes.parse() {
            Ok(minutes) => with(seed, |seed| chaos(seed, minutes)).await,
            Err(_) => usage(),
        },
        _ => usage(),
    }
}

fn usage() -> ExitCode {
    println!("{USAGE}");
    ExitCode::FAILURE
}

async fn with<N: std::str::FromStr>(number: &str, wanted: impl AsyncFnOnce(N) -> ExitCode) -> ExitCode {
    match number.parse() {
        Ok(number) => wanted(number).await,
        Err(_) => usage(),
    }
}

async fn chaos(seed: u64, minutes: f64) -> ExitCode {
    println!("chaos: seed {seed}, {minutes} minutes of calls; the same seed makes the same faults");
    let wanted = Wanted { seed, lasting: Duration::from_secs_f64(60.0 * minutes) };
    let (outcome, scene) = run(wanted, |line| println!("chaos: {line}")).await;
    end(scene, &outcome.report(), outcome.is_clean())
}

async fn adoption(calls: u32) -> ExitCode {
    println!("chaos: {calls} calls come up, the controller is killed and started again");
    let (adopted, scene) = adopt(calls).await;
    end(scene, &adopted.report(), adopted.is_clean())
}

async fn ringing(calls: u32) -> ExitCode {
    println!("chaos: {calls} calls ring, the controller is killed and started again");
    let (rang, scene) = ring(calls).await;
    end(scene, &rang.report(), rang.is_clean())
}

async fn alerts(pace: Pace) -> ExitCode {
    println!("chaos: each alert that can be caused, in turn");
    let (watched, scene) = watch(pace).await;
    end(scene, &watched.report(), watched.is_clean())
}

async fn backup(seconds: u64) -> ExitCode {
    println!("chaos: calls come, and for half of the time there is a backup under way");
    let (beside, scene) = beside(Duration::from_secs(seconds), 200_000).await;
    end(scene, &beside.report(), beside.is_clean())
}

async fn database(seconds: u64, realtime: Realtime) -> ExitCode {
    let mut all = ExitCode::SUCCESS;
    for away in [Away::Stopped, Away::Silent] {
        println!("chaos: calls come, and PostgreSQL is away for {seconds} s: {away:?}");
        let (survived, scene) = outage(away, realtime, Duration::from_secs(seconds)).await;
        // With Asterisk's tables in PostgreSQL calls do fail then: that is measured, not judged.
        let clean = survived.is_clean() || realtime == Realtime::Postgres;
        if end(scene, &survived.report(), clean) == ExitCode::FAILURE {
            all = ExitCode::FAILURE;
        }
    }
    all
}

/// Tells it; where it is not as it must be, the logs are kept.
fn end(mut scene: Scene, report: &str, clean: bool) -> ExitCode {
    println!("\n{report}");
    if clean {
        return ExitCode::SUCCESS;
    }
    let folder = scene.keep();
    // The report is on the screen already; beside the logs it is a convenience.
    let _convenience = std::fs::write(folder.join("report.txt"), report);
    println!("not all is well: the logs are kept in {}\n", folder.display());
    ExitCode::FAILURE
}
