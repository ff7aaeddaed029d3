//! `capconduit doctor` on a real set-up: silent about what works, precise about what does not.

use capconduit::needs::{DIALPLAN, MODULES};

use crate::harness::plan::Plan;
use crate::harness::sipp::{carrier, centre};
use crate::harness::site::{Backend, Preparation};

crate::on_both!(a_sound_site_and_a_dead_asterisk, an_older_dialplan_is_told_of);

/// The files are changed, and nothing of ours: a function in the node's dialplan that no module there brings, and a module that is not loaded.
#[tokio::test]
async fn what_the_dialplan_and_the_controller_need_is_looked_for_on_the_node() {
    let dialplan = DIALPLAN.replace(
        "exten => s,1,Set(CAPCONDUIT_N=1)",
        "exten => s,1,Set(CAPCONDUIT_N=1)\n same => n,Set(X=${NOWHERE(${EXTEN})}${MD5(x)})",
    );
    assert_ne!(dialplan, DIALPLAN);
    let site = Preparation::new(Backend::Sqlite).asterisk_file("extensions.conf", &dialplan).asterisk_file(
        "modules.conf",
        &MODULES.replace("load = func_talkdetect.so", "load = func_md5.so\n;load = func_talkdetect.so"),
    );
    let alpha = site.centre("alpha", centre::answer()).await;
    let plan = Plan::new().client("alpha", &alpha, ("", "")).campaign("Solar", "+442079460001", "").link("alpha", "");
    let site = site.start(&plan).await;
    let (sound, report) = site.controller.doctor().await;
    assert!(!sound, "{report}");
    for told in ["function NOWHERE() is missing", "module func_talkdetect.so is missing", "early media"] {
        assert!(report.contains(told), "nothing about {told} in:\n{report}");
    }
    assert!(!report.contains("MD5"), "which is there:\n{report}");
    site.finish().await;
}

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
