//! What the machine has: a user who may run PostgreSQL, and its programs.

use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

/// PostgreSQL refuses to run as root; this is whom it runs as then.
pub(super) struct Unprivileged(Option<(u32, u32)>);

impl Unprivileged {
    pub(super) fn find() -> Self {
        if std::fs::metadata("/proc/self").expect("procfs").uid() != 0 {
            return Self(None);
        }
        let users = std::fs::read_to_string("/etc/passwd").expect("/etc/passwd");
        let find = |name: &str| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut fields = line.split(':').skip(2).map(|field| field.parse().ok());
            Some((fields.next()??, fields.next()??))
        };
        Self(Some(find("postgres").or_else(|| find("nobody")).expect("a user `postgres` or `nobody`")))
    }

    /// The user's number; empty where it is whoever runs this.
    pub(super) fn id(&self) -> String {
        self.0.map_or_else(String::new, |(id, _)| id.to_string())
    }

    pub(super) fn own(&self, folder: &Path) {
        if let Some((user, group)) = self.0 {
            std::os::unix::fs::chown(folder, Some(user), Some(group)).expect("root may give files away");
        }
        std::fs::set_permissions(folder, PermissionsExt::from_mode(0o700)).expect("the folder is ours");
    }

    fn setpriv(&self) -> Command {
        let mut command = Command::new("setpriv");
        if let Some((user, group)) = self.0 {
            command.arg(format!("--reuid={user}")).arg(format!("--regid={group}")).arg("--clear-groups");
        }
        command.current_dir("/");
        command
    }

    pub(super) fn command(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = self.setpriv();
        command.arg("--").arg(program);
        command
    }

    pub(super) fn command_that_dies_with_us(&self) -> Command {
        // In a second step: the kernel forgets the death signal when the user changes.
        let mut command = self.command("setpriv".as_ref());
        command.args(["--pdeathsig", "TERM", "--"]);
        command
    }
}

/// The newest `/usr/lib/postgresql/*/bin` (Debian, Ubuntu), else what `pg_config` says.
pub(super) fn find_binaries() -> PathBuf {
    let installed = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let versions = installed.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.filter(|version| binaries_of(*version).join("initdb").exists()).max();
    newest.map(binaries_of).unwrap_or_else(|| {
        let config = Command::new("pg_config").arg("--bindir").output();
        let folder = config.ok().map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        let folder = PathBuf::from(folder.unwrap_or_default());
        assert!(folder.join("initdb").exists(), "no PostgreSQL server here: install the package `postgresql`");
        folder
    })
}

fn binaries_of(version: u32) -> PathBuf {
    Path::new("/usr/lib/postgresql").join(version.to_string()).join("bin")
}
