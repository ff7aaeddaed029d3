//! What a run is made of: PostgreSQL for the records, a local realtime file, Asterisk, the controller, and the two wires
//! between them. Each part can be taken away and given back.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use tempfile::TempDir;
use tokio::time::{Instant, sleep, timeout};

use super::wire::Wire;
use crate::harness::controller::{Address, Controller, Settings};
use crate::harness::node::Node;
use crate::harness::plan::Plan;
use crate::harness::ports::Ports;
use crate::harness::postgres::Postgres;
use crate::harness::sipp::{CARRIER_IP, CENTRE_IP, Scenario, Sipp};

/// Media ports: above the kernel's range for outgoing connections, and enough for 700 channels. Runs may share them.
const MEDIA: &str = "61000-64999";
/// How long what must come back may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where Asterisk's realtime tables live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Realtime {
    /// A file of their own beside the controller.
    File,
    /// PostgreSQL, over the same wire as the controller's.
    Postgres,
}

/// The call centres of a scene, before it runs.
#[derive(Debug)]
pub(crate) struct Stage {
    dir: TempDir,
    ports: Ports,
    centres: Vec<(&'static str, Sipp)>,
}

/// Everything, running.
#[derive(Debug)]
pub(crate) struct Scene {
    /// The controller.
    pub(crate) controller: Controller,
    /// Asterisk.
    pub(crate) node: Node,
    /// Between the controller and ARI.
    pub(crate) ari: Wire,
    /// Between the controller and PostgreSQL.
    pub(crate) sql: Wire,
    /// The database.
    pub(crate) database: Postgres,
    /// The call centres, by name.
    pub(crate) centres: Vec<(&'static str, Sipp)>,
    /// When Asterisk was killed.
    pub(crate) deaths: Vec<DateTime<Utc>>,
    /// What its configuration is made of.
    configuration: (Settings, Address),
    ports: Ports,
    dir: TempDir,
}

impl Stage {
    /// A folder and ports of its own.
    pub(crate) fn new() -> Self {
        // Asterisk runs as another user and must be able to enter.
        let dir =
            tempfile::Builder::new().prefix("capconduit-chaos-").permissions(Permissions::from_mode(0o755)).tempdir();
        Self { dir: dir.expect("the temporary folder can be written"), ports: Ports::take(), centres: Vec::new() }
    }

    /// Starts a call centre.
    pub(crate) async fn centre(&mut self, name: &'static str, scenario: Scenario) {
        let address = (CENTRE_IP, self.ports.one());
        let sipp = Sipp::centre(self.dir.path(), &self.ports, &format!("centre-{name}"), &scenario, address).await;
        self.centres.push((name, sipp));
    }

    /// The call centre of this name.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn named(&self, name: &str) -> &Sipp {
        let found = self.centres.iter().find(|(one, _)| *one == name);
        &found.unwrap_or_else(|| panic!("there is no call centre {name}")).1
    }

    /// Starts everything; calls may come when this returns. Where there is a centre `overflow`, it is the last resort.
    pub(crate) async fn start(self, plan: &Plan, realtime: Realtime, calls: &str) -> Scene {
        let Self { dir, ports, centres } = self;
        let database = Postgres::start();
        // The throw-away server is quick by forgetting its last commits in a crash; here it is crashed on purpose.
        database.psql(&format!("ALTER DATABASE {} SET synchronous_commit = on", database.name()));
        let (sql_port, ari_port, api_port) = (ports.one(), ports.one(), ports.one());
        let sql = Wire::lay(sql_port, ([127, 0, 0, 1], database.port()).into());
        let file = dir.path().join("realtime/realtime.db");
        let (spec, section) = match realtime {
            Realtime::File => {
                (format!("sqlite:{}", file.display()), format!("mode = \"sqlite\"\npath = \"{}\"", file.display()))
            }
            Realtime::Postgres => {
                let spec = format!(
                    "pgsql:host=127.0.0.1;port={sql_port};dbname={};user=postgres;password=any",
                    database.name()
                );
                (spec, "mode = \"postgres\"".to_owned())
            }
        };
        let mut options = vec![("--rtp", MEDIA.to_owned())];
        if let Some((_, overflow)) = centres.iter().find(|(name, _)| *name == "overflow") {
            options.push(("--last-resort", format!("sip:overflow@{}:{}", overflow.ip, overflow.port)));
        }
        let mut node = Node::start(dir.path(), &ports, "pbx-1", &spec, &options);
        let ari = Wire::lay(ari_port, node.url.trim_start_matches("http://").parse().expect("an address and a port"));
        let settings = Settings {
            database: format!("url = \"postgres://postgres@127.0.0.1:{sql_port}/{}\"", database.name()),
            realtime: section,
            calls: format!("progress_timeout_ms = 1500\nrequest_timeout_ms = 2000\nsetup_budget_seconds = 30\n{calls}"),
            ..Settings::default()
        };
        let url = format!("http://127.0.0.1:{ari_port}");
        let address = Address { name: node.name.clone(), url, keys: String::new(), spool: node.spool() };
        let configuration = (settings, address);
        let mut controller =
            Controller::new(dir.path(), api_port, &configuration.0, std::slice::from_ref(&configuration.1));
        controller.run(&["migrate"]).await;
        controller.apply(&plan.toml()).await;
        node.ready().await;
        controller.serve(std::slice::from_ref(&node)).await;
        Scene { controller, node, ari, sql, database, centres, deaths: Vec::new(), configuration, ports, dir }
    }
}

impl Drop for Scene {
    /// What the program itself gave up on can be looked at, too.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the logs are kept in {}", self.keep().display());
        }
    }
}

impl Scene {
    /// Begins calls from the carrier and returns at once.
    pub(crate) fn begin(&self, name: &str, scenario: &Scenario, calls: u32, per_second: u32) -> Sipp {
        let target = (CARRIER_IP, self.node.sip.as_str());
        Sipp::calls(self.dir.path(), &self.ports, name, scenario, target, (calls, per_second))
    }

    /// The folder of its configuration, data and logs.
    pub(crate) fn folder(&self) -> &Path {
        self.dir.path()
    }

    /// Leaves the folder where it is when this ends; its path.
    pub(crate) fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// Another controller of the same node and database, with a folder of its own; it does not run yet.
    pub(crate) fn rival(&self) -> Controller {
        let (settings, address) = &self.configuration;
        Controller::new(&self.dir.path().join("rival"), self.ports.one(), settings, std::slice::from_ref(address))
    }

    /// A TCP port that nobody else uses.
    pub(crate) fn port(&self) -> u16 {
        self.ports.one()
    }

    /// kill -9 of Asterisk; it starts again at once or when told to.
    pub(crate) fn kill_asterisk(&mut self) {
        self.deaths.push(Utc::now());
        self.node.process().kill();
    }

    /// Whether `/readyz` says yes within a second.
    pub(crate) async fn is_ready(&self) -> bool {
        timeout(Duration::from_secs(1), self.controller.readiness()).await == Ok(Some(200))
    }

    /// Waits until the controller is ready, starting it again whenever it has ended, as a service manager would. How often
    /// that was, and how long it took; `None` instead of a time when it never was.
    pub(crate) async fn until_ready(&mut self) -> (u32, Option<Duration>) {
        let (begun, mut starts) = (Instant::now(), 0);
        while begun.elapsed() < PATIENCE {
            if self.controller.process().ended().is_some() {
                starts += 1;
                self.controller.launch();
            }
            if self.is_ready().await {
                return (starts, Some(begun.elapsed()));
            }
            sleep(Duration::from_millis(100)).await;
        }
        (starts, None)
    }

    /// The sum of a metric; `None` where the controller does not answer within a second or has no such metric.
    pub(crate) async fn metric(&self, name: &str) -> Option<f64> {
        let metrics = timeout(Duration::from_secs(1), self.controller.metrics()).await.ok()??;
        crate::harness::controller::sum(&metrics, name)
    }

    /// Waits until nothing is going on: no channel, bridge, live call, permit, and no record that waits. What is left, if
    /// it does not come to that.
    pub(crate) async fn rest(&self) -> Vec<String> {
        let (begun, mut left) = (Instant::now(), Vec::new());
        while begun.elapsed() < PATIENCE {
            left = match timeout(Duration::from_secs(5), self.node.leftovers()).await {
                Ok(left) => left,
                Err(_) => vec!["Asterisk does not answer".to_owned()],
            };
            for gauge in ["capconduit_calls_live", "capconduit_permits_held", "capconduit_records_waiting"] {
                match self.metric(gauge).await {
                    Some(0.0) => {}
                    value => left.push(format!("{gauge} = {value:?}")),
                }
            }
            if left.is_empty() {
                break;
            }
            sleep(Duration::from_millis(200)).await;
        }
        left
    }
}
