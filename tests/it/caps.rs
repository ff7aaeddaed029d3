//! No cap is passed, as counted by the call centres.

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    concurrency_of_a_link_holds_under_a_burst,
    a_total_is_never_overshot,
    the_clients_own_cap_binds_all_campaigns
);

async fn concurrency_of_a_link_holds_under_a_burst(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "max_concurrency = 2")])).await;
    site.clients(&[("north", Behaviour::answers(30).hanging_up_after(200))]);
    let calls: Vec<_> = (0..30).map(|_| site.call(DID)).collect();
    let mut refused = 0;
    for call in &calls {
        match call.ended().await {
            CallerEnd::Ended { sip: 486, .. } => refused += 1,
            CallerEnd::Ended { sip: 200, .. } => {}
            other => panic!("{other:?}"),
        }
    }
    let stats = site.asterisk.stats("north");
    assert_eq!(stats.max_live, 2);
    assert_eq!(stats.answered + refused, 30);
    let records = site.records(30).await;
    let full = records.iter().filter(|r| r.ending == "all_full").count();
    assert_eq!(full, refused as usize);
    site.settle().await;
}

async fn a_total_is_never_overshot(database: Database) {
    let mut site = Site::start(database, &plan("priority", &[("north", "total_calls_allowed = 5")])).await;
    site.clients(&[("north", Behaviour::answers(20).hanging_up_after(50))]);
    let calls: Vec<_> = (0..20).map(|_| site.call(DID)).collect();
    for call in &calls {
        call.ended().await;
    }
    assert_eq!(site.asterisk.stats("north").answered, 5);
    site.records(20).await;
    // The total is remembered by the database, not by the process.
    site.stop().await;
    site.run().await;
    let call = site.call(DID);
    assert_eq!(call.ended().await, CallerEnd::Ended { sip: 486, cause: 17 });
    site.records(21).await;
    assert_eq!(site.asterisk.stats("north").dialled, 5);
    site.settle().await;
}

async fn the_clients_own_cap_binds_all_campaigns(database: Database) {
    let mut text =
        plan("priority", &[("north", "")]).replace("name = \"north\"", "name = \"north\"\nmax_concurrency = 1");
    text += "[[dids]]\nnumber = \"+442070000002\"\nseller = \"acme\"\n";
    text += "[[campaigns]]\nname = \"Wind\"\nseller = \"acme\"\ndids = [\"+442070000002\"]\n[[campaigns.links]]\nclient = \"north\"\n";
    let site = Site::start(database, &text).await;
    site.clients(&[("north", Behaviour::answers(10))]);
    let first = site.call(DID);
    first.answered().await;
    let second = site.call("+442070000002");
    assert_eq!(second.ended().await, CallerEnd::Ended { sip: 486, cause: 17 });
    first.hang_up();
    let records = site.records(2).await;
    let refused = records.iter().find(|r| r.ending == "all_full").expect("the second call's record");
    let trace = refused.trace.as_ref().expect("a trace").value();
    assert_eq!(trace["links"][0]["verdict"], "client_full");
    assert_eq!((&trace["links"][0]["client_used"], &trace["links"][0]["client_limit"]), (&1.into(), &1.into()));
    site.settle().await;
}
