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
            initdb(&binaries, user, folder);
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
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.server.port)
    }

    /// Runs SQL in one of its databases.
    pub(crate) fn psql(&self, database: &str, sql: &str) -> String {
        psql(&self.server.binaries, &self.url(database), sql)
    }
}

/// A real pgbouncer before a server.
#[derive(Debug)]
pub(crate) struct Pgbouncer {
    port: u16,
    folder: PathBuf,
    process: std::process::Child,
}

impl Pgbouncer {
    /// Starts it; `mode` is its `pool_mode`.
    pub(crate) fn start(before: &Postgres, mode: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("capconduit-pgb-").tempdir().expect("a temporary folder").keep();
        let user = Unprivileged::find();
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let settings = format!(
            "[databases]\n* = host=127.0.0.1 port={} user=postgres\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             auth_type = any\npool_mode = {mode}\nunix_socket_dir =\nignore_startup_parameters = extra_float_digits\n",
            before.port()
        );
        std::fs::write(folder.join("pgbouncer.ini"), settings).expect("a file of ours");
        user.own(&folder);
        let program = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| Path::new(path).exists());
        let program = program.expect("no pgbouncer here: run `just setup`");
        let mut command = user.command_that_dies_with_us();
        let process =
            command.arg(program).arg("--quiet").arg(folder.join("pgbouncer.ini")).stdin(Stdio::null()).spawn();
        let process = process.expect("setpriv and pgbouncer start");
        // It listens within milliseconds; whoever connects too early is refused, which is not what is tested.
        while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
            std::thread::yield_now();
        }
        Self { port, folder, process }
    }

    /// Address of a database behind it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pgbouncer {
    fn drop(&mut self) {
        let _ended_already = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn psql(binaries: &Path, url: &str, sql: &str) -> String {
    let mut psql = Command::new(binaries.join("psql"));
    psql.args(["--no-psqlrc", "--tuples-only", "--no-align", "--set", "ON_ERROR_STOP=1", "--command", sql]);
    succeed(psql.arg(url)).trim().to_owned()
}

fn initdb(binaries: &Path, user: &Unprivileged, folder: &Path) {
    let mut initdb = user.command(binaries.join("initdb").as_os_str());
    initdb.args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username=postgres"]);
    succeed(initdb.args(["--wal-segsize=1", "--pgdata"]).arg(folder.join("data")));
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
        Self::prepared(&binaries, &|user, folder| initdb(&binaries, user, folder), &[])
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
        let folder = tempfile::Builder::new().prefix("capconduit-pg-").tempdir().expect("a temporary folder").keep();
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
        Some(Self { binaries: binaries.to_owned(), folder, port, shell, keeper: Some(keeper) })
    }
}

/// `$1` postgres, `$2` folder, `$3` port, further arguments. The shell is told by TERM (whoever starts tests in the background makes it deaf to QUIT and
/// INT); PostgreSQL by QUIT, which makes it end at once, tidily enough to free its shared memory. USR1 does so to be started again by USR2.
const SCRIPT: &str = r#"
trap 'over=1 away=; kill -QUIT "$server"' TERM
trap 'away=1; kill -QUIT "$server"' USR1
trap 'away=' USR2
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
