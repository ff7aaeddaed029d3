//! `just bench`: see `mod.rs`. Writes `bench/REPORT.md`, `bench/report.json` and `bench/plots`; a row that was not measured keeps what it had.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/api/caller.rs"]
mod caller;
#[path = "mod.rs"]
mod calls;
#[path = "../../tests/support/fake_ari.rs"]
mod fake_ari;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/live/harness/mod.rs"]
mod harness;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/api/site.rs"]
mod site;
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
use calls::rows::first_audio::first_audio;
use calls::rows::holds::holds;
use calls::rows::listeners::listeners;
use calls::rows::media::media;
use calls::rows::records::written;
use calls::rows::set_up::{self, Wanted};
use calls::rows::soak::soak;
use calls::rows::swap::swap;
use calls::site::Transport;
use harness::site::Backend;
use harness::{patience, ports, postgres, templates};

const USAGE: &str = "usage: bench [quick | full] [rounds=N] [most=N] [seconds=N] [sites=N] [against=PATH] [ROW...]
       quick: smaller figures of the first few rows in 3 minutes, which are shown only; full: all rows, into bench/REPORT.md
       most: rounds of media, which stops earlier when its figures are certain (20)
       sites: the first so many of SQLite by WebSocket, by HTTP, PostgreSQL by WebSocket, by HTTP
       against: another capconduit (target/release/capconduit of another checkout), on a site of its own; latency says what lies between them
       rows: latency failover cpu ceiling decision records listeners alone swap media first-audio holds soak (an hour: only where it is named)";
/// All rows.
const ROWS: [&str; 13] = [
    "latency",
    "failover",
    "cpu",
    "ceiling",
    "decision",
    "records",
    "listeners",
    "alone",
    "swap",
    "media",
    "first-audio",
    "holds",
    "soak",
];
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
    let number = |name: &str| value(&arguments, name).and_then(|value| value.parse().ok());
    let (rounds, seconds) = if quick { (2, 4) } else { (5, 10) };
    let wanted = Wanted { rounds: number("rounds").unwrap_or(rounds), seconds: number("seconds").unwrap_or(seconds) };
    let most = number("most").unwrap_or(if quick { rounds } else { 20 });
    let by_default = |row: &str| if quick { QUICK.contains(&row) } else { row != "soak" };
    let is_wanted = |row: &&str| if rows.is_empty() { by_default(row) } else { rows.contains(row) };
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
    let (before, others): (Vec<&str>, Vec<&str>) =
        ROWS.iter().filter(|row| is_wanted(row)).partition(|row| ["alone", "holds"].contains(*row));
    for row in before {
        // Before the others' sites are there.
        match row {
            "alone" => keep("08-alone", alone(wanted).await),
            _ => keep("13-holds", holds(wanted)),
        }
    }
    if others.is_empty() {
        return ExitCode::SUCCESS;
    }
    let against = value(&arguments, "against").map(Path::new);
    let against = against.map(|path| path.canonicalize().expect("against=PATH is a file"));
    let mut contest = Contest::start(&ALL[..sites], against.as_deref()).await;
    for row in others {
        let (key, section) = match row {
            "latency" => ("01-latency", set_up::latency(&mut contest, wanted).await),
            "failover" => ("02-failover", failover(&mut contest, wanted).await),
            "cpu" => ("03-cpu", set_up::cpu(&mut contest, wanted).await),
            "ceiling" => ("04-ceiling", ceiling(&mut contest, wanted.rounds.min(3)).await),
            "decision" => ("05-decision", decision(wanted)),
            "records" => ("06-records", written(&mut contest, wanted).await),
            "listeners" => ("07-listeners", listeners(&mut contest, wanted).await),
            "swap" => ("09-swap", swap(&mut contest, wanted).await),
            "media" => ("11-media", media(&mut contest, wanted, most).await),
            "first-audio" => ("12-first-audio", first_audio(&mut contest, wanted).await),
            _ => ("10-soak", soak(&mut contest, if quick { 3 } else { 60 }).await),
        };
        keep(key, section);
    }
    ExitCode::SUCCESS
}

/// What is said of a name.
fn value<'a>(arguments: &'a [String], name: &str) -> Option<&'a str> {
    arguments.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// The rows that are named.
fn named(arguments: &[String]) -> Vec<&str> {
    let is_row = |word: &&str| !["quick", "full"].contains(word) && !word.contains('=');
    arguments.iter().map(String::as_str).filter(is_row).collect()
}
