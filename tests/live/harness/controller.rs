//! The real `capconduit` binary: its configuration, `serve`, its command line, its metrics.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use serde_json::Value;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::LIMIT;
use super::child::Child;
use super::node::{ARI_PASSWORD, ARI_USER, Node};
use super::person::ADMIN_PASSWORD;

/// One installation: a folder with `capconduit.toml`, and `serve` while it runs.
#[derive(Debug)]
pub(crate) struct Controller {
    dir: PathBuf,
    program: PathBuf,
    api: String,
    http: reqwest::Client,
    serve: Option<Child>,
    nodes: Vec<String>,
}

/// What tests choose in the configuration: lines of TOML.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Section `[database]`.
    pub(crate) database: String,
    /// Section `[realtime]`.
    pub(crate) realtime: String,
    /// Further keys of every `[[asterisk]]`.
    pub(crate) node: String,
    /// Further keys of `[sip]`.
    pub(crate) sip: String,
    /// Further keys of `[calls]`.
    pub(crate) calls: String,
    /// Further sections.
    pub(crate) sections: String,
    /// What is logged: a filter. Where it is empty, `info`, and DEBUG of the controller's own.
    pub(crate) log: String,
    /// The binary, where it is not the one that was built with this.
    pub(crate) program: Option<PathBuf>,
}

/// A node as the controller reaches it.
#[derive(Debug)]
pub(crate) struct Address {
    /// Its name.
    pub(crate) name: String,
    /// Its ARI.
    pub(crate) url: String,
    /// Further keys of it alone.
    pub(crate) keys: String,
    /// Where its dialplan's fallback writes.
    pub(crate) spool: PathBuf,
}

/// The binary that was built with this test; for the demo, the one beside it.
fn binary() -> PathBuf {
    option_env!("CARGO_BIN_EXE_capconduit").map_or_else(
        || {
            let me = std::env::current_exe().expect("a running program has a path");
            let profile = me.parent().and_then(Path::parent).expect("examples are built in target/<profile>/examples");
            profile.join("capconduit")
        },
        PathBuf::from,
    )
}

/// How long requests and call centres are waited for, where `calls` does not say so: in tests for so long that a busy machine is in time.
fn patience(calls: &str) -> String {
    let (progress, request, budget) = if cfg!(test) { (8000, 10_000, 60) } else { (1500, 2000, 30) };
    let keys = [("progress_timeout_ms", progress), ("request_timeout_ms", request), ("setup_budget_seconds", budget)];
    let unsaid = keys.into_iter().filter(|(key, _)| !calls.contains(key));
    unsaid.map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// What `/metrics` asks for.
pub(crate) const METRICS_TOKEN: &str = "thirty-two bytes of a metrics token";

impl Controller {
    /// Writes the configuration.
    pub(crate) fn new(dir: &Path, api_port: u16, settings: &Settings, nodes: &[Address]) -> Self {
        let Settings { database, realtime, node, sip, calls, sections, log, program } = settings;
        let filter = if log.is_empty() { "info,capconduit=debug" } else { log };
        let api = format!("127.0.0.1:{api_port}");
        let mut toml = format!(
            "[data]\ndir = \"{}\"\n\n[database]\n{database}\nwait_seconds = 60\n\n[realtime]\n{realtime}\n\n[api]\nlisten = \"{api}\"\nmetrics_token = \"{METRICS_TOKEN}\"\n\n\
             [log]\nformat = \"human\"\nfilter = \"{filter}\"\n\n\
             [auth]\nadmin_password = \"{ADMIN_PASSWORD}\"\n\n[sip]\nallowed_networks = [\"127.0.0.0/8\"]\n{sip}\n\n\
             [calls]\n{}{calls}\n\n{sections}\n",
            dir.join("data").display(),
            patience(calls)
        );
        // Most tests are at home there.
        let region = if node.contains("default_region") { "" } else { "default_region = \"GB\"\n" };
        for Address { name, url, keys, spool } in nodes {
            toml.push_str(&format!(
                "\n[[asterisk]]\nname = \"{name}\"\nurl = \"{url}\"\nuser = \"{ARI_USER}\"\n\
                 password = \"{ARI_PASSWORD}\"\n{region}fallback_spool = \"{}\"\n{node}\n{keys}\n",
                spool.display()
            ));
        }
        std::fs::create_dir_all(dir.join("data")).expect("the test's folder takes a folder");
        std::fs::write(dir.join("capconduit.toml"), toml).expect("the test's folder takes a file");
        let program = program.clone().unwrap_or_else(binary);
        Self {
            dir: dir.to_owned(),
            program,
            api,
            http: reqwest::Client::new(),
            serve: None,
            nodes: nodes.iter().map(|node| node.url.clone()).collect(),
        }
    }

    /// Starts `serve` and waits until it is ready: configuration published, every node connected and told that we live.
    pub(crate) async fn serve(&mut self, nodes: &[Node]) {
        self.launch();
        self.until_ready(nodes).await;
    }

    /// Waits until it is ready.
    pub(crate) async fn until_ready(&mut self, nodes: &[Node]) {
        let ready = timeout(LIMIT, async {
            loop {
                self.process().assert_alive();
                if self.readiness().await == Some(200) && all_fresh(nodes).await {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(ready.await.is_ok(), "the controller is not ready after {LIMIT:?}; it said:\n{}", self.log());
    }

    /// Starts `serve` and waits for nothing.
    pub(crate) fn launch(&mut self) {
        self.serve = Some(Child::spawn("capconduit serve", &self.dir.join("serve.log"), &self.program, &["serve"]));
    }

    /// The status of `/readyz`; `None` when nobody answers.
    pub(crate) async fn readiness(&self) -> Option<u16> {
        let response = self.http.get(format!("http://{}/readyz", self.api)).send().await;
        response.ok().map(|response| response.status().as_u16())
    }

    /// Where it finds its nodes' ARI.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn nodes(&self) -> &[String] {
        &self.nodes
    }

    /// Where its API listens: host:port.
    pub(crate) fn api(&self) -> &str {
        &self.api
    }

    /// The running `serve`.
    pub(crate) fn process(&mut self) -> &mut Child {
        self.serve.as_mut().expect("serve was started")
    }

    /// One command; the test fails when the command does, with what it said.
    pub(crate) async fn run(&self, args: &[&str]) -> String {
        let Output { status, stdout, stderr } = Command::new(&self.program)
            .args(args)
            .current_dir(&self.dir)
            .kill_on_drop(true)
            .output()
            .await
            .unwrap_or_else(|e| panic!("cannot run {}: {e}", self.program.display()));
        let (out, err) = (String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr));
        assert!(status.success(), "capconduit {} failed with {status}:\n{err}{out}", args.join(" "));
        out
    }

    /// What `doctor` says, and whether it found everything sound.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn doctor(&self) -> (bool, String) {
        self.doctor_with(&[]).await
    }

    /// The same, with variables in its environment.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn doctor_with(&self, environment: &[(&str, String)]) -> (bool, String) {
        let mut command = Command::new(&self.program);
        command.arg("doctor").envs(environment.iter().map(|(name, value)| (*name, value)));
        let doctor = command.current_dir(&self.dir).kill_on_drop(true).output().await;
        let Output { status, stdout, .. } =
            doctor.unwrap_or_else(|e| panic!("cannot run {}: {e}", self.program.display()));
        (status.success(), String::from_utf8_lossy(&stdout).into_owned())
    }

    /// Makes a plan so; what it does not name stays.
    pub(crate) async fn apply(&self, toml: &str) {
        let path = self.dir.join("plan.toml");
        std::fs::write(&path, toml).expect("the test's folder takes a file");
        self.run(&["apply", &path.display().to_string()]).await;
    }

    /// All records, newest first, as `calls --json` prints them.
    pub(crate) async fn records(&self) -> Vec<Value> {
        let text = self.run(&["calls", "--json", "--limit", "1000"]).await;
        let parsed: Result<Vec<Value>, _> = serde_json::from_str(&text);
        parsed.unwrap_or_else(|e| panic!("calls --json is no JSON array: {e}\n{text}"))
    }

    /// Where its metrics are read.
    pub(crate) fn meter(&self) -> Meter {
        Meter { url: format!("http://{}/metrics", self.api), http: self.http.clone() }
    }

    /// As [`Meter::gauge`].
    pub(crate) async fn gauge(&self, name: &str) -> f64 {
        self.meter().gauge(name).await
    }

    /// As [`Meter::read`].
    pub(crate) async fn metrics(&self) -> Option<String> {
        self.meter().read().await
    }

    /// Whether the machine stood still for so long that Asterisk was silent, or the database answered nothing, for seconds: what a client
    /// or a list said then, and when, no test can know.
    #[allow(dead_code, reason = "the demo has no such machine")]
    pub(crate) fn stood_still(&self) -> bool {
        let log = self.log();
        ["nothing heard for", "time to acquire exceeded"].iter().any(|sign| log.contains(sign))
    }

    /// What `serve` has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("serve.log")).unwrap_or_default()
    }
}

/// Reads a controller's metrics.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    url: String,
    http: reqwest::Client,
}

impl Meter {
    /// The sum of a gauge over its labels.
    ///
    /// # Panics
    /// When there is no such gauge: a misspelt one would always be zero.
    pub(crate) async fn gauge(&self, name: &str) -> f64 {
        let text = self.read().await.expect("metrics answer");
        sum(&text, name).unwrap_or_else(|| panic!("no gauge {name} in:\n{text}"))
    }

    /// Everything measured, in Prometheus' text format; `None` when nobody answers.
    pub(crate) async fn read(&self) -> Option<String> {
        let response = self.http.get(&self.url).bearer_auth(METRICS_TOKEN);
        response.timeout(LIMIT).send().await.ok()?.text().await.ok()
    }
}

/// The sum of a metric over its labels; `None` when there is none of that name.
pub(crate) fn sum(metrics: &str, name: &str) -> Option<f64> {
    let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok());
    let values: Vec<f64> = metrics.lines().filter(of_name).filter_map(value).collect();
    (!values.is_empty()).then(|| values.iter().sum())
}

async fn all_fresh(nodes: &[Node]) -> bool {
    for node in nodes {
        if node.heartbeat_age().await.is_none_or(|age| age > 2) {
            return false;
        }
    }
    true
}
