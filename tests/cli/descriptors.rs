//! `serve` with few file descriptors: calls, records and the database have theirs, and the API waits for some.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::folder;
use crate::patience::PATIENCE;

/// A running `serve`, killed when it is dropped.
struct Serve {
    child: Child,
    api: SocketAddr,
    log: PathBuf,
    environment: [(&'static str, String); 3],
}

impl Drop for Serve {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Serve {
    /// With this hard limit, where one is given. Its Asterisk is away.
    fn start(folder: &Path, limit: Option<u32>) -> Self {
        // Nobody listens where nobody has bound.
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port");
        let (api, ari, log) = (free(), free(), folder.join("log"));
        let environment = [
            ("CAPCONDUIT__API__LISTEN", api.to_string()),
            ("CAPCONDUIT__ASTERISK__0__URL", format!("http://{ari}")),
            ("CAPCONDUIT__ASTERISK__0__PASSWORD", "x".to_owned()),
        ];
        let limit = limit.map_or_else(String::new, |limit| format!("ulimit -n {limit}; "));
        let child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" serve"), env!("CARGO_BIN_EXE_capconduit")])
            .current_dir(folder)
            .env_clear()
            .envs(environment.clone())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log).expect("a file"))
            .spawn()
            .expect("it starts");
        let serve = Self { child, api, log, environment };
        until("it answers", || serve.answers());
        serve
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Lines of the log with this in them.
    fn told(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Whether a new connection is answered within a moment.
    fn answers(&self) -> bool {
        let asked = TcpStream::connect(self.api).and_then(|mut stream| {
            stream.set_read_timeout(Some(Duration::from_millis(500)))?;
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        });
        asked.is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// Descriptors that it has open.
    fn descriptors(&self) -> u64 {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).expect("it runs").count() as u64
    }

    /// Processor time that it has used, in ticks of 10 ms.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        let (_, rest) = stat.rsplit_once(')').expect("a name in brackets");
        rest.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("a number")).sum()
    }
}

#[track_caller]
fn until(what: &str, condition: impl Fn() -> bool) {
    #[allow(clippy::disallowed_methods, reason = "another process is waited for")]
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < PATIENCE, "still not so: {what}");
        pause(20);
    }
}

#[allow(clippy::disallowed_methods, reason = "another process is waited for")]
fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// The attack of a moment: connections with half a head each.
fn half_heads(api: SocketAddr, count: usize) -> Vec<TcpStream> {
    let half = |_| {
        let mut stream = TcpStream::connect(api).ok()?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost:").ok()?;
        Some(stream)
    };
    (0..count).filter_map(half).collect()
}

#[test]
fn with_a_low_limit_half_heads_take_neither_the_api_nor_anything_else_down() {
    let folder = folder();
    let serve = Serve::start(folder.path(), Some(320));
    assert_eq!(serve.told("the limit of file descriptors is too low"), 1, "{}", serve.log());
    let held = half_heads(serve.api, 1010);
    assert!(held.len() > 500, "they come in, and give way to each other");
    until("it answers", || serve.answers());
    assert!(serve.descriptors() < 320 - 64, "the reserve is untouched: {}", serve.descriptors());
    assert_eq!(serve.told("cannot take connections"), 0, "{}", serve.log());
    // What is lacking is told by the limit of the process that serves, not by one's own.
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_capconduit"));
    let output = doctor.arg("doctor").current_dir(folder.path()).env_clear().envs(serve.environment.clone()).output();
    let said = String::from_utf8(output.expect("it runs").stdout).expect("text");
    assert!(said.contains("file descriptors") && said.contains("a hard limit of 320"), "{said}");
}

#[test]
fn with_no_descriptor_left_it_neither_spins_nor_fills_the_log_and_comes_back() {
    let folder = folder();
    let serve = Serve::start(folder.path(), None);
    let process = Pid::from_raw(serve.child.id().try_into().expect("a process id"));
    let limit = |soft| prlimit(process, Resource::Nofile, Rlimit { current: Some(soft), maximum: Some(4096) });
    let before = limit(serve.descriptors()).expect("it is set");
    assert!(before.current.is_some_and(|soft| soft >= 1000), "it was raised at the start: {before:?}");
    let _waiting = half_heads(serve.api, 50);
    until("it is told", || serve.told("cannot take connections") == 1);
    let ticks = serve.ticks();
    pause(3000);
    let used = serve.ticks() - ticks;
    assert!(used < 100, "{used} ticks of 300 that it could have spun for");
    assert_eq!(serve.told("cannot take connections"), 1, "{}", serve.log());
    limit(1024).expect("it is set");
    until("it answers again", || serve.answers());
    // Once it has done so for a while.
    until("it is told", || serve.answers() && serve.told("takes connections again") == 1);
}
