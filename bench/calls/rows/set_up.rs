//! From INVITE to 200, and what it costs: the controller beside the dialplan's own `Dial()` on the same Asterisk.

use std::time::Duration;

use crate::calls::contest::{Block, Contest, Contestant, Way};
use crate::calls::plot::{self, Bar, Curve};
use crate::calls::report::Section;
use crate::calls::site::ANSWERED;
use crate::calls::stats::{Spread, percentile, quantiles};

const TALK: Duration = Duration::from_millis(500);

/// How long, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Rounds, in each of which every contestant has its turn.
    pub(crate) rounds: usize,
    /// Seconds of calls in each turn.
    pub(crate) seconds: usize,
}

/// What the rounds of one contestant came to.
#[derive(Debug, Default, Clone)]
struct Figures {
    p50: Vec<f64>,
    p99: Vec<f64>,
    asterisk: Vec<f64>,
    controller: Vec<f64>,
    failures: usize,
    /// Of each call, in milliseconds.
    set_ups: Vec<f64>,
}

impl Figures {
    fn add(&mut self, block: &Block) {
        let mut set_ups = block.set_ups();
        self.p50.push(percentile(&mut set_ups, 0.5));
        self.p99.push(percentile(&mut set_ups, 0.99));
        self.asterisk.push(block.per_call(block.asterisk));
        self.controller.push(block.per_call(block.controller));
        self.failures += block.failures();
        self.set_ups.extend(set_ups.iter().map(|took| took.as_secs_f64() * 1e3));
    }
}

async fn rounds(contest: &mut Contest, contestants: &[Contestant], wanted: Wanted, per_second: usize) -> Vec<Figures> {
    let mut all = vec![Figures::default(); contestants.len()];
    // Not counted: caches fill, pages are touched.
    for who in contestants {
        contest.block(who, ANSWERED, (per_second, per_second as f64), TALK).await;
    }
    for round in 0..wanted.rounds {
        for n in 0..contestants.len() {
            // Nobody is always the one after the same neighbour.
            let n = (n + round) % contestants.len();
            let size = (wanted.seconds * per_second, per_second as f64);
            let block = contest.block(&contestants[n], ANSWERED, size, TALK).await;
            contest.centres.alpha.take();
            all[n].add(&block);
        }
    }
    all
}

/// Value less, or by, that of the site's own `Dial()` in the same round.
fn paired(values: &[f64], fixed: &[f64], with: impl Fn(f64, f64) -> f64) -> Spread {
    Spread::of(&values.iter().zip(fixed).map(|(a, b)| with(*a, *b)).collect::<Vec<_>>())
}

/// INVITE to 200 at 20 calls a second.
pub(crate) async fn latency(contest: &mut Contest, wanted: Wanted) -> Section {
    let contestants = contest.with_other();
    let all = rounds(contest, &contestants, wanted, 20).await;
    let how = format!(
        "INVITE to 200 OK at the caller in ms, 20 calls/s, answered at once, {} rounds of {} s each in turns; early media possible. \"Added\" is to `Dial()` on the same Asterisk in the same round, that of the replaced design, which has an Asterisk of its own, to the first.",
        wanted.rounds, wanted.seconds
    );
    let mut section =
        Section::new("Set-up time", &how, &["contestant", "p50", "p99", "p50 added", "p99 added", "failed"]);
    for (n, who) in contestants.iter().enumerate() {
        let fixed = &all[who.fixed];
        let (p50, p99) = (&all[n].p50, &all[n].p99);
        let added = (paired(p50, &fixed.p50, |a, b| a - b), paired(p99, &fixed.p99, |a, b| a - b));
        let dash = |text: String| if who.is_static() { "–".to_owned() } else { text };
        section.line([
            who.name.clone(),
            Spread::of(p50).told(2),
            Spread::of(p99).told(2),
            dash(added.0.told(2)),
            dash(added.1.told(2)),
            all[n].failures.to_string(),
        ]);
        if who.is_ours() {
            section.verdict(
                &format!("{}: p50 added at most 2.5 ms", who.name),
                format!("{} ms", added.0.told(2)),
                added.0.median <= 2.5,
            );
            section.verdict(
                &format!("{}: p99 added at most 10 ms", who.name),
                format!("{} ms", added.1.told(2)),
                added.1.median <= 10.0,
            );
        }
    }
    compare(&mut section, &contestants, &all);
    // Without the replaced design, beside which all others would lie on the axis.
    section.plot("distribution", plot::distribution(&curves(&contest.contestants, &all), "INVITE to 200 OK, ms"));
    section
}

/// This build less another one, on another Asterisk, in the same round.
fn compare(section: &mut Section, contestants: &[Contestant], all: &[Figures]) {
    let find = |way: Way| contestants.iter().position(|who| who.way == way);
    let Some((ours, other)) = find(Way::Controller).zip(find(Way::Other)) else { return };
    let more = |of: fn(&Figures) -> &[f64]| paired(of(&all[ours]), of(&all[other]), |a, b| a - b);
    let (p50, p99) = (more(|figures| &figures.p50), more(|figures| &figures.p99));
    section.verdict(
        &format!("{}: p50 at most 2.5 ms over that of {}", contestants[ours].name, contestants[other].name),
        format!("{} ms; p99 {} ms", p50.told(2), p99.told(2)),
        p50.median <= 2.5,
    );
}

fn curves(contestants: &[Contestant], all: &[Figures]) -> Vec<Curve> {
    let curve = |(who, figures): (&Contestant, &Figures)| Curve {
        name: who.name.clone(),
        colour: who.site,
        thin: who.is_static(),
        points: quantiles(&figures.set_ups),
    };
    contestants.iter().zip(all).map(curve).collect()
}

/// CPU at 100 calls a second.
pub(crate) async fn cpu(contest: &mut Contest, wanted: Wanted) -> Section {
    let contestants = contest.contestants.clone();
    let all = rounds(contest, &contestants, wanted, 100).await;
    let how = format!(
        "CPU time in ms for each call (user and system, from /proc), 100 calls/s of {} ms, {} rounds of {} s each in turns. Caller and call centres run beside it on the same cores.",
        TALK.as_millis(),
        wanted.rounds,
        wanted.seconds
    );
    let mut section = Section::new(
        "CPU",
        &how,
        &["contestant", "Asterisk", "× Dial()", "controller", "p50 set-up, ms", "p99", "failed"],
    );
    for (n, who) in contest.contestants.iter().enumerate() {
        let fixed = &all[who.fixed];
        let ratio = paired(&all[n].asterisk, &fixed.asterisk, |a, b| a / b);
        let controller = Spread::of(&all[n].controller);
        section.line([
            who.name.clone(),
            Spread::of(&all[n].asterisk).told(2),
            ratio.told(2),
            if who.is_ours() { controller.told(2) } else { "–".to_owned() },
            Spread::of(&all[n].p50).told(2),
            Spread::of(&all[n].p99).told(2),
            all[n].failures.to_string(),
        ]);
        if who.is_ours() {
            section.verdict(
                &format!("{}: Asterisk's CPU at most 1.45 × Dial()'s", who.name),
                ratio.told(2),
                ratio.median <= 1.45,
            );
            section.verdict(
                &format!("{}: controller at most 0.35 ms", who.name),
                format!("{} ms", controller.told(2)),
                controller.median <= 0.35,
            );
        }
    }
    let bars = bars(&contest.contestants, &all);
    section.plot("per-call", plot::bars(&bars, ["Asterisk", "controller"], "CPU time for each call, ms"));
    section
}

fn bars(contestants: &[Contestant], all: &[Figures]) -> Vec<Bar> {
    let bar = |(who, figures): (&Contestant, &Figures)| {
        // `Dial()` has no controller: what the idle one uses meanwhile is not its.
        let controller = if who.is_ours() { figures.controller.clone() } else { vec![0.0; figures.asterisk.len()] };
        let whole: Vec<f64> = figures.asterisk.iter().zip(&controller).map(|(a, b)| a + b).collect();
        let parts = [Spread::of(&figures.asterisk).median, Spread::of(&controller).median];
        let Spread { least, most, .. } = Spread::of(&whole);
        Bar { name: who.name.clone(), parts, least, most }
    };
    contestants.iter().zip(all).map(bar).collect()
}
