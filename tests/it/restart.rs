//! The controller stops, dies and starts again while calls are up.

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    a_talking_call_is_adopted_with_its_permit,
    a_ringing_call_is_routed_anew,
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
    assert_eq!(site.total_of("north").await, 1);
    site.settle().await;
}

async fn a_ringing_call_is_routed_anew(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 1")])).await;
    site.clients(&[("north", Behaviour::no_answer())]);
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
    let late = site.call(DID);
    let fallback =
        CallerEnd::Continued { context: "capconduit-fallback".into(), exten: "s".into(), priority: "1".into() };
    assert_eq!(late.ended().await, fallback);
    running.hang_up();
    site.stop().await;
    assert_eq!(site.asterisk.global("CAPCONDUIT_HEARTBEAT").as_deref(), Some("0"));
    let records = site.records(1).await;
    assert_eq!((records[0].uniqueid.as_str(), records[0].ending.as_str()), (running.id(), "completed"));
    assert_eq!(site.asterisk.stats("north").dialled, 1);
    site.asterisk.until_empty().await;
}
