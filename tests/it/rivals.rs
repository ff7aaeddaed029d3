//! Two controllers with the same application on one Asterisk: one has it, the other waits.

use std::time::Duration;

use capconduit::config::Transport;

use crate::fake_ari::{Behaviour, CallerEnd, FakeAri, Fault, Seen};
use crate::on_both_databases;
use crate::site::{APP, DID, Database, Site, plan};

on_both_databases!(
    the_second_waits_until_the_first_is_gone,
    one_that_was_replaced_leaves_its_calls_and_stays_away,
    calls_that_a_killed_controller_left_to_another_are_each_recorded_once,
    a_killed_controller_starts_again_at_once,
    one_that_stops_makes_room_at_once,
    started_at_once_exactly_one_stays,
    with_several_applications_all_go_together,
    two_nodes_are_both_known_before_either_is_decided,
);

const OWNER: &str = "CAPCONDUIT_OWNER_capconduit";

async fn site(database: Database) -> Site {
    let site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 5")])).await;
    site.clients(&[("north", Behaviour::answers(0))]);
    site
}

fn rival_plan() -> String {
    plan("priority", &[("north", "max_concurrency = 5")])
}

async fn the_second_waits_until_the_first_is_gone(database: Database) {
    let mut first = site(database).await;
    let mut second = first.rival(&rival_plan()).await;
    second.launch();
    second.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    assert!(!second.is_ready().await && first.is_ready().await);
    let call = first.call(DID);
    call.answered().await;
    first.kill().await;
    second.until_ready().await;
    assert_eq!(call.end(), None, "the parties talk on");
    call.hang_up();
    let record = second.records(1).await.remove(0);
    assert_eq!((record.uniqueid.as_str(), record.ending.as_str()), (call.id(), "completed"), "it was adopted");
    second.settle().await;
}

async fn one_that_was_replaced_leaves_its_calls_and_stays_away(database: Database) {
    let first = site(database).await;
    let talking = first.call(DID);
    talking.answered().await;
    let mut second = first.rival(&rival_plan()).await;
    // One that does not look, as an older version would not.
    first.asterisk.set_global(OWNER, "");
    let forget = async {
        loop {
            first.asterisk.set_global(OWNER, "");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    second.launch();
    tokio::select! {
        () = forget => {}
        () = second.until_ready() => {}
    }
    first.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    first.until_metric("capconduit_calls_live{node=\"pbx\"} 0").await;
    assert_eq!(talking.end(), None, "it is not hung up");
    let connected = first.asterisk.filter(APP).0;
    first.asterisk.until_asked_for(OWNER, 2).await;
    assert_eq!(first.asterisk.filter(APP).0, connected, "it has looked whether it may come back, and stays away");
    let (call, lasting) = (second.call(DID), second.call(DID));
    call.answered().await;
    lasting.answered().await;
    call.hang_up();
    talking.hang_up();
    let mut recorded: Vec<_> = second.records(2).await.into_iter().map(|record| record.uniqueid).collect();
    let mut calls = [talking.id(), call.id()];
    recorded.sort_unstable();
    calls.sort_unstable();
    assert_eq!(recorded, calls);
    assert!(first.records(0).await.is_empty(), "what was left is recorded by the other");
    second.ask_to_stop();
    first.until_ready().await;
    second.stop().await;
    assert_eq!(lasting.end(), None, "it is taken over once more");
    lasting.hang_up();
    assert_eq!(first.records(1).await[0].uniqueid, lasting.id());
    assert_eq!(first.asterisk.stats("north").dialled, 3, "each call is dialled by one");
    second.records(2).await;
    first.settle().await;
}

async fn calls_that_a_killed_controller_left_to_another_are_each_recorded_once(database: Database) {
    let mut first = site(database).await;
    let mut second = first.rival(&rival_plan()).await;
    let (talking, gone) = (first.call(DID), first.call(DID));
    talking.answered().await;
    gone.answered().await;
    second.launch();
    second.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    first.kill().await;
    gone.hang_up();
    second.until_ready().await;
    first.launch();
    first.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    let lost = first.records(1).await.remove(0);
    assert_eq!((lost.uniqueid.as_str(), lost.ending.as_str()), (gone.id(), "lost"), "nobody else knows of it");
    talking.hang_up();
    let record = second.records(1).await.remove(0);
    assert_eq!((record.uniqueid.as_str(), record.ending.as_str()), (talking.id(), "completed"));
    assert_eq!(first.asterisk.stats("north").dialled, 2, "each was dialled by one");
    first.stop().await;
    second.stop().await;
    first.run().await;
    assert_eq!(first.records(1).await[0].uniqueid, gone.id(), "what was left to the other is forgotten");
    first.settle().await;
}

async fn a_killed_controller_starts_again_at_once(database: Database) {
    let mut site = site(database).await;
    let mark = site.asterisk.global(OWNER).expect("a mark");
    site.kill().await;
    site.asterisk
        .set_global(OWNER, &mark.replace(mark.rsplit('@').next().expect("a time"), &site.asterisk.epoch().to_string()));
    let before = site.asterisk.requests().len();
    site.run().await;
    let of_mark = |seen: &Seen| seen.query.get("variable").is_some_and(|variable| variable == OWNER);
    let seen = site.asterisk.requests();
    let methods = seen[before..].iter().filter(|seen| of_mark(seen)).map(|seen| seen.method.as_str());
    assert_eq!(methods.take(2).collect::<Vec<_>>(), ["GET", "POST"], "its own mark, fresh as it is, is no obstacle");
    site.settle().await;
}

async fn one_that_stops_makes_room_at_once(database: Database) {
    let mut first = site(database).await;
    let mut second = first.rival(&rival_plan()).await;
    let talking = first.call(DID);
    talking.answered().await;
    second.launch();
    second.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    first.ask_to_stop();
    second.until_ready().await;
    first.stop().await;
    assert_eq!(talking.end(), None, "the successor has it");
    talking.hang_up();
    let records = second.records(1).await;
    assert_eq!(records[0].ending, "completed");
    assert!(first.records(0).await.is_empty());
    second.settle().await;
}

async fn started_at_once_exactly_one_stays(database: Database) {
    let mut first = site(database).await;
    let mut second = first.rival(&rival_plan()).await;
    first.kill().await;
    first.asterisk.set_global(OWNER, "");
    first.launch();
    second.launch();
    let (one, other) = tokio::select! {
        () = first.until_metric("capconduit_node_taken{node=\"pbx\"} 1") => (second, first),
        () = second.until_metric("capconduit_node_taken{node=\"pbx\"} 1") => (first, second),
    };
    one.until_ready().await;
    let connected = one.asterisk.filter(APP).0;
    one.asterisk.until_asked_for(OWNER, 2).await;
    assert_eq!(one.asterisk.filter(APP).0, connected, "the application does not change hands");
    assert!(one.is_ready().await && !other.is_ready().await);
    let call = one.call(DID);
    call.answered().await;
    call.hang_up();
    assert!(matches!(call.ended().await, CallerEnd::HungUp));
    one.records(1).await;
    let mut other = other;
    other.stop().await;
    one.settle().await;
}

async fn with_several_applications_all_go_together(database: Database) {
    let several = |config: &mut capconduit::config::Config| config.nodes[0].apps = 3;
    let first = Site::start_with(database, &rival_plan(), Transport::Auto, several).await;
    first.clients(&[("north", Behaviour::answers(0))]);
    let mut second = first.rival(&rival_plan()).await;
    second.launch();
    second.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    let mut first = first;
    first.kill().await;
    second.until_ready().await;
    for app in ["capconduit-1", "capconduit-2", "capconduit-3"] {
        let call = second.asterisk.incoming(app, DID, "+447700900123");
        call.answered().await;
        call.hang_up();
    }
    second.records(3).await;
    second.settle().await;
}

/// What uses a cap on one node is not known from the other's lists: whoever takes over both, long after its own start, waits for both.
async fn two_nodes_are_both_known_before_either_is_decided(database: Database) {
    let (plan, other) = (plan("priority", &[("north", "max_concurrency = 1")]), FakeAri::start().await);
    let node = other.node("pbx-2", "capconduit", 1, Transport::Auto);
    let pair = |config: &mut capconduit::config::Config| config.nodes.push(node);
    let mut first = Site::start_with(database, &plan, Transport::Auto, pair).await;
    other.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
    [&*first.asterisk, &other].iter().for_each(|asterisk| asterisk.endpoint("north", Behaviour::answers(0)));
    let talking = other.incoming(APP, DID, "+447700900124");
    talking.answered().await;

    let mut second = first.rival(&plan).await;
    second.launch();
    second.until_metric("capconduit_node_taken{node=\"pbx\"} 1").await;
    second.until_metric("capconduit_node_taken{node=\"pbx-2\"} 1").await;
    // It looks once a second: by now it has run for longer than a node waits for the others.
    first.asterisk.until_asked_for(OWNER, 7).await;
    other.fault("GET channels", 1_000, Fault::Held);
    let listed = first.asterisk.requests().iter().filter(|seen| seen.line() == "GET channels").count();
    first.kill().await;
    first.asterisk.clear_global("CAPCONDUIT_HEARTBEAT");
    first.asterisk.until_listed(listed + 1).await;
    // It answers its first node's questions, and takes no calls there.
    first.asterisk.until_asked_for("EPOCH", 1).await;
    let call = second.call(DID);
    first.asterisk.until_asked_for("EPOCH", 1).await;
    assert_eq!((call.end(), first.asterisk.global("CAPCONDUIT_HEARTBEAT")), (None, None), "it waits for the other");
    other.mend();
    assert_eq!(call.ended().await, CallerEnd::Ended { sip: 486, cause: 17 }, "the cap is used on the other node");
    second.until_ready().await;
    talking.hang_up();
    second.records(2).await;
    other.until_empty().await;
    second.settle().await;
}
