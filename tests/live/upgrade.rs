//! The controller is stopped and started again while calls come: the next process goes on with everything, and nobody is refused. Where none
//! comes, the fallback takes whoever is not answered.

use std::collections::BTreeSet;

use crate::harness::plan::Plan;
use crate::harness::record::Record;
use crate::harness::sipp::{FOREVER_MS, Sipp, carrier, centre};
use crate::harness::site::{Backend, Preparation, Site};
use crate::harness::trace::Dialog;
use crate::harness::{LIMIT, until};

crate::on_both!(
    three_restarts_refuse_nobody_and_drop_nobody,
    where_nobody_comes_the_fallback_takes_whoever_is_not_answered,
    an_older_dialplan_falls_back_meanwhile,
    a_site_may_hold_nobody,
);

const DID: &str = "+442079460001";
/// How many calls come over three restarts. `just upgrade`: 600.
const CALLS: &str = "CAPCONDUIT_UPGRADE_CALLS";

async fn site_of(preparation: Preparation, ring_ms: u32, link: &str) -> (Site, Sipp) {
    let alpha = preparation.centre("alpha", centre::answer().set("ring_ms", ring_ms)).await;
    let plan = Plan::new()
        .client("alpha", &alpha, ("", ""))
        .campaign("Solar", DID, "dial_timeout_seconds = 60")
        .link("alpha", link);
    (preparation.start(&plan).await, alpha)
}

/// A site whose dialplan holds calls for so many seconds: longer than a slow machine takes to start a process, or a caller.
fn holding(backend: Backend, seconds: u32) -> Preparation {
    let (from, to) = ("CAPCONDUIT_HOLD_SECONDS = 3\n", format!("CAPCONDUIT_HOLD_SECONDS = {seconds}\n"));
    let dialplan = include_str!("../../asterisk/etc/extensions.conf");
    assert_eq!(dialplan.matches(from).count(), 1);
    Preparation::new(backend).asterisk_file("extensions.conf", &dialplan.replace(from, &to))
}

async fn stop(site: &mut Site) {
    site.controller.process().signal("TERM");
    assert_eq!(site.controller.process().wait(LIMIT).await, Some(0), "{}", site.controller.log());
}

/// From the INVITE to its 200, in milliseconds.
fn set_up(call: &Dialog) -> i64 {
    let answer = call.find(false, |message| message.status("INVITE") == Some(200)).expect("it is answered");
    (answer.at - call.invite().at).num_milliseconds()
}

async fn three_restarts_refuse_nobody_and_drop_nobody(backend: Backend) {
    let calls = std::env::var(CALLS).map_or(60, |text| text.parse().expect("a number"));
    let (mut site, _alpha) = site_of(holding(backend, 120), 100, "max_concurrency = 40").await;
    let mut talks = site.begin("talks", &carrier::call().set("did", DID).set("talk_ms", FOREVER_MS), 3, 3);
    talks.reach("they talk", |calls| calls.iter().filter(|call| call.answered()).count() == 3).await;
    let mut short = site.begin("short", &carrier::call().set("did", DID).set("talk_ms", 400), calls, 5);
    for nth in 1..=3 {
        let so_many = usize::try_from(calls).expect("some hundreds") * nth / 4;
        short.reach("some calls came", |calls| calls.len() >= so_many).await;
        stop(&mut site).await;
        site.controller.serve(&site.nodes).await;
    }
    let short = short.finish(LIMIT).await;
    let refused: Vec<_> = short.iter().filter(|call| call.outcome() != Some(200)).map(Dialog::statuses).collect();
    assert_eq!((short.len(), refused), (usize::try_from(calls).expect("some hundreds"), vec![]), "nobody is refused");
    assert!(short.iter().all(|call| call.hung_up_here() == Some(true)), "nobody is dropped");
    println!("upgrade | {calls} calls, 3 restarts | longest set-up {} ms", short.iter().map(set_up).max().unwrap_or(0));
    talks.go_on().await;
    let talks = talks.finish(LIMIT).await;
    assert!(talks.iter().all(|call| call.hung_up_here() == Some(true)), "talks go on");
    let records = site.records(short.len() + 3).await;
    // One that ended while nobody was there is lost.
    let ending = |record: &Record| record.text("ending").to_owned();
    assert!(records.iter().all(|record| ["completed", "lost"].contains(&ending(record).as_str())), "{records:?}");
    let ids: BTreeSet<&str> = talks.iter().map(|call| call.call_id.as_str()).collect();
    let whole = |record: &&Record| record.0["sip_call_id"].as_str().is_some_and(|id| ids.contains(id));
    let endings: Vec<&str> = records.iter().filter(whole).map(|record| record.text("ending")).collect();
    assert_eq!(endings, ["completed"; 3], "who talked all the while");
    site.finish().await;
}

async fn ringing(site: &Site, name: &str) -> Sipp {
    let mut caller = site.begin(name, &carrier::call().set("did", DID), 1, 1);
    caller.reach("it rings", |calls| calls.iter().any(|call| call.statuses().contains(&180))).await;
    caller
}

async fn where_nobody_comes_the_fallback_takes_whoever_is_not_answered(backend: Backend) {
    let preparation = holding(backend, 15);
    let (mut site, alpha) = site_of(preparation, FOREVER_MS, "").await;
    let dialled = ringing(&site, "dialled").await;
    until("the client rings", || alpha.trace.dialogs().iter().any(|call| call.statuses().contains(&180))).await;
    stop(&mut site).await;
    // One that comes just after it is held, and then falls back, as does the one for whom the client rings.
    let held = site.call("held", &carrier::call().set("did", DID)).await;
    assert_eq!((held.outcome(), held.statuses()), (Some(503), vec![100, 180, 503]), "held for a moment");
    assert_eq!(dialled.finish(LIMIT).await.remove(0).outcome(), Some(503));
    let late = site.call("late", &carrier::call().set("did", DID)).await;
    assert_eq!(late.statuses(), [100, 503], "nobody is held any more");
    site.controller.serve(&site.nodes).await;
    site.records(3).await;
    site.finish().await;
}

/// Version 2 holds nobody: who comes meanwhile is refused, as before. Whoever is dialled for is the next process's all the same.
async fn an_older_dialplan_falls_back_meanwhile(backend: Backend) {
    let preparation = Preparation::new(backend).asterisk_file("extensions.conf", include_str!("dialplans/2.conf"));
    let (mut site, alpha) = site_of(preparation, FOREVER_MS, "").await;
    let mut dialled = ringing(&site, "dialled").await;
    stop(&mut site).await;
    let refused = site.call("refused", &carrier::call().set("did", DID)).await;
    assert_eq!(refused.statuses(), [100, 503]);
    site.controller.serve(&site.nodes).await;
    until("it is dialled anew", || alpha.trace.dialogs().len() == 2).await;
    alpha.go_on().await;
    dialled.reach("it is answered", |calls| calls.iter().any(|call| call.answered())).await;
    assert_eq!(dialled.finish(LIMIT).await.remove(0).hung_up_here(), Some(true));
    site.finish().await;
}

/// Where the dialplan is told to hold nobody.
async fn a_site_may_hold_nobody(backend: Backend) {
    let (mut site, _alpha) = site_of(Preparation::new(backend), 100, "").await;
    site.nodes[0].set("CAPCONDUIT_HOLD_SECONDS", "0").await;
    stop(&mut site).await;
    let refused = site.call("refused", &carrier::call().set("did", DID)).await;
    assert_eq!(refused.outcome(), Some(503));
    site.controller.serve(&site.nodes).await;
    site.finish().await;
}
