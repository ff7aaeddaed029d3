//! One `serve` per data directory.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// Exclusive hold on a data directory; released when dropped, and by the kernel when the process dies.
#[derive(Debug)]
pub struct DataLock {
    _file: File,
}

/// Why the data directory could not be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("data.dir = {dir:?} is in use by {}: stop that one, or give this one its own data.dir", holder(.pid))]
    Held {
        /// The data directory.
        dir: PathBuf,
        /// The other process, where it has said so.
        pid: Option<u32>,
    },
    /// A restore into it was broken off.
    #[error("data.dir = {dir:?} holds a part of a backup, for `capconduit restore` was broken off: repeat it")]
    Unfinished {
        /// The data directory.
        dir: PathBuf,
    },
    /// It cannot be created or written.
    #[error("data.dir = {dir:?} cannot be used: {source}; it must be a directory this user may write")]
    Unusable {
        /// The data directory.
        dir: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
}

fn holder(pid: &Option<u32>) -> String {
    pid.map_or_else(|| "another capconduit process".to_owned(), |pid| format!("process {pid}"))
}

impl DataLock {
    /// Creates `dir` where it is missing and takes `dir/lock`, without waiting.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let lock = Self::take_any(dir)?;
        whole(dir)?;
        Ok(lock)
    }

    /// The same of a directory that a restore may have left half made: for the next one.
    ///
    /// # Errors
    /// [`LockError::Held`] names the process that has it.
    pub(crate) fn take_any(dir: &Path) -> Result<Self, LockError> {
        let unusable = |source| LockError::Unusable { dir: dir.to_owned(), source };
        std::fs::create_dir_all(dir).map_err(unusable)?;
        // Not truncated on opening: until we hold the lock, the text is the holder's.
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(dir.join("lock")).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                let pid = file.read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
                return Err(LockError::Held { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

/// Stands in a data directory while a restore puts everything in its place.
pub(crate) const RESTORING: &str = "restoring";

/// Refuses what a restore has left half made.
pub(super) fn whole(dir: &Path) -> Result<(), LockError> {
    if dir.join(RESTORING).exists() { Err(LockError::Unfinished { dir: dir.to_owned() }) } else { Ok(()) }
}

/// The `serve` that has this data directory, by its process id, if one lives.
#[must_use]
pub fn serving(dir: &Path) -> Option<u32> {
    let pid: u32 = std::fs::read_to_string(dir.join("lock")).ok()?.trim().parse().ok()?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == env!("CARGO_PKG_NAME") && pid != std::process::id()).then_some(pid)
}

/// Makes `dir` where it is missing, and a file in it, which is removed again: rights on paper say little about read-only or special
/// file systems.
pub(super) fn require_writable(dir: &Path) -> Result<(), LockError> {
    whole(dir)?;
    let probe = dir.join(format!(".capconduit-{}", std::process::id()));
    let tried =
        std::fs::create_dir_all(dir).and_then(|()| File::create(&probe)).and_then(|_| std::fs::remove_file(&probe));
    tried.map_err(|source| LockError::Unusable { dir: dir.to_owned(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_holds_it_and_gets_it_afterwards() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("a/data");
        let first = DataLock::take(&dir).unwrap();
        let error = DataLock::take(&dir).unwrap_err();
        assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
        drop(first);
        DataLock::take(&dir).unwrap();
    }

    #[test]
    fn a_file_in_the_way_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("data");
        std::fs::write(&dir, "").unwrap();
        let error = DataLock::take(&dir).unwrap_err();
        assert!(matches!(error, LockError::Unusable { .. }) && error.to_string().contains("data.dir"), "{error}");
    }
}
