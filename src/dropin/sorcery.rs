//! PURE: where PJSIP looks for objects, and which tables that means.
//!
//! Asterisk takes one mapping by realtime for each kind of object, and ignores a second without a word. Where the site has one, ours joins
//! its family with the next priority, if that is wanted: a look-up by id then finds both, a list only the first's.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::blocks::settings;
use super::kind::Kind;
use super::reading::{Reading, Setting};
use super::site::Site;
use super::{Tables, Wanted};

const SORCERY: &str = include_str!("../../asterisk/etc/sorcery.conf");
const SQLITE: &str = include_str!("../../asterisk/etc/sqlite/extconfig.conf");
const PGSQL: &str = include_str!("../../asterisk/etc/pgsql/extconfig.conf");

/// What the database is called in `extconfig.conf` and `res_config_sqlite3.conf`.
pub(super) const DATABASE: &str = "capconduit";

/// Sections of `sorcery.conf`, and the kinds of objects in each.
const OBJECTS: [(&str, &[&str]); 2] =
    [("res_pjsip", &["endpoint", "aor", "auth"]), ("res_pjsip_endpoint_identifier_ip", &["identify"])];

/// What is to be done for one kind of object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mapping {
    section: &'static str,
    pub(super) object: &'static str,
    /// Lines of `sorcery.conf`: what stands behind `object =`.
    lines: Vec<String>,
    /// Family and table of ours.
    family: &'static str,
    table: &'static str,
    /// The site's own family of this kind of object, where it has one.
    pub(super) taken: Option<String>,
    /// The priority that ours gets in it.
    priority: u32,
    /// All that is looked for comes from a cache that is filled at once, so that what comes later is not found.
    pub(super) cached: bool,
}

/// All of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mappings(pub(super) Vec<Mapping>);

impl Mappings {
    pub(super) fn of(site: &Site, wanted: &Wanted) -> Self {
        let delivered = if matches!(wanted.tables, Tables::Sqlite { .. }) { SQLITE } else { PGSQL };
        let of = |(section, object): (&'static str, &'static str)| mapping(site, delivered, section, object);
        Self(objects().map(of).collect())
    }

    /// The body of our `extconfig.conf`.
    pub(super) fn extconfig(&self, site: &Site, wanted: &Wanted) -> String {
        let driver = match wanted.tables {
            Tables::Sqlite { .. } => "sqlite3",
            Tables::Postgres { .. } => "pgsql",
        };
        let mut lines = String::new();
        for Mapping { object, family, table, taken, priority, .. } in &self.0 {
            match taken {
                None => writeln!(lines, "{family} => {driver},{DATABASE},{table}"),
                // Of lists only the first family's objects are read, and addresses are read as a list.
                Some(_) if *object == "identify" => Ok(()),
                Some(theirs) => writeln!(lines, "{theirs} => {driver},{DATABASE},{table},{priority}"),
            }
            .unwrap_or_default();
        }
        format!("{}{lines}", site.header(Kind::Extconfig, "settings"))
    }

    /// The body of our `sorcery.conf`; empty where nothing is to be said.
    pub(super) fn sorcery(&self, site: &Site) -> String {
        let mut text = String::new();
        for (section, _) in OBJECTS {
            let mappings = self.0.iter().filter(|mapping| mapping.section == section);
            let lines: String = mappings
                .flat_map(|mapping| mapping.lines.iter().map(move |line| format!("{} = {line}\n", mapping.object)))
                .collect();
            if !lines.is_empty() {
                let _ = write!(text, "{}{lines}", site.header(Kind::Sorcery, section));
            }
        }
        text
    }

    /// The kinds of objects of which the site has a family.
    pub(super) fn taken(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().filter_map(|mapping| Some((mapping.object, mapping.taken.as_deref()?)))
    }
}

fn objects() -> impl Iterator<Item = (&'static str, &'static str)> {
    OBJECTS.into_iter().flat_map(|(section, objects)| objects.iter().map(move |object| (section, *object)))
}

fn mapping(site: &Site, delivered: &'static str, section: &'static str, object: &'static str) -> Mapping {
    let family =
        delivered_wizards(section, object).find_map(|wizard| wizard.strip_prefix("realtime,")).unwrap_or_default();
    let table = settings(delivered, "settings")
        .find(|(name, _)| *name == family)
        .and_then(|(_, value)| value.split(',').nth(2))
        .unwrap_or_default();
    let theirs: Vec<(bool, &str)> = wizards(site.reading(Kind::Sorcery), section, object);
    let by = |name: &str| theirs.iter().any(|(_, wizard)| wizard_name(wizard) == name);
    let mut lines = Vec::new();
    if !by("config") {
        // A default that the site has not touched is the same as what is said here. Where it has said something else it does not want what
        // stands in its file: ours alone is read then.
        let delivered = delivered_wizards(section, object).find(|wizard| wizard.starts_with("config,"));
        let line = delivered.unwrap_or_default();
        let only_ours = line.replace(Kind::Pjsip.main(), &Kind::Pjsip.ours());
        lines.push(if theirs.is_empty() { line.to_owned() } else { only_ours });
    }
    let taken = theirs
        .iter()
        .find_map(|(_, wizard)| wizard.strip_prefix("realtime,"))
        .map(|family| family.split(',').next().unwrap_or_default().trim().to_owned());
    if taken.is_none() {
        lines.push(format!("realtime,{family}"));
    }
    let priority = taken.as_deref().map_or(1, |family| last_priority(site.reading(Kind::Extconfig), family) + 1);
    let cached =
        theirs.iter().any(|(cache, wizard)| *cache && wizard.replace(' ', "").contains("full_backend_cache=yes"));
    Mapping { section, object, lines, family, table, taken, priority, cached }
}

fn delivered_wizards(section: &'static str, object: &'static str) -> impl Iterator<Item = &'static str> {
    settings(SORCERY, section).filter(move |(name, _)| *name == object).map(|(_, wizard)| wizard)
}

/// The mappings of a kind of object, and whether each is a cache.
fn wizards<'a>(sorcery: &'a Reading, section: &str, object: &str) -> Vec<(bool, &'a str)> {
    let settings = sorcery.section(section).map(|section| section.settings.as_slice()).unwrap_or_default();
    let of = |one: &'a Setting| {
        let (name, options) = one.name.split_once('/').unwrap_or((&one.name, ""));
        (name == object).then_some((options.contains("cache"), one.value.as_str()))
    };
    settings.iter().filter_map(of).collect()
}

fn wizard_name(wizard: &str) -> &str {
    wizard.split(',').next().unwrap_or_default().trim()
}

/// The highest priority of a family.
fn last_priority(extconfig: &Reading, family: &str) -> u32 {
    let settings = extconfig.section("settings").map(|section| section.settings.as_slice()).unwrap_or_default();
    let ours = settings.iter().filter(|one| one.name.eq_ignore_ascii_case(family));
    let priority = |one: &Setting| one.value.split(',').nth(3).and_then(|text| text.trim().parse().ok()).unwrap_or(1);
    ours.map(priority).max().unwrap_or(0)
}

/// Families that sorcery's mappings name and extconfig has not: with one of them `res_pjsip` does not load.
pub(super) fn without_family(sorcery: &Reading, extconfig: &Reading) -> BTreeSet<String> {
    let families: BTreeSet<String> = families(extconfig).map(|(family, _)| family).collect();
    let named = objects().flat_map(|(section, object)| wizards(sorcery, section, object));
    let named = named.filter_map(|(_, wizard)| wizard.strip_prefix("realtime,"));
    let named = named.map(|rest| rest.split(',').next().unwrap_or_default().trim().to_ascii_lowercase());
    named.filter(|family| !families.contains(family)).collect()
}

/// Every family with what it is mapped to, in small letters.
pub(super) fn families(extconfig: &Reading) -> impl Iterator<Item = (String, &str)> {
    let settings = extconfig.section("settings").map(|section| section.settings.as_slice()).unwrap_or_default();
    settings.iter().map(|one| (one.name.to_ascii_lowercase(), one.value.as_str()))
}

/// The families of two bodies of our `extconfig.conf`, in one that has both: between them nothing may be missing.
pub(super) fn both(first: &str, second: &str) -> String {
    let lines = |text: &str| -> BTreeMap<String, String> {
        let lines = text.lines().filter(|line| !line.starts_with([';', '[']));
        lines.filter_map(|line| Some((line.split_once("=>")?.0.trim().to_owned(), line.to_owned()))).collect()
    };
    let there = lines(second);
    let missing: Vec<String> =
        lines(first).into_iter().filter(|(family, _)| !there.contains_key(family)).map(|(_, line)| line).collect();
    if missing.is_empty() { second.to_owned() } else { format!("{second}{}\n", missing.join("\n")) }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{debian, file, folder, realtime, wanted};
    use super::super::folder::Folder;
    use super::*;

    fn of(folder: &Folder) -> (String, String) {
        let site = Site::of(folder);
        let mappings = Mappings::of(&site, &wanted());
        (mappings.sorcery(&site), mappings.extconfig(&site, &wanted()))
    }

    #[test]
    fn where_the_site_says_nothing_the_files_and_then_the_tables_are_looked_into() {
        let (sorcery, extconfig) = of(&debian());
        assert_eq!(
            sorcery.lines().collect::<Vec<_>>(),
            [
                "[res_pjsip]",
                "endpoint = config,pjsip.conf,criteria=type=endpoint",
                "endpoint = realtime,capconduit_endpoints",
                "aor = config,pjsip.conf,criteria=type=aor",
                "aor = realtime,capconduit_aors",
                "auth = config,pjsip.conf,criteria=type=auth",
                "auth = realtime,capconduit_auths",
                "[res_pjsip_endpoint_identifier_ip]",
                "identify = config,pjsip.conf,criteria=type=identify",
                "identify = realtime,capconduit_identifies",
            ]
        );
        assert_eq!(
            extconfig.lines().collect::<Vec<_>>(),
            [
                "[settings](+)",
                "capconduit_endpoints => sqlite3,capconduit,ps_endpoints",
                "capconduit_aors => sqlite3,capconduit,ps_aors",
                "capconduit_auths => sqlite3,capconduit,ps_auths",
                "capconduit_identifies => sqlite3,capconduit,ps_endpoint_id_ips",
            ]
        );
    }

    #[test]
    fn what_the_site_has_said_stays_first_and_is_not_said_again() {
        let mut site = debian();
        site.write(
            "sorcery.conf",
            file("[res_pjsip]\nendpoint=config,pjsip.conf,criteria=type=endpoint\naor=astdb,ps_aor\n"),
        );
        let (sorcery, _) = of(&site);
        assert_eq!(
            sorcery.lines().take(5).collect::<Vec<_>>(),
            [
                "[res_pjsip](+)",
                "endpoint = realtime,capconduit_endpoints",
                // What stands in its pjsip.conf is not in force there, and is not to become so.
                "aor = config,capconduit.d/pjsip.conf,criteria=type=aor",
                "aor = realtime,capconduit_aors",
                "auth = config,pjsip.conf,criteria=type=auth",
            ]
        );
    }

    #[test]
    fn a_family_of_the_sites_is_joined_behind_what_is_in_it() {
        let site = Site::of(&realtime());
        let mappings = Mappings::of(&site, &wanted());
        assert_eq!(
            mappings.taken().collect::<Vec<_>>(),
            [
                ("endpoint", "ps_endpoints"),
                ("aor", "ps_aors"),
                ("auth", "ps_auths"),
                ("identify", "ps_endpoint_id_ips")
            ]
        );
        let (sorcery, extconfig) = of(&realtime());
        assert!(!sorcery.contains("realtime"), "{sorcery}");
        assert!(!sorcery.contains("endpoint = config"), "the site has that: {sorcery}");
        assert!(sorcery.contains("identify = config,capconduit.d/pjsip.conf"), "our carriers' addresses: {sorcery}");
        assert!(extconfig.contains("ps_endpoints => sqlite3,capconduit,ps_endpoints,2\n"), "{extconfig}");
        assert!(!extconfig.contains("id_ips"), "of lists only the first family's are read: {extconfig}");
        let mut failing_over = realtime();
        failing_over
            .write("extconfig.conf", file("[settings]\nps_endpoints => odbc,a,t\nps_endpoints => odbc,b,t,2\n"));
        assert!(of(&failing_over).1.contains("ps_endpoints => sqlite3,capconduit,ps_endpoints,3\n"));
    }

    #[test]
    fn a_cache_of_everything_is_seen() {
        let site = folder(&[(
            "sorcery.conf",
            "[res_pjsip]\nendpoint/cache=memory_cache,expire_on_reload=yes,full_backend_cache=yes\n",
        )]);
        let cached: Vec<_> = Mappings::of(&Site::of(&site), &wanted()).0.iter().map(|mapping| mapping.cached).collect();
        assert_eq!(cached, [true, false, false, false]);
    }

    #[test]
    fn mappings_without_a_family_are_seen() {
        let folder = folder(&[
            ("sorcery.conf", "[res_pjsip]\nendpoint=realtime,One,allow_unqualified_fetch=no\naor=realtime,two\n"),
            ("extconfig.conf", "[settings]\none => sqlite3,x\n"),
        ]);
        let (sorcery, extconfig) = (Reading::of(&folder, "sorcery.conf"), Reading::of(&folder, "extconfig.conf"));
        assert_eq!(without_family(&sorcery, &extconfig), BTreeSet::from(["two".to_owned()]));
    }

    #[test]
    fn between_two_states_the_families_of_both_are_there() {
        let both = both("[settings]\na => x\nb => x\n", "[settings]\nb => y\nc => y\n");
        assert_eq!(both, "[settings]\nb => y\nc => y\na => x\n");
    }
}
