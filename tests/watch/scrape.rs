//! What the real program writes, held against its catalogue and by Prometheus' own tool.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::exposition::{strangers, untold};
use crate::patience::PATIENCE;

/// A running `serve` whose Asterisk is away, killed when it is dropped.
struct Serve {
    child: Child,
    metrics: SocketAddr,
    environment: Vec<(&'static str, String)>,
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    fn start(folder: &Path) -> Self {
        // Nobody listens where nobody has bound.
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let metrics = free();
        let environment = vec![
            ("CAPCONDUIT__API__LISTEN", free().to_string()),
            ("CAPCONDUIT__API__METRICS_LISTEN", metrics.to_string()),
            ("CAPCONDUIT__ASTERISK__0__NAME", "pbx-1".to_owned()),
            ("CAPCONDUIT__ASTERISK__0__URL", format!("http://{}", free())),
            ("CAPCONDUIT__ASTERISK__0__PASSWORD", "x".to_owned()),
        ];
        let mut serve = Command::new(env!("CARGO_BIN_EXE_capconduit"));
        serve.arg("serve").current_dir(folder).env_clear().envs(environment.iter().map(|(k, v)| (k, v)));
        serve
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).expect("a file"));
        Self { child: serve.spawn().expect("it starts"), metrics, environment }
    }

    /// What `/metrics` says, once it says this.
    async fn scrape(&self, until: &str) -> String {
        let mut text = String::new();
        let reached = timeout(PATIENCE, async {
            while !text.contains(until) {
                sleep(Duration::from_millis(50)).await;
                text = self.ask().unwrap_or_default();
            }
        });
        let reached = reached.await.is_ok();
        assert!(reached, "{until} in {text}");
        text
    }

    fn ask(&self) -> std::io::Result<String> {
        let mut stream = TcpStream::connect(self.metrics)?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{series} ")));
    let line = line.unwrap_or_else(|| panic!("no {series} in {text}"));
    line.parse().unwrap_or_else(|_| panic!("{series} is {line}"))
}

#[tokio::test]
async fn what_is_written_is_in_the_catalogue_and_prometheus_takes_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let serve = Serve::start(folder.path());
    let text = serve.scrape("capconduit_journal_free_bytes").await;
    assert_eq!(strangers(&text), Vec::<String>::new());
    assert_eq!(untold(&text), Vec::<String>::new());

    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: run `just setup`");
    promtool.stdin.take().expect("piped above").write_all(text.as_bytes()).expect("it reads");
    let checked = promtool.wait_with_output().expect("it ends");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));

    let version = format!("capconduit_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    for (series, expected) in [
        (version.as_str(), 1.0),
        ("capconduit_heartbeat_failures_total{node=\"pbx-1\"}", 0.0),
        ("capconduit_node_ready{node=\"pbx-1\"}", 0.0),
        ("capconduit_calls_total{ending=\"fallback\"}", 0.0),
        ("capconduit_journal_min_free_bytes", 200.0 * 1024.0 * 1024.0),
        // Nobody has made one.
        ("capconduit_backup_age_seconds", f64::INFINITY),
    ] {
        assert_eq!(value(&text, series), expected, "{series}");
    }
    assert!(value(&text, "process_resident_memory_bytes") > 1e6 && value(&text, "process_open_fds") > 3.0);

    let mut backup = Command::new(env!("CARGO_BIN_EXE_capconduit"));
    backup.args(["backup", "one.tar.gz"]).current_dir(folder.path()).env_clear();
    let made = backup.envs(serve.environment.iter().map(|(k, v)| (k, v))).output().expect("it runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let finite = timeout(PATIENCE, async {
        while !value(&serve.scrape("capconduit_backup_age_seconds").await, "capconduit_backup_age_seconds").is_finite()
        {
            sleep(Duration::from_millis(100)).await;
        }
    });
    assert!(finite.await.is_ok(), "`serve` does not hear of the backup");
}
