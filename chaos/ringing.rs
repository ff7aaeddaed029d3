//! How quickly a new controller decides the calls that rang when the old one was killed, and whether any is lost or passes the cap.

use std::time::Duration;

use chrono::TimeDelta;
use tokio::time::{Instant, sleep};

use super::adoption::at;
use super::load::Cap;
use super::run::{come_to_rest, gather};
use super::scene::{Realtime, Scene, Stage};
use super::verdict::{Findings, judge};
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::trace::Dialog;

const DID: &str = "+442079460001";
/// How long each leg rings before the call centre answers: longer than all calls take to come up, and the start after the kill.
const RING_MS: u32 = 50_000;
/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls come in a second.
const PER_SECOND: u32 = 40;

/// What a kill under ringing calls came to.
#[derive(Debug)]
pub(crate) struct Rang {
    /// How many calls rang.
    pub(crate) calls: usize,
    /// From the start of the new process until it said that it takes calls.
    pub(crate) ready: Duration,
    /// From the node's connection, with which comparing begins, to the last call decided anew: both by the controller's log.
    pub(crate) deciding: TimeDelta,
    /// How many calls it says that it dialled anew.
    pub(crate) decided: usize,
    /// How many callers were answered in the end.
    pub(crate) answered: usize,
    /// What does not agree afterwards.
    pub(crate) findings: Findings,
    /// What was left.
    pub(crate) left: Vec<String>,
}

impl Rang {
    /// Whether every call went on and was answered, the cap held, and all accounts are right.
    pub(crate) fn is_clean(&self) -> bool {
        let all = self.decided == self.calls && self.answered == self.calls;
        all && self.findings.is_clean() && self.left.is_empty()
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let wrong = self.findings.must_be_zero();
        let wrong: Vec<_> = wrong.iter().filter(|(_, found)| !found.is_empty()).collect();
        format!(
            "{} calls ring, kill -9, start at once\n\
             ready after                    {:>8.2} s of the new process\n\
             connected to all decided       {:>8.2} s ({} dialled anew)\n\
             callers answered in the end    {:>8}\n\
             left over                      {:>8} {:?}\n\
             what must be nothing           {:>8} {wrong:?}",
            self.calls,
            self.ready.as_secs_f64(),
            self.deciding.as_seconds_f64(),
            self.decided,
            self.answered,
            self.left.len(),
            self.left,
            wrong.len(),
        )
    }
}

/// Kills the controller while `calls` calls ring.
pub(crate) async fn ring(calls: u32) -> (Rang, Scene) {
    let limit = usize::try_from(calls).expect("hundreds");
    let mut stage = Stage::new();
    stage.centre("patient", centre::answer().set("ring_ms", RING_MS)).await;
    // No slot more than there are calls: each leg of the old process holds its own until it is gone.
    let plan = Plan::new()
        .client("patient", stage.named("patient"), ("send_headers = true", ""))
        .campaign("Long", DID, "dial_timeout_seconds = 60")
        .link("patient", &format!("max_concurrency = {calls}"));
    let mut scene = stage.start(&plan, Realtime::File, "").await;
    let carriers = vec![scene.begin("carrier", &carrier::call().set("did", DID), calls, PER_SECOND)];
    until_ringing(&scene, limit).await;

    let told = scene.controller.log().len();
    scene.controller.process().kill();
    let begun = Instant::now();
    scene.controller.launch();
    scene.until_ready().await;
    let ready = begun.elapsed();
    let (decided, deciding) = decided(&scene, told, limit).await;
    until_ringing(&scene, limit).await;
    scene.centres[0].1.go_on().await;
    let left = come_to_rest(&mut scene, carriers.iter()).await;
    let answered = carriers[0].trace.answered();
    let findings = judge(&gather(&scene, &carriers, vec![Cap::Link("Long", "patient", limit)]));
    (Rang { calls: limit, ready, deciding, decided, answered, findings, left }, scene)
}

async fn until_ringing(scene: &Scene, calls: usize) {
    let (begun, centre) = (Instant::now(), &scene.centres[0].1.trace);
    let rings = |dialog: &Dialog| dialog.ended_at().is_none() && dialog.statuses().contains(&180);
    while centre.dialogs().iter().filter(|dialog| rings(dialog)).count() < calls {
        assert!(begun.elapsed() < PATIENCE, "the calls do not come up in time");
        sleep(Duration::from_millis(100)).await;
    }
}

/// How many calls the new process says that it dialled anew, and how long that took; waits for all.
async fn decided(scene: &Scene, told: usize, calls: usize) -> (usize, TimeDelta) {
    let begun = Instant::now();
    loop {
        let log = scene.controller.log().split_off(told);
        let times =
            |told: &dyn Fn(&str) -> bool| log.lines().filter(|line| told(line)).filter_map(at).collect::<Vec<_>>();
        let connected = times(&|line| line.contains(" node connected"));
        // What comes of a dial keeps it in that state.
        let decided = times(&|line| line.ends_with("-> dialling(2)") && !line.contains(" dialling(2) -> "));
        if decided.len() >= calls || begun.elapsed() > PATIENCE {
            let took = connected.first().zip(decided.last()).map(|(from, to)| *to - *from);
            return (decided.len(), took.unwrap_or_default());
        }
        sleep(Duration::from_millis(50)).await;
    }
}
