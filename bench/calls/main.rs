//! `just bench`: see `mod.rs`. Writes `bench/REPORT.md`, `bench/report.json` and `bench/plots`; a row that was not measured keeps what it had.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

#[path = "mod.rs"]
mod calls;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/live/harness/mod.rs"]
mod harness;
#[path = "../../benches/world/mod.rs"]
mod world;

use std::path::Path;
use std::process::ExitCode;

use calls::contest::Contest;
use calls::report::{Report, Section};
use calls::rows::alone::alone;
use calls::rows::ceiling::ceiling;
use calls::rows::decision::decision;
use calls::rows::failover::failover;
use calls::rows::listeners::listeners;
use calls::rows::records::written;
use calls::rows::set_up::{self, Wanted};
use calls::rows::soak::soak;
use calls::rows::swap::swap;
use calls::site::Transport;
use harness::site::Backend;

const USAGE: &str = "usage: bench [quick | full] [rounds=N] [seconds=N] [sites=N] [ROW...]
       quick: smaller figures of the first few rows in 3 minutes, which are shown only; full: all rows, into bench/REPORT.md
       sites: the first so many of SQLite by WebSocket, by HTTP, PostgreSQL by WebSocket, by HTTP
       rows: latency failover cpu ceiling decision records listeners alone swap soak (an hour: only where it is named)";
/// All rows.
const ROWS: [&str; 10] =
    ["latency", "failover", "cpu", "ceiling", "decision", "records", "listeners", "alone", "swap", "soak"];
/// What a quick look has time for.
const QUICK: [&str; 4] = ["latency", "failover", "cpu", "decision"];

/// Every way of reaching Asterisk.
const ALL: [(Backend, Transport); 4] = [
    (Backend::Sqlite, Transport::Websocket),
    (Backend::Sqlite, Transport::Http),
    (Backend::Postgres, Transport::Websocket),
    (Backend::Postgres, Transport::Http),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    tokio::task::LocalSet::new().run_until(run()).await
}

async fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.first().is_some_and(|word| word == "quick");
    let rows = named(&arguments);
    if rows.iter().any(|row| !ROWS.contains(row)) {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    }
    let number =
        |name: &str| arguments.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok());
    let (rounds, seconds) = if quick { (2, 4) } else { (5, 10) };
    let wanted = Wanted { rounds: number("rounds").unwrap_or(rounds), seconds: number("seconds").unwrap_or(seconds) };
    let by_default = |row: &str| if quick { QUICK.contains(&row) } else { row != "soak" };
    let is_wanted = |row: &str| if rows.is_empty() { by_default(row) } else { rows.contains(&row) };
    let sites = number("sites").unwrap_or(if quick { 2 } else { ALL.len() }).clamp(1, ALL.len());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let mut report = Report::read(&folder);
    let mut keep = |key: &str, section: Section| {
        println!("{}", section.markdown());
        if !quick {
            report.put(key, section);
            report.write(&folder).expect("bench/ can be written");
        }
    };
    if is_wanted("alone") {
        // Before the others' sites are there.
        keep("08-alone", alone(wanted).await);
    }
    if ROWS.into_iter().all(|row| row == "alone" || !is_wanted(row)) {
        return ExitCode::SUCCESS;
    }
    let mut contest = Contest::start(&ALL[..sites]).await;
    if is_wanted("latency") {
        keep("01-latency", set_up::latency(&mut contest, wanted).await);
    }
    if is_wanted("failover") {
        keep("02-failover", failover(&mut contest, wanted).await);
    }
    if is_wanted("cpu") {
        keep("03-cpu", set_up::cpu(&mut contest, wanted).await);
    }
    if is_wanted("ceiling") {
        keep("04-ceiling", ceiling(&mut contest, wanted.rounds.min(3)).await);
    }
    if is_wanted("decision") {
        keep("05-decision", decision(wanted));
    }
    if is_wanted("records") {
        keep("06-records", written(&mut contest, wanted).await);
    }
    if is_wanted("listeners") {
        keep("07-listeners", listeners(&mut contest, wanted).await);
    }
    if is_wanted("swap") {
        keep("09-swap", swap(&mut contest, wanted).await);
    }
    if is_wanted("soak") {
        keep("10-soak", soak(&mut contest, if quick { 3 } else { 60 }).await);
    }
    ExitCode::SUCCESS
}

/// The rows that are named.
fn named(arguments: &[String]) -> Vec<&str> {
    let is_row = |word: &&str| !["quick", "full"].contains(word) && !word.contains('=');
    arguments.iter().map(String::as_str).filter(is_row).collect()
}
