//! PURE: what an installation or a removal does, before anything is done.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::Running;
use super::changes::{Change, changes};
use super::folder::{Entry, Folder};
use super::kind::Kind;
use super::modules::{Modules, driver};
use super::notes::notes;
use super::obstacles::{Case, Obstacle, obstacles};
use super::ours::{SITE_FILES, ours};
use super::reading::Reading;
use super::sharing::{Machine, Share};
use super::site::Site;
use super::target::{BEFORE, Owner, has_line, hosts, installed, removed};
use super::{Program, Wanted};

/// What was found before anything is decided.
#[derive(Debug, Clone, Default)]
pub(super) struct Survey {
    pub(super) folder: Folder,
    /// Whose Asterisk's folder is.
    pub(super) folder_uid: u32,
    pub(super) program: Program,
    /// `None` where no Asterisk runs there, or none that can be asked.
    pub(super) running: Option<Running>,
    pub(super) machine: Machine,
    /// Whether an earlier work was broken off.
    pub(super) unfinished: bool,
    /// When what sorcery reads was last written, and when Asterisk was started, in milliseconds since 1970.
    pub(super) sorcery_at: Option<i64>,
    pub(super) started_at: Option<i64>,
}

impl Survey {
    fn owner(&self) -> Owner {
        Owner { uid: self.folder_uid, gid: self.machine.asterisk.gid }
    }

    /// Whether Asterisk has not been started since what only a start reads was written.
    pub(super) fn restart_due(&self) -> bool {
        self.sorcery_at.zip(self.started_at).is_some_and(|(written, started)| written > started)
    }

    /// Of an Asterisk whose start is known by whole seconds alone nobody knows within one.
    pub(super) fn restart_may_be_due(&self) -> bool {
        self.sorcery_at.zip(self.started_at).is_some_and(|(written, started)| written >= started - 1000)
    }
}

/// What is to be done.
#[derive(Debug, Clone, Default)]
pub(super) struct Plan {
    pub(super) obstacles: Vec<Obstacle>,
    pub(super) shares: Vec<Share>,
    pub(super) changes: Vec<Change>,
    /// Commands for the running Asterisk.
    pub(super) console: Vec<String>,
    /// Asterisk must be started anew for a part of it.
    pub(super) restart: bool,
    pub(super) notes: Vec<String>,
    /// What remains for the administrator.
    pub(super) left: Vec<String>,
}

impl Plan {
    pub(super) fn is_empty(&self) -> bool {
        self.shares.is_empty() && self.changes.is_empty() && self.console.is_empty()
    }

    /// Ours are brought in, or up to date.
    pub(super) fn install(survey: &Survey, wanted: &Wanted) -> Self {
        let site = Site::of(&survey.folder);
        let ours = ours(&site, wanted, &survey.program);
        let target = installed(&survey.folder, &site, &ours, survey.owner());
        let (current, running) = (&survey.folder, survey.running.as_ref());
        let case = Case { site: &site, wanted, program: &survey.program, running, current, target: &target };
        let mut obstacles = obstacles(&case);
        if let Some(folder) = survey.machine.not_ours() {
            obstacles.push(Obstacle {
                found: format!("realtime.path is in {folder}, which others use: it would become Asterisk's to write"),
                mend: "give the file a folder of its own, such as `realtime` in data.dir".to_owned(),
            });
        }
        if let Some(closed) = survey.machine.closed() {
            obstacles.push(Obstacle {
                found: format!("Asterisk's user does not get through {closed}, which the realtime file is below"),
                mend: "put it elsewhere (realtime.path, data.dir), or let others pass that folder".to_owned(),
            });
        }
        let changes = changes(current, &target);
        let sorcery = kinds(&changes, false).contains(&Kind::Sorcery) && ours.contains_key(&Kind::Sorcery);
        let kinds = kinds(&changes, survey.unfinished);
        let shares = survey.machine.shares();
        // A reload opens no file of which nothing is changed in its configuration, but says that it was successful.
        let another = |share: &Share| match share {
            Share::Own { path, .. } => survey.machine.is_of_tables(path),
            // The one that was removed may still be open.
            Share::Tables { .. } => true,
            Share::Folder { .. } | Share::Join { .. } => false,
        };
        let opens_anew = !kinds.contains(&Kind::Sqlite3) && shares.iter().any(another);
        Self {
            obstacles,
            console: console(
                &kinds,
                survey,
                &Modules::of(&site).usable(&survey.program, wanted),
                driver(wanted),
                opens_anew,
            ),
            restart: sorcery || survey.restart_due(),
            shares,
            changes,
            notes: notes(&site, wanted, &survey.program, running),
            left: left(&site, wanted, survey),
        }
    }

    /// Ours are taken out.
    pub(super) fn remove(survey: &Survey, wanted: &Wanted) -> Self {
        let target = removed(&survey.folder);
        let changes = changes(&survey.folder, &target);
        let mut kinds = kinds(&changes, survey.unfinished);
        kinds.remove(&Kind::Modules);
        let mut console = console(&kinds, survey, &[], driver(wanted), false);
        // What does not run is not missed.
        console.retain(|command| !command.starts_with(LOAD));
        let mut obstacles = Vec::new();
        for host in Kind::ALL.into_iter().flat_map(hosts) {
            if let Some(Entry::Link { to, file: Some(file) }) = survey.folder.entries.get(host)
                && has_line(&file.bytes)
            {
                obstacles.push(Obstacle {
                    found: format!("{host} is a symbolic link to {to} now, and has our line"),
                    mend: format!("take the line that ends in `; capconduit` out of {to}"),
                });
            }
        }
        // What the site has built on ours.
        for kind in Kind::ALL {
            let faults = |folder: &Folder| Reading::of(folder, kind.main()).faults;
            let known = faults(&survey.folder);
            for fault in faults(&target).into_iter().filter(|fault| !known.contains(fault)) {
                obstacles.push(Obstacle {
                    found: format!(
                        "{}, line {}, needs something of CapConduit's ({}): Asterisk would read nothing behind it",
                        fault.file, fault.line, fault.why
                    ),
                    mend: "take that line out, or let it do without ours".to_owned(),
                });
            }
        }
        Self { obstacles, changes, console, ..Self::default() }
    }
}

/// How a command begins that brings a module in.
pub(super) const LOAD: &str = "module load ";

/// `pjsip reload` is an alias (`cli_aliases.conf`), which not every Asterisk has.
pub(super) const RELOAD_PJSIP: &str = "module reload res_pjsip.so res_pjsip_authenticator_digest.so \
                                       res_pjsip_endpoint_identifier_ip.so res_pjsip_outbound_registration.so";

/// The configurations of which something changes.
fn kinds(changes: &[Change], all: bool) -> BTreeSet<Kind> {
    let changed = |kind: &Kind| {
        let ours = kind.ours();
        let site_file = match kind {
            Kind::Extensions => SITE_FILES[0],
            Kind::Pjsip => SITE_FILES[1],
            _ => "",
        };
        let mut names = changes.iter().map(Change::name);
        names.any(|name| name == ours || name == site_file || hosts(*kind).any(|host| host == name))
    };
    Kind::ALL.into_iter().filter(|kind| all || changed(kind)).collect()
}

/// What brings them into force, in an order in which nothing is looked for that is not there.
fn console(kinds: &BTreeSet<Kind>, survey: &Survey, usable: &[String], driver: &str, opens_anew: bool) -> Vec<String> {
    let Some(running) = &survey.running else { return Vec::new() };
    let mut commands = Vec::new();
    let reload = |module: &str| {
        let verb = if running.modules.contains(module) { "reload" } else { "load" };
        format!("module {verb} {module}")
    };
    if opens_anew && running.modules.contains(driver) {
        // Unloaded and loaded in one: nothing of the site's that needs it is told anything in between.
        commands.push(format!("module refresh {driver}"));
    } else if opens_anew || kinds.contains(&Kind::Sqlite3) || kinds.contains(&Kind::Pgsql) {
        commands.push(reload(driver));
    }
    if kinds.contains(&Kind::Extconfig) {
        commands.push("module reload extconfig".to_owned());
    }
    if kinds.contains(&Kind::Modules) {
        // Also such as the site names, and that failed for want of one that is loaded now.
        let missing = usable.iter().filter(|name| !running.modules.contains(*name) && *name != driver);
        commands.extend(missing.map(|name| format!("module load {name}")));
    }
    for (kind, command) in [
        (Kind::Extensions, "dialplan reload"),
        (Kind::Http, "module reload http"),
        (Kind::Ari, "module reload res_ari.so"),
        (Kind::Pjsip, RELOAD_PJSIP),
    ] {
        if kinds.contains(&kind) {
            commands.push(command.to_owned());
        }
    }
    commands
}

fn left(site: &Site, wanted: &Wanted, survey: &Survey) -> Vec<String> {
    let folder = &survey.folder.path;
    let mut left = vec![if site.freepbx {
        format!(
            "a number of yours that CapConduit shall take: in {folder}/extensions_custom.conf, [from-pstn-custom], \
             `exten => 15551234567,1,Goto(capconduit-inbound,${{EXTEN}},1)`"
        )
    } else {
        "a number of yours that CapConduit shall take: in the context of your trunk, \
         `exten => 15551234567,1,Goto(capconduit-inbound,${EXTEN},1)`"
            .to_owned()
    }];
    left.push(format!(
        "a carrier whose calls are all CapConduit's: its endpoint in {folder}/{}, then `asterisk -rx '{RELOAD_PJSIP}'`; its \
         addresses in sip.carriers of capconduit.toml",
        SITE_FILES[1]
    ));
    if survey.machine.shares().iter().any(|share| matches!(share, Share::Join { .. })) {
        left.push("`capconduit serve` must be started anew to be a member of Asterisk's group".to_owned());
    }
    if wanted.spool_unset {
        left.push(format!(
            "asterisk[].fallback_spool = \"{}\" in capconduit.toml, so that calls of the fallback become records",
            wanted.spool
        ));
    }
    left
}

/// The folder as it would be after these changes.
#[cfg(test)]
pub(super) fn after(folder: &Folder, changes: &[Change]) -> Folder {
    let mut folder = folder.clone();
    changes.iter().for_each(|change| change.apply(&mut folder));
    folder
}

/// Changes without what is kept of the old.
pub(super) fn told(changes: &[Change]) -> impl Iterator<Item = &Change> {
    changes.iter().filter(|change| !change.name().starts_with(BEFORE))
}

/// By which file each kind's line is written, for what is told.
pub(super) fn by_file(changes: &[Change]) -> BTreeMap<&str, &Change> {
    told(changes).map(|change| (change.name(), change)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{autoload_no, debian, program, realtime, wanted};
    use super::*;

    fn running() -> Running {
        Running {
            folder: "/etc/asterisk".to_owned(),
            modules: ["res_config_sqlite3.so".to_owned()].into(),
            uptime: Some(100),
            ..Running::default()
        }
    }

    fn survey(folder: Folder) -> Survey {
        Survey { folder, program: program(), running: Some(running()), ..Survey::default() }
    }

    #[test]
    fn all_but_sorcery_comes_into_force_by_reloads() {
        let plan = Plan::install(&survey(debian()), &wanted());
        assert_eq!(plan.obstacles, []);
        assert_eq!(
            plan.console,
            [
                "module reload res_config_sqlite3.so",
                "module reload extconfig",
                "dialplan reload",
                "module reload http",
                "module reload res_ari.so",
                RELOAD_PJSIP
            ]
        );
        assert!(plan.restart && !plan.is_empty());
    }

    #[test]
    fn what_is_there_already_is_nothing_to_do_and_what_was_broken_off_is_reloaded() {
        let mut there = survey(debian());
        there.folder = after(&there.folder, &Plan::install(&there, &wanted()).changes);
        let plan = Plan::install(&there, &wanted());
        assert!(plan.is_empty() && !plan.restart, "{plan:?}");
        there.unfinished = true;
        let plan = Plan::install(&there, &wanted());
        assert!(plan.changes.is_empty() && plan.console.len() == 6 && !plan.restart, "{plan:?}");
    }

    #[test]
    fn a_file_that_asterisk_could_not_open_or_that_was_removed_is_opened_anew() {
        use super::super::sharing::{Found, Shared};
        let mut there = survey(debian());
        (there.machine.asterisk.uid, there.machine.asterisk.gid) = (110, 110);
        there.folder = after(&there.folder, &Plan::install(&there, &wanted()).changes);
        there.machine.joined = true;
        let found = Some(Found { uid: 0, gid: 0, mode: 0o660 });
        let above = vec![("/var/lib/capconduit/realtime".to_owned(), Some(Found { uid: 0, gid: 110, mode: 0o2770 }))];
        let path = "/var/lib/capconduit/realtime/realtime.db".to_owned();
        there.machine.tables = Some(Shared { path, file: found, beside: Vec::new(), above });
        let plan = Plan::install(&there, &wanted());
        assert_eq!(plan.console, ["module refresh res_config_sqlite3.so"]);
        there.machine.tables.as_mut().unwrap().file = None;
        assert_eq!(Plan::install(&there, &wanted()).console, ["module refresh res_config_sqlite3.so"]);
    }

    #[test]
    fn a_restart_is_due_until_there_was_one() {
        let mut there = survey(debian());
        there.folder = after(&there.folder, &Plan::install(&there, &wanted()).changes);
        (there.sorcery_at, there.started_at) = (Some(100), Some(50));
        assert!(Plan::install(&there, &wanted()).restart);
        there.started_at = Some(101);
        assert!(!Plan::install(&there, &wanted()).restart);
    }

    #[test]
    fn a_shared_family_whose_site_reads_its_files_needs_no_restart() {
        let mut site = realtime();
        let more = "[res_pjsip](+)\naor=config,pjsip.conf,criteria=type=aor\nauth=config,pjsip.conf,criteria=type=auth\n\
                    [res_pjsip_endpoint_identifier_ip](+)\nidentify=config,pjsip.conf,criteria=type=identify\n";
        let old = String::from_utf8(site.bytes("sorcery.conf").unwrap().to_vec()).unwrap();
        site.write("sorcery.conf", super::super::fixtures::file(&format!("{old}{more}")));
        let shared = Wanted { share_realtime: true, ..wanted() };
        let plan = Plan::install(&survey(site), &shared);
        assert!(plan.obstacles.is_empty() && !plan.restart, "{plan:?}");
        assert!(!plan.changes.iter().any(|change| change.name().contains("sorcery")));
    }

    #[test]
    fn modules_that_the_site_does_not_load_are_loaded_at_once() {
        let mut site = survey(autoload_no());
        site.running.as_mut().unwrap().modules = ["func_rand.so".to_owned()].into();
        let plan = Plan::install(&site, &wanted());
        let (first, second) = (plan.console[0].as_str(), plan.console[1].as_str());
        assert_eq!((first, second), ("module load res_config_sqlite3.so", "module reload extconfig"));
        assert!(plan.console.contains(&"module load app_stasis.so".to_owned()));
        assert!(!plan.console.iter().any(|command| command.contains("func_rand")), "it runs: {:?}", plan.console);
    }

    #[test]
    fn a_removal_reloads_and_needs_no_restart() {
        let mut there = survey(debian());
        there.folder = after(&there.folder, &Plan::install(&there, &wanted()).changes);
        let plan = Plan::remove(&there, &wanted());
        assert_eq!(after(&there.folder, &plan.changes), debian());
        assert!(plan.console.len() == 6 && !plan.restart);
        assert!(Plan::remove(&survey(debian()), &wanted()).is_empty());
    }

    #[test]
    fn a_removal_is_stopped_by_what_the_site_has_built_on_ours() {
        let mut there = survey(debian());
        there.folder = after(&there.folder, &Plan::install(&there, &wanted()).changes);
        let mut built = there.folder.file("pjsip.conf").unwrap().clone();
        built.bytes.extend_from_slice(b"[mine](capconduit-carrier)\ntype=endpoint\n");
        there.folder.write("pjsip.conf", built);
        let plan = Plan::remove(&there, &wanted());
        let [obstacle] = &plan.obstacles[..] else { panic!("{:?}", plan.obstacles) };
        assert!(obstacle.found.contains("pjsip.conf, line"), "{obstacle:?}");
    }

    #[test]
    fn without_a_running_asterisk_there_is_nothing_to_reload() {
        let away = Survey { running: None, ..survey(debian()) };
        assert!(Plan::install(&away, &wanted()).console.is_empty());
    }

    #[test]
    fn what_is_left_to_do_is_told() {
        let mut site = survey(debian());
        site.machine.controller.uid = 999;
        site.machine.asterisk.gid = 110;
        site.machine.asterisk.uid = 110;
        let wanted = Wanted { spool_unset: true, ..wanted() };
        let told = Plan::install(&site, &wanted).left.join("\n");
        for part in ["Goto(capconduit-inbound,${EXTEN},1)", "site_pjsip.conf", "started anew", "fallback_spool"] {
            assert!(told.contains(part), "{part} in {told}");
        }
        let freepbx = Plan::install(&survey(super::super::fixtures::freepbx()), &wanted).left.join("\n");
        assert!(freepbx.contains("[from-pstn-custom]"), "{freepbx}");
    }
}
