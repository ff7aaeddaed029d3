//! How soon the caller hears the call centre after its answer, whatever the caller itself sends.

use std::time::Duration;

use crate::calls::contest::{Contest, Contestant};
use crate::calls::report::Section;
use crate::calls::rows::set_up;
use crate::calls::sip::audio::{Heard, Side, TICK};
use crate::calls::sip::caller::Begins;
use crate::calls::stats::percentile;
use crate::calls::talks::{Continuity, Flow, Party, Talks, Wanted, talks};
use crate::harness::ua::continuity::of;

/// When the caller's audio begins after its 200.
const BEGINS: &[Begins] =
    &[Some(Duration::ZERO), Some(Duration::from_millis(60)), Some(Duration::from_millis(150)), None];
const PER_SECOND: usize = 10;
/// Longer than Asterisk waits for a caller's first packet.
const TALK: Duration = Duration::from_millis(1500);
/// A turn's calls at most: what the generator has ends for.
const MOST: usize = 120;
/// What is to be reached.
const SOON: Duration = Duration::from_millis(40);

/// Of calls that begin alike.
#[derive(Debug, Default, Clone)]
struct Figures {
    took: Vec<Duration>,
    /// Answered, and nothing was heard.
    deaf: usize,
}

impl Figures {
    fn calls(&self) -> usize {
        self.took.len() + self.deaf
    }

    fn late(&self) -> usize {
        self.took.iter().filter(|took| **took > SOON).count() + self.deaf
    }
}

/// Of one contestant and flow: by when the caller begins, and how continuous it was at either end.
#[derive(Debug, Default, Clone)]
struct Lane {
    figures: [Figures; BEGINS.len()],
    sides: [Continuity; 2],
}

/// First audio after the answer.
pub(crate) async fn first_audio(contest: &mut Contest, wanted: set_up::Wanted) -> Section {
    let find =
        |is: fn(&Contestant) -> bool| contest.contestants.iter().find(|who| is(who)).expect("one of each").clone();
    let (dial, ours) = (find(Contestant::is_static), find(Contestant::is_ours));
    let party = |who: &Contestant, flow| Party { who: who.clone(), flow };
    let flows = [Flow::Rung, Flow::Sounded];
    let [[a, b], [c, d]] = flows.map(|flow| [party(&dial, flow), party(&ours, flow)]);
    let lanes = [a, b, c, d];
    let mut all: [Lane; 4] = Default::default();
    let calls = (wanted.seconds * PER_SECOND).min(MOST) / BEGINS.len() * BEGINS.len();
    for round in 0..wanted.rounds {
        for n in 0..lanes.len() {
            // Nobody is always the one after the same neighbour.
            let n = (n + round) % lanes.len();
            let per_second = PER_SECOND as f64;
            let block = Wanted { calls: calls as u16, per_second, talk: TALK, begins: BEGINS, look: TICK };
            let ([talked], ()) = talks(contest, [&lanes[n]], block, async |_| ()).await;
            all[n].add(&talked);
        }
    }
    section(&lanes, &all, (wanted.rounds, calls))
}

impl Lane {
    fn late(&self) -> usize {
        self.figures.iter().map(Figures::late).sum()
    }

    /// `at most 22.1 ms, 0 of 400 later or never`.
    fn told(&self) -> String {
        let most = self.figures.iter().flat_map(|figures| &figures.took).max().copied().unwrap_or_default();
        let calls: usize = self.figures.iter().map(Figures::calls).sum();
        format!("at most {:.1} ms, {} of {calls} later or never", most.as_secs_f64() * 1e3, self.late())
    }

    fn add(&mut self, talks: &Talks) {
        for (n, call) in talks.calls.iter().enumerate().filter(|(_, call)| call.set_up().is_some()) {
            let figures = &mut self.figures[n % BEGINS.len()];
            let end = |side: Side| talks.heard.iter().find(|end| end.side == side && end.talk == call.number);
            match end(Side::Caller).zip(end(Side::Centre)).and_then(|(caller, centre)| took(caller, centre)) {
                Some(took) => figures.took.push(took),
                None => figures.deaf += 1,
            }
        }
        for (side, all) in [Side::Caller, Side::Centre].into_iter().zip(&mut self.sides) {
            *all = all.and(talks.continuity(side));
        }
    }
}

/// From the call centre's 200 to the first packet at the caller that it sent after that.
fn took(caller: &Heard, centre: &Heard) -> Option<Duration> {
    let (answered, first) = centre.answered?;
    let heard = of(&caller.packets, centre.sender).find(|(_, n)| *n >= first);
    heard.map(|(packet, _)| packet.at.saturating_sub(answered))
}

fn section(lanes: &[Party; 4], all: &[Lane; 4], (rounds, calls): (usize, usize)) -> Section {
    let how = format!(
        "From the call centre's 200 OK to the first packet at the caller that the call centre sent after it, in ms (to 1 ms; after early media up to 20 ms of it are the call centre's own, until its next packet is due), by when the caller's own audio begins after it has got the 200. \
         {PER_SECOND} calls/s, {rounds} rounds of {calls} calls each in turns, a quarter of them each way. First site only. \"Changed\": ends whose SSRC changed after their first packet, of all four. \
         After early media Asterisk's core waits up to 500 ms for the caller's first packet before it hands anything on (`ast_answer()`): its time is told and not judged."
    );
    let head =
        ["contestant", "answered", "caller begins after", "p50", "most", "over 40", "of", "changed: callers, centres"];
    let mut section = Section::new("First audio after the answer", &how, &head);
    let mut dial = &all[0];
    for (Party { who, flow }, lane) in lanes.iter().zip(all) {
        for (begins, figures) in BEGINS.iter().zip(&lane.figures) {
            let mut took = figures.took.clone();
            let begins = begins.map_or_else(|| "never".to_owned(), |after| format!("{} ms", after.as_millis()));
            let [callers, centres] = lane.sides.map(Continuity::changes);
            section.line([
                who.name.clone(),
                flow.name().to_owned(),
                begins,
                format!("{:.1}", percentile(&mut took, 0.5)),
                format!("{:.1}", percentile(&mut took, 1.0)),
                figures.late().to_string(),
                figures.calls().to_string(),
                format!("{callers}, {centres}"),
            ]);
        }
        if who.is_static() {
            dial = lane;
        } else {
            verdicts(&mut section, *flow, lane, dial);
        }
    }
    section
}

fn verdicts(section: &mut Section, flow: Flow, lane: &Lane, dial: &Lane) {
    if flow == Flow::Rung {
        section.verdict(
            "answered without early media: heard within 40 ms of the call centre's 200, whenever the caller begins",
            format!("{} (Dial(): {})", lane.told(), dial.told()),
            lane.late() == 0,
        );
    }
    let [callers, centres] = lane.sides;
    section.verdict(
        &format!("answered {}: no SSRC changes after an end's first packet", flow.name()),
        format!("{} ends changed", callers.and(centres).changes()),
        callers.changed + centres.changed == 0 && callers.ends > 0,
    );
}
