//! Beside an Asterisk that is in use: `capconduit asterisk preview|install|check|remove`, on a real Asterisk with calls of its own.

mod layouts;
mod neighbour;

use std::time::Duration;

use tokio::time::{sleep, timeout};

use self::layouts::{Layout, TRUNK_IP};
use self::neighbour::Neighbour;
use crate::harness::LIMIT;
use crate::harness::postgres::Postgres;
use crate::harness::sipp::{CARRIER_IP, FOREVER_MS, carrier};
use crate::harness::trace::Dialog;

const DID: &str = "+442079460001";

#[tokio::test]
async fn beside_the_stock_configuration() {
    through_and_back(Layout::Stock, &[]).await;
}

#[tokio::test]
async fn beside_the_layout_of_freepbx() {
    through_and_back(Layout::FreePbx, &[]).await;
}

#[tokio::test]
async fn beside_realtime_of_the_sites_own() {
    let site = Neighbour::new(Layout::Realtime).await;
    let before = site.hashes();
    let (ok, said) = site.asterisk_command(&["preview"]).await;
    assert!(!ok && said.contains("--share-realtime"), "{said}");
    let (ok, said) = site.asterisk_command(&["install"]).await;
    assert!(!ok && said.contains("nothing was changed"), "{said}");
    assert_eq!(site.hashes(), before);
    drop(site);
    through_and_back(Layout::Realtime, &["--share-realtime"]).await;
}

#[tokio::test]
async fn beside_a_site_that_loads_what_it_names() {
    through_and_back(Layout::AutoloadNo, &[]).await;
}

/// The distribution refuses the driver, and an Asterisk has one connection in all.
#[tokio::test]
async fn beside_a_site_with_the_tables_in_postgresql() {
    let site = Neighbour::with(Layout::AutoloadNo, Some(Postgres::start())).await;
    std::fs::write(site.dir.path().join("role"), "trusted\n").expect("a file of ours");
    let role = site.dir.path().join("role").display().to_string();
    let modules = std::fs::read_to_string(site.etc.join("modules.conf")).expect("it is there");
    for (name, text, part) in [
        ("modules.conf", format!("{modules}noload => res_config_pgsql.so\n"), "`noload` of res_config_pgsql.so"),
        ("res_pgsql.conf", "[general]\ndbname=theirs\n".to_owned(), "a connection already (dbname = theirs)"),
    ] {
        std::fs::write(site.etc.join(name), text).expect("it is ours");
        let (ok, said) = site.asterisk_command(&["install", "--pgsql-password-file", &role]).await;
        assert!(!ok && said.contains(part), "{said}");
        std::fs::write(site.etc.join("modules.conf"), &modules).expect("it is ours");
    }
    std::fs::remove_file(site.etc.join("res_pgsql.conf")).expect("it was there");
    there_and_back(site, Layout::AutoloadNo, &["--pgsql-password-file", &role]).await;
}

/// Install, restart once where that is due, calls of both, remove, the site's again; every byte as it was.
async fn through_and_back(layout: Layout, options: &[&str]) {
    there_and_back(Neighbour::new(layout).await, layout, options).await;
}

async fn there_and_back(mut site: Neighbour, layout: Layout, options: &[&str]) {
    site.own_call("before").await;
    let before = site.hashes();

    let (ok, preview) = site.asterisk_command(&[&["preview"], options].concat()).await;
    assert!(ok && preview.contains("capconduit.d/extensions.conf (new)"), "{preview}");
    assert!(!preview.contains("only-for-this-test"), "the password is shown:\n{preview}");
    assert_eq!(site.hashes(), before, "a preview changes nothing");

    let said = site.must(&[&["install"], options].concat()).await;
    assert!(said.contains("read by a start alone"), "{said}");
    site.own_call("installed").await;
    let installed = site.hashes();
    assert!(site.must(&["install"]).await.starts_with("nothing to do"));
    assert_eq!(site.hashes(), installed, "a second time there is nothing to do");
    let (ok, check) = site.asterisk_command(&["check"]).await;
    assert!(ok && check.contains("warn  sorcery.conf"), "until the restart that is all:\n{check}");

    site.restart().await;
    site.carrier();
    let (ok, check) = site.asterisk_command(&["check"]).await;
    assert!(ok && check.contains("0 failed, 0 warnings"), "{check}");
    site.controller.serve(&[]).await;
    site.our_calls("both").await;
    site.own_call("beside").await;
    let (sound, doctor) = site.controller.doctor_with(&[("PATH", path_with(&site))]).await;
    assert!(sound && doctor.contains("beside its site"), "{doctor}");
    let rows = site.cdr();
    assert!(rows.iter().all(|row| !row.contains(DID)), "no row of ours: {rows:?}");
    if layout != Layout::AutoloadNo {
        assert!(rows.len() >= 3, "the site's own have theirs: {rows:?}");
    }

    site.controller.process().signal("TERM");
    site.controller.process().wait(LIMIT).await;
    let said = site.must(&["remove"]).await;
    assert!(said.contains("kept: "), "the carrier's file is kept: {said}");
    assert_eq!(site.hashes(), before);
    assert!(site.ask("dialplan show capconduit-inbound").contains("no existence"));
    assert!(site.ask("pjsip show endpoint carrier-1").contains("Unable to find"));
    assert!(!site.ask("ari show users").contains("capconduit"));
    site.own_call("removed").await;
    // What the memory of a running Asterisk still has of us harms nothing.
    site.ask("core reload");
    site.own_call("reloaded").await;
    site.restart().await;
    site.own_call("after").await;
    assert!(!site.log().contains("capconduit_endpoints' found to engine"), "{}", site.log());
}

/// `doctor` finds Asterisk's program there.
fn path_with(site: &Neighbour) -> String {
    format!("{}:{}", site.dir.path().display(), std::env::var("PATH").unwrap_or_default())
}

/// Killed wherever it may be, Asterisk starts with what is there, and a second run completes it.
#[tokio::test]
async fn an_installation_that_is_killed_leaves_an_asterisk_that_starts() {
    let mut site = Neighbour::new(Layout::Stock).await;
    let before = site.hashes();
    for file in [
        "capconduit.d/unfinished",
        "capconduit.d/before/sorcery.conf",
        "capconduit.d/extconfig.conf",
        "capconduit.d/before/extconfig.conf",
        "capconduit.d/sorcery.conf",
        "capconduit.d/site_pjsip.conf",
    ] {
        let mut install = site.command(&["install"]).spawn().expect("the program runs");
        let appears = timeout(LIMIT, async {
            while !site.etc.join(file).exists() && install.try_wait().expect("a child").is_none() {
                tokio::task::yield_now().await;
            }
        });
        assert!(appears.await.is_ok(), "{file} does not come to be");
        install.kill().await.expect("it may have ended");
        site.restart().await;
        site.own_call("killed").await;
        site.must(&["install"]).await;
        site.must(&["remove"]).await;
        assert_eq!(site.hashes(), before, "killed at {file}");
    }
}

/// One restart, by ourselves: the site's service manager starts it again.
#[tokio::test]
async fn asterisk_is_restarted_where_that_is_asked_for() {
    let mut site = Neighbour::new(Layout::AutoloadNo).await;
    let mut install = site.command(&["install", "--restart", "now"]).spawn().expect("the program runs");
    let done = timeout(LIMIT, async {
        loop {
            if let Some(status) = install.try_wait().expect("a child") {
                return status;
            }
            if site.asterisk().ended().is_some() {
                site.start().await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    assert!(done.await.expect("it ends").success());
    let (ok, check) = site.asterisk_command(&["check"]).await;
    assert!(ok && check.contains("ok    call centres"), "{check}");
    assert!(site.must(&["install", "--restart", "now"]).await.starts_with("nothing to do"), "and not a second time");
}

/// A call of the site's is up: Asterisk waits for its end, and so does nobody else.
#[tokio::test]
async fn a_restart_when_idle_waits_for_the_sites_own_calls() {
    let mut site = Neighbour::new(Layout::AutoloadNo).await;
    let scenario = carrier::call().set("did", "100").set("talk_ms", FOREVER_MS);
    let mut own = site.begin("own", &scenario, TRUNK_IP, 1);
    own.reach("the site's call is up", |calls| calls.iter().any(Dialog::answered)).await;
    let said = site.must(&["install", "--restart", "when-idle"]).await;
    assert!(said.contains("restarts when no call is up"), "{said}");
    site.asterisk().assert_alive();
    own.go_on().await;
    let calls = own.finish(LIMIT).await;
    assert_eq!(calls[0].hung_up_here(), Some(true), "it lived as long as its parties wanted");
    site.asterisk().wait(LIMIT).await;
    site.start().await;
    let (ok, check) = site.asterisk_command(&["check"]).await;
    assert!(ok && check.contains("ok    call centres"), "{check}");
}

/// Asterisk opened the file in vain at its start. A reload says "successfully" and opens nothing.
#[tokio::test]
async fn a_realtime_file_that_asterisk_cannot_read_is_told_and_mended() {
    let mut site = Neighbour::new(Layout::AutoloadNo).await;
    let modules = std::fs::read_to_string(site.etc.join("modules.conf")).expect("it is there");
    std::fs::write(site.etc.join("modules.conf"), format!("{modules}load = res_realtime.so\n")).expect("it is ours");
    site.must(&["install"]).await;
    let file = site.dir.path().join("data/realtime/realtime.db");
    site.own(&file, 0o600);
    site.restart().await;
    let (ok, check) = site.asterisk_command(&["check"]).await;
    if !site.is_apart() {
        return; // One user runs both, and reads whatever is its own.
    }
    assert!(!ok && check.contains("cannot read the file") && check.contains("module unload"), "{check}");
    let said = site.must(&["install"]).await;
    assert!(said.contains("module refresh res_config_sqlite3.so"), "{said}");
    let (ok, check) = site.asterisk_command(&["check"]).await;
    assert!(ok && check.contains("alpha is known"), "{check}");
}

/// FreePBX's server listens for everybody by default.
#[tokio::test]
async fn where_others_reach_ari_our_user_is_this_hosts_alone() {
    let mut site = Neighbour::new(Layout::FreePbx).await;
    let http = std::fs::read_to_string(site.etc.join("http_additional.conf")).expect("it is there");
    std::fs::write(site.etc.join("http_additional.conf"), http.replace("127.0.0.1", "0.0.0.0")).expect("it is ours");
    let (ok, said) = site.asterisk_command(&["preview"]).await;
    assert!(!ok && said.contains("ARI listens on 0.0.0.0") && said.contains("--foreign-ari"), "{said}");
    site.must(&["install", "--foreign-ari"]).await;
    site.restart().await;
    assert_eq!(site.ari_from("127.0.0.1").await, 200);
    assert_ne!(site.ari_from("127.0.0.9").await, 200, "another host has the right password");
    assert!(site.must(&["install"]).await.starts_with("nothing to do"), "it holds for the next time as well");
}

/// The dialplan is reloaded again and again, which takes the heartbeat away each time: no call falls back.
#[tokio::test]
async fn no_call_falls_back_where_reloads_clear_globals() {
    let mut site = Neighbour::new(Layout::AutoloadNo).await;
    let dialplan = std::fs::read_to_string(site.etc.join("extensions.conf")).expect("it is there");
    let cleared = dialplan.replace("static=yes", "static=yes\nclearglobalvars=yes");
    std::fs::write(site.etc.join("extensions.conf"), cleared).expect("it is ours");
    site.must(&["install"]).await;
    site.restart().await;
    site.carrier();
    site.controller.serve(&[]).await;
    let scenario = carrier::call().set("did", DID).set("talk_ms", 200);
    // As many as the node has media ports for, should all of them be held at once.
    for round in ["first", "second", "third"] {
        let callers = site.begin(round, &scenario, CARRIER_IP, 16);
        let reloads = async {
            for _ in 0..10 {
                site.ask("dialplan reload");
                sleep(Duration::from_millis(200)).await;
            }
        };
        let (calls, ()) = tokio::join!(callers.finish(LIMIT), reloads);
        let refused: Vec<_> = calls.iter().filter(|call| call.outcome() != Some(200)).collect();
        assert!(refused.is_empty(), "{refused:?}");
        assert_eq!(calls.len(), 16);
    }
}

#[tokio::test]
async fn nothing_of_ours_is_removed_while_a_call_of_ours_is_up() {
    let mut site = Neighbour::new(Layout::AutoloadNo).await;
    site.must(&["install"]).await;
    site.restart().await;
    site.carrier();
    site.controller.serve(&[]).await;
    let scenario = carrier::call().set("did", DID).set("talk_ms", FOREVER_MS);
    let mut caller = site.begin("caller", &scenario, CARRIER_IP, 1);
    caller.reach("the call is up", |calls| calls.iter().any(|call| call.answered())).await;
    let (ok, said) = site.asterisk_command(&["remove"]).await;
    assert!(!ok && said.contains("CapConduit's calls are up"), "{said}");
    caller.go_on().await;
    caller.finish(LIMIT).await;
}
