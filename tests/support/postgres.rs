//! A throw-away PostgreSQL for tests, from the machine's own binaries: no service, no container, nothing left behind.
//!
//! Include with `#[path = "../support/postgres.rs"] mod postgres;`, beside `templates`. One server per test process (about 0.1 s, once
//! its template is there), shared by its tests while any of them holds a [`Postgres`]; each has a fresh database in it. The server ends,
//! and its files are removed, when the last handle is dropped or the process dies in whatever way: a small shell owns both and gets a
//! signal from the kernel. The files are in memory where the machine lets them: what tests write never waits for a disk.

#![allow(dead_code, reason = "each test binary that includes this uses a part of it")]
#![allow(clippy::panic, reason = "a test helper fails its test by panicking")]

#[path = "postgres/data.rs"]
mod data;
#[path = "postgres/machine.rs"]
mod machine;
#[path = "postgres/pooler.rs"]
mod pooler;

use std::cell::Cell;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;

use capconduit::config::Realtime;

use data::{data, place};
use machine::{Unprivileged, find_binaries};
#[allow(unused_imports, reason = "likewise")]
pub(crate) use pooler::Pgbouncer;

static SERVER: Mutex<Weak<Server>> = Mutex::new(Weak::new());

/// The database that every server has from its template.
const FIRST: &str = "test_1";

/// One empty database, on a server that lives as long as any of these.
#[derive(Debug)]
pub(crate) struct Postgres {
    server: Arc<Server>,
    name: String,
}

impl Postgres {
    /// Starts the server if this process has none, and makes a fresh empty database.
    pub(crate) fn start() -> Self {
        Self::from(None)
    }

    /// As [`Postgres::start`], where the steps for this realtime mode have been run already, or some of them: whoever opens it runs
    /// those that are missing.
    pub(crate) fn migrated(realtime: &Realtime) -> Self {
        Self::from(Some(realtime))
    }

    fn from(steps: Option<&Realtime>) -> Self {
        let mut shared = SERVER.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(server) = shared.upgrade() {
            let name = format!("test_{}", server.databases.fetch_add(1, Ordering::Relaxed) + 1);
            server.create(&name);
            return Self { server, name };
        }
        let server = Arc::new(Server::start(steps));
        *shared = Arc::downgrade(&server);
        Self { server, name: FIRST.to_owned() }
    }

    /// `postgres://postgres@127.0.0.1:PORT/NAME`; loopback is trusted, so any password does.
    pub(crate) fn url(&self) -> String {
        self.server.url(&self.name)
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
        psql(&self.server.binaries, &self.url(), sql)
    }
}

/// A server of its own, which no other test shares.
#[derive(Debug)]
pub(crate) struct Own {
    server: Server,
}

impl Own {
    /// A standby that follows the server of `primary`, with all its databases.
    pub(crate) fn standby(primary: &Postgres) -> Self {
        let binaries = find_binaries();
        let port = primary.port().to_string();
        let follow = |user: &Unprivileged, folder: &Path| {
            let mut copy = user.command(binaries.join("pg_basebackup").as_os_str());
            copy.args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--checkpoint=fast",
                "--wal-method=stream",
                "--write-recovery-conf",
            ]);
            succeed(copy.args(["--port", &port, "--pgdata"]).arg(folder.join("data")));
        };
        Self { server: Server::prepared(&binaries, &follow, &[]) }
    }

    /// One that speaks TLS, with a certificate that it has signed itself.
    pub(crate) fn with_tls() -> Self {
        let binaries = find_binaries();
        let make = |user: &Unprivileged, folder: &Path| {
            data(&binaries, user, folder, None);
            let mut openssl = user.command("openssl".as_ref());
            let file = |name: &str| folder.join("data").join(name);
            openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]);
            openssl.args(["-addext", "subjectAltName=DNS:localhost", "-addext", "basicConstraints=critical,CA:FALSE"]);
            succeed(openssl.arg("-keyout").arg(file("server.key")).arg("-out").arg(file("server.crt")));
        };
        Self { server: Server::prepared(&binaries, &make, &["-c", "ssl=on"]) }
    }

    /// Address of one of its databases.
    pub(crate) fn url(&self, database: &str) -> String {
        self.server.url(database)
    }

    /// Runs SQL in one of its databases.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.server.binaries, &self.url(database), sql)
    }
}

fn psql(binaries: &Path, url: &str, sql: &str) -> String {
    let mut psql = Command::new(binaries.join("psql"));
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql]);
    succeed(psql.arg(url)).trim().to_owned()
}

#[derive(Debug)]
struct Server {
    binaries: PathBuf,
    folder: PathBuf,
    port: u16,
    shell: u32,
    keeper: Option<JoinHandle<()>>,
    databases: AtomicU32,
}

impl Server {
    /// With the database [`FIRST`].
    fn start(steps: Option<&Realtime>) -> Self {
        let binaries = find_binaries();
        let copied = Cell::new(false);
        let prepare = |user: &Unprivileged, folder: &Path| copied.set(data(&binaries, user, folder, steps));
        let server = Self::prepared(&binaries, &prepare, &[]);
        if !copied.get() {
            server.create(FIRST);
        }
        server
    }

    /// With the data that `prepare` makes in `data` of a folder, and further arguments.
    fn prepared(binaries: &Path, prepare: &dyn Fn(&Unprivileged, &Path), arguments: &[&str]) -> Self {
        // A free port can be taken by somebody else before the server has it: then it ends, and another port is tried.
        for _ in 0..5 {
            if let Some(server) = Self::try_start(binaries, prepare, arguments) {
                return server;
            }
        }
        panic!("PostgreSQL from {} did not start on any of 5 free ports", binaries.display());
    }

    fn try_start(binaries: &Path, prepare: &dyn Fn(&Unprivileged, &Path), arguments: &[&str]) -> Option<Self> {
        let folder = tempfile::Builder::new().prefix("capconduit-pg-").tempdir_in(place());
        let folder = folder.expect("a temporary folder").keep();
        let user = Unprivileged::find();
        user.own(&folder);
        prepare(&user, &folder);
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut shell = user.command_that_dies_with_us();
        shell
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(binaries.join("postgres"))
            .arg(&folder)
            .arg(port.to_string())
            .args(arguments);
        let (ready, is_ready) = mpsc::channel();
        // The kernel's signal comes when the *thread* that spawned the shell ends, so a thread of its own spawns it and stays.
        let keeper = std::thread::spawn(move || {
            let mut child = shell.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("setpriv and sh start");
            let id = child.id();
            for line in BufReader::new(child.stderr.take().expect("piped above")).lines().map_while(Result::ok) {
                // A standby says `ready to accept read-only connections`.
                if line.contains("ready to accept") {
                    let _ = ready.send(Some(id));
                }
            }
            let _ = child.wait();
            let _ = ready.send(None);
        });
        let shell = is_ready.recv().expect("the keeper always reports")?;
        let databases = AtomicU32::new(1);
        Some(Self { binaries: binaries.to_owned(), folder, port, shell, keeper: Some(keeper), databases })
    }
}

/// `$1` postgres, `$2` folder, `$3` port, further arguments. The shell is told by TERM (whoever starts tests in the background makes it deaf to QUIT and
/// INT); PostgreSQL by QUIT, which makes it end at once, tidily enough to free its shared memory. USR1 does so to be started again by USR2.
/// ALRM ends it with all data in its files.
const SCRIPT: &str = r#"
trap 'over=1 away=; kill -QUIT "$server"' TERM
trap 'away=1; kill -QUIT "$server"' USR1
trap 'away=' USR2
trap 'away=1; kill -INT "$server"' ALRM
over= away= postgres=$1 folder=$2 port=$3
shift 3
while [ -z "$over" ]; do
    "$postgres" -D "$folder/data" -c port="$port" -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" -c fsync=off \
        -c synchronous_commit=off -c full_page_writes=off -c max_connections=200 -c log_destination=stderr \
        -c logging_collector=off "$@" &
    server=$!
    while kill -0 "$server" 2>/dev/null; do wait "$server"; done
    [ -n "$away" ] || break
    while [ -n "$away" ]; do sleep 0.05; done
done
rm -rf "$folder"
"#;

impl Server {
    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    /// Makes an empty database.
    fn create(&self, name: &str) {
        let mut createdb = Command::new(self.binaries.join("createdb"));
        createdb.arg("--host").arg(&self.folder).args(["--port", &self.port.to_string()]);
        succeed(createdb.args(["--username", "postgres", name]));
    }

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

fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}
