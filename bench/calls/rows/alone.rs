//! What the controller takes by itself: as one process on one core, against a fake Asterisk on another one that does nothing but answer.

mod ari;
mod orders;
mod wire;
mod world;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use self::ari::Fake;
use self::orders::Wish;
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::site::ANSWERED;
use crate::calls::stats::{Spread, percentile};
use crate::harness::LIMIT;
use crate::harness::child::Child;
use crate::harness::controller::{Address, Controller, Settings, sum};
use crate::harness::plan::Plan;
use crate::harness::ports::Ports;
use crate::harness::sipp::CENTRE_IP;

/// Rates that are tried one after the other, in calls a second, until two in a row were too high.
const RATES: [u32; 8] = [1_000, 2_000, 3_000, 4_000, 5_000, 6_000, 7_000, 8_000];
const RATE_GOAL: f64 = 4_000.0;
/// How long each is kept up, and how often all are tried, at most.
const MOST_SECONDS: usize = 5;
const MOST_ROUNDS: usize = 3;
/// Before the first: caches fill, pages are touched.
const WARM_UP: (u32, usize) = (500, 2);
/// From answer to hang-up.
const TALK: Duration = Duration::from_millis(100);
/// A rate is kept up where as many of its calls complete, and this is p99 from a call's arrival to its dial request.
const COMPLETED: f64 = 0.99;
const DIALLED_WITHIN_MS: f64 = 250.0;
/// How long finished records may take to be written after that.
const WRITTEN_WITHIN: Duration = Duration::from_secs(60);

/// Calls that are live at once, and how many a second come and go.
const LIVE: u64 = 20_000;
const RISE: f64 = 1_500.0;
const MEMORY_GOAL: f64 = 200.0;
/// How long all of them are left alone: longer than it takes until Asterisk's lists are compared with what is known of the calls.
const STAY: Duration = Duration::from_secs(40);

const WAITING: &str = "capconduit_records_waiting";
const CLIENTS: [(&str, u16); 3] = [("alpha", 5071), ("beta", 5072), ("gamma", 5073)];

/// Cores: the controller's, and the fake's.
type Cores = [String; 2];

/// A controller and its fake Asterisk. The controller goes first.
#[derive(Debug)]
struct Alone {
    process: Child,
    controller: Controller,
    fake: Fake,
    _ports: Ports,
    _dir: TempDir,
}

/// One rate, tried once.
#[derive(Debug)]
struct Step {
    rate: u32,
    /// Calls that were over in time, for each second.
    completed: f64,
    /// Milliseconds.
    p99: f64,
    /// The controller's CPU time for each call, in milliseconds, with its record.
    cpu: f64,
    /// How much of its core the fake has used, in percent.
    fake: f64,
    kept: bool,
}

/// What became of many calls at once.
#[derive(Debug)]
struct Live {
    /// Megabytes before the first call.
    before: f64,
    /// With all of them up.
    up: f64,
    /// The most since then, as long as they were up.
    most: f64,
    /// How many came up, and how many ended when they were hung up.
    risen: u64,
    fallen: u64,
    /// How often the controller has connected: once, unless it lost the connection.
    connections: u64,
}

/// Rising rates, and 20,000 calls at once.
pub(crate) async fn alone(wanted: Wanted) -> Section {
    let (seconds, rounds) = (wanted.seconds.min(MOST_SECONDS), wanted.rounds.min(MOST_ROUNDS));
    let cores = cores();
    let (mut steps, mut highest) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let of_round = ladder(cores.as_ref(), seconds).await;
        let kept = of_round.iter().filter(|step| step.kept).map(|step| step.rate).max();
        highest.push(f64::from(kept.unwrap_or(0)));
        steps.extend(of_round);
    }
    let live = live(cores.as_ref()).await;
    let head =
        ["offered, calls/s", "completed/s", "p99 to the dial, ms", "CPU for each call, ms", "fake's CPU, %", "kept up"];
    let mut section = Section::new("The controller alone", &how(cores.is_some(), seconds, rounds), &head);
    for rate in RATES {
        let of_rate: Vec<&Step> = steps.iter().filter(|step| step.rate == rate).collect();
        if !of_rate.is_empty() {
            section.line(line(rate, &of_rate));
        }
    }
    let highest = Spread::of(&highest);
    let goal = format!("one core: at least {RATE_GOAL} calls/s");
    section.verdict(&goal, format!("{} calls/s", highest.told(0)), highest.median >= RATE_GOAL);
    judge(&mut section, &live);
    section
}

fn how(pinned: bool, seconds: usize, rounds: usize) -> String {
    let pinned = if pinned { "on one core (`taskset`)" } else { "NOT kept on one core, for there is no `taskset`" };
    format!(
        "The whole process, {pinned}, with SQLite and its log at `warn`, against a fake Asterisk over real sockets (REST over WebSocket), which answers every request and dial at once, on \
         another core; {} clients in turns, no caps. Each call: 8 requests, 16 events, its record. Calls come when they are due, {seconds} s at each rate, {rounds} rounds; the caller hangs up {} ms \
         after the answer. A rate is kept up where {:.0} % of its calls are over at most 1 s after the last one was due, and p99 from when a call is due to its dial request is at most \
         {DIALLED_WITHIN_MS:.0} ms. CPU is user and system time until all records are written. Then {LIVE} calls come up in a fresh process, {RISE:.0} a second, and stay for {} s; memory is \
         VmRSS.",
        CLIENTS.len(),
        TALK.as_millis(),
        COMPLETED * 100.0,
        STAY.as_secs()
    )
}

fn line(rate: u32, steps: &[&Step]) -> [String; 6] {
    let told = |of: fn(&Step) -> f64, digits: usize| {
        let values: Vec<f64> = steps.iter().map(|step| of(step)).collect();
        Spread::of(&values).told(digits)
    };
    let kept = steps.iter().filter(|step| step.kept).count();
    [
        rate.to_string(),
        told(|step| step.completed, 0),
        told(|step| step.p99, 1),
        told(|step| step.cpu, 3),
        told(|step| step.fake, 0),
        format!("{kept} of {}", steps.len()),
    ]
}

fn judge(section: &mut Section, live: &Live) {
    let Live { before, up, most, risen, fallen, connections } = live;
    let memory = format!(
        "{up:.0} MB with {risen} calls up, {most:.0} MB at most while they stayed, {before:.0} MB before the first"
    );
    let goal = format!("{LIVE} live calls: at most {MEMORY_GOAL} MB resident");
    section.verdict(&goal, memory, *risen == LIVE && *most <= MEMORY_GOAL);
    let lost = connections.saturating_sub(1);
    let ends = format!("{fallen} of {LIVE} ended when they were hung up, the connection was lost {lost} times");
    section.verdict(&format!("{LIVE} live calls: none is lost"), ends, *fallen == LIVE && lost == 0);
}

/// All rates, until two in a row were too high.
async fn ladder(cores: Option<&Cores>, seconds: usize) -> Vec<Step> {
    let alone = Alone::start(cores).await;
    let (rate, for_seconds) = WARM_UP;
    alone.step(rate, for_seconds).await;
    let mut steps: Vec<Step> = Vec::new();
    for rate in RATES {
        let step = alone.step(rate, seconds).await;
        println!("bench:   alone, {rate} calls/s: {step:.2?}");
        steps.push(step);
        if steps.iter().rev().take_while(|step| !step.kept).count() == 2 {
            break;
        }
    }
    steps
}

async fn live(cores: Option<&Cores>) -> Live {
    let alone = Alone::start(cores).await;
    let before = alone.megabytes();
    let rise = alone.fake.make(Wish { calls: LIVE, per_second: RISE, talk: None }).await;
    // What is noted of them is on the disk.
    sleep(Duration::from_secs(1)).await;
    let up = alone.megabytes();
    let (since, mut most) = (Instant::now(), up);
    while since.elapsed() < STAY {
        sleep(Duration::from_millis(200)).await;
        most = most.max(alone.megabytes());
    }
    let fall = alone.fake.hang_up(RISE).await;
    let live = Live { before, up, most, risen: rise.up, fallen: fall.completed, connections: fall.connections };
    println!("bench:   alone, {LIVE} calls at once: {live:.2?}");
    live
}

impl Alone {
    async fn start(cores: Option<&Cores>) -> Self {
        let (dir, ports, fake) = (TempDir::new().expect("a folder"), Ports::take(), Fake::start());
        if let Some([_, core]) = cores {
            fake.pin(core);
        }
        let path = dir.path();
        let settings = Settings {
            database: format!("url = \"sqlite://{}\"", path.join("data/capconduit.db").display()),
            realtime: format!("mode = \"sqlite\"\npath = \"{}\"", path.join("realtime/realtime.db").display()),
            calls: format!("max_live = {}", 2 * LIVE),
            log: "warn".to_owned(),
            ..Settings::default()
        };
        let (name, spool) = ("fake".to_owned(), path.join("fallback.log"));
        let node = Address { name, url: fake.url.clone(), keys: String::new(), spool };
        let controller = Controller::new(path, ports.one(), &settings, &[node]);
        controller.run(&["migrate"]).await;
        controller.apply(&plan().toml()).await;
        let process = serve(path, cores.map(|[core, _]| core.as_str()));
        let mut alone = Self { process, controller, fake, _ports: ports, _dir: dir };
        alone.until_ready().await;
        alone
    }

    async fn until_ready(&mut self) {
        let since = Instant::now();
        while self.controller.readiness().await != Some(200) {
            self.process.assert_alive();
            let log = || self.controller.log();
            assert!(since.elapsed() < LIMIT, "the controller is not ready after {LIMIT:?}; it said:\n{}", log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps up a rate, or tries to.
    async fn step(&self, rate: u32, seconds: usize) -> Step {
        let (calls, per_second) = (u64::from(rate) * seconds as u64, f64::from(rate));
        let (process, thread) = (format!("/proc/{}", self.process.id()), &self.fake.thread);
        let (before, fake_before, since) = (cpu(Path::new(&process)), cpu(thread), Instant::now());
        let mut outcome = self.fake.make(Wish { calls, per_second, talk: Some(TALK) }).await;
        let fake = cpu(thread).saturating_sub(fake_before).as_secs_f64() / since.elapsed().as_secs_f64();
        self.until_written().await;
        let cpu = cpu(Path::new(&process)).saturating_sub(before).as_secs_f64() * 1e3;
        let cpu = cpu / outcome.completed.max(1) as f64;
        let p99 = percentile(&mut outcome.waits, 0.99);
        let completed = outcome.in_time as f64 / seconds as f64;
        let kept = outcome.in_time as f64 >= COMPLETED * calls as f64 && p99 <= DIALLED_WITHIN_MS;
        Step { rate, completed, p99, cpu, fake: fake * 100.0, kept }
    }

    /// Waits until the database has all records.
    async fn until_written(&self) {
        let since = Instant::now();
        while since.elapsed() < WRITTEN_WITHIN {
            sleep(Duration::from_millis(500)).await;
            let metrics = self.controller.metrics().await;
            if metrics.and_then(|text| sum(&text, WAITING)) == Some(0.0) {
                return;
            }
        }
    }

    /// What the controller has in memory (proc(5), `status`).
    fn megabytes(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap_or_default();
        let kilobytes =
            status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse::<f64>().ok());
        kilobytes.unwrap_or(f64::NAN) / 1024.0
    }
}

/// Three call centres that are called in turns, without caps.
fn plan() -> Plan {
    let client = |plan: Plan, (name, port): (&str, u16)| plan.client_at(name, (CENTRE_IP, port), ("", ""));
    let plan = CLIENTS.into_iter().fold(Plan::new(), client);
    let plan = plan.campaign("Alone", ANSWERED, "routing_strategy = \"round_robin\"");
    CLIENTS.into_iter().fold(plan, |plan, (name, _)| plan.link(name, ""))
}

/// Starts the binary beside this one, on one core where that is wanted.
fn serve(dir: &Path, core: Option<&str>) -> Child {
    let me = std::env::current_exe().expect("a running program has a path");
    let profile = me.parent().and_then(Path::parent).expect("examples are built in target/<profile>/examples");
    let (binary, log) = (profile.join("capconduit"), dir.join("serve.log"));
    let Some(core) = core else { return Child::spawn("capconduit serve", &log, &binary, &["serve"]) };
    let binary = binary.display().to_string();
    Child::spawn("capconduit serve", &log, Path::new("taskset"), &["-c", core, binary.as_str(), "serve"])
}

/// The first and the last core that this process may use; `None` where processes cannot be pinned to one.
fn cores() -> Option<Cores> {
    Command::new("taskset").arg("--version").output().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let numbers: Vec<&str> = allowed.trim().split([',', '-']).collect();
    Some([(*numbers.first()?).to_owned(), (*numbers.last()?).to_owned()])
}

/// User and system time of a process with all its threads, or of a thread, by its folder (proc(5), `stat`, fields 14 and 15).
fn cpu(folder: &Path) -> Duration {
    /// `USER_HZ`, which is 100 on every Linux.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(folder.join("stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
