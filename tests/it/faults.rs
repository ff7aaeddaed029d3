//! Asterisk misbehaves: answers that never come, sockets that break, events out of order.

use std::time::Duration;

use capconduit::clock::Clock;
use capconduit::config::Transport;

use crate::fake_ari::{Behaviour, CallerEnd, Fault};
use crate::on_both_databases;
use crate::site::{DID, Database, READ_LATER, Site, plan};

on_both_databases!(
    a_creation_without_an_answer_dials_nobody_twice,
    a_call_outlives_a_broken_socket,
    an_answer_missed_while_disconnected_is_not_cut,
    callers_are_not_kept_waiting_for_a_node_that_does_not_get_ready,
    a_hang_up_missed_while_disconnected_is_found,
    events_out_of_order_leave_nothing_behind,
    a_half_open_socket_is_left,
);

/// A request that is not answered is given up soon; one that is has time enough.
fn impatient(config: &mut capconduit::config::Config) {
    config.calls.request_timeout = Duration::from_millis(1500);
}

async fn a_creation_without_an_answer_dials_nobody_twice(database: Database) {
    let links = [("north", ""), ("south", "forwarding_priority = 2")];
    let site = Site::start_with(database, &plan("priority", &links), Transport::Auto, impatient).await;
    site.clients(&[("north", Behaviour::answers(2500)), ("south", Behaviour::answers(0))]);
    site.asterisk.fault("channels/create", 1, Fault::SwallowAnswer);
    let call = site.call(DID);
    call.answered().await;
    call.hang_up();
    let record = site.records(1).await.remove(0);
    let answered = record.attempts.iter().filter(|a| a.answered_at.is_some()).count();
    assert_eq!(answered, 1);
    assert_eq!(site.asterisk.stats("north").dialled, 1);
    site.settle().await;
}

async fn a_call_outlives_a_broken_socket(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 1")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.answered().await;
    site.asterisk.drop_sockets();
    site.asterisk.until_filter_sets("capconduit-1", 2).await;
    assert_eq!(call.end(), None, "the parties talk on");
    site.until_ready().await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 486, cause: 17 }, "its permit is still held");
    call.hang_up();
    let records = site.records(2).await;
    assert!(records.iter().any(|r| r.ending == "completed"));
    site.settle().await;
}

async fn a_hang_up_missed_while_disconnected_is_found(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 1")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.answered().await;
    site.asterisk.refuse_connections(true);
    site.asterisk.drop_sockets();
    let gone = Clock::start().now().wall;
    call.hang_up();
    site.asterisk.refuse_connections(false);
    let record = site.records(1).await.remove(0);
    assert_eq!((record.ending.as_str(), record.answered_client_name.as_deref()), ("lost", Some("north")));
    let (after, before) = (record.ended_after.expect("an interval"), record.ended_before.expect("an interval"));
    // The last frame may have been read a moment after it was sent.
    assert!(after - READ_LATER <= gone && gone <= before, "{after} {gone} {before}");
    assert_eq!((record.ended_at, site.total_of("north").await), (after, 1));
    let talked = record.ended_at - record.answered_at.expect("it was answered");
    assert_eq!(record.talk_ms, talked.num_milliseconds());
    site.settle().await;
}

async fn events_out_of_order_leave_nothing_behind(database: Database) {
    let links = [("north", ""), ("south", "forwarding_priority = 2")];
    let site = Site::start(database, &plan("priority", &links)).await;
    site.clients(&[("north", Behaviour::busy()), ("south", Behaviour::answers(5).hanging_up_after(20))]);
    site.asterisk.stasis_start_first(true);
    site.asterisk.reorder_events(true);
    let calls: Vec<_> = (0..20).map(|_| site.call(DID)).collect();
    site.asterisk.reorder_events(false);
    for call in &calls {
        call.ended().await;
    }
    site.records(20).await;
    site.settle().await;
}

async fn a_half_open_socket_is_left(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site.asterisk.freeze_sockets();
    site.asterisk.until_filter_sets("capconduit-1", 2).await;
    site.until_ready().await;
    let call = site.call(DID);
    call.answered().await;
    call.hang_up();
    site.records(1).await;
    site.settle().await;
}

async fn an_answer_missed_while_disconnected_is_not_cut(database: Database) {
    let links = [("north", "total_calls_allowed = 1"), ("south", "forwarding_priority = 2")];
    let site = Site::start(database, &plan("priority", &links)).await;
    site.clients(&[("north", Behaviour::answers(2000)), ("south", Behaviour::answers(0))]);
    let call = site.call(DID);
    call.ringing().await;
    site.asterisk.refuse_connections(true);
    site.asterisk.drop_sockets();
    site.asterisk.until_stats("north", "it answered", |stats| stats.answered == 1).await;
    site.asterisk.refuse_connections(false);
    site.until_ready().await;
    call.answered().await;
    call.hang_up();
    let record = site.records(1).await.remove(0);
    assert_eq!((record.ending.as_str(), record.answered_client_name.as_deref()), ("completed", Some("north")));
    assert_eq!(site.total_of("north").await, 1, "it counts");
    assert_eq!(site.asterisk.stats("south").dialled, 0);
    site.settle().await;
}

async fn callers_are_not_kept_waiting_for_a_node_that_does_not_get_ready(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    // Neither as a list nor one by one.
    site.asterisk.fault("GET channels", 1_000, Fault::Status(500));
    site.asterisk.fault("GET applications", 1_000, Fault::Status(500));
    site.asterisk.drop_sockets();
    site.asterisk.until_filter_sets("capconduit-1", 2).await;
    let call = site.call(DID);
    assert!(matches!(call.ended().await, CallerEnd::Continued { context, .. } if context == "capconduit-fallback"));
    assert_eq!(site.asterisk.stats("north").dialled, 0);
    site.settle().await;
}
