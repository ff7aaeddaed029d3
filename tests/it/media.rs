//! What callers hear of a campaign without early media, and are told by one with rejections of its own.

use capconduit::cdr::record::AttemptOutcome;

use crate::fake_ari::{Behaviour, CallerEnd, Fault};
use crate::on_both_databases;
use crate::site::{DID, Database, Site, plan};

on_both_databases!(
    without_early_media_callers_hear_ringing_alone,
    a_client_that_answers_without_media_is_followed_by_the_next,
    a_caller_whose_client_cannot_be_joined_is_not_left_in_dead_air,
    early_media_is_heard_and_its_client_answers,
    a_campaign_has_rejections_of_its_own
);

/// The plan with more settings of its one campaign.
fn with_settings(links: &[(&str, &str)], settings: &str) -> String {
    plan("priority", links).replace("dids = [", &format!("{settings}\ndids = ["))
}

async fn without_early_media_callers_hear_ringing_alone(database: Database) {
    let links = [("early", "forwarding_priority = 1\nring_timeout_seconds = 1"), ("good", "forwarding_priority = 2")];
    let site = Site::start(database, &with_settings(&links, "early_media = false")).await;
    site.clients(&[("early", Behaviour::early_media(60_000)), ("good", Behaviour::answers(30))]);
    let call = site.call(DID);
    call.ringing().await;
    assert!(!call.hears_early_media(), "the announcement of the first is not passed on");
    call.answered().await;
    call.joined().await;
    assert!(!call.hears_early_media());
    call.hang_up();
    let record = site.records(1).await.remove(0);
    let outcomes: Vec<_> = record.attempts.iter().map(|attempt| attempt.outcome).collect();
    assert_eq!(outcomes, [AttemptOutcome::NoAnswer, AttemptOutcome::Answered]);
    assert_eq!((record.ending.as_str(), record.sip_code), ("completed", Some(200)));
    assert!(record.answered_at.is_some() && record.attempts[1].counted, "{record:?}");

    // A caller who gives up while it rings cancels the dial.
    site.clients(&[("early", Behaviour::early_media(60_000))]);
    let call = site.call(DID);
    call.ringing().await;
    call.hang_up();
    let record = site.records(2).await.remove(1);
    assert_eq!((record.ending.as_str(), record.sip_code), ("caller_cancelled", Some(487)));
    site.settle().await;
}

async fn a_client_that_answers_without_media_is_followed_by_the_next(database: Database) {
    let links = [("first", "forwarding_priority = 1"), ("second", "forwarding_priority = 2")];
    let site = Site::start(database, &with_settings(&links, "")).await;
    let mute = Behaviour::answers(30).without_media();
    site.clients(&[("first", mute), ("second", Behaviour::answers(30))]);
    let call = site.call(DID);
    call.answered().await;
    let answers = || site.asterisk.requests().into_iter().filter(|seen| seen.line().ends_with("/answer")).count();
    assert_eq!(answers(), 1, "answered once, to the second");
    call.hang_up();
    let record = site.records(1).await.remove(0);
    let outcomes: Vec<_> = record.attempts.iter().map(|attempt| (attempt.outcome, attempt.counted)).collect();
    assert_eq!(outcomes, [(AttemptOutcome::Misconfigured, false), (AttemptOutcome::Answered, true)]);

    // Where nobody is left the caller is rejected, and was never answered.
    site.clients(&[("first", mute), ("second", mute)]);
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 480, cause: 19 });
    let record = site.records(2).await.remove(1);
    assert_eq!((record.ending.as_str(), record.answered_at, answers()), ("nobody_answered", None, 1));
    site.settle().await;
}

async fn a_caller_whose_client_cannot_be_joined_is_not_left_in_dead_air(database: Database) {
    let site = Site::start(database, &with_settings(&[("first", ""), ("second", "")], "")).await;
    // They ring long enough for the fault to come behind the caller's own way into the bridge.
    site.clients(&[("first", Behaviour::answers(2000)), ("second", Behaviour::answers(2000))]);
    let call = site.call(DID);
    call.ringing().await;
    site.asterisk.fault("addChannel", 1, Fault::Status(500));
    assert_eq!(call.ended().await, CallerEnd::Ended { sip: 200, cause: 16 });
    assert_eq!(site.records(1).await.remove(0).ending, "failed");
    site.settle().await;
}

async fn early_media_is_heard_and_its_client_answers(database: Database) {
    let site = Site::start(database, &with_settings(&[("early", "")], "")).await;
    site.clients(&[("early", Behaviour::early_media(400))]);
    let call = site.call(DID);
    call.early_media().await;
    assert!(site.asterisk.requests().iter().any(|seen| seen.line().ends_with("/progress")), "the carrier is told");
    call.answered().await;
    assert_eq!(call.peers().len(), 1);
    call.hang_up();
    assert_eq!(site.records(1).await.remove(0).ending, "completed");
    site.settle().await;
}

async fn a_campaign_has_rejections_of_its_own(database: Database) {
    let rejections =
        "rejections = { nobody_answered = 486, no_active_link = 410, all_full = 503, inactive_campaign = 403 }";
    let one = |settings: &'static str| with_settings(&[("north", settings)], rejections);
    let site = Site::start(database, &one("")).await;
    site.clients(&[("north", Behaviour::no_answer())]);
    site.apply(&one("ring_timeout_seconds = 1")).await;
    site.until_configured(|s| s.campaigns.values().all(|c| c.links[0].ring_timeout.is_some())).await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 486, cause: 17 });
    site.apply(&one("status = \"paused\"")).await;
    site.until_configured(|s| s.campaigns.values().all(|c| c.links[0].status.as_str() == "paused")).await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 410, cause: 22 });
    site.apply(&one("max_concurrency = 0")).await;
    site.until_configured(|s| s.campaigns.values().all(|c| c.links[0].max_concurrency == Some(0))).await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 503, cause: 34 });
    let paused = with_settings(&[("north", "")], &format!("{rejections}\nstatus = \"paused\""));
    site.apply(&paused).await;
    site.until_configured(|s| s.campaigns.values().all(|c| c.status.as_str() == "paused")).await;
    assert_eq!(site.call(DID).ended().await, CallerEnd::Ended { sip: 403, cause: 21 });
    let told: Vec<_> = site.records(4).await.into_iter().map(|record| (record.ending, record.sip_code)).collect();
    let expected = [("nobody_answered", 486), ("no_active_link", 410), ("all_full", 503), ("inactive_campaign", 403)];
    assert_eq!(told, expected.map(|(ending, sip)| (ending.to_owned(), Some(sip))));
    site.settle().await;
}
