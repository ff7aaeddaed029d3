//! A command that root runs works as the owner of `data.dir`: what it makes there can be written by the service, and what the service could
//! not read it cannot read either, and says so.

use std::ffi::CString;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User, geteuid, initgroups, setgid, setgroups, setuid};

use crate::config::{SYSTEM_FILE, Sources};

/// The user that packages make for the service.
const SERVICE: &str = "capconduit";

/// As the unit's `StateDirectoryMode=` has it: Asterisk passes through it to `realtime`.
const MODE: u32 = 0o711;

/// Whether the command makes `data.dir` where it is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Makes {
    /// It does.
    DataDir,
    /// It only uses what is there.
    Nothing,
}

/// A user and its first group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Account {
    uid: u32,
    gid: u32,
}

/// `data.dir` as it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Folder {
    owner: Account,
    empty: bool,
}

/// What root does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Stays root.
    Stay,
    /// Stays root, in a folder whose service is another user's.
    StayAgainst,
    /// Becomes this user.
    Into(Account),
    /// Becomes this user, to whom the folder, missing or root's and empty, is given where the command makes it.
    Give(Account),
}

/// Who owns `data.dir` is who serves from it. Where that cannot be seen, because it is missing or nobody has put anything into it, it is the
/// user of the service, if this is the service's configuration.
fn turn(folder: Option<Folder>, service: Option<Account>) -> Turn {
    match (folder, service) {
        (Some(Folder { owner, .. }), _) if owner.uid != 0 => Turn::Into(owner),
        (None | Some(Folder { empty: true, .. }), Some(service)) => Turn::Give(service),
        (Some(_), Some(_)) => Turn::StayAgainst,
        (_, None) => Turn::Stay,
    }
}

/// Becomes whom this command shall work as, whose data folder is `dir`: to be called before any thread is started and any file is made. `Some` with the new user's name
/// where that is another than the caller.
///
/// # Errors
/// Where the folder cannot be given away or the user not be taken on.
pub(super) fn become_owner(sources: &Sources, dir: &Path, makes: Makes) -> anyhow::Result<Option<String>> {
    if !geteuid().is_root() {
        return Ok(None);
    }
    let account = match turn(look(dir), service(sources, dir)) {
        Turn::Stay => return Ok(None),
        Turn::StayAgainst => {
            super::warn(&format!(
                "the data folder {} is root's, but the service runs as {SERVICE}, which may be unable to write what is made now: \
                 chown -R {SERVICE}: {}",
                dir.display(),
                dir.display()
            ));
            return Ok(None);
        }
        Turn::Into(account) => account,
        Turn::Give(account) => {
            if makes == Makes::DataDir {
                give(dir, account)
                    .with_context(|| format!("the data folder {} cannot be made for user {SERVICE}", dir.display()))?;
            }
            account
        }
    };
    take_on(account).map(Some)
}

fn look(dir: &Path) -> Option<Folder> {
    let found = std::fs::metadata(dir).ok()?;
    // What cannot be listed is taken for used.
    let empty = std::fs::read_dir(dir).is_ok_and(|mut entries| entries.next().is_none());
    Some(Folder { owner: Account { uid: found.uid(), gid: found.gid() }, empty })
}

/// The user of the service, where this is what the service reads: its file, or its home.
fn service(sources: &Sources, dir: &Path) -> Option<Account> {
    let user = User::from_name(SERVICE).ok().flatten()?;
    let its = sources.file() == Some(Path::new(SYSTEM_FILE)) || user.dir == dir;
    its.then_some(Account { uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

fn give(dir: &Path, Account { uid, gid }: Account) -> std::io::Result<()> {
    std::fs::create_dir_all(dir.parent().unwrap_or(dir))?;
    match std::fs::create_dir(dir) {
        // Whatever root's umask is.
        Ok(()) => std::fs::set_permissions(dir, PermissionsExt::from_mode(MODE))?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    chown(dir, Some(uid), Some(gid))
}

/// Becomes that user, with all its groups; its name.
fn take_on(Account { uid, gid }: Account) -> anyhow::Result<String> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    let user = User::from_uid(uid).ok().flatten();
    let gid = user.as_ref().map_or(gid, |user| user.gid);
    let name = user.as_ref().map_or_else(|| format!("user {uid}"), |user| format!("user {}", user.name));
    let groups = match user.and_then(|user| CString::new(user.name).ok()) {
        Some(known) => initgroups(&known, gid),
        // A number without a name, as in containers, is in no other groups.
        None => setgroups(&[gid]),
    };
    if let Err(error) = groups.and_then(|()| setgid(gid)).and_then(|()| setuid(uid)) {
        bail!("this command must work as {name}, who owns the data folder, and cannot: {error}; run it as that user");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_works_as_whoever_owns_the_folder_or_shall_own_it() {
        let account = |id| Account { uid: id, gid: id };
        let folder = |id, empty| Some(Folder { owner: account(id), empty });
        let service = Some(account(990));
        for (found, service, expected) in [
            // Somebody's: of a service, of a developer.
            (folder(990, false), service, Turn::Into(account(990))),
            (folder(990, true), None, Turn::Into(account(990))),
            (folder(1000, false), service, Turn::Into(account(1000))),
            // Nobody's yet.
            (None, service, Turn::Give(account(990))),
            (folder(0, true), service, Turn::Give(account(990))),
            // Root's own.
            (None, None, Turn::Stay),
            (folder(0, true), None, Turn::Stay),
            (folder(0, false), None, Turn::Stay),
            // Root has put something into it already: what that is for is not known.
            (folder(0, false), service, Turn::StayAgainst),
        ] {
            assert_eq!(turn(found, service), expected, "{found:?} {service:?}");
        }
    }

    #[test]
    fn what_is_missing_has_no_owner_and_what_has_files_is_not_empty() {
        let folder = tempfile::tempdir().unwrap();
        let own = std::fs::metadata(folder.path()).unwrap().uid();
        assert_eq!(look(&folder.path().join("none")), None);
        let look = || look(folder.path()).map(|found| (found.owner.uid, found.empty));
        assert_eq!(look(), Some((own, true)));
        std::fs::write(folder.path().join("lock"), "").unwrap();
        assert_eq!(look(), Some((own, false)));
    }
}
