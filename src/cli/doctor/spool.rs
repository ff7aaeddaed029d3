//! Whether this user can read what a node's fallback writes.

use std::fs::{File, canonicalize, read_dir};
use std::io::{self, ErrorKind};
use std::path::Path;

use super::report::Check;
use crate::config::Node;

const README: &str = "asterisk/README.md, \"Heartbeat and fallback\"";

/// Looks at the spool of a node. `written` is the file that its dialplan writes, as it calls it; empty where that is not known.
pub(super) fn check(index: usize, node: &Node, written: &str) -> Check {
    let subject = format!("{}: fallback's spool", node.name);
    let key = format!("asterisk[{index}].fallback_spool");
    let Some(path) = &node.fallback_spool else {
        let found =
            format!("{key} is not set: calls of the fallback become no records but by `capconduit import-fallback`");
        return Check::skipped(&subject, found);
    };
    let shown = path.display();
    let found = match read(path) {
        Ok(Some(bytes)) => format!("{shown} can be read ({bytes} bytes)"),
        Ok(None) => format!("{shown} is not there yet: no call has fallen back"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            let mend = format!(
                "let this user read it and its folder: the folder belongs to Asterisk's user and this user's group, with mode 2750, and \
                 every folder above may be entered ({README})"
            );
            return Check::failed(&subject, format!("{shown}: {error}"), mend);
        }
        Err(error) => {
            let mend = format!("make its folder, or let {key} name the file that CAPCONDUIT_SPOOL names ({README})");
            return Check::failed(&subject, format!("{shown}: {error}"), mend);
        }
    };
    if written.is_empty() || is_same(path, Path::new(written)) {
        return Check::ok(&subject, found);
    }
    let found = format!("{shown} is read, but the dialplan writes {written}");
    Check::warning(
        &subject,
        found,
        format!("unless both are the same file, correct {key} or CAPCONDUIT_SPOOL ({README})"),
    )
}

/// Its length; `None` where it does not exist, but its folder does, which must be readable too: rotated files are looked for there.
fn read(path: &Path) -> io::Result<Option<u64>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    read_dir(folder)?;
    match path.metadata() {
        // Opening a pipe would wait for ever.
        Ok(found) if !found.is_file() => Err(io::Error::new(ErrorKind::InvalidInput, "is no file")),
        Ok(found) => File::open(path).map(|_| Some(found.len())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::report::Outcome;
    use super::*;
    use crate::config::Config;

    fn judged(spool: Option<PathBuf>, written: &str) -> (Outcome, String) {
        let mut node = Config::from_layers(None, []).expect("the defaults").nodes.remove(0);
        node.fallback_spool = spool;
        let check = check(0, &node, written);
        assert_eq!(check.mend.is_some(), matches!(check.outcome, Outcome::Warning | Outcome::Failed));
        (check.outcome, check.found)
    }

    #[test]
    fn a_spool_that_can_be_read_or_will_be_is_well_and_another_one_than_the_dialplans_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let spool = folder.path().join("fallback.log");
        assert_eq!(judged(None, "").0, Outcome::Skipped);
        assert_eq!(judged(Some(spool.clone()), spool.to_str().unwrap()).0, Outcome::Ok);
        std::fs::write(&spool, "line").unwrap();
        let (outcome, found) = judged(Some(spool.clone()), "");
        assert!(outcome == Outcome::Ok && found.ends_with("(4 bytes)"), "{found}");
        std::os::unix::fs::symlink(folder.path(), folder.path().join("also")).unwrap();
        assert_eq!(judged(Some(folder.path().join("also/fallback.log")), spool.to_str().unwrap()).0, Outcome::Ok);
        assert_eq!(judged(Some(spool), "/elsewhere/fallback.log").0, Outcome::Warning);
        for wrong in [folder.path().to_owned(), folder.path().join("absent/fallback.log")] {
            assert_eq!(judged(Some(wrong.clone()), "").0, Outcome::Failed, "{}", wrong.display());
        }
    }
}
