//! Where the contestants run: one Asterisk and one controller for each way of reaching them, all on loopback.

use std::fs::Permissions;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use capconduit::cdr::record::CallRecord;
use tempfile::TempDir;

use super::sip::centre::{Centre, Manner};
use crate::harness::controller::{Address, Controller, Settings};
use crate::harness::node::Node;
use crate::harness::plan::Plan;
use crate::harness::ports::Ports;
use crate::harness::postgres::Postgres;

/// The carrier whose calls go to the controller.
pub(crate) const CARRIER_IP: &str = "127.0.0.2";
/// The carrier whose calls the dialplan's own `Dial()` takes.
pub(crate) const STATIC_IP: &str = "127.0.0.3";
const CENTRE_IP: &str = "127.0.0.11";
/// Above the kernel's range for outgoing connections; sites share it, for one at a time has calls.
const MEDIA: &str = "61000-64999";

/// A call that the first call centre answers.
pub(crate) const ANSWERED: &str = "+442079460001";
/// A call that a busy call centre refuses, and the next one answers.
pub(crate) const FAILED_OVER: &str = "+442079460002";

/// What the bench adds to the dialplan: a carrier of its own, whose calls are dialled at once.
const STATIC_DIALPLAN: &str = "\n[bench-static]\nexten => _[!-~]!,1,Dial(PJSIP/alpha,60)\n same => n,Hangup(16)\n";
const STATIC_ENDPOINT: &str = "\n[bench-static](capconduit-carrier)\ncontext = bench-static\n\
    [bench-static-identify]\ntype = identify\nendpoint = bench-static\nmatch = 127.0.0.3\n";

/// Where Asterisk finds its endpoints, and the controller its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Backend {
    /// SQLite for both.
    Sqlite,
    /// PostgreSQL for both.
    Postgres,
}

/// How the controller's requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// REST over the socket of the events.
    Websocket,
    /// HTTP.
    Http,
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Http => "http",
        }
    }
}

/// The call centres that all sites share.
#[derive(Debug)]
pub(crate) struct Centres {
    /// Answers.
    pub(crate) alpha: Centre,
    /// Is busy.
    pub(crate) busy: Centre,
    _ports: Ports,
}

impl Centres {
    /// Opens them.
    pub(crate) async fn open() -> Self {
        let ports = Ports::take();
        let at = |port: u16| SocketAddr::new(CENTRE_IP.parse().expect("an address"), port);
        let alpha = Centre::open(at(ports.one()), Manner::Answers).await;
        let busy = Centre::open(at(ports.one()), Manner::IsBusy).await;
        Self { alpha, busy, _ports: ports }
    }
}

/// One Asterisk and its controller.
#[derive(Debug)]
pub(crate) struct Site {
    /// The controller.
    pub(crate) controller: Controller,
    /// Asterisk.
    pub(crate) node: Node,
    _database: Option<Postgres>,
    _ports: Ports,
    _dir: TempDir,
}

impl Site {
    /// Starts one.
    pub(crate) async fn start(centres: &Centres, backend: Backend, transport: Transport) -> Self {
        // Asterisk runs as another user and must be able to enter.
        let dir =
            tempfile::Builder::new().prefix("capconduit-bench-").permissions(Permissions::from_mode(0o755)).tempdir();
        let dir = dir.expect("the temporary folder can be written");
        let ports = Ports::take();
        let database = (backend == Backend::Postgres).then(Postgres::start);
        let file = dir.path().join("realtime/realtime.db");
        let (spec, url, realtime) = match &database {
            Some(database) => (
                format!(
                    "pgsql:host=127.0.0.1;port={};dbname={};user=postgres;password=any",
                    database.port(),
                    database.name()
                ),
                database.url(),
                "mode = \"postgres\"".to_owned(),
            ),
            None => (
                format!("sqlite:{}", file.display()),
                format!("sqlite://{}", dir.path().join("data/capconduit.db").display()),
                format!("mode = \"sqlite\"\npath = \"{}\"", file.display()),
            ),
        };
        let overlay = dir.path().join("overlay");
        extend(&overlay, "extensions.conf", STATIC_DIALPLAN);
        extend(&overlay, "pjsip.conf", STATIC_ENDPOINT);
        let options = [("--rtp", MEDIA.to_owned()), ("--overlay", overlay.display().to_string())];
        let mut node = Node::start(dir.path(), &ports, "pbx-1", &spec, &options);
        let settings = Settings {
            database: format!("url = \"{url}\""),
            realtime,
            node: format!("transport = \"{}\"", transport.word()),
            log: "info".to_owned(),
            ..Settings::default()
        };
        let address = Address { name: node.name.clone(), url: node.url.clone(), spool: node.spool() };
        let mut controller = Controller::new(dir.path(), ports.one(), &settings, &[address]);
        controller.run(&["migrate"]).await;
        controller.apply(&plan(centres).toml()).await;
        node.ready().await;
        controller.serve(std::slice::from_ref(&node)).await;
        Self { controller, node, _database: database, _ports: ports, _dir: dir }
    }

    /// Its records, the newest thousand.
    pub(crate) async fn records(&self) -> Vec<CallRecord> {
        let text = self.controller.run(&["calls", "--json", "--limit", "1000"]).await;
        serde_json::from_str(&text).expect("records as the controller prints them")
    }

    /// Where its Asterisk takes SIP.
    pub(crate) fn sip(&self) -> SocketAddr {
        self.node.sip.parse().expect("an address and a port")
    }

    /// CPU time that Asterisk and the controller have used so far.
    pub(crate) fn cpu(&mut self) -> (Duration, Duration) {
        (cpu(self.node.process().id()), cpu(self.controller.process().id()))
    }
}

fn plan(centres: &Centres) -> Plan {
    let at = |centre: &Centre| (CENTRE_IP, centre.address.port());
    let first = "forwarding_priority = 1";
    Plan::new()
        .client_at("alpha", at(&centres.alpha), ("", ""))
        .client_at("busy", at(&centres.busy), ("", ""))
        .campaign("Answered", ANSWERED, "")
        .link("alpha", "max_concurrency = 5000")
        .campaign("Failed over", FAILED_OVER, "")
        .link("busy", first)
        .link("alpha", "forwarding_priority = 2\nmax_concurrency = 5000")
}

/// A file of `asterisk/etc` with more at its end, in a folder that stands in for that.
fn extend(overlay: &Path, name: &str, more: &str) {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk/etc").join(name);
    let text = std::fs::read_to_string(own).expect("the repository has its Asterisk configuration");
    std::fs::create_dir_all(overlay).expect("the bench's folder takes a folder");
    std::fs::write(overlay.join(name), text + more).expect("the bench's folder takes a file");
}

/// User and system time of a process, all its threads (proc(5), `stat`, fields 14 and 15).
fn cpu(process: u32) -> Duration {
    /// `USER_HZ`, which is 100 on every Linux.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
