//! Copies of our SQLite files, also while somebody writes to them.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::StoreError;
use super::connect::LOOK;

/// Writes the SQLite file at `from`, as it is at this moment, to `to`, which must not be there. Who writes to it goes on meanwhile: it is one
/// reader more (`VACUUM INTO`). The copy holds no log beside it. Returns the layout of its tables (`user_version`).
///
/// # Errors
/// When it cannot be read, or the copy not be written.
pub async fn sqlite(from: PathBuf, to: PathBuf) -> Result<usize, StoreError> {
    let failed = |reason: String| StoreError::Copy { path: from.clone(), reason };
    let (source, target) = (from.clone(), to);
    match tokio::task::spawn_blocking(move || copy(&source, &target)).await {
        Ok(copied) => copied.map_err(|error| failed(error.to_string())),
        Err(died) => Err(failed(died.to_string())),
    }
}

fn copy(from: &Path, to: &Path) -> rusqlite::Result<usize> {
    let connection = Connection::open_with_flags(from, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(LOOK)?;
    connection.execute("VACUUM INTO ?1", [to.as_os_str().to_string_lossy()])?;
    let layout: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    Ok(usize::try_from(layout).unwrap_or(usize::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_is_written_to_is_copied_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from.db"), folder.path().join("to.db"));
        let mut writer = Connection::open(&from).expect("a file");
        writer.pragma_update(None, "journal_mode", "WAL").expect("SQL");
        writer
            .execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (1); PRAGMA user_version = 7;")
            .expect("SQL");
        // One that is under way, with the write lock.
        let transaction = writer.transaction().expect("SQL");
        transaction.execute("INSERT INTO t VALUES (2)", []).expect("SQL");
        assert_eq!(sqlite(from.clone(), to.clone()).await.expect("it is copied"), 7);
        transaction.commit().expect("nothing held it up");
        let copy = Connection::open(&to).expect("a file");
        let rows: i64 = copy.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).expect("SQL");
        let layout: i64 = copy.query_row("PRAGMA user_version", [], |row| row.get(0)).expect("SQL");
        assert_eq!((rows, layout), (1, 7));
        let sentence = sqlite(from, to).await.expect_err("there is one").to_string();
        assert!(sentence.contains("from.db") && sentence.contains("exists"), "{sentence}");
        let sentence = sqlite(folder.path().join("absent.db"), folder.path().join("x.db")).await.expect_err("none");
        assert!(sentence.to_string().contains("absent.db"), "{sentence}");
    }
}
