//! Users and groups of this machine, by its own files; a user of a directory service is known by its number alone.

use std::fs;
use std::path::Path;

use super::sharing::Person;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";

/// Who a process is.
pub(super) fn of_process(pid: &str) -> Option<Person> {
    // Of a file that another user may write.
    let pid = Some(pid.trim()).filter(|pid| *pid == "self" || pid.bytes().all(|byte| byte.is_ascii_digit()))?;
    let status = fs::read_to_string(Path::new("/proc").join(pid).join("status")).ok()?;
    let field =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().nth(1)?.parse().ok());
    Some(person(field("Uid:")?, field("Gid:")?))
}

/// Ourselves.
pub(super) fn ourselves() -> Person {
    of_process("self").unwrap_or_default()
}

/// By numbers.
pub(super) fn person(uid: u32, gid: u32) -> Person {
    let (users, groups) =
        (fs::read_to_string(USERS).unwrap_or_default(), fs::read_to_string(GROUPS).unwrap_or_default());
    Person { uid, gid, user: name_of(&users, uid), group: name_of(&groups, gid) }
}

/// By name.
pub(super) fn named(user: &str) -> Option<Person> {
    let users = fs::read_to_string(USERS).ok()?;
    let (uid, gid) = numbers(&users, user)?;
    Some(person(uid, gid))
}

/// Who has this folder for a home; not root.
pub(super) fn whose_home(folder: &Path) -> Option<Person> {
    let users = fs::read_to_string(USERS).ok()?;
    let (uid, gid) = numbers_at(&users, folder.to_str()?)?;
    Some(person(uid, gid))
}

/// Whether somebody is a member of a group beside their own.
pub(super) fn is_member(person: &Person, group: u32) -> bool {
    let groups = fs::read_to_string(GROUPS).unwrap_or_default();
    person.gid == group || members(&groups, group).any(|member| member == person.user)
}

/// The number itself where it has no name.
fn name_of(file: &str, id: u32) -> String {
    let wanted = id.to_string();
    let fits = |line: &&str| line.split(':').nth(2) == Some(&wanted);
    file.lines().find(fits).and_then(|line| line.split(':').next()).unwrap_or(&wanted).to_owned()
}

fn numbers(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

fn numbers_at(users: &str, home: &str) -> Option<(u32, u32)> {
    let at_home = |line: &&str| line.split(':').nth(5) == Some(home) && line.split(':').nth(2) != Some("0");
    numbers(users, users.lines().find(at_home)?.split(':').next()?)
}

fn members(groups: &str, group: u32) -> impl Iterator<Item = &str> {
    let wanted = group.to_string();
    let lines = groups.lines().filter(move |line| line.split(':').nth(2) == Some(&wanted));
    lines.filter_map(|line| line.split(':').nth(3)).flat_map(|members| members.split(','))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_and_groups_are_read() {
        let users = "root:x:0:0:root:/root:/bin/sh\nasterisk:x:110:112:Asterisk:/var/lib/asterisk:/usr/sbin/nologin\n";
        assert_eq!((name_of(users, 110), name_of(users, 7)), ("asterisk".to_owned(), "7".to_owned()));
        assert_eq!((numbers(users, "asterisk"), numbers(users, "aster")), (Some((110, 112)), None));
        assert_eq!(numbers_at(users, "/var/lib/asterisk"), Some((110, 112)));
        assert_eq!((numbers_at(users, "/root"), numbers_at(users, "/var")), (None, None));
        let groups = "audio:x:29:asterisk,pulse\nasterisk:x:112:\n";
        assert_eq!(members(groups, 29).collect::<Vec<_>>(), ["asterisk", "pulse"]);
        assert_eq!(members(groups, 1).next(), None);
        assert_eq!(of_process("/tmp/x"), None);
        assert_eq!(of_process(&std::process::id().to_string()).map(|one| one.uid), Some(ourselves().uid));
    }
}
