//! Everything that a new machine needs to go on, in one file: made beside a running `serve`, and read back into an empty folder.
//!
//! What is copied, and in this order:
//! 1. the journal: records that wait for the database, and calls under way;
//! 2. the database. A record that moves from the one to the other in between is in both, and is written once (`store/journal/copied.rs`);
//!    in the other order it could be in neither;
//! 3. what does not change by itself: keys, the configuration and the files that it names, and the fallback's spools, rotated ones too.
//!
//! Of the rest (`realtime.db`, locks) all is made anew.

pub mod archive;
pub mod make;
pub mod manifest;
pub mod restore;
pub mod stamp;

use std::path::{Path, PathBuf};

use crate::clock;

/// The database of an archive, where it is SQLite.
const SQLITE: &str = "capconduit.db";
/// The same of PostgreSQL: what `pg_dump` wrote.
const DUMP: &str = "database.dump";
/// Files of the data folder that are taken as they are, where they are there.
const KEPT: [&str; 3] = ["token.key", "instance", "first-admin-password"];
/// The folder of the configuration, in an archive and where it is restored to.
const CONFIGURATION: &str = "configuration";
/// Likewise of the fallback's spools.
const SPOOLS: &str = "spool";

/// A folder to work in, which is gone with all that is in it when this is dropped, unless the process was killed.
#[derive(Debug)]
struct Work {
    folder: PathBuf,
    _lock: std::fs::File,
}

impl Work {
    /// Makes one in `parent`, for its owner alone, and removes what processes that were killed have left there.
    fn begin(parent: &Path, prefix: &str) -> std::io::Result<Self> {
        use std::os::unix::fs::DirBuilderExt as _;
        sweep(parent, prefix);
        let name: String = clock::random_bytes::<8>().iter().map(|byte| format!("{byte:02x}")).collect();
        let folder = parent.join(format!("{prefix}{name}"));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let lock = std::fs::File::create(folder.join("lock"))?;
        lock.lock()?;
        Ok(Self { folder, _lock: lock })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        // What cannot be removed is by the next one.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Removes folders of processes that do not live any more.
fn sweep(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            continue;
        }
        let lock = std::fs::File::options().write(true).open(entry.path().join("lock"));
        if lock.is_ok_and(|lock| lock.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_in_use_is_not() {
        let parent = tempfile::tempdir().expect("a folder");
        let names = || {
            let mut names: Vec<_> =
                std::fs::read_dir(parent.path()).expect("a folder").flatten().map(|it| it.path()).collect();
            names.sort();
            names
        };
        let living = Work::begin(parent.path(), ".work-").expect("a folder");
        let left = parent.path().join(".work-0");
        std::fs::create_dir(&left).expect("a folder");
        std::fs::write(left.join("lock"), "").expect("a file");
        std::fs::write(parent.path().join("other"), "").expect("a file");
        let next = Work::begin(parent.path(), ".work-").expect("a folder");
        assert!(!left.exists() && living.folder.exists() && names().len() == 3, "{:?}", names());
        drop((living, next));
        assert_eq!(names(), [parent.path().join("other")]);
    }
}
