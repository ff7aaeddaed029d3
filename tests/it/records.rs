//! What a record holds.

use capconduit::cdr::record::{DialStatus, HungUpBy, Presentation};

use crate::fake_ari::Behaviour;
use crate::on_both_databases;
use crate::site::{APP, DID, Database, Site, plan};

on_both_databases!(an_answered_call, a_caller_who_gives_up, a_withheld_caller, twice_the_events_make_one_record);

async fn an_answered_call(database: Database) {
    let site = Site::start(database, &plan("round_robin", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(50).hanging_up_after(100))]);
    let call = site.call(DID);
    call.ended().await;
    let record = site.records(1).await.remove(0);
    assert_eq!(record.uniqueid, call.id());
    assert_eq!((record.node.as_str(), record.linkedid == record.uniqueid), ("pbx", true));
    assert_eq!((record.dialled_raw.as_str(), record.dialled_number.as_deref()), (DID, Some(DID)));
    assert_eq!(record.caller_number.as_deref(), Some("+447700900123"));
    assert_eq!(record.seller_name.as_deref(), Some("Acme"));
    assert_eq!(record.campaign_name.as_deref(), Some("Solar"));
    assert_eq!((record.dialstatus, record.hung_up_by), (DialStatus::Answer, HungUpBy::Client));
    assert_eq!(record.last_link_id, record.answered_link_id);
    let answered = record.answered_at.expect("answered");
    assert!(record.arrived_at <= answered && answered <= record.ended_at);
    assert!((record.talk_ms - (record.ended_at - answered).num_milliseconds()).abs() <= 1, "times and durations agree");
    assert!(record.attempts[0].counted);
    let trace = record.trace.as_ref().expect("a trace").value();
    assert_eq!((&trace["strategy"], &trace["links"][0]["identifier"]), (&"round_robin".into(), &"north".into()));
    let events: Vec<serde_json::Value> = record.timeline.read().expect("a timeline");
    assert_eq!(events[0]["event"], "arrived");
    assert_eq!(site.total_of("north").await, 1);
    site.settle().await;
}

async fn a_caller_who_gives_up(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::no_answer())]);
    let call = site.call(DID);
    call.ringing().await;
    call.hang_up();
    let record = site.records(1).await.remove(0);
    assert_eq!((record.ending.as_str(), record.dialstatus), ("caller_cancelled", DialStatus::Cancel));
    assert_eq!((record.sip_code, record.hung_up_by), (Some(487), HungUpBy::Caller));
    assert!(record.answered_at.is_none() && record.ringing_at.is_some());
    assert_eq!(site.total_of("north").await, 0);
    site.settle().await;
}

async fn a_withheld_caller(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0).hanging_up_after(10))]);
    let args = ["inbound", "prohib_passed_screen", ""];
    site.asterisk.incoming_with(APP, DID, "+447700900123", &args).ended().await;
    let record = site.records(1).await.remove(0);
    assert_eq!(record.caller_presentation, Presentation::Withheld);
    assert_eq!((record.caller_raw, record.caller_number, record.caller_name), (None, None, None));
    site.settle().await;
}

async fn twice_the_events_make_one_record(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "total_calls_allowed = 10")])).await;
    site.clients(&[("north", Behaviour::answers(10).hanging_up_after(30))]);
    site.asterisk.duplicate_events(true);
    for _ in 0..5 {
        site.call(DID).ended().await;
    }
    site.records(5).await;
    assert_eq!(site.total_of("north").await, 5);
    assert_eq!(site.asterisk.stats("north").dialled, 5);
    site.settle().await;
}
