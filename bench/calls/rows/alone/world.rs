//! Channels and bridges of the fake Asterisk, the events that they make, and its callers. It is one thread's: nothing here waits or locks.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::orders::{Order, Outcome, Run, Wish};
use super::wire::{APP, Answer, CHANNEL, Channel, Leg, SOFT, Wire};
use crate::calls::site::ANSWERED;

/// Arguments of a caller's `Stasis()`, as they stand in its application data and in its event.
const INBOUND: &str = "inbound,allowed_not_screened,%3Csip%3A%2B442079460001%40pbx%3E";
const INBOUND_ARGS: &str =
    r#""args":["inbound","allowed_not_screened","%3Csip%3A%2B442079460001%40pbx%3E"],"channel":"#;
/// Length of a call's id in the names of its outbound channels and its bridge.
const ID_LENGTH: usize = 36;

/// What the controller asks for.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// HTTP method.
    pub(super) method: &'a str,
    /// Below `/ari/`.
    pub(super) path: &'a str,
    /// The parameter `variable`.
    pub(super) variable: &'a str,
    /// The parameter `value`.
    pub(super) value: &'a str,
    /// JSON.
    pub(super) body: &'a str,
}

/// An answer, and what happens once it is sent.
type Reaction = (Answer, Then);

#[derive(Debug, Clone, Copy)]
enum Then {
    Nothing,
    LegEnters(u64),
    LegAnswers(u64),
    LegEnds(u64),
    CallerAnswers(u64),
    CallerEnds(u64),
    CallerLeaves(u64),
    BridgeEnds(u64),
}

fn refuse(status: u16, message: &str) -> Reaction {
    let reason = if status == 404 { "Not Found" } else { "Bad Request" };
    (Answer { status, reason, body: format!(r#"{{"message":"{message}"}}"#) }, Then::Nothing)
}

/// One call and what there is of it.
#[derive(Debug)]
struct Call {
    /// When it was to come.
    due: Instant,
    /// The controller's id of it; empty until it is known.
    key: String,
    caller: Option<Channel>,
    leg: Option<Leg>,
    bridge: bool,
    caller_in: bool,
    leg_in: bool,
    dialled: bool,
    answered: bool,
    limited: bool,
}

impl Call {
    fn new(due: Instant, caller: Channel) -> Self {
        Self {
            due,
            key: String::new(),
            caller: Some(caller),
            leg: None,
            bridge: false,
            caller_in: false,
            leg_in: false,
            dialled: false,
            answered: false,
            limited: false,
        }
    }

    fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.caller.iter().chain(self.leg.as_ref().map(|leg| &leg.channel))
    }

    fn write_bridge(&self, text: &mut String) {
        let caller = self.caller.as_ref().filter(|_| self.caller_in);
        let leg = self.leg.as_ref().map(|leg| &leg.channel).filter(|_| self.leg_in);
        let members: Vec<String> =
            [caller, leg].into_iter().flatten().map(|channel| format!(r#""{}""#, channel.id)).collect();
        write!(
            text,
            r#"{{"id":"br-{}","technology":"simple_bridge","bridge_type":"mixing","bridge_class":"stasis","creator":"Stasis","name":"{APP}","channels":[{}],"video_mode":"none"}}"#,
            self.key,
            members.join(",")
        )
        .expect("a string takes everything");
    }

    fn is_over(&self) -> bool {
        self.caller.is_none() && self.leg.is_none() && !self.bridge
    }
}

/// The body of a request to create a channel.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create<'a> {
    #[serde(borrow)]
    channel_id: Cow<'a, str>,
    #[serde(borrow)]
    originator: Cow<'a, str>,
    #[serde(borrow)]
    app_args: Cow<'a, str>,
    #[serde(borrow)]
    endpoint: Cow<'a, str>,
}

/// Which of a call's channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Caller,
    Leg,
}

/// Everything there is.
#[derive(Debug)]
pub(super) struct World {
    /// What the controller is told.
    pub(super) wire: Wire,
    /// When it began, in seconds since 1970 and as Asterisk spells it.
    epoch: i64,
    started: String,
    globals: HashMap<String, String>,
    calls: HashMap<u64, Call>,
    /// Numbers of calls by the controller's ids.
    keys: HashMap<String, u64>,
    /// How many calls were made.
    made: u64,
    talk: Option<Duration>,
    /// Who hangs up when, in this order.
    hang_ups: VecDeque<(Instant, u64)>,
    run: Option<Run>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut wire = Wire::default();
        wire.look_at_the_clock();
        Self {
            epoch: wire.millis / 1000,
            started: wire.time.clone(),
            wire,
            globals: HashMap::new(),
            calls: HashMap::new(),
            keys: HashMap::new(),
            made: 0,
            talk: None,
            hang_ups: VecDeque::new(),
            run: None,
        }
    }

    /// Whether an order is being carried out, and so time matters.
    pub(super) fn is_busy(&self) -> bool {
        self.run.is_some()
    }

    pub(super) fn take(&mut self, order: Order) {
        let (began, outcome) = (Instant::now(), Outcome::default());
        let run = match order {
            Order::Make(wish, told) => {
                self.talk = wish.talk;
                Run { wish, began, first: self.made, made: 0, outcome, told }
            }
            Order::HangUp(per_second, told) => {
                let mut numbers: Vec<u64> = self.calls.keys().copied().collect();
                numbers.sort_unstable();
                let calls = numbers.len() as u64;
                let due = |place: usize| began + Duration::from_secs_f64(place as f64 / per_second);
                self.hang_ups.extend(numbers.into_iter().enumerate().map(|(place, n)| (due(place), n)));
                self.talk = Some(Duration::ZERO);
                Run { wish: Wish { calls, per_second, talk: self.talk }, began, first: 0, made: calls, outcome, told }
            }
        };
        self.run = Some(run);
    }

    /// Has happen what is due.
    pub(super) fn turn(&mut self) {
        let now = Instant::now();
        self.wire.look_at_the_clock();
        while let Some(due) = self.run.as_mut().and_then(|run| run.next(now)) {
            self.arrive(due);
        }
        while let Some(&(due, n)) = self.hang_ups.front()
            && due <= now
        {
            self.hang_ups.pop_front();
            self.caller_ends(n, "");
        }
        if let Some(run) = self.run.take_if(|run| run.is_over(now)) {
            let outcome = Outcome { connections: self.wire.connections, ..run.outcome };
            // Whoever asked may have gone.
            drop(run.told.send(outcome));
        }
    }

    fn arrive(&mut self, due: Instant) {
        let n = self.made;
        self.made += 1;
        let (id, name) = (format!("{}.{n}", self.epoch), format!("PJSIP/carrier-{n:08x}"));
        let number = format!("+4477009{:05}", n % 100_000);
        let caller = Channel::new(id, "Ring", &name, &number, ANSWERED, INBOUND, &self.wire.time);
        self.wire.event("StasisStart", &[INBOUND_ARGS], &caller);
        self.calls.insert(n, Call::new(due, caller));
    }

    // ---- requests

    /// Carries out what came over the socket.
    pub(super) fn answer(&mut self, request_id: &str, asked: &Asked<'_>) {
        let (answer, then) = self.carry_out(asked);
        self.wire.respond(request_id, asked.path, &answer);
        self.then(then);
    }

    /// Carries out what came over HTTP.
    pub(super) fn answer_http(&mut self, asked: &Asked<'_>) -> Answer {
        self.wire.look_at_the_clock();
        let (answer, then) = self.carry_out(asked);
        self.then(then);
        answer
    }

    fn carry_out(&mut self, asked: &Asked<'_>) -> Reaction {
        let mut words = asked.path.split('/');
        let mut word = || words.next().unwrap_or_default();
        let (kind, id, verb) = (word(), word(), word());
        match (asked.method, kind, id, verb) {
            ("POST", "channels", "create", "") => self.create(asked.body),
            ("GET", "channels", "", "") => {
                let channels = self.calls.values().flat_map(Call::channels);
                (Answer::json(list(channels, Channel::write)), Then::Nothing)
            }
            (method, "channels", id, verb) => self.on_channel(method, id, verb),
            ("GET", "bridges", "", "") => {
                let bridges = self.calls.values().filter(|call| call.bridge);
                (Answer::json(list(bridges, Call::write_bridge)), Then::Nothing)
            }
            (method, "bridges", id, verb) => self.on_bridge(method, id, verb, asked.body),
            ("GET", "asterisk", "info", "") => (Answer::json(self.info()), Then::Nothing),
            (method, "asterisk", "variable", "") => self.global(method, asked.variable, asked.value),
            (_, "applications", _, _) => {
                let body = format!(r#"{{"name":"{APP}","channel_ids":[],"bridge_ids":[],"endpoint_ids":[]}}"#);
                (Answer::json(body), Then::Nothing)
            }
            _ => refuse(404, "Resource not found"),
        }
    }

    fn info(&self) -> String {
        let started = &self.started;
        format!(
            r#"{{"system":{{"version":"22.10.1","entity_id":"02:00:00:00:00:01"}},"status":{{"startup_time":"{started}","last_reload_time":"{started}"}},"config":{{"name":"","default_language":"en"}}}}"#
        )
    }

    fn global(&mut self, method: &str, variable: &str, value: &str) -> Reaction {
        if method != "GET" {
            self.globals.insert(variable.to_owned(), value.to_owned());
            return (Answer::done(), Then::Nothing);
        }
        let value = match variable {
            "EPOCH" => (self.wire.millis / 1000).to_string(),
            _ => self.globals.get(variable).cloned().unwrap_or_default(),
        };
        (Answer::json(format!(r#"{{"value":"{value}"}}"#)), Then::Nothing)
    }

    fn create(&mut self, body: &str) -> Reaction {
        let Ok(form) = serde_json::from_str::<Create<'_>>(body) else { return refuse(400, "Not such a body") };
        let Some((n, End::Caller)) = self.find(&form.originator) else { return refuse(400, "Originator not found") };
        let (Some(key), Some(call)) = (form.channel_id.get(..ID_LENGTH), self.calls.get_mut(&n)) else {
            return refuse(400, "Not such an id");
        };
        key.clone_into(&mut call.key);
        self.keys.insert(key.to_owned(), n);
        let dialstring = form.endpoint.strip_prefix("PJSIP/").unwrap_or(&form.endpoint).to_owned();
        let name = format!("PJSIP/{dialstring}-{n:08x}");
        let args = format!(r#""{}""#, form.app_args.replace(',', r#"",""#));
        let channel =
            Channel::new(form.channel_id.into_owned(), "Down", &name, "", "s", &form.app_args, &self.wire.time);
        let mut json = String::new();
        channel.write(&mut json);
        call.leg_in = false;
        call.leg = Some(Leg { channel, args, dialstring });
        (Answer::json(json), Then::LegEnters(n))
    }

    fn on_bridge(&mut self, method: &str, id: &str, verb: &str, body: &str) -> Reaction {
        let number = id.strip_prefix("br-").and_then(|key| self.keys.get(key)).copied();
        let Some((n, call)) = number.and_then(|n| Some((n, self.calls.get_mut(&n)?))) else {
            return refuse(404, "Bridge not found");
        };
        match (method, verb) {
            ("POST", "") => {
                call.bridge = true;
                let mut json = String::new();
                call.write_bridge(&mut json);
                (Answer::json(json), Then::Nothing)
            }
            _ if !call.bridge => refuse(404, "Bridge not found"),
            ("POST", "addChannel") => {
                let names = |channel: &Channel| body.contains(&channel.id);
                let leg = call.leg.as_ref().is_some_and(|leg| names(&leg.channel));
                let caller = call.caller.as_ref().is_some_and(names);
                call.leg_in |= leg;
                call.caller_in |= caller;
                if leg || caller { (Answer::done(), Then::Nothing) } else { refuse(400, "Channel not found") }
            }
            ("DELETE", "") => (Answer::done(), Then::BridgeEnds(n)),
            _ => refuse(404, "Resource not found"),
        }
    }

    fn on_channel(&mut self, method: &str, id: &str, verb: &str) -> Reaction {
        let Some((n, end)) = self.find(id) else { return refuse(404, "Channel not found") };
        let then = match (method, verb, end) {
            ("POST", "dial", End::Leg) => {
                self.note_dial(n);
                Then::LegAnswers(n)
            }
            ("POST", "variable", End::Caller) => {
                self.note_limit(n);
                Then::Nothing
            }
            ("POST", "variable" | "ring", _) => Then::Nothing,
            ("POST", "answer", End::Caller) => Then::CallerAnswers(n),
            ("POST", "continue", End::Caller) => Then::CallerLeaves(n),
            ("DELETE", "", End::Caller) => Then::CallerEnds(n),
            ("DELETE", "", End::Leg) => Then::LegEnds(n),
            _ => return refuse(404, "Resource not found"),
        };
        (Answer::done(), then)
    }

    /// Whose channel that is.
    fn find(&self, channel_id: &str) -> Option<(u64, End)> {
        if let Some(key) = channel_id.get(..ID_LENGTH) {
            let n = *self.keys.get(key)?;
            let leg = self.calls.get(&n)?.leg.as_ref();
            return leg.filter(|leg| leg.channel.id == channel_id).map(|_| (n, End::Leg));
        }
        let n: u64 = channel_id.split_once('.')?.1.parse().ok()?;
        let caller = self.calls.get(&n)?.caller.as_ref();
        caller.map(|_| (n, End::Caller))
    }

    fn note_dial(&mut self, n: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        let (again, wait) = (std::mem::replace(&mut call.dialled, true), call.due.elapsed());
        if let Some(run) = self.run.as_mut().filter(|run| !again && n >= run.first) {
            run.outcome.waits.push(wait);
        }
    }

    fn note_limit(&mut self, n: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        let first = call.answered && !std::mem::replace(&mut call.limited, true);
        if let Some(run) = self.run.as_mut().filter(|run| first && n >= run.first) {
            run.outcome.up += 1;
        }
    }

    // ---- what happens

    fn then(&mut self, then: Then) {
        match then {
            Then::Nothing => {}
            Then::LegEnters(n) => {
                if let Some(leg) = self.calls.get(&n).and_then(|call| call.leg.as_ref()) {
                    let more = [r#""args":["#, leg.args.as_str(), r#"],"channel":"#];
                    self.wire.event("StasisStart", &more, &leg.channel);
                }
            }
            Then::LegAnswers(n) => self.leg_answers(n),
            Then::LegEnds(n) => {
                if let Some(leg) = self.calls.get_mut(&n).and_then(|call| call.leg.take()) {
                    self.wire.end(&leg.channel, SOFT);
                }
                self.settle(n);
            }
            Then::CallerAnswers(n) => self.caller_answers(n),
            Then::CallerEnds(n) => self.caller_ends(n, SOFT),
            Then::CallerLeaves(n) => {
                if let Some(caller) = self.calls.get_mut(&n).and_then(|call| call.caller.take()) {
                    self.wire.event("StasisEnd", &[CHANNEL], &caller);
                }
                self.settle(n);
            }
            Then::BridgeEnds(n) => {
                if let Some(call) = self.calls.get_mut(&n) {
                    call.bridge = false;
                }
                self.settle(n);
            }
        }
    }

    /// The call centre rings and answers at once.
    fn leg_answers(&mut self, n: u64) {
        let Some(call) = self.calls.get_mut(&n) else { return };
        let Some(leg) = call.leg.as_mut() else { return };
        self.wire.dial("", leg);
        for (state, dialstatus) in [("Ringing", "RINGING"), ("Up", "ANSWER")] {
            leg.channel.state = state;
            self.wire.event("ChannelStateChange", &[CHANNEL], &leg.channel);
            self.wire.dial(dialstatus, leg);
        }
        call.answered = true;
        self.caller_answers(n);
        if let Some(talk) = self.talk {
            self.hang_ups.push_back((Instant::now() + talk, n));
        }
    }

    fn caller_answers(&mut self, n: u64) {
        let caller = self.calls.get_mut(&n).and_then(|call| call.caller.as_mut());
        if let Some(caller) = caller.filter(|caller| caller.state != "Up") {
            caller.state = "Up";
            self.wire.event("ChannelStateChange", &[CHANNEL], caller);
        }
    }

    /// The caller hangs up, or is hung up; `request` are the fields of what asked for it.
    fn caller_ends(&mut self, n: u64, request: &str) {
        if let Some(caller) = self.calls.get_mut(&n).and_then(|call| call.caller.take()) {
            self.wire.end(&caller, request);
        }
        self.settle(n);
    }

    /// Forgets a call of which nothing is left.
    fn settle(&mut self, n: u64) {
        if !self.calls.get(&n).is_some_and(Call::is_over) {
            return;
        }
        let Some(call) = self.calls.remove(&n) else { return };
        self.keys.remove(&call.key);
        if let Some(run) = self.run.as_mut().filter(|run| n >= run.first) {
            run.count(call.answered);
        }
    }
}

/// A JSON array.
fn list<T>(items: impl Iterator<Item = T>, write: impl Fn(T, &mut String)) -> String {
    let mut text = String::from("[");
    for (place, item) in items.enumerate() {
        if place > 0 {
            text.push(',');
        }
        write(item, &mut text);
    }
    text.push(']');
    text
}
