//! The whole: what a test prepares, starts, calls and looks into.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use capconduit::id::CallId;
use tempfile::TempDir;
use tokio::time::{sleep, timeout};

use super::LIMIT;
use super::accounts::Accounts;
use super::controller::{Address, Controller, Settings};
use super::exposition::strangers;
use super::node::Node;
use super::plan::Plan;
use super::ports::Ports;
use super::postgres::Postgres;
use super::raw::{Invite, RawCall};
use super::record::Record;
use super::sipp::{CARRIER_IP, CENTRE_IP, Scenario, Sipp};
use super::trace::Dialog;
use super::wire::Wire;

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
    settings: Settings,
    wired: bool,
    secured: Vec<Secured>,
    api_port: u16,
    dir: TempDir,
    ports: Ports,
}

/// A node that the controller reaches by TLS.
#[derive(Debug)]
struct Secured {
    node: usize,
    url: String,
    keys: String,
    sandbox: Vec<(&'static str, String)>,
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
    /// What lies between the controller and each node, where the test wanted it.
    pub(crate) wires: Vec<Wire>,
    settings: Settings,
    addresses: Vec<Address>,
    accounts: Accounts,
    _database: Option<Postgres>,
    dir: TempDir,
}

impl Preparation {
    /// A folder and ports of its own.
    pub(crate) fn new(backend: Backend) -> Self {
        // Asterisk runs as another user and must be able to enter.
        let dir = tempfile::Builder::new().prefix("capconduit-").permissions(Permissions::from_mode(0o755)).tempdir();
        let dir = dir.expect("the temporary folder can be written");
        let (sandbox, settings, ports) = (Vec::new(), Settings::default(), Ports::take());
        Self {
            backend,
            nodes: 1,
            sandbox,
            settings,
            wired: false,
            secured: Vec::new(),
            api_port: ports.one(),
            dir,
            ports,
        }
    }

    /// How many Asterisk nodes there shall be.
    pub(crate) fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// Keys of the controller's configuration: of every node, and of `[calls]`.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn configured(mut self, node: &str, calls: &str) -> Self {
        (self.settings.node, self.settings.calls) = (node.to_owned(), calls.to_owned());
        self
    }

    /// Further keys of the controller's `[sip]`.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn sip(mut self, sip: &str) -> Self {
        self.settings.sip = sip.to_owned();
        self
    }

    /// Further sections of the controller's configuration.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn sections(mut self, toml: &str) -> Self {
        self.settings.sections.push_str(toml);
        self
    }

    /// What the controller, and what it is built of, shall log: a filter.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn logging(mut self, filter: &str) -> Self {
        self.settings.log = filter.to_owned();
        self
    }

    /// Another build of the controller.
    #[allow(dead_code, reason = "the bench compares builds")]
    pub(crate) fn program(mut self, binary: &Path) -> Self {
        self.settings.program = Some(binary.to_owned());
        self
    }

    /// Ports for the media of each node, `A-B`, instead of the few that its tests need.
    #[allow(dead_code, reason = "the bench needs more")]
    pub(crate) fn media(mut self, ports: &str) -> Self {
        self.sandbox.push(("--rtp", ports.to_owned()));
        self
    }

    /// Where the controller's API will listen: host:port.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn api(&self) -> String {
        format!("127.0.0.1:{}", self.api_port)
    }

    /// A file of the site's that Asterisk may read and run; its path.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn file(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("the test's folder takes a file");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a file of ours");
        path.display().to_string()
    }

    /// A folder of the site's.
    #[allow(dead_code, reason = "the bench needs it")]
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::create_dir_all(&path).expect("the test's folder takes a folder");
        path
    }

    /// A file of Asterisk's configuration that is to be another than that of `asterisk/etc`.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn asterisk_file(mut self, name: &str, text: &str) -> Self {
        let folder = self.folder("overlay");
        std::fs::write(folder.join(name), text).expect("the test's folder takes a file");
        let overlay = ("--overlay", folder.display().to_string());
        if !self.sandbox.contains(&overlay) {
            self.sandbox.push(overlay);
        }
        self
    }

    /// How many Stasis applications each node's dialplan shall spread its calls over; the controller is to be
    /// [`configured`](Self::configured) accordingly.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn applications(mut self, applications: u16) -> Self {
        self.sandbox.push(("--apps", applications.to_string()));
        self
    }

    /// The controller shall reach this node (from 0) at `host` by TLS; the certificate and its key are in the file `pem`, and whom the
    /// controller trusts in `ca`.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn secured(mut self, node: usize, host: &str, pem: &Path, ca: &Path) -> Self {
        let port = self.ports.one();
        let sandbox = vec![("--https-port", port.to_string()), ("--certificate", pem.display().to_string())];
        let (url, keys) = (format!("https://{host}:{port}"), format!("ca_file = \"{}\"", ca.display()));
        self.secured.push(Secured { node, url, keys, sandbox });
        self
    }

    /// The controller shall reach each node over a [`Wire`].
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn wired(mut self) -> Self {
        self.wired = true;
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

    /// The ports of this site.
    #[allow(dead_code, reason = "only tests call with real phones")]
    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
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
        self.start_planned(Some(plan)).await
    }

    /// Starts everything with an empty database: no user but the first admin, no client, nothing to route.
    pub(crate) async fn start_empty(self) -> Site {
        self.start_planned(None).await
    }

    async fn start_planned(self, plan: Option<&str>) -> Site {
        let Self { backend, nodes, sandbox, mut settings, wired, secured, api_port, dir, ports } = self;
        let database = match backend {
            Backend::Sqlite => None,
            Backend::Postgres => Some(Postgres::start()),
        };
        let realtime_file = dir.path().join("realtime/realtime.db");
        let spec;
        (settings.database, settings.realtime, spec) = database.as_ref().map_or_else(
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
        let tls_of = |n: usize| secured.iter().find(|secured| secured.node == n);
        let node = |n: usize| {
            let more = tls_of(n - 1).map_or(&[][..], |secured| &secured.sandbox);
            Node::start(dir.path(), &ports, &format!("pbx-{n}"), &spec, &[&sandbox[..], more].concat())
        };
        let mut nodes: Vec<Node> = (1..=nodes).map(node).collect();
        let mut wires = Vec::new();
        for node in nodes.iter().filter(|_| wired) {
            wires.push(Wire::lay(ports.one(), &node.url).await);
        }
        let url = |n: usize, node: &Node| {
            tls_of(n).map_or_else(|| wires.get(n).map_or(&node.url, |wire| &wire.url), |secured| &secured.url).clone()
        };
        let keys = |n: usize| tls_of(n).map(|secured| secured.keys.clone()).unwrap_or_default();
        let address = |(n, node): (usize, &Node)| Address {
            name: node.name.clone(),
            url: url(n, node),
            keys: keys(n),
            spool: node.spool(),
        };
        let addresses: Vec<_> = nodes.iter().enumerate().map(address).collect();
        let mut controller = Controller::new(dir.path(), api_port, &settings, &addresses);
        controller.run(&["migrate"]).await;
        if let Some(database) = &database {
            database.psql("GRANT SELECT ON ps_endpoints, ps_aors, ps_auths, ps_endpoint_id_ips TO asterisk");
        }
        if let Some(plan) = plan {
            controller.apply(plan).await;
        }
        for node in &mut nodes {
            node.ready().await;
        }
        controller.serve(&nodes).await;
        nodes.iter_mut().for_each(Node::published);
        let accounts = Accounts::default();
        Site { controller, nodes, ports, wires, settings, addresses, accounts, _database: database, dir }
    }
}

/// Asterisk's own role, which sees the realtime tables and nothing else. Roles belong to the server, which tests share.
pub(crate) const ROLE: &str =
    "DO $$ BEGIN CREATE ROLE asterisk LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$";

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
        let sipp = Sipp::calls(self.dir.path(), &self.ports, name, scenario, (ip, &node.sip), pace);
        self.accounts.open(ip, &sipp.trace);
        sipp
    }

    /// Sends an INVITE as it is to a node.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn send(&self, node: usize, invite: &Invite) -> RawCall {
        self.accounts.owe(invite.recorded_id());
        RawCall::send(invite, &self.nodes[node].sip).await
    }

    /// The records of a SIP Call-ID, once there are as many.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn records_of(&self, invite: &Invite, wanted: usize) -> Vec<Record> {
        let id = invite.recorded_id();
        let mut found = Vec::new();
        let reached = timeout(LIMIT, async {
            while found.len() < wanted {
                sleep(Duration::from_millis(50)).await;
                found = self.controller.records().await;
                found.retain(|record| record["sip_call_id"] == id.as_str());
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached, "{} records of {id} instead of {wanted}:\n{}", found.len(), self.controller.log());
        found.into_iter().map(Record).collect()
    }

    /// Makes one call from the carrier to the first node and waits until it is over.
    pub(crate) async fn call(&self, name: &str, scenario: &Scenario) -> Dialog {
        let mut dialogs = self.begin(name, scenario, 1, 1).finish(LIMIT).await;
        assert_eq!(dialogs.len(), 1, "sipp made {} calls instead of one: {dialogs:?}", dialogs.len());
        dialogs.remove(0)
    }

    /// The carrier has made a call without sipp.
    #[allow(dead_code, reason = "only tests say every step of a call")]
    pub(crate) fn called(&self, call_id: &str) {
        self.accounts.called(call_id);
    }

    /// The record of a call that is over.
    pub(crate) async fn record(&self, call: &Dialog) -> Record {
        self.record_of(&call.call_id).await
    }

    /// The same by its SIP Call-ID.
    pub(crate) async fn record_of(&self, call_id: &str) -> Record {
        let found = timeout(LIMIT, async {
            loop {
                let records = self.controller.records().await;
                if let Some(record) = records.into_iter().find(|one| one["sip_call_id"] == call_id) {
                    return Record(record);
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let Ok(record) = found.await else {
            panic!("no record of {call_id} after {LIMIT:?}:\n{}", self.controller.log())
        };
        record
    }

    /// Waits until `n` calls are recorded, and returns them. That no more follow is seen in [`Site::finish`]. That a
    /// call leaves no record cannot be waited for: make another one after it, and ask for that one's.
    ///
    /// # Panics
    /// When there are more, or `n` is 0.
    pub(crate) async fn records(&self, n: usize) -> Vec<Record> {
        assert!(n > 0, "there are no records yet, whatever becomes of the calls");
        let mut records = Vec::new();
        let reached = timeout(LIMIT, async {
            loop {
                records = self.controller.records().await;
                if records.len() >= n {
                    return;
                }
                sleep(Duration::from_millis(50)).await;
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached && records.len() == n, "{} records instead of {n}:\n{}", records.len(), self.controller.log());
        records.into_iter().map(Record).collect()
    }

    /// Another controller of the same nodes and database, with a folder of its own; it does not run yet.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn rival(&self) -> Controller {
        Controller::new(&self.dir.path().join("rival"), self.ports.one(), &self.settings, &self.addresses)
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
        assert!(idle.await.is_ok(), "left over after the calls: {left:?}\n{}", self.told_of(&left));
    }

    /// What the controller logged of the calls whose channels or bridges are left, and all that it complained of.
    fn told_of(&self, left: &[String]) -> String {
        let id = |one: &String| {
            let (_, id) = one.split_once('/')?;
            CallId::parse_leg(id).map(|(call, _)| call).or_else(|| CallId::parse_bridge(id))
        };
        let calls: Vec<String> = left.iter().filter_map(id).map(|call| call.to_string()).collect();
        let told = |line: &&str| {
            line.contains(" WARN ") || line.contains("ERROR ") || calls.iter().any(|call| line.contains(call))
        };
        self.controller.log().lines().filter(told).collect::<Vec<_>>().join("\n")
    }

    /// What holds after every test: nothing is left over, the controller stops without an error when told to, each call
    /// has one record and nothing else has any, and Asterisk had nothing to say about the realtime tables.
    pub(crate) async fn finish(mut self) {
        self.idle().await;
        let drift = self.controller.gauge("capconduit_drift_repaired_total").await;
        let agreed = drift == 0.0 || self.controller.stood_still();
        assert!(agreed, "{drift} permits and channels did not agree:\n{}", self.controller.log());
        let metrics = self.controller.metrics().await.expect("metrics answer");
        assert_eq!(strangers(&metrics), Vec::<String>::new(), "what is measured is in the catalogue");
        // It writes what it still holds before it ends: what is not there now, will never be, and what is, all is seen.
        self.controller.process().signal("TERM");
        let stopped = self.controller.process().wait(LIMIT).await;
        assert_eq!(stopped, Some(0), "a controller told to stop does so:\n{}", self.controller.log());
        let spooled: Vec<String> = self.nodes.iter().flat_map(Node::spooled).collect();
        // What it had not come to read of the fallback's lines is imported now; what it had, gets no second record.
        for node in self.nodes.iter().filter(|node| !node.spooled().is_empty()) {
            self.controller.run(&["import-fallback", "--node", &node.name, &node.spool().display().to_string()]).await;
        }
        let records: Vec<Record> = self.controller.records().await.into_iter().map(Record).collect();
        let faults = self.accounts.faults(&records, &spooled);
        assert_eq!(faults, Vec::<String>::new(), "the controller said:\n{}", self.controller.log());
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
