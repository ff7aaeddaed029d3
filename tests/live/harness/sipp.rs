//! Call centres and carriers: sipp processes with the scenarios of `tests/live/sipp`.

use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::child::Child;
use super::ports::Ports;
use super::trace::{Dialog, Trace};

/// The address that every test's Asterisk takes for its carrier; ports tell the tests apart.
pub(crate) const CARRIER_IP: &str = "127.0.0.2";
/// The address of the call centres; ports tell them apart.
pub(crate) const CENTRE_IP: &str = "127.0.0.11";
/// Longer than any test: who waits this long waits for the other side.
pub(crate) const FOREVER_MS: u32 = 300_000;

/// A scenario file and the values of its `{{placeholders}}`.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    file: &'static str,
    text: &'static str,
    values: Vec<(&'static str, String)>,
}

macro_rules! scenarios {
    ($($name:ident = $file:literal { $($key:literal: $default:expr),* };)+) => {$(
        pub(crate) fn $name() -> Scenario {
            Scenario {
                file: $file,
                text: include_str!(concat!("../sipp/", $file, ".xml")),
                values: vec![$(($key, $default.to_string()),)* ("rtp_port", "[media_port]".into()), ("payloads", "0 8 101".into())],
            }
        }
    )+};
}

/// What a call centre does with its calls.
pub(crate) mod centre {
    use super::{FOREVER_MS, Scenario};
    scenarios! {
        answer = "answer" { "ring_ms": 50, "talk_ms": FOREVER_MS };
        reject = "reject" { "status": "486 Busy Here", "redirect_to": "127.0.0.99:5060" };
        silent = "silent" {};
        trying = "trying" {};
        challenge = "challenge" { "status": "401 Unauthorized", "header": "WWW-Authenticate", "realm": "", "verify": "" };
        register = "register" { "did": "", "username": "", "password": "" };
        early = "early" { "early_ms": 200, "then": "answer" };
        refer = "refer" { "target": "sip:+442079460099@127.0.0.2" };
    }
}

/// What a carrier's caller does.
pub(crate) mod carrier {
    use super::Scenario;
    scenarios! {
        call = "call" { "to": "{{did}}", "did": "", "from": CALLER, "headers": "", "talk_ms": 200 };
        cancel = "cancel" { "did": "", "from": CALLER, "headers": "", "cancel_ms": 200 };
        impatient = "impatient" { "did": "", "from": CALLER, "headers": "", "cancel_ms": 200 };
        hold = "hold" { "did": "", "from": CALLER, "headers": "", "before_ms": 300, "hold_ms": 300, "talk_ms": 200 };
    }
    const CALLER: &str = "\"Ada Byron\" <sip:+442071838750@127.0.0.2>";
}

impl Scenario {
    /// Sets a placeholder.
    ///
    /// # Panics
    /// When the scenario has no such placeholder: a misspelt one would silently test something else.
    pub(crate) fn set(mut self, key: &str, value: impl ToString) -> Self {
        let known = self.values.iter_mut().find(|(name, _)| *name == key);
        known.unwrap_or_else(|| panic!("{}.xml has no {{{{{key}}}}}", self.file)).1 = value.to_string();
        self
    }

    fn write(&self, path: &Path) {
        let fill = |text: String, (key, value): &(&str, String)| text.replace(&format!("{{{{{key}}}}}"), value);
        let text = self.values.iter().fold(self.text.to_owned(), fill);
        assert!(!text.contains("{{"), "{}.xml has a placeholder that nobody fills: {text}", self.file);
        std::fs::write(path, text).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    }
}

/// One sipp process.
#[derive(Debug)]
pub(crate) struct Sipp {
    /// What it sends and receives.
    pub(crate) trace: Trace,
    /// Its SIP address.
    pub(crate) ip: &'static str,
    /// Its SIP port.
    pub(crate) port: u16,
    child: Child,
}

impl Sipp {
    /// Starts a scenario at `ip` and `port` with `extra` arguments, its files named `name` in `dir`.
    fn start(
        (dir, ports, name): (&Path, &Ports, &str),
        scenario: &Scenario,
        (ip, port): (&'static str, u16),
        extra: &[&str],
    ) -> Self {
        let file = |suffix: &str| -> PathBuf { dir.join(format!("{name}.{suffix}")) };
        scenario.write(&file("xml"));
        let (control, media) = (ports.one(), ports.run(4));
        let text = |path: PathBuf| path.display().to_string();
        let mut args: Vec<String> = Vec::new();
        for (option, value) in [
            ("-sf", text(file("xml"))),
            ("-i", ip.to_owned()),
            ("-p", port.to_string()),
            ("-mi", ip.to_owned()),
            ("-mp", media.to_string()),
            ("-cp", control.to_string()),
            ("-message_file", text(file("messages"))),
            ("-error_file", text(file("errors"))),
        ] {
            args.extend([option.to_owned(), value]);
        }
        // A message that comes between a time-out of the scenario and its consequence is "unexpected" to sipp; it then
        // shall wait for the retransmission instead of giving the call up.
        args.extend(["-default_behaviors", "all,-abortunexp"].map(str::to_owned));
        args.extend(["-nostdin", "-trace_msg", "-trace_err", "-skip_rlimit"].map(str::to_owned));
        args.extend(extra.iter().map(|&argument| argument.to_owned()));
        let child = Child::spawn(&format!("sipp {name}"), &file("screen"), Path::new("sipp"), &args);
        Self { trace: Trace::new(&file("messages")), ip, port, child }
    }

    /// Starts a call centre, which echoes what it hears, and waits until its port is open.
    pub(crate) async fn centre(
        dir: &Path,
        ports: &Ports,
        name: &str,
        scenario: &Scenario,
        (ip, port): (&'static str, u16),
    ) -> Self {
        let mut sipp = Self::start((dir, ports, name), scenario, (ip, port), &["-rtp_echo"]);
        let address: Ipv4Addr = ip.parse().expect("call centres have IPv4 addresses");
        // The kernel's own list of open ports: the address in hexadecimal, last byte first, and the port.
        let entry = format!("{:08X}:{port:04X}", u32::from_le_bytes(address.octets()));
        super::until("a call centre's port is open", || {
            sipp.child.assert_alive();
            std::fs::read_to_string("/proc/net/udp").unwrap_or_default().contains(&entry)
        })
        .await;
        sipp
    }

    /// Starts `calls` calls at `per_second` towards `target` (host:port) from `ip`.
    pub(crate) fn calls(
        dir: &Path,
        ports: &Ports,
        name: &str,
        scenario: &Scenario,
        (ip, target): (&'static str, &str),
        (calls, per_second): (u32, u32),
    ) -> Self {
        let (calls, rate) = (calls.to_string(), per_second.to_string());
        let extra = [target, "-m", &calls, "-r", &rate, "-l", &calls];
        Self::start((dir, ports, name), scenario, (ip, ports.one()), &extra)
    }

    /// Lets every call that waits go on to what comes next, whatever its time says: a caller or one who holds the call to hang up or to
    /// resume, a call centre that rings to answer.
    #[allow(dead_code, reason = "the demo does not need it")]
    pub(crate) async fn go_on(&self) {
        let socket = UdpSocket::bind((self.ip, 0)).expect("a port");
        let to = format!("{}:{}", self.ip, self.port);
        let waiting: Vec<Dialog> = self.trace.dialogs().into_iter().filter(|call| call.ended_at().is_none()).collect();
        // sipp's socket holds no more than some hundred datagrams, and loses the rest.
        for some in waiting.chunks(16) {
            for call in some {
                // sipp repeats what the last message had for its Via.
                let via = call.invite().header("Via").unwrap_or_default();
                let message = format!(
                    "MESSAGE sip:{to} SIP/2.0\r\nVia: {via}\r\nFrom: <sip:test@{to}>\r\nTo: <sip:sipp@{to}>\r\nCall-ID: {}\r\n\
                     CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n",
                    call.call_id
                );
                socket.send_to(message.as_bytes(), &to).expect("loopback takes a datagram");
            }
            super::until("calls are told to go on", || {
                let now = self.trace.dialogs();
                let told = |call: &Dialog| {
                    call.ended_at().is_some() || call.find(false, |m| m.method() == Some("MESSAGE")).is_some()
                };
                let of_them = |call: &&Dialog| some.iter().any(|told| told.call_id == call.call_id);
                now.iter().filter(of_them).all(told)
            })
            .await;
        }
    }

    /// Waits until all calls are over; returns them. sipp's own verdict is not asked: the messages are.
    pub(crate) async fn finish(mut self, limit: Duration) -> Vec<Dialog> {
        let _verdict = self.child.wait(limit).await;
        self.trace.dialogs()
    }

    /// No further calls; those that are up may end, within ten seconds.
    #[allow(dead_code, reason = "only chaos has enough of them")]
    pub(crate) async fn enough(mut self) {
        // sipp takes it for `q`.
        self.child.signal("USR1");
        let ended = async {
            while self.child.ended().is_none() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _in_time = tokio::time::timeout(Duration::from_secs(10), ended).await;
    }

    /// Waits until at least `n` calls have an outcome that `wanted` accepts, and returns all calls.
    pub(crate) async fn reach(&mut self, what: &str, wanted: impl Fn(&[Dialog]) -> bool) -> Vec<Dialog> {
        let mut dialogs = Vec::new();
        super::until(what, || {
            dialogs = self.trace.dialogs();
            wanted(&dialogs)
        })
        .await;
        dialogs
    }
}
