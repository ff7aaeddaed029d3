//! PURE: how the folder shall be: with ours installed, or without us again.

use std::collections::{BTreeMap, BTreeSet};

use super::changes::Change;
use super::folder::{Entry, File, Folder};
use super::kind::{FOLDER, Kind, is_below, is_ours};
use super::ours::{SITE_FILES, site_file};
use super::site::{Site, without_ours};

/// Where the files are kept that a line was added to, as they were.
pub(super) const BEFORE: &str = "capconduit.d/before/";
/// Behind the name of one that was not there.
const ABSENT: &str = ".absent";

/// Whose files of ours are, and who reads them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) uid: u32,
    /// Asterisk's group.
    pub(super) gid: u32,
}

/// The mode of what is ours: one file has a password in it.
const MODE: u32 = 0o640;

impl Owner {
    fn file(self, text: &str) -> File {
        File { bytes: text.as_bytes().to_vec(), mode: MODE, uid: self.uid, gid: self.gid }
    }
}

/// The folder with ours in it.
pub(super) fn installed(current: &Folder, site: &Site, ours: &BTreeMap<Kind, String>, owner: Owner) -> Folder {
    let mut folder = current.clone();
    for kind in Kind::ALL {
        match ours.get(&kind) {
            Some(text) => folder.write(&kind.ours(), owner.file(text)),
            None => drop(folder.entries.remove(&kind.ours())),
        }
    }
    for name in SITE_FILES {
        if folder.file(name).is_none() {
            folder.write(name, owner.file(&site_file(name)));
        }
    }
    for kind in Kind::ALL {
        let host = site.host(kind);
        for other in hosts(kind).filter(|other| *other != host) {
            restore(&mut folder, other);
        }
        if ours.contains_key(&kind) {
            add_line(&mut folder, kind, host, owner);
        } else {
            restore(&mut folder, host);
        }
    }
    folder
}

/// The folder without us: each file as it was before, or, where it has changed since, without our line.
pub(super) fn removed(current: &Folder) -> Folder {
    let mut folder = current.clone();
    for host in Kind::ALL.into_iter().flat_map(hosts) {
        restore(&mut folder, host);
    }
    folder.entries.retain(|name, _| !is_below(name) && name != FOLDER);
    folder
}

/// The folder with these changes taken back, as far as they were made: what the site has written meanwhile stays as the site wrote it, without
/// a line of ours that was not there before.
pub(super) fn undone(now: &Folder, before: &Folder, changes: &[Change]) -> Folder {
    let mut folder = now.clone();
    for name in changes.iter().map(Change::name).collect::<BTreeSet<_>>() {
        let is_our_doing = |change: &Change| match change {
            Change::Write { name: of, file } => of == name && now.file(name) == Some(file),
            Change::Delete { name: of } => of == name && !now.entries.contains_key(name),
        };
        if changes.iter().any(is_our_doing) {
            match before.entries.get(name) {
                Some(entry) => drop(folder.entries.insert(name.to_owned(), entry.clone())),
                None => drop(folder.entries.remove(name)),
            }
        } else if !is_below(name) && !before.bytes(name).is_some_and(has_line) {
            restore(&mut folder, name);
        }
    }
    folder
}

/// Whether something in the folder is ours.
pub(super) fn is_installed(folder: &Folder) -> bool {
    folder.entries.keys().any(|name| is_below(name))
        || Kind::ALL.into_iter().flat_map(hosts).any(|host| folder.bytes(host).is_some_and(has_line))
}

/// The files that may have a line of ours.
pub(super) fn hosts(kind: Kind) -> impl Iterator<Item = &'static str> {
    [Some(kind.main()), kind.custom()].into_iter().flatten()
}

/// Whether a file has a line of ours.
pub(super) fn has_line(bytes: &[u8]) -> bool {
    bytes.split(|byte| *byte == b'\n').any(is_ours)
}

/// Adds our line at the end of a file, which is kept as it was.
fn add_line(folder: &mut Folder, kind: Kind, host: &str, owner: Owner) {
    let kept = format!("{BEFORE}{host}");
    let mut file = match folder.entries.get(host) {
        Some(Entry::File { file, .. }) if has_line(&file.bytes) => return,
        Some(Entry::File { file, .. }) => {
            let file = file.clone();
            folder.write(&kept, file.clone());
            folder.entries.remove(&format!("{kept}{ABSENT}"));
            file
        }
        Some(_) => return,
        None => {
            folder.write(&format!("{kept}{ABSENT}"), owner.file(""));
            folder.entries.remove(&kept);
            owner.file("")
        }
    };
    if file.bytes.last().is_some_and(|byte| *byte != b'\n') {
        file.bytes.push(b'\n');
    }
    file.bytes.extend_from_slice(format!("{}\n", kind.line()).as_bytes());
    folder.write(host, file);
}

/// Takes our line out of a file again, and what was kept of it away.
fn restore(folder: &mut Folder, host: &str) {
    let kept = format!("{BEFORE}{host}");
    let (original, was_absent) = (folder.file(&kept).cloned(), folder.file(&format!("{kept}{ABSENT}")).is_some());
    if let Some(Entry::File { file, .. }) = folder.entries.get(host)
        && has_line(&file.bytes)
    {
        let mut file = file.clone();
        file.bytes = without_ours(&file.bytes);
        // A newline that its last line lacked was ours, too.
        if let Some(original) = original.filter(|original| is_same(&original.bytes, &file.bytes)) {
            file.bytes = original.bytes;
        }
        if was_absent && file.bytes.is_empty() {
            folder.entries.remove(host);
        } else {
            folder.write(host, file);
        }
    }
    folder.entries.remove(&kept);
    folder.entries.remove(&format!("{kept}{ABSENT}"));
}

fn is_same(original: &[u8], found: &[u8]) -> bool {
    original == found || found.strip_suffix(b"\n") == Some(original)
}

#[cfg(test)]
mod tests {
    use super::super::changes::changes;
    use super::super::fixtures::{debian, file, freepbx, program, realtime, wanted};
    use super::super::ours::ours;
    use super::*;

    const OWNER: Owner = Owner { uid: 0, gid: 110 };

    fn install(folder: &Folder) -> Folder {
        let site = Site::of(folder);
        installed(folder, &site, &ours(&site, &wanted(), &program()), OWNER)
    }

    fn names(folder: &Folder) -> Vec<&str> {
        folder.entries.keys().map(String::as_str).filter(|name| is_below(name)).collect()
    }

    #[test]
    fn a_second_installation_changes_nothing_and_a_removal_leaves_every_byte_as_it_was() {
        for (name, site) in [("debian", debian()), ("freepbx", freepbx()), ("realtime", realtime())] {
            let with = install(&site);
            assert_ne!(with, site, "{name}");
            assert_eq!(install(&with), with, "{name}");
            assert!(is_installed(&with) && !is_installed(&site));
            assert_eq!(removed(&with), site, "{name}");
            assert_eq!(removed(&site), site, "{name}");
        }
    }

    #[test]
    fn each_file_gets_one_line_at_its_end_and_is_kept_as_it_was() {
        let with = install(&debian());
        let text = |name: &str| String::from_utf8(with.bytes(name).unwrap().to_vec()).unwrap();
        assert!(
            text("pjsip.conf").ends_with("context=from-trunk\n#tryinclude \"capconduit.d/pjsip.conf\" ; capconduit\n")
        );
        // Its last line had no end.
        assert!(
            text("res_config_sqlite3.conf")
                .ends_with("=1000\n#tryinclude \"capconduit.d/res_config_sqlite3.conf\" ; capconduit\n")
        );
        assert_eq!(with.file("capconduit.d/before/pjsip.conf"), debian().file("pjsip.conf"));
        assert_eq!(with.file("pjsip.conf").map(|file| (file.mode, file.uid, file.gid)), Some((0o644, 0, 0)));
        assert_eq!(with.file("capconduit.d/ari.conf").map(|file| (file.mode, file.gid)), Some((0o640, 110)));
        assert_eq!(
            names(&with).into_iter().filter(|name| !name.contains("before")).collect::<Vec<_>>(),
            [
                "capconduit.d/ari.conf",
                "capconduit.d/extconfig.conf",
                "capconduit.d/extensions.conf",
                "capconduit.d/http.conf",
                "capconduit.d/pjsip.conf",
                "capconduit.d/res_config_sqlite3.conf",
                "capconduit.d/site_globals.conf",
                "capconduit.d/site_pjsip.conf",
                "capconduit.d/sorcery.conf",
            ]
        );
    }

    #[test]
    fn on_freepbx_the_files_that_it_writes_are_left_alone_and_what_was_not_there_goes_again() {
        let with = install(&freepbx());
        for name in ["extensions.conf", "pjsip.conf", "ari.conf", "http.conf", "modules.conf"] {
            assert_eq!(with.file(name), freepbx().file(name), "{name}");
        }
        assert!(has_line(with.bytes("extensions_custom.conf").unwrap()));
        assert!(with.file("capconduit.d/before/sorcery.conf.absent").is_some());
        assert!(removed(&with).file("sorcery.conf").is_none());
        // Its HTTP server listens already: there is nothing to say.
        assert!(with.file("capconduit.d/http.conf").is_none() && !has_line(with.bytes("http_custom.conf").unwrap()));
    }

    #[test]
    fn a_file_that_was_changed_since_keeps_its_changes() {
        let mut with = install(&debian());
        let mut changed = with.file("extensions.conf").unwrap().clone();
        changed.bytes.extend_from_slice(b"[new]\nexten => 1,1,Answer()\n");
        changed.mode = 0o600;
        with.write("extensions.conf", changed);
        let mut expected = debian().file("extensions.conf").unwrap().clone();
        expected.bytes.extend_from_slice(b"[new]\nexten => 1,1,Answer()\n");
        expected.mode = 0o600;
        assert_eq!(removed(&with).file("extensions.conf"), Some(&expected));
        assert_eq!(install(&with), with, "our line may stand anywhere");
        // One that was written anew gets our line again, and what is kept is what it was then.
        with.write("pjsip.conf", file("[transport-udp]\ntype=transport\n"));
        let again = install(&with);
        assert!(has_line(again.bytes("pjsip.conf").unwrap()));
        assert_eq!(removed(&again).bytes("pjsip.conf"), Some(&b"[transport-udp]\ntype=transport\n"[..]));
    }

    #[test]
    fn what_is_put_back_is_our_own_doing_and_no_more() {
        let site = debian();
        let with = install(&site);
        let done = changes(&site, &with);
        assert_eq!(undone(&with, &site, &done), site);
        // Broken off anywhere.
        let mut folder = site.clone();
        for change in &done {
            assert_eq!(undone(&folder, &site, &done), site, "before {}", change.name());
            change.apply(&mut folder);
        }
        // Meanwhile the site wrote to a file of its own, to one that has our line, and made another.
        let mut meanwhile = with.clone();
        meanwhile.write("voicemail.conf", file("[default]\n100 => 4321\n"));
        meanwhile.write("pjsip.conf", {
            let mut changed = with.file("pjsip.conf").unwrap().clone();
            changed.bytes.extend_from_slice(b"[new]\ntype=aor\n");
            changed
        });
        let back = undone(&meanwhile, &site, &done);
        assert_eq!(back.file("voicemail.conf"), meanwhile.file("voicemail.conf"));
        let text = String::from_utf8(back.bytes("pjsip.conf").unwrap().to_vec()).unwrap();
        assert!(text.ends_with("[new]\ntype=aor\n") && !text.contains("capconduit"), "{text}");
        assert!(names(&back).is_empty(), "{:?}", names(&back));
        // An update is taken back to what was installed before, not to nothing.
        let mut older = with.clone();
        older.write("capconduit.d/http.conf", file("older\n"));
        let update = changes(&older, &with);
        assert_eq!(undone(&with, &older, &update), older);
    }

    #[test]
    fn what_the_site_sets_in_our_folder_is_never_written_over() {
        let mut with = install(&debian());
        with.write(SITE_FILES[1], file("[carrier](capconduit-carrier)\n"));
        assert_eq!(install(&with).file(SITE_FILES[1]), with.file(SITE_FILES[1]));
    }
}
