//! What root runs is done as the owner of data.dir. Only root can try that.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use crate::{CANARY, PLAN, capconduit, folder};

/// Nobody has this number.
const SERVICE: u32 = 54_321;

/// A folder that others may pass through, with a `data` that is another user's; `None` where this is not root.
fn site() -> Option<tempfile::TempDir> {
    let folder = folder();
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("one's own folder");
    std::fs::create_dir(folder.path().join("data")).expect("made");
    chown(folder.path().join("data"), Some(SERVICE), Some(SERVICE)).ok().map(|()| folder)
}

/// Owner and group of everything in a folder.
fn owners(folder: &Path) -> Vec<(String, u32, u32)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let file = std::fs::metadata(&path).expect("it is there");
        found.push((path.display().to_string(), file.uid(), file.gid()));
        if file.is_dir() {
            found.extend(owners(&path));
        }
    }
    found
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_data_directory() {
    let Some(folder) = site() else { return };
    let run = |args: &[&str]| capconduit(folder.path(), &[], args);
    assert_eq!(run(&["migrate"]).0, 0);
    // Root's own plan, which nobody else may read.
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, PLAN).expect("written");
    std::fs::set_permissions(&plan, std::fs::Permissions::from_mode(0o600)).expect("one's own file");
    let (code, out, error) = run(&["apply", "plan.toml"]);
    assert!(code == 0 && out.ends_with("Applied.\n"), "{out}{error}");
    assert_eq!(run(&["user", "add", "ann", "--role", "staff"]).0, 0);
    let found = owners(&folder.path().join("data"));
    assert!(found.len() >= 3, "{found:?}");
    for (path, user, group) in found {
        assert_eq!((user, group), (SERVICE, SERVICE), "{path}");
    }
}

/// Else a check by root would pass what the service cannot read.
#[test]
fn what_the_owner_cannot_read_is_a_fault_for_root_too() {
    let Some(folder) = site() else { return };
    let secret = folder.path().join("secret");
    std::fs::write(&secret, CANARY).expect("written");
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).expect("one's own file");
    let file = folder.path().join("capconduit.toml");
    std::fs::write(&file, format!("[[asterisk]]\npassword_file = {:?}\n", secret.display().to_string()))
        .expect("written");
    let check = || capconduit(folder.path(), &[], &["config", "check"]);
    let (code, _, error) = check();
    assert!(code == 1 && error.contains(&format!("as user {SERVICE}, who owns the data folder: ")), "{error}");
    assert!(error.contains("asterisk[0].password_file") && error.contains("Permission denied"), "{error}");
    chown(&secret, Some(SERVICE), None).expect("root may");
    let (code, out, error) = check();
    assert_eq!(code, 0, "{out}{error}");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("one's own file");
    let (code, _, error) = check();
    assert!(code == 1 && error.contains("capconduit.toml cannot be read: Permission denied"), "{error}");
}

#[test]
fn in_a_folder_of_its_own_root_stays_root() {
    let Some(folder) = site() else { return };
    std::fs::remove_dir(folder.path().join("data")).expect("it is empty");
    let (code, _, error) = capconduit(folder.path(), &[], &["migrate"]);
    assert_eq!((code, error.as_str()), (0, ""));
    assert!(owners(folder.path()).iter().all(|(_, user, _)| *user == 0), "{:?}", owners(folder.path()));
}

/// A package has made the new folder, with one in it that Asterisk's group may read; the archive came with whoever is root.
#[test]
fn a_backup_is_made_by_the_owner_of_the_data_and_restored_as_the_owner_of_the_new_folder() {
    const ASTERISK: u32 = 54_322;
    let Some(folder) = site() else { return };
    let run = |args: &[&str]| capconduit(folder.path(), &[], args);
    assert_eq!(run(&["migrate"]).0, 0);
    // Root's own folder is not the service's, and the sentence says whose it must be.
    let (code, _, error) = run(&["backup", "one.tar.gz"]);
    assert!(code == 1 && error.contains(&format!("as user {SERVICE}")) && error.contains("install -d"), "{error}");
    let backups = folder.path().join("backups");
    std::fs::create_dir(&backups).expect("made");
    chown(&backups, Some(SERVICE), None).expect("root may");
    let (code, out, error) = run(&["backup", "backups/one.tar.gz"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let archive = folder.path().join("one.tar.gz");
    std::fs::copy(backups.join("one.tar.gz"), &archive).expect("root may");
    std::fs::set_permissions(&archive, std::fs::Permissions::from_mode(0o600)).expect("one's own file");

    let new = folder.path().join("new");
    let realtime = new.join("realtime");
    std::fs::create_dir_all(&realtime).expect("made");
    chown(&new, Some(SERVICE), Some(SERVICE)).expect("root may");
    chown(&realtime, Some(SERVICE), Some(ASTERISK)).expect("root may");
    std::fs::set_permissions(&realtime, std::fs::Permissions::from_mode(0o2770)).expect("root may");
    let (code, out, error) = run(&["restore", "one.tar.gz", "--into", "new"]);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let found = owners(&new);
    assert!(found.iter().any(|(path, ..)| path.ends_with("realtime/realtime.db")), "{found:?}");
    for (path, user, group) in found {
        let its = if path.contains("/realtime") { ASTERISK } else { SERVICE };
        assert_eq!((user, group), (SERVICE, its), "{path}");
    }
    std::fs::remove_file(realtime.join("realtime.db")).expect("root may");
    std::fs::write(realtime.join("other"), "").expect("root may");
    let (code, _, error) = run(&["restore", "one.tar.gz", "--into", "new"]);
    assert!(code == 1 && error.contains("new is not empty"), "{error}");
}

/// Root may be anywhere, such as in /tmp.
#[test]
fn what_another_user_has_put_into_the_working_directory_is_not_for_root() {
    let Some(folder) = site() else { return };
    let file = folder.path().join("capconduit.toml");
    std::fs::write(&file, format!("[[asterisk]]\npassword = {CANARY:?}\n")).expect("written");
    let run = |args: &[&str]| capconduit(folder.path(), &[], args);
    assert_eq!(run(&["config", "check"]).0, 0);
    chown(&file, Some(SERVICE), None).expect("root may");
    let (code, _, error) = run(&["config", "check"]);
    assert!(code == 1 && error.contains(&format!("belongs to user {SERVICE}")), "{error}");
    assert!(error.contains("--config capconduit.toml"), "{error}");
    assert_eq!(run(&["config", "check", "--config", "capconduit.toml"]).0, 0);
}
