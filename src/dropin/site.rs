//! PURE: what a site has in Asterisk's folder, ours left out.

use std::collections::BTreeMap;

use super::folder::{Entry, Folder};
use super::kind::{FOLDER, Kind, is_below, is_ours};
use super::reading::{Reading, Section};

/// The site's own configuration.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) folder: Folder,
    /// FreePBX writes the main files.
    pub(super) freepbx: bool,
    readings: BTreeMap<Kind, Reading>,
    /// The sections that there are where our line stands, or will.
    before: BTreeMap<Kind, Reading>,
}

/// Where the site has a section, seen from our line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Before,
    After,
    Nowhere,
}

/// A section by which our line is found again.
const MARK: &str = "capconduit: here";

impl Site {
    pub(super) fn of(folder: &Folder) -> Self {
        let folder = bare(folder);
        let freepbx = is_freepbx(&folder);
        let readings = Kind::ALL.map(|kind| (kind, Reading::of(&folder, kind.main()))).into();
        let before = Kind::ALL.map(|kind| (kind, before(&folder, kind, host(kind, freepbx)))).into();
        Self { folder, freepbx, readings, before }
    }

    /// The file that gets our line.
    pub(super) fn host(&self, kind: Kind) -> &'static str {
        host(kind, self.freepbx)
    }

    pub(super) fn reading(&self, kind: Kind) -> &Reading {
        &self.readings[&kind]
    }

    /// The whole of another file, such as `cdr.conf`.
    pub(super) fn other(&self, main: &str) -> Reading {
        Reading::of(&self.folder, main)
    }

    pub(super) fn place(&self, kind: Kind, section: &str) -> Place {
        if self.before[&kind].section(section).is_some() {
            Place::Before
        } else if self.reading(kind).section(section).is_some() {
            Place::After
        } else {
            Place::Nowhere
        }
    }

    /// A header of ours: `(+)` exactly where the site has the section, for a plain second one is ignored, and an addition to none ends the
    /// file. Where the dialplan's globals stand a plain second one counts, and an addition would have to know of the first.
    pub(super) fn header(&self, kind: Kind, section: &str) -> String {
        let append = section != "globals" && self.place(kind, section) == Place::Before;
        format!("[{section}]{}\n", if append { "(+)" } else { "" })
    }

    /// Which PJSIP objects of a type the site has in files, by name.
    pub(super) fn objects<'a>(&'a self, of: &'a str) -> impl Iterator<Item = &'a Section> {
        let fits = move |section: &&Section| section.value("type").is_some_and(|kind| kind.eq_ignore_ascii_case(of));
        self.reading(Kind::Pjsip).real().filter(fits)
    }
}

fn host(kind: Kind, freepbx: bool) -> &'static str {
    kind.custom().filter(|_| freepbx).unwrap_or(kind.main())
}

/// The folder as it would be without us.
fn bare(folder: &Folder) -> Folder {
    let mut folder = folder.clone();
    folder.entries.retain(|name, _| name != FOLDER && !is_below(name));
    for entry in folder.entries.values_mut() {
        if let Entry::File { file, .. } | Entry::Link { file: Some(file), .. } = entry {
            file.bytes = without_ours(&file.bytes);
        }
    }
    folder
}

/// A file without our lines.
pub(super) fn without_ours(bytes: &[u8]) -> Vec<u8> {
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !is_ours(line)).flatten().copied().collect()
}

/// FreePBX says so in each file that it writes, and its dialplan has a file for others.
fn is_freepbx(folder: &Folder) -> bool {
    let says = folder.bytes("extensions.conf").is_some_and(|bytes| String::from_utf8_lossy(bytes).contains("FreePBX"));
    let custom = Kind::Extensions.custom().unwrap_or_default();
    says && Reading::of(folder, "extensions.conf").files.iter().any(|file| file == custom)
}

/// What Asterisk has read when it comes to the end of the file that gets our line.
fn before(folder: &Folder, kind: Kind, host: &str) -> Reading {
    let mut marked = folder.clone();
    let Some(Entry::File { file, .. } | Entry::Link { file: Some(file), .. }) = marked.entries.get_mut(host) else {
        return Reading::default();
    };
    file.bytes.extend_from_slice(format!("\n[{MARK}]\n").as_bytes());
    let mut reading = Reading::of(&marked, kind.main());
    let at = reading.sections.iter().position(|section| section.name == MARK);
    reading.sections.truncate(at.unwrap_or_default());
    reading
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{debian, folder, freepbx};
    use super::*;

    #[test]
    fn the_site_is_what_there_is_without_us() {
        let mut with = debian();
        let line = format!("{}\n", Kind::Pjsip.line());
        let pjsip = with.bytes("pjsip.conf").unwrap().to_vec();
        with.write("pjsip.conf", super::super::fixtures::file(&format!("{}{line}", String::from_utf8_lossy(&pjsip))));
        with.write("capconduit.d/pjsip.conf", super::super::fixtures::file("[ours]\ntype = endpoint\n"));
        assert_eq!(Site::of(&with).folder.entries, Site::of(&debian()).folder.entries);
        assert_eq!(
            Site::of(&with).objects("endpoint").map(|one| one.name.as_str()).collect::<Vec<_>>(),
            ["100", "trunk"]
        );
    }

    #[test]
    fn freepbx_is_known_and_leaves_room_in_its_custom_files() {
        assert!(!Site::of(&debian()).freepbx);
        let site = Site::of(&freepbx());
        assert!(site.freepbx);
        assert_eq!(
            [Kind::Extensions, Kind::Pjsip, Kind::Ari, Kind::Http, Kind::Extconfig, Kind::Sorcery]
                .map(|kind| site.host(kind)),
            [
                "extensions_custom.conf",
                "pjsip_custom.conf",
                "ari_additional_custom.conf",
                "http_custom.conf",
                "extconfig.conf",
                "sorcery.conf"
            ]
        );
        assert_eq!(site.place(Kind::Http, "general"), Place::Before);
        assert_eq!(site.header(Kind::Http, "general"), "[general](+)\n");
        // Its transports stand behind the file that is ours to use.
        assert_eq!(site.place(Kind::Pjsip, "udp"), Place::After);
    }

    #[test]
    fn a_header_adds_exactly_where_there_is_something_to_add_to() {
        let site =
            Site::of(&folder(&[("sorcery.conf", "[general]\n[res_pjsip](!)\n"), ("extconfig.conf", "[Settings]\n")]));
        assert_eq!(site.header(Kind::Sorcery, "res_pjsip"), "[res_pjsip]\n", "a template is nothing to add to");
        assert_eq!(site.header(Kind::Extconfig, "settings"), "[settings](+)\n", "names have no case");
        assert_eq!(site.header(Kind::Http, "general"), "[general]\n", "the file is not there");
        assert_eq!(Site::of(&debian()).header(Kind::Extensions, "globals"), "[globals]\n");
    }
}
