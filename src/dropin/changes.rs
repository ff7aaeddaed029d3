//! PURE: which files change, and in which order, so that Asterisk would start whenever the work is broken off.

use super::folder::{Entry, File, Folder};
use super::kind::{Kind, is_below};
use super::reading::{Reading, Section};
use super::site::Site;
use super::sorcery::{both, without_family};
use super::target::{BEFORE, has_line, hosts};

/// One change of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    Write { name: String, file: File },
    Delete { name: String },
}

impl Change {
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Write { name, .. } | Self::Delete { name } => name,
        }
    }

    /// The folder after it.
    pub(super) fn apply(&self, folder: &mut Folder) {
        match self {
            Self::Write { name, file } => folder.write(name, file.clone()),
            Self::Delete { name } => drop(folder.entries.remove(name)),
        }
    }
}

/// The changes that lead from one state of the folder to another. Sorcery's mappings name families of extconfig's, and must at no moment
/// name one that is not there: families come first and go last, and between two states there are those of both.
pub(super) fn changes(from: &Folder, to: &Folder) -> Vec<Change> {
    let mut order = Order { from, to, changes: Vec::new() };
    let families = Kind::Extconfig.ours();
    let (is_before, is_ours) = (|name: &str| name.starts_with(BEFORE), |name: &str| is_below(name));
    order.write(is_before);
    order.families_of_both(&families);
    order.gain(&[Kind::Extconfig]);
    order.write(|name| is_ours(name) && !is_before(name) && name != families);
    order.gain(&Kind::ALL);
    order.lose(&Kind::ALL);
    order.write(|name| name == families);
    order.delete(|name| is_ours(name) && !is_before(name));
    order.delete(is_before);
    // Nothing else changes; should it, it comes last.
    order.write(|_| true);
    order.delete(|_| true);
    order.changes
}

struct Order<'a> {
    from: &'a Folder,
    to: &'a Folder,
    changes: Vec<Change>,
}

impl Order<'_> {
    fn is_done(&self, name: &str) -> bool {
        let last = self.changes.iter().rev().find(|change| change.name() == name);
        match last {
            Some(Change::Write { file, .. }) => self.to.file(name) == Some(file),
            Some(Change::Delete { .. }) => true,
            None => self.from.file(name) == self.to.file(name),
        }
    }

    fn write(&mut self, fits: impl Fn(&str) -> bool) {
        for (name, entry) in &self.to.entries {
            if let Entry::File { file, .. } = entry
                && fits(name)
                && !self.is_done(name)
            {
                self.changes.push(Change::Write { name: name.clone(), file: file.clone() });
            }
        }
    }

    fn delete(&mut self, fits: impl Fn(&str) -> bool) {
        for name in self.from.entries.keys() {
            if fits(name) && !self.to.entries.contains_key(name) && !self.is_done(name) {
                self.changes.push(Change::Delete { name: name.clone() });
            }
        }
    }

    /// Our families, old and new.
    fn families_of_both(&mut self, name: &str) {
        let text = |file: &File| String::from_utf8_lossy(&file.bytes).into_owned();
        let Some(new) = self.to.file(name) else { return };
        let old = self.from.file(name).map(text).unwrap_or_default();
        let bytes = both(&old, &text(new)).into_bytes();
        if self.from.file(name).is_none_or(|file| file.bytes != bytes) {
            self.changes.push(Change::Write { name: name.to_owned(), file: File { bytes, ..new.clone() } });
        }
    }

    /// Files that get our line, or change otherwise.
    fn gain(&mut self, kinds: &[Kind]) {
        for host in kinds.iter().flat_map(|kind| hosts(*kind)) {
            if self.to.bytes(host).is_some_and(has_line) {
                self.write(|name| name == host);
            }
        }
    }

    /// Files that lose it, the last one first.
    fn lose(&mut self, kinds: &[Kind]) {
        for host in kinds.iter().rev().flat_map(|kind| hosts(*kind)) {
            if !self.to.bytes(host).is_some_and(has_line) {
                self.write(|name| name == host);
                self.delete(|name| name == host);
            }
        }
    }
}

/// Why Asterisk would not start with this folder, or without what the site has, as far as our files are concerned.
pub(super) fn harm(site: &Site, folder: &Folder) -> Option<String> {
    let reading = |kind: Kind| Reading::of(folder, kind.main());
    let missing = without_family(&reading(Kind::Sorcery), &reading(Kind::Extconfig));
    let theirs = without_family(site.reading(Kind::Sorcery), site.reading(Kind::Extconfig));
    if let Some(family) = missing.difference(&theirs).next() {
        return Some(format!("sorcery.conf names family {family}, which extconfig.conf has not: PJSIP would not load"));
    }
    Kind::ALL.into_iter().find_map(|kind| difference(kind, site.reading(kind), &reading(kind)))
}

/// What of a site's configuration is not as it was, for Asterisk, once ours is read with it.
fn difference(kind: Kind, before: &Reading, after: &Reading) -> Option<String> {
    let main = kind.main();
    let theirs = after.sections.iter().filter(|section| !is_below(&section.file));
    let mut theirs = theirs.map(|section| {
        let mut section = section.clone();
        section.settings.retain(|setting| !is_below(&setting.file));
        section
    });
    for section in &before.sections {
        let name = &section.name;
        match theirs.next() {
            Some(found) if found == *section => {}
            _ => return Some(format!("{main}: section [{name}] of {} would not be read as it is now", section.file)),
        }
    }
    if let Some(fault) = after.faults.iter().find(|fault| !before.faults.contains(fault)) {
        return Some(format!("{}, line {}: {}", fault.file, fault.line, fault.why));
    }
    let comes_first = |section: &&Section| {
        kind.first_counts()
            && is_below(&section.file)
            && before.section(&section.name).is_some()
            && after.section(&section.name).is_some_and(|first| is_below(&first.file))
    };
    let ours = after.real().find(comes_first)?;
    Some(format!("{main}: [{}] is there already, behind the place for ours: only the first counts", ours.name))
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{autoload_no, debian, file, folder, freepbx, program, realtime, wanted};
    use super::super::ours::ours;
    use super::super::target::{Owner, installed, removed};
    use super::super::{Tables, Wanted};
    use super::*;

    fn install(folder: &Folder, wanted: &Wanted) -> Folder {
        let site = Site::of(folder);
        installed(folder, &site, &ours(&site, wanted, &program()), Owner { uid: 0, gid: 110 })
    }

    /// Every state between two, the ends included, is one with which Asterisk starts as the site wants it; and the last one is the second.
    fn is_safe(from: &Folder, to: &Folder) {
        let site = Site::of(from);
        let mut folder = from.clone();
        assert_eq!(harm(&site, &folder), None, "the beginning");
        let changes = changes(from, to);
        for (index, change) in changes.iter().enumerate() {
            change.apply(&mut folder);
            assert_eq!(harm(&site, &folder), None, "after {} of {}: {}", index + 1, changes.len(), change.name());
        }
        assert_eq!(&folder, to);
    }

    #[test]
    fn asterisk_would_start_whenever_an_installation_a_change_or_a_removal_is_broken_off() {
        let shared = Wanted { share_realtime: true, ..wanted() };
        let postgres = Tables::Postgres {
            host: "/run/postgresql".to_owned(),
            port: 5432,
            database: "capconduit".to_owned(),
            user: "asterisk".to_owned(),
            password: None,
        };
        let postgres = Wanted { tables: postgres, ..wanted() };
        for site in [debian(), freepbx(), realtime(), autoload_no()] {
            let with = install(&site, &wanted());
            is_safe(&site, &with);
            is_safe(&with, &site);
            is_safe(&with, &removed(&with));
            // From tables in a file to a database, and back.
            let other = install(&with, &postgres);
            is_safe(&with, &other);
            is_safe(&other, &with);
        }
        // A site that gets, or gives up, realtime of its own while ours is there.
        let (with, changed) = (install(&debian(), &wanted()), {
            let mut changed = install(&debian(), &wanted());
            for name in ["sorcery.conf", "extconfig.conf"] {
                let mut theirs = realtime().file(name).unwrap().clone();
                theirs
                    .bytes
                    .extend_from_slice(format!("#tryinclude \"capconduit.d/{name}\" ; capconduit\n").as_bytes());
                changed.write(name, theirs);
            }
            changed
        });
        is_safe(&changed, &install(&changed, &shared));
        is_safe(&with, &removed(&with));
    }

    #[test]
    fn an_installation_that_was_broken_off_anywhere_is_completed_by_a_second() {
        for site in [debian(), freepbx(), realtime(), autoload_no()] {
            let with = install(&site, &wanted());
            let changes_in = changes(&site, &with);
            let mut folder = site.clone();
            for change in &changes_in {
                change.apply(&mut folder);
                assert_eq!(install(&folder, &wanted()), with, "after {}", change.name());
                is_safe(&folder, &with);
                assert_eq!(removed(&folder), site, "after {}", change.name());
            }
            let mut folder = with.clone();
            for change in &changes(&with, &site) {
                change.apply(&mut folder);
                assert_eq!(removed(&folder), site, "after {}", change.name());
                is_safe(&folder, &site);
            }
        }
    }

    #[test]
    fn the_families_come_before_what_names_them_and_go_after_it() {
        let (site, with) = (debian(), install(&debian(), &wanted()));
        let order = |from: &Folder, to: &Folder| {
            let names = changes(from, to).into_iter().map(|change| change.name().to_owned()).collect::<Vec<_>>();
            let at = |name: &str| names.iter().position(|found| found == name).unwrap();
            (
                at("extconfig.conf"),
                at("sorcery.conf"),
                at("capconduit.d/extconfig.conf"),
                at("capconduit.d/before/sorcery.conf"),
            )
        };
        let (extconfig, sorcery, families, before) = order(&site, &with);
        assert!(before < families && families < extconfig && extconfig < sorcery);
        let (extconfig, sorcery, families, before) = order(&with, &site);
        assert!(sorcery < extconfig && extconfig < families && families < before);
    }

    #[test]
    fn what_would_change_for_the_site_is_seen() {
        // A file without a header behind the place for ours would go on with our section.
        let headless = folder(&[
            ("extensions.conf", "; FreePBX\n#include extensions_custom.conf\n#include more.conf\n"),
            ("extensions_custom.conf", "[site]\nexten => 1,1,Answer()\n"),
            ("more.conf", "exten => 2,1,Answer()\n[other]\n"),
        ]);
        let told = harm(&Site::of(&headless), &install(&headless, &wanted())).expect("it is seen");
        assert!(told.contains("[site]"), "{told}");
        // Of two sections only the first counts.
        let behind = folder(&[
            ("extensions.conf", "; FreePBX\n#include extensions_custom.conf\n"),
            ("extensions_custom.conf", ""),
            ("http.conf", "#include http_custom.conf\n[general]\nenabled=no\n"),
            ("http_custom.conf", ""),
        ]);
        let told = harm(&Site::of(&behind), &install(&behind, &wanted())).expect("it is seen");
        assert!(told.contains("[general] is there already"), "{told}");
        // Headers of ours in the site's own files: what was seen to keep Asterisk from starting.
        let mut own = debian();
        own.write("sorcery.conf", file("[general]\n[res_pjsip](+)\nendpoint=realtime,capconduit_endpoints\n"));
        let told = harm(&Site::of(&debian()), &own).expect("it is seen");
        assert!(told.contains("sorcery.conf"), "{told}");
    }
}
