//! PURE: what stops an installation.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use secrecy::ExposeSecret;

use super::answers::Running;
use super::changes::harm;
use super::folder::{Entry, Folder};
use super::kind::{FOLDER, Kind, is_below};
use super::modules::{Modules, driver, needed};
use super::ours::{is_true, taken};
use super::reading::Reading;
use super::site::Site;
use super::sorcery::{DATABASE, Mappings, families};
use super::{HTTP_PORT, Program, Tables, Wanted};

/// Something that stops it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obstacle {
    /// What was found.
    pub found: String,
    /// How to mend it.
    pub mend: String,
}

/// Sites, and what is ours for them.
pub(super) struct Case<'a> {
    pub(super) site: &'a Site,
    pub(super) wanted: &'a Wanted,
    pub(super) program: &'a Program,
    pub(super) running: Option<&'a Running>,
    /// The folder as it is, and as it would be.
    pub(super) current: &'a Folder,
    pub(super) target: &'a Folder,
}

/// Everything that stops it, in the order of what is looked at.
pub(super) fn obstacles(case: &Case<'_>) -> Vec<Obstacle> {
    let mut found = Found(Vec::new());
    asterisk(case, &mut found);
    files(case, &mut found);
    names(case, &mut found);
    apps(case, &mut found);
    modules(case, &mut found);
    realtime(case, &mut found);
    ari(case, &mut found);
    pjsip(case, &mut found);
    if found.0.is_empty()
        && let Some(harm) = harm(case.site, case.target)
    {
        found
            .add(harm, "bring that file into an order in which nothing of yours depends on what stands in front of it");
    }
    found.0
}

struct Found(Vec<Obstacle>);

impl Found {
    fn add(&mut self, found: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Obstacle { found: found.into(), mend: mend.into() });
    }
}

fn asterisk(case: &Case<'_>, found: &mut Found) {
    if let Some((major, minor, _)) = case.program.version.filter(|version| version.0 < 20) {
        found.add(format!("Asterisk {major}.{minor} is too old"), "20 is the oldest that works; take 22.10.1 or later");
    }
    if let Some(running) = case.running.filter(|running| running.folder != case.current.path) {
        found.add(
            format!("the Asterisk that runs reads {}, not {}", running.folder, case.current.path),
            "name the folder that it reads with --etc, or the program with --program",
        );
    }
    if case.current.entries.is_empty() {
        found.add(format!("{} has no file", case.current.path), "name Asterisk's folder with --etc");
    }
    if case.wanted.password.expose_secret().is_empty() {
        found.add(
            "the controller's configuration has no password for ARI",
            "set asterisk[].password_file (or password) in capconduit.toml: what it says becomes the ARI user's",
        );
    }
    let file = match &case.wanted.tables {
        Tables::Sqlite { path } => path.as_str(),
        Tables::Postgres { .. } => "",
    };
    for (key, path) in [("asterisk[].fallback_spool", case.wanted.spool.as_str()), ("realtime.path", file)] {
        if path.contains(|c: char| c.is_control() || ";$\\\"".contains(c)) {
            found.add(
                format!("{key} is {path:?}, which means something else in Asterisk's files"),
                "choose a path without control characters and without ; $ \\ \"",
            );
        }
    }
    let password = case.wanted.password.expose_secret();
    if password.contains(|c: char| c.is_control() || c == '\\') || password.trim() != password {
        found.add(
            "the ARI password cannot be written into Asterisk's files",
            "choose one without control characters, backslashes and spaces at its ends",
        );
    }
}

/// Files that cannot get a line, or whose line would not be read.
fn files(case: &Case<'_>, found: &mut Found) {
    let site = case.site;
    if case.current.entries.contains_key(FOLDER) {
        found.add(format!("{FOLDER} is no folder"), "move it away");
    }
    for (name, entry) in case.current.entries.iter().filter(|(name, _)| is_below(name)) {
        if !matches!(entry, Entry::File { .. }) {
            found.add(format!("{name} is no file of ours"), "move it away");
        }
    }
    let theirs = site.reading(Kind::Extconfig);
    for kind in Kind::ALL {
        let host = site.host(kind);
        if case.target.file(&kind.ours()).is_none() {
            continue;
        }
        let blocked = match case.current.entries.get(host) {
            Some(Entry::Link { to, .. }) => Some((
                format!("{host} is a symbolic link to {to}: a new file would take the link's place"),
                "put a file there, or name the folder where the real files are with --etc",
            )),
            Some(Entry::Other) => Some((format!("{host} is no file"), "put a file there")),
            Some(Entry::File { names, .. }) if *names > 1 => Some((
                format!("{host} has {names} names (hard links): the others would not follow"),
                "copy it, so that it has one name",
            )),
            _ => None,
        };
        if let Some((blocked, mend)) = blocked {
            found.add(blocked, mend);
            continue;
        }
        let main = kind.main();
        if families(theirs).any(|(family, _)| family == main || family == "global") {
            found.add(
                format!("extconfig.conf lets Asterisk read {main} from a database, not from the file"),
                format!("take the mapping of {main} (or `global`) out of extconfig.conf"),
            );
        }
        unread(kind, site.reading(kind), case.target, host, found);
    }
}

/// Why Asterisk would not come to our line.
fn unread(kind: Kind, before: &Reading, target: &Folder, host: &str, found: &mut Found) {
    let after = Reading::of(target, kind.main());
    if let Some(fault) = before.faults.iter().find(|fault| fault.file == kind.main() || fault.file == host) {
        let (file, line, why) = (&fault.file, fault.line, &fault.why);
        found.add(format!("{file}, line {line}, {why}: Asterisk reads nothing behind it"), "mend that line");
    } else if let Some(open) = before.open_comments.iter().find(|open| open.file == host) {
        found.add(
            format!(
                "{host} ends in a comment that begins in line {} and does not end: our line would be a part of it",
                open.line
            ),
            "end the comment with --;",
        );
    } else if !after.files.contains(&kind.ours()) {
        found.add(
            format!("{} is not included by {}, so that ours would not be read", host, kind.main()),
            format!("let {} include {host}", kind.main()),
        );
    }
}

/// Sections of our names.
fn names(case: &Case<'_>, found: &mut Found) {
    let site = case.site;
    let ours = |kind: Kind| {
        let of_ours = Folder { path: String::new(), ..case.target.clone() };
        Reading::of(&of_ours, &kind.ours()).sections.into_iter().filter(|section| is_below(&section.file))
    };
    let contexts: Vec<String> = ours(Kind::Extensions).map(|section| section.name).collect();
    let there: Vec<&String> =
        contexts.iter().filter(|name| *name != "globals" && taken(site, Kind::Extensions, name)).collect();
    if let Some(first) = there.first() {
        found.add(
            format!(
                "extensions.conf has [{first}] already{}",
                if there.len() > 1 { " and more of CapConduit's contexts" } else { "" }
            ),
            "this Asterisk has CapConduit's dialplan by hand: take that out, or leave the whole configuration as it is",
        );
    }
    let user = &case.wanted.user;
    if taken(site, Kind::Ari, user) {
        found.add(
            format!("ari.conf has a user {user} already"),
            "set asterisk[].user in capconduit.toml to another name, or take that user out of ari.conf",
        );
    }
    for name in ours(Kind::Pjsip).map(|section| section.name).collect::<BTreeSet<_>>() {
        if site.reading(Kind::Pjsip).sections.iter().any(|section| section.is(&name)) {
            found.add(format!("pjsip.conf has [{name}] already"), "give one of the two another name");
        }
    }
    if matches!(case.wanted.tables, Tables::Sqlite { .. }) && taken(site, Kind::Sqlite3, DATABASE) {
        found.add(
            format!("res_config_sqlite3.conf has [{DATABASE}] already"),
            "give that database of yours another name, there and in extconfig.conf",
        );
    }
    for (family, _) in families(site.reading(Kind::Extconfig)).filter(|(family, _)| family.starts_with("capconduit_")) {
        found.add(format!("extconfig.conf has a family {family} already"), "take it out of extconfig.conf");
    }
}

/// Applications of our names, which the site's dialplan hands calls to.
fn apps(case: &Case<'_>, found: &mut Found) {
    let Wanted { app, apps, .. } = case.wanted;
    let names: Vec<String> = (1..=*apps).map(|n| format!("stasis({app}-{n}")).collect();
    for section in case.site.reading(Kind::Extensions).real() {
        let uses = |value: &str| {
            let value = value.to_ascii_lowercase();
            names.iter().any(|name| {
                value.match_indices(&name.to_ascii_lowercase()).any(|(at, _)| {
                    !value[at + name.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_')
                })
            })
        };
        if section.settings.iter().any(|setting| uses(&setting.value)) {
            found.add(
                format!("[{}] of {} hands calls to an application of our name, {app}-…", section.name, section.file),
                "set asterisk[].app in capconduit.toml to another name",
            );
        }
    }
}

fn modules(case: &Case<'_>, found: &mut Found) {
    let (modules, program) = (Modules::of(case.site), case.program);
    let needed = needed().into_iter().filter(|module| !module.is_optional());
    let needed = needed
        .map(|module| (module.name, module.comment))
        .chain([(driver(case.wanted).to_owned(), "the call centres' SIP settings".to_owned())]);
    for (name, comment) in needed {
        let why = if comment.is_empty() { String::new() } else { format!(" ({comment})") };
        if modules.refused.contains(&name) {
            let mend = format!("take the line out of modules.conf and run `asterisk -rx 'module load {name}'`");
            found.add(format!("modules.conf says `noload` of {name}, which is needed{why}"), mend);
        } else if program.has(&name) == Some(false) {
            found.add(format!("this Asterisk has no {name}, which is needed{why}"), "install what brings it");
        }
    }
}

fn realtime(case: &Case<'_>, found: &mut Found) {
    let mappings = Mappings::of(case.site, case.wanted);
    let theirs: Vec<String> = mappings.taken().map(|(object, family)| format!("{object} in {family}")).collect();
    if !theirs.is_empty() && !case.wanted.share_realtime {
        found.add(
            format!("sorcery.conf has PJSIP objects in realtime ({}), and Asterisk takes one family for each kind", theirs.join(", ")),
            "--share-realtime adds ours to these families with the next priority: look-ups then find both, lists only yours",
        );
    }
    if mappings.0.iter().any(|mapping| mapping.cached) {
        found.add(
            "sorcery.conf caches all objects of a kind at once (full_backend_cache): clients that come later would not be found",
            "take full_backend_cache=yes out of sorcery.conf",
        );
    }
    let extconfig = site_families(case.site);
    for (object, family) in mappings.taken().filter(|(_, family)| !extconfig.contains(&family.to_ascii_lowercase())) {
        found.add(
            format!("sorcery.conf looks for {object} in {family}, which extconfig.conf does not have"),
            "map that family in extconfig.conf",
        );
    }
    if matches!(case.wanted.tables, Tables::Postgres { .. }) {
        let theirs = site_connection(case.site);
        if !theirs.is_empty() {
            found.add(
                format!("res_pgsql.conf has a connection already ({}), and Asterisk has one in all", theirs.join(", ")),
                "use the file (realtime.mode = \"sqlite\"), or make the ps_* tables readable in that database and the whole configuration your own",
            );
        }
    }
}

fn site_families(site: &Site) -> BTreeSet<String> {
    families(site.reading(Kind::Extconfig)).map(|(family, _)| family).collect()
}

/// The settings by which the site's Asterisk finds a PostgreSQL.
fn site_connection(site: &Site) -> Vec<String> {
    let section = site.reading(Kind::Pgsql).section("general");
    let settings = section.map(|section| section.settings.as_slice()).unwrap_or_default();
    let fits = |name: &str| ["dbhost", "dbname", "dbuser", "dbsock"].contains(&name);
    settings.iter().filter(|one| fits(&one.name)).map(|one| format!("{} = {}", one.name, one.value)).collect()
}

fn ari(case: &Case<'_>, found: &mut Found) {
    let (http, listen) = (case.site.reading(Kind::Http), &case.wanted.listen);
    let has = |name: &str| http.value("general", name).map(str::trim).filter(|value| !value.is_empty());
    if !listen.address.is_loopback() && !listen.address.is_unspecified() {
        found.add(
            format!("asterisk[].url names {}, which is not this host's loopback", listen.address),
            "run this on the node itself, with a capconduit.toml whose asterisk[].url is http://127.0.0.1:8088",
        );
        return;
    }
    // Without an address it does not listen, enabled or not.
    let bound = has("bindaddr");
    let enabled = has("enabled").is_some_and(is_true) && bound.is_some();
    let address = bound.map(|bound| bound.trim_matches(['[', ']']).parse::<IpAddr>());
    let port = has("bindport").and_then(|port| port.parse().ok()).unwrap_or(HTTP_PORT);
    let tls = has("tlsenable").is_some_and(is_true);
    if let Some(prefix) = has("prefix") {
        found.add(
            format!("http.conf puts {prefix} in front of all paths"),
            "take `prefix` out of http.conf: the controller asks for /ari",
        );
    }
    if listen.tls && !tls {
        found.add(
            "asterisk[].url is https, and http.conf has no TLS",
            "set the url to http://127.0.0.1:8088, or tlsenable in http.conf",
        );
    }
    if !listen.tls && (enabled || has("bindport").is_some()) && port != listen.port {
        let found_at = format!("http.conf listens on port {port}, asterisk[].url says {}", listen.port);
        found.add(found_at, format!("set asterisk[].url in capconduit.toml to http://{}:{port}", listen.address));
    }
    match address {
        None => {}
        Some(Ok(address)) if address.is_loopback() => {
            if !listen.tls && address != listen.address {
                let told = format!("http.conf listens on {address}, asterisk[].url says {}", listen.address);
                found.add(told, format!("set asterisk[].url in capconduit.toml to http://{address}:{port}"));
            }
            // The same server, by another door.
            if let Some(bound) = tls_address(has("tlsbindaddr"), &address.to_string()).filter(|_| tls) {
                foreign(case, &bound, "tlsbindaddr", found);
            }
        }
        _ => foreign(case, bound.unwrap_or_default(), "bindaddr", found),
    }
}

/// Where the HTTP server listens by TLS, if other hosts reach it there; unless it is told, where it listens without.
fn tls_address(told: Option<&str>, otherwise: &str) -> Option<String> {
    let told = told.unwrap_or(otherwise);
    let address = told.parse::<SocketAddr>().map(|socket| socket.ip());
    let address = address.or_else(|_| told.trim_matches(['[', ']']).parse());
    // A name may lead anywhere.
    (!address.is_ok_and(|address| address.is_loopback())).then(|| told.to_owned())
}

/// ARI can place calls: who else can reach it is said.
fn foreign(case: &Case<'_>, bound: &str, key: &str, found: &mut Found) {
    let told =
        format!("ARI listens on {bound}, where other hosts reach it: whoever has a user's password can place calls");
    let mend = format!("set {key} = 127.0.0.1 in http.conf");
    match case.program.ari_acl {
        Some(true) if case.wanted.foreign_ari => {}
        Some(true) => {
            found.add(told, format!("{mend}, or take --foreign-ari, which lets our user in from this host alone"));
        }
        Some(false) if case.wanted.foreign_ari => {
            found.add(told, format!("{mend}: this Asterisk cannot limit an ARI user to addresses"));
        }
        None if case.wanted.foreign_ari => found.add(
            told,
            format!("{mend}, or start Asterisk: whether it can limit an ARI user to addresses is known of a running one alone"),
        ),
        Some(false) | None => found.add(told, mend),
    }
}

fn pjsip(case: &Case<'_>, found: &mut Found) {
    let site = case.site;
    let elsewhere = site
        .reading(Kind::Sorcery)
        .section("res_pjsip")
        .is_some_and(|section| section.settings.iter().any(|setting| setting.name == "transport"));
    if !elsewhere && site.objects("transport").next().is_none() {
        found.add(
            "pjsip.conf has no transport, so that nobody can be called by SIP",
            "add a section with type = transport to pjsip.conf",
        );
    }
    for client in namesakes(site, case.wanted) {
        found.add(
            format!("the site has [{client}] in its PJSIP configuration, which would be taken for client {client}'s"),
            "give the client another identifier",
        );
    }
}

/// Clients of whose name there is an object in Asterisk's files, where PJSIP looks first.
pub(super) fn namesakes<'a>(site: &Site, wanted: &'a Wanted) -> Vec<&'a str> {
    // A client's authentication, address and registrations have its name as well.
    let objects = ["endpoint", "aor", "auth", "identify"].into_iter().flat_map(|kind| site.objects(kind));
    let mut names: BTreeSet<String> = objects.map(|section| section.name.clone()).collect();
    let wizards = site.other("pjsip_wizard.conf");
    let wizards = wizards.real().filter(|section| section.value("type") == Some("wizard"));
    names.extend(wizards.map(|section| section.name.clone()));
    wanted.clients.iter().map(String::as_str).filter(|client| names.contains(*client)).collect()
}

#[cfg(test)]
mod tests;
