//! PURE: the files of Asterisk's configuration folder, and which of them a name means.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};

/// A file, with what must not change of it.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct File {
    pub(super) bytes: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl std::fmt::Debug for File {
    /// There are passwords in some.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes, mode {:o}, {}:{}", self.bytes.len(), self.mode, self.uid, self.gid)
    }
}

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Entry {
    File {
        file: File,
        /// How many names it has.
        names: u64,
    },
    /// To a file, where it leads to one.
    Link { to: String, file: Option<File> },
    /// A folder, a socket …
    Other,
}

impl Entry {
    pub(super) fn file(&self) -> Option<&File> {
        match self {
            Self::File { file, .. } => Some(file),
            Self::Link { file, .. } => file.as_ref(),
            Self::Other => None,
        }
    }
}

/// The folder, with what its files include from elsewhere. A name without a slash in front is below the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Folder {
    /// Its path, such as `/etc/asterisk`.
    pub(super) path: String,
    pub(super) entries: BTreeMap<String, Entry>,
}

impl Folder {
    /// What a file says, through links.
    pub(super) fn bytes(&self, name: &str) -> Option<&[u8]> {
        self.file(name).map(|file| file.bytes.as_slice())
    }

    pub(super) fn file(&self, name: &str) -> Option<&File> {
        self.entries.get(name).and_then(Entry::file)
    }

    pub(super) fn write(&mut self, name: &str, file: File) {
        self.entries.insert(name.to_owned(), Entry::File { file, names: 1 });
    }

    /// The names as they are known here of what an include says: alternatives in braces each by itself, without `.` and `..`, from this
    /// folder on where they are below it.
    fn names(&self, written: &str) -> Vec<String> {
        let folder = clean(Path::new(&self.path));
        let name = |alternative: String| {
            let whole = clean(&folder.join(alternative));
            let below = whole.strip_prefix(&folder).ok().filter(|_| !self.path.is_empty());
            below.unwrap_or(&whole).display().to_string()
        };
        alternatives(written).into_iter().map(name).collect()
    }

    /// The files that an include means; a pattern means all that fit, in their order.
    pub(super) fn meant(&self, written: &str) -> Vec<&str> {
        self.names(written).iter().flat_map(|name| self.known(name)).collect()
    }

    fn known(&self, name: &str) -> Vec<&str> {
        let known = self.entries.iter().filter(|(_, entry)| entry.file().is_some()).map(|(name, _)| name.as_str());
        if is_pattern(name) {
            return known.filter(|known| fits(name, known)).collect();
        }
        known.filter(|known| *known == name).collect()
    }

    /// Files and patterns elsewhere that these files include and that are not here: to be read as well.
    pub(super) fn elsewhere(&self) -> BTreeSet<String> {
        let files = self.entries.values().filter_map(Entry::file);
        let lines = files.flat_map(|file| super::text::Text::of(&file.bytes).lines);
        let included = lines.filter_map(|line| match line.piece {
            super::text::Piece::Include { file, .. } => Some(file),
            _ => None,
        });
        let names = included.flat_map(|file| self.names(&file));
        names.filter(|name| name.starts_with('/') && self.known(name).is_empty()).collect()
    }
}

/// Without `.`, and without `..` and what is before it, as far as the path alone tells: links are not followed.
fn clean(path: &Path) -> PathBuf {
    let mut clean = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if clean.file_name().is_some() => drop(clean.pop()),
            other => clean.push(other),
        }
    }
    clean
}

/// `a{b,c}` is `ab` and `ac`: Asterisk looks for included files with `GLOB_BRACE`. Of more braces than anybody writes none is taken apart.
fn alternatives(written: &str) -> Vec<String> {
    const MOST: usize = 8;
    let parts = written.find('{').filter(|_| written.matches('{').count() <= MOST).and_then(|begin| {
        let (parts, length) = in_braces(&written[begin + 1..])?;
        Some((&written[..begin], parts, &written[begin + 1 + length..]))
    });
    let Some((before, parts, behind)) = parts else { return vec![written.to_owned()] };
    parts.into_iter().flat_map(|part| alternatives(&format!("{before}{part}{behind}"))).collect()
}

/// What commas part in braces, of which the first is open already, and how long it is with the last; `None` where nothing closes them, or
/// nothing is in them.
fn in_braces(text: &str) -> Option<(Vec<&str>, usize)> {
    let (mut parts, mut begin, mut depth) = (Vec::new(), 0, 0_usize);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' if at == 0 => return None,
            '}' => {
                parts.push(&text[begin..at]);
                return Some((parts, at + 1));
            }
            ',' if depth == 0 => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    None
}

pub(super) fn is_pattern(name: &str) -> bool {
    name.contains(['*', '?', '['])
}

/// As the shell's patterns: nothing but a slash itself fits a slash.
fn fits(pattern: &str, name: &str) -> bool {
    let (mut parts, mut names) = (pattern.split('/'), name.split('/'));
    loop {
        match (parts.next(), names.next()) {
            (None, None) => return true,
            (Some(pattern), Some(name)) if !name.starts_with('.') || pattern.starts_with('.') => {
                if !part_fits(pattern.as_bytes(), name.as_bytes()) {
                    return false;
                }
            }
            _ => return false,
        }
    }
}

fn part_fits(pattern: &[u8], name: &[u8]) -> bool {
    match pattern.split_first() {
        None => name.is_empty(),
        Some((b'*', rest)) => (0..=name.len()).any(|skipped| part_fits(rest, &name[skipped..])),
        Some((b'[', rest)) => {
            let Some(end) = rest.iter().skip(1).position(|byte| *byte == b']').map(|at| at + 1) else {
                return name.first() == Some(&b'[') && part_fits(rest, &name[1..]);
            };
            let (set, rest) = (&rest[..end], &rest[end + 1..]);
            name.first().is_some_and(|byte| in_set(set, *byte)) && part_fits(rest, &name[1..])
        }
        Some((b'?', rest)) => !name.is_empty() && part_fits(rest, &name[1..]),
        Some((byte, rest)) => name.first() == Some(byte) && part_fits(rest, &name[1..]),
    }
}

fn in_set(set: &[u8], byte: u8) -> bool {
    let (set, wanted) = set.strip_prefix(b"!").map_or((set, true), |set| (set, false));
    let mut at = 0;
    let mut found = false;
    while at < set.len() {
        if set.get(at + 1) == Some(&b'-') && at + 2 < set.len() {
            found |= (set[at]..=set[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= set[at] == byte;
            at += 1;
        }
    }
    found == wanted
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::folder;
    use super::*;

    #[test]
    fn patterns_fit_as_the_shells_do() {
        for (pattern, name, expected) in [
            ("a.conf", "a.conf", true),
            ("extensions.d/*.conf", "extensions.d/10-a.conf", true),
            ("extensions.d/*.conf", "extensions.d/.a.conf", false),
            ("*.conf", "extensions.d/a.conf", false),
            ("[0-9]?*.conf", "10-a.conf", true),
            ("[!0-9]*", "10", false),
            ("*", "a", true),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn an_include_means_files_below_the_folder_and_elsewhere() {
        let mut folder = folder(&[
            ("a.conf", "#include \"/opt/x.conf\"\n#include /opt/d/*.conf\n#include b.conf"),
            ("d/b.conf", "#include ../shared/{y,z}.conf\n"),
        ]);
        folder.path = "/etc/asterisk".to_owned();
        assert_eq!(folder.meant("/etc/asterisk/a.conf"), ["a.conf"]);
        assert_eq!(folder.meant("d/*.conf"), ["d/b.conf"]);
        assert!(folder.meant("b.conf").is_empty());
        for (written, meant) in [
            ("./a.conf", vec!["a.conf"]),
            ("d/../a.conf", vec!["a.conf"]),
            ("../asterisk/d/b.conf", vec!["d/b.conf"]),
            ("{a,d/b}.conf", vec!["a.conf", "d/b.conf"]),
            ("{d/*,{x,a}}.conf", vec!["d/b.conf", "a.conf"]),
            ("{}.conf", vec![]),
        ] {
            assert_eq!(folder.meant(written), meant, "{written}");
        }
        let elsewhere = ["/opt/x.conf", "/opt/d/*.conf", "/etc/shared/y.conf", "/etc/shared/z.conf"];
        assert_eq!(folder.elsewhere(), elsewhere.map(str::to_owned).into());
    }
}
