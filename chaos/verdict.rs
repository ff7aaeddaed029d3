//! Joins what was seen with what was written down, and names every difference.

use std::collections::{BTreeMap, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};

use super::ledger::{Count, Row};
use super::load::Cap;
use super::witness::Seen;

/// What may lie between two clocks, and between a message and its log line.
const SLACK: TimeDelta = TimeDelta::seconds(1);
/// Two call centres are two processes, each with its own delay before it writes a line.
const BETWEEN_PROCESSES: TimeDelta = TimeDelta::milliseconds(20);

/// Everything there is to judge by.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// The carrier's calls.
    pub(crate) calls: Vec<Seen>,
    /// The call centres' legs.
    pub(crate) legs: Vec<Seen>,
    /// The records.
    pub(crate) rows: Vec<Row>,
    /// SIP Call-IDs of the fallback's lines.
    pub(crate) spooled: Vec<String>,
    /// Every link's count.
    pub(crate) counts: Vec<Count>,
    /// When Asterisk died.
    pub(crate) deaths: Vec<DateTime<Utc>>,
    /// What may not be exceeded.
    pub(crate) caps: Vec<Cap>,
}

/// What was found; each text names one call or one cap.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Calls that came into the dialplan and have neither record nor line.
    pub(crate) lost: Vec<String>,
    /// Calls of which the fallback has left a line that did not become a record.
    pub(crate) not_imported: Vec<String>,
    /// Calls with more than one record.
    pub(crate) duplicate: Vec<String>,
    /// Records that no call of the carrier's belongs to.
    pub(crate) foreign: Vec<String>,
    /// Legs that a call centre saw and no attempt tells of.
    pub(crate) unwritten_dials: Vec<String>,
    /// Legs beyond a cap.
    pub(crate) overruns: Vec<String>,
    /// Records whose talk is not what the parties had.
    pub(crate) talk: Vec<String>,
    /// Talks that neither party ended, nor Asterisk's death.
    pub(crate) dropped: Vec<String>,
    /// Links whose count is not the number of its counted attempts.
    pub(crate) miscounted: Vec<String>,
    /// Calls without record that Asterisk took with it.
    pub(crate) died: Vec<String>,
    /// Talks that Asterisk took with it.
    pub(crate) died_talking: usize,
    /// Calls that Asterisk never answered in any way.
    pub(crate) unheard: usize,
    /// Records that declare an uncertain answer or end.
    pub(crate) uncertain: usize,
    /// The longest such uncertainty, in seconds.
    pub(crate) widest: f64,
    /// How many talks could be compared.
    pub(crate) compared: usize,
    /// The most calls at once or ever for each cap.
    pub(crate) peaks: Vec<(Cap, usize)>,
}

impl Findings {
    /// What must be nothing, each with what was found.
    pub(crate) fn must_be_zero(&self) -> Vec<(&'static str, &[String])> {
        vec![
            ("calls lost", &self.lost),
            ("lines of the fallback not imported", &self.not_imported),
            ("calls recorded more than once", &self.duplicate),
            ("records of no call", &self.foreign),
            ("dials without an attempt in a record", &self.unwritten_dials),
            ("caps exceeded", &self.overruns),
            ("talks off by more than 1 s", &self.talk),
            ("talks ended by neither party", &self.dropped),
            ("links miscounted", &self.miscounted),
        ]
    }

    /// Whether all of it is nothing.
    pub(crate) fn is_clean(&self) -> bool {
        self.must_be_zero().iter().all(|(_, found)| found.is_empty())
    }
}

/// Judges.
pub(crate) fn judge(evidence: &Evidence) -> Findings {
    let mut findings = Findings::default();
    accounts(evidence, &mut findings);
    dials(evidence, &mut findings);
    talks(evidence, &mut findings);
    caps(evidence, &mut findings);
    for count in evidence.counts.iter().filter(|count| count.current_total_calls != count.counted) {
        let Count { campaign, client, current_total_calls, counted } = count;
        findings
            .miscounted
            .push(format!("{campaign} to {client}: {current_total_calls} counted, {counted} attempts are"));
    }
    findings
}

/// Each call has one record; a line of the fallback says at least what became of it.
fn accounts(evidence: &Evidence, findings: &mut Findings) {
    let mut written: HashMap<&str, usize> = HashMap::new();
    for row in &evidence.rows {
        *written.entry(row.sip_call_id.as_deref().unwrap_or_default()).or_default() += 1;
    }
    let mut lines: HashSet<&str> = evidence.spooled.iter().map(String::as_str).collect();
    for call in &evidence.calls {
        let line = lines.remove(call.sip_call_id.as_str());
        match written.remove(call.sip_call_id.as_str()).unwrap_or(0) {
            1 => {}
            0 if line => findings.not_imported.push(told(call)),
            0 if call.status.is_none() => findings.unheard += 1,
            0 if call.died_at(&evidence.deaths).is_some() => findings.died.push(told(call)),
            0 => findings.lost.push(told(call)),
            n => findings.duplicate.push(format!("{n} times {}", told(call))),
        }
    }
    findings.foreign = written.into_iter().map(|(id, n)| format!("{n} records of {id:?}")).collect();
    findings.foreign.extend(lines.into_iter().map(|id| format!("a line of {id:?}")));
}

fn told(seen: &Seen) -> String {
    let time = |at: Option<DateTime<Utc>>| at.map_or("-".to_owned(), |at| at.format("%H:%M:%S%.3f").to_string());
    format!(
        "{} {} {}: began {}, answered {}, ended {}, last status {}",
        seen.by,
        seen.sip_call_id,
        seen.call,
        time(Some(seen.began)),
        time(seen.answered),
        time(seen.ended),
        seen.status.map_or("none".to_owned(), |status| status.to_string())
    )
}

/// Each leg has an attempt in its call's record.
fn dials(evidence: &Evidence, findings: &mut Findings) {
    let mut written: HashMap<(&str, &str), usize> = HashMap::new();
    for row in &evidence.rows {
        for attempt in &row.attempts {
            *written.entry((&row.call_id, &attempt.client_identifier)).or_default() += 1;
        }
    }
    for leg in evidence.legs.iter().filter(|leg| !leg.call.is_empty()) {
        match written.get_mut(&(leg.call.as_str(), leg.by.as_str())) {
            Some(n) if *n > 0 => *n -= 1,
            _ => findings.unwritten_dials.push(told(leg)),
        }
    }
}

/// What was talked is what is written, and only the parties end a talk.
fn talks(evidence: &Evidence, findings: &mut Findings) {
    let rows: HashMap<&str, &Row> =
        evidence.rows.iter().filter_map(|row| Some((row.sip_call_id.as_deref()?, row))).collect();
    let met = met(evidence);
    for call in &evidence.calls {
        let row = rows.get(call.sip_call_id.as_str());
        if let Some(row) = row {
            let declared = [row.answered_after.zip(row.answered_before), row.ended_after.zip(row.ended_before)];
            let widths = declared.into_iter().flatten().map(|(after, before)| (before - after).as_seconds_f64());
            if let Some(widest) = widths.reduce(f64::max) {
                findings.uncertain += 1;
                findings.widest = findings.widest.max(widest);
            }
            let leg = met.get(row.call_id.as_str()).copied();
            if let Some(why) = talk_is_off(call, leg, row, &evidence.deaths) {
                findings.talk.push(format!("{why}; {} ({})", told(call), row.ending));
            }
            findings.compared += usize::from(call.answered.is_some());
        }
        let Some(answered) = call.answered else { continue };
        if evidence.deaths.iter().any(|death| answered <= *death && call.over(&evidence.deaths) == Some(*death)) {
            findings.died_talking += 1;
            continue;
        }
        // Without a record, which is a finding by itself, nobody knows whose leg was whose.
        let Some(row) = row else { continue };
        let centre_hung_up = met.get(row.call_id.as_str()).is_some_and(|leg| leg.hung_up_here == Some(true));
        if call.hung_up_here == Some(false) && !centre_hung_up {
            findings.dropped.push(told(call));
        }
    }
}

/// Why a record's talk is not what the parties had. It ends when the first of them hangs up: while ARI is late, a caller whose call centre
/// has hung up hears silence for twice that time, which is not talk. Where the record declares that answer or end was not seen, the truth has
/// to lie within what it declares.
fn talk_is_off(call: &Seen, leg: Option<&Seen>, row: &Row, deaths: &[DateTime<Utc>]) -> Option<String> {
    let slack = SLACK.num_milliseconds();
    let Some(answered) = call.answered else {
        let least = row.talk_min_ms;
        return (least > slack).then(|| format!("{least} ms recorded at least, never answered"));
    };
    // A carrier that we ended before it had ended its calls knows no end.
    let over = call.over(deaths)?;
    let left = leg.filter(|leg| leg.hung_up_here == Some(true)).and_then(|leg| leg.ended);
    let ended = left.map_or(over, |left| left.min(over));
    // A call centre that hangs up while ARI is late may be gone before the caller hears of its answer: they have not talked.
    let talked = (ended - answered).num_milliseconds().max(0);
    let declared_end = row.ended_after.zip(row.ended_before);
    let declared_answer = row.answered_after.zip(row.answered_before);
    // Of an end that nobody saw nobody knows either which of the parties went first.
    let longest = if declared_end.is_some() { (over - answered).num_milliseconds() } else { talked };
    let length = row.talk_min_ms - slack <= longest && talked <= row.talk_max_ms + slack;
    let end = declared_end.is_none_or(|(after, before)| after - SLACK <= over && ended <= before + SLACK);
    let within =
        |(after, before): (DateTime<Utc>, DateTime<Utc>)| after - SLACK <= answered && answered <= before + SLACK;
    let seen = row.answered_at.filter(|_| declared_end.is_some()).map(|at| (at, at));
    let begin = talked <= slack || declared_answer.or(seen).is_none_or(within);
    (!(length && end && begin)).then(|| {
        let Row { talk_ms, talk_min_ms, talk_max_ms, answered_at, .. } = row;
        let declared = format!("answer declared {declared_answer:?}, end {declared_end:?}");
        format!("{talked} ms talked, {talk_ms} recorded ({talk_min_ms} to {talk_max_ms}), answered at {answered_at:?}, {declared}")
    })
}

/// By call, the leg that was brought together with the caller: the one that answered last. One that answered while the controller was dead
/// was hung up by the next controller, which then dialled another.
fn met(evidence: &Evidence) -> HashMap<&str, &Seen> {
    let mut met: HashMap<&str, &Seen> = HashMap::new();
    for leg in evidence.legs.iter().filter(|leg| leg.answered.is_some() && !leg.call.is_empty()) {
        let last = met.entry(&leg.call).or_insert(leg);
        if last.answered < leg.answered {
            *last = leg;
        }
    }
    met
}

/// No cap is exceeded by the call centres' own count.
fn caps(evidence: &Evidence, findings: &mut Findings) {
    let met = met(evidence);
    let answered: HashSet<&str> =
        evidence.calls.iter().filter(|call| call.answered.is_some()).map(|call| call.sip_call_id.as_str()).collect();
    let talked: HashMap<&str, bool> = evidence
        .rows
        .iter()
        .map(|row| (row.call_id.as_str(), row.sip_call_id.as_deref().is_none_or(|id| answered.contains(id))))
        .collect();
    for cap in &evidence.caps {
        let of = |leg: &&Seen| match cap {
            Cap::Link(campaign, client, _) | Cap::Total(campaign, client, _) => {
                leg.campaign == *campaign && leg.by == *client
            }
            Cap::Client(client, _) => leg.by == *client && !leg.call.is_empty(),
            Cap::Campaign(campaign, _) => leg.campaign == *campaign,
        };
        let legs = evidence.legs.iter().filter(of);
        let (most, limit) = match cap {
            Cap::Total(_, _, limit) => {
                // Where nobody knows whether the caller was answered, it was.
                let replaced = |leg: &Seen| met.get(leg.call.as_str()).is_some_and(|last| last.answered > leg.answered);
                let counts = |leg: &&Seen| {
                    leg.answered.is_some() && !replaced(leg) && *talked.get(leg.call.as_str()).unwrap_or(&true)
                };
                (legs.filter(counts).count(), *limit)
            }
            Cap::Link(_, _, limit) | Cap::Client(_, limit) | Cap::Campaign(_, limit) => {
                let slack = if matches!(cap, Cap::Campaign(..)) { BETWEEN_PROCESSES } else { TimeDelta::zero() };
                (most_at_once(legs, &evidence.deaths, slack, *limit, &mut findings.overruns), *limit)
            }
        };
        if matches!(cap, Cap::Total(..)) && most > limit {
            findings.overruns.extend((limit..most).map(|n| format!("{cap:?}: answered call number {}", n + 1)));
        }
        findings.peaks.push((cap.clone(), most));
    }
}

/// The most legs at once; those that begin beyond the limit are named.
fn most_at_once<'a>(
    legs: impl Iterator<Item = &'a Seen>,
    deaths: &[DateTime<Utc>],
    slack: TimeDelta,
    limit: usize,
    overruns: &mut Vec<String>,
) -> usize {
    let mut edges: BTreeMap<(DateTime<Utc>, bool), Vec<&Seen>> = BTreeMap::new();
    for leg in legs {
        let (began, over) = (leg.began + slack, leg.over(deaths));
        if over.is_none_or(|over| over > began) {
            // At the same moment an end comes before a beginning.
            edges.entry((began, true)).or_default().push(leg);
            if let Some(over) = over {
                edges.entry((over, false)).or_default().push(leg);
            }
        }
    }
    let (mut now, mut most) = (0, 0);
    for ((_, begins), legs) in edges {
        if !begins {
            now -= legs.len().min(now);
            continue;
        }
        for leg in legs {
            now += 1;
            most = most.max(now);
            if now > limit {
                overruns.push(format!("{now} at once, {limit} allowed: {} {}", leg.campaign, told(leg)));
            }
        }
    }
    most
}
