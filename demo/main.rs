//! `just demo`: about twenty real calls through a real Asterisk and the real controller, and what became of them.
//!
//! It is the live tests' harness with a plan that a person can read (`plan.toml`) and words around it. Its last line is
//! counted from sipp's own logs against the database.

#![allow(clippy::print_stdout, reason = "what the demo says is what it is for")]

#[path = "../tests/live/harness/mod.rs"]
#[allow(dead_code, reason = "the demo uses a part of the tests' harness")]
mod harness;
mod setup;
mod steps;

use std::process::ExitCode;

use harness::record::Record;
use harness::sipp::Sipp;
use harness::site::{Backend, Preparation, Site};
use harness::trace::Dialog;
use harness::until;

/// Who is there and where calls go, in the form that `capconduit apply` takes too.
const PLAN: &str = include_str!("plan.toml");

/// The call centres of the plan, and how many calls each may have at once (`None`: as many as come).
const CAPS: &[(&str, Option<usize>)] = &[
    ("alpha", Some(1)),
    ("beta", None),
    ("gamma", None),
    ("delta", Some(2)),
    ("busy", None),
    ("asleep", None),
    ("brief", None),
];

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let stay = std::env::args().any(|argument| argument == "--stay");
    println!("CapConduit demo: a real Asterisk, the real controller, and sipp as call centres and carrier.\n");
    println!("  starting    Asterisk, the controller (SQLite) and {} call centres", CAPS.len());
    if let Err(text) = steps::addresses_free() {
        println!("\n{text}");
        return ExitCode::FAILURE;
    }
    let mut preparation = Preparation::new(Backend::Sqlite);
    if stay {
        preparation = preparation.carrier("127.0.0.1");
    }
    let centres = steps::centres(&preparation).await;
    let site = preparation.start_empty().await;
    setup::set_up(&site.controller, PLAN).await;
    println!("  calling     the carrier's calls, and where they went:\n");
    let calls = place_calls(&site, &centres).await;
    let as_expected = report(&site, &centres, &calls).await;
    if stay {
        wait_for_callers(&site).await;
    }
    if as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Places the calls of every step and prints a line for each; returns the carrier's view of all calls.
async fn place_calls(site: &Site, centres: &[(&str, Sipp)]) -> Vec<Dialog> {
    println!("  {:<58} {:<17} call centres dialled", "what", "carrier was told");
    let mut all = Vec::new();
    for (n, step) in steps::STEPS.iter().enumerate() {
        let before: Vec<usize> = centres.iter().map(|(_, centre)| centre.trace.dialogs().len()).collect();
        let calls = site
            .begin(&format!("step-{n}"), &(step.scenario)(), step.calls, step.per_second)
            .finish(harness::LIMIT)
            .await;
        site.idle().await;
        let told =
            tally(calls.iter().map(|call| call.outcome().map_or("nothing".to_owned(), |status| status.to_string())));
        let dialled = centres.iter().zip(before).flat_map(|((name, centre), before)| {
            let new = centre.trace.dialogs().len() - before;
            std::iter::repeat_n((*name).to_owned(), new)
        });
        let dialled = tally(dialled);
        let surprise = if told == step.told { "" } else { "   <- not as expected" };
        println!("  {:<58} {told:<17} {}{surprise}", step.what, if dialled.is_empty() { "none" } else { &dialled });
        all.extend(calls);
    }
    all
}

/// `2 x 200, 1 x 486`: how often each word comes, in the order of the words.
fn tally(words: impl Iterator<Item = String>) -> String {
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for word in words {
        *counts.entry(word).or_default() += 1;
    }
    let parts: Vec<String> =
        counts.iter().map(|(word, n)| if *n == 1 { word.clone() } else { format!("{n} x {word}") }).collect();
    parts.join(", ")
}

/// Prints the records and the last line; says whether sipp and the database agree, and no cap was exceeded.
async fn report(site: &Site, centres: &[(&str, Sipp)], calls: &[Dialog]) -> bool {
    until("every call centre has seen its calls end", || {
        centres.iter().all(|(_, centre)| centre.trace.dialogs().iter().all(|leg| leg.ended_at().is_some()))
    })
    .await;
    let records = site.records(calls.len()).await;
    println!("\n  recorded    capconduit calls\n");
    print_indented(&site.controller.run(&["calls"]).await);
    if let Some(failed_over) = records.iter().find(|record| record.attempts().len() > 1) {
        let call_id = failed_over.text("call_id");
        println!("\n  explained   capconduit why {call_id}\n");
        print_indented(&site.controller.run(&["why", call_id]).await);
    }
    let recorded = calls.iter().filter(|call| records.iter().any(|record| agree(call, record))).count();
    let exceeded = CAPS
        .iter()
        .zip(centres)
        .filter(|((_, cap), (_, centre))| cap.is_some_and(|cap| centre.trace.most_at_once() > cap));
    let exceeded = exceeded.count();
    println!("\n{} calls, {recorded} records, {exceeded} caps exceeded", calls.len());
    recorded == calls.len() && exceeded == 0
}

/// Whether a record tells of a call what the carrier saw of it.
fn agree(call: &Dialog, record: &Record) -> bool {
    record.text("sip_call_id") == call.call_id && record.number("sip_code") == call.outcome().map(i64::from)
}

fn print_indented(text: &str) {
    for line in text.lines() {
        println!("{}", format!("  {line}").trim_end());
    }
}

/// Says how to call the site, and stays until Ctrl-C.
async fn wait_for_callers(site: &Site) {
    let sip = &site.nodes[0].sip;
    println!("\nThe site stays up. Call it with a softphone on this machine (UDP, no registration, PCMU or PCMA):\n");
    for step in steps::NUMBERS {
        println!("  sip:{}@{sip}    {}", step.0, step.1);
    }
    println!("\n  API: http://{}/docs", site.controller.api());
    println!(
        "  Log in as admin with \"{}\", as the seller acme with \"{}\".",
        harness::person::ADMIN_PASSWORD,
        setup::SELLER_PASSWORD
    );
    println!("\n  You hear your own echo when a call centre answers.");
    println!("  In {}: `capconduit calls`, `capconduit why CALL`", site.folder().display());
    println!("  Ctrl-C ends everything.");
    if let Err(error) = tokio::signal::ctrl_c().await {
        println!("cannot wait for Ctrl-C: {error}");
    }
}
