//! How quickly a new controller takes over the calls of one that was killed, and whether it drops any.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::time::{Instant, sleep};

use super::load::Cap;
use super::run::{come_to_rest, gather};
use super::scene::{Realtime, Scene, Stage};
use super::verdict::{Findings, judge};
use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, Sipp, carrier, centre};

const DID: &str = "+442079460001";
/// How long the callers talk where nobody ends it: longer than everything that is done meanwhile.
const TALK_MS: u32 = FOREVER_MS;
/// Longest wait for what must happen.
const PATIENCE: Duration = Duration::from_secs(60);
/// How many calls come in a second.
const PER_SECOND: u32 = 40;

/// What an adoption came to.
#[derive(Debug)]
pub(crate) struct Adopted {
    /// How many calls were up.
    pub(crate) calls: usize,
    /// From the start of the new process until it said that it takes calls.
    pub(crate) ready: Duration,
    /// From the node's connection, with which comparing begins, to the last call adopted: both by the controller's log.
    pub(crate) adopting: TimeDelta,
    /// How many calls it says that it adopted.
    pub(crate) said: usize,
    /// What a caller was told while the adopted calls filled the cap.
    pub(crate) beyond: Option<u16>,
    /// What does not agree afterwards.
    pub(crate) findings: Findings,
    /// What was left.
    pub(crate) left: Vec<String>,
}

impl Adopted {
    /// Whether every call was adopted, none dropped, the cap held, and all accounts are right.
    pub(crate) fn is_clean(&self) -> bool {
        let told = self.said == self.calls && self.beyond == Some(486);
        told && self.findings.is_clean() && self.left.is_empty()
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let findings = &self.findings;
        format!(
            "{} calls up, kill -9, start at once\n\
             ready after                    {:>8.2} s of the new process\n\
             connected to all adopted       {:>8.2} s ({} adopted)\n\
             a caller beyond the cap heard  {:>8}\n\
             talks ended by neither party   {:>8}\n\
             calls lost                     {:>8}\n\
             talks off by more than 1 s     {:>8}\n\
             left over                      {:>8} {:?}\n{}",
            self.calls,
            self.ready.as_secs_f64(),
            self.adopting.as_seconds_f64(),
            self.said,
            self.beyond.map_or("nothing".to_owned(), |status| status.to_string()),
            findings.dropped.len(),
            findings.lost.len(),
            findings.talk.len(),
            self.left.len(),
            self.left,
            [&findings.dropped, &findings.lost, &findings.talk]
                .into_iter()
                .flatten()
                .take(6)
                .cloned()
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }
}

/// Has `calls` calls adopted.
pub(crate) async fn adopt(calls: u32) -> (Adopted, Scene) {
    let limit = usize::try_from(calls).expect("hundreds");
    let mut stage = Stage::new();
    stage.centre("marathon", centre::answer()).await;
    let plan = Plan::new()
        .client("marathon", stage.named("marathon"), ("send_headers = true", ""))
        .campaign("Long", DID, "")
        .link("marathon", &format!("max_concurrency = {calls}"));
    let mut scene = stage.start(&plan, Realtime::File, "").await;
    let mut carriers =
        vec![scene.begin("carrier", &carrier::call().set("did", DID).set("talk_ms", TALK_MS), calls, PER_SECOND)];
    until_up(&carriers[0], limit).await;

    let told = scene.controller.log().len();
    scene.controller.process().kill();
    let begun = Instant::now();
    scene.controller.launch();
    scene.until_ready().await;
    let ready = begun.elapsed();
    let (said, adopting) = adopted(&scene, told, limit).await;
    carriers.push(scene.begin("beyond", &carrier::call().set("did", DID), 1, 1));
    let outcome = |carrier: &Sipp| carrier.trace.dialogs().first().and_then(|call| call.outcome());
    let asked = Instant::now();
    while outcome(&carriers[1]).is_none() && asked.elapsed() < PATIENCE {
        sleep(Duration::from_millis(50)).await;
    }
    carriers[0].go_on().await;
    let left = come_to_rest(&mut scene, carriers.iter()).await;
    let beyond = outcome(&carriers[1]);
    let evidence = gather(&scene, &carriers, vec![Cap::Link("Long", "marathon", limit)]);
    let findings = judge(&evidence);
    (Adopted { calls: limit, ready, adopting, said, beyond, findings, left }, scene)
}

async fn until_up(carrier: &Sipp, calls: usize) {
    let begun = Instant::now();
    while carrier.trace.answered() < calls {
        assert!(begun.elapsed() < PATIENCE, "the calls do not come up in time");
        sleep(Duration::from_millis(300)).await;
    }
}

/// How many calls the new process says that it adopted, and how long that took; waits for all.
async fn adopted(scene: &Scene, told: usize, calls: usize) -> (usize, TimeDelta) {
    let begun = Instant::now();
    loop {
        let log = scene.controller.log().split_off(told);
        let of = |word: &str| log.lines().filter(|line| line.contains(word)).filter_map(at).collect::<Vec<_>>();
        let (connected, adopted) = (of(" node connected"), of(" adopted: "));
        if adopted.len() >= calls || begun.elapsed() > PATIENCE {
            let took = connected.first().zip(adopted.last()).map(|(from, to)| *to - *from);
            return (adopted.len(), took.unwrap_or_default());
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// When a line of the log was written.
pub(super) fn at(line: &str) -> Option<DateTime<Utc>> {
    line.split_whitespace().next()?.parse().ok()
}
