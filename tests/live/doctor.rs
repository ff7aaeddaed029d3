//! `capconduit doctor` on a real set-up: silent about what works, precise about what does not.

use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(a_sound_site_and_a_dead_asterisk, an_older_dialplan_is_told_of);

/// `asterisk/etc/extensions.conf` as it was before it had a version: users have copies of it.
pub(crate) const FIRST_DIALPLAN: &str = include_str!("dialplans/1.conf");

async fn an_older_dialplan_is_told_of(backend: Backend) {
    let site = Preparation::new(backend).asterisk_file("extensions.conf", FIRST_DIALPLAN);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", "+442079460001", "").link("alpha", "");
    let site = site.start(&plan).await;
    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "the controller works with it:\n{report}");
    let told = report.lines().find(|line| line.contains("dialplan version")).unwrap_or_default();
    assert!(told.contains("version 1") && report.contains("dialplan reload"), "{report}");
    let call = site.call("call", &carrier::call().set("did", "+442079460001")).await;
    assert_eq!((call.outcome(), site.record(&call).await.attempts()), (Some(200), vec!["alpha answered".to_owned()]));
    site.finish().await;
}

async fn a_sound_site_and_a_dead_asterisk(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", "+442079460001", "").link("alpha", "");
    let mut site = site.start(&plan).await;

    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "{report}");
    let spool = "fallback.log is not there yet";
    for checked in ["database", "ARI", "1 of 1 active clients", "capconduit-inbound", "capconduit-fallback", spool] {
        assert!(report.contains(checked), "nothing about {checked} in:\n{report}");
    }

    site.controller.process().kill();
    site.nodes[0].until_stale().await;
    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "the dialplan does what it should without a controller:\n{report}");
    let tried = report.lines().find(|line| line.contains("falling back")).unwrap_or_default();
    assert!(tried.starts_with("ok "), "now the fallback can be tried:\n{report}");
    let [line] = site.nodes[0].spooled().try_into().expect("the probe leaves a line");
    let spool = site.nodes[0].spool().display().to_string();
    let imported = site.controller.run(&["import-fallback", "--node", "pbx-1", &spool]).await;
    assert_eq!(imported, "1 lines: 0 calls recorded, 0 known, 0 unreadable\n", "which is no call's: {line}");

    site.nodes[0].process().kill();
    let (sound, report) = site.controller.doctor().await;
    assert!(!sound, "Asterisk is dead:\n{report}");
    assert!(report.contains("start Asterisk"), "it says how to mend that:\n{report}");
}
