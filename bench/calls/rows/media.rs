//! What audio costs Asterisk, and whether it is one stream: the controller beside the dialplan's own `Dial()` on the same Asterisk.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::calls::contest::{Contest, Way};
use crate::calls::report::Section;
use crate::calls::rows::set_up;
use crate::calls::sip::audio::Side;
use crate::calls::sip::caller::Begins;
use crate::calls::site;
use crate::calls::stats::{Interval, Spread};
use crate::calls::talks::{Continuity, Flow, Party, Wanted, talks};
use crate::harness::node::Node;
use crate::harness::site::Site;

/// So many talks at a time.
const TALKS: [u16; 2] = [50, 100];
/// Calls begun in a second.
const PER_SECOND: f64 = 25.0;
/// How long after the last call has begun all have been answered and are at rest, and how long the figures' reading may take.
const SETTLE: Duration = Duration::from_secs(2);
/// Every caller talks at once.
const AT_ONCE: &[Begins] = &[Some(Duration::ZERO)];
/// Nobody's times are looked at: as often as an end sends itself.
const LOOK: Duration = Duration::from_millis(20);
/// The interval of a ratio is to be narrower than this part of it, to either side.
const NARROW: f64 = 0.05;
/// Fewer rounds say nothing of what lies between rounds.
const LEAST: usize = 3;

/// Who is measured, one of them at a time beside `Dial()`.
const FLOWS: [(Flow, &str); 2] = [(Flow::Rung, "CapConduit"), (Flow::Sounded, "CapConduit, after early media")];

/// What the rounds with one number of talks of one entrant came to.
#[derive(Debug, Default, Clone)]
struct Figures {
    /// Of each turn: Asterisk's CPU in ms for each second and talk.
    cpu: Vec<f64>,
    /// The same in all of the controller's process.
    controller: Vec<f64>,
    talks: usize,
    native: usize,
    sides: [Continuity; 2],
    failures: usize,
}

/// `Dial()` and the controller at the same time, each on an Asterisk of its own.
#[derive(Debug, Default, Clone)]
struct Duel {
    dial: Figures,
    ours: Figures,
    /// Of each round. Who has which Asterisk changes within it, so what lies between the two cancels out.
    ratios: Vec<f64>,
}

/// By flow and number of talks.
type Duels = [[Duel; TALKS.len()]; FLOWS.len()];

impl Duel {
    fn ratio(&self) -> Interval {
        Interval::of(&self.ratios)
    }
}

impl Figures {
    fn native(&self) -> f64 {
        self.native as f64 / self.talks as f64
    }

    fn last(&self) -> f64 {
        self.cpu.last().copied().unwrap_or(f64::NAN)
    }
}

/// CPU, native bridges and continuity of talks.
pub(crate) async fn media(contest: &mut Contest, wanted: set_up::Wanted, most: usize) -> Section {
    let mut all = Duels::default();
    let (mut rounds, seconds) = (0, Duration::from_secs(wanted.seconds as u64));
    // Not counted: caches fill, pages are touched.
    for (flow, _) in FLOWS {
        round(contest, flow, TALKS[0], Duration::from_secs(1), &mut Duel::default()).await;
    }
    while rounds < most && !(rounds >= LEAST && is_narrow(&all)) {
        for n in 0..TALKS.len() * FLOWS.len() {
            let (flow, size) = (n % FLOWS.len(), n / FLOWS.len());
            round(contest, FLOWS[flow].0, TALKS[size], seconds, &mut all[flow][size]).await;
        }
        rounds += 1;
        println!("bench:   round {rounds} of at most {most}: {}", ratios(&all));
    }
    section(&all, (rounds, most, wanted.seconds))
}

fn is_narrow(all: &Duels) -> bool {
    all.iter().flatten().all(|duel| duel.ratio().is_within(NARROW))
}

fn ratios(all: &Duels) -> String {
    all.iter().flatten().map(|duel| duel.ratio().told(3)).collect::<Vec<_>>().join(", ")
}

/// Two turns, the second with the Asterisks exchanged.
async fn round(contest: &mut Contest, flow: Flow, calls: u16, length: Duration, duel: &mut Duel) {
    let mut product = 1.0;
    let [one, other] = contest.pair();
    for sites in [[one, other], [other, one]] {
        turn(contest, sites, (flow, calls), length, duel).await;
        product *= duel.ours.last() / duel.dial.last();
    }
    duel.ratios.push(product.sqrt());
}

/// So many talks of each at the same time, for so long.
async fn turn(contest: &mut Contest, sites: [usize; 2], (flow, calls): (Flow, u16), length: Duration, duel: &mut Duel) {
    let set_up = Duration::from_secs_f64(f64::from(calls) / PER_SECOND);
    let (per_second, talk) = (PER_SECOND, set_up + SETTLE + length + SETTLE);
    let wanted = Wanted { calls, per_second, talk, begins: AT_ONCE, look: LOOK };
    let ways = [(Way::Static, Flow::Rung), (Way::Controller, flow)];
    let party = |n: usize| Party { who: contest.on(sites[n], ways[n].0), flow: ways[n].1 };
    let parties = [party(0), party(1)];
    let meanwhile = async |sites: &mut [&mut Site; 2]| {
        sleep(set_up + SETTLE).await;
        let (before, from) = (sites.each_mut().map(|site| site::cpu(site)), Instant::now());
        sleep(length).await;
        let (after, took) = (sites.each_mut().map(|site| site::cpu(site)), from.elapsed());
        let part = |used: Duration| used.as_secs_f64() * 1e3 / took.as_secs_f64();
        let used = |n: usize| (part(after[n].0 - before[n].0), part(after[n].1 - before[n].1));
        let bridges = [native(&sites[0].nodes[0]).await, native(&sites[1].nodes[0]).await];
        [(used(0), bridges[0]), (used(1), bridges[1])]
    };
    let (talks, used) = talks(contest, parties.each_ref(), wanted, meanwhile).await;
    let figures = [&mut duel.dial, &mut duel.ours];
    for (((figures, talks), ((asterisk, controller), native)), party) in
        figures.into_iter().zip(&talks).zip(used).zip(&parties)
    {
        let answered = talks.answered();
        if native.1 != answered {
            println!("bench:   {}: {} bridges of two for {answered} talks", party.who.name, native.1);
        }
        figures.cpu.push(asterisk / answered as f64);
        figures.controller.push(controller);
        figures.talks += answered;
        figures.native += native.0;
        figures.failures += talks.calls.len() - answered;
        for (side, all) in [Side::Caller, Side::Centre].into_iter().zip(&mut figures.sides) {
            *all = all.and(talks.continuity(side));
        }
    }
}

/// Of the bridges with two channels: those that hand packets on as they are, and all.
async fn native(node: &Node) -> (usize, usize) {
    let bridges = node.get("bridges").await.expect("Asterisk lists its bridges");
    let of_two: Vec<_> = bridges
        .as_array()
        .into_iter()
        .flatten()
        .filter(|bridge| bridge["channels"].as_array().is_some_and(|channels| channels.len() == 2))
        .collect();
    (of_two.iter().filter(|bridge| bridge["technology"] == "native_rtp").count(), of_two.len())
}

fn section(all: &Duels, (rounds, most, seconds): (usize, usize, usize)) -> Section {
    let how = format!(
        "Asterisk's CPU in ms for each second and talk (user and system, from /proc; set-up excluded), G.711, 20 ms, both sides sending from the answer on, silent before it (with early media the call centre from its 183 on); answered after 0.3 s of ringing or 0.6 s of early media. \
         `Dial()` and the controller at the same time, so many talks of each, on two Asterisks of one kind, which they exchange for the second half of each round. {rounds} rounds of 2 x {seconds} s, until the 95 % interval of every ratio is narrower than ± 5 %, at most {most}. \
         \"Native\": talks whose bridge Asterisk lists as `native_rtp` while they talk. \
         \"Changed\": ends whose SSRC changed after their first packet. Lost: after the first packet that was heard. The bench's own parties run beside it on the same cores."
    );
    let head = [
        "contestant",
        "talks",
        "Asterisk",
        "× Dial(), 95 %",
        "native",
        "changed: callers",
        "call centres",
        "jumps",
        "lost of packets",
        "controller, ms/s in all",
        "failed",
    ];
    let mut section = Section::new("Audio: cost and continuity", &how, &head);
    for ((_, name), duels) in FLOWS.iter().zip(all) {
        for (talks, duel) in TALKS.into_iter().zip(duels) {
            section.line(line("Dial() beside it", talks, &duel.dial, None));
            section.line(line(name, talks, &duel.ours, Some(duel.ratio())));
        }
    }
    verdicts(&mut section, all);
    section
}

/// `ratio`: of the controller only.
fn line(name: &str, talks: u16, own: &Figures, ratio: Option<Interval>) -> [String; 11] {
    let [callers, centres] = own.sides;
    let both = callers.and(centres);
    let dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    [
        name.to_owned(),
        talks.to_string(),
        Spread::of(&own.cpu).told(2),
        dash(ratio.map(|ratio| ratio.told(3))),
        format!("{:.1} %", own.native() * 100.0),
        callers.changes(),
        centres.changes(),
        both.jumps.to_string(),
        format!("{} of {}", both.lost, both.packets),
        dash(ratio.map(|_| Spread::of(&own.controller).told(1))),
        own.failures.to_string(),
    ]
}

fn verdicts(section: &mut Section, all: &Duels) {
    for (talks, duel) in TALKS.into_iter().zip(&all[0]) {
        let (ratio, native) = (duel.ratio(), duel.ours.native());
        let told = if ratio.is_within(NARROW) { "" } else { " (the interval is wider than ± 5 %)" };
        section.verdict(
            &format!("{talks} talks: Asterisk's CPU at most 1.05 × Dial()'s"),
            format!("{}{told}", ratio.told(3)),
            ratio.mean <= 1.05,
        );
        section.verdict(
            &format!("{talks} talks: at least 95 % native"),
            format!("{:.1} %", native * 100.0),
            native >= 0.95,
        );
    }
    for ((_, name), duels) in FLOWS.iter().zip(all) {
        let both = duels.iter().flat_map(|duel| duel.ours.sides).fold(Continuity::default(), Continuity::and);
        section.verdict(
            &format!("{name}: no SSRC changes after an end's first packet, and no jump within one"),
            format!("{} ends changed, {} jumps", both.changes(), both.jumps),
            both.changed == 0 && both.jumps == 0 && both.ends > 0,
        );
    }
}
