//! Where the contestants run: one Asterisk and one controller for each way of reaching them, all on loopback.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::sip::centre::{Centre, Manner};
use crate::harness::plan::Plan;
use crate::harness::ports::Ports;
use crate::harness::sipp::CENTRE_IP;
use crate::harness::site::{Backend, Preparation, Site};

/// The carrier whose calls the dialplan's own `Dial()` takes.
pub(crate) const STATIC_IP: &str = "127.0.0.3";
/// Above the kernel's range for outgoing connections; sites share it, for one at a time has calls.
const MEDIA: &str = "61000-64999";

/// Each node's Stasis applications, and so sockets: Asterisk has one thread for each, which carries its requests out one by one.
const APPS: u16 = 4;

/// The longest that an Asterisk is waited for which has more to do than it can.
const IDLE_WITHIN: Duration = Duration::from_secs(180);

/// A call that the first call centre answers.
pub(crate) const ANSWERED: &str = "+442079460001";
/// A call that a busy call centre refuses, and the next one answers.
pub(crate) const FAILED_OVER: &str = "+442079460002";

/// A call that a call centre answers after ringing.
pub(crate) const RUNG: &str = "+442079460003";
/// A call that a call centre answers after early media.
pub(crate) const SOUNDED: &str = "+442079460004";

/// What the bench adds to the dialplan: a carrier of its own, whose calls are dialled at once.
const STATIC_DIALPLAN: &str = "\n[bench-static]\nexten => _[!-~]!,1,Dial(PJSIP/alpha,60)\n same => n,Hangup(16)\n\
    exten => +442079460003,1,Dial(PJSIP/rings,60)\n same => n,Hangup(16)\n\
    exten => +442079460004,1,Dial(PJSIP/sounds,60)\n same => n,Hangup(16)\n";
const STATIC_ENDPOINT: &str = "\n[bench-static](capconduit-carrier)\ncontext = bench-static\n\
    [bench-static-identify]\ntype = identify\nendpoint = bench-static\nmatch = 127.0.0.3\n";

/// How the controller's requests travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Transport {
    /// REST over the socket of the events.
    Websocket,
    /// HTTP.
    Http,
}

impl Transport {
    fn word(self) -> &'static str {
        match self {
            Self::Websocket => "websocket",
            Self::Http => "http",
        }
    }
}

/// The call centres that all sites share.
#[derive(Debug)]
pub(crate) struct Centres {
    /// Answers.
    pub(crate) alpha: Centre,
    /// Is busy.
    pub(crate) busy: Centre,
    /// Answers after ringing.
    pub(crate) rings: Centre,
    /// Answers after early media.
    pub(crate) sounds: Centre,
    _ports: Ports,
}

impl Centres {
    /// Opens them.
    pub(crate) async fn open() -> Self {
        let ports = Ports::take();
        let at = |port: u16| SocketAddr::new(CENTRE_IP.parse().expect("an address"), port);
        let alpha = Centre::open(at(ports.one()), Manner::Answers).await;
        let busy = Centre::open(at(ports.one()), Manner::IsBusy).await;
        let rings = Centre::open(at(ports.one()), Manner::Rings).await;
        let sounds = Centre::open(at(ports.one()), Manner::Sounds).await;
        Self { alpha, busy, rings, sounds, _ports: ports }
    }
}

/// One Asterisk and its controller, to be started with the [`plan`].
pub(crate) fn prepare(backend: Backend, transport: Transport) -> Preparation {
    Preparation::new(backend)
        .configured(&format!("transport = \"{}\"\napps = {APPS}", transport.word()), "")
        .applications(APPS)
        .logging("info")
        .media(MEDIA)
        .asterisk_file("extensions.conf", &dialplan())
        .asterisk_file("pjsip.conf", &endpoints())
}

/// The same with another build of the controller, and with what the checkout that it was built in (`target/PROFILE/capconduit`) gives Asterisk.
pub(crate) fn prepare_other(binary: &Path) -> Preparation {
    let mut site = prepare(Backend::Sqlite, Transport::Websocket).program(binary);
    for file in checkout(binary).join("asterisk/etc").read_dir().into_iter().flatten().flatten() {
        let name = file.file_name().into_string().expect("names are plain");
        // What a site is to say itself, the sandbox writes.
        if !name.ends_with(".conf") || name.starts_with("capconduit_site_") {
            continue;
        }
        let added = match name.as_str() {
            "extensions.conf" => STATIC_DIALPLAN,
            "pjsip.conf" => STATIC_ENDPOINT,
            _ => "",
        };
        let text = std::fs::read_to_string(file.path()).expect("a file that is delivered");
        site = site.asterisk_file(&name, &(text + added));
    }
    site
}

/// Where a binary was built.
pub(crate) fn checkout(binary: &Path) -> &Path {
    binary.ancestors().nth(3).unwrap_or(binary)
}

/// A file of `asterisk/etc`.
pub(crate) fn delivered(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("asterisk/etc").join(file);
    std::fs::read_to_string(path).expect("a file that is delivered")
}

/// The dialplan: what is delivered, and `Dial()`.
pub(crate) fn dialplan() -> String {
    delivered("extensions.conf") + STATIC_DIALPLAN
}

/// What is delivered, and the carrier of `Dial()`.
pub(crate) fn endpoints() -> String {
    delivered("pjsip.conf") + STATIC_ENDPOINT
}

/// Waits until its Asterisk has no channel left; says so where that takes too long.
pub(crate) async fn until_idle(site: &Site) {
    let idle = timeout(IDLE_WITHIN, async {
        while !site.nodes[0].leftovers().await.is_empty() {
            sleep(Duration::from_millis(200)).await;
        }
    });
    if idle.await.is_err() {
        println!("bench:   its channels stay: {:?}", site.nodes[0].leftovers().await);
    }
}

/// Where its Asterisk takes SIP.
pub(crate) fn sip(site: &Site) -> SocketAddr {
    site.nodes[0].sip.parse().expect("an address and a port")
}

/// CPU time that Asterisk and the controller have used so far.
pub(crate) fn cpu(site: &mut Site) -> (Duration, Duration) {
    (cpu_of(site.nodes[0].process().id()), cpu_of(site.controller.process().id()))
}

/// Who takes the calls.
pub(crate) fn plan(centres: &Centres) -> Plan {
    let at = |centre: &Centre| (CENTRE_IP, centre.address.port());
    let first = "forwarding_priority = 1";
    Plan::new()
        .client_at("alpha", at(&centres.alpha), ("", ""))
        .client_at("busy", at(&centres.busy), ("", ""))
        .client_at("rings", at(&centres.rings), ("", ""))
        .client_at("sounds", at(&centres.sounds), ("", ""))
        .campaign("Answered", ANSWERED, "")
        .link("alpha", "max_concurrency = 5000")
        .campaign("Failed over", FAILED_OVER, "")
        .link("busy", first)
        .link("alpha", "forwarding_priority = 2\nmax_concurrency = 5000")
        .campaign("Rung", RUNG, "")
        .link("rings", "max_concurrency = 5000")
        .campaign("Sounded", SOUNDED, "")
        .link("sounds", "max_concurrency = 5000")
}

/// User and system time of a process, all its threads (proc(5), `stat`, fields 14 and 15).
fn cpu_of(process: u32) -> Duration {
    /// `USER_HZ`, which is 100 on every Linux.
    const TICKS: u64 = 100;
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1000 / TICKS)
}
