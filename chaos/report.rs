//! What a run came to, for people.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::load::Cap;
use super::run::Outcome;
use super::witness::Seen;

/// How many of a kind are named; the rest is counted.
const NAMED: usize = 12;

impl Outcome {
    /// What must be nothing, each with what was found.
    pub(crate) fn must_be_zero(&self) -> Vec<(&'static str, &[String])> {
        let mut all = self.findings.must_be_zero();
        all.extend([("left over at the end", &self.left[..]), ("panics", &self.panics[..])]);
        all
    }

    /// Whether all of it is nothing.
    pub(crate) fn is_clean(&self) -> bool {
        self.must_be_zero().iter().all(|(_, found)| found.is_empty())
    }

    /// The whole report.
    pub(crate) fn report(&self) -> String {
        let mut text = String::new();
        let _always = self.write(&mut text); // a string takes everything
        text
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let (evidence, findings) = (&self.evidence, &self.findings);
        writeln!(out, "seed {}, {} s of calls, {} faults\n", self.seed, self.lasted.as_secs(), self.events.len())?;
        self.write_events(out)?;
        let talked = evidence.calls.iter().filter(|call| call.answered.is_some()).count();
        writeln!(
            out,
            "\ncalls of the carrier's   {:>6}   answered {talked}; told: {}",
            evidence.calls.len(),
            tally(evidence.calls.iter())
        )?;
        writeln!(out, "legs at call centres     {:>6}", evidence.legs.len())?;
        let mut endings = BTreeMap::<&str, usize>::new();
        evidence.rows.iter().for_each(|row| *endings.entry(&row.ending).or_default() += 1);
        writeln!(out, "records                  {:>6}   {}", evidence.rows.len(), counted(endings))?;
        writeln!(out, "fallback's lines         {:>6}", evidence.spooled.len())?;
        writeln!(out, "talks compared           {:>6}", findings.compared)?;
        writeln!(out, "ends declared uncertain  {:>6}   the widest by {:.1} s", findings.uncertain, findings.widest)?;
        writeln!(
            out,
            "died with Asterisk       {:>6}   talking; without a record: {}",
            findings.died_talking,
            findings.died.len()
        )?;
        writeln!(out, "never heard by Asterisk  {:>6}\n", findings.unheard)?;
        writeln!(out, "cap                                          limit   most seen")?;
        for (cap, most) in &findings.peaks {
            let (what, limit) = match cap {
                Cap::Link(campaign, client, n) => (format!("{campaign} to {client}, at once"), n),
                Cap::Client(client, n) => (format!("{client}, at once"), n),
                Cap::Campaign(campaign, n) => (format!("{campaign}, at once"), n),
                Cap::Total(campaign, client, n) => (format!("{campaign} to {client}, answered ever"), n),
            };
            writeln!(out, "{what:<44} {limit:>5} {most:>11}")?;
        }
        writeln!(out)?;
        for (what, found) in self.must_be_zero() {
            writeln!(out, "{what:<40} {:>6}{}", found.len(), if found.is_empty() { "" } else { "   <- must be 0" })?;
            for one in found.iter().take(NAMED) {
                writeln!(out, "    {one}")?;
            }
            if found.len() > NAMED {
                writeln!(out, "    and {} more", found.len() - NAMED)?;
            }
        }
        Ok(())
    }

    fn write_events(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "  after   at            ready again   what")?;
        for event in &self.events {
            let ready = event.ready_after.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()));
            let mut told = event.told.clone();
            if event.restarts > 0 {
                let _always = write!(told, " (it ended by itself, {} starts)", event.restarts);
            }
            let at = event.at.format("%H:%M:%S%.3f");
            writeln!(out, "{:>6.1} s  {at} {ready:>12}   {} {told}", event.after.as_secs_f64(), event.fault)?;
        }
        Ok(())
    }
}

/// `12 x 200, 3 x 486`.
pub(super) fn tally<'a>(calls: impl Iterator<Item = &'a Seen>) -> String {
    let mut counts = BTreeMap::<String, usize>::new();
    for call in calls {
        *counts.entry(call.status.map_or("nothing".to_owned(), |status| status.to_string())).or_default() += 1;
    }
    counts.iter().map(|(word, n)| format!("{n} x {word}")).collect::<Vec<_>>().join(", ")
}

fn counted(words: BTreeMap<&str, usize>) -> String {
    words.iter().map(|(word, n)| format!("{n} {word}")).collect::<Vec<_>>().join(", ")
}
