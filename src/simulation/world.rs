//! One world: the real controller in its runtime, a model of everything around it, and a calendar of what is due. Time is virtual.

mod life;
mod line;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use chrono::{DateTime, Utc};

use self::life::{Life, Passed};
pub(super) use self::line::Line;
use self::line::Parcel;
use super::asterisk::{Act, Around, Asterisk, Dialplan, Due, epoch};
use super::chance::Chance;
use super::faults::Fault;
use super::invariants;
use super::journal::Journal;
use super::parties::Caller;
use super::setting::{Setting, number};
use super::store::Store;
use super::truth::{Call, Truth};
use crate::ari::DownReason;
use crate::cdr::journal::{Entry, LINGER};
use crate::cdr::record::CallRecord;
use crate::clock;

/// From the end of one process to the start of the next (`RestartSec`).
const RESTART: Duration = Duration::from_millis(500);

/// How long a world may take to be quiet once its last caller has come and its faults have ended.
const QUIET_WITHIN: Duration = Duration::from_secs(600);

/// How soon the journal commits what may not wait.
const SOON: Duration = Duration::from_millis(1);

/// Something on the calendar.
#[derive(Debug)]
enum What {
    /// The next caller.
    Call,
    /// The next fault.
    Fault,
    /// Something in an Asterisk.
    Due(usize, Due),
    /// Something on its way between a node and the controller.
    Parcel(usize, Parcel),
    /// The controller tries to connect.
    Connect(usize),
    /// The controller is connected: its socket's generation.
    Up(usize, u64),
    /// The controller misses a node that is silent.
    Missed(usize, u64),
    /// Asterisk is there again.
    Restarted(usize),
    /// A node that was drained takes calls again.
    EndsDrain(usize),
    /// The journal commits what it was given.
    Commit,
    /// The writer brings a batch of records to the database.
    Write,
    /// A look at whether all is over.
    Quiet,
}

#[derive(Debug)]
struct Planned {
    at: Duration,
    /// Order of those due at the same time.
    turn: u64,
    what: What,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        self.turn == other.turn
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.turn).cmp(&(other.at, other.turn))
    }
}

/// Where steps are told.
#[derive(Debug, Default)]
pub(super) enum Log {
    /// Nowhere.
    #[default]
    Off,
    /// To whoever watches.
    Print,
    /// Kept, to be compared.
    Keep(Vec<String>),
}

/// How a world went.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) worlds: usize,
    pub(super) calls: usize,
    pub(super) faulted: usize,
    pub(super) answered: usize,
    pub(super) lives: usize,
    /// Calls that came into Stasis and ended while no controller could see them: neither record nor fallback line.
    pub(super) unrecorded: usize,
    /// What was wrong; empty in a correct world.
    pub(super) wrong: Vec<String>,
    pub(super) log: Vec<String>,
    /// What of the book each hold of its lock has visited.
    pub(super) visits: Vec<usize>,
}

impl Report {
    pub(super) fn add(&mut self, other: &Self) {
        self.worlds += other.worlds;
        self.calls += other.calls;
        self.faulted += other.faulted;
        self.answered += other.answered;
        self.lives += other.lives;
        self.unrecorded += other.unrecorded;
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { worlds, calls, faulted, answered, lives, unrecorded, .. } = self;
        write!(
            f,
            "{worlds} worlds: {calls} calls, {faulted} of them faulted, {answered} answered; {lives} lives of the controller; {unrecorded} \
             calls ended before anybody knew of them"
        )
    }
}

pub(super) struct World {
    seed: u64,
    chance: Chance,
    now: Duration,
    calendar: BinaryHeap<Reverse<Planned>>,
    turns: u64,
    setting: Setting,
    nodes: Vec<Asterisk>,
    lines: Vec<Line>,
    truth: Truth,
    journal: Journal,
    store: Store,
    /// The writer's next batch is on the calendar.
    writing: bool,
    calls_left: usize,
    /// The last caller has come: no more faults, and by then all must be over.
    quiet_by: Option<Duration>,
    /// Steps left until the controller is killed.
    dies_in: Option<u64>,
    /// How far the controller's wall clock is ahead.
    ahead: chrono::Duration,
    lives: usize,
    controller_lives: bool,
    log: Log,
    /// What of the book each hold of its lock has visited so far.
    visits: Vec<usize>,
}

impl World {
    pub(super) fn new(seed: u64, calls: usize, log: Log) -> Self {
        let mut chance = Chance::new(seed);
        let setting = Setting::draw(&mut chance, calls);
        Self::with(seed, chance, setting, log)
    }

    pub(super) fn with(seed: u64, chance: Chance, setting: Setting, log: Log) -> Self {
        let names = ["pbx-1", "pbx-2"];
        let mut world = Self {
            seed,
            chance,
            now: Duration::ZERO,
            calendar: BinaryHeap::new(),
            turns: 0,
            nodes: names[..setting.nodes].iter().map(|name| Asterisk::new(name, "capconduit-1")).collect(),
            lines: (0..setting.nodes).map(|_| Line::default()).collect(),
            truth: Truth::new(setting.snapshot.clone(), setting.limits.max_duration),
            journal: Journal::default(),
            store: Store::default(),
            writing: false,
            calls_left: setting.calls,
            quiet_by: None,
            dies_in: None,
            ahead: chrono::Duration::zero(),
            lives: 0,
            controller_lives: false,
            setting,
            log,
            visits: Vec::new(),
        };
        world.later(Duration::from_secs(2), What::Call);
        world.later_fault();
        world
    }

    /// Runs to the end, or to the first thing that is wrong.
    pub(super) fn run(mut self) -> Report {
        let (seed, setting) = (self.seed, format!("{:?}", self.setting));
        self.say(|| format!("world {seed}: {setting}"));
        loop {
            match life::run(&mut self) {
                Passed::Killed => self.without_controller(),
                // systemd starts the next one as soon as this one has ended.
                Passed::HandedOver => self.without_controller_for(RESTART),
                Passed::Quiet | Passed::Wrong => break,
            }
        }
        clock::simulated::set(None);
        for wrong in &self.truth.wrong {
            let line = format!("WRONG: {wrong}");
            match &mut self.log {
                Log::Print => println!("{line}"),
                Log::Keep(lines) => lines.push(line),
                Log::Off => {}
            }
        }
        let calls = self.truth.calls();
        let unrecorded = |call: &&Call| {
            call.entered.is_some() && !call.fell_back && call.id.is_none_or(|id| !self.store.rows.contains_key(&id))
        };
        Report {
            worlds: 1,
            unrecorded: if self.truth.wrong.is_empty() { calls.iter().filter(unrecorded).count() } else { 0 },
            calls: calls.len(),
            faulted: calls.iter().filter(|call| call.faults > 0).count(),
            answered: calls.iter().filter(|call| call.met.is_some()).count(),
            lives: self.lives,
            wrong: self.truth.wrong,
            visits: self.visits,
            log: if let Log::Keep(lines) = self.log { lines } else { Vec::new() },
        }
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        match &mut self.log {
            Log::Off => {}
            Log::Print => println!("{:>9.3} {}", self.now.as_secs_f64(), line()),
            Log::Keep(lines) => lines.push(format!("{:>9.3} {}", self.now.as_secs_f64(), line())),
        }
    }

    fn later(&mut self, after: Duration, what: What) {
        self.at(self.now + after, what);
    }

    fn at(&mut self, at: Duration, what: What) {
        self.turns += 1;
        self.calendar.push(Reverse(Planned { at, turn: self.turns, what }));
    }

    fn later_fault(&mut self) {
        if let Some(mean) = self.setting.faults.every {
            let after = self.chance.around(mean);
            self.later(after, What::Fault);
        }
    }

    /// The controller's wall clock.
    fn wall(&self) -> DateTime<Utc> {
        epoch() + self.now + self.ahead
    }

    /// Takes what is due next off the calendar and lets it happen.
    fn step(&mut self, life: Option<&mut Life>) {
        let Some(Reverse(Planned { at, what, .. })) = self.calendar.pop() else { return };
        self.now = self.now.max(at);
        match what {
            What::Call => self.call(),
            What::Fault => self.fault(life),
            What::Due(node, due) => {
                self.say(|| format!("  node {node}: {due:?}"));
                self.in_node(node, |asterisk, around| asterisk.due(due, around));
            }
            What::Parcel(node, parcel) => self.arrive(node, parcel, life),
            // A socket that is half open is not connected again before it is given up.
            What::Connect(node) => self.connect(node, life.is_some_and(|life| !life.is_connected(node))),
            What::Up(node, generation) => self.up(node, generation, life),
            What::Missed(node, generation) => self.missed(node, generation, life),
            What::Restarted(node) => {
                self.lines[node].alive = true;
                self.nodes[node].started = self.nodes[node].wall(self.now);
                self.say(|| format!("node {node}: Asterisk is there again"));
            }
            What::EndsDrain(node) => self.nodes[node].drained = false,
            What::Commit => self.commit(life),
            What::Write => self.write(),
            What::Quiet => self.look_whether_quiet(life),
        }
    }

    /// The next caller's INVITE.
    fn call(&mut self) {
        let node = usize::try_from(self.chance.between(0, self.nodes.len() as u64 - 1)).unwrap_or(0);
        let campaigns = self.setting.campaigns;
        let campaign = if self.chance.percent(1) { 9 } else { self.chance.between(1, campaigns) };
        let caller = Caller::draw(&mut self.chance);
        let call = self.truth.add(caller, node);
        if self.lines[node].alive {
            let mut way = Dialplan::Fallback;
            self.in_node(node, |asterisk, around| way = asterisk.invite(call, &number(campaign), around));
            let id = self.truth.call(call).id.map(|id| id.to_string()).unwrap_or_default();
            self.say(|| format!("call {call} {id} comes to node {node} for campaign {campaign}: {way:?}"));
        }
        if self.calls_left > 1 {
            self.calls_left -= 1;
            let after = self.chance.around(self.setting.every);
            self.later(after, What::Call);
        } else {
            self.quiet_by = Some(self.now + QUIET_WITHIN);
            self.later(Duration::from_secs(5), What::Quiet);
        }
    }

    /// One step in a node, and what follows from it.
    fn in_node<R>(&mut self, node: usize, step: impl FnOnce(&mut Asterisk, &mut Around<'_>) -> R) -> R {
        let Self { now, chance, truth, nodes, lines, .. } = self;
        nodes[node].registered = lines[node].registered && lines[node].alive;
        let mut around = Around { now: *now, chance, truth, acts: Vec::new() };
        let result = step(&mut nodes[node], &mut around);
        for act in around.acts {
            match act {
                Act::Tell(event) => self.tell(node, event),
                Act::Later(after, due) => self.later(after, What::Due(node, due)),
            }
        }
        result
    }

    fn fault(&mut self, life: Option<&mut Life>) {
        if self.quiet_by.is_some() {
            return;
        }
        self.later_fault();
        let node = usize::try_from(self.chance.between(0, self.nodes.len() as u64 - 1)).unwrap_or(0);
        let kinds = self.setting.faults.kinds.clone();
        let fault = self.chance.one_of(&kinds);
        self.say(|| format!("FAULT {fault:?} (node {node})"));
        let all =
            matches!(fault, Fault::ControllerDies | Fault::OurClockJumps | Fault::DatabaseAway | Fault::JournalFails);
        self.truth.living().filter(|call| all || call.node == node).for_each(|call| call.faults += 1);
        let hour = chrono::Duration::hours(if self.chance.percent(50) { 1 } else { -1 });
        match fault {
            Fault::Disconnect => self.disconnect(node, DownReason::Lost, life),
            Fault::HalfOpen => self.half_open(node, life),
            Fault::Stall => {
                let stall = self.chance.millis(100, 5_000);
                self.stall(node, stall);
            }
            Fault::AsteriskDies if !self.lines[node].alive => {}
            Fault::AsteriskDies => {
                self.in_node(node, |asterisk, around| asterisk.crash(around));
                self.lines[node].alive = false;
                self.disconnect(node, DownReason::Lost, life);
                let down = self.chance.millis(500, 4_000);
                self.later(down, What::Restarted(node));
            }
            // Killed not here, between two steps of the world, but at one of the next requests: amid what the controller does.
            Fault::ControllerDies => self.dies_in = Some(self.chance.between(1, 120)),
            Fault::OurClockJumps => {
                self.ahead += hour;
                if let Some(life) = life {
                    clock::simulated::set(Some(life.at_start(epoch() + self.ahead)));
                }
            }
            Fault::ItsClockJumps => self.nodes[node].ahead += hour,
            Fault::DatabaseAway => {
                let away = self.chance.millis(500, 30_000);
                self.store.go_away(self.now + away);
            }
            Fault::JournalFails => {
                let fails = self.chance.millis(20, 5_000);
                self.journal.fail_until(self.now + fails);
            }
            Fault::Drains => {
                self.nodes[node].drained = true;
                // Longer than callers who wait are given, or shorter.
                let drains = self.chance.millis(500, 45_000);
                self.later(drains, What::EndsDrain(node));
            }
        }
    }

    /// The controller is dead for a while; the rest of the world goes on.
    fn without_controller(&mut self) {
        let down = self.chance.millis(100, 6_000);
        self.without_controller_for(down);
    }

    fn without_controller_for(&mut self, down: Duration) {
        self.controller_lives = false;
        for node in 0..self.lines.len() {
            self.disconnect(node, DownReason::Lost, None);
        }
        // It does not start without the database.
        let until = (self.now + down).max(self.store.away_until);
        self.say(|| format!("the controller is dead for {down:?}"));
        while self.calendar.peek().is_some_and(|Reverse(next)| next.at <= until) {
            self.step(None);
        }
        self.now = until;
    }

    fn look_whether_quiet(&mut self, life: Option<&mut Life>) {
        self.later(Duration::from_secs(1), What::Quiet);
        let Some(life) = life else { return };
        let over = life.registry.live() == 0
            && life.registry.book().ledger.is_empty()
            && self.nodes.iter().all(|node| node.left_over().is_empty())
            && self.truth.living().next().is_none()
            && self.journal.is_idle();
        if over {
            life.over = true;
            self.visits.extend(life.registry.take_visits());
            invariants::at_the_end(&mut self.truth, &self.journal, &self.store, &life.registry, &self.lines);
        } else if self.quiet_by.is_some_and(|by| self.now >= by) {
            let channels: Vec<_> = self.nodes.iter().flat_map(Asterisk::left_over).collect();
            let held: Vec<_> = life.registry.book().ledger.held().map(|((call, n), _)| call.leg(n)).collect();
            self.truth.wrong.push(format!(
                "not quiet {QUIET_WITHIN:?} after the last caller: {} live calls; channels and bridges {channels:?}; permits {held:?}; \
                 open in the journal: {:?}; records wait: {}",
                life.registry.live(),
                self.journal.open(),
                self.journal.has_waiting()
            ));
        }
    }

    fn commit(&mut self, life: Option<&mut Life>) {
        self.journal.commit(self.now);
        let fails = self.journal.fails(self.now);
        if let Some(life) = life {
            life.stand(fails);
        }
        if fails {
            self.later(Duration::from_millis(500), What::Commit);
        } else if self.journal.has_waiting() && !std::mem::replace(&mut self.writing, true) {
            self.later(Duration::from_millis(100), What::Write);
        }
    }

    fn write(&mut self) {
        let written = self.store.take(&self.journal, self.now, &mut self.chance);
        self.writing = self.journal.has_waiting();
        if self.writing {
            let wait = if written.is_some() { self.chance.millis(0, 10) } else { Duration::from_millis(300) };
            self.later(wait, What::Write);
        }
        if let Some(entry) = written {
            self.give(entry);
        }
    }

    fn give(&mut self, entry: Entry) {
        if !matches!(entry, Entry::Alive(_)) {
            self.say(|| format!("journal is given {}", describe_entry(&entry)));
        }
        let (may_wait, lingers) = (entry.may_wait(), self.journal.lingers());
        if self.journal.give(entry) {
            let after = self.chance.millis(0, 4);
            self.later(if may_wait { after + LINGER } else { after }, What::Commit);
        } else if lingers && !may_wait {
            self.later(SOON, What::Commit);
        }
    }
}

fn describe_entry(entry: &Entry) -> String {
    let record = |record: &CallRecord| {
        let counted = record.attempts.iter().filter(|attempt| attempt.counted).count();
        format!(
            "{} {} by {}, {} attempts, {counted} counted",
            record.call_id,
            record.ending,
            record.hung_up_by,
            record.attempts.len()
        )
    };
    match entry {
        Entry::Open { call, kept, .. } => {
            let legs: Vec<u32> = call.legs.iter().map(|leg| leg.n).collect();
            let waits = if kept.is_some() { ", waited for" } else { "" };
            format!("open {}: ended {}, legs {legs:?}{waits}", record(&call.record), call.ended)
        }
        Entry::Finished(finished) => format!("finished {}", record(finished)),
        other => format!("{other:?}"),
    }
}
