//! A real Prometheus that scrapes the real controller by the rules that are shipped, and tells which alerts fire, and when.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::harness::child::Child;
use crate::harness::controller::METRICS_TOKEN;

/// How fast time goes in the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As they are shipped.
    Real,
    /// Each minute of theirs lasts two seconds: the same expressions, over shorter times. In less, calls of the fallback that are recorded
    /// together every few seconds would seem to have ended in between.
    Quick,
}

impl Pace {
    /// A time that the rules, or what is to be seen by them, takes in earnest.
    pub(crate) fn of(self, real: Duration) -> Duration {
        match self {
            Self::Real => real,
            Self::Quick => real / 30,
        }
    }

    fn interval(self) -> &'static str {
        match self {
            Self::Real => "5s",
            Self::Quick => "250ms",
        }
    }

    /// The rules, with their times.
    fn rules(self, text: &str) -> String {
        if self == Self::Real {
            return text.to_owned();
        }
        // Of ranges in brackets, and of `for:`; all of them are whole minutes.
        let quick = |minutes: &str| {
            let minutes = minutes.parse::<u64>().unwrap_or_else(|_| panic!("{minutes} is no number of minutes"));
            format!("{}ms", minutes * 2000)
        };
        let mut lines = Vec::new();
        for line in text.lines() {
            let line = match line.trim_start().strip_prefix("for: ").and_then(|time| time.strip_suffix('m')) {
                Some(minutes) => line.replace(&format!("{minutes}m"), &quick(minutes)),
                None => line.to_owned(),
            };
            let mut parts = line.split('[');
            let mut made = parts.next().unwrap_or_default().to_owned();
            for part in parts {
                match part.split_once("m]").filter(|(minutes, _)| minutes.bytes().all(|byte| byte.is_ascii_digit())) {
                    Some((minutes, rest)) => made += &format!("[{}]{rest}", quick(minutes)),
                    None => made += &format!("[{part}"),
                }
            }
            lines.push(made);
        }
        lines.join("\n")
    }
}

/// An alert has begun to fire, or has ended.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) at: Instant,
    pub(crate) alert: String,
    pub(crate) fires: bool,
}

/// It runs until it is dropped.
#[derive(Debug)]
pub(crate) struct Prometheus {
    turns: Arc<Mutex<Vec<Turn>>>,
    look: JoinHandle<()>,
    _child: Child,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.look.abort();
    }
}

impl Prometheus {
    /// Starts it in a folder of its own, on a port, for the controller at `target` (host:port).
    pub(crate) async fn start(dir: &Path, port: u16, target: &str, pace: Pace) -> Self {
        let folder = dir.join("prometheus");
        std::fs::create_dir_all(&folder).expect("a folder of ours");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus/capconduit.rules.yml");
        let rules = std::fs::read_to_string(shipped).expect("the rules");
        let write = |name: &str, text: &str| -> PathBuf {
            let path = folder.join(name);
            std::fs::write(&path, text).expect("a file of ours");
            path
        };
        let rules = write("capconduit.rules.yml", &pace.rules(&rules));
        let every = pace.interval();
        let text = format!(
            "global: {{ scrape_interval: {every}, scrape_timeout: {every}, evaluation_interval: {every} }}\n\
             rule_files: [\"{}\"]\n\
             scrape_configs:\n  - job_name: capconduit\n    authorization: {{ credentials: \"{METRICS_TOKEN}\" }}\n    \
             static_configs: [{{ targets: [\"{target}\"] }}]\n",
            rules.display()
        );
        let config = write("prometheus.yml", &text);
        let arguments = [
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", folder.join("data").display()),
            format!("--web.listen-address=127.0.0.1:{port}"),
            "--log.level=warn".to_owned(),
        ];
        let child = Child::spawn("prometheus", &folder.join("log"), Path::new("prometheus"), &arguments);
        let turns = Arc::new(Mutex::new(Vec::new()));
        let look = tokio::spawn(follow(format!("http://127.0.0.1:{port}/api/v1/alerts"), Arc::clone(&turns)));
        Self { turns, look, _child: child }
    }

    /// All that has turned so far, in order.
    pub(crate) fn turns(&self) -> Vec<Turn> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether an alert fires now.
    pub(crate) fn fires(&self, alert: &str) -> bool {
        self.turns().iter().rev().find(|turn| turn.alert == alert).is_some_and(|turn| turn.fires)
    }

    /// Waits until an alert fires, or does not; whether it came to that.
    pub(crate) async fn until(&self, alert: &str, fires: bool, at_most: Duration) -> bool {
        let reached = timeout(at_most, async {
            while self.fires(alert) != fires {
                sleep(Duration::from_millis(50)).await;
            }
        });
        reached.await.is_ok()
    }
}

/// Looks again and again which alerts fire, and notes what changes.
async fn follow(url: String, turns: Arc<Mutex<Vec<Turn>>>) {
    let (http, mut fired) = (reqwest::Client::new(), BTreeSet::new());
    loop {
        sleep(Duration::from_millis(100)).await;
        let Ok(answer) = http.get(&url).timeout(Duration::from_secs(5)).send().await else { continue };
        let Ok(answer) = answer.json::<Value>().await else { continue };
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let now: BTreeSet<String> =
            firing.filter_map(|alert| alert["labels"]["alertname"].as_str().map(str::to_owned)).collect();
        let at = Instant::now();
        let mut noted = turns.lock().unwrap_or_else(PoisonError::into_inner);
        for alert in fired.symmetric_difference(&now) {
            noted.push(Turn { at, alert: alert.clone(), fires: now.contains(alert) });
        }
        drop(noted);
        fired = now;
    }
}
