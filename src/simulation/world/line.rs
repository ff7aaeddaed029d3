//! The way between a node and the controller: what is on it, in which order it comes, and what is lost with it.

use std::time::Duration;

use super::life::Life;
use super::{What, World};
use crate::ari::simulated::{Asked, Reply};
use crate::ari::{DownReason, Event, Info};
use crate::simulation::faults::Fate;

/// A silent socket is given up within this (`ari/connection.rs`).
const MISSED_WITHIN: u64 = 2_750;

/// Something on its way.
#[derive(Debug)]
pub(super) enum Parcel {
    /// A request, to be carried out.
    Request { generation: u64, asked: Box<Asked>, fate: Fate, over_http: bool },
    /// Its answer.
    Answer { generation: u64, reply: Reply, status: u16, body: String, over_http: bool },
    /// An event.
    Event { generation: u64, event: Box<Event> },
}

/// One node's line.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Line {
    /// The Asterisk process runs.
    pub(super) alive: bool,
    /// Asterisk believes that the application's socket is there.
    pub(super) registered: bool,
    /// Bytes pass.
    passing: bool,
    /// Grows with every connection and its end.
    generation: u64,
    /// Requests of an earlier connection are still carried out until then: they had been read.
    carried_until: Duration,
    requests_free: Duration,
    answers_free: Duration,
    events_free: Duration,
    /// When nothing came through the socket last, although it was there.
    stalled: Option<(Duration, Duration)>,
    /// Since when the controller sees nothing.
    dark_since: Option<Duration>,
    /// When the controller saw nothing, or saw it late.
    pub(in crate::simulation) dark: Vec<(Duration, Duration)>,
    /// Events that came so late, and between which moments they were on their way, without the controller being able to tell.
    pub(in crate::simulation) late: Vec<(Duration, Duration)>,
    /// Requests that will never be answered: their deadlines are waited for.
    silent: Vec<Reply>,
}

/// How long after it is connected again the controller may take to know everything: a comparison, and the second one for what is missing.
const COMPARED_WITHIN: Duration = Duration::from_secs(8);

/// Lists may take so many times longer than other requests (`ari/node.rs`).
const LISTS_WITHIN: u32 = 5;
/// An event that comes later than this is as good as missed: lists, which travel another way, may say earlier that its channel is gone.
const TOO_LATE: Duration = Duration::from_millis(50);

impl World {
    /// An event of the application, on its way if there is a way.
    pub(super) fn tell(&mut self, node: usize, event: Event) {
        let line = &mut self.lines[node];
        if !line.registered || !line.passing {
            self.say(|| format!("  node {node}: {} is told to nobody", describe(&event)));
            if self.controller_lives {
                self.truth.missed(node, event.channel_id().unwrap_or_default());
            }
            return;
        }
        let mut at = line.events_free.max(self.now) + self.chance.millis(0, 3);
        let faults = &self.setting.faults;
        let (late, doubled) = (self.chance.of_10_000(faults.late), self.chance.of_10_000(faults.doubled));
        if late {
            let delay = self.chance.millis(50, 900);
            self.lines[node].dark.push((self.now, at + delay));
            at += delay;
        }
        if late || doubled {
            let about = event.channel_id().unwrap_or_default().to_owned();
            self.truth.fault(node, &about);
        }
        if at > self.now + TOO_LATE {
            let now = self.now;
            self.lines[node].late.push((now, at));
            self.truth.missed(node, event.channel_id().unwrap_or_default());
        }
        let line = &mut self.lines[node];
        line.events_free = at;
        let generation = line.generation;
        if doubled {
            let again = at + self.chance.millis(0, 1_500);
            self.at(again, What::Parcel(node, Parcel::Event { generation, event: Box::new(event.clone()) }));
        }
        self.at(at, What::Parcel(node, Parcel::Event { generation, event: Box::new(event) }));
    }

    /// A request leaves the controller.
    pub(super) fn asked(&mut self, node: usize, over_http: bool, asked: Asked) {
        let about = self.note_taken(node, &asked);
        let line = &mut self.lines[node];
        if over_http && !line.alive {
            // No connection: it never left.
            return;
        }
        if !asked.reply.start() {
            return;
        }
        if !line.passing && (line.registered || !over_http) {
            line.silent.push(asked.reply);
            return;
        }
        let long = asked.method == "GET" && matches!(asked.path.as_str(), "channels" | "bridges");
        let fate = self.setting.faults.fate(long, &mut self.chance);
        if fate != Fate::Answered {
            self.truth.fault(node, &about);
            self.say(|| format!("  node {node}: {} {} will be {fate:?}", asked.method, asked.path));
        }
        let line = &mut self.lines[node];
        let compares = asked.method == "GET" && asked.path != "asterisk/variable";
        if over_http && compares && matches!(fate, Fate::Unanswered | Fate::Refused) {
            // A comparison that fails is tried again.
            line.dark.push((self.now, self.now + LISTS_WITHIN * self.setting.request_timeout + COMPARED_WITHIN));
        }
        let free = if over_http { self.now } else { line.requests_free.max(self.now) };
        let mut at = free + self.chance.millis(0, 2);
        if let Fate::Slow(by) = fate {
            at += by;
            if compares || !over_http {
                line.dark.push((self.now, at + Duration::from_secs(1)));
            }
        }
        if !over_http {
            line.requests_free = at;
        }
        let generation = line.generation;
        self.at(at, What::Parcel(node, Parcel::Request { generation, asked: Box::new(asked), fate, over_http }));
    }

    /// Notes which calls the controller takes care of; returns the channel the request is about.
    fn note_taken(&mut self, node: usize, asked: &Asked) -> String {
        let channel = match (asked.method, asked.path.strip_prefix("channels/")) {
            ("POST", Some("create")) => asked.text("channelId").to_owned(),
            ("DELETE", Some(id)) => id.to_owned(),
            (_, Some(path)) => return path.split('/').next().unwrap_or_default().to_owned(),
            _ => return String::new(),
        };
        if let Some(call) = self.truth.call_of(node, &channel) {
            self.truth.call_mut(call).taken = true;
        }
        channel
    }

    pub(super) fn arrive(&mut self, node: usize, parcel: Parcel, life: Option<&mut Life>) {
        match parcel {
            Parcel::Request { generation, asked, fate, over_http } => {
                let line = &self.lines[node];
                let lost = generation != line.generation && self.now > line.carried_until;
                if !line.alive || (lost && !over_http) {
                    return;
                }
                let (status, body) = match fate {
                    Fate::Refused => (500, String::new()),
                    _ => self.in_node(node, |asterisk, around| asterisk.ask(&asked, around)),
                };
                self.say(|| format!("  node {node}: {} {} -> {status}", asked.method, asked.path));
                let listed = (asked.method, asked.path.as_str()) == ("GET", "channels");
                if listed && life.is_some() && !matches!(fate, Fate::Refused | Fate::Unanswered) {
                    self.truth.listed(node, self.now + COMPARED_WITHIN);
                }
                if status == 204
                    && let Some(leg) = asked.path.strip_suffix("/dial").and_then(|path| path.strip_prefix("channels/"))
                {
                    self.truth.check_kept(leg, &self.journal);
                }
                let reply = asked.reply;
                let line = &mut self.lines[node];
                if fate == Fate::Unanswered {
                    line.silent.push(reply);
                    return;
                }
                let free = if over_http { self.now } else { line.answers_free.max(self.now) };
                let at = free + self.chance.millis(0, 3);
                if !over_http {
                    line.answers_free = at;
                }
                self.at(at, What::Parcel(node, Parcel::Answer { generation, reply, status, body, over_http }));
            }
            Parcel::Answer { generation, reply, status, body, over_http } => {
                let line = &self.lines[node];
                if over_http || (generation == line.generation && line.passing) {
                    reply.answer(status, body);
                }
            }
            Parcel::Event { generation, event } => {
                let line = &self.lines[node];
                let (passes, stalled) = (generation == line.generation && line.passing, line.stalled);
                match life {
                    Some(life) if passes => {
                        self.say(|| format!("node {node} > {}", describe(&event)));
                        life.event(node, stalled, *event);
                    }
                    Some(_) => self.truth.missed(node, event.channel_id().unwrap_or_default()),
                    None => {}
                }
            }
        }
    }

    /// The socket breaks, and both sides know.
    pub(super) fn disconnect(&mut self, node: usize, reason: DownReason, life: Option<&mut Life>) {
        let now = self.now;
        let still = if self.lines[node].alive { self.chance.millis(0, 20) } else { Duration::ZERO };
        let line = &mut self.lines[node];
        let passing = std::mem::replace(&mut line.passing, false);
        line.registered = false;
        line.generation += 1;
        line.carried_until = now + still;
        line.dark_since.get_or_insert(now);
        line.silent.clear();
        let stalled = line.stalled;
        let Some(life) = life else { return };
        if passing {
            life.hear_before_the_end(node, stalled);
        }
        life.disconnect(node, reason);
        let after = self.chance.millis(50, 2_500);
        self.later(after, What::Connect(node));
    }

    /// Nothing passes any more; Asterisk and the controller both believe the socket to be there.
    pub(super) fn half_open(&mut self, node: usize, life: Option<&mut Life>) {
        let line = &mut self.lines[node];
        if !std::mem::replace(&mut line.passing, false) {
            return;
        }
        if let Some(life) = life {
            life.hear_before_the_end(node, line.stalled);
        }
        line.dark_since.get_or_insert(self.now);
        let generation = line.generation;
        let after = self.chance.millis(1_000, MISSED_WITHIN);
        self.later(after, What::Missed(node, generation));
    }

    pub(super) fn missed(&mut self, node: usize, generation: u64, life: Option<&mut Life>) {
        if self.lines[node].generation == generation {
            self.disconnect(node, DownReason::Silent, life);
            // Asterisk has no notion of it: callers still enter the application, and nobody hears of them.
            let line = &mut self.lines[node];
            line.registered = line.alive;
        }
    }

    /// Nothing comes or goes for a while; nothing is lost.
    pub(super) fn stall(&mut self, node: usize, by: Duration) {
        let until = self.now + by;
        let line = &mut self.lines[node];
        line.dark.push((self.now, until + Duration::from_secs(1)));
        let goes_on = line.stalled.filter(|(_, to)| *to >= self.now);
        line.stalled = Some(goes_on.map_or((self.now, until), |(from, to)| (from, to.max(until))));
        line.requests_free = line.requests_free.max(until);
        line.answers_free = line.answers_free.max(until);
        line.events_free = line.events_free.max(until);
    }

    pub(super) fn connect(&mut self, node: usize, wanted: bool) {
        if !wanted || self.lines[node].passing {
            return;
        }
        if !self.lines[node].alive {
            let again = self.chance.millis(50, 2_000);
            self.later(again, What::Connect(node));
            return;
        }
        let at = self.now + self.chance.millis(2, 20);
        let line = &mut self.lines[node];
        line.generation += 1;
        line.stalled = None;
        line.registered = true;
        line.passing = true;
        line.requests_free = at;
        line.answers_free = at;
        line.events_free = at;
        let generation = line.generation;
        self.truth.comparing_until = self.truth.comparing_until.max(at);
        self.at(at, What::Up(node, generation));
    }

    pub(super) fn up(&mut self, node: usize, generation: u64, life: Option<&mut Life>) {
        let line = &mut self.lines[node];
        let Some(life) = life.filter(|_| line.generation == generation) else { return };
        if let Some(since) = line.dark_since.take() {
            line.dark.push((since, self.now + COMPARED_WITHIN));
        }
        let info = Info {
            version: "22.10.1".to_owned(),
            entity_id: format!("node-{node}"),
            startup_time: Some(self.nodes[node].started),
        };
        self.say(|| format!("node {node}: connected"));
        self.truth.comparing_until = self.now + Duration::from_secs(1);
        life.connect(node, info);
    }

    /// Whoever waits for an answer is dead.
    pub(super) fn forget_waiting(&mut self) {
        self.lines.iter_mut().for_each(|line| line.silent.clear());
    }
}

pub(super) fn describe(event: &Event) -> String {
    let channel = event.channel_id().unwrap_or_default();
    match event {
        Event::Dial { dialstatus, .. } => format!("Dial {dialstatus} {channel}"),
        Event::ChannelHangupRequest { cause, tech_cause, .. } => {
            format!("HangupRequest {channel} {cause:?} {tech_cause:?}")
        }
        Event::ChannelDestroyed { cause, tech_cause, .. } => format!("Destroyed {channel} {cause} {tech_cause:?}"),
        Event::ChannelStateChange { channel, .. } => format!("StateChange {} {:?}", channel.id, channel.state),
        other => format!("{} {channel}", other.kind()),
    }
}
