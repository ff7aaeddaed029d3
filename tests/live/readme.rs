//! README's "A seller's first five minutes" is true: its lines, run as they stand by a shell, lead to a real call and to its record.

use std::process::Output;

use serde_json::json;
use tokio::process::Command;

use crate::harness::person::{ADMIN_PASSWORD, Person};
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};

crate::on_both!(a_sellers_first_five_minutes);

const README: &str = include_str!("../../README.md");
const FIRST: &str = "what the admin has given";
const OWN: &str = "what the seller has chosen";
/// Hands what the first block found out to the second one.
const KEEP: &str = "\ndeclare -p api key campaign link did client > variables\ndeclare -f cc >> variables\n";

async fn a_sellers_first_five_minutes(backend: Backend) {
    let preparation = Preparation::new(backend);
    let alpha = preparation.centre("alpha", centre::answer()).await;
    let site = preparation.start_empty().await;
    let admin = Person::log_in(site.controller.api(), "admin", ADMIN_PASSWORD).await;
    let user = json!({ "username": "acme", "name": "Acme Leads", "role": "seller", "password": FIRST });
    admin.make("/users", user).await;
    let sip = json!({ "host": alpha.ip, "port": alpha.port });
    admin.make("/clients", json!({ "client_identifier": "alpha", "name": "Alpha Centre", "sip": sip })).await;

    let (before, after) = (block("# 1. The first password"), block("# 6. What became of it"));
    let api = format!("api='http://{}/api/v1' user=acme first='{FIRST}' password='{OWN}'\n", site.controller.api());
    let said = shell(&site, &format!("{api}{before}{KEEP}")).await;
    assert!(said.contains("Alpha Centre  active"), "the clients that may be linked are listed: {said}");
    assert!(said.contains("link_paused"), "readiness says why no call would be taken: {said}");

    let call = site.call("walk", &carrier::call().set("did", "+442079460123").set("talk_ms", 1200)).await;
    assert_eq!(call.outcome(), Some(200));
    site.idle().await;
    site.record(&call).await;

    let said = shell(&site, &format!(". ./variables\n{after}")).await;
    assert!(said.contains("\"ending\": \"completed\""), "the record: {said}");
    assert!(said.contains("Solar UK"), "the summary: {said}");
    site.finish().await;
}

/// The shell block of README.md that holds a line.
fn block(line: &str) -> &'static str {
    let holds = |block: &&str| block.contains(line);
    README.split("```").filter_map(|part| part.strip_prefix("sh\n")).find(holds).expect("README has the block")
}

/// What a script says; it must not fail anywhere.
async fn shell(site: &Site, script: &str) -> String {
    let ran = Command::new("bash").args(["-euo", "pipefail", "-c", script]).current_dir(site.folder()).output().await;
    let Output { status, stdout, stderr } = ran.expect("bash runs");
    let (said, complained) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
    assert!(status.success() && complained.is_empty(), "{status}: {complained}\n{said}");
    said
}
