//! The name by which other controllers know this one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use super::lock::LockError;
use crate::clock;

/// The name of whoever serves this data directory, made by its first start and the same ever after: 32 hexadecimal digits in
/// `dir/instance`. To be asked for by the holder of the [`super::DataLock`] only.
///
/// # Errors
/// [`LockError::Unusable`] where the file cannot be read or written.
pub fn instance(dir: &Path) -> Result<String, LockError> {
    let unusable = |source| LockError::Unusable { dir: dir.to_owned(), source };
    let path = dir.join("instance");
    match std::fs::read_to_string(&path) {
        Ok(text) if is_name(text.trim()) => return Ok(text.trim().to_owned()),
        // Half written by a machine that lost power: nobody can know the old name.
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(unusable(error)),
    }
    let mut name = String::new();
    for byte in clock::random_bytes::<16>() {
        // Writing into a text cannot fail.
        let _ = write!(name, "{byte:02x}");
    }
    let half = dir.join("instance.new");
    let written =
        std::fs::File::create(&half).and_then(|mut file| writeln!(file, "{name}").and_then(|()| file.sync_all()));
    written.and_then(|()| std::fs::rename(&half, &path)).map_err(unusable)?;
    Ok(name)
}

fn is_name(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_keeps_its_name_and_another_has_another() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let name = instance(one.path()).unwrap();
        assert_eq!(instance(one.path()).unwrap(), name);
        assert_ne!(instance(other.path()).unwrap(), name);
        std::fs::write(one.path().join("instance"), "abc").unwrap();
        assert!(is_name(&instance(one.path()).unwrap()));
    }
}
