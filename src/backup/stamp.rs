//! When this data folder was last backed up: noted there by whoever did it, read by `serve`, which measures how long ago it was.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

/// The note's name in `data.dir`.
const FILE: &str = "last-backup";

/// Where it is.
#[must_use]
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(FILE)
}

/// Notes that a backup was made of how everything was at this time.
///
/// # Errors
/// When the folder cannot be written.
pub fn write(data_dir: &Path, at: DateTime<Utc>) -> std::io::Result<()> {
    let half = data_dir.join(format!("{FILE}.new"));
    std::fs::write(&half, format!("{}\n", at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)))?;
    std::fs::rename(half, path(data_dir))
}

/// Seconds since then, by the text of the note; infinitely many where there is none, or none that can be read.
#[must_use]
pub fn age(text: Option<&str>, now: DateTime<Utc>) -> f64 {
    let at = text.and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
    at.map_or(f64::INFINITY, |at| (now - at.to_utc()).as_seconds_f64().max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_that_of_the_last_note_and_without_one_there_is_no_end_to_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |seconds| DateTime::UNIX_EPOCH + chrono::TimeDelta::seconds(seconds);
        let read = || std::fs::read_to_string(path(folder.path())).ok();
        assert!(age(read().as_deref(), at(0)).is_infinite());
        for seconds in [1_000, 5_000] {
            write(folder.path(), at(seconds)).expect("written");
        }
        assert_eq!(age(read().as_deref(), at(5_060)), 60.0);
        assert_eq!(age(read().as_deref(), at(4_000)), 0.0, "a clock that was set back");
        assert!(age(Some("half a no"), at(0)).is_infinite());
    }
}
