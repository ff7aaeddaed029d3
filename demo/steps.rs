//! What the demo shows: its call centres, its calls, and what the carrier must be told each time.

use std::net::UdpSocket;

use super::harness::sipp::{FOREVER_MS, Scenario, Sipp, carrier, centre};
use super::harness::site::Preparation;

/// Port of all call centres in `plan.toml`.
const PORT: u16 = 25_060;

/// Some calls that show one thing.
pub(crate) struct Step {
    /// What it shows.
    pub(crate) what: &'static str,
    /// How many calls.
    pub(crate) calls: u32,
    /// How fast they come.
    pub(crate) per_second: u32,
    /// What the caller does.
    pub(crate) scenario: fn() -> Scenario,
    /// The final SIP status of every call, counted.
    pub(crate) told: &'static str,
}

/// As fast as they come: at once, for a person.
const AT_ONCE: u32 = 500;

fn to(number: &str) -> Scenario {
    carrier::call().set("did", number).set("talk_ms", 400)
}

/// All calls, in order.
pub(crate) const STEPS: &[Step] = &[
    Step {
        what: "priority: the first in line takes the call",
        calls: 1,
        per_second: 1,
        scenario: || to("+442079460101"),
        told: "200",
    },
    Step {
        what: "priority: first in line at its cap of 1, the next takes it",
        calls: 2,
        per_second: AT_ONCE,
        scenario: || to("+442079460101"),
        told: "2 x 200",
    },
    Step {
        what: "round robin: each in turn",
        calls: 3,
        per_second: 1,
        scenario: || to("+442079460102"),
        told: "3 x 200",
    },
    Step {
        what: "weighted: shares of 3 to 1",
        calls: 4,
        per_second: 4,
        scenario: || to("+442079460103"),
        told: "4 x 200",
    },
    Step {
        what: "a cap of 2 reached by 4 calls at once: two are refused",
        calls: 4,
        per_second: AT_ONCE,
        scenario: || to("+442079460104"),
        told: "2 x 200, 2 x 486",
    },
    Step {
        what: "busy: the next call centre takes it",
        calls: 1,
        per_second: 1,
        scenario: || to("+442079460105"),
        told: "200",
    },
    Step { what: "nobody answers", calls: 1, per_second: 1, scenario: || to("+442079460106"), told: "480" },
    Step {
        what: "the caller gives up while it rings",
        calls: 1,
        per_second: 1,
        scenario: || carrier::cancel().set("did", "+442079460106").set("cancel_ms", 600),
        told: "487",
    },
    Step {
        what: "the call centre hangs up first",
        calls: 1,
        per_second: 1,
        scenario: || to("+442079460107").set("talk_ms", 5000),
        told: "200",
    },
    Step {
        what: "a withheld caller stays withheld",
        calls: 1,
        per_second: 1,
        scenario: || to("+442079460101").set("from", "\"Anonymous\" <sip:anonymous@anonymous.invalid>"),
        told: "200",
    },
    Step { what: "a number that nobody owns", calls: 1, per_second: 1, scenario: || to("+442079460999"), told: "404" },
];

/// What a softphone may dial, and what happens then.
pub(crate) const NUMBERS: &[(&str, &str)] = &[
    ("+442079460101", "priority: Alpha, or Beta while Alpha has a call"),
    ("+442079460102", "round robin: Alpha, Beta, Gamma"),
    ("+442079460103", "weighted: Beta three times as often as Gamma"),
    ("+442079460104", "at most two calls at once, else 486"),
    ("+442079460105", "the first is busy, Gamma answers"),
    ("+442079460106", "rings for 2 s, then 480"),
    ("+442079460107", "the call centre hangs up after a moment"),
    ("+442079460999", "unknown: 404"),
];

/// Whether nobody else (another demo) has the call centres' addresses; else what to do about it.
pub(crate) fn addresses_free() -> Result<(), String> {
    for (name, ip, _) in all_centres() {
        UdpSocket::bind((ip, PORT)).map_err(|error| {
            format!("{name}'s address {ip}:{PORT} cannot be used ({error}): end the other demo, or what else has that port, and try again.")
        })?;
    }
    Ok(())
}

/// The call centres of `plan.toml`, in its order: name, address, behaviour.
fn all_centres() -> [(&'static str, &'static str, Scenario); 7] {
    [
        ("alpha", "127.0.0.21", centre::answer()),
        ("beta", "127.0.0.22", centre::answer()),
        ("gamma", "127.0.0.23", centre::answer()),
        ("delta", "127.0.0.24", centre::answer()),
        ("busy", "127.0.0.25", centre::reject()),
        ("asleep", "127.0.0.26", centre::answer().set("ring_ms", FOREVER_MS)),
        ("brief", "127.0.0.27", centre::answer().set("talk_ms", 300)),
    ]
}

/// Starts the call centres of `plan.toml`, in its order.
pub(crate) async fn centres(preparation: &Preparation) -> Vec<(&'static str, Sipp)> {
    let mut centres = Vec::new();
    for (name, ip, scenario) in all_centres() {
        centres.push((name, preparation.centre_at(name, scenario, (ip, PORT)).await));
    }
    centres
}
