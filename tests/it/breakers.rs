//! Call centres and nodes that fail are left alone for a while, and come back by themselves.

use std::time::Duration;

use capconduit::cdr::record::CallRecord;
use capconduit::config::{Config, Transport};
use capconduit::routing::breaker::Terms;

use crate::fake_ari::{Behaviour, CallerEnd, Fault};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    a_call_centre_that_is_down_is_passed_over_and_comes_back_by_a_probe,
    of_many_calls_at_once_one_probes,
    busy_call_centres_are_offered_every_call,
    the_only_call_centre_is_tried_whatever_happened,
    a_node_that_makes_no_bridges_sends_new_calls_to_the_fallback_until_it_does,
    a_node_that_does_not_answer_in_time_is_left_alone,
);

const FALLBACK: &str = "capconduit-fallback";

/// Who failed is left alone for long enough to see it.
fn brisk(config: &mut Config) {
    let pause = Duration::from_secs(4);
    let terms = Terms { failures: 3, pause, pause_max: pause };
    (config.breaker.client, config.breaker.node) = (terms, terms);
    // Whoever is silent is soon known to be; who is not has time enough.
    config.calls.request_timeout = Duration::from_secs(2);
    config.calls.progress_timeout = Duration::from_secs(2);
}

/// Between calls that are made until something changes.
async fn a_moment() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

async fn site(database: Database, links: &[(&str, &str)]) -> Site {
    Site::start_with(database, &plan("priority", links), Transport::Auto, brisk).await
}

const TWO: [(&str, &str); 2] = [("north", ""), ("south", "forwarding_priority = 2")];

fn tried(record: &CallRecord) -> Vec<&str> {
    record.attempts.iter().map(|attempt| attempt.client_identifier.as_str()).collect()
}

/// The verdict on each link, in the order of the links.
fn verdicts(record: &CallRecord) -> Vec<String> {
    let links = record.trace.as_ref().map(|trace| trace.value()["links"].clone()).expect("a trace");
    let links = links.as_array().expect("links");
    links.iter().map(|link| link["verdict"].as_str().expect("a word").to_owned()).collect()
}

async fn one_call(site: &Site) -> CallerEnd {
    let call = site.call(DID);
    let answered = tokio::select! {
        () = call.answered() => true,
        _ = call.ended() => false,
    };
    if answered {
        call.hang_up();
    }
    call.ended().await
}

async fn a_call_centre_that_is_down_is_passed_over_and_comes_back_by_a_probe(database: Database) {
    let site = site(database, &TWO).await;
    site.clients(&[("north", Behaviour::unavailable()), ("south", Behaviour::answers(0))]);
    for _ in 0..4 {
        one_call(&site).await;
    }
    site.until_metric("capconduit_client_breaker_open{node=\"pbx\",client=\"north\"} 1").await;
    let records = site.records(4).await;
    assert!(records[..3].iter().all(|record| tried(record) == ["north", "south"]));
    assert_eq!(tried(&records[3]), ["south"]);
    assert_eq!(verdicts(&records[3]), ["client_unreachable", "candidate"]);
    site.clients(&[("north", Behaviour::answers(0))]);
    let mut calls = 4;
    while site.asterisk.stats("north").dialled == 0 {
        a_moment().await;
        one_call(&site).await;
        calls += 1;
    }
    site.until_no_metric("capconduit_client_breaker_open{").await;
    one_call(&site).await;
    let records = site.records(calls + 1).await;
    assert_eq!(tried(&records[calls]), ["north"], "it is offered calls as before");
    site.settle().await;
}

async fn of_many_calls_at_once_one_probes(database: Database) {
    let site = site(database, &TWO).await;
    site.clients(&[("north", Behaviour::silent()), ("south", Behaviour::answers(0))]);
    for dialled in 1..=3 {
        one_call(&site).await;
        assert_eq!(site.asterisk.stats("north").dialled, dialled);
    }
    let mut calls = 3;
    while site.asterisk.stats("north").dialled == 3 {
        a_moment().await;
        let burst: Vec<_> = (0..5).map(|_| site.call(DID)).collect();
        for call in &burst {
            call.answered().await;
            call.hang_up();
        }
        calls += burst.len();
    }
    assert_eq!(site.asterisk.stats("north").dialled, 4, "one of them tried it");
    assert_eq!(site.asterisk.stats("north").max_live, 1);
    site.records(calls).await;
    site.settle().await;
}

async fn busy_call_centres_are_offered_every_call(database: Database) {
    let three = [("north", ""), ("east", "forwarding_priority = 2"), ("south", "forwarding_priority = 3")];
    let site = site(database, &three).await;
    let rings_in_vain = Behaviour::rings_then_refuses(10, 19, 480);
    site.clients(&[("north", Behaviour::busy()), ("east", rings_in_vain), ("south", Behaviour::answers(0))]);
    for _ in 0..8 {
        one_call(&site).await;
    }
    for record in site.records(8).await {
        assert_eq!(tried(&record), ["north", "east", "south"]);
    }
    site.settle().await;
}

async fn the_only_call_centre_is_tried_whatever_happened(database: Database) {
    let site = site(database, &[("north", "")]).await;
    site.clients(&[("north", Behaviour::congestion())]);
    for _ in 0..6 {
        assert_eq!(one_call(&site).await, CallerEnd::Ended { sip: 480, cause: 19 });
    }
    let records = site.records(6).await;
    assert!(records.iter().all(|record| tried(record) == ["north"]));
    assert_eq!(verdicts(&records[5]), ["client_unreachable"]);
    site.clients(&[("north", Behaviour::answers(0))]);
    assert_eq!(one_call(&site).await, CallerEnd::HungUp, "and the first that gets through closes the breaker");
    site.until_no_metric("capconduit_client_breaker_open{").await;
    site.records(7).await;
    site.settle().await;
}

async fn a_node_that_makes_no_bridges_sends_new_calls_to_the_fallback_until_it_does(database: Database) {
    // Its pauses are looked at from outside, which takes time.
    let unhurried = |config: &mut Config| {
        brisk(config);
        config.breaker.node.pause = Duration::from_secs(10);
        config.breaker.node.pause_max = Duration::from_secs(10);
    };
    let site = Site::start_with(database, &plan("priority", &[("north", "")]), Transport::Auto, unhurried).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let running = site.call(DID);
    running.answered().await;
    running.joined().await;
    site.asterisk.fault("POST bridges/br-", 1_000, Fault::Status(500));
    let mut failed = 0;
    let fallback = loop {
        match site.call(DID).ended().await {
            CallerEnd::Ended { sip: 503, .. } => failed += 1,
            other => break other,
        }
    };
    assert!(matches!(fallback, CallerEnd::Continued { context, .. } if context == FALLBACK));
    // A bridge that cannot be made and a channel that cannot be put into it are of two kinds; a leg is put into it when it is in time.
    assert!((2..=3).contains(&failed), "{failed}");
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat == "0").await;
    site.until_metric("capconduit_node_breaker_open{node=\"pbx\"} 1").await;
    assert!(!site.is_ready().await);
    assert_eq!(running.end(), None, "running calls go on");
    // Nobody calls: once the pause is over nothing says that it fails, and the next one who calls shows that it does.
    site.until_ready().await;
    site.until_metric("capconduit_node_breaker_open{node=\"pbx\"} 0").await;
    assert!(matches!(site.call(DID).ended().await, CallerEnd::Ended { sip: 503, .. }));
    failed += 1;
    site.until_metric("capconduit_node_breaker_open{node=\"pbx\"} 1").await;
    assert!(!site.is_ready().await);
    site.asterisk.mend();
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
    let trial = site.call(DID);
    trial.answered().await;
    site.until_metric("capconduit_node_breaker_open{node=\"pbx\"} 0").await;
    site.until_ready().await;
    trial.hang_up();
    running.hang_up();
    site.records(failed + 2).await;
    site.settle().await;
}

async fn a_node_that_does_not_answer_in_time_is_left_alone(database: Database) {
    let site = site(database, &[("north", "")]).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site.asterisk.fault("channels/create", 1_000, Fault::Ignore);
    let mut failed = 0;
    let fallback = loop {
        match site.call(DID).ended().await {
            CallerEnd::Ended { .. } => failed += 1,
            other => break other,
        }
    };
    assert!(matches!(fallback, CallerEnd::Continued { context, .. } if context == FALLBACK));
    assert!((3..=4).contains(&failed), "{failed}: one more may begin before the third deadline passes");
    site.asterisk.mend();
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat == "0").await;
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
    assert_eq!(one_call(&site).await, CallerEnd::HungUp);
    site.until_ready().await;
    site.records(failed + 1).await;
    site.settle().await;
}
