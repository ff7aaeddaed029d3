//! Whom a call is offered to, and what the carrier hears when nobody takes it.

use capconduit::cdr::record::AttemptOutcome;
use capconduit::config::Transport;

use crate::fake_ari::{Behaviour, CallerEnd};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(every_refusal_leads_to_the_next_client, nobody_to_take_the_call, a_pause_acts_on_the_next_call);

async fn every_refusal_leads_to_the_next_client(database: Database) {
    use AttemptOutcome as O;
    let refusing = [
        ("busy", Behaviour::busy(), O::Busy),
        ("congested", Behaviour::congestion(), O::Congestion),
        ("missing", Behaviour::not_found(), O::Misconfigured),
        ("codec", Behaviour::not_acceptable(), O::Misconfigured),
        ("declines", Behaviour::declines(), O::Rejected),
        ("redirects", Behaviour::redirects(), O::Redirected),
        ("away", Behaviour::unavailable(), O::Unavailable),
        ("silent", Behaviour::silent(), O::NoProgress),
        ("rings", Behaviour::no_answer(), O::NoAnswer),
        ("answers", Behaviour::answers(0), O::Answered),
    ];
    // Only who is waited for in vain has little time.
    let settings = |(n, (name, ..)): (usize, &(&str, Behaviour, O))| {
        let ring_timeout_seconds = if *name == "rings" { 1 } else { 60 };
        format!("forwarding_priority = {}\nring_timeout_seconds = {ring_timeout_seconds}", n + 1)
    };
    let settings: Vec<String> = refusing.iter().enumerate().map(settings).collect();
    let links: Vec<_> = refusing.iter().zip(&settings).map(|((name, ..), text)| (*name, text.as_str())).collect();
    let short = |config: &mut capconduit::config::Config| {
        config.calls.progress_timeout = std::time::Duration::from_secs(2);
    };
    for transport in [Transport::Websocket, Transport::Http] {
        let site = Site::start_with(database, &plan("priority", &links), transport, short).await;
        site.clients(&refusing.map(|(name, behaviour, _)| (name, behaviour)));
        let call = site.call(DID);
        call.answered().await;
        call.hang_up();
        let record = site.records(1).await.remove(0);
        let outcomes: Vec<_> = record.attempts.iter().map(|a| a.outcome).collect();
        assert_eq!(outcomes, refusing.map(|(.., outcome)| outcome), "over {transport}");
        assert_eq!(record.answered_client_name.as_deref(), Some("answers"));
        assert_eq!((record.ending.as_str(), record.sip_code), ("completed", Some(200)));
        assert!(record.sip_call_id.is_some());
        site.settle().await;
    }
}

async fn nobody_to_take_the_call(database: Database) {
    let site = Site::start(database, &plan("priority", &[("north", "")])).await;
    site.clients(&[("north", Behaviour::busy())]);
    let call = site.call(DID);
    assert_eq!(call.ended().await, CallerEnd::Ended { sip: 480, cause: 19 });
    let unknown = site.call("+449999999999");
    assert_eq!(unknown.ended().await, CallerEnd::Ended { sip: 404, cause: 1 });
    let letters = site.call("sales");
    assert_eq!(letters.ended().await, CallerEnd::Ended { sip: 404, cause: 1 });
    site.apply(&plan("priority", &[("north", "status = \"paused\"")])).await;
    site.until_configured(|s| s.campaigns.values().all(|c| c.links[0].status.as_str() == "paused")).await;
    let paused = site.call(DID);
    assert_eq!(paused.ended().await, CallerEnd::Ended { sip: 480, cause: 19 });
    let mut endings: Vec<_> = site.records(4).await.into_iter().map(|r| r.ending).collect();
    endings.sort();
    assert_eq!(endings, ["no_active_link", "nobody_answered", "unknown_did", "unknown_did"]);
    site.settle().await;
}

async fn a_pause_acts_on_the_next_call(database: Database) {
    let links = |first: &str| plan("priority", &[("north", first), ("south", "forwarding_priority = 2")]);
    let site = Site::start(database, &links("")).await;
    site.clients(&[("north", Behaviour::answers(0)), ("south", Behaviour::answers(0))]);
    let before = site.call(DID);
    before.answered().await;
    site.apply(&links("status = \"paused\"")).await;
    site.until_configured(|s| s.campaigns.values().any(|c| c.links[0].status.as_str() == "paused")).await;
    let after = site.call(DID);
    after.answered().await;
    assert_eq!(before.end(), None, "pausing ends no call");
    before.hang_up();
    after.hang_up();
    let clients: Vec<_> = site.records(2).await.into_iter().filter_map(|r| r.answered_client_name).collect();
    assert_eq!(clients.len(), 2);
    assert!(clients.contains(&"north".to_owned()) && clients.contains(&"south".to_owned()), "{clients:?}");
    site.settle().await;
}
