//! PURE: what the running Asterisk is asked, and what its answers mean.

use std::collections::{BTreeMap, BTreeSet};

use super::answers::{self, Running};
use super::kind::{Kind, is_below};
use super::ours::ours;
use super::plan::{Plan, RELOAD_PJSIP, Survey};
use super::reading::Reading;
use super::site::Site;
use super::sorcery::Mappings;
use super::{Tables, Wanted};
use crate::inspect::{DIALPLAN_VERSION, dialplan_version};
use crate::needs::{MODULES, Needs};

/// How something that was looked at is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// As it should be.
    Well,
    /// Calls are not affected, but it should be seen to; a restart is due, for one.
    Due,
    /// Calls do not go as they should.
    Wrong,
    /// Could not be asked.
    Unknown,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub subject: String,
    /// How it is.
    pub state: State,
    /// What was found.
    pub found: String,
    /// How to mend it; empty where nothing is to be mended.
    pub mend: String,
}

/// What is asked, and the answers.
pub(super) type Answers = BTreeMap<String, String>;

const RELOAD: &str = "asterisk -rx 'dialplan reload'";
const LOG: &str = "Asterisk's log says why";

/// What ours are, as far as they are asked for.
struct Ours {
    contexts: Vec<String>,
    carriers: Vec<String>,
    /// The names of all PJSIP objects in our folder.
    objects: BTreeSet<String>,
    families: BTreeSet<String>,
    /// The family of the endpoints: ours, or the site's which ours joins.
    endpoints: String,
}

impl Ours {
    fn of(survey: &Survey, site: &Site, wanted: &Wanted) -> Self {
        let files = ours(site, wanted, &survey.program);
        let mut folder = survey.folder.clone();
        for (kind, text) in &files {
            let file = super::folder::File { bytes: text.clone().into_bytes(), mode: 0, uid: 0, gid: 0 };
            folder.write(&kind.ours(), file);
        }
        let sections = |kind: Kind| Reading::of(&folder, &kind.ours());
        let contexts = sections(Kind::Extensions).sections.into_iter().map(|section| section.name);
        let endpoint = |section: &&super::reading::Section| section.value("type") == Some("endpoint");
        let carriers = sections(Kind::Pjsip);
        let mappings = Mappings::of(site, wanted);
        let lines = mappings.extconfig(site, wanted);
        let names =
            lines.lines().filter_map(|line| line.split_once("=>")).map(|(name, _)| name.trim().to_ascii_lowercase());
        let families: BTreeSet<String> = names.collect();
        let theirs = mappings.taken().find(|(object, _)| *object == "endpoint").map(|(_, family)| family.to_owned());
        Self {
            contexts: contexts.filter(|name| name != "globals").collect(),
            objects: carriers.real().map(|section| section.name.clone()).collect(),
            carriers: carriers.real().filter(endpoint).map(|section| section.name.clone()).collect(),
            endpoints: theirs.unwrap_or_else(|| "capconduit_endpoints".to_owned()),
            families,
        }
    }
}

/// One of the site's own endpoints, and its context, as its files say.
fn of_the_site(site: &Site) -> Option<(&str, Option<&str>)> {
    let mut endpoints = site.objects("endpoint").filter(|section| !is_below(&section.file));
    endpoints.next().map(|section| (section.name.as_str(), section.value("context")))
}

fn show_context(name: &str) -> String {
    format!("dialplan show {name}")
}

fn show_endpoint(name: &str) -> String {
    format!("pjsip show endpoint {name}")
}

fn load_row(family: &str, id: &str) -> String {
    format!("realtime load {family} id {id}")
}

/// The commands whose answers [`judge`] reads.
pub(super) fn questions(survey: &Survey, wanted: &Wanted) -> Vec<String> {
    let site = Site::of(&survey.folder);
    let ours = Ours::of(survey, &site, wanted);
    let mut asked: Vec<String> =
        ["dialplan show globals", "ari show users", "http show status", "core show config mappings"]
            .map(str::to_owned)
            .into();
    asked.extend(ours.contexts.iter().map(|name| show_context(name)));
    asked.extend(ours.carriers.iter().map(|name| show_endpoint(name)));
    asked.extend(of_the_site(&site).map(|(name, _)| show_endpoint(name)));
    if let Some(client) = wanted.clients.first() {
        asked.extend([show_endpoint(client), load_row(&ours.endpoints, client)]);
    }
    asked
}

/// What is asked of the site's own before anything is changed, to see that it is the same after.
pub(super) fn about_the_site(survey: &Survey) -> Option<String> {
    of_the_site(&Site::of(&survey.folder)).map(|(name, _)| show_endpoint(name))
}

/// Everything that was looked at.
pub(super) fn judge(survey: &Survey, wanted: &Wanted, running: &Running, answers: &Answers) -> Vec<Finding> {
    let site = Site::of(&survey.folder);
    let ours = Ours::of(survey, &site, wanted);
    let answer = |question: &str| answers.get(question).map(String::as_str).unwrap_or_default();
    let mut findings = Findings(Vec::new());
    files(survey, wanted, &mut findings);
    let missing: Vec<&str> = ours
        .contexts
        .iter()
        .filter(|name| !answers::has_context(answer(&show_context(name))))
        .map(String::as_str)
        .collect();
    // One without an extension is there all the same.
    findings.add("contexts", missing.is_empty(), format!("{} of ours", ours.contexts.len()), || {
        (format!("missing: {}", missing.join(", ")), format!("run `{RELOAD}`; {LOG}"))
    });
    globals(&answers::globals(answer("dialplan show globals")), wanted, &mut findings);
    let user = wanted.user.as_str();
    findings.add("ARI user", answers::users(answer("ari show users")).contains(user), user.to_owned(), || {
        (format!("{user} is not known"), format!("run `asterisk -rx 'module reload res_ari.so'`; {LOG}"))
    });
    http(wanted, &answer, &mut findings);
    let unknown: Vec<&str> = ours
        .carriers
        .iter()
        .filter(|name| answers::context_of(answer(&show_endpoint(name))).is_none())
        .map(String::as_str)
        .collect();
    if !ours.carriers.is_empty() {
        findings.add("carriers", unknown.is_empty(), ours.carriers.join(", "), || {
            (format!("not known: {}", unknown.join(", ")), format!("run `asterisk -rx '{RELOAD_PJSIP}'`; {LOG}"))
        });
    }
    let there = answers::families(answer("core show config mappings"));
    let lacking: Vec<&str> =
        ours.families.iter().filter(|family| !there.contains(*family)).map(String::as_str).collect();
    findings.add("realtime families", lacking.is_empty(), format!("{} of ours", ours.families.len()), || {
        (format!("missing: {}", lacking.join(", ")), format!("run `asterisk -rx 'module reload extconfig'`; {LOG}"))
    });
    sorcery(survey, &mut findings);
    clients(survey, wanted, &ours, &answer, &mut findings);
    names(&site, wanted, &ours, &mut findings);
    sites(&site, &answer, &mut findings);
    let lacks = Needs::of("", MODULES).lacks(&running.modules, &[]);
    let lacks: Vec<String> = lacks.into_iter().filter(|lack| !lack.optional).map(|lack| lack.what).collect();
    findings.add("modules", lacks.is_empty(), "all that are needed run".to_owned(), || {
        (format!("missing: {}", lacks.join(", ")), format!("see modules.conf; `asterisk -rx 'module load …'`; {LOG}"))
    });
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn push(&mut self, subject: &str, state: State, found: impl Into<String>, mend: impl Into<String>) {
        self.0.push(Finding { subject: subject.to_owned(), state, found: found.into(), mend: mend.into() });
    }

    fn add(&mut self, subject: &str, well: bool, found: String, wrong: impl FnOnce() -> (String, String)) {
        if well {
            self.push(subject, State::Well, found, "");
        } else {
            let (found, mend) = wrong();
            self.push(subject, State::Wrong, found, mend);
        }
    }
}

/// Whether the files are those that this release would write now.
fn files(survey: &Survey, wanted: &Wanted, findings: &mut Findings) {
    let plan = Plan::install(survey, wanted);
    let differ: Vec<&str> = super::plan::told(&plan.changes).map(super::changes::Change::name).collect();
    match (differ.is_empty(), survey.unfinished) {
        (true, false) => findings.push("files", State::Well, "as this release writes them", ""),
        (_, true) => findings.push(
            "files",
            State::Wrong,
            "an installation or a removal was broken off",
            "run `capconduit asterisk install`, or `remove`, again",
        ),
        (false, false) => findings.push(
            "files",
            State::Due,
            format!("not as this release writes them: {}", differ.join(", ")),
            "see `capconduit asterisk preview`, and run `capconduit asterisk install`",
        ),
    }
}

fn globals(globals: &BTreeMap<&str, &str>, wanted: &Wanted, findings: &mut Findings) {
    let global = |name: &str| globals.get(name).copied().unwrap_or_default();
    if global("CAPCONDUIT_APP").is_empty() {
        return findings.push("dialplan", State::Wrong, "CAPCONDUIT_APP is not set", format!("run `{RELOAD}`; {LOG}"));
    }
    let version = dialplan_version(global("CAPCONDUIT_DIALPLAN"));
    findings.add("dialplan", version >= DIALPLAN_VERSION, format!("version {version}"), || {
        let found = format!("version {version} is older than this controller's ({DIALPLAN_VERSION})");
        (found, "run `capconduit asterisk install`".to_owned())
    });
    let (app, apps) = (global("CAPCONDUIT_APP"), global("CAPCONDUIT_APPS"));
    let agrees = app == wanted.app && apps == wanted.apps.to_string();
    findings.add("applications", agrees, format!("{app}-1 to {app}-{apps}"), || {
        let found = format!(
            "the dialplan hands calls to {app}-1 … {app}-{apps}, the controller has {}-1 … {}-{}",
            wanted.app, wanted.app, wanted.apps
        );
        (found, "let capconduit.d/site_globals.conf and capconduit.toml agree".to_owned())
    });
}

const RESTART: &str =
    "restart Asterisk (`capconduit asterisk install --restart when-idle`): only a start reads sorcery.conf";

/// Where PJSIP looks for objects is read by a start alone.
fn sorcery(survey: &Survey, findings: &mut Findings) {
    if survey.restart_due() {
        let found = "Asterisk has not been started since it was written: call centres, or carriers of ours, may not be known yet";
        findings.push("sorcery.conf", State::Due, found, RESTART);
    } else {
        findings.push("sorcery.conf", State::Well, "was there when Asterisk was started", "");
    }
}

/// Whether Asterisk listens where the controller looks for ARI; by TLS the console does not tell.
fn http<'a>(wanted: &Wanted, answer: &impl Fn(&str) -> &'a str, findings: &mut Findings) {
    if wanted.listen.tls {
        return;
    }
    let bound = answers::http(answer("http show status"));
    let port = format!(":{}", wanted.listen.port);
    findings.add(
        "HTTP server",
        bound.is_some_and(|bound| bound.ends_with(&port)),
        bound.unwrap_or_default().to_owned(),
        || {
            let found = bound.map_or("does not run".to_owned(), |bound| {
                format!("listens on {bound}, not on port {}", wanted.listen.port)
            });
            (found, format!("see http.conf; `asterisk -rx 'module reload http'`; {LOG}"))
        },
    );
}

/// Clients of whose name there is something in Asterisk's files, which PJSIP finds first.
fn names(site: &Site, wanted: &Wanted, ours: &Ours, findings: &mut Findings) {
    let mut namesakes = super::obstacles::namesakes(site, wanted);
    namesakes.extend(wanted.clients.iter().filter(|client| ours.objects.contains(*client)).map(String::as_str));
    let namesakes = namesakes.join(", ");
    findings.add(
        "names",
        namesakes.is_empty(),
        "Asterisk's files have no object of a client's name".to_owned(),
        || {
            let found = format!("calls to {namesakes} go to the object of that name in Asterisk's PJSIP files");
            (found, "give the client another identifier, or the object another name".to_owned())
        },
    );
}

/// An endpoint of ours from the tables.
fn clients<'a>(
    survey: &Survey,
    wanted: &Wanted,
    ours: &Ours,
    answer: &impl Fn(&str) -> &'a str,
    findings: &mut Findings,
) {
    const SUBJECT: &str = "call centres";
    let Some(client) = wanted.clients.first() else {
        return findings.push(SUBJECT, State::Unknown, "no client is configured, so there is none to look for", "");
    };
    match answers::context_of(answer(&show_endpoint(client))) {
        Some("capconduit-clients") => findings.push(SUBJECT, State::Well, format!("{client} is known"), ""),
        Some(other) => findings.push(
            SUBJECT,
            State::Wrong,
            format!("{client} is an endpoint with context {other}: the site's, which comes first"),
            "give the client another identifier",
        ),
        None => match answers::has_row(answer(&load_row(&ours.endpoints, client))) {
            Some(false) => findings.push(SUBJECT, State::Wrong, unread(wanted, client), mend_unread(wanted)),
            _ if survey.restart_may_be_due() => {
                findings.push(SUBJECT, State::Unknown, format!("{client} is not known yet"), "")
            }
            _ => {
                let mend = format!("{RESTART}; {LOG}");
                findings.push(SUBJECT, State::Wrong, format!("{client} is not known to PJSIP"), mend);
            }
        },
    }
}

fn unread(wanted: &Wanted, client: &str) -> String {
    match &wanted.tables {
        Tables::Sqlite { path } => {
            format!("Asterisk finds no {client} in {path}: it cannot read the file, or opened another")
        }
        Tables::Postgres { database, .. } => format!("Asterisk finds no {client} in database {database}"),
    }
}

fn mend_unread(wanted: &Wanted) -> String {
    match &wanted.tables {
        Tables::Sqlite { .. } => "let Asterisk's group own file and folder (`capconduit asterisk install` does), then `asterisk -rx 'module unload \
                                  res_config_sqlite3.so'` and `module load`: a reload says \"successfully\" and opens nothing; `capconduit \
                                  migrate` publishes clients"
            .to_owned(),
        Tables::Postgres { .. } => "let its role read the ps_* tables; `asterisk -rx 'module reload res_config_pgsql.so'`".to_owned(),
    }
}

/// An endpoint of the site's own.
fn sites<'a>(site: &Site, answer: &impl Fn(&str) -> &'a str, findings: &mut Findings) {
    let Some((name, expected)) = of_the_site(site) else { return };
    let found = answers::context_of(answer(&show_endpoint(name)));
    let well = found.is_some_and(|found| expected.is_none_or(|expected| expected == found));
    findings.add("the site's own", well, format!("endpoint {name} is known"), || {
        let found = found.map_or_else(|| "is not known".to_owned(), |found| format!("has context {found}"));
        (format!("endpoint {name} {found}"), format!("see pjsip.conf; {LOG}"))
    });
}

#[cfg(test)]
mod tests;
