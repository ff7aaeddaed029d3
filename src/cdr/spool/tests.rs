use std::fs::{OpenOptions, remove_file, rename, write};
use std::io::Write;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

/// A spool, and how far it is read.
struct Spool {
    folder: TempDir,
    position: Option<Position>,
}

impl Spool {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap(), position: None }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn append(&self, name: &str, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    /// Sets when a file was written last, in seconds: tests are faster than the clock of a file system.
    fn written_at(&self, name: &str, seconds: u64) {
        let file = OpenOptions::new().write(true).open(self.path(name)).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).unwrap();
    }

    /// Looks until nothing comes, a while being over in between; what came, in words.
    fn read(&mut self) -> Vec<String> {
        let (mut seen, mut quiet) = (Vec::new(), false);
        loop {
            match look(&self.path("f.log"), self.position, quiet).unwrap() {
                Look::Lines(lines, next) => {
                    let told = |line: RawLine| {
                        let torn = if line.torn { "torn " } else { "" };
                        format!("{torn}{}:{}", line.number, String::from_utf8_lossy(&line.bytes))
                    };
                    seen.extend(lines.into_iter().map(told));
                    (self.position, quiet) = (Some(next), false);
                }
                Look::Goes(next, way) => {
                    seen.push(format!("{way:?}"));
                    (self.position, quiet) = (Some(next), false);
                }
                Look::Nothing if quiet => return seen,
                Look::Nothing => quiet = true,
            }
        }
    }
}

#[test]
fn whole_lines_are_read_once_and_a_torn_one_waits_for_its_end() {
    let mut spool = Spool::new();
    assert_eq!(spool.read(), [""; 0], "no file, no fault");
    spool.append("f.log", "one\ntwo\nthr");
    assert_eq!(spool.read(), ["Begins", "1:one", "2:two"]);
    spool.append("f.log", "ee\n\n");
    assert_eq!(spool.read(), ["3:three", "4:"]);
    assert_eq!(spool.read(), [""; 0]);
}

#[test]
fn the_rest_of_a_renamed_file_is_read_before_the_next_one() {
    for name in ["f.log.1", "f.log-20261125"] {
        let mut spool = Spool::new();
        spool.append("f.log", "one\n");
        spool.read();
        spool.append("f.log", "two\nthr");
        rename(spool.path("f.log"), spool.path(name)).unwrap();
        assert_eq!(spool.read(), ["2:two", "torn 3:thr"], "no new file yet: reading stands at the old one's end");
        spool.append("f.log", "four\n");
        spool.append("f.logger", "not ours\n");
        assert_eq!(spool.read(), ["Rotated", "1:four"]);
    }
}

#[test]
fn files_that_came_and_went_while_nobody_read_are_read_in_their_order() {
    let mut spool = Spool::new();
    spool.append("f.log", "one\n");
    spool.read();
    for (name, text, at) in [("f.log.3", "older\n", 10), ("f.log.1", "three\n", 30), ("f.log.2", "", 20)] {
        if name == "f.log.2" {
            rename(spool.path("f.log"), spool.path(name)).unwrap();
        }
        spool.append(name, text);
        spool.written_at(name, at);
    }
    spool.append("f.log.0.gz", "compressed");
    spool.append("f.log", "four\n");
    assert_eq!(spool.read(), ["Rotated", "1:three", "Rotated", "1:four"]);
}

#[test]
fn a_file_that_was_cut_short_is_read_from_its_beginning() {
    let mut spool = Spool::new();
    spool.append("f.log", "one\ntwo\n");
    spool.read();
    write(spool.path("f.log"), "3\n").unwrap();
    assert_eq!(spool.read(), ["Truncated", "1:3"]);
    // It has grown past where reading stood, but no line ends there.
    write(spool.path("f.log"), "quite another\n").unwrap();
    assert_eq!(spool.read(), ["Truncated", "1:quite another"]);
}

#[test]
fn a_file_that_is_gone_is_told_and_what_is_there_is_read_from_its_beginning() {
    let mut spool = Spool::new();
    spool.append("f.log", "one\n");
    spool.read();
    // Made before the other is removed, so that it has an inode of its own.
    spool.append("new", "two\n");
    remove_file(spool.path("f.log")).unwrap();
    assert_eq!(spool.read(), [""; 0]);
    rename(spool.path("new"), spool.path("f.log")).unwrap();
    assert_eq!(spool.read(), ["Missed", "1:two"]);
}

#[test]
fn long_files_come_in_pieces_and_a_line_without_end_is_passed_over() {
    let mut spool = Spool::new();
    let line = "x".repeat(400);
    let text: String = (0..3000).map(|n| format!("{n:04}{line}\n")).collect();
    spool.append("f.log", &text);
    let seen = spool.read();
    assert_eq!((seen.len(), &seen[3000][..9]), (3001, "3000:2999"));
    spool.append("f.log", &format!("{}\nend\n", "y".repeat(600_000)));
    let seen = spool.read();
    assert!(seen.len() == 2 && seen[0].starts_with("3001:y"), "{}", seen.len());
    assert_eq!(seen[1], "3002:end");
    spool.append("f.log", &"z".repeat(600_000));
    assert_eq!(spool.read(), [""; 0], "it may be one that is being written");
    spool.append("f.log", "\n");
    assert_eq!(spool.read().len(), 1);
}

#[test]
fn what_is_no_file_is_refused_and_not_waited_for() {
    let spool = Spool::new();
    assert_eq!(look(spool.folder.path(), None, false).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert_eq!(beginning(&spool.path("absent")).unwrap_err().kind(), ErrorKind::NotFound);
}
