//! PURE: what our files say, derived from those of `asterisk/etc`, which are the one source, and from what the site has.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use secrecy::ExposeSecret;

use super::blocks::{blocks, settings};
use super::kind::Kind;
use super::modules::Modules;
use super::notes::has_cdr;
use super::site::{Place, Site};
use super::sorcery::{self, Mappings};
use super::{Program, Tables, Wanted, stored};
use crate::needs::DIALPLAN;

const BESIDE: &str = include_str!("../../asterisk/beside/extensions.conf");
const PJSIP: &str = include_str!("../../asterisk/etc/pjsip.conf");
const SITE_PJSIP: &str = include_str!("../../asterisk/etc/capconduit_site_pjsip.conf");
const SITE_GLOBALS: &str = include_str!("../../asterisk/etc/capconduit_site_globals.conf");
const SITE_ARI: &str = include_str!("../../asterisk/etc/capconduit_site_ari.conf");
const SQLITE3: &str = include_str!("../../asterisk/etc/sqlite/res_config_sqlite3.conf");

/// Where the example of a carrier begins in the site file of the whole configuration.
const CARRIERS: &str = "; A carrier:";

/// The option that Asterisks before 20.11, 21.6, 22.1 do not know: they would refuse the whole carrier for it.
const HOLD: &str = "suppress_moh_on_sendonly";

/// What the site sets itself, beside what is ours; made once, never written over.
pub(super) const SITE_FILES: [&str; 2] = ["capconduit.d/site_globals.conf", "capconduit.d/site_pjsip.conf"];

/// What each of our files says; what has nothing to say is left out. Then the site's own, as they are made.
pub(super) fn ours(site: &Site, wanted: &Wanted, program: &Program) -> BTreeMap<Kind, String> {
    let mappings = Mappings::of(site, wanted);
    let mut ours = BTreeMap::new();
    let mut add = |kind: Kind, what: &str, body: String| {
        if !body.is_empty() {
            ours.insert(kind, format!("{}{body}", head(what)));
        }
    };
    add(
        Kind::Modules,
        "the modules that it needs and this configuration does not load.",
        modules(site, wanted, program),
    );
    match &wanted.tables {
        Tables::Sqlite { path } => add(Kind::Sqlite3, "the file with the call centres' SIP settings.", sqlite3(path)),
        Tables::Postgres { .. } => {
            add(Kind::Pgsql, "the database with the call centres' SIP settings.", pgsql(site, wanted));
        }
    }
    add(Kind::Extconfig, "which tables hold the call centres' SIP settings.", mappings.extconfig(site, wanted));
    add(Kind::Extensions, "the dialplan of its calls.", extensions(site, wanted, program));
    add(Kind::Ari, "the controller's ARI user.", ari(site, wanted));
    add(Kind::Http, "the HTTP server that carries ARI.", http(site, wanted));
    add(Kind::Pjsip, "what its carriers have in common.", pjsip(program));
    add(Kind::Sorcery, "that PJSIP looks for call centres in the tables as well.", mappings.sorcery(site));
    ours
}

/// The site's own files as they are made.
pub(super) fn site_file(name: &str) -> String {
    if name == SITE_FILES[0] {
        return SITE_GLOBALS
            .replace("Read by extensions.conf.", &format!("Read by {}.", Kind::Extensions.ours()))
            .replace("stand in extensions.conf", &format!("stand in {}", Kind::Extensions.ours()));
    }
    let carriers = SITE_PJSIP.find(CARRIERS).map(|at| &SITE_PJSIP[at..]).unwrap_or_default();
    format!(
        "; Site file: carriers whose calls are CapConduit's alone. Read by {}. Transports are the site's.\n;\n{carriers}",
        Kind::Pjsip.ours()
    )
}

fn head(what: &str) -> String {
    format!(
        "; CapConduit: {what}\n; Written by `capconduit asterisk install`, which writes it anew; `capconduit asterisk remove` takes it away.\n\n"
    )
}

fn modules(site: &Site, wanted: &Wanted, program: &Program) -> String {
    let modules = Modules::of(site);
    let missing = modules.to_load(program, wanted);
    if missing.is_empty() {
        return String::new();
    }
    let loads: String = missing.iter().map(|name| format!("load = {name}\n")).collect();
    format!("{}{loads}", site.header(Kind::Modules, "modules"))
}

fn sqlite3(path: &str) -> String {
    let block = blocks(SQLITE3).into_iter().find(|block| block.name == Some(sorcery::DATABASE));
    let lines = block.map(|block| block.lines).unwrap_or_default();
    let begun = lines.iter().position(|line| line.starts_with('[')).unwrap_or_default();
    let line = |line: &&str| match line.strip_prefix("#include") {
        Some(_) => format!("dbfile => {path}\n"),
        None if line.starts_with("; The path") => String::new(),
        None => format!("{line}\n"),
    };
    lines[begun..].iter().map(line).collect()
}

fn pgsql(site: &Site, wanted: &Wanted) -> String {
    let Tables::Postgres { host, port, database, user, password } = &wanted.tables else { return String::new() };
    let mut text = site.header(Kind::Pgsql, "general");
    let key = if host.starts_with('/') { "dbsock" } else { "dbhost" };
    let _ = writeln!(text, "{key} = {host}\ndbport = {port}\ndbname = {database}\ndbuser = {user}");
    if let Some(password) = password {
        let _ = writeln!(text, "dbpass = {}", escaped(password.expose_secret()));
    }
    text.push_str("; Complain about a missing column, never create one: migrations are ours.\nrequirements = warn\n");
    text
}

/// The whole dialplan, without what is said of all the node, and with what holds beside a site's.
fn extensions(site: &Site, wanted: &Wanted, program: &Program) -> String {
    let left_out = [None, Some("general"), Some("capconduit-clients")];
    let kept = blocks(DIALPLAN).into_iter().filter(|block| !left_out.contains(&block.name));
    let mut text = stored::line(wanted);
    for line in kept.flat_map(|block| block.lines) {
        if line.starts_with("#include") {
            text.push_str(&globals(wanted));
        } else {
            let _ = writeln!(text, "{line}");
        }
    }
    // A function that no module brings is a line in the log with every call.
    let cdr = has_cdr(site, program) && !wanted.site_cdr;
    let beside = BESIDE.lines().filter(|line| cdr || !line.contains("CDR_PROP("));
    text.push('\n');
    beside.for_each(|line| {
        let _ = writeln!(text, "{line}");
    });
    text
}

fn globals(wanted: &Wanted) -> String {
    let Wanted { app, apps, spool, .. } = wanted;
    format!(
        "; By the controller's configuration.\nCAPCONDUIT_APP = {app}\nCAPCONDUIT_APPS = {apps}\nCAPCONDUIT_SPOOL = {spool}\n\
         ; There are a site's calls beside ours. When this was read last: globals are worked out then.\n\
         CAPCONDUIT_BESIDE = yes\nCAPCONDUIT_LOADED = ${{EPOCH}}\n#tryinclude \"{}\"\n",
        SITE_FILES[0]
    )
}

fn ari(site: &Site, wanted: &Wanted) -> String {
    let mut text = String::new();
    if site.reading(Kind::Ari).value("general", "enabled").is_some_and(|value| !is_true(value)) {
        text.push_str(&site.header(Kind::Ari, "general"));
        text.push_str("enabled = yes\n\n");
    }
    let _ = writeln!(text, "[{}]", wanted.user);
    for (name, value) in settings(SITE_ARI, "capconduit") {
        let password = || escaped(wanted.password.expose_secret());
        let value = if name == "password" { password() } else { value.to_owned() };
        let _ = writeln!(text, "{name} = {value}");
    }
    if wanted.foreign_ari {
        text.push_str("; The server listens for other hosts as well; this user is of this one.\n");
        text.push_str("deny = 0.0.0.0/0\ndeny = ::/0\npermit = 127.0.0.1/32\npermit = ::1/128\n");
    }
    text
}

/// What the server lacks to listen where the controller looks for it.
fn http(site: &Site, wanted: &Wanted) -> String {
    let reading = site.reading(Kind::Http);
    let has = |name: &str| reading.value("general", name);
    let mut lines = Vec::new();
    if !has("enabled").is_some_and(is_true) {
        lines.push("enabled = yes".to_owned());
    }
    // Without an address it does not listen, enabled or not.
    if has("bindaddr").is_none() {
        lines.push(format!("bindaddr = {}", wanted.listen.address));
    }
    if !lines.is_empty() && has("bindport").is_none() && wanted.listen.port != super::HTTP_PORT {
        lines.push(format!("bindport = {}", wanted.listen.port));
    }
    if lines.is_empty() {
        return String::new();
    }
    format!("{}{}\n", site.header(Kind::Http, "general"), lines.join("\n"))
}

fn pjsip(program: &Program) -> String {
    let block = blocks(PJSIP).into_iter().find(|block| block.name == Some("capconduit-carrier"));
    let lines = block.map(|block| block.lines).unwrap_or_default();
    let kept = lines.iter().filter(|line| {
        let unknown = line.starts_with(HOLD) && !program.knows_hold();
        !line.starts_with("#include") && !unknown
    });
    let mut text: String = kept.map(|line| format!("{line}\n")).collect();
    text = text.replace("in the site file", &format!("in {}", SITE_FILES[1]));
    let _ = writeln!(text, "\n#tryinclude \"{}\"", SITE_FILES[1]);
    text
}

/// What begins a comment is written so that it begins none.
fn escaped(value: &str) -> String {
    value.replace(';', "\\;")
}

/// As Asterisk reads a switch.
pub(super) fn is_true(value: &str) -> bool {
    ["yes", "true", "y", "t", "1", "on"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether a section of ours, of this name, would be one that the site has.
pub(super) fn taken(site: &Site, kind: Kind, section: &str) -> bool {
    site.place(kind, section) != Place::Nowhere
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{autoload_no, debian, file, freepbx, program, wanted};
    use super::super::folder::Folder;
    use super::super::reading::Reading;
    use super::*;
    use crate::needs::{MODULES_BESIDE, Needs};

    fn of(folder: &Folder) -> BTreeMap<Kind, String> {
        ours(&Site::of(folder), &wanted(), &program())
    }

    /// The sections of a text as Asterisk reads it.
    fn sections(text: &str) -> Vec<String> {
        let folder = super::super::fixtures::folder(&[("x.conf", text), ("capconduit_site_globals.conf", "")]);
        Reading::of(&folder, "x.conf").sections.into_iter().map(|section| section.name).collect()
    }

    #[test]
    fn the_dialplan_is_the_delivered_one_but_for_what_is_the_whole_nodes() {
        let text = &of(&debian())[&Kind::Extensions];
        assert_eq!(DIALPLAN.lines().filter(|line| line.starts_with("#include")).count(), 1, "the site's globals");
        let delivered = sections(DIALPLAN);
        let mut expected: Vec<String> = delivered.iter().filter(|name| *name != "general").cloned().collect();
        expected.retain(|name| name != "capconduit-clients");
        expected.extend(["capconduit-beside", "capconduit-clients"].map(str::to_owned));
        assert_eq!(sections(text), expected);
        let forbidden = |line: &str| line.starts_with("clearglobalvars") || line.starts_with("#include");
        assert!(!text.lines().any(forbidden), "{text}");
        for line in DIALPLAN.lines().filter(|line| line.starts_with(" same") && !line.contains("clients")) {
            assert!(text.contains(line), "{line}");
        }
        for line in ["CAPCONDUIT_APP = capconduit\n", "CAPCONDUIT_LOADED = ${EPOCH}\n", "CAPCONDUIT_BESIDE = yes\n"] {
            assert!(text.contains(line), "{line}");
        }
        assert!(text.contains("?capconduit-beside,s,1)"), "the delivered dialplan comes by it");
        let clients = text.split("[capconduit-clients]").nth(1).expect("it is there");
        assert!(!clients.contains("exten"), "an INVITE of a client finds no extension: {clients}");
        // Everything that it uses is said to be brought by something.
        let needs = Needs::of(text, MODULES_BESIDE);
        assert!(needs.unknown_functions(&std::collections::BTreeSet::new()).is_empty());
    }

    #[test]
    fn rows_in_the_cdr_are_kept_out_where_the_function_is_there_and_they_are_not_wanted() {
        assert!(of(&debian())[&Kind::Extensions].contains("CDR_PROP(disable)"));
        let kept = Wanted { site_cdr: true, ..wanted() };
        assert!(!ours(&Site::of(&debian()), &kept, &program())[&Kind::Extensions].contains("CDR_PROP"));
        let without = Program { modules: Some([].into()), ..program() };
        assert!(!ours(&Site::of(&debian()), &wanted(), &without)[&Kind::Extensions].contains("CDR_PROP"));
    }

    #[test]
    fn each_file_says_what_the_site_lacks() {
        let debian = of(&debian());
        assert!(debian[&Kind::Http].ends_with("[general](+)\nenabled = yes\n"), "{}", debian[&Kind::Http]);
        assert!(debian[&Kind::Ari].ends_with("password = secret\\;with a semicolon\n"), "{}", debian[&Kind::Ari]);
        assert!(debian[&Kind::Ari].contains("\n[capconduit]\ntype = user\nread_only = no\n"), "{}", debian[&Kind::Ari]);
        let sqlite3 = &debian[&Kind::Sqlite3];
        assert!(sqlite3.contains("\n[capconduit]\ndbfile => /var/lib/capconduit/realtime/realtime.db\n"), "{sqlite3}");
        assert!(sqlite3.contains("\nbatch = 0\n") && sqlite3.contains("\nbusy_timeout = 1000\n"), "{sqlite3}");
        let pjsip = &debian[&Kind::Pjsip];
        assert!(pjsip.contains("[capconduit-carrier](!)\ntype = endpoint\ncontext = capconduit-inbound\n"), "{pjsip}");
        assert!(pjsip.ends_with("\n#tryinclude \"capconduit.d/site_pjsip.conf\"\n") && pjsip.contains(HOLD), "{pjsip}");
        assert!(!debian.contains_key(&Kind::Modules) && !debian.contains_key(&Kind::Pgsql));
        let freepbx = of(&freepbx());
        assert!(!freepbx.contains_key(&Kind::Http), "its server listens already");
        assert!(
            freepbx[&Kind::Sorcery].contains("\n[res_pjsip]\n") && freepbx[&Kind::Extconfig].contains("\n[settings]\n")
        );
    }

    #[test]
    fn what_an_old_asterisk_does_not_know_is_left_out() {
        for (version, knows) in
            [((20, 6, 0), false), ((20, 11, 0), true), ((21, 5, 9), false), ((22, 0, 0), false), ((23, 0, 0), true)]
        {
            let program = Program { version: Some(version), ..program() };
            let text = &ours(&Site::of(&debian()), &wanted(), &program)[&Kind::Pjsip];
            assert_eq!(text.contains("\nsuppress_moh_on_sendonly"), knows, "{version:?}");
        }
    }

    #[test]
    fn a_site_that_loads_what_it_names_gets_lines_for_the_rest() {
        let text = &of(&autoload_no())[&Kind::Modules];
        assert!(text.contains("\n[modules](+)\nload = "), "{text}");
        for there in [
            "load = app_stasis.so\n",
            "load = res_config_sqlite3.so\n",
            "load = func_rand.so\n",
            "load = res_sorcery_realtime.so\n",
        ] {
            assert!(text.contains(there), "{there} in {text}");
        }
        for not in ["pbx_config", "load = res_pjsip.so", "codec_gsm"] {
            assert!(!text.contains(not), "{not} in {text}");
        }
    }

    #[test]
    fn an_ari_that_is_off_is_turned_on_and_one_that_others_reach_is_limited() {
        let mut off = debian();
        off.write("ari.conf", file("[general]\nenabled = no\n"));
        assert!(of(&off)[&Kind::Ari].contains("[general](+)\nenabled = yes\n"));
        let foreign = Wanted { foreign_ari: true, ..wanted() };
        assert!(
            ours(&Site::of(&debian()), &foreign, &program())[&Kind::Ari]
                .ends_with("deny = ::/0\npermit = 127.0.0.1/32\npermit = ::1/128\n")
        );
    }

    #[test]
    fn the_sites_own_files_are_examples() {
        let [globals, pjsip] = SITE_FILES.map(site_file);
        assert!(
            globals.contains("CAPCONDUIT_LAST_RESORT") && globals.lines().all(|line| line.starts_with(';')),
            "{globals}"
        );
        assert!(
            pjsip.contains("[carrier-example](capconduit-carrier)")
                && pjsip.lines().all(|line| line.starts_with(';') || line.is_empty()),
            "{pjsip}"
        );
        assert!(globals.contains("capconduit.d/extensions.conf") && !pjsip.contains("type = transport"));
    }
}
