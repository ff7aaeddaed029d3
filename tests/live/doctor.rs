//! `capconduit doctor` on a real set-up: silent about what works, precise about what does not.

use crate::harness::plan::Plan;
use crate::harness::sipp::centre;
use crate::harness::site::{Backend, Preparation};

crate::on_both!(a_sound_site_and_a_dead_asterisk);

async fn a_sound_site_and_a_dead_asterisk(backend: Backend) {
    let site = Preparation::new(backend);
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", "+442079460001", "").link("alpha", "");
    let mut site = site.start(&plan).await;

    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "{report}");
    for checked in ["database", "ARI", "1 of 1 active clients", "capconduit-inbound", "capconduit-fallback"] {
        assert!(report.contains(checked), "nothing about {checked} in:\n{report}");
    }

    site.controller.process().kill();
    site.nodes[0].until_stale().await;
    let (sound, report) = site.controller.doctor().await;
    assert!(sound, "the dialplan does what it should without a controller:\n{report}");
    let tried = report.lines().find(|line| line.contains("falling back")).unwrap_or_default();
    assert!(tried.starts_with("ok "), "now the fallback can be tried:\n{report}");

    site.nodes[0].process().kill();
    let (sound, report) = site.controller.doctor().await;
    assert!(!sound, "Asterisk is dead:\n{report}");
    assert!(report.contains("start Asterisk"), "it says how to mend that:\n{report}");
}
