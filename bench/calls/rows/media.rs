//! What audio costs Asterisk, and whether it is one stream: the controller beside the dialplan's own `Dial()` on the same Asterisk.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::calls::contest::{Contest, Contestant};
use crate::calls::report::Section;
use crate::calls::rows::set_up;
use crate::calls::sip::audio::Side;
use crate::calls::sip::caller::Begins;
use crate::calls::site;
use crate::calls::stats::{Interval, Spread};
use crate::calls::talks::{Continuity, Flow, Wanted, talks};
use crate::harness::node::Node;

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

/// Who is measured: `Dial()` first.
struct Entrant {
    name: &'static str,
    who: Contestant,
    flow: Flow,
}

/// What the rounds with one number of talks of one entrant came to.
#[derive(Debug, Default, Clone)]
struct Figures {
    /// Of each round: Asterisk's CPU in ms for each second and talk.
    cpu: Vec<f64>,
    /// The same less that of the controller's process.
    controller: Vec<f64>,
    talks: usize,
    native: usize,
    sides: [Continuity; 2],
    failures: usize,
}

impl Figures {
    fn ratio(&self, to: &Self) -> Interval {
        Interval::of(&self.cpu.iter().zip(&to.cpu).map(|(own, its)| own / its).collect::<Vec<_>>())
    }

    fn native(&self) -> f64 {
        self.native as f64 / self.talks as f64
    }
}

fn entrants(contest: &Contest) -> [Entrant; 3] {
    let dial = contest.contestants.iter().find(|who| who.is_static()).expect("Dial()").clone();
    let ours = contest.contestants.iter().find(|who| who.is_ours()).expect("a controller").clone();
    [
        Entrant { name: "Dial()", who: dial, flow: Flow::Rung },
        Entrant { name: "CapConduit", who: ours.clone(), flow: Flow::Rung },
        Entrant { name: "CapConduit, after early media", who: ours, flow: Flow::Sounded },
    ]
}

/// CPU, native bridges and continuity of talks.
pub(crate) async fn media(contest: &mut Contest, wanted: set_up::Wanted, most: usize) -> Section {
    let entrants = entrants(contest);
    let mut all: [[Figures; TALKS.len()]; 3] = Default::default();
    for entrant in &entrants {
        // Not counted: caches fill, pages are touched.
        turn(contest, entrant, TALKS[0], Duration::from_secs(1), &mut Figures::default()).await;
    }
    let mut rounds = 0;
    while rounds < most && !(rounds >= LEAST && is_narrow(&all)) {
        for n in 0..TALKS.len() * entrants.len() {
            // Nobody is always the one after the same neighbour.
            let (size, n) = ((n / entrants.len() + rounds) % TALKS.len(), (n + rounds) % entrants.len());
            let seconds = Duration::from_secs(wanted.seconds as u64);
            turn(contest, &entrants[n], TALKS[size], seconds, &mut all[n][size]).await;
        }
        rounds += 1;
        println!("bench:   round {rounds} of at most {most}: {}", ratios(&all));
    }
    section(&entrants, &all, (rounds, most, wanted.seconds))
}

fn is_narrow(all: &[[Figures; TALKS.len()]; 3]) -> bool {
    let [dial, ours @ ..] = all;
    ours.iter().flat_map(|figures| figures.iter().zip(dial)).all(|(own, its)| own.ratio(its).is_within(NARROW))
}

fn ratios(all: &[[Figures; TALKS.len()]; 3]) -> String {
    let [dial, ours @ ..] = all;
    let told = ours.iter().flat_map(|figures| figures.iter().zip(dial)).map(|(own, its)| own.ratio(its).told(3));
    told.collect::<Vec<_>>().join(", ")
}

/// So many talks for so long.
async fn turn(contest: &mut Contest, entrant: &Entrant, calls: u16, length: Duration, figures: &mut Figures) {
    let set_up = Duration::from_secs_f64(f64::from(calls) / PER_SECOND);
    let (per_second, talk) = (PER_SECOND, set_up + SETTLE + length + SETTLE);
    let wanted = Wanted { flow: entrant.flow, calls, per_second, talk, begins: AT_ONCE, look: LOOK };
    let meanwhile = async |site: &mut crate::harness::site::Site| {
        sleep(set_up + SETTLE).await;
        let (before, from) = (site::cpu(site), Instant::now());
        sleep(length).await;
        let (after, took) = (site::cpu(site), from.elapsed());
        let native = native(&site.nodes[0]).await;
        let part = |used: Duration| used.as_secs_f64() * 1e3 / took.as_secs_f64();
        (part(after.0 - before.0), part(after.1 - before.1), native)
    };
    let (talks, (asterisk, controller, native)) = talks(contest, &entrant.who, wanted, meanwhile).await;
    let answered = talks.answered();
    if native.1 != answered {
        println!("bench:   {}: {} bridges of two for {answered} talks", entrant.name, native.1);
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

fn section(
    entrants: &[Entrant; 3],
    all: &[[Figures; TALKS.len()]; 3],
    (rounds, most, seconds): (usize, usize, usize),
) -> Section {
    let how = format!(
        "Asterisk's CPU in ms for each second and talk (user and system, from /proc; set-up excluded), G.711, 20 ms, both sides sending from the answer on, silent before it (with early media the call centre from its 183 on); answered after 0.3 s of ringing or 0.6 s of early media. \
         {rounds} rounds of {seconds} s each in turns, until the 95 % interval of the ratio to `Dial()` in the same round is narrower than ± 5 %, at most {most}. First site only: audio does not pass through the controller. \"Native\": talks whose bridge Asterisk lists as `native_rtp` while they talk. \
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
    for (size, talks) in TALKS.into_iter().enumerate() {
        for (entrant, figures) in entrants.iter().zip(all) {
            section.line(line(entrant, talks, &figures[size], &all[0][size]));
        }
    }
    verdicts(&mut section, entrants, all);
    section
}

fn line(entrant: &Entrant, talks: u16, own: &Figures, dial: &Figures) -> [String; 11] {
    let [callers, centres] = own.sides;
    let both = callers.and(centres);
    let ours = entrant.who.is_ours();
    let dash = |text: String| if ours { text } else { "–".to_owned() };
    [
        entrant.name.to_owned(),
        talks.to_string(),
        Spread::of(&own.cpu).told(2),
        dash(own.ratio(dial).told(3)),
        format!("{:.1} %", own.native() * 100.0),
        callers.changes(),
        centres.changes(),
        both.jumps.to_string(),
        format!("{} of {}", both.lost, both.packets),
        dash(Spread::of(&own.controller).told(1)),
        own.failures.to_string(),
    ]
}

fn verdicts(section: &mut Section, entrants: &[Entrant; 3], all: &[[Figures; TALKS.len()]; 3]) {
    let [dial, ours, early] = all;
    for (size, talks) in TALKS.into_iter().enumerate() {
        let ratio = ours[size].ratio(&dial[size]);
        let told = if ratio.is_within(NARROW) { "" } else { " (the interval is wider than ± 5 %)" };
        section.verdict(
            &format!("{talks} talks: Asterisk's CPU at most 1.05 × Dial()'s"),
            format!("{}{told}", ratio.told(3)),
            ratio.mean <= 1.05,
        );
        let native = ours[size].native();
        section.verdict(
            &format!("{talks} talks: at least 95 % native"),
            format!("{:.1} %", native * 100.0),
            native >= 0.95,
        );
    }
    for (entrant, figures) in entrants.iter().zip([dial, ours, early]).skip(1) {
        let both = figures.iter().flat_map(|one| one.sides).fold(Continuity::default(), Continuity::and);
        section.verdict(
            &format!("{}: no SSRC changes after an end's first packet, and no jump within one", entrant.name),
            format!("{} ends changed, {} jumps", both.changes(), both.jumps),
            both.changed == 0 && both.jumps == 0 && both.ends > 0,
        );
    }
}
