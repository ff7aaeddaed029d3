//! PURE: what Asterisk makes of a whole configuration: a main file with all that it includes.

use super::folder::Folder;
use super::text::{Piece, Text};

/// How deep Asterisk lets files include files.
const DEEPEST: usize = 10;

/// `name = value`, and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) name: String,
    pub(super) value: String,
    pub(super) file: String,
}

/// `[name]` with its settings, those of its bases included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    pub(super) name: String,
    pub(super) template: bool,
    pub(super) settings: Vec<Setting>,
    /// Where its header stands.
    pub(super) file: String,
}

impl Section {
    /// The last value of a setting, which is what counts for most.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        self.values(name).last()
    }

    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let fits = move |setting: &&Setting| setting.name.eq_ignore_ascii_case(name);
        self.settings.iter().filter(fits).map(|setting| setting.value.as_str())
    }

    pub(super) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

/// What makes Asterisk give a file up, or all that is behind a line of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) why: String,
}

/// A configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reading {
    /// In the order in which they begin, templates included.
    pub(super) sections: Vec<Section>,
    /// Every file that was read, in order.
    pub(super) files: Vec<String>,
    /// Files of which Asterisk reads only what is in front of a line; the main one among them is not read at all.
    pub(super) faults: Vec<Fault>,
    /// Files that end in a comment which nothing ends.
    pub(super) open_comments: Vec<Fault>,
    /// Files with an `#exec`: what that prints is not known.
    pub(super) execs: Vec<String>,
}

impl Reading {
    /// Reads a main file of the folder, such as `pjsip.conf`.
    pub(super) fn of(folder: &Folder, main: &str) -> Self {
        let mut reader = Reader { folder, reading: Self::default(), current: None };
        reader.read(main, 0);
        reader.reading
    }

    /// The first section of the name that is no template: the only one that counts, for most.
    pub(super) fn section(&self, name: &str) -> Option<&Section> {
        self.sections.iter().find(|section| !section.template && section.is(name))
    }

    /// Sections that are no templates.
    pub(super) fn real(&self) -> impl Iterator<Item = &Section> {
        self.sections.iter().filter(|section| !section.template)
    }

    /// The last value of a setting in the section of that name.
    pub(super) fn value(&self, section: &str, name: &str) -> Option<&str> {
        self.section(section)?.value(name)
    }
}

struct Reader<'a> {
    folder: &'a Folder,
    reading: Reading,
    /// The section that a file goes on with whose first line is no header: the last that was begun or gone on with, in whatever file.
    current: Option<usize>,
}

impl Reader<'_> {
    /// Whether there is such a file.
    fn read(&mut self, written: &str, depth: usize) -> bool {
        let meant: Vec<String> = self.folder.meant(written).into_iter().map(str::to_owned).collect();
        for name in meant.iter().filter(|_| depth < DEEPEST) {
            let text = Text::of(self.folder.bytes(name).unwrap_or_default());
            self.reading.files.push(name.clone());
            if let Some(line) = text.open_comment {
                let why = "a comment begins there that nothing ends".to_owned();
                self.reading.open_comments.push(Fault { file: name.clone(), line, why });
            }
            let mut section = self.current;
            for line in text.lines {
                if let Err(why) = self.line(name, line.piece, &mut section, depth) {
                    self.reading.faults.push(Fault { file: name.clone(), line: line.number, why });
                    break;
                }
            }
        }
        !meant.is_empty() && depth < DEEPEST
    }

    fn line(&mut self, file: &str, piece: Piece, section: &mut Option<usize>, depth: usize) -> Result<(), String> {
        match piece {
            Piece::Section { name, template, append, bases } => {
                *section = Some(self.section(file, name, template, append, &bases)?);
                self.current = *section;
            }
            Piece::Setting { name, value } => {
                let at = section.ok_or("no section is begun there")?;
                self.reading.sections[at].settings.push(Setting { name, value, file: file.to_owned() });
            }
            Piece::Include { file: included, must } => {
                if !self.read(&included, depth + 1) && must {
                    return Err(format!("includes {included}, which is not there"));
                }
            }
            Piece::Exec => self.reading.execs.push(file.to_owned()),
            Piece::Ignored => {}
            Piece::Invalid(why) => return Err(why),
        }
        Ok(())
    }

    fn section(
        &mut self,
        file: &str,
        name: String,
        template: bool,
        append: bool,
        bases: &[String],
    ) -> Result<usize, String> {
        let mut settings = Vec::new();
        for base in bases {
            let base = self.reading.sections.iter().find(|section| section.is(base));
            let base = base.ok_or_else(|| format!("[{name}] goes by a section that is not there"))?;
            settings.extend(base.settings.iter().cloned());
        }
        let sections = &mut self.reading.sections;
        if !append {
            sections.push(Section { name, template, settings, file: file.to_owned() });
            return Ok(sections.len() - 1);
        }
        let found = sections.iter().position(|section| !section.template && section.is(&name));
        let at = found.ok_or_else(|| format!("[{name}](+) goes on with a section that is not there"))?;
        sections[at].settings.extend(settings);
        Ok(at)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::folder;
    use super::*;

    fn told(reading: &Reading) -> Vec<String> {
        let told = |section: &Section| {
            let settings: Vec<_> = section.settings.iter().map(|one| format!("{}={}", one.name, one.value)).collect();
            format!("{}: {}", section.name, settings.join(" "))
        };
        reading.real().map(told).collect()
    }

    #[test]
    fn bases_and_additions_count_as_in_asterisk() {
        let folder = folder(&[("x.conf", "[t](!)\na=1\n[one](t)\nb=2\n[two]\n[One](+)\nc=3\n[t](!)\na=9\n")]);
        let reading = Reading::of(&folder, "x.conf");
        assert_eq!(told(&reading), ["one: a=1 b=2 c=3", "two: "]);
        assert_eq!((reading.value("ONE", "C"), reading.value("t", "a")), (Some("3"), None));
    }

    #[test]
    fn an_addition_to_nothing_ends_the_file_that_it_stands_in_and_no_other() {
        let folder = folder(&[
            ("x.conf", "[a]\n#tryinclude \"d/x.conf\" ; ours\nb=2\n"),
            ("d/x.conf", "[ours]\nx=1\n[absent](+)\ny=2\n[late]\n"),
        ]);
        let reading = Reading::of(&folder, "x.conf");
        assert_eq!(told(&reading), ["a: b=2", "ours: x=1"]);
        let [fault] = &reading.faults[..] else { panic!("{:?}", reading.faults) };
        assert_eq!((fault.file.as_str(), fault.line), ("d/x.conf", 3));
        // In the main file all is lost: nothing behind the line is read, and Asterisk takes none of it.
        let main = folder_with_addition();
        assert_eq!(Reading::of(&main, "x.conf").faults[0].file, "x.conf");
    }

    fn folder_with_addition() -> Folder {
        folder(&[("x.conf", "[absent](+)\na=1\n")])
    }

    #[test]
    fn a_file_without_a_header_goes_on_with_the_section_that_was_begun_last() {
        let folder = folder(&[
            ("x.conf", "[a]\n#include one.conf\n#include two.conf\nd=4\n"),
            ("one.conf", "b=2\n[ours]\n"),
            ("two.conf", "c=3\n"),
        ]);
        assert_eq!(told(&Reading::of(&folder, "x.conf")), ["a: b=2 d=4", "ours: c=3"]);
    }

    #[test]
    fn what_is_missing_ends_a_file_only_where_it_must_be_there() {
        let include = folder(&[("x.conf", "[a]\n#tryinclude none.conf\nb=1\n#include none.conf\nc=2\n")]);
        let reading = Reading::of(&include, "x.conf");
        assert_eq!((told(&reading), reading.faults.len()), (vec!["a: b=1".to_owned()], 1));
        let endless = folder(&[("x.conf", "[a]\n#tryinclude x.conf\n")]);
        assert_eq!(Reading::of(&endless, "x.conf").sections.len(), DEEPEST);
        assert_eq!(Reading::of(&endless, "y.conf"), Reading::default());
        let first = folder(&[("x.conf", "a=1\n")]);
        assert_eq!(Reading::of(&first, "x.conf").faults[0].why, "no section is begun there");
    }
}
