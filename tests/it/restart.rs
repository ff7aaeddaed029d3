//! The controller stops, dies and starts again while calls are up.

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    a_talking_call_is_adopted_with_its_permit,
    a_ringing_call_goes_on_where_it_stood,
    a_talk_that_ended_meanwhile_is_lost_and_counts,
    a_caller_who_gave_up_meanwhile_has_a_record,
    a_stop_lets_calls_end,
    a_drain_takes_no_new_calls
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

async fn a_stop_lets_calls_end(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0).hanging_up_after(300))]);
    let call = site.call(DID);
    call.answered().await;
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HEARTBEAT").as_deref(), Some("0"));
    assert!(matches!(call.end(), Some(CallerEnd::Ended { sip: 200, .. })), "{:?}", call.end());
    assert_eq!(site.records(1).await[0].ending, "completed");
    site.asterisk.until_empty().await;
}

async fn a_drain_takes_no_new_calls(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let running = site.call(DID);
    running.answered().await;
    site.ask_to_stop();
    site.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat == "0").await;
    // Connecting again compares with Asterisk's lists, which must not make the node ready again.
    site.asterisk.drop_sockets();
    site.asterisk.until_filter_sets("capconduit-1", 2).await;
    site.asterisk.until_listed(2).await;
    let late = site.call(DID);
    let fallback =
        CallerEnd::Continued { context: "capconduit-fallback".into(), exten: "draining".into(), priority: "1".into() };
    assert_eq!(late.ended().await, fallback);
    running.hang_up();
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HEARTBEAT").as_deref(), Some("0"));
    let records = site.records(1).await;
    assert_eq!((records[0].uniqueid.as_str(), records[0].ending.as_str()), (running.id(), "completed"));
    assert_eq!(site.asterisk.stats("north").dialled, 1);
    site.asterisk.until_empty().await;
}
