//! `just bench-recovery [CALLS]`: the controller is killed while so many calls ring at a fake Asterisk, and started again. Fails where the
//! last of them is decided later than [`DECIDED_WITHIN`] after Asterisk gave its lists, where anything due had to wait for the calls'
//! thread for longer than [`HELD_AT_MOST`], or where a heartbeat was late. Controller and fake share the machine: both count.

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(clippy::panic, reason = "what cannot be measured is no result")]
#![allow(clippy::print_stdout, reason = "the figures are for people")]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/support/exposition.rs"]
mod exposition;
#[path = "../../tests/support/fake_ari.rs"]
mod fake_ari;
#[path = "../../tests/support/patience.rs"]
mod patience;
#[path = "../../tests/support/ports.rs"]
mod ports;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/it/site.rs"]
mod site;
#[path = "../../tests/support/templates.rs"]
mod templates;

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capconduit::config::{Config, Transport};
use tokio::time::sleep;

use fake_ari::{Behaviour, FakeAri, Stats};
use site::{DID, Database, Site, plan};

/// From the lists to the last decision.
const DECIDED_WITHIN: Duration = Duration::from_secs(2);
/// The longest that the calls' thread may be held.
const HELD_AT_MOST: Duration = Duration::from_millis(20);
/// How many calls may be on their way to the call centre while they come up.
const AT_ONCE: usize = 200;
/// How long anything of it may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(600);
/// For how long after the last decision the heartbeat is watched.
const WATCHED_FOR: Duration = Duration::from_secs(5);

const HEARTBEAT: &str = "CAPCONDUIT_HEARTBEAT";

/// What came of it.
struct Figures {
    calls: usize,
    decided: Duration,
    ready: Duration,
    held: Duration,
    /// The oldest that a heartbeat became, in the node's own seconds, once there was one.
    oldest_beat: i64,
}

impl Figures {
    fn report(&self) -> String {
        let ms = |span: Duration| span.as_secs_f64() * 1e3;
        format!(
            "{} ringing calls, kill -9, start at once\n\
             lists to the last decision       {:>9.1} ms (at most {:.0})\n\
             lists to the first heartbeat     {:>9.1} ms\n\
             longest hold of the calls' thread{:>9.1} ms (at most {:.0})\n\
             oldest heartbeat                 {:>9} s  (at most 3)",
            self.calls,
            ms(self.decided),
            ms(DECIDED_WITHIN),
            ms(self.ready),
            ms(self.held),
            ms(HELD_AT_MOST),
            self.oldest_beat,
        )
    }

    fn is_good(&self) -> bool {
        self.decided <= DECIDED_WITHIN && self.held <= HELD_AT_MOST && self.oldest_beat <= 3
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> ExitCode {
    let calls = std::env::args().nth(1).map_or(Ok(5_000), |text| text.parse::<usize>());
    let Ok(calls) = calls else {
        println!("usage: bench-recovery [CALLS]");
        return ExitCode::FAILURE;
    };
    let figures = recover(calls).await;
    println!("{}", figures.report());
    if figures.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn recover(calls: usize) -> Figures {
    let plan = plan("priority", &[("north", "ring_timeout_seconds = 120")]);
    let adjust = |config: &mut Config| {
        config.calls.max_live = config.calls.max_live.max(calls);
        config.calls.setup_budget = PATIENCE;
    };
    let mut site = Site::start_with(Database::Sqlite, &plan, Transport::Auto, adjust).await;
    site.clients(&[("north", Behaviour::no_answer())]);
    for n in 0..calls {
        site.call(DID);
        until(&site.asterisk, |stats| counted(stats.dialled) + AT_ONCE > n).await;
    }
    until(&site.asterisk, |stats| counted(stats.live) == calls).await;
    // What the last of them committed to is noted some milliseconds later.
    sleep(Duration::from_secs(2)).await;
    println!("{calls} calls ring");

    let listed = lists(&site.asterisk);
    site.kill().await;
    site.asterisk.clear_global(HEARTBEAT);
    site.launch();
    site.asterisk.until_listed(listed + 1).await;
    let begun = Instant::now();
    let watched = tokio::spawn(watch(Arc::clone(&site.asterisk), begun));
    until(&site.asterisk, |stats| counted(stats.created) == 2 * calls).await;
    let decided = begun.elapsed();
    sleep(WATCHED_FOR).await;
    let held = site.gauge("capconduit_calls_thread_wait_seconds").await.expect("it is measured");
    watched.abort();
    // A runtime of its own, which must not end in this one.
    site.kill().await;
    let (ready, oldest_beat) = *SEEN.lock().expect("nobody panicked");
    Figures { calls, decided, ready, held: Duration::from_secs_f64(held), oldest_beat }
}

/// When the first heartbeat came, and how old one became.
static SEEN: std::sync::Mutex<(Duration, i64)> = std::sync::Mutex::new((Duration::ZERO, 0));

async fn watch(asterisk: Arc<FakeAri>, begun: Instant) {
    loop {
        let beat = asterisk.global(HEARTBEAT).and_then(|beat| beat.parse::<i64>().ok()).filter(|beat| *beat > 0);
        if let Some(beat) = beat {
            let mut seen = SEEN.lock().expect("nobody panicked");
            if seen.0.is_zero() {
                seen.0 = begun.elapsed();
            }
            seen.1 = seen.1.max(asterisk.epoch() - beat);
        }
        sleep(Duration::from_millis(10)).await;
    }
}

fn counted(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn lists(asterisk: &FakeAri) -> usize {
    asterisk.requests().iter().filter(|seen| seen.line() == "GET channels").count()
}

async fn until(asterisk: &FakeAri, satisfied: impl Fn(&Stats) -> bool) {
    let begun = Instant::now();
    while !satisfied(&asterisk.stats("north")) {
        assert!(begun.elapsed() < PATIENCE, "waited in vain; {:?}", asterisk.stats("north"));
        sleep(Duration::from_millis(2)).await;
    }
}
