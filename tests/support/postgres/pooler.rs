//! A pooler, as sites have one before their server.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::Postgres;
use super::machine::Unprivileged;

/// A real pgbouncer before a server.
#[derive(Debug)]
pub(crate) struct Pgbouncer {
    port: u16,
    folder: PathBuf,
    process: Child,
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
