//! The highest rate at which calls are set up as they should, and what becomes of twice that.

use std::time::Duration;

use crate::calls::contest::{Block, Contest, Contestant};
use crate::calls::report::Section;
use crate::calls::site::ANSWERED;
use crate::calls::stats::{Spread, percentile};

const TALK: Duration = Duration::from_millis(500);
/// The first rate that is tried, in calls a second.
const FIRST: f64 = 60.0;
/// Each rate is this much higher than the one before.
const STEP: f64 = 1.15;
const SECONDS: usize = 6;

fn holds(block: &Block) -> bool {
    let failed = block.failures() as f64 / block.calls.len() as f64;
    failed < 0.001 && percentile(&mut block.set_ups(), 0.99) < 250.0
}

/// The highest rate that holds.
async fn highest(contest: &mut Contest, who: &Contestant) -> f64 {
    let (mut best, mut rate, mut missed) = (0.0, FIRST, 0);
    while missed < 2 {
        let block = contest.block(who, ANSWERED, ((rate * SECONDS as f64) as usize, rate), TALK).await;
        contest.centres.alpha.take();
        if holds(&block) {
            (best, missed) = (rate, 0);
        } else {
            missed += 1;
        }
        rate *= STEP;
    }
    best
}

/// Ceilings, and goodput at twice of each.
pub(crate) async fn ceiling(contest: &mut Contest, rounds: usize) -> Section {
    let how = format!(
        "The highest rate, in steps of {:.0} %, {SECONDS} s each, with less than 0.1 % of the calls failed and p99 of the set-up below 250 ms; then twice that rate: calls answered in a second. {rounds} rounds in turns.",
        (STEP - 1.0) * 100.0
    );
    let mut section = Section::new(
        "Highest rate",
        &how,
        &["contestant", "calls/s", "of Dial()'s", "offered twice that: answered/s", "of the highest rate"],
    );
    let contestants = contest.contestants.clone();
    let mut all = vec![(Vec::new(), Vec::new()); contestants.len()];
    for _ in 0..rounds {
        for (n, who) in contestants.iter().enumerate() {
            let best = highest(contest, who).await;
            let rate = 2.0 * best;
            let block = contest.block(who, ANSWERED, ((rate * SECONDS as f64) as usize, rate), TALK).await;
            contest.centres.alpha.take();
            all[n].0.push(best);
            all[n].1.push(block.set_ups().len() as f64 / SECONDS as f64 / best);
            println!("bench:   {}: {best:.0} calls/s", who.name);
        }
    }
    for (n, who) in contestants.iter().enumerate() {
        let fixed = &all[who.fixed].0;
        let rate = Spread::of(&all[n].0);
        let share = Spread::of(&all[n].0.iter().zip(fixed).map(|(a, b)| a / b).collect::<Vec<_>>());
        let good = Spread::of(&all[n].1);
        let answered = Spread::of(&all[n].0.iter().zip(&all[n].1).map(|(a, b)| a * b).collect::<Vec<_>>());
        section.line([who.name.clone(), rate.told(0), share.told(2), answered.told(0), good.told(2)]);
        if who.is_ours() {
            section.verdict(&format!("{}: at least 65 % of Dial()'s", who.name), share.told(2), share.median >= 0.65);
            section.verdict(
                &format!("{}: at twice that, at least 90 % of the highest rate", who.name),
                good.told(2),
                good.median >= 0.9,
            );
        }
    }
    section
}
