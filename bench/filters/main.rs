//! `just bench-filters`: how long the first page of every filter of the calls list takes in a table of a million records, on a PostgreSQL
//! that this starts for itself. Fails where the slowest hundredth takes longer than [`LIMIT`].

#![allow(clippy::disallowed_methods, reason = "what is measured is real time")]
#![allow(clippy::panic, reason = "what cannot be measured is no result")]
#![allow(clippy::print_stdout, reason = "the table is for people")]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/api/caller.rs"]
mod caller;
mod cases;
mod data;
#[path = "../../tests/support/fake_ari.rs"]
mod fake_ari;
#[path = "../../tests/support/patience.rs"]
mod patience;
#[path = "../../tests/support/ports.rs"]
mod ports;
#[path = "../../tests/support/postgres.rs"]
mod postgres;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/api/site.rs"]
mod site;
#[path = "../../tests/support/templates.rs"]
mod templates;

use std::time::{Duration, Instant};

use capconduit::id::UserId;
use capconduit::store::calls;
use capconduit::store::reports::Reports;
use futures_util::TryStreamExt as _;

use cases::Case;
use site::{Database, Site};

/// The slowest of a hundred requests may take this long.
const LIMIT: Duration = Duration::from_millis(20);
/// Requests of a case that are measured.
const REQUESTS: usize = 200;
/// Requests before them: connections are made, plans and pages cached.
const WARM_UP: usize = 5;

/// What a case took.
struct Figures {
    name: String,
    rows: usize,
    half: Duration,
    most: Duration,
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<()> {
    let calls: i64 = std::env::args().nth(1).map_or(Ok(1_000_000), |count| count.parse())?;
    println!("bench-filters: making {calls} calls");
    let started = Instant::now();
    let site = Site::start(Database::Postgres).await;
    let data = data::fill(&site, calls).await;
    println!("bench-filters: made in {:.0} s; measuring", started.elapsed().as_secs_f64());
    let mut all = Vec::new();
    for case in cases::all(&data) {
        all.push(told(through_the_store(&site, &case).await?));
    }
    for (who, path) in cases::over_http() {
        all.push(told(over_http(&site, who, &path).await?));
    }
    print(&mut all);
    whole(&site, &data).await?;
    site.settle().await;
    let slow = all.iter().filter(|figures| figures.most > LIMIT).count();
    anyhow::ensure!(slow == 0, "{slow} of {} cases take longer than {LIMIT:?} at the 99th percentile", all.len());
    Ok(())
}

async fn through_the_store(site: &Site, case: &Case) -> anyhow::Result<Figures> {
    let reports = Reports::of(&site.db, site.config.limits);
    let (mut times, mut rows) = (Vec::with_capacity(REQUESTS), 0);
    for _ in 0..WARM_UP + REQUESTS {
        let begun = Instant::now();
        rows = calls::page(&reports, UserId(1), &case.filter, case.after, 51).await?.len();
        times.push(begun.elapsed());
    }
    let found = figures(case.name.clone(), rows, times);
    if found.most > LIMIT {
        println!("{}", calls::explained(&site.db, &case.filter, case.after, 51).await?.join("\n"));
    }
    Ok(found)
}

async fn over_http(site: &Site, who: &str, path: &str) -> anyhow::Result<Figures> {
    let caller = site.as_user(who).await;
    let (mut times, mut rows) = (Vec::with_capacity(REQUESTS), 0);
    for _ in 0..WARM_UP + REQUESTS {
        let begun = Instant::now();
        let answer = caller.get(path).await;
        times.push(begun.elapsed());
        rows = answer.expect(200)["items"].as_array().map_or(0, Vec::len);
    }
    Ok(figures(format!("HTTP {who} {path}"), rows, times))
}

fn figures(name: String, rows: usize, mut times: Vec<Duration>) -> Figures {
    times.drain(..WARM_UP);
    times.sort();
    Figures { name, rows, half: times[times.len() / 2], most: times[times.len() * 99 / 100 - 1] }
}

/// The slow ones at once: the table comes minutes later.
fn told(figures: Figures) -> Figures {
    if figures.most > LIMIT {
        println!("slow: {} takes {:?}, half of the requests {:?}", figures.name, figures.most, figures.half);
    }
    figures
}

fn print(all: &mut [Figures]) {
    all.sort_by_key(|figures| std::cmp::Reverse(figures.most));
    println!("{:>9} {:>9} {:>5}  first page of", "p99 ms", "p50 ms", "rows");
    for Figures { name, rows, half, most } in all {
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        println!("{:>9.2} {:>9.2} {:>5}  {name}", ms(most), ms(half), rows);
    }
}

/// What reads everything: its time, and the memory that it took.
async fn whole(site: &Site, data: &data::Data) -> anyhow::Result<()> {
    let reports = Reports::of(&site.db, site.config.limits);
    for (by, filter) in cases::summaries(data) {
        let begun = Instant::now();
        let summary = calls::summary(&reports, UserId(1), &filter, by, chrono_tz::Tz::Europe__London).await?;
        println!("summary by {by} of {} calls: {:.2} s", summary.total.calls, begun.elapsed().as_secs_f64());
    }
    let (begun, before, mut most, mut rows) = (Instant::now(), memory(), 0, 0);
    let mut batches = std::pin::pin!(calls::all(reports.clone(), calls::Filter::default()));
    while let Some(batch) = batches.try_next().await? {
        rows += batch.len();
        most = most.max(memory());
    }
    let grown = most.saturating_sub(before) / 1024;
    println!(
        "export of {rows} calls: {:.0} s, memory {} MB, grown by at most {grown} MB",
        begun.elapsed().as_secs_f64(),
        before / 1024
    );
    Ok(())
}

/// Memory of this process now, in kB.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.split_whitespace().next().and_then(|kb| kb.parse().ok()).unwrap_or(0)
}
