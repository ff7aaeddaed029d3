//! The whole: what a test prepares, starts, calls and looks into.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::LIMIT;
use super::controller::Controller;
use super::node::Node;
use super::plan::Plan;
use super::ports::Ports;
use super::postgres::Postgres;
use super::record::Record;
use super::sipp::{CARRIER_IP, CENTRE_IP, Scenario, Sipp};
use super::trace::Dialog;

/// Records are in the database within two seconds of a call's end; one more for starting the command that reads them.
const RECORD_LIMIT: Duration = Duration::from_secs(3);

/// Where configuration, records and Asterisk's realtime tables live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Embedded, and a realtime file of its own.
    Sqlite,
    /// One PostgreSQL database for everything.
    Postgres,
}

/// A site before it runs: its call centres are up, because their addresses belong in the plan.
#[derive(Debug)]
pub(crate) struct Preparation {
    backend: Backend,
    nodes: usize,
    sandbox: Vec<(&'static str, String)>,
    dir: TempDir,
    ports: Ports,
}

/// A running site.
#[derive(Debug)]
pub(crate) struct Site {
    /// The controller.
    pub(crate) controller: Controller,
    /// Its Asterisk nodes.
    pub(crate) nodes: Vec<Node>,
    /// Ports of this site.
    pub(crate) ports: Ports,
    _database: Option<Postgres>,
    dir: TempDir,
}

impl Preparation {
    /// A folder and ports of its own.
    pub(crate) fn new(backend: Backend) -> Self {
        // Asterisk runs as another user and must be able to enter.
        let dir = tempfile::Builder::new().prefix("capconduit-").permissions(Permissions::from_mode(0o755)).tempdir();
        let dir = dir.expect("the temporary folder can be written");
        Self { backend, nodes: 1, sandbox: Vec::new(), dir, ports: Ports::take() }
    }

    /// How many Asterisk nodes there shall be.
    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Where calls shall go when the controller is away: `sip:user@host:port`.
    pub(crate) fn last_resort(mut self, centre: &Sipp) -> Self {
        self.sandbox.push(("--last-resort", format!("sip:overflow@{}:{}", centre.ip, centre.port)));
        self
    }

    /// A further address that calls may come from, besides sipp's carrier.
    #[allow(dead_code, reason = "the demo uses it")]
    pub(crate) fn carrier(mut self, ip: &str) -> Self {
        self.sandbox.extend([CARRIER_IP, ip].map(|address| ("--carrier", address.to_owned())));
        self
    }

    /// A UDP port nobody else uses, for media or traps.
    pub(crate) fn port(&self) -> u16 {
        self.ports.run(2)
    }

    /// Starts a call centre on a port of its own.
    pub(crate) async fn centre(&self, name: &str, scenario: Scenario) -> Sipp {
        self.centre_at(name, scenario, (CENTRE_IP, self.ports.one())).await
    }

    /// Starts a call centre at a given address.
    pub(crate) async fn centre_at(&self, name: &str, scenario: Scenario, address: (&'static str, u16)) -> Sipp {
        Sipp::centre(self.dir.path(), &self.ports, &format!("centre-{name}"), &scenario, address).await
    }

    /// Starts everything and applies the plan; calls may come when this returns.
    pub(crate) async fn start(self, plan: &Plan) -> Site {
        self.start_with(&plan.toml()).await
    }

    /// As [`Preparation::start`], with the plan as text.
    pub(crate) async fn start_with(self, plan: &str) -> Site {
        let Self { backend, nodes, sandbox, dir, ports } = self;
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(Postgres::start()),
        };
        let realtime_file = dir.path().join("realtime/realtime.db");
        let (url, section, spec) = database.as_ref().map_or_else(
            || {
                let url = format!("url = \"sqlite://{}\"", dir.path().join("data/capconduit.db").display());
                let section = format!("mode = \"sqlite\"\npath = \"{}\"", realtime_file.display());
                (url, section, format!("sqlite:{}", realtime_file.display()))
            },
            |database| {
                (format!("url = \"{}\"", database.url()), "mode = \"postgres\"".to_owned(), sandbox_spec(database))
            },
        );
        if let Some(database) = &database {
            database.psql(ROLE);
        }
        let node = |n: usize| Node::start(dir.path(), &ports, &format!("pbx-{n}"), &spec, &sandbox);
        let mut nodes: Vec<Node> = (1..=nodes).map(node).collect();
        let mut controller = Controller::new(dir.path(), ports.one(), &url, &section, &nodes);
        controller.run(&["migrate"]).await;
        if let Some(database) = &database {
            database.psql("GRANT SELECT ON ps_endpoints, ps_aors, ps_auths, ps_endpoint_id_ips TO asterisk");
        }
        controller.apply(plan).await;
        for node in &mut nodes {
            node.ready().await;
        }
        controller.serve(&nodes).await;
        nodes.iter_mut().for_each(Node::published);
        Site { controller, nodes, ports, _database: database, dir }
    }
}

/// Asterisk's own role, which sees the realtime tables and nothing else. Roles belong to the server, which tests share.
const ROLE: &str = "DO $$ BEGIN CREATE ROLE asterisk LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$";

/// How the sandbox is told where Asterisk finds its tables.
fn sandbox_spec(database: &Postgres) -> String {
    format!("pgsql:host=127.0.0.1;port={};dbname={};user=asterisk;password=trusted", database.port(), database.name())
}

impl Site {
    /// Begins calls from `ip` to the first node and returns at once.
    pub(crate) fn begin(&self, name: &str, scenario: &Scenario, calls: u32, per_second: u32) -> Sipp {
        self.begin_at(&self.nodes[0], CARRIER_IP, name, scenario, (calls, per_second))
    }

    /// Begins calls from `ip` to a node and returns at once.
    pub(crate) fn begin_at(
        &self,
        node: &Node,
        ip: &'static str,
        name: &str,
        scenario: &Scenario,
        pace: (u32, u32),
    ) -> Sipp {
        Sipp::calls(self.dir.path(), &self.ports, name, scenario, (ip, &node.sip), pace)
    }

    /// Makes one call from the carrier to the first node and waits until it is over.
    pub(crate) async fn call(&self, name: &str, scenario: &Scenario) -> Dialog {
        let mut dialogs = self.begin(name, scenario, 1, 1).finish(LIMIT).await;
        assert_eq!(dialogs.len(), 1, "sipp made {} calls instead of one: {dialogs:?}", dialogs.len());
        dialogs.remove(0)
    }

    /// The record of a call that is over.
    pub(crate) async fn record(&self, call: &Dialog) -> Record {
        let found = timeout(RECORD_LIMIT, async {
            loop {
                let records = self.controller.records().await;
                if let Some(record) = records.into_iter().find(|one| one["sip_call_id"] == call.call_id) {
                    return Record(record);
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let Ok(record) = found.await else {
            panic!("no record of {} after {RECORD_LIMIT:?}:\n{}", call.call_id, self.controller.log())
        };
        record
    }

    /// Waits until exactly `n` calls are recorded, and returns them.
    pub(crate) async fn records(&self, n: usize) -> Vec<Record> {
        let mut records = Vec::new();
        let reached = timeout(RECORD_LIMIT, async {
            while records.len() < n {
                records = self.controller.records().await;
                sleep(Duration::from_millis(50)).await;
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached && records.len() == n, "{} records instead of {n}:\n{}", records.len(), self.controller.log());
        records.into_iter().map(Record).collect()
    }

    /// Waits until no channel, bridge, live call or permit is left anywhere.
    pub(crate) async fn idle(&self) {
        let mut left = Vec::new();
        let idle = timeout(LIMIT, async {
            loop {
                left.clear();
                for node in &self.nodes {
                    left.extend(node.leftovers().await);
                }
                for gauge in ["capconduit_calls_live", "capconduit_permits_held"] {
                    let value = self.controller.gauge(gauge).await;
                    left.extend((value != 0.0).then(|| format!("{gauge} = {value}")));
                }
                if left.is_empty() {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(idle.await.is_ok(), "left over after the calls: {left:?}\n{}", self.controller.log());
    }

    /// What holds after every test: nothing is left over, and Asterisk had nothing to say about the realtime tables.
    pub(crate) async fn finish(self) {
        self.idle().await;
        for node in &self.nodes {
            assert_eq!(node.realtime_complaints(), Vec::<String>::new());
        }
    }

    /// The folder of its configuration, data and logs.
    #[allow(dead_code, reason = "the demo uses it")]
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.dir.disable_cleanup(true);
            println!("the logs of this site are kept in {}", self.dir.path().display());
        }
    }
}
