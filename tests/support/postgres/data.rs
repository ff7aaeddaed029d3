//! Where a server's files lie, and what is in them at first.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use capconduit::config::Realtime;

use super::super::templates;
use super::machine::Unprivileged;
use super::{FIRST, Server, succeed};

/// Memory, where there is room in it for some servers of 60 MB; else, and for what is no test and may write more, the usual place.
pub(super) fn place() -> PathBuf {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).map_or(0, |found| found.f_bavail.saturating_mul(found.f_frsize));
    let usable = rustix::fs::access(memory, rustix::fs::Access::WRITE_OK).is_ok();
    if templates::folder().is_some() && usable && room > 1 << 30 { memory.to_owned() } else { std::env::temp_dir() }
}

/// The data of a server, and whether they were copied and so have the database [`FIRST`].
pub(super) fn data(binaries: &Path, user: &Unprivileged, folder: &Path, steps: Option<&Realtime>) -> bool {
    // Data are of a major version, and of the user that it runs as.
    let program = std::fs::metadata(binaries.join("postgres")).expect("a PostgreSQL server");
    let name = format!("postgres-{}-{}", program.mtime(), user.id());
    let make = |new: &Path| make(binaries, steps, new);
    let made = match steps {
        None => templates::of_any_build(&name, make),
        Some(Realtime::Sqlite { .. }) => templates::of_this_build(&format!("{name}-main"), make),
        Some(Realtime::Postgres) => templates::of_this_build(&format!("{name}-all"), make),
    };
    match &made {
        Some(made) => copy(made, &folder.join("data")),
        None => initdb(binaries, user, folder),
    }
    made.is_some()
}

/// Makes such data at `new`.
#[allow(clippy::disallowed_methods, reason = "another process is waited for")]
fn make(binaries: &Path, steps: Option<&Realtime>, new: &Path) {
    let server = Server::prepared(binaries, &|user, folder| initdb(binaries, user, folder), &[]);
    server.create(FIRST);
    if let Some(realtime) = steps {
        templates::migrate(&server.url(FIRST), realtime);
    }
    server.signal("ALRM");
    let data = server.folder.join("data");
    while data.join("postmaster.pid").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    copy(&data, new);
}

fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    succeed(copy.args(["--archive", "--"]).arg(from).arg(to));
}

fn initdb(binaries: &Path, user: &Unprivileged, folder: &Path) {
    let mut initdb = user.command(binaries.join("initdb").as_os_str());
    initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
    succeed(initdb.args(["--wal-segsize=1", "--pgdata"]).arg(folder.join("data")));
}
