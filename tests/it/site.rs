//! One running application with its database and one fake Asterisk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capconduit::app;
use capconduit::cdr::record::CallRecord;
use capconduit::config::{Config, Realtime, Transport};
use capconduit::plan::Document;
use capconduit::routing::snapshot as store_snapshot;
use capconduit::screen::{Resolver, Screen};
use capconduit::store::{self, Db, records};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exposition::strangers;
use crate::fake_ari::{Behaviour, FakeAri, FakeCall};
use crate::patience::PATIENCE;
use crate::ports::Ports;
use crate::postgres::Postgres;
use crate::templates;

pub(crate) const APP: &str = "capconduit-1";
/// So much later than it was sent a frame may be read where the machine is busy.
pub(crate) const READ_LATER: chrono::Duration = chrono::Duration::seconds(5);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    Sqlite,
    Postgres,
}

/// The application on a runtime of its own, so that it can die as a process does.
#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
    runtime: Runtime,
}

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) asterisk: Arc<FakeAri>,
    pub(crate) db: Db,
    config: Config,
    running: Option<Running>,
    _ports: Ports,
    _postgres: Option<Postgres>,
    dir: TempDir,
}

impl Site {
    /// Starts everything, with the plan applied, and waits until calls are taken.
    pub(crate) async fn start(database: Database, plan: &str) -> Self {
        Self::start_with(database, plan, Transport::Auto, |_| {}).await
    }

    pub(crate) async fn start_with(
        database: Database,
        plan: &str,
        transport: Transport,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let mut site = Self::prepare(database, Arc::new(FakeAri::start().await), plan, transport, adjust).await;
        site.run().await;
        site
    }

    /// Another controller with everything of its own but Asterisk and the names in its configuration; it does not run yet.
    pub(crate) async fn rival(&self, plan: &str) -> Self {
        let adjust = |config: &mut Config| config.nodes.clone_from(&self.config.nodes);
        Self::prepare(Database::Sqlite, Arc::clone(&self.asterisk), plan, Transport::Auto, adjust).await
    }

    async fn prepare(
        database: Database,
        asterisk: Arc<FakeAri>,
        plan: &str,
        transport: Transport,
        adjust: impl FnOnce(&mut Config),
    ) -> Self {
        let dir = TempDir::new().expect("a folder");
        let ports = Ports::take();
        let postgres =
            (database == Database::Postgres).then(|| Postgres::migrated(&Realtime::Sqlite { path: PathBuf::new() }));
        let mut config = configuration(dir.path(), ports.one(), postgres.as_ref());
        config.nodes = vec![asterisk.node("pbx", "capconduit", 1, transport)];
        adjust(&mut config);
        if postgres.is_none() {
            templates::sqlite(&dir.path().join("capconduit.db"));
        }
        let db = Db::connect(&config.database).await.expect("the database opens");
        store::migrate(&db, &config.realtime).await.expect("the schema is made");
        let site = Self { asterisk, db, config, running: None, _ports: ports, _postgres: postgres, dir };
        site.apply(plan).await;
        site
    }

    /// Applies a plan as `capconduit apply` does.
    pub(crate) async fn apply(&self, plan: &str) {
        let document = Document::parse(plan).expect("a valid plan");
        let screening = Screen::new(&self.config, Resolver::system()).screening(&document).await;
        store::apply::apply(&self.db, &self.config.realtime, &screening, &document, true)
            .await
            .expect("the plan is applied");
    }

    /// Runs the application and waits until it takes calls.
    pub(crate) async fn run(&mut self) {
        self.asterisk.clear_global("CAPCONDUIT_HEARTBEAT");
        self.launch();
        self.asterisk.until_global("CAPCONDUIT_HEARTBEAT", |beat| beat != "0").await;
    }

    /// Runs the application; whether it takes calls is not waited for.
    pub(crate) fn launch(&mut self) {
        let stop = CancellationToken::new();
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).enable_all().build().expect("a runtime");
        let ended = runtime.spawn(app::run(self.config.clone(), stop.clone()));
        self.running = Some(Running { stop, ended, runtime });
    }

    /// SIGTERM, without waiting for what follows.
    pub(crate) fn ask_to_stop(&self) {
        self.running.as_ref().expect("it runs").stop.cancel();
    }

    /// SIGTERM: it hands over, and returns without an error.
    pub(crate) async fn stop(&mut self) {
        let Running { stop, ended, runtime } = self.running.take().expect("it runs");
        stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, ended).await.expect("it stops");
        runtime.shutdown_background();
        ended.expect("no panic").expect("no error");
    }

    /// Ends the application without any farewell, as kill -9 would: every task of it stops where it is.
    pub(crate) async fn kill(&mut self) {
        let Running { ended, runtime, .. } = self.running.take().expect("it runs");
        runtime.shutdown_background();
        assert!(ended.await.expect_err("it was ended").is_cancelled());
        self.asterisk.until_disconnected(APP).await;
    }

    pub(crate) fn call(&self, did: &str) -> FakeCall {
        self.asterisk.incoming(APP, did, "+447700900123")
    }

    /// Waits for this many records, oldest first.
    pub(crate) async fn records(&self, count: usize) -> Vec<CallRecord> {
        let poll = async {
            loop {
                let mut found = records::recent(&self.db, 10_000).await.expect("the records are read");
                assert!(found.len() <= count, "{} records for {count} calls", found.len());
                if found.len() == count {
                    found.reverse();
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("every call has its record")
    }

    /// Waits until the application has read a configuration that satisfies, which it polls for.
    pub(crate) async fn until_configured(&self, satisfied: impl Fn(&store_snapshot::Snapshot) -> bool) {
        let wanted = store::snapshot::load(&self.db).await.expect("the snapshot is read");
        assert!(satisfied(&wanted), "the plan says so");
        let line = format!("capconduit_routing_revision {}", wanted.revision);
        self.until("metrics", |text| text.lines().any(|found| found == line)).await;
    }

    /// Waits until every node takes calls.
    pub(crate) async fn until_ready(&self) {
        self.until("readyz", |text| text.contains("\"ready\"")).await;
    }

    /// Waits until a gauge of this value is among the metrics, labels included: `name{label="value"} 1`.
    pub(crate) async fn until_metric(&self, line: &str) {
        self.until("metrics", |text| text.lines().any(|found| found == line)).await;
    }

    /// Waits until no metric's line begins so.
    pub(crate) async fn until_no_metric(&self, beginning: &str) {
        self.until("metrics", |text| text.contains("capconduit_") && !text.lines().any(|l| l.starts_with(beginning)))
            .await;
    }

    /// Whether the application takes calls.
    pub(crate) async fn is_ready(&self) -> bool {
        let answer = reqwest::get(format!("http://{}/readyz", self.config.api.listen)).await.expect("the API answers");
        answer.status().is_success()
    }

    /// What the metrics say of this gauge now; `None` where they do not.
    #[allow(dead_code, reason = "`just bench-recovery` needs it")]
    pub(crate) async fn gauge(&self, name: &str) -> Option<f64> {
        self.metrics().await?.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// All that is measured.
    async fn metrics(&self) -> Option<String> {
        let url = format!("http://{}/metrics", self.config.api.listen);
        let answer = reqwest::Client::new().get(url).bearer_auth(METRICS_TOKEN).send().await.ok()?;
        answer.text().await.ok()
    }

    async fn until(&self, path: &str, satisfied: impl Fn(&str) -> bool) {
        let (url, http) = (format!("http://{}/{path}", self.config.api.listen), reqwest::Client::new());
        let poll = async {
            loop {
                // It does not listen in its first moments.
                let answer = http.get(&url).bearer_auth(METRICS_TOKEN).send().await;
                if let Ok(answer) = answer
                    && satisfied(&answer.text().await.expect("text"))
                {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, poll).await.expect("the application gets there");
    }

    /// `current_total_calls` of the client's link.
    pub(crate) async fn total_of(&self, client: &str) -> u64 {
        let snapshot = store::snapshot::load(&self.db).await.expect("the snapshot is read");
        let client = snapshot.clients.values().find(|c| c.identifier.as_str() == client).expect("a client").id;
        let links = snapshot.campaigns.values().flat_map(|c| &c.links);
        let link = links.into_iter().find(|l| l.client == client).expect("a link").id;
        store::snapshot::totals(&self.db).await.expect("the totals are read").get(&link).copied().unwrap_or(0)
    }

    /// No channel, no bridge left; and the application stops cleanly.
    pub(crate) async fn settle(mut self) {
        self.asterisk.until_empty().await;
        let unknown = self.metrics().await.map(|text| strangers(&text)).unwrap_or_default();
        assert_eq!(unknown, Vec::<String>::new(), "what is measured is in the catalogue");
        self.stop().await;
        drop(self.dir);
    }
}

fn configuration(dir: &Path, port: u16, postgres: Option<&Postgres>) -> Config {
    let url = postgres.map_or_else(String::new, |p| format!("url = \"{}\"\n", p.url()));
    let database = format!("[database]\n{url}wait_seconds = {}\n", PATIENCE.as_secs());
    let api = format!("[api]\nlisten = \"127.0.0.1:{port}\"\nmetrics_token = \"{METRICS_TOKEN}\"\n");
    let sip = "[sip]\nallowed_networks = [\"127.0.0.0/8\"]\n";
    let text = format!("[data]\ndir = \"{}\"\n{api}{sip}{database}", dir.display());
    Config::from_layers(Some((Path::new("test.toml"), &text)), []).expect("a valid configuration")
}

/// A plan of one campaign on DID +442071234567; each client with its link's settings.
pub(crate) fn plan(strategy: &str, links: &[(&str, &str)]) -> String {
    let mut text = String::from("[[sellers]]\nusername = \"acme\"\nname = \"Acme\"\n");
    for (client, _) in links {
        text += &format!(
            "[[clients]]\nidentifier = \"{client}\"\nname = \"{client}\"\nsip = {{ host = \"127.0.0.11\" }}\n"
        );
    }
    text += "[[dids]]\nnumber = \"+442071234567\"\nseller = \"acme\"\n";
    text += &format!(
        "[[campaigns]]\nname = \"Solar\"\nseller = \"acme\"\nrouting_strategy = \"{strategy}\"\ndids = [\"+442071234567\"]\n"
    );
    for (client, settings) in links {
        text += &format!("[[campaigns.links]]\nclient = \"{client}\"\n{settings}\n");
    }
    text
}

const METRICS_TOKEN: &str = "thirty-two bytes of a metrics token";

pub(crate) const DID: &str = "+442071234567";

impl Site {
    /// Makes the call centres known to Asterisk.
    pub(crate) fn clients(&self, clients: &[(&str, Behaviour)]) {
        for (client, behaviour) in clients {
            self.asterisk.endpoint(client, *behaviour);
        }
    }
}
