use std::collections::BTreeSet;
use std::time::Duration;

use super::super::report::{Outcome, failures, render};
use super::*;
use crate::config::Config;
use crate::needs::MODULES;

fn configured() -> Node {
    Config::from_layers(None, []).expect("the defaults").nodes.remove(0)
}

fn info(version: &str) -> Info {
    Info { version: version.to_owned(), entity_id: String::new(), startup_time: None }
}

/// Every module that the delivered file loads.
fn all_modules() -> BTreeSet<String> {
    let loaded = MODULES.lines().filter_map(|line| line.strip_prefix("load = "));
    loaded.filter_map(|line| line.split([' ', ';']).next()).map(str::to_owned).collect()
}

/// A node where `serve` runs and everything is as it should be.
fn healthy() -> Facts {
    Facts {
        info: Ok(info("22.10.1+dfsg-1")),
        globals: Globals {
            app: "capconduit".into(),
            apps: "1".into(),
            heartbeat: "1000".into(),
            epoch: "1002".into(),
            last_resort: String::new(),
            spool: String::new(),
            dialplan: "3".into(),
            drained: String::new(),
            beside: String::new(),
        },
        clock_skew: Some(0),
        apps: vec![("capconduit-1".into(), true)],
        modules: Ok(all_modules()),
        copy: None,
        unreadable: Vec::new(),
        dialplan: Ok(Dialplan {
            round_trip: Some(Duration::from_micros(4200)),
            inbound: Ok(INBOUND),
            fallback: Ok(FALLBACK),
            clients: Ok(CLIENTS),
            falling_back: None,
        }),
        endpoints: vec![("acme".parse().expect("allowed"), Ok(Reach::Dialable))],
    }
}

/// A healthy node while no controller is running.
fn alone() -> Facts {
    let mut facts = healthy();
    facts.globals.heartbeat = String::new();
    facts.apps[0].1 = false;
    let Ok(dialplan) = &mut facts.dialplan else { panic!("healthy") };
    dialplan.falling_back = Some(Ok(FALLEN_BACK));
    facts
}

fn judged(facts: &Facts) -> Vec<Check> {
    node(0, &configured(), &Realtime::Sqlite { path: "rt.db".into() }, facts)
}

/// The one check that is neither ok nor skipped.
fn fault(facts: &Facts) -> (Outcome, String) {
    let checks = judged(facts);
    let bad: Vec<&Check> =
        checks.iter().filter(|check| !matches!(check.outcome, Outcome::Ok | Outcome::Skipped)).collect();
    assert_eq!(bad.len(), 1, "{}", render(&checks));
    assert!(bad[0].mend.is_some(), "every fault says how to mend it");
    (bad[0].outcome, render(&checks))
}

#[test]
fn a_healthy_node_passes_with_and_without_a_controller() {
    for facts in [healthy(), alone()] {
        let checks = judged(&facts);
        let text = render(&checks);
        assert!(checks.iter().all(|check| matches!(check.outcome, Outcome::Ok | Outcome::Skipped)), "{text}");
        assert!(text.ends_with("0 failed, 0 warnings, 1 skipped\n"), "{text}");
    }
    assert!(render(&judged(&alone())).contains("`capconduit serve` is not running"));
}

#[test]
fn versions_are_judged() {
    for (version, outcome) in [
        ("18.20.0", Some(Outcome::Failed)),
        ("20.19.0", Some(Outcome::Warning)),
        ("22.10.0", Some(Outcome::Warning)),
        ("GIT-master-abc", Some(Outcome::Warning)),
        ("22.10.1", None),
        ("23.4.0", None),
    ] {
        let facts = Facts { info: Ok(info(version)), ..healthy() };
        match outcome {
            Some(outcome) => assert_eq!(fault(&facts).0, outcome, "{version}"),
            None => assert!(judged(&facts).iter().all(|check| check.mend.is_none()), "{version}"),
        }
    }
}

#[test]
fn an_unreachable_node_has_one_fault_that_names_the_key() {
    let refused = |status| Error::Rejected { status, message: "no".into() };
    for (error, part) in [
        (Error::NotSent("no connection could be made"), "start Asterisk"),
        (Error::OutcomeUnknown("no answer came before the deadline"), "hangs or is overloaded"),
        (refused(401), "asterisk[0].user"),
        (refused(404), "load res_ari"),
    ] {
        let checks = judged(&Facts { info: Err(error.into()), ..healthy() });
        assert_eq!((checks.len(), failures(&checks)), (1, 1));
        assert!(render(&checks).contains(part), "{part}");
    }
}

/// There it has no extension on purpose.
#[test]
fn beside_a_site_the_clients_context_is_empty() {
    let mut facts = healthy();
    let Ok(dialplan) = &mut facts.dialplan else { panic!("healthy") };
    dialplan.clients = Ok(16);
    assert!(fault(&facts).1.contains("[capconduit-clients] is missing"));
    facts.globals.beside = "yes".into();
    assert!(render(&judged(&facts)).contains("no extension, as it should be"));
}

#[test]
fn a_dialplan_of_other_applications_fails() {
    let mut facts = healthy();
    facts.globals.apps = "2".into();
    let (outcome, text) = fault(&facts);
    assert_eq!(outcome, Outcome::Failed);
    assert!(text.contains("CAPCONDUIT_APPS=2") && text.contains(".apps is 1"), "{text}");
}

/// Files were copied: the first had no version.
#[test]
fn an_older_dialplan_is_told_what_it_lacks_and_how_to_update_it() {
    let mut facts = healthy();
    for first in ["", "1"] {
        facts.globals.dialplan = first.into();
        let (outcome, text) = fault(&facts);
        assert_eq!(outcome, Outcome::Warning, "{text}");
        for told in ["version 1", "no UTF-8", "two paths", "Privacy", "dialplan reload", "extensions.conf"] {
            assert!(text.contains(told), "nothing of {told} in {text}");
        }
    }
    facts.globals.dialplan = "2".into();
    let (outcome, text) = fault(&facts);
    assert_eq!(outcome, Outcome::Warning, "{text}");
    assert!(text.contains("starts anew") && !text.contains("no UTF-8"), "{text}");
    facts.globals.dialplan = "3".into();
    assert!(judged(&facts).iter().all(|check| matches!(check.outcome, Outcome::Ok | Outcome::Skipped)));
    facts.globals.dialplan = "two".into();
    assert_eq!(fault(&facts).0, Outcome::Warning);
}

#[test]
fn what_the_dialplan_needs_and_the_node_has_not_is_told() {
    let mut facts = healthy();
    for (module, part) in [("func_talkdetect.so", "early media"), ("func_rand.so", "RAND()"), ("chan_pjsip.so", "")] {
        facts.modules = Ok(all_modules().into_iter().filter(|name| name != module).collect());
        let (outcome, text) = fault(&facts);
        assert_eq!(outcome, Outcome::Failed);
        assert!(text.contains(&format!("module {module} is missing")) && text.contains(part), "{text}");
    }
    // The node's own copy, which somebody has changed.
    facts.modules = Ok(all_modules());
    let text = DIALPLAN.replace("Set(CAPCONDUIT_N=1)", "Set(CAPCONDUIT_N=${NOWHERE(1)})");
    facts.copy = Some(super::super::probe::Copy {
        folder: "/etc/asterisk".into(),
        path: "/etc/asterisk/extensions.conf".into(),
        text,
    });
    facts.unreadable = vec!["NOWHERE".to_owned()];
    assert!(fault(&facts).1.contains("function NOWHERE() is missing"));
}

#[test]
fn a_controller_that_hangs_or_is_half_there_fails() {
    let mut hung = healthy();
    hung.globals.heartbeat = "998".into();
    assert!(fault(&hung).1.contains("heartbeat is old"));
    let mut drained = hung;
    drained.globals.drained = "990".into();
    let told = fault(&drained);
    assert!(told.1.contains("drained"), "{told:?}");
    let mut half = healthy();
    half.apps.push(("capconduit-2".into(), false));
    assert!(fault(&half).1.contains("not registered: capconduit-2"));
}

#[test]
fn contexts_are_told_by_the_cause_they_give() {
    type Change = fn(&mut Dialplan);
    let cases: [(Change, &str); 5] = [
        (|d| d.inbound = Ok(16), "[capconduit-inbound] is missing"),
        (|d| d.fallback = Ok(1), "[capconduit-fallback] is another one than ours"),
        (|d| d.clients = Err("403 Forbidden".into()), "read_only = no"),
        (|d| d.falling_back = Some(Ok(21)), "ends with cause 21, not 42"),
        (|d| d.round_trip = Some(Duration::from_millis(150)), "150.0 ms"),
    ];
    for (change, part) in cases {
        let mut facts = alone();
        change(facts.dialplan.as_mut().expect("healthy"));
        assert!(fault(&facts).1.contains(part), "{part}");
    }
}

#[test]
fn a_client_that_asterisk_does_not_know_fails_and_one_without_address_warns() {
    let mut facts = healthy();
    facts.endpoints.push(("beta".parse().expect("allowed"), Ok(Reach::Unknown)));
    let (outcome, text) = fault(&facts);
    assert_eq!(outcome, Outcome::Failed);
    for part in ["does not know beta", "rt.db", "1 of 2 active clients"] {
        assert!(text.contains(part), "{part} in {text}");
    }
    facts.endpoints[1].1 = Ok(Reach::NoContact);
    assert_eq!(fault(&facts).0, Outcome::Warning);
    facts.endpoints[1].1 = Err("403 Forbidden".into());
    assert!(fault(&facts).1.contains("read_only"));
    facts.endpoints.clear();
    let checks = judged(&facts);
    assert!(checks.iter().any(|check| check.outcome == Outcome::Skipped && check.found.contains("no active client")));
}
