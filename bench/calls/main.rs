//! `just bench`: see `mod.rs`. Writes `bench/REPORT.md` and `bench/report.json`; a row that was not measured keeps what it had.

#![allow(clippy::print_stdout, reason = "the report is what it is for")]

#[path = "mod.rs"]
mod calls;
#[allow(dead_code, reason = "the tests use all of it")]
#[path = "../../tests/live/harness/mod.rs"]
mod harness;

use std::path::Path;
use std::process::ExitCode;

use calls::contest::Contest;
use calls::report::{Report, Section};
use calls::rows::ceiling::ceiling;
use calls::rows::failover::failover;
use calls::rows::set_up::{self, Wanted};
use calls::site::{Backend, Transport};

const USAGE: &str = "usage: bench [quick | full] [ROW...]    rows: latency cpu failover ceiling (all)";

/// Every way of reaching Asterisk.
const ALL: [(Backend, Transport); 4] = [
    (Backend::Sqlite, Transport::Websocket),
    (Backend::Sqlite, Transport::Http),
    (Backend::Postgres, Transport::Websocket),
    (Backend::Postgres, Transport::Http),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.first().is_some_and(|word| word == "quick");
    let rows: Vec<&str> =
        arguments.iter().map(String::as_str).filter(|word| !["quick", "full"].contains(word)).collect();
    if rows.iter().any(|row| !["latency", "cpu", "failover", "ceiling"].contains(row)) {
        println!("{USAGE}");
        return ExitCode::FAILURE;
    }
    let wanted = if quick { Wanted { rounds: 2, seconds: 4 } } else { Wanted { rounds: 5, seconds: 10 } };
    let is_wanted = |row: &str| rows.is_empty() || rows.contains(&row);
    let mut contest = Contest::start(if quick { &ALL[..2] } else { &ALL }).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench");
    let mut report = Report::read(&folder);
    let mut keep = |key: &str, section: Section| {
        println!("{}", section.markdown());
        if !quick {
            report.put(key, section);
            report.write(&folder).expect("bench/ can be written");
        }
    };
    if is_wanted("latency") {
        keep("1-latency", set_up::latency(&mut contest, wanted).await);
    }
    if is_wanted("failover") {
        keep("2-failover", failover(&mut contest, wanted).await);
    }
    if is_wanted("cpu") {
        keep("3-cpu", set_up::cpu(&mut contest, wanted).await);
    }
    if is_wanted("ceiling") {
        keep("4-ceiling", ceiling(&mut contest, if quick { 1 } else { 3 }).await);
    }
    ExitCode::SUCCESS
}
