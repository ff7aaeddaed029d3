//! Who calls, who answers, and what they may: the call centres, the campaigns with their caps, and the carrier's callers.

use super::dice::Dice;
use super::scene::{Scene, Stage};
use crate::harness::plan::Plan;
use crate::harness::sipp::{FOREVER_MS, Scenario, Sipp, carrier, centre};

/// What a cap is on. Campaigns and clients by their names in the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Cap {
    /// Calls at once of a campaign to a client.
    Link(&'static str, &'static str, usize),
    /// Calls at once of a client, whatever the campaign.
    Client(&'static str, usize),
    /// Calls at once of a campaign, whatever the client.
    Campaign(&'static str, usize),
    /// Answered calls ever of a campaign to a client.
    Total(&'static str, &'static str, usize),
}

/// The caps of the plan; the totals are for a run of so many minutes, and are reached well before its end.
pub(crate) fn caps(minutes: u32) -> Vec<Cap> {
    let per_minute = |n: u32| usize::try_from(n * minutes).expect("small numbers");
    vec![
        Cap::Link("Solar", "gamma", 3),
        Cap::Client("alpha", 10),
        Cap::Campaign("Broadband", 6),
        Cap::Link("Totals", "delta", 2),
        Cap::Total("Totals", "delta", per_minute(20)),
        Cap::Total("Totals", "epsilon", per_minute(15)),
        Cap::Link("Nightly", "asleep", 2),
        Cap::Link("Long", "marathon", 40),
    ]
}

/// Starts the call centres of the plan.
pub(crate) async fn stage() -> Stage {
    let mut stage = Stage::new();
    for (name, scenario) in [
        ("alpha", centre::answer()),
        ("beta", centre::answer().set("ring_ms", 400).set("talk_ms", 1200)),
        ("gamma", centre::answer().set("ring_ms", 200)),
        ("delta", centre::answer().set("ring_ms", 150)),
        ("epsilon", centre::answer().set("ring_ms", 300)),
        ("busy", centre::reject()),
        ("congested", centre::reject().set("status", "503 Service Unavailable")),
        ("asleep", centre::answer().set("ring_ms", FOREVER_MS)),
        ("early", centre::early().set("early_ms", 400)),
        ("marathon", centre::answer()),
        ("overflow", centre::answer().set("ring_ms", 20)),
    ] {
        stage.centre(name, scenario).await;
    }
    stage
}

/// The plan with [`caps`].
pub(crate) fn plan(stage: &Stage, minutes: u32) -> Plan {
    let caps = caps(minutes);
    let total = |client: &str| {
        let found = caps.iter().find_map(|cap| match cap {
            Cap::Total(_, one, n) if *one == client => Some(*n),
            _ => None,
        });
        format!("total_calls_allowed = {}", found.unwrap_or_default())
    };
    let mut plan = Plan::new();
    for name in ["alpha", "beta", "gamma", "delta", "epsilon", "busy", "congested", "asleep", "early", "marathon"] {
        let own = if name == "alpha" { "send_headers = true\nmax_concurrency = 10" } else { "send_headers = true" };
        plan = plan.client(name, stage.named(name), (own, ""));
    }
    let first = "forwarding_priority = 1";
    let (second, third) = ("forwarding_priority = 2", "forwarding_priority = 3");
    plan.campaign("Solar", SOLAR, "")
        .link("gamma", &format!("{first}\nmax_concurrency = 3"))
        .link("alpha", second)
        .link("early", third)
        .campaign("Broadband", BROADBAND, "routing_strategy = \"round_robin\"\nmax_concurrency = 6")
        .link("alpha", "")
        .link("beta", "")
        .link("gamma", "")
        .campaign("Totals", TOTALS, "")
        .link("delta", &format!("{first}\nmax_concurrency = 2\n{}", total("delta")))
        .link("epsilon", &format!("{second}\n{}", total("epsilon")))
        .link("beta", third)
        .campaign("Failing", FAILING, "")
        .link("busy", first)
        .link("congested", second)
        .link("alpha", third)
        .campaign("Nightly", NIGHTLY, "")
        .link("asleep", &format!("{first}\nmax_concurrency = 2\nring_timeout_seconds = 2"))
        .link("early", second)
        .campaign("Long", LONG, "")
        .link("marathon", "max_concurrency = 40")
}

const SOLAR: &str = "+442079460001";
const BROADBAND: &str = "+442079460002";
const TOTALS: &str = "+442079460003";
const FAILING: &str = "+442079460004";
const NIGHTLY: &str = "+442079460005";
const LONG: &str = "+442079460006";

/// A name, calls a second, and what each of them does.
type Flow = (&'static str, u32, fn() -> Scenario);

/// The carrier's callers: 14 calls a second together.
const FLOWS: &[Flow] = &[
    ("solar", 2, || carrier::call().set("did", SOLAR).set("talk_ms", 1800)),
    ("solar-impatient", 1, || carrier::impatient().set("did", SOLAR).set("cancel_ms", 230)),
    ("broadband", 2, || carrier::call().set("did", BROADBAND).set("talk_ms", 2500)),
    ("broadband-brief", 1, || carrier::call().set("did", BROADBAND).set("talk_ms", 300)),
    ("totals", 2, || carrier::call().set("did", TOTALS).set("talk_ms", 700)),
    ("failing", 1, || carrier::call().set("did", FAILING).set("talk_ms", 1100)),
    ("nightly", 1, || carrier::call().set("did", NIGHTLY).set("talk_ms", 900)),
    ("nightly-cancelled", 1, || carrier::cancel().set("did", NIGHTLY).set("cancel_ms", 600)),
    ("nightly-impatient", 1, || carrier::impatient().set("did", NIGHTLY).set("cancel_ms", 1400)),
    ("long", 1, || carrier::call().set("did", LONG).set("talk_ms", LONGEST_MS)),
    ("nobody", 1, || carrier::call().set("did", "+442079460999")),
];
/// The longest talk.
pub(crate) const LONGEST_MS: u32 = 30_000;

/// Begins all flows, each for so many seconds, in an order that the seed decides.
pub(crate) fn begin(scene: &Scene, seconds: u32, dice: &mut Dice) -> Vec<Sipp> {
    let mut flows: Vec<_> = FLOWS.iter().collect();
    for n in (1..flows.len()).rev() {
        let other = usize::try_from(dice.between(0, n as u64)).unwrap_or_default();
        flows.swap(n, other);
    }
    let start =
        |(name, rate, scenario): &&Flow| scene.begin(&format!("carrier-{name}"), &scenario(), rate * seconds, *rate);
    flows.iter().map(start).collect()
}
