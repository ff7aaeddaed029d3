//! A throw-away PostgreSQL for tests, from the machine's own binaries: no service, no container, nothing left behind.
//!
//! Include with `#[path = "../support/postgres.rs"] mod postgres;`. One server per test process (about 0.8 s), shared by its tests
//! while any of them holds a [`Postgres`]; each `start()` makes a fresh database in it. The server ends, and its files are removed,
//! when the last handle is dropped or the process dies in whatever way: a small shell owns both and gets a signal from the kernel.

#![allow(dead_code, reason = "each test binary that includes this uses a part of it")]
#![allow(clippy::panic, reason = "a test helper fails its test by panicking")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;

static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());
static DATABASES: AtomicU32 = AtomicU32::new(1);

/// One empty database, on a server that lives as long as any of these.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: Arc<Server>,
    name: String,
}

impl Postgres {
    /// Starts the server if this process has none, and makes a fresh empty database. Blocks for about a second.
    pub(crate) fn start() -> Self {
        let server = {
            let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
            shared.upgrade().unwrap_or_else(|| {
                let server = Arc::new(Server::start());
                *shared = Arc::downgrade(&server);
                server
            })
        };
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let mut createdb = Command::new(server.binaries.join("createdb"));
        createdb.arg("--host").arg(&server.folder).args(["--port", &server.port.to_string()]);
        succeed(createdb.args(["--username", "postgres", &name]));
        Self { server, name }
    }

    /// `postgres://postgres@127.0.0.1:PORT/NAME`; loopback is trusted, so any password does.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.server.port, self.name)
    }

    /// TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.server.port
    }

    /// Name of this database.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Ends the server's processes at once, as a crash would: what was committed stays on disk. All databases of this process are away.
    pub(crate) fn crash(&self) {
        self.server.signal("USR1");
    }

    /// Starts the server after [`Postgres::crash`], with the same port and data; returns at once.
    pub(crate) fn start_again(&self) {
        self.server.signal("USR2");
    }

    /// Whether the server takes connections.
    pub(crate) fn is_up(&self) -> bool {
        let mut ready = Command::new(self.server.binaries.join("pg_isready"));
        ready.args(["--quiet", "--host", "127.0.0.1", "--port", &self.server.port.to_string()]);
        ready.status().is_ok_and(|status| status.success())
    }

    /// Runs SQL with psql; panics with its output when it fails.
    pub(crate) fn psql(&self, sql: &str) -> String {
        let mut psql = Command::new(self.server.binaries.join("psql"));
        psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql]);
        succeed(psql.arg(self.url())).trim().to_owned()
    }
}

#[derive(Debug)]
struct Server {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    shell: u32,
    keeper: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        let binaries = find_binaries();
        // A free port can be taken by somebody else before the server has it: then it ends, and another port is tried.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(&binaries) {
                return server;
            }
        }
        panic!("PostgreSQL from {} did not start on any of 5 free ports", binaries.display());
    }

    fn try_start(binaries: &Path) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("capconduit-pg-").tempdir().expect("a temporary folder").keep();
        let user = Unprivileged::find();
        user.own(&folder);
        let data = folder.join("data");
        let mut initdb = user.command(binaries.join("initdb").as_os_str());
        initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
        succeed(initdb.args(["--wal-segsize=1", "--pgdata"]).arg(&data));
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut shell = user.command_that_dies_with_us();
        shell.args(["sh", "-c", SCRIPT, "sh"]).arg(binaries.join("postgres")).arg(&folder).arg(port.to_string());
        let (ready, is_ready) = mpsc::channel();
        // The kernel's signal comes when the *thread* that spawned the shell ends, so a thread of its own spawns it and stays.
        let keeper = std::thread::spawn(move || {
            let mut child = shell.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("setpriv and sh start");
            let id = child.id();
            for line in BufReader::new(child.stderr.take().expect("piped above")).lines().map_while(Result::ok) {
                if line.contains("ready to accept connections") {
                    let _ = ready.send(Some(id));
                }
            }
            let _ = child.wait();
            let _ = ready.send(None);
        });
        let shell = is_ready.recv().expect("the keeper always reports")?;
        Some(Self { binaries: binaries.to_owned(), folder, port, shell, keeper: Some(keeper) })
    }
}

/// `$1` postgres, `$2` folder, `$3` port. The shell is told by TERM (whoever starts tests in the background makes it deaf to QUIT and
/// INT); PostgreSQL by QUIT, which makes it end at once, tidily enough to free its shared memory. USR1 does so to be started again by USR2.
const SCRIPT: &str = r#"
trap 'over=1 away=; kill -QUIT "$server"' TERM
trap 'away=1; kill -QUIT "$server"' USR1
trap 'away=' USR2
over= away=
while [ -z "$over" ]; do
    "$1" -D "$2/data" -c port="$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$2" -c fsync=off \
        -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 -c log_destination=stderr \
        -c logging_collector=off &
    server=$!
    while kill -0 "$server" 2>/dev/null; do wait "$server"; done
    [ -n "$away" ] || break
    while [ -n "$away" ]; do sleep 0.05; done
done
rm -rf "$2"
"#;

impl Server {
    /// Tells the shell. Its own `kill`: a bare Debian has no other.
    fn signal(&self, signal: &str) {
        let _ended_already =
            Command::new("sh").args(["-c", "kill -s \"$1\" \"$2\"", "sh", signal, &self.shell.to_string()]).status();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal("TERM");
        if let Some(keeper) = self.keeper.take() {
            let _ = keeper.join();
        }
        // The shell may empty the folder but not always remove it: that takes rights on the folder above.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// PostgreSQL refuses to run as root; this is whom it runs as then.
struct Unprivileged(Option<(u32, u32)>);

impl Unprivileged {
    fn find() -> Self {
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

    fn own(&self, folder: &Path) {
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

    fn command(&self, program: &std::ffi::OsStr) -> Command {
        let mut command = self.setpriv();
        command.arg("--").arg(program);
        command
    }

    fn command_that_dies_with_us(&self) -> Command {
        // In a second step: the kernel forgets the death signal when the user changes.
        let mut command = self.command("setpriv".as_ref());
        command.args(["--pdeathsig", "TERM", "--"]);
        command
    }
}

/// The newest `/usr/lib/postgresql/*/bin` (Debian, Ubuntu), else what `pg_config` says.
fn find_binaries() -> PathBuf {
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

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
