//! The highest rate at which calls are set up as they should, and what becomes of twice that.

use std::time::Duration;

use tokio::time::sleep;

use crate::calls::contest::{Block, Contest, Contestant};
use crate::calls::plot::{self, Curve};
use crate::calls::report::Section;
use crate::calls::site::ANSWERED;
use crate::calls::stats::{Spread, percentile};

const TALK: Duration = Duration::from_millis(500);
/// The first rates that are tried, in calls a second: of the design before this one, and of all others.
const FIRST: (f64, f64) = (3.0, 60.0);
/// Each rate is this much higher than the one before.
const STEP: f64 = 1.15;
const SECONDS: usize = 6;
/// Or longer, until so many calls are made: of twenty, the slowest one would decide.
const CALLS: f64 = 100.0;
/// Between contestants: PJSIP keeps a transaction for 32 s (RFC 3261, timers B, H and J), and nobody is to carry another's.
const REST: Duration = Duration::from_secs(35);

/// A rate that was offered, and what became of it.
#[derive(Debug, Clone, Copy)]
struct Offered {
    rate: f64,
    /// Calls answered in a second.
    answered: f64,
    /// Those that were not, in percent.
    failed: f64,
}

/// What the rounds of one contestant came to.
#[derive(Debug, Default, Clone)]
struct Figures {
    /// The highest rates.
    best: Vec<f64>,
    /// At twice that, the part of the highest rate that was answered.
    good: Vec<f64>,
    offered: Vec<Offered>,
}

fn holds(block: &Block) -> bool {
    let failed = block.failures() as f64 / block.calls.len() as f64;
    failed < 0.001 && percentile(&mut block.set_ups(), 0.99) < 250.0
}

/// Calls at this rate.
async fn offer(contest: &mut Contest, who: &Contestant, rate: f64, figures: &mut Figures) -> (Block, Offered) {
    let seconds = (CALLS / rate).max(SECONDS as f64);
    let block = contest.block(who, ANSWERED, ((rate * seconds) as usize, rate), TALK).await;
    contest.centres.alpha.take();
    let answered = block.set_ups().len() as f64 / seconds;
    let failed = block.failures() as f64 / block.calls.len() as f64 * 100.0;
    let offered = Offered { rate, answered, failed };
    figures.offered.push(offered);
    (block, offered)
}

/// The highest rate that holds.
async fn highest(contest: &mut Contest, who: &Contestant, figures: &mut Figures) -> f64 {
    let first = if who.is_replaced() { FIRST.0 } else { FIRST.1 };
    let (mut best, mut rate, mut missed) = (0.0, first, 0);
    while missed < 2 {
        let (block, _) = offer(contest, who, rate, figures).await;
        if holds(&block) {
            (best, missed) = (rate, 0);
        } else {
            let p99 = percentile(&mut block.set_ups(), 0.99);
            println!(
                "bench:   {}: {rate:.1} calls/s are too many, p99 is {p99:.0} ms, {} failed",
                who.name,
                block.failures()
            );
            missed += 1;
        }
        rate *= STEP;
    }
    best
}

/// Ceilings, and goodput at twice of each.
pub(crate) async fn ceiling(contest: &mut Contest, rounds: usize) -> Section {
    let how = format!(
        "The highest rate, in steps of {:.0} %, {SECONDS} s each (longer where that were fewer than {CALLS} calls), with less than 0.1 % of the calls failed and p99 of the set-up below 250 ms; then twice that rate: calls answered in a second. {rounds} rounds in turns, with a rest of {} s before each turn.",
        (STEP - 1.0) * 100.0,
        REST.as_secs()
    );
    let mut section = Section::new(
        "Highest rate",
        &how,
        &["contestant", "calls/s", "of Dial()'s", "offered twice that: answered/s", "of the highest rate"],
    );
    let contestants = contest.everyone();
    let mut all = vec![Figures::default(); contestants.len()];
    for _ in 0..rounds {
        for (who, figures) in contestants.iter().zip(&mut all) {
            sleep(REST).await;
            let best = highest(contest, who, figures).await;
            // Nothing holds for one that takes no call at all.
            let good = if best > 0.0 { offer(contest, who, 2.0 * best, figures).await.1.answered / best } else { 0.0 };
            figures.best.push(best);
            figures.good.push(good);
            println!("bench:   {}: {best:.0} calls/s", who.name);
        }
    }
    let replaced = Spread::of(&all[contestants.len() - 1].best).median;
    for (n, who) in contestants.iter().enumerate() {
        let (figures, fixed) = (&all[n], &all[who.fixed].best);
        let rate = Spread::of(&figures.best);
        let share = Spread::of(&figures.best.iter().zip(fixed).map(|(a, b)| a / b).collect::<Vec<_>>());
        let good = Spread::of(&figures.good);
        let answered = Spread::of(&figures.best.iter().zip(&figures.good).map(|(a, b)| a * b).collect::<Vec<_>>());
        section.line([who.name.clone(), rate.told(0), share.told(2), answered.told(0), good.told(2)]);
        if who.is_ours() {
            let times = rate.median / replaced;
            let told = if replaced > 0.0 { format!("{times:.0} ×") } else { "it took no call".to_owned() };
            section.verdict(
                &format!("{}: at least 20 × the replaced design's", who.name),
                told,
                replaced > 0.0 && times >= 20.0,
            );
            section.verdict(&format!("{}: at least 65 % of Dial()'s", who.name), share.told(2), share.median >= 0.65);
            section.verdict(
                &format!("{}: at twice that, at least 90 % of the highest rate", who.name),
                good.told(2),
                good.median >= 0.9,
            );
        }
    }
    let answered = curves(&contestants, &all, |offered| offered.answered);
    section.plot("answered", plot::lines(&answered, ("offered, calls/s", "answered, calls/s")));
    let failed = curves(&contestants, &all, |offered| offered.failed);
    section.plot("failed", plot::lines(&failed, ("offered, calls/s", "not answered, % of the calls")));
    section
}

fn curves(contestants: &[Contestant], all: &[Figures], of: fn(&Offered) -> f64) -> Vec<Curve> {
    let curve = |(who, figures): (&Contestant, &Figures)| Curve {
        name: who.name.clone(),
        colour: who.site,
        thin: who.is_static(),
        points: medians(&figures.offered, of),
    };
    contestants.iter().zip(all).map(curve).collect()
}

/// Each rate with the median of the rounds: they climb the same steps.
fn medians(offered: &[Offered], of: fn(&Offered) -> f64) -> Vec<(f64, f64)> {
    let mut sorted = offered.to_vec();
    sorted.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    let steps = sorted.chunk_by(|a, b| a.rate.total_cmp(&b.rate).is_eq());
    steps.map(|step| (step[0].rate, Spread::of(&step.iter().map(of).collect::<Vec<_>>()).median)).collect()
}
