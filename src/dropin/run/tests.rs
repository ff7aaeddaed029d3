//! On a real folder, with a program that answers as Asterisk does, by what stands in the folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use tempfile::TempDir;

use super::super::fixtures::{debian, wanted};
use super::super::plan::RELOAD_PJSIP;
use super::super::{Tables, Wanted};
use super::*;
use crate::clock::Clock;

/// What Asterisk says, `ETC` being its folder. `BROKEN` holds commands that are answered with nothing.
const ASTERISK: &str = r#"#!/bin/sh
[ "$1" = -V ] && { echo 'Asterisk 22.10.1'; exit; }
[ "$1" = -C ] && shift 2
echo "$2" >> ETC/../asked
grep -qxF "$2" ETC/../broken && exit
has() { grep -qF "capconduit.d/$1" "ETC/$1" 2>/dev/null; }
case $2 in
  'core show settings') printf '  Version: 22.10.1\n  Configuration directory: ETC\n  Module directory: ETC/../modules\n  PID file: none\n' ;;
  'core show uptime seconds') echo 'System uptime: 1000000' ;;
  'module show') for m in $(ls ETC/../modules); do echo "$m  A module  0  Running  core"; done ;;
  'ari show users') printf 'r/o?  ACL?  Username\n----  ----  --------\n'; has ari.conf && echo 'No    No    capconduit' ;;
  'http show status') echo 'Server Enabled and Bound to 127.0.0.1:8088' ;;
  'dialplan show globals') has extensions.conf && printf '   CAPCONDUIT_APP=capconduit\n   CAPCONDUIT_APPS=1\n   CAPCONDUIT_DIALPLAN=VERSION\n' ;;
  'dialplan show '*) has extensions.conf && echo "[ Context '$2' created by 'pbx_config' ]" ;;
  'core show config mappings') has extconfig.conf && for f in endpoints aors auths identifies; do echo "===> capconduit_$f (db=x, table=y)"; done ;;
  'pjsip show endpoint 100') echo ' context : site' ;;
  'core show channels concise') cat ETC/../channels ;;
esac
"#;

struct Site {
    dir: TempDir,
    setup: Setup,
    before: Folder,
}

impl Site {
    async fn new(wanted: Wanted) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let etc = dir.path().join("etc");
        for folder in ["etc", "data/realtime", "spool/capconduit", "modules"] {
            fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        for (name, entry) in &debian().entries {
            fs::write(etc.join(name), &entry.file().unwrap().bytes).unwrap();
        }
        for name in super::super::fixtures::program().modules.unwrap() {
            fs::write(dir.path().join("modules").join(name), "").unwrap();
        }
        for file in ["broken", "channels", "asked", "data/realtime/realtime.db"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let program = dir.path().join("asterisk");
        let version = crate::inspect::DIALPLAN_VERSION.to_string();
        let script = ASTERISK.replace("ETC", &etc.display().to_string()).replace("VERSION", &version);
        fs::write(&program, script).unwrap();
        fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("data/realtime/realtime.db").display().to_string();
        let spool = dir.path().join("spool/capconduit/fallback.log").display().to_string();
        let wanted = Wanted { tables: Tables::Sqlite { path }, spool, clients: Vec::new(), ..wanted };
        let data = (dir.path().join("data"), None);
        let setup = Setup::of(Some(etc.clone()), program, wanted, data, Clock::start()).await.unwrap();
        let before = disk::read(&etc).unwrap();
        Self { dir, setup, before }
    }

    fn now(&self) -> Folder {
        disk::read(&self.setup.folder).unwrap()
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// What Asterisk was told to do.
    fn told(&self) -> Vec<String> {
        let asked = fs::read_to_string(self.dir.path().join("asked")).unwrap();
        let lines = asked.lines().filter(|line| !line.contains("show") && !line.starts_with("realtime"));
        lines.map(str::to_owned).collect()
    }

    async fn install(&self) -> Result<String, Failure> {
        let mut said = String::new();
        install(&self.setup, None, &mut |line| said.push_str(&format!("{line}\n"))).await.map(|()| said)
    }

    async fn remove(&self, force: bool) -> Result<String, Failure> {
        let mut said = String::new();
        remove(&self.setup, force, &mut |line| said.push_str(&format!("{line}\n"))).await.map(|()| said)
    }
}

#[tokio::test]
async fn an_installation_is_carried_out_checked_repeated_and_taken_out_again() {
    let site = Site::new(wanted()).await;
    let (text, stopped) = preview(&site.setup).await.unwrap();
    assert!(!stopped && text.contains("Steps"), "{text}");
    assert_eq!(site.now(), site.before, "a preview changes nothing");
    let said = site.install().await.unwrap();
    assert!(said.contains("asterisk -rx 'dialplan reload'") && said.contains("read by a start alone"), "{said}");
    assert!(!site.setup.folder.join("capconduit.d/unfinished").exists());
    let told = site.told();
    assert!(told.contains(&RELOAD_PJSIP.to_owned()) && !told.iter().any(|one| one.contains("restart")), "{told:?}");
    let wrong: Vec<_> = check(&site.setup).await.unwrap().into_iter().filter(|one| one.state == State::Wrong).collect();
    assert_eq!(wrong, []);
    assert!(site.install().await.unwrap().starts_with("nothing to do"));
    assert_eq!(site.told(), told, "and nothing was told to Asterisk");
    site.remove(false).await.unwrap();
    assert_eq!(site.now(), site.before);
    assert!(!site.setup.folder.join("capconduit.d").exists());
    assert!(site.remove(false).await.unwrap().starts_with("nothing to do"));
}

#[tokio::test]
async fn what_does_not_come_out_right_is_put_back() {
    let site = Site::new(wanted()).await;
    site.write("broken", "dialplan show capconduit-inbound\n");
    let failure = site.install().await.unwrap_err().to_string();
    assert!(failure.starts_with("this went wrong") && failure.contains("capconduit-inbound"), "{failure}");
    assert_eq!(site.now(), site.before);
    let reloads = site.told().iter().filter(|one| *one == "dialplan reload").count();
    assert_eq!(reloads, 2, "once with ours and once without");
    // An update that fails leaves what was there before it.
    site.write("broken", "");
    site.install().await.unwrap();
    let installed = site.now();
    site.write("broken", "ari show users\n");
    fs::write(site.setup.folder.join("capconduit.d/ari.conf"), "old").unwrap();
    let old = site.now();
    assert!(matches!(site.install().await.unwrap_err(), Failure::PutBack(_)));
    assert_eq!(site.now(), old);
    site.write("broken", "");
    site.install().await.unwrap();
    assert_eq!(site.now(), installed);
}

#[tokio::test]
async fn the_sites_own_that_was_not_well_before_stops_nothing() {
    let site = Site::new(wanted()).await;
    site.write("broken", "pjsip show endpoint 100\n");
    site.install().await.unwrap();
}

#[tokio::test]
async fn one_that_was_broken_off_is_completed_and_brought_into_force() {
    let site = Site::new(wanted()).await;
    let whole = {
        site.install().await.unwrap();
        let whole = site.now();
        site.remove(false).await.unwrap();
        whole
    };
    let survey = survey(&site.setup).await.unwrap();
    let plan = Plan::install(&survey, &site.setup.wanted);
    for done in 0..=plan.changes.len() {
        let found = disk::look(&site.setup.folder).unwrap();
        disk::begin(&site.setup.folder, Owner { uid: found.uid, gid: found.gid }).unwrap();
        for change in &plan.changes[..done] {
            disk::apply(&site.setup.folder, change).unwrap();
        }
        site.write("asked", "");
        site.install().await.unwrap();
        assert_eq!(site.now(), whole, "after {done}");
        assert!(site.told().contains(&"dialplan reload".to_owned()), "after {done}: {:?}", site.told());
        site.remove(false).await.unwrap();
        assert_eq!(site.now(), site.before, "after {done}");
    }
}

#[tokio::test]
async fn nothing_is_removed_while_calls_of_ours_are_up_unless_it_is_forced() {
    let site = Site::new(wanted()).await;
    site.install().await.unwrap();
    site.write(
        "channels",
        "PJSIP/trunk-1!capconduit-inbound!+1!1!Up!Stasis!capconduit-1,inbound!x\nPJSIP/100-2!site!1!1!Up!Dial!x\n",
    );
    let failure = site.remove(false).await.unwrap_err().to_string();
    assert!(failure.starts_with("CapConduit's calls are up (PJSIP/trunk-1)"), "{failure}");
    assert!(is_installed(&site.now()));
    site.remove(true).await.unwrap();
    assert_eq!(site.now(), site.before);
}

#[tokio::test]
async fn what_the_site_set_in_our_folder_is_kept_when_it_goes() {
    let site = Site::new(wanted()).await;
    site.install().await.unwrap();
    fs::write(site.setup.folder.join(SITE_FILES[1]), "[carrier](capconduit-carrier)\n").unwrap();
    let said = site.remove(false).await.unwrap();
    let kept = said.lines().find_map(|line| line.strip_prefix("kept: ")).expect("it is told");
    assert_eq!(fs::read_to_string(kept).unwrap(), "[carrier](capconduit-carrier)\n");
    assert_eq!(site.now(), site.before);
}

#[tokio::test]
async fn what_stops_it_is_told_before_anything_is_done() {
    let site = Site::new(Wanted { password: String::new().into(), ..wanted() }).await;
    let failure = site.install().await.unwrap_err().to_string();
    assert!(failure.starts_with("nothing was changed") && failure.contains("no password"), "{failure}");
    assert_eq!(site.now(), site.before);
    assert!(preview(&site.setup).await.unwrap().1);
}

#[tokio::test]
async fn without_an_asterisk_the_files_are_written_and_nothing_is_claimed() {
    let mut site = Site::new(wanted()).await;
    site.setup.console = super::super::console::Console::new("/nowhere/asterisk".into(), None);
    let said = site.install().await.unwrap();
    assert!(said.contains("Asterisk does not run") && is_installed(&site.now()), "{said}");
    let findings = check(&site.setup).await.unwrap();
    assert!(findings[0].state == State::Wrong && findings[0].found.contains("/nowhere/asterisk"), "{findings:?}");
    site.remove(false).await.unwrap();
    assert_eq!(site.now(), site.before);
}

#[tokio::test]
async fn a_command_of_the_systems_that_fails_says_what_it_said() {
    let said = run("sh", &["-c", "echo it went wrong >&2; exit 3"], None).await.unwrap_err().to_string();
    assert!(said.ends_with("it went wrong"), "{said}");
    assert!(run("/nowhere/usermod", &[], None).await.is_err());
}
