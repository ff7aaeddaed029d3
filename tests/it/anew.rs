//! Asterisk dies and starts anew under its calls.

use capconduit::cdr::record::{AttemptOutcome, CallRecord};
use capconduit::clock::Clock;

use crate::fake_ari::{Behaviour, Fault};
use crate::on_both_databases;
use crate::site::{APP, DID, Database, READ_LATER, Site, plan};

on_both_databases!(
    its_calls_are_lost_at_once_and_their_permits_free,
    what_was_being_created_is_gone_with_it_before_any_list_comes,
);

fn of<'r>(records: &'r [CallRecord], id: &str) -> &'r CallRecord {
    records.iter().find(|record| record.uniqueid == id).expect("each call has a record")
}

async fn its_calls_are_lost_at_once_and_their_permits_free(database: Database) {
    let caps = "max_concurrency = 2\ntotal_calls_allowed = 3";
    let site = Site::start(database, &plan("priority", &[("north", caps)])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    let talking = site.call(DID);
    talking.answered().await;
    site.clients(&[("north", Behaviour::no_answer())]);
    let ringing = site.call(DID);
    ringing.ringing().await;

    let died = Clock::start().now().wall;
    site.asterisk.restart();
    site.clients(&[("north", Behaviour::answers(0))]);
    site.asterisk.until_filter_sets(APP, 2).await;
    site.until_ready().await;
    // Both slots are free.
    let next = site.call(DID);
    next.answered().await;
    next.hang_up();
    let records = site.records(3).await;
    for (id, outcome) in [(talking.id(), AttemptOutcome::Answered), (ringing.id(), AttemptOutcome::Unknown)] {
        let lost = of(&records, id);
        assert_eq!((lost.ending.as_str(), lost.attempts[0].outcome), ("lost", outcome));
        let (after, before) = (lost.ended_after.expect("an interval"), lost.ended_before.expect("an interval"));
        // The last frame may have been read a moment after it was sent.
        assert!(after - READ_LATER <= died && died <= before, "{after} {died} {before}");
    }
    assert_eq!(of(&records, next.id()).ending, "completed");
    assert_eq!(site.total_of("north").await, 3, "what may have been answered counts");
    site.settle().await;
}

async fn what_was_being_created_is_gone_with_it_before_any_list_comes(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 1")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site.asterisk.fault("channels/create", 1, Fault::SwallowAnswer);
    let call = site.call(DID);
    site.asterisk.until_request("channels/create").await;
    site.asterisk.fault("GET channels", 1_000, Fault::Status(500));
    site.asterisk.restart();
    // There are no lists that it could wait for.
    let records = site.records(1).await;
    assert_eq!(of(&records, call.id()).ending, "lost");
    site.settle().await;
}
