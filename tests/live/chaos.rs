//! What `just chaos` does for minutes, for a moment: the same code, a fixed seed.

use tokio::time::Duration;

#[allow(dead_code, reason = "a program of its own uses the rest: chaos/main.rs")]
#[path = "../../chaos/mod.rs"]
mod program;

use program::adoption::adopt;
use program::alerts::watch;
use program::prometheus::Pace;
use program::ringing::ring;
use program::run::{Wanted, run};

/// Calls in every state while controller, database, ARI and Asterisk are taken away: no call lost, none twice, no cap exceeded.
#[tokio::test]
async fn a_minute_of_chaos() {
    let wanted = Wanted { seed: 20, lasting: Duration::from_secs(60) };
    let (outcome, mut scene) = run(wanted, |line| println!("{line}")).await;
    let report = outcome.report();
    println!("{report}");
    if !outcome.is_clean() {
        panic!("not all is well; the logs are kept in {}", scene.keep().display());
    }
}

/// kill -9 with calls up: the next start has them all at once, with their permits, and drops none.
#[tokio::test]
async fn thirty_calls_are_adopted() {
    let (adopted, mut scene) = adopt(30).await;
    println!("{}", adopted.report());
    if !adopted.is_clean() {
        panic!("not all is well; the logs are kept in {}", scene.keep().display());
    }
}

/// kill -9 with calls ringing: each goes on where it stood once its old leg is gone, and is answered.
#[tokio::test]
async fn thirty_ringing_calls_go_on() {
    let (rang, mut scene) = ring(30).await;
    println!("{}", rang.report());
    if !rang.is_clean() {
        panic!("not all is well; the logs are kept in {}", scene.keep().display());
    }
}

/// Prometheus, with the rules that are shipped (their minutes are short here), tells of each fault while it lasts, and no longer.
#[tokio::test]
async fn each_alert_fires_while_there_is_reason_for_it() {
    let (watched, mut scene) = watch(Pace::Quick).await;
    println!("{}", watched.report());
    if !watched.is_clean() {
        panic!("not all is well; the logs are kept in {}", scene.keep().display());
    }
}
