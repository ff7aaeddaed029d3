//! `backup` and `restore` of SQLite, where no `serve` runs: what is in an archive, and everything that is refused. The drill, beside calls and
//! on both databases, is in `tests/api/backup.rs`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use capconduit::config::DataLock;

use super::{PLAN, capconduit, folder};

/// A site with a configuration, a secret in a file, a spool, clients, and the journal that 217f4c8 left: one call under way, two records
/// that wait, one that was set aside.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: folder() };
        let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/store/layouts");
        home.write("ari-password", "hunter2\n");
        home.write("fallback.log", "a line\n");
        home.write("fallback.log.1", "an older line\n");
        home.write("fallback.log.2.gz", "read long ago");
        let node =
            "[[asterisk]]\nname = \"pbx-1\"\npassword_file = \"ari-password\"\nfallback_spool = \"fallback.log\"\n";
        home.write("capconduit.toml", node);
        home.write("plan.toml", PLAN);
        home.said(0, &["migrate"]);
        home.said(0, &["apply", "plan.toml"]);
        home.write("data/token.key", "a key of thirty-two bytes or more\n");
        home.write("data/instance", &format!("{}\n", "ab".repeat(16)));
        std::fs::copy(layouts.join("journal-217f4c8.db"), home.path("data/journal.db")).expect("a checked-in file");
        std::fs::create_dir(home.path("backups")).expect("a folder");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// How the names of its archives begin in a folder.
    fn series(&self) -> String {
        format!("capconduit-{}-", &self.read("data/instance")[..8])
    }

    /// Runs the program; it must end with this code. What it said.
    #[track_caller]
    fn said(&self, code: i32, args: &[&str]) -> String {
        self.said_with(code, &[], args)
    }

    #[track_caller]
    fn said_with(&self, code: i32, environment: &[(&str, &str)], args: &[&str]) -> String {
        let (found, out, error) = capconduit(self.folder.path(), environment, args);
        assert_eq!(found, code, "{args:?}: {out}{error}");
        out + &error
    }

    /// Refused in one sentence with these parts.
    #[track_caller]
    fn refused(&self, args: &[&str], parts: &[&str]) {
        let said = self.said(1, args);
        assert_eq!(said.lines().count(), 1, "{said}");
        for part in parts {
            assert!(said.contains(part), "{part} in {said}");
        }
    }

    /// What is in a folder, hidden files included.
    fn names(&self, name: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(name)).expect(name);
        let mut names: Vec<String> =
            entries.flatten().map(|it| it.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

#[test]
fn all_that_a_new_machine_needs_is_in_one_file_for_its_owner_alone() {
    let home = Home::new();
    let variable = [("CAPCONDUIT__LOG__FILTER", "warn")];
    let said = home.said_with(0, &variable, &["backup", "one.tar.gz"]);
    assert!(said.contains("one.tar.gz is made") && said.contains("CAPCONDUIT__LOG__FILTER"), "{said}");
    let mode = std::fs::metadata(home.path("one.tar.gz")).expect("a file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    // Any tar reads it.
    let listed =
        Command::new("tar").args(["-tzf", "one.tar.gz"]).current_dir(home.folder.path()).output().expect("tar");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let names: Vec<&str> = listed.lines().collect();
    let expected = [
        "manifest.json",
        "journal.db",
        "capconduit.db",
        "token.key",
        "instance",
        "configuration/capconduit.toml",
        "configuration/files/0-ari-password",
        "spool/pbx-1.log.1",
        "spool/pbx-1.log",
    ];
    assert_eq!(names, expected, "the journal before the database");

    let said = home.said(0, &["restore", "one.tar.gz", "--into", "new/data"]);
    for part in [
        "new/data/capconduit.db",
        "in the journal and are in it now: 2; calls that had not ended: 1",
        "data.dir",
        "import-fallback --node \"pbx-1\"",
        "configuration/files/0-ari-password was ari-password",
        "CAPCONDUIT__LOG__FILTER",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    assert!(!said.contains("hunter2"));
    let expected =
        ["capconduit.db", "configuration", "instance", "journal.db", "lock", "realtime", "spool", "token.key"];
    assert_eq!(home.names("new/data"), expected);
    for name in ["token.key", "configuration/capconduit.toml"] {
        let was = if name.starts_with("conf") { "capconduit.toml".to_owned() } else { format!("data/{name}") };
        assert_eq!(home.read(&format!("new/data/{name}")), home.read(&was));
    }
    assert_eq!(home.read("new/data/configuration/files/0-ari-password"), "hunter2\n");
    assert_ne!(home.read("new/data/instance"), home.read("data/instance"), "another host has another name");
    home.said(0, &["restore", "one.tar.gz", "--into", "same", "--same-host"]);
    assert_eq!(home.read("same/instance"), home.read("data/instance"));

    let there = [("CAPCONDUIT__DATA__DIR", "new/data")];
    let journal = home.said_with(0, &there, &["journal"]);
    assert!(journal.contains("1 calls under way, 0 records wait for the database, 1 are set aside"), "{journal}");
    assert_eq!(home.said_with(0, &there, &["calls", "--json"]).matches("\"call_id\"").count(), 2);
    assert_eq!(home.said_with(0, &there, &["export"]), home.said(0, &["export"]));
    let doctor = home.said_with(1, &there, &["doctor"]);
    assert!(doctor.contains("ok    database") && doctor.contains("ok    realtime"), "{doctor}");
}

#[test]
fn in_a_folder_they_are_named_by_the_time_and_the_oldest_go() {
    let home = Home::new();
    let own = home.series();
    home.write(&format!("backups/{own}20200101T000000Z.tar.gz"), "old");
    home.write(&format!("backups/{own}20210101T000000Z.tar.gz"), "younger");
    home.write("backups/capconduit-another1-20190101T000000Z.tar.gz", "another controller's");
    home.write(&format!("backups/{own}without-database-20190101T000000Z.tar.gz"), "not a whole one");
    home.write("backups/notes.txt", "mine");
    // What a process that was killed has left.
    std::fs::create_dir(home.path("backups/.capconduit-backup-0")).expect("a folder");
    home.write("backups/.capconduit-backup-0/lock", "");
    let said = home.said(0, &["backup", "backups", "--keep", "2"]);
    assert!(said.contains("1 older one removed"), "{said}");
    let names = home.names("backups");
    assert_eq!(names.len(), 5, "{names:?}");
    let is_there = |name: &str| names.iter().any(|there| there == name);
    assert!(!is_there(&format!("{own}20200101T000000Z.tar.gz")), "{names:?}");
    for kept in [
        &format!("{own}20210101T000000Z.tar.gz"),
        "capconduit-another1-20190101T000000Z.tar.gz",
        &format!("{own}without-database-20190101T000000Z.tar.gz"),
        "notes.txt",
    ] {
        assert!(is_there(kept), "{kept}: {names:?}");
    }
    let made = |name: &String| name.strip_prefix(&format!("{own}202")).is_some_and(|rest| rest.len() == 20);
    assert_eq!(names.iter().filter(|name| made(name)).count(), 2, "{names:?}");
    assert!(home.read("data/last-backup").starts_with("20"));
}

#[test]
fn what_keeps_a_backup_from_being_made_is_one_sentence_and_nothing_is_left() {
    let home = Home::new();
    home.write("there", "mine");
    home.refused(&["backup", "there"], &["there exists already"]);
    assert_eq!(home.read("there"), "mine");
    home.refused(&["backup", "nowhere/x.tar.gz"], &["no backup is made", "nowhere"]);
    home.refused(&["backup", "there/x.tar.gz"], &["no backup is made", "there"]);
    home.refused(&["backup", "new.tar.gz", "--keep", "3"], &["--keep", "new.tar.gz is not a folder"]);
    std::os::unix::fs::symlink("/nonexistent/x", home.path("backups/link")).expect("a link");
    home.refused(&["backup", "backups/link"], &["exists already"]);
    // A file that is a journal no more.
    let journal = std::fs::read(home.path("data/journal.db")).expect("a file");
    home.write("data/journal.db", &"no journal ".repeat(1000));
    home.refused(&["backup", "backups/x"], &["no backup is made", "journal.db"]);
    std::fs::write(home.path("data/journal.db"), journal).expect("a file");
    assert_eq!(home.names("backups"), ["link"]);

    // A disk with no more room than this: what it says then, in blocks of 512 bytes, and at which file, depends on how much that is.
    let full = |blocks: u32| {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" backup backups/x");
        let mut command = Command::new("sh");
        command.args(["-c", &script, env!("CARGO_BIN_EXE_capconduit")]).current_dir(home.folder.path()).env_clear();
        let output = command.output().expect("it runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for blocks in [0, 20, 100] {
        let (good, said) = full(blocks);
        assert!(!good && said.contains("no backup is made") && said.lines().count() == 1, "{blocks}: {said}");
        assert_eq!(home.names("backups"), ["link"], "{blocks}");
    }
    assert!(!home.path("data/last-backup").exists(), "none was noted");
    home.said(0, &["backup", "backups/x"]);
    assert_eq!(home.names("backups"), ["link", "x"]);
}

#[test]
fn what_keeps_a_backup_from_being_restored_is_one_sentence_and_nothing_is_left() {
    let home = Home::new();
    home.said(0, &["backup", "good"]);
    let good = std::fs::read(home.path("good")).expect("a file");
    // Damaged at its end, in its midst, and no archive at all.
    std::fs::write(home.path("short"), &good[..good.len() - 20]).expect("a file");
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    std::fs::write(home.path("changed"), changed).expect("a file");
    for (archive, part) in
        [("short", "damaged"), ("changed", "damaged"), ("plan.toml", "damaged"), ("absent", "cannot open")]
    {
        home.refused(&["restore", archive, "--into", "new"], &[archive, part]);
        assert!(!home.path("new").exists(), "{archive}");
    }
    home.refused(&["restore", "good", "--into", "data"], &["data is not empty"]);
    home.refused(&["restore", "good", "--into", "plan.toml"], &["plan.toml is not a folder"]);
    home.refused(&["restore", "good", "--into", "plan.toml/new"], &["plan.toml"]);
    let held = DataLock::take(&home.path("data")).expect("nobody has it");
    home.refused(&["restore", "good", "--into", "data"], &[&format!("process {}", std::process::id())]);
    drop(held);
    // A folder that is there, and empty, stays so.
    std::fs::create_dir(home.path("empty")).expect("a folder");
    home.refused(&["restore", "short", "--into", "empty"], &["damaged"]);
    assert!(home.names("empty").iter().all(|name| name == "lock"), "{:?}", home.names("empty"));
    home.said(0, &["restore", "good", "--into", "empty"]);

    let connection = rusqlite::Connection::open(home.path("data/capconduit.db")).expect("it opens");
    connection.execute("INSERT INTO seaql_migrations VALUES ('m20991231_000001_future', 0)", []).expect("SQL");
    home.said(0, &["backup", "newer"]);
    home.refused(
        &["restore", "newer", "--into", "new"],
        &["m20991231_000001_future", "newer", env!("CARGO_PKG_VERSION")],
    );
    connection.execute("DELETE FROM seaql_migrations WHERE version LIKE 'm2099%'", []).expect("SQL");
    let journal = rusqlite::Connection::open(home.path("data/journal.db")).expect("it opens");
    journal.pragma_update(None, "user_version", 99).expect("SQL");
    drop((connection, journal));
    home.said(0, &["backup", "odd"]);
    home.refused(&["restore", "odd", "--into", "new"], &["its journal", "newer"]);
    assert!(!home.path("new").exists());
}

/// The clock was ahead once.
#[test]
fn the_one_that_was_just_made_is_never_the_one_that_goes() {
    let home = Home::new();
    let own = home.series();
    for time in ["20990101T000000Z", "20990102T000000Z"] {
        home.write(&format!("backups/{own}{time}.tar.gz"), "of a time to come");
    }
    home.said(0, &["backup", "backups", "--keep", "1"]);
    let names = home.names("backups");
    assert!(names.len() == 1 && names[0].starts_with(&own) && !names[0].contains("2099"), "{names:?}");
}

/// Why it was set aside, perhaps.
#[test]
fn a_damaged_journal_that_was_set_aside_is_kept_as_it_is() {
    let home = Home::new();
    home.write("data/journal-aside-20260101T000000.db", "this was a journal");
    let said = home.said(0, &["backup", "one.tar.gz"]);
    assert!(said.contains("journal-aside-20260101T000000.db was set aside and is copied as it is"), "{said}");
    home.said(0, &["restore", "one.tar.gz", "--into", "new"]);
    assert_eq!(home.read("new/journal-aside-20260101T000000.db"), "this was a journal");
}

#[test]
fn the_journal_keeps_the_space_that_calls_need() {
    let home = Home::new();
    let reserve = [("CAPCONDUIT__JOURNAL__MIN_FREE_MB", "1000000")];
    let said = home.said_with(1, &reserve, &["backup", "backups/x"]);
    assert!(said.contains("MB free, of which 1000000 are the journal's") && said.lines().count() == 1, "{said}");
    assert_eq!(home.names("backups"), <[String; 0]>::default());
}

/// Killed while everything was put in its place.
#[test]
fn what_a_restore_left_half_made_is_for_the_next_restore_alone() {
    let home = Home::new();
    home.said(0, &["backup", "one.tar.gz"]);
    home.said(0, &["restore", "one.tar.gz", "--into", "new"]);
    std::fs::remove_file(home.path("new/capconduit.db")).expect("it is there");
    home.write("new/restoring", "");
    let there = [("CAPCONDUIT__DATA__DIR", "new")];
    for command in [&["migrate"][..], &["serve"]] {
        let said = home.said_with(1, &there, command);
        assert!(said.contains("`capconduit restore` was broken off: repeat it"), "{said}");
    }
    assert!(!home.path("new/capconduit.db").exists());
    home.said(0, &["restore", "one.tar.gz", "--into", "new"]);
    assert!(!home.path("new/restoring").exists());
    home.said_with(0, &there, &["migrate"]);
}

/// A drill beside a controller that runs must not touch what its Asterisk reads.
#[test]
fn settings_outside_of_the_new_folder_are_not_published_for_a_folder_that_is_not_in_force() {
    let home = Home::new();
    home.said(0, &["backup", "one.tar.gz"]);
    std::fs::create_dir(home.path("shared")).expect("a folder");
    home.write("shared/realtime.db", "what Asterisk reads");
    let path = home.path("shared/realtime.db").display().to_string();
    let elsewhere = [("CAPCONDUIT__REALTIME__PATH", path.as_str())];
    let said = home.said_with(0, &elsewhere, &["restore", "one.tar.gz", "--into", "new"]);
    assert!(said.contains("not published to Asterisk yet") && said.contains("another controller"), "{said}");
    assert_eq!(home.read("shared/realtime.db"), "what Asterisk reads");
}

#[test]
fn whoever_stops_a_backup_leaves_nothing_of_it() {
    let home = Home::new();
    // Its database is held by a writer, so that it waits.
    let mut holder = rusqlite::Connection::open(home.path("data/capconduit.db")).expect("it opens");
    holder.pragma_update(None, "locking_mode", "EXCLUSIVE").expect("SQL");
    let held = holder.transaction_with_behavior(rusqlite::TransactionBehavior::Exclusive).expect("nobody has it");
    let mut command = Command::new(env!("CARGO_BIN_EXE_capconduit"));
    command.args(["backup", "backups/x"]).current_dir(home.folder.path()).env_clear();
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    while home.names("backups").is_empty() && child.try_wait().expect("it can be asked").is_none() {
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it is ours");
    let output = child.wait_with_output().expect("it ends");
    drop(held);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("no backup is made"), "{said}");
    assert_eq!(home.names("backups"), <[String; 0]>::default());
}
