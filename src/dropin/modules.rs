//! PURE: which modules a site's Asterisk loads, and which of those that we need it does not.

use std::collections::BTreeSet;

use super::kind::Kind;
use super::ours::is_true;
use super::site::Site;
use super::{Program, Tables, Wanted};
use crate::needs::{MODULES, Module, modules};

/// What `modules.conf` says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Modules {
    /// Whether all are loaded that there are, without those of `noload`.
    pub(super) autoload: bool,
    pub(super) loaded: BTreeSet<String>,
    pub(super) refused: BTreeSet<String>,
}

impl Modules {
    pub(super) fn of(site: &Site) -> Self {
        let reading = site.reading(Kind::Modules);
        // Without the file all are loaded.
        let Some(section) = reading.section("modules") else {
            return Self { autoload: reading.files.is_empty(), ..Self::default() };
        };
        let named = |verbs: &'static [&str]| {
            let fits = move |name: &str| verbs.iter().any(|verb| name.eq_ignore_ascii_case(verb));
            section.settings.iter().filter(move |one| fits(&one.name)).map(|one| full(&one.value)).collect()
        };
        Self {
            autoload: section.value("autoload").is_some_and(is_true),
            loaded: named(&["load", "preload", "require", "preload-require"]),
            refused: named(&["noload"]),
        }
    }

    /// Whether Asterisk loads it at its start, where it has it.
    pub(super) fn loads(&self, name: &str) -> bool {
        (self.autoload || self.loaded.contains(name)) && !self.refused.contains(name)
    }

    /// The modules that are to be named for ours, where only those are loaded that are: those that Asterisk has and the site does not refuse,
    /// in the delivered order; the driver first.
    pub(super) fn usable(&self, program: &Program, wanted: &Wanted) -> Vec<String> {
        if self.autoload {
            return Vec::new();
        }
        let needed = [driver(wanted).to_owned()].into_iter().chain(needed().into_iter().map(|module| module.name));
        needed.filter(|name| !self.refused.contains(name) && program.has(name) != Some(false)).collect()
    }

    /// Of these, those that are to be loaded by lines of ours.
    pub(super) fn to_load(&self, program: &Program, wanted: &Wanted) -> Vec<String> {
        self.usable(program, wanted).into_iter().filter(|name| !self.loads(name)).collect()
    }
}

/// What reads the call centres' SIP settings.
pub(super) fn driver(wanted: &Wanted) -> &'static str {
    match wanted.tables {
        Tables::Sqlite { .. } => "res_config_sqlite3.so",
        Tables::Postgres { .. } => "res_config_pgsql.so",
    }
}

/// The modules of the delivered configuration, in its order; the driver of the realtime tables is chosen elsewhere there.
pub(super) fn needed() -> Vec<Module> {
    modules(MODULES).collect()
}

/// Asterisk takes a module's name with and without its end.
pub(super) fn full(name: &str) -> String {
    if name.to_ascii_lowercase().ends_with(".so") { name.to_owned() } else { format!("{name}.so") }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{autoload_no, debian, folder, program, wanted};
    use super::*;

    #[test]
    fn what_is_loaded_is_read_as_asterisk_reads_it() {
        let modules = Modules::of(&Site::of(&debian()));
        assert!(modules.autoload && modules.loads("app_dial.so") && !modules.loads("res_config_pgsql.so"));
        assert!(modules.to_load(&program(), &wanted()).is_empty());
        let modules = Modules::of(&Site::of(&autoload_no()));
        assert!(modules.loads("res_pjsip.so") && !modules.loads("app_dial.so") && !modules.loads("codec_gsm.so"));
        assert!(Modules::of(&Site::of(&folder(&[]))).autoload, "without the file all are loaded");
        assert!(!Modules::of(&Site::of(&folder(&[("modules.conf", "[modules]\n")]))).autoload);
    }
}
