//! One real Asterisk, run by `asterisk/sandbox`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::LIMIT;
use super::child::Child;
use super::ports::Ports;

/// ARI user of every test node.
pub(crate) const ARI_USER: &str = "capconduit";
/// Its password; the interface is on loopback and lives as long as the test.
pub(crate) const ARI_PASSWORD: &str = "only-for-this-test";

/// UDP ports for the media of one node: room for 40 calls with two legs of RTP and RTCP.
const MEDIA_PORTS: u16 = 160;

fn sandbox() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk/sandbox/sandbox")
}

/// A running Asterisk.
#[derive(Debug)]
pub(crate) struct Node {
    /// Its name in the controller's configuration.
    pub(crate) name: String,
    /// Where its ARI is: `http://127.0.0.1:PORT`.
    pub(crate) url: String,
    /// Where it takes SIP: `127.0.0.1:PORT`.
    pub(crate) sip: String,
    dir: PathBuf,
    /// How the sandbox is called.
    args: Vec<String>,
    log: PathBuf,
    http: reqwest::Client,
    child: Child,
    /// How much of its log was written before the controller had published the realtime tables.
    preamble: usize,
}

impl Node {
    /// Starts it. `realtime` is the sandbox's SPEC; `more` are further options of the sandbox, each with its value.
    pub(crate) fn start(site: &Path, ports: &Ports, name: &str, realtime: &str, more: &[(&str, String)]) -> Self {
        let dir = site.join(name);
        let (http, sip, media) = (ports.one(), ports.one(), ports.run(MEDIA_PORTS));
        let mut args = vec!["run".to_owned()];
        for (option, value) in [
            ("--dir", dir.display().to_string()),
            ("--http-port", http.to_string()),
            ("--sip-port", sip.to_string()),
            ("--rtp", format!("{media}-{}", media + MEDIA_PORTS - 1)),
            ("--realtime", realtime.to_owned()),
            ("--ari-user", ARI_USER.to_owned()),
            ("--ari-password", ARI_PASSWORD.to_owned()),
            ("--node", name.to_owned()),
        ] {
            args.extend([option.to_owned(), value]);
        }
        args.extend(more.iter().flat_map(|(option, value)| [(*option).to_owned(), value.clone()]));
        let log = site.join(format!("{name}.log"));
        let child = Child::spawn("Asterisk", &log, &sandbox(), &args);
        Self {
            name: name.to_owned(),
            url: format!("http://127.0.0.1:{http}"),
            sip: format!("127.0.0.1:{sip}"),
            dir,
            args,
            log,
            http: reqwest::Client::new(),
            child,
            preamble: 0,
        }
    }

    /// Starts it again after its death, on the same ports.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn start_again(&mut self) {
        assert!(self.child.ended().is_some(), "{} still runs", self.name);
        self.child = Child::spawn("Asterisk", &self.log, &sandbox(), &self.args);
    }

    /// Waits until its ARI answers.
    pub(crate) async fn ready(&mut self) {
        let answers = timeout(LIMIT, async {
            while self.get("asterisk/ping").await.is_none() {
                self.child.assert_alive();
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert!(answers.await.is_ok(), "Asterisk's ARI does not answer; it said:\n{}", self.child.output());
    }

    /// The answer to `GET /ari/<path>` when it is 200; `None` otherwise.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let request = self.http.get(format!("{}/ari/{path}", self.url)).basic_auth(ARI_USER, Some(ARI_PASSWORD));
        let response = request.send().await.ok()?.error_for_status().ok()?;
        response.json().await.ok()
    }

    /// Ids of its channels and bridges; empty when nothing is going on. Where it does not answer, that is said instead.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for list in ["channels", "bridges"] {
            let Some(found) = self.get(list).await else {
                ids.push(format!("{} does not list its {list}", self.name));
                continue;
            };
            for one in found.as_array().into_iter().flatten() {
                ids.push(format!("{list}/{}", one["id"].as_str().unwrap_or("?")));
            }
        }
        ids
    }

    /// Waits until a bridge with two channels mixes by `technology`, such as `native_rtp`.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn until_bridged_by(&self, technology: &str) {
        let mut seen = BTreeSet::new();
        let by = |bridge: &Value| {
            let channels = bridge["channels"].as_array().map_or(0, Vec::len);
            channels == 2 && bridge["technology"] == technology
        };
        let reached = timeout(LIMIT, async {
            loop {
                let bridges = self.get("bridges").await;
                let bridges: Vec<&Value> = bridges.iter().filter_map(Value::as_array).flatten().collect();
                if bridges.iter().any(|bridge| by(bridge)) {
                    return;
                }
                seen.extend(bridges.iter().map(|bridge| bridge["technology"].to_string()));
                sleep(Duration::from_millis(5)).await;
            }
        });
        assert!(reached.await.is_ok(), "no bridge of two channels is {technology}; there were {seen:?}");
    }

    /// How old the controller's heartbeat is in seconds; `None` when there was none yet.
    pub(crate) async fn heartbeat_age(&self) -> Option<i64> {
        let read = async |name: &str| -> Option<i64> {
            self.get(&format!("asterisk/variable?variable={name}")).await?["value"].as_str()?.parse().ok()
        };
        let beat = read("CAPCONDUIT_HEARTBEAT").await?;
        // By the node's own clock, which is what the dialplan compares with: at the turn of a second it is behind ours for milliseconds.
        Some(read("EPOCH").await? - beat)
    }

    /// Waits until the dialplan takes the controller for gone.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn until_stale(&self) {
        let stale = timeout(LIMIT, async {
            while self.heartbeat_age().await.is_none_or(|age| age <= 3) {
                sleep(Duration::from_millis(50)).await;
            }
        });
        assert!(stale.await.is_ok(), "the heartbeat goes on without a controller");
    }

    /// Lets the controller's last beat be so many seconds ahead of the node's clock, as after that was put back.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn beat_from_the_future(&self, seconds: i64) {
        let beat = capconduit::clock::Clock::start().now().wall.timestamp() + seconds;
        self.set("CAPCONDUIT_HEARTBEAT", &beat.to_string()).await;
    }

    /// Sets a global variable.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn set(&self, variable: &str, value: &str) {
        let url = format!("{}/ari/asterisk/variable?variable={variable}&value={value}", self.url);
        let sent = self.http.post(url).basic_auth(ARI_USER, Some(ARI_PASSWORD)).send().await;
        assert!(sent.is_ok_and(|answer| answer.status().is_success()), "the node takes no {variable}");
    }

    /// Asterisk's own process.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) fn process(&mut self) -> &mut Child {
        &mut self.child
    }

    /// The lines that the dialplan's fallback has written, one for each call that the controller did not take.
    pub(crate) fn spooled(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.spool()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// The file that it writes them to.
    pub(crate) fn spool(&self) -> PathBuf {
        self.dir.join("spool/fallback.log")
    }

    /// Its log: bytes, for it quotes what callers sent.
    fn messages(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("log/messages")).unwrap_or_default()
    }

    /// From now on there must be no complaints: the tables are there.
    pub(crate) fn published(&mut self) {
        self.preamble = self.messages().len();
    }

    /// Warnings and errors of Asterisk about the realtime tables since they were published.
    pub(crate) fn realtime_complaints(&self) -> Vec<String> {
        let messages = self.messages();
        let text = String::from_utf8_lossy(&messages[self.preamble..]);
        let of_ours = |line: &str| line.contains("ps_") || line.contains("capconduit_");
        let about_tables = |line: &&str| of_ours(line) && (line.contains("WARNING") || line.contains("ERROR"));
        text.lines().filter(about_tables).map(str::to_owned).collect()
    }
}
