//! The controller stops, dies and starts again while calls are up.

use std::time::Duration;

use capconduit::config::Transport;

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    a_talking_call_is_adopted_with_its_permit,
    a_ringing_call_goes_on_where_it_stood,
    a_talk_that_ended_meanwhile_is_lost_and_counts,
    a_caller_who_gave_up_meanwhile_has_a_record,
    a_stop_leaves_talks_to_the_next_start,
    a_stop_without_a_dialplan_that_holds_sends_callers_to_the_fallback,
    a_drained_node_takes_no_new_calls
);

async fn a_talking_call_is_adopted_with_its_permit(database: Database) {
    let caps = "max_concurrency = 1\ntotal_calls_allowed = 2";
    let mut site = Site::start(database, &plan("priority", &[("north", caps)])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.answered().await;
    site.kill().await;
    assert_eq!(call.end(), None, "the parties talk on");
    site.run().await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 486, cause: 17 }, "its cap is known again");
    call.hang_up();
    let records = site.records(2).await;
    let adopted = records.iter().find(|r| r.uniqueid == call.id()).expect("the adopted call's record");
    assert_eq!((adopted.ending.as_str(), adopted.answered_client_name.as_deref()), ("completed", Some("north")));
    assert!(adopted.trace.is_some(), "why it went there is known still");
    let lines: Vec<serde_json::Value> = adopted.timeline.read().expect("a timeline");
    let events: Vec<&str> = lines.iter().filter_map(|it| it["event"].as_str()).collect();
    assert_eq!(events[0], "arrived");
    assert!(events.iter().any(|event| event.starts_with("adopted")), "{events:?}");
    assert_eq!(site.total_of("north").await, 1);
    site.settle().await;
}

async fn a_ringing_call_goes_on_where_it_stood(database: Database) {
    let links = [("south", "max_concurrency = 1"), ("north", "max_concurrency = 1\nforwarding_priority = 2")];
    let mut site = Site::start(database, &plan("priority", &links)).await;
    site.clients(&[("north", Behaviour::no_answer()), ("south", Behaviour::busy())]);
    let call = site.call(DID);
    call.ringing().await;
    site.kill().await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site.run().await;
    call.answered().await;
    call.hang_up();
    assert_eq!(site.asterisk.stats("north").max_live, 1, "its old leg held the slot until it was gone");
    let record = site.records(1).await.remove(0);
    assert_eq!((record.uniqueid.as_str(), record.ending.as_str()), (call.id(), "completed"));
    let attempts: Vec<_> = record.attempts.iter().map(|it| (it.client_name.as_str(), it.outcome.as_str())).collect();
    assert_eq!(
        attempts,
        [("south", "busy"), ("north", "unknown"), ("north", "answered")],
        "who was busy is not asked again"
    );
    assert_eq!(record.attempts.iter().map(|it| it.counted).collect::<Vec<_>>(), [false, false, true]);
    assert!(record.trace.is_some() && record.ringing_at < record.answered_at);
    site.settle().await;
}

async fn a_talk_that_ended_meanwhile_is_lost_and_counts(database: Database) {
    let caps = "max_concurrency = 1\ntotal_calls_allowed = 1";
    let mut site = Site::start(database, &plan("priority", &[("north", caps)])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.answered().await;
    // The controller has seen it, too: it asks for the longest duration of a talk.
    site.asterisk.until_request(&format!("channels/{}/variable", call.id())).await;
    site.kill().await;
    call.hang_up();
    site.run().await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 486, cause: 17 }, "its total is used up");
    let records = site.records(2).await;
    let lost = records.iter().find(|record| record.uniqueid == call.id()).expect("a record");
    assert_eq!((lost.ending.as_str(), lost.dialstatus.as_str()), ("lost", "ANSWER"));
    let (after, before) = (lost.ended_after.expect("an interval"), lost.ended_before.expect("an interval"));
    assert!(lost.answered_at.is_some_and(|at| at <= after) && after <= before);
    assert_eq!(lost.ended_at, after);
    assert!(lost.attempts[0].counted);
    assert_eq!(site.total_of("north").await, 1);
    site.settle().await;
}

async fn a_caller_who_gave_up_meanwhile_has_a_record(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 1")])).await;
    site.clients(&[("north", Behaviour::no_answer())]);
    let call = site.call(DID);
    call.ringing().await;
    site.kill().await;
    call.hang_up();
    site.run().await;
    let record = site.records(1).await.remove(0);
    assert_eq!((record.uniqueid.as_str(), record.ending.as_str()), (call.id(), "lost"));
    assert_eq!(record.attempts[0].outcome.as_str(), "unknown");
    site.clients(&[("north", Behaviour::answers(0).hanging_up_after(50))]);
    assert!(matches!(site.call(DID).ended().await, CallerEnd::Ended { sip: 200, .. }), "the slot is free again");
    site.settle().await;
}

async fn a_stop_leaves_talks_to_the_next_start(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.answered().await;
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HEARTBEAT").as_deref(), Some("0"));
    let handed_over = site.asterisk.global("CAPCONDUIT_HANDOVER");
    assert!(handed_over.is_some_and(|epoch| epoch.parse::<f64>().is_ok_and(|at| at > 1.0)), "who comes now is held");
    assert_eq!(call.end(), None, "the parties talk on");
    site.run().await;
    call.hang_up();
    assert_eq!(site.records(1).await[0].ending, "completed");
    site.settle().await;
}

async fn a_stop_without_a_dialplan_that_holds_sends_callers_to_the_fallback(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.asterisk.set_global("CAPCONDUIT_HOLD_SECONDS", "0");
    site.kill().await;
    site.run().await;
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HANDOVER").as_deref(), Some("0"), "nobody is held");
    site.run().await;
    site.settle().await;
}

/// The mark in the node empties it, whoever has set it; it outlives the controller.
async fn a_drained_node_takes_no_new_calls(database: Database) {
    let quickly = |config: &mut capconduit::config::Config| config.calls.drain = Duration::from_secs(1);
    let mut site = Site::start_with(database, &plan("priority", &[("north", "")]), Transport::Auto, quickly).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let running = site.call(DID);
    running.answered().await;
    site.clients(&[("north", Behaviour::no_answer())]);
    let ringing = site.call(DID);
    ringing.ringing().await;
    site.asterisk.set_global("CAPCONDUIT_DRAINED", "1796066891");
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat == "0").await;
    let fallback =
        CallerEnd::Continued { context: "capconduit-fallback".into(), exten: "drained".into(), priority: "1".into() };
    assert_eq!(site.call(DID).ended().await, fallback);
    assert!(!site.is_ready().await, "its only node takes no calls");
    assert_eq!(ringing.ended().await, CallerEnd::Ended { sip: 503, cause: 34 }, "its time is over");
    assert_eq!(running.end(), None, "talks go on");

    // Neither connecting again nor another process makes it take calls.
    site.asterisk.drop_sockets();
    site.asterisk.until_filter_sets("capconduit-1", 2).await;
    site.asterisk.until_asked_for("CAPCONDUIT_DRAINED", 2).await;
    assert_eq!(site.call(DID).ended().await, fallback);
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HANDOVER").as_deref(), Some("0"), "nobody is held for it");
    site.launch();
    site.asterisk.until_asked_for("CAPCONDUIT_DRAINED", 2).await;
    assert_eq!(site.call(DID).ended().await, fallback);
    assert_eq!(site.asterisk.global("CAPCONDUIT_HEARTBEAT").as_deref(), Some("0"));

    site.asterisk.set_global("CAPCONDUIT_DRAINED", "0");
    site.until_ready().await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let after = site.call(DID);
    after.answered().await;
    after.hang_up();
    running.hang_up();
    let mut endings: Vec<_> = site.records(3).await.into_iter().map(|record| record.ending).collect();
    endings.sort();
    assert_eq!(endings, ["completed", "completed", "overloaded"]);
    site.settle().await;
}
