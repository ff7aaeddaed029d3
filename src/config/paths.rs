//! Paths that need not exist yet.

use std::path::Path;

/// What a path must be, where it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// Says what is wrong with a path that can neither be found as what it must be nor be made.
pub(super) fn reachable(path: &Path, must_be: Kind) -> Result<(), String> {
    let wanted = match must_be {
        Kind::Directory => "a directory",
        Kind::File => "a file",
    };
    let mut at = Some(path);
    while let Some(part) = at.filter(|part| !part.as_os_str().is_empty()) {
        match std::fs::metadata(part) {
            Ok(found) if part == path && found.is_dir() == (must_be == Kind::Directory) => return Ok(()),
            Ok(found) if part != path && found.is_dir() => return Ok(()),
            Ok(_) => {
                return Err(format!("use {wanted}, or where one can be made: {} is something else", part.display()));
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => at = part.parent(),
            Err(error) => return Err(format!("use {wanted}, or where one can be made: {}: {error}", part.display())),
        }
    }
    if path.as_os_str().is_empty() { Err(format!("use the path of {wanted}")) } else { Ok(()) }
}
