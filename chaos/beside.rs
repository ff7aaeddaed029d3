//! A backup beside calls: by how much they are answered later, and whether any is lost.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::time::{Instant, sleep};

use super::run::{come_to_rest, gather};
use super::scene::{Realtime, Scene, Stage};
use super::verdict::{Findings, judge};
use super::witness::Seen;
use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};

const DID: &str = "+442079460001";
const PER_SECOND: u32 = 10;
/// Turns without a backup and with one alternate, so that what else the machine does falls on both.
const TURNS: u32 = 6;
/// By how much the answer to a call may be later in the middle.
const ALLOWED_MS: f64 = 5.0;

/// What it came to.
#[derive(Debug)]
pub(crate) struct Beside {
    records: u32,
    backups: u32,
    longest: Duration,
    /// From INVITE to 200, in milliseconds and in order: without a backup, and with one under way.
    waits: [Vec<f64>; 2],
    findings: Findings,
    left: Vec<String>,
}

/// Calls for so long, with so many records in PostgreSQL, and backups one after the other for half of the time.
pub(crate) async fn beside(lasting: Duration, records: u32) -> (Beside, Scene) {
    let mut stage = Stage::new();
    stage.centre("alpha", centre::answer().set("ring_ms", 100)).await;
    let plan = Plan::new()
        .client("alpha", stage.named("alpha"), ("send_headers = true", ""))
        .campaign("Solar", DID, "")
        .link("alpha", "");
    let mut scene = stage.start(&plan, Realtime::File, "").await;
    let first = scene.begin("first", &carrier::call().set("did", DID), 1, 1);
    while scene.metric("capconduit_records_written_total").await.is_none_or(|written| written < 1.0) {
        sleep(Duration::from_millis(100)).await;
    }
    scene.database.psql(&copies(records));
    let seconds = u32::try_from(lasting.as_secs()).expect("minutes");
    let calls = carrier::call().set("did", DID).set("talk_ms", 500);
    let carriers = [first, scene.begin("carrier", &calls, PER_SECOND * seconds, PER_SECOND)];
    let (mut turns, mut backups, mut longest) = (Vec::new(), 0, Duration::ZERO);
    for turn in 0..TURNS {
        let (from, begun) = (Utc::now(), Instant::now());
        while begun.elapsed() < lasting / TURNS {
            if turn % 2 == 0 {
                sleep(Duration::from_millis(100)).await;
                continue;
            }
            let since = Instant::now();
            scene.controller.run(&["backup", &format!("{backups}.tar.gz")]).await;
            longest = longest.max(since.elapsed());
            std::fs::remove_file(scene.folder().join(format!("{backups}.tar.gz"))).expect("it was made");
            backups += 1;
        }
        turns.push((turn % 2 == 1, from, Utc::now()));
    }
    let left = come_to_rest(&mut scene, carriers.iter()).await;
    scene.database.psql("DELETE FROM call_logs WHERE uniqueid LIKE 'copy-%'");
    let evidence = gather(&scene, &carriers, Vec::new());
    let waits = [false, true].map(|with| waits(&evidence.calls, &turns, with));
    (Beside { records, backups, longest, waits, findings: judge(&evidence), left }, scene)
}

/// The first record, so many times.
fn copies(records: u32) -> String {
    format!(
        "DO $$ DECLARE columns text; BEGIN
           SELECT string_agg(quote_ident(column_name), ', ') INTO columns FROM information_schema.columns
             WHERE table_name = 'call_logs' AND column_name NOT IN ('call_id', 'uniqueid');
           EXECUTE format('INSERT INTO call_logs (call_id, uniqueid, %1$s) SELECT gen_random_uuid(), ''copy-'' || n, %1$s
             FROM (SELECT * FROM call_logs LIMIT 1) AS one, generate_series(1, {records}) AS n', columns);
         END $$"
    )
}

/// How long callers waited who called within turns of this kind.
fn waits(calls: &[Seen], turns: &[(bool, DateTime<Utc>, DateTime<Utc>)], with: bool) -> Vec<f64> {
    let within =
        |call: &&Seen| turns.iter().any(|(is, from, to)| *is == with && *from <= call.began && call.began < *to);
    let mut waits: Vec<f64> = calls
        .iter()
        .filter(within)
        .filter_map(|call| Some((call.answered? - call.began).as_seconds_f64() * 1000.0))
        .collect();
    waits.sort_by(f64::total_cmp);
    waits
}

fn at(waits: &[f64], percent: usize) -> f64 {
    waits.get((waits.len() * percent / 100).min(waits.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
}

impl Beside {
    /// Whether calls went on as without it.
    pub(crate) fn is_clean(&self) -> bool {
        let [without, with] = &self.waits;
        let later = at(with, 50) - at(without, 50);
        self.backups > 0 && later <= ALLOWED_MS && self.findings.is_clean() && self.left.is_empty()
    }

    /// For people.
    pub(crate) fn report(&self) -> String {
        let mut text = format!(
            "{} backups beside {PER_SECOND} calls/s, {} records in PostgreSQL; the longest took {:.1} s\n",
            self.backups,
            self.records,
            self.longest.as_secs_f64()
        );
        for (name, waits) in ["without", "with"].into_iter().zip(&self.waits) {
            let [half, most, all] = [50, 99, 100].map(|percent| at(waits, percent));
            text += &format!(
                "{name:<8} {:>5} calls, INVITE to 200 p50 {half:.1} ms, p99 {most:.1} ms, most {all:.1} ms\n",
                waits.len()
            );
        }
        let findings = &self.findings;
        let (lost, twice) = (findings.lost.len(), findings.duplicate.len());
        text + &format!(
            "lost {lost}, recorded twice {twice}, talks off {}, left over {:?}\n",
            findings.talk.len(),
            self.left
        )
    }
}
