//! What `just attack` does for minutes, for some seconds: the same code.

use tokio::time::Duration;

#[allow(dead_code, reason = "how long people wait is the machine's matter here, and `just attack`'s to judge")]
#[path = "../../attack/mod.rs"]
mod program;

/// Whatever connections do to the API: no call fails, whoever logs in is let in, and `/readyz` is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_and_people_come_through_an_attack_on_the_api() {
    let (outcome, site) = program::attack(Duration::from_secs(15)).await;
    println!("{}", outcome.report());
    assert!(outcome.is_clean(), "{}\n{}", outcome.report(), site.controller.log());
    site.finish().await;
}
