//! The archive: gzip of tar, the manifest first. What is read is held against the manifest, byte by byte.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::manifest::{self, Manifest, Part};

/// A database of a gigabyte takes half a minute of one core, and shrinks to a quarter; more would take longer, and win little.
const LEVEL: u32 = 4;
/// Of a manifest at most.
const MANIFEST_MAX: u64 = 4 << 20;

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// It cannot be opened, or what is in it not be written.
    #[error("cannot {action} {path}: {source}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged, or no backup of CapConduit: {why}; use another one", path = path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A newer version wrote it in a way that this one does not know.
    #[error(
        "{path} was made by CapConduit {version}, in a form that this version ({own}) does not know: restore it with that version or a later one",
        path = path.display(), own = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The archive.
        path: PathBuf,
        /// Which version made it.
        version: String,
    },
}

/// Reads the file at `path` to its end and says what it is as a part; where it lay is for the caller to add.
///
/// # Errors
/// When it cannot be read.
pub fn weigh(name: &str, path: &Path) -> io::Result<Part> {
    let mut sum = Sum { sha256: Sha256::new(), bytes: 0 };
    io::copy(&mut File::open(path)?, &mut sum)?;
    let (bytes, sha256) = (sum.bytes, sum.end());
    Ok(Part { name: name.to_owned(), bytes, sha256, path: None, of: None })
}

/// Writes an archive to `to`, which must not be there, for its owner alone: the manifest, and its parts from `folder`, where each lies under
/// its name. It is on the disk when this returns.
///
/// # Errors
/// When a part cannot be read, or the archive not be written; then what there is of it is left.
pub fn pack(manifest: &Manifest, folder: &Path, to: &Path) -> io::Result<()> {
    let file = File::options().write(true).create_new(true).mode(0o600).open(to)?;
    let mut tar = tar::Builder::new(GzEncoder::new(BufWriter::new(file), Compression::new(LEVEL)));
    let seconds = u64::try_from(manifest.made_at.timestamp()).unwrap_or_default();
    let text = serde_json::to_vec_pretty(manifest)?;
    let mut append = |name: &str, bytes: u64, from: &mut dyn Read| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes);
        header.set_mode(0o600);
        header.set_mtime(seconds);
        tar.append_data(&mut header, name, from)
    };
    append(manifest::FILE, text.len() as u64, &mut text.as_slice())?;
    for part in &manifest.parts {
        append(&part.name, part.bytes, &mut BufReader::new(File::open(folder.join(&part.name))?))?;
    }
    let mut file = tar.into_inner()?.finish()?;
    file.flush()?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// An archive that is read. It is opened once: whoever may open it need not be who unpacks it.
#[derive(Debug)]
pub struct Archive {
    path: PathBuf,
    file: File,
}

impl Archive {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, ArchiveError> {
        let file =
            File::open(path).map_err(|source| ArchiveError::Io { action: "open", path: path.to_owned(), source })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads its manifest.
    ///
    /// # Errors
    /// When there is none, or this version does not know its form.
    pub fn manifest(&self) -> Result<Manifest, ArchiveError> {
        let path = &self.path;
        let damaged = |why: String| ArchiveError::Damaged { path: path.clone(), why };
        let mut tar = self.rewound()?;
        let first = tar
            .entries()
            .and_then(|mut entries| entries.next().transpose())
            .map_err(|error| damaged(error.to_string()))?;
        let named = |entry: &tar::Entry<'_, _>| entry.path().is_ok_and(|name| name == Path::new(manifest::FILE));
        let Some(entry) = first.filter(|entry| named(entry)) else {
            return Err(damaged(format!("it does not begin with {}", manifest::FILE)));
        };
        let mut text = String::new();
        entry.take(MANIFEST_MAX).read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
        // A later form may have other fields: which it is, is read first.
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        let format = value["format"].as_u64().unwrap_or_default();
        if format > u64::from(manifest::FORMAT) {
            let version = value["version"].as_str().unwrap_or("a later version").to_owned();
            return Err(ArchiveError::Newer { path: path.to_owned(), version });
        }
        let manifest: Manifest = serde_json::from_value(value).map_err(|error| damaged(error.to_string()))?;
        manifest.check().map_err(damaged)?;
        Ok(manifest)
    }

    /// Unpacks every part into `folder`, under its name, for its owner alone.
    ///
    /// # Errors
    /// When anything is not as the manifest says; what was written until then is left.
    pub fn unpack(&self, manifest: &Manifest, folder: &Path) -> Result<(), ArchiveError> {
        let damaged = |why: String| ArchiveError::Damaged { path: self.path.clone(), why };
        let read = |error: io::Error| damaged(error.to_string());
        let mut tar = self.rewound()?;
        let mut entries = tar.entries().map_err(read)?;
        // The manifest, which was read before.
        entries.next().transpose().map_err(read)?;
        for part in &manifest.parts {
            let Some(mut entry) = entries.next().transpose().map_err(read)? else {
                return Err(damaged(format!("{} is missing in it", part.name)));
            };
            if entry.path().map_err(read)? != Path::new(&part.name) {
                return Err(damaged(format!("{} is not where its manifest says", part.name)));
            }
            let target = folder.join(&part.name);
            let written = |source| ArchiveError::Io { action: "write", path: target.clone(), source };
            if let Some(parent) = target.parent() {
                std::fs::create_dir_all(parent).map_err(written)?;
            }
            let file = File::options().write(true).create_new(true).mode(0o600).open(&target).map_err(written)?;
            let (mut sum, mut file) = (Sum { sha256: Sha256::new(), bytes: 0 }, file);
            let mut buffer = vec![0; 1 << 16];
            loop {
                let length = entry.read(&mut buffer).map_err(read)?;
                if length == 0 {
                    break;
                }
                sum.write_all(&buffer[..length]).and_then(|()| file.write_all(&buffer[..length])).map_err(written)?;
                if sum.bytes > part.bytes {
                    break;
                }
            }
            file.sync_all().map_err(written)?;
            let (bytes, sha256) = (sum.bytes, sum.end());
            if (bytes, sha256.as_str()) != (part.bytes, part.sha256.as_str()) {
                return Err(damaged(format!("{} is not what was written", part.name)));
            }
        }
        if entries.next().transpose().map_err(read)?.is_some() {
            return Err(damaged("it has files that its manifest does not name".to_owned()));
        }
        // To the end of the last block, which says whether all of it was there.
        io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(read)?;
        Ok(())
    }

    fn rewound(&self) -> Result<Tar<'_>, ArchiveError> {
        let mut file = &self.file;
        file.rewind().map_err(|source| ArchiveError::Io { action: "read", path: self.path.clone(), source })?;
        Ok(tar::Archive::new(GzDecoder::new(BufReader::new(file))))
    }
}

type Tar<'a> = tar::Archive<GzDecoder<BufReader<&'a File>>>;

/// Counts and hashes what is written to it.
struct Sum {
    sha256: Sha256,
    bytes: u64,
}

impl Sum {
    fn end(self) -> String {
        self.sha256.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.sha256.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::manifest::tests::with;
    use super::*;

    /// An archive with some files, and what its manifest says.
    fn packed(folder: &Path) -> (PathBuf, Manifest) {
        let mut manifest = with("configuration/files/0-ari");
        let from = folder.join("from");
        std::fs::create_dir_all(from.join("configuration/files")).expect("a folder");
        for part in &mut manifest.parts {
            let text = format!("{} {}", part.name, "x".repeat(200_000));
            std::fs::write(from.join(&part.name), text).expect("a file");
            *part = weigh(&part.name, &from.join(&part.name)).expect("a file");
        }
        let archive = folder.join("archive");
        pack(&manifest, &from, &archive).expect("packed");
        (archive, manifest)
    }

    fn unpacked(archive: &Path, folder: &Path) -> Result<PathBuf, String> {
        let to = folder.join("to");
        let _ = std::fs::remove_dir_all(&to);
        std::fs::create_dir(&to).expect("a folder");
        let archive = Archive::open(archive).map_err(|error| error.to_string())?;
        let manifest = archive.manifest().map_err(|error| error.to_string())?;
        archive.unpack(&manifest, &to).map_err(|error| error.to_string())?;
        Ok(to)
    }

    #[test]
    fn what_is_unpacked_is_what_was_packed_and_is_its_owner_s_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, manifest) = packed(folder.path());
        assert_eq!(Archive::open(&archive).and_then(|it| it.manifest()).expect("its manifest"), manifest);
        let to = unpacked(&archive, folder.path()).expect("unpacked");
        for part in &manifest.parts {
            let of = |folder: &Path| std::fs::read(folder.join(&part.name)).expect("a file");
            assert_eq!(of(&to), of(&folder.path().join("from")));
            let mode = std::fs::metadata(to.join(&part.name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{}", part.name);
        }
        assert_eq!(std::fs::metadata(&archive).expect("a file").permissions().mode() & 0o777, 0o600);
        assert!(pack(&manifest, &folder.path().join("from"), &archive).is_err(), "it writes over nothing");
    }

    #[test]
    fn whatever_is_cut_off_or_changed_it_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let (archive, _) = packed(folder.path());
        let whole = std::fs::read(&archive).expect("a file");
        let other = folder.path().join("other");
        for length in [0, 1, 9, 100, whole.len() / 2, whole.len() - 9, whole.len() - 1] {
            std::fs::write(&other, &whole[..length]).expect("a file");
            let said = unpacked(&other, folder.path()).expect_err("it is cut off");
            assert!(said.contains("damaged"), "{length}: {said}");
        }
        for place in (10..whole.len()).step_by(whole.len() / 97) {
            let mut bytes = whole.clone();
            bytes[place] ^= 0x10;
            std::fs::write(&other, &bytes).expect("a file");
            unpacked(&other, folder.path()).expect_err("it is changed");
        }
        assert!(
            Archive::open(&folder.path().join("absent")).is_err_and(|error| error.to_string().contains("cannot open"))
        );
    }

    #[test]
    fn one_of_a_later_form_is_refused_with_its_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let manifest = Manifest { format: 2, version: "9.9.9".to_owned(), parts: Vec::new(), ..with("x") };
        let archive = folder.path().join("archive");
        pack(&manifest, folder.path(), &archive).expect("packed");
        let said = Archive::open(&archive).and_then(|it| it.manifest()).expect_err("it is newer").to_string();
        assert!(said.contains("9.9.9") && said.contains(env!("CARGO_PKG_VERSION")), "{said}");
    }
}
