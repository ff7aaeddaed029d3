//! Asterisk's folder on the disk: read whole, changed file by file.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown, lchown};
use std::path::{Path, PathBuf};

use super::changes::Change;
use super::folder::{Entry, File, Folder, is_pattern};
use super::kind::{FOLDER, UNFINISHED};
use super::sharing::Found;
use super::target::Owner;

/// Larger files are no configuration that anybody includes.
const LARGEST: u64 = 8 << 20;
/// Folders in folders.
const DEEPEST: usize = 4;
/// Where a new file is written before it takes the other's place.
const NEW: &str = ".new";
/// Asterisk's group and no other enters our folder.
const FOLDER_MODE: u32 = 0o750;

/// What could not be done with a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(super) struct DiskError {
    action: &'static str,
    path: PathBuf,
    source: io::Error,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError { action, path: path.to_owned(), source }
}

/// Keeps others of us out of the folder, and leaves nothing behind: the lock is on the folder itself.
#[derive(Debug)]
pub(super) struct Lock(#[allow(dead_code, reason = "holds the lock")] fs::File);

pub(super) fn lock(path: &Path) -> Result<Lock, DiskError> {
    let file = fs::File::open(path).map_err(failed("open", path))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(fs::TryLockError::Error(error)) => Err(failed("lock", path)(error)),
        Err(fs::TryLockError::WouldBlock) => {
            let taken = io::Error::new(ErrorKind::WouldBlock, "another `capconduit asterisk` is at work there");
            Err(failed("lock", path)(taken))
        }
    }
}

/// Reads the folder, with what its files include from elsewhere.
pub(super) fn read(path: &Path) -> Result<Folder, DiskError> {
    let mut folder = Folder { path: path.display().to_string(), ..Folder::default() };
    read_below(path, path, 0, &mut folder)?;
    // What is included may include in turn.
    for _ in 0..DEEPEST {
        let elsewhere = folder.elsewhere();
        if elsewhere.is_empty() {
            break;
        }
        for name in elsewhere {
            if is_pattern(&name) {
                let above = Path::new(&name).parent().unwrap_or(Path::new("/"));
                for found in fs::read_dir(above).into_iter().flatten().flatten() {
                    add(&found.path(), found.path().display().to_string(), &mut folder)?;
                }
            } else {
                add(Path::new(&name), name.clone(), &mut folder)?;
            }
        }
    }
    Ok(folder)
}

fn read_below(root: &Path, path: &Path, depth: usize, folder: &mut Folder) -> Result<(), DiskError> {
    for found in fs::read_dir(path).map_err(failed("list", path))? {
        let found = found.map_err(failed("list", path))?.path();
        let name = found.strip_prefix(root).unwrap_or(&found).display().to_string();
        let kind = fs::symlink_metadata(&found).map_err(failed("look at", &found))?.file_type();
        if kind.is_dir() {
            if depth < DEEPEST {
                read_below(root, &found, depth + 1, folder)?;
            }
        } else if !name.ends_with(NEW) && name != UNFINISHED {
            add(&found, name, folder)?;
        }
    }
    Ok(())
}

/// A file as it is; one that is not there is none.
fn add(path: &Path, name: String, folder: &mut Folder) -> Result<(), DiskError> {
    let Ok(itself) = fs::symlink_metadata(path) else { return Ok(()) };
    let read = |path: &Path| -> Result<Option<(File, u64)>, DiskError> {
        let found = match fs::metadata(path) {
            Ok(found) if found.is_file() && found.len() <= LARGEST => found,
            _ => return Ok(None),
        };
        let bytes = fs::read(path).map_err(failed("read", path))?;
        let mode = found.mode() & 0o7777;
        Ok(Some((File { bytes, mode, uid: found.uid(), gid: found.gid() }, found.nlink())))
    };
    let entry = if itself.is_symlink() {
        let to = fs::read_link(path).map_err(failed("read", path))?.display().to_string();
        Entry::Link { to, file: read(path)?.map(|(file, _)| file) }
    } else {
        read(path)?.map_or(Entry::Other, |(file, names)| Entry::File { file, names })
    };
    folder.entries.insert(name, entry);
    Ok(())
}

/// Makes our folder in Asterisk's, and notes in it that a work is under way.
pub(super) fn begin(folder: &Path, owner: Owner) -> Result<(), DiskError> {
    make_folder(&folder.join(FOLDER), owner, FOLDER_MODE)?;
    make_folder(&folder.join(FOLDER).join("before"), owner, FOLDER_MODE)?;
    let note = File {
        bytes: b"Run it again: `capconduit asterisk install`, or `remove`.\n".to_vec(),
        mode: 0o640,
        uid: owner.uid,
        gid: owner.gid,
    };
    write(folder, UNFINISHED, &note)
}

/// The work is done: the note goes, and our folder with it where nothing else is in it.
pub(super) fn finish(folder: &Path) -> Result<(), DiskError> {
    let ours = folder.join(FOLDER);
    delete(&folder.join(UNFINISHED))?;
    delete(&ours.join(NEW))?;
    for path in [ours.join("before"), ours] {
        match fs::remove_dir(&path) {
            Err(error) if ![ErrorKind::NotFound, ErrorKind::DirectoryNotEmpty].contains(&error.kind()) => {
                return Err(failed("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Carries out one change.
pub(super) fn apply(folder: &Path, change: &Change) -> Result<(), DiskError> {
    match change {
        Change::Write { name, file } => write(folder, name, file),
        Change::Delete { name } => delete(&folder.join(name)),
    }
}

fn delete(path: &Path) -> Result<(), DiskError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A whole file takes the other's place in one moment, with the owner and mode that it shall have.
fn write(folder: &Path, name: &str, file: &File) -> Result<(), DiskError> {
    let (path, new) = (folder.join(name), folder.join(FOLDER).join(NEW));
    delete(&new)?;
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create_new(true).mode(0o600).open(&new).map_err(failed("make", &new))?;
    let outcome = (|| {
        written.write_all(&file.bytes)?;
        own(&new, file.uid, file.gid)?;
        // After the owner: a change of owner takes bits of the mode away.
        written.set_permissions(Permissions::from_mode(file.mode))?;
        copy_acl(&path, &new)?;
        written.sync_all()?;
        fs::rename(&new, &path)?;
        fs::File::open(path.parent().unwrap_or(folder))?.sync_all()
    })();
    outcome.map_err(failed("write", &path))
}

/// A copy of a file elsewhere, where there is none of that name.
pub(super) fn copy_to(path: &Path, file: &File) -> Result<(), DiskError> {
    let mut options = OpenOptions::new();
    let mut written = options.write(true).create_new(true).mode(0o600).open(path).map_err(failed("make", path))?;
    written.write_all(&file.bytes).map_err(failed("write", path))?;
    give(path, file.uid, file.gid, file.mode)
}

/// An access list that the file in its place has.
fn copy_acl(from: &Path, to: &Path) -> io::Result<()> {
    const ACL: &str = "system.posix_acl_access";
    let mut value = vec![0_u8; 4096];
    match rustix::fs::lgetxattr(from, ACL, &mut value[..]) {
        Ok(length) => Ok(rustix::fs::setxattr(to, ACL, &value[..length], rustix::fs::XattrFlags::empty())?),
        Err(_) => Ok(()),
    }
}

/// Gives a file to somebody, unless it is theirs: only root may give files away.
fn own(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    let found = fs::symlink_metadata(path)?;
    if (found.uid(), found.gid()) == (uid, gid) { Ok(()) } else { lchown(path, Some(uid), Some(gid)) }
}

fn make_folder(path: &Path, owner: Owner, mode: u32) -> Result<(), DiskError> {
    match fs::create_dir(path) {
        Ok(()) => give(path, owner.uid, owner.gid, mode),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed("make", path)(error)),
    }
}

/// Makes a folder where there is nothing of that name.
pub(super) fn make_new(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), DiskError> {
    fs::create_dir(path).map_err(failed("make", path))?;
    give(path, uid, gid, mode)
}

/// Makes a folder with all that is above it.
pub(super) fn make_shared(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), DiskError> {
    if let Some(above) = path.parent() {
        fs::create_dir_all(above).map_err(failed("make", above))?;
    }
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(failed("make", path)(error)),
        _ => give(path, uid, gid, mode),
    }
}

/// Owner, group and mode of a folder or file. It may lie in a folder that another user writes to: a link, or a second name of a file, may lead to
/// something that is not to be given away.
pub(super) fn give(path: &Path, uid: u32, gid: u32, mode: u32) -> Result<(), DiskError> {
    let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(failed("open", path))?;
    let found = file.metadata().map_err(failed("look at", path))?;
    let is_one = found.is_dir() || found.is_file() && found.nlink() == 1;
    if !is_one {
        let other = io::Error::new(ErrorKind::InvalidInput, "it is neither a folder nor a file of one name");
        return Err(failed("give away", path)(other));
    }
    if (found.uid(), found.gid()) != (uid, gid) {
        fchown(&file, Some(uid), Some(gid)).map_err(failed("give away (that is root's to do)", path))?;
    }
    file.set_permissions(Permissions::from_mode(mode)).map_err(failed("set the mode of", path))
}

/// Whether a file is as somebody has seen it, or is not there, as they have seen.
pub(super) fn is_still(folder: &Path, name: &str, seen: Option<&File>) -> bool {
    let path = folder.join(name);
    match (fs::symlink_metadata(&path), seen) {
        (Err(error), None) => error.kind() == ErrorKind::NotFound,
        (Ok(found), Some(seen)) => {
            let own = (found.mode() & 0o7777, found.uid(), found.gid()) == (seen.mode, seen.uid, seen.gid);
            found.is_file() && own && fs::read(&path).is_ok_and(|bytes| bytes == seen.bytes)
        }
        _ => false,
    }
}

/// Owner, group and mode as they are; `None` where nothing is there, or nothing can be seen.
pub(super) fn look(path: &Path) -> Option<Found> {
    let found = fs::metadata(path).ok()?;
    Some(Found { uid: found.uid(), gid: found.gid(), mode: found.mode() & 0o7777 })
}

/// When a file was last written, in milliseconds since 1970.
pub(super) fn written_at(path: &Path) -> Option<i64> {
    fs::metadata(path).ok().map(|found| found.mtime() * 1000 + found.mtime_nsec() / 1_000_000)
}

/// The names in a folder.
pub(super) fn names(path: &Path) -> Option<std::collections::BTreeSet<String>> {
    let names = fs::read_dir(path).ok()?.flatten().map(|found| found.file_name().to_string_lossy().into_owned());
    Some(names.collect())
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{debian, program, wanted};
    use super::super::plan::{Plan, Survey};
    use super::*;

    /// Writes a folder of a test's.
    fn laid_out(folder: &Folder) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for (name, entry) in &folder.entries {
            fs::write(dir.path().join(name), &entry.file().unwrap().bytes).unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o640)).unwrap();
        }
        dir
    }

    fn survey(path: &Path) -> Survey {
        let found = look(path).unwrap();
        let mut survey =
            Survey { folder: read(path).unwrap(), program: program(), folder_uid: found.uid, ..Survey::default() };
        survey.machine.asterisk.gid = found.gid;
        survey
    }

    #[test]
    fn an_installation_on_the_disk_is_what_was_planned_and_a_removal_leaves_the_same_folder() {
        let dir = laid_out(&debian());
        let path = dir.path();
        let (first, owner) = (survey(path), Owner { uid: look(path).unwrap().uid, gid: look(path).unwrap().gid });
        let plan = Plan::install(&first, &wanted());
        begin(path, owner).unwrap();
        assert!(path.join(UNFINISHED).exists());
        for change in &plan.changes {
            apply(path, change).unwrap();
        }
        finish(path).unwrap();
        let there = survey(path);
        assert_eq!(there.folder, super::super::plan::after(&first.folder, &plan.changes));
        assert!(Plan::install(&there, &wanted()).is_empty());
        begin(path, owner).unwrap();
        for change in &Plan::remove(&there, &wanted()).changes {
            apply(path, change).unwrap();
        }
        finish(path).unwrap();
        assert_eq!(survey(path).folder, first.folder);
        assert!(!path.join(FOLDER).exists());
    }

    #[test]
    fn links_and_what_is_included_from_elsewhere_are_seen() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(other.path().join("a.conf"), "[a]\n").unwrap();
        fs::write(other.path().join("more.conf"), "[b]\n").unwrap();
        fs::create_dir(dir.path().join("d")).unwrap();
        fs::write(dir.path().join("d/x.conf"), format!("#include {}/more.*\n", other.path().display())).unwrap();
        std::os::unix::fs::symlink(other.path().join("a.conf"), dir.path().join("linked.conf")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("lost.conf")).unwrap();
        fs::hard_link(dir.path().join("d/x.conf"), dir.path().join("twin.conf")).unwrap();
        let folder = read(dir.path()).unwrap();
        assert_eq!(folder.bytes("linked.conf"), Some(&b"[a]\n"[..]));
        assert!(matches!(&folder.entries["linked.conf"], Entry::Link { to, .. } if to.ends_with("a.conf")));
        assert!(matches!(&folder.entries["lost.conf"], Entry::Link { file: None, .. }));
        assert!(matches!(folder.entries["twin.conf"], Entry::File { names: 2, .. }));
        assert_eq!(folder.bytes(&other.path().join("more.conf").display().to_string()), Some(&b"[b]\n"[..]));
    }

    #[test]
    fn a_file_that_is_written_keeps_its_mode_and_nothing_half_written_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let found = look(dir.path()).unwrap();
        let owner = Owner { uid: found.uid, gid: found.gid };
        begin(dir.path(), owner).unwrap();
        let file = File { bytes: b"x".to_vec(), mode: 0o604, uid: found.uid, gid: found.gid };
        write(dir.path(), "a.conf", &file).unwrap();
        assert_eq!(look(&dir.path().join("a.conf")).unwrap().mode, 0o604);
        // What a killed process left.
        fs::write(dir.path().join(FOLDER).join(NEW), "half").unwrap();
        assert!(read(dir.path()).unwrap().entries.keys().all(|name| !name.ends_with(NEW)));
        write(dir.path(), "a.conf", &file).unwrap();
        finish(dir.path()).unwrap();
        assert_eq!(names(dir.path()).unwrap().into_iter().collect::<Vec<_>>(), ["a.conf"]);
    }

    #[test]
    fn what_others_have_put_there_is_not_given_away() {
        let dir = tempfile::tempdir().unwrap();
        let (secret, link, twin) = (dir.path().join("secret"), dir.path().join("link"), dir.path().join("twin"));
        fs::write(&secret, "x").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        let own = look(&secret).unwrap();
        std::os::unix::fs::symlink(&secret, &link).unwrap();
        fs::hard_link(&secret, &twin).unwrap();
        for path in [&link, &twin] {
            give(path, own.uid, own.gid, 0o666).unwrap_err();
        }
        make_shared(&link, own.uid, own.gid, 0o777).unwrap_err();
        assert_eq!(look(&secret).unwrap().mode, 0o600);
        let file = File { bytes: Vec::new(), mode: 0o600, uid: own.uid, gid: own.gid };
        copy_to(&link, &file).unwrap_err();
        assert_eq!(fs::read(&secret).unwrap(), b"x");
    }

    #[test]
    fn two_of_us_do_not_work_in_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock(dir.path()).unwrap();
        assert!(lock(dir.path()).unwrap_err().to_string().contains("another"));
        drop(first);
        assert!(lock(dir.path()).is_ok());
    }
}
