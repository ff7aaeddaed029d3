//! How soon after one client's busy answer the next one rings.

use std::collections::HashMap;
use std::time::Duration;

use crate::calls::contest::Contest;
use crate::calls::report::Section;
use crate::calls::rows::set_up::Wanted;
use crate::calls::site::FAILED_OVER;
use crate::calls::stats::{Spread, percentile};

/// 20 calls a second that a busy client refuses first.
pub(crate) async fn failover(contest: &mut Contest, wanted: Wanted) -> Section {
    let how = format!(
        "From the 486 of one client to the INVITE at the next in ms, 20 calls/s, {} rounds of {} s each in turns.",
        wanted.rounds, wanted.seconds
    );
    let mut section = Section::new("Failover", &how, &["contestant", "p50", "p99", "not followed"]);
    let controllers: Vec<_> = contest.contestants.iter().filter(|who| who.is_ours()).cloned().collect();
    let mut all = vec![(Vec::new(), Vec::new(), 0); controllers.len()];
    for _ in 0..wanted.rounds {
        for (n, who) in controllers.iter().enumerate() {
            drop((contest.centres.busy.take(), contest.centres.alpha.take()));
            contest.block(who, FAILED_OVER, (wanted.seconds * 20, 20.0), Duration::from_millis(300)).await;
            let refused: HashMap<String, _> =
                contest.centres.busy.take().into_iter().map(|rung| (rung.number, rung.answered)).collect();
            let next = contest.centres.alpha.take();
            let mut gaps: Vec<Duration> =
                next.iter().filter_map(|rung| Some(rung.at - *refused.get(&rung.number)?)).collect();
            all[n].2 += refused.len() - gaps.len();
            all[n].0.push(percentile(&mut gaps, 0.5));
            all[n].1.push(percentile(&mut gaps, 0.99));
        }
    }
    for (who, (p50, p99, missing)) in controllers.iter().zip(&all) {
        let p99 = Spread::of(p99);
        section.line([who.name.clone(), Spread::of(p50).told(2), p99.told(2), missing.to_string()]);
        section.verdict(&format!("{}: p99 at most 15 ms", who.name), format!("{} ms", p99.told(2)), p99.median <= 15.0);
    }
    section
}
