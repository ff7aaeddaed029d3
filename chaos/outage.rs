//! PostgreSQL is away for minutes while calls come: what they notice, and how the records get there afterwards.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use super::report::tally;
use super::run::{come_to_rest, gather};
use super::scene::{Realtime, Scene, Stage};
use super::verdict::{Evidence, Findings, judge};
use super::wire::Condition;
use super::witness::Seen;
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};

const DID: &str = "+442079460001";
const PER_SECOND: u32 = 10;
/// Calls come for so long before, and after.
const PEACE: Duration = Duration::from_secs(10);

/// How PostgreSQL is away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Away {
    /// Its processes have ended: connections are refused.
    Stopped,
    /// Nothing comes from it, and connections stay open.
    Silent,
}

/// What an outage came to.
#[derive(Debug)]
pub(crate) struct Survived {
    what: String,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
    /// Records that waited when PostgreSQL came back.
    waiting: Option<f64>,
    /// From its return until none waited.
    written_after: Duration,
    evidence: Evidence,
    findings: Findings,
    left: Vec<String>,
}

/// Has it away for so long.
pub(crate) async fn outage(away: Away, realtime: Realtime, lasting: Duration) -> (Survived, Scene) {
    let mut stage = Stage::new();
    stage.centre("alpha", centre::answer().set("ring_ms", 100)).await;
    let plan = Plan::new()
        .client("alpha", stage.named("alpha"), ("send_headers = true", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "");
    let mut scene = stage.start(&plan, realtime, "").await;
    // Asterisk's driver may take a while to find it again.
    let afterwards = if realtime == Realtime::Postgres { 6 * PEACE } else { PEACE };
    let seconds = u32::try_from((lasting + PEACE + afterwards).as_secs()).expect("minutes");
    let calls = carrier::call().set("did", DID).set("talk_ms", 1000);
    let carriers = [scene.begin("carrier", &calls, PER_SECOND * seconds, PER_SECOND)];
    sleep(PEACE).await;
    let from = Utc::now();
    match away {
        Away::Stopped => scene.database.crash(),
        Away::Silent => scene.sql.set(Condition::Silent),
    }
    sleep(lasting).await;
    let waiting = scene.metric("capconduit_records_waiting").await;
    match away {
        Away::Stopped => scene.database_back().await,
        Away::Silent => scene.sql.set(Condition::Sound),
    }
    let (to, back) = (Utc::now(), Instant::now());
    // Calls go on: a handful always waits.
    while scene.metric("capconduit_records_waiting").await.is_none_or(|waiting| waiting > 20.0)
        && back.elapsed() < 12 * PEACE
    {
        sleep(Duration::from_millis(100)).await;
    }
    let written_after = back.elapsed();
    sleep(afterwards.saturating_sub(back.elapsed())).await;
    let left = come_to_rest(&mut scene, carriers.iter()).await;
    let evidence = gather(&scene, &carriers, Vec::new());
    let findings = judge(&evidence);
    let what = format!("PostgreSQL {away:?} for {} s, realtime: {realtime:?}, {PER_SECOND} calls/s", lasting.as_secs());
    (Survived { what, from, to, waiting, written_after, evidence, findings, left }, scene)
}

impl Survived {
    /// Whether no call was refused and none lost.
    pub(crate) fn is_clean(&self) -> bool {
        let answered = self.evidence.calls.iter().all(|call| call.status == Some(200));
        answered && self.findings.is_clean() && self.left.is_empty()
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let phase = |name: &str, wanted: &dyn Fn(&Seen) -> bool| {
            let calls: Vec<&Seen> = self.evidence.calls.iter().filter(|call| wanted(call)).collect();
            let refused = calls.iter().filter(|call| call.status != Some(200)).count();
            let mut waits: Vec<i64> =
                calls.iter().filter_map(|call| Some((call.answered? - call.began).num_milliseconds())).collect();
            waits.sort_unstable();
            let at =
                |percent: usize| waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1))).copied();
            format!(
                "{name:<8} {:>6} calls, {refused:>5} not answered ({}), INVITE to 200 OK p50 {} ms, p99 {} ms, most {} ms\n",
                calls.len(),
                tally(calls.iter().copied()),
                at(50).unwrap_or_default(),
                at(99).unwrap_or_default(),
                waits.last().copied().unwrap_or_default()
            )
        };
        let findings = &self.findings;
        let mut text = format!("{}\n", self.what);
        text += &phase("before", &|call| call.began < self.from);
        text += &phase("away", &|call| self.from <= call.began && call.began < self.to);
        text += &phase("after", &|call| self.to <= call.began);
        let answered = |call: &&Seen| self.to <= call.began && call.status == Some(200);
        let first = self.evidence.calls.iter().filter(answered).map(|call| call.began - self.to).min();
        text += &match first {
            Some(first) => format!(
                "the first call that is answered again began {:.1} s after its return\n",
                first.as_seconds_f64()
            ),
            None => "no call was answered any more\n".to_owned(),
        };
        let waiting = self.waiting.map_or("unknown".to_owned(), |n| n.to_string());
        text += &format!(
            "records waiting at its return {waiting}, written {:.1} s after it\n\
             lost {}, recorded twice {}, dials without an attempt {}, talks off {}, left over {:?}\n",
            self.written_after.as_secs_f64(),
            findings.lost.len(),
            findings.duplicate.len(),
            findings.unwritten_dials.len(),
            findings.talk.len(),
            self.left
        );
        let named = [&findings.lost, &findings.duplicate, &findings.talk];
        named.into_iter().flatten().take(8).for_each(|one| text += &format!("    {one}\n"));
        text
    }
}
