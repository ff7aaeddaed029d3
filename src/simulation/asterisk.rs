//! A model of one Asterisk: channels, bridges, and what it answers, as ASTERISK.md measured them. It knows nothing of faults: those
//! happen on the way to it and from it.

mod requests;

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, SubsecRound, Utc};

use super::chance::Chance;
use super::parties::{self, Answering};
use super::truth::{Place, Truth};
use crate::ari::{CallerId, Channel, ChannelState, Event, Subject};
use crate::calls::reconcile::permit_of;
use crate::id::CallId;
use crate::routing::caps::Permit;

/// Who gives up within this of the answer has not heard it yet.
const JUST_ANSWERED: Duration = Duration::from_millis(20);

/// What the simulation's calendar begins with.
pub(super) fn epoch() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap_or_default()
}

/// Something that is due in an Asterisk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Due {
    /// A created channel enters the application.
    Enter(String),
    /// The client's phone rings.
    Ring(String),
    /// The client announces early media.
    Progress(String),
    /// The client is heard.
    Sound(String),
    /// The client answers.
    Answer(String),
    /// The client refuses.
    Refuse { channel: String, sip: i16, cause: i16 },
    /// The dialplan looks again whether somebody takes the call.
    LooksAgain(String),
    /// A party ends the talk: BYE.
    HangsUp(String),
    /// A party does not wait any longer: the caller for an answer, the client for a caller.
    GivesUp(String),
    /// Whoever is bridged with a caller that has hung up and stayed hangs up.
    HearsNobody(String),
    /// What was asked to go is gone.
    Destroy { channel: String, cause: i16, sip: Option<i16> },
    /// Asterisk's time limit of a channel, by the number of its setting.
    Limit(String, u32),
    /// Asterisk's dial timeout.
    DialTimeout(String),
}

/// What an Asterisk does besides changing itself.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "almost every act is an event; a box would be one allocation each")]
pub(super) enum Act {
    /// An event of the application.
    Tell(Event),
    /// Something is due later.
    Later(Duration, Due),
}

/// What surrounds a step.
pub(super) struct Around<'a> {
    /// Time since the world began.
    pub(super) now: Duration,
    pub(super) chance: &'a mut Chance,
    pub(super) truth: &'a mut Truth,
    pub(super) acts: Vec<Act>,
}

impl Around<'_> {
    fn later(&mut self, after: Duration, due: Due) {
        self.acts.push(Act::Later(after, due));
    }

    fn soon(&mut self, low: u64, high: u64, due: Due) {
        let after = self.chance.millis(low, high);
        self.later(after, due);
    }
}

#[derive(Debug)]
pub(super) struct Chan {
    state: ChannelState,
    /// The inbound call, or the attempt.
    role: Role,
    exten: String,
    app_data: String,
    in_stasis: bool,
    /// The dialplan holds the call, by its own clock since then: the controller starts anew.
    held: Option<i64>,
    /// Its application gets its ChannelDestroyed.
    watched: bool,
    created: DateTime<Utc>,
    bridge: Option<String>,
    dialled: bool,
    /// It was asked to go.
    going: bool,
    /// The caller's CANCEL was answered with 487: no answer reaches it any more.
    cancelled: bool,
    /// Its far end is heard.
    sounds: bool,
    /// The application is told of that.
    listened_to: bool,
    limits_set: u32,
    limit_at: Option<Duration>,
}

impl Chan {
    /// One that has just been made, in nobody's application yet.
    fn new(role: Role, state: ChannelState, exten: &str, app_data: String, created: DateTime<Utc>) -> Self {
        Self {
            state,
            role,
            exten: exten.to_owned(),
            app_data,
            in_stasis: false,
            held: None,
            watched: false,
            created,
            bridge: None,
            dialled: false,
            going: false,
            cancelled: false,
            sounds: false,
            listened_to: false,
            limits_set: 0,
            limit_at: None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Caller(usize),
    Leg { call: CallId, n: u32, permit: Option<Permit> },
}

#[derive(Debug, Default)]
struct Bridge {
    name: String,
    members: Vec<String>,
}

/// One Asterisk.
#[derive(Debug)]
pub(super) struct Asterisk {
    pub(super) name: String,
    /// Its one application.
    pub(super) app: String,
    channels: BTreeMap<String, Chan>,
    bridges: BTreeMap<String, Bridge>,
    heartbeat: Option<i64>,
    /// When the controller handed over, in milliseconds.
    handover: i64,
    /// An operator empties it.
    pub(super) drained: bool,
    /// Its application has a socket, as far as it knows.
    pub(super) registered: bool,
    pub(super) started: DateTime<Utc>,
    /// How far its wall clock is ahead.
    pub(super) ahead: chrono::Duration,
    serial: u64,
}

/// Where the dialplan sends a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialplan {
    Stasis,
    /// Nowhere yet.
    Held,
    Fallback,
}

/// As `extensions.conf` has it.
const HOLD_SECONDS: i64 = 3;
const LOOKS_EVERY: Duration = Duration::from_millis(200);

impl Asterisk {
    pub(super) fn new(name: &str, app: &str) -> Self {
        Self {
            name: name.to_owned(),
            app: app.to_owned(),
            channels: BTreeMap::new(),
            bridges: BTreeMap::new(),
            heartbeat: None,
            handover: 0,
            drained: false,
            registered: false,
            started: epoch(),
            ahead: chrono::Duration::zero(),
            serial: 0,
        }
    }

    pub(super) fn wall(&self, now: Duration) -> DateTime<Utc> {
        (epoch() + now + self.ahead).trunc_subsecs(3)
    }

    /// The process dies: every channel and bridge with it.
    pub(super) fn crash(&mut self, around: &mut Around<'_>) {
        let ids: Vec<String> = self.channels.keys().cloned().collect();
        for id in ids {
            self.remove(&id, Place::Asterisk, around);
        }
        self.bridges.clear();
        (self.heartbeat, self.handover, self.drained) = (None, 0, false);
    }

    /// A caller's INVITE arrives; what the dialplan does with it.
    pub(super) fn invite(&mut self, call: usize, exten: &str, around: &mut Around<'_>) -> Dialplan {
        self.serial += 1;
        let created = self.wall(around.now);
        let id = format!("{}.{}", created.timestamp(), self.serial);
        let app_data = format!("{},inbound,allowed,", self.app);
        let chan = Chan::new(Role::Caller(call), ChannelState::Ring, exten, app_data, created);
        around.truth.comes(call, CallId::derive(created, &self.name, &id), &id);
        self.channels.insert(id.clone(), chan);
        self.limit(&id, Duration::from_secs(300), around);
        let patience = around.truth.call(call).caller.patience;
        around.later(patience, Due::GivesUp(id.clone()));
        self.send_on(&id, around)
    }

    /// What the dialplan does with a caller that nobody has.
    fn send_on(&mut self, id: &str, around: &mut Around<'_>) -> Dialplan {
        let wall = self.wall(around.now);
        let (epoch, now, beat) = (wall.timestamp(), wall.timestamp_millis(), self.heartbeat.unwrap_or_default());
        let recent = |at: i64| at + HOLD_SECONDS * 1_000 > now && at <= now + 1_000;
        let (registered, seen) = (self.registered, (beat * 1_000).max(self.handover));
        let Some(chan) = self.channels.get_mut(id) else { return Dialplan::Fallback };
        let Role::Caller(call) = chan.role else { return Dialplan::Fallback };
        if self.drained {
            self.fall_back(id, around);
            return Dialplan::Fallback;
        }
        if registered && beat + 3 >= epoch && beat <= epoch + 1 {
            (chan.in_stasis, chan.held) = (true, None);
            around.truth.entered(call, around.now);
            self.tell_start(id, around);
            return Dialplan::Stasis;
        }
        let since = *chan.held.get_or_insert(now);
        if recent(since) && recent(seen) {
            around.later(LOOKS_EVERY, Due::LooksAgain(id.to_owned()));
            return Dialplan::Held;
        }
        self.fall_back(id, around);
        Dialplan::Fallback
    }

    /// From here on it is the fallback's call; the model follows it no further.
    fn fall_back(&mut self, id: &str, around: &mut Around<'_>) {
        if let Some(Role::Caller(call)) = self.channels.get(id).map(|chan| chan.role) {
            around.truth.fell_back(call);
            self.destroy(id, 0, None, Place::Asterisk, around);
        }
    }

    /// Whether the dialplan has the caller.
    fn is_held(&self, id: &str) -> bool {
        self.channels.get(id).is_some_and(|chan| chan.held.is_some())
    }

    pub(super) fn due(&mut self, due: Due, around: &mut Around<'_>) {
        match due {
            Due::Enter(id) => {
                if let Some(chan) = self.channels.get_mut(&id) {
                    chan.in_stasis = true;
                    self.tell_start(&id, around);
                }
            }
            Due::Ring(id) => self.ring(&id, around),
            Due::Progress(id) => {
                if self.channels.get(&id).is_some_and(|c| c.state != ChannelState::Up) {
                    self.tell_dial(&id, "PROGRESS", around);
                }
            }
            Due::Sound(id) => {
                if let Some(chan) = self.channels.get_mut(&id) {
                    chan.sounds = true;
                    self.tell_sound(&id, around);
                }
            }
            Due::Answer(id) => self.answered(&id, around),
            Due::Refuse { channel, sip, cause } => self.destroy(&channel, cause, Some(sip), Place::Party, around),
            Due::LooksAgain(id) if self.is_held(&id) => drop(self.send_on(&id, around)),
            Due::LooksAgain(_) => {}
            // The dialplan's own line tells of it.
            Due::HangsUp(id) | Due::GivesUp(id) if self.is_held(&id) => self.fall_back(&id, around),
            Due::HangsUp(id) => self.party_hangs_up(&id, around),
            Due::GivesUp(id) => self.party_gives_up(&id, around),
            Due::HearsNobody(id) => self.hears_nobody(&id, around),
            Due::Destroy { channel, cause, sip } => self.destroy(&channel, cause, sip, Place::Asterisk, around),
            Due::Limit(id, serial) => {
                if self.channels.get(&id).is_some_and(|c| c.limits_set == serial) {
                    self.tell_hangup(&id, None, true, None, around);
                    self.destroy(&id, 0, None, Place::Asterisk, around);
                }
            }
            Due::DialTimeout(id) => {
                if self.channels.get(&id).is_some_and(|c| c.state != ChannelState::Up) {
                    self.destroy(&id, 19, Some(480), Place::Party, around);
                }
            }
        }
    }

    fn ring(&mut self, id: &str, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id).filter(|c| c.state == ChannelState::Down) else { return };
        chan.state = ChannelState::Ringing;
        self.tell_state(id, around);
        self.tell_dial(id, "RINGING", around);
    }

    /// Whether the application is to be told when the far end is heard: also where it is already.
    fn listen(&mut self, id: &str, on: bool, around: &mut Around<'_>) {
        if let Some(chan) = self.channels.get_mut(id) {
            chan.listened_to = on;
            self.tell_sound(id, around);
        }
    }

    fn tell_sound(&self, id: &str, around: &mut Around<'_>) {
        if self.channels.get(id).is_some_and(|chan| chan.sounds && chan.listened_to && chan.in_stasis) {
            let (timestamp, channel) = (self.wall(around.now), self.view(id).into());
            around.acts.push(Act::Tell(Event::ChannelTalkingStarted { timestamp, channel }));
        }
    }

    /// A client answers: who waits in the same bridge is answered by Asterisk's core.
    fn answered(&mut self, id: &str, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id).filter(|c| c.state != ChannelState::Up) else { return };
        chan.state = ChannelState::Up;
        let bridge = chan.bridge.clone();
        self.tell_state(id, around);
        self.tell_dial(id, "ANSWER", around);
        // Seen on a real one, with clients that answer within 2 ms: the caller's own thread has not brought it into the bridge yet. By
        // the channel's name and not by chance: that all else is drawn as before keeps worlds comparable.
        let passed_on = id.bytes().fold(0_u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())) % 50 != 0;
        if let Some(caller) = bridge.and_then(|bridge| self.caller_in(&bridge)).filter(|_| passed_on) {
            self.caller_up(&caller, around);
        }
        if around.chance.percent(90) {
            // Who meets nobody gives up.
            around.soon(20_000, 40_000, Due::GivesUp(id.to_owned()));
        }
        self.meet(id, around);
    }

    fn caller_up(&mut self, id: &str, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id).filter(|c| c.state != ChannelState::Up) else { return };
        chan.state = ChannelState::Up;
        self.tell_state(id, around);
    }

    fn caller_in(&self, bridge: &str) -> Option<String> {
        let members = &self.bridges.get(bridge)?.members;
        members.iter().find(|id| self.channels.get(*id).is_some_and(|c| matches!(c.role, Role::Caller(_)))).cloned()
    }

    /// Whether the parties of this channel's bridge talk from now on.
    fn meet(&self, id: &str, around: &mut Around<'_>) {
        let Some(bridge) = self.channels.get(id).and_then(|c| c.bridge.as_ref()) else { return };
        let Some(bridge) = self.bridges.get(bridge) else { return };
        let up = |id: &&String| self.channels.get(*id).is_some_and(|c| c.state == ChannelState::Up && !c.cancelled);
        let role = |id: &String| self.channels.get(id).map(|c| (id.clone(), c.role));
        let up: Vec<_> = bridge.members.iter().filter(up).filter_map(role).collect();
        let caller =
            up.iter().find_map(|(id, role)| if let Role::Caller(call) = role { Some((id, *call)) } else { None });
        let leg = up.iter().find_map(|(id, role)| if let Role::Leg { n, .. } = role { Some((id, *n)) } else { None });
        if let (Some((caller, call)), Some((leg, n))) = (caller, leg) {
            Self::begin_talk((caller, call), (leg, n), around);
        }
    }

    /// A caller is answered by request: its client is up already, and may be on its way into the bridge. That is an answer, also where one
    /// of them goes before they are together.
    fn meet_apart(&self, id: &str, around: &mut Around<'_>) {
        let up = |chan: &&Chan| chan.state == ChannelState::Up && !chan.cancelled && !chan.going;
        let Some(Role::Caller(call)) = self.channels.get(id).filter(up).map(|chan| chan.role) else { return };
        let leg = self.channels.iter().filter(|(_, chan)| up(chan)).find_map(|(leg, chan)| match chan.role {
            Role::Leg { call: of, n, .. } if around.truth.index(of) == Some(call) => Some((leg, n)),
            _ => None,
        });
        if let Some((leg, n)) = leg {
            Self::begin_talk((id, call), (leg, n), around);
        }
    }

    fn begin_talk((caller, call): (&str, usize), (leg, n): (&str, u32), around: &mut Around<'_>) {
        if around.truth.met(call, n, around.now) {
            for (party, after) in parties::talk(around.chance, around.truth.longest_talk()) {
                let id = if party == parties::Party::Caller { caller } else { leg };
                around.later(after, Due::HangsUp(id.to_owned()));
            }
        }
    }

    /// Who talks already has another appointment; who has just been answered gives up all the same.
    fn party_gives_up(&mut self, id: &str, around: &mut Around<'_>) {
        let talks = match self.channels.get(id).map(|chan| chan.role) {
            Some(Role::Caller(call)) => around.truth.talks(call),
            Some(Role::Leg { call, .. }) => around.truth.index(call).and_then(|call| around.truth.talks(call)),
            None => return,
        };
        if talks.is_none_or(|since| around.now < since + JUST_ANSWERED) {
            self.party_hangs_up(id, around);
        }
    }

    /// A party's BYE or CANCEL reaches Asterisk.
    fn party_hangs_up(&mut self, id: &str, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id).filter(|c| !c.going) else { return };
        let (cause, sip) = match (chan.role, chan.state) {
            (Role::Caller(_), state) if state != ChannelState::Up => {
                chan.cancelled = true;
                (Some(127), Some(487))
            }
            _ => (Some(16), None),
        };
        chan.going = true;
        let (in_stasis, caller) = (chan.in_stasis, matches!(chan.role, Role::Caller(_)));
        self.left(id, Place::Party, around);
        if in_stasis {
            self.tell_hangup(id, cause, false, sip, around);
        }
        // Now and then Asterisk leaves such a channel in its bridge until somebody hangs it up, at last the client who hears nobody.
        let bridged = self.channels.get(id).is_some_and(|chan| chan.bridge.is_some());
        if caller && bridged && around.chance.percent(3) {
            self.linger(id, around);
        } else {
            let cause = cause.unwrap_or(0);
            around.soon(0, 12, Due::Destroy { channel: id.to_owned(), cause, sip });
        }
    }

    fn linger(&self, id: &str, around: &mut Around<'_>) {
        let after = around.chance.millis(20_000, 120_000);
        around.later(after, Due::HearsNobody(id.to_owned()));
    }

    /// Whoever is in a bridge with a caller that has gone hangs up in the end.
    fn hears_nobody(&mut self, id: &str, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get(id) else { return };
        let Some(bridge) = chan.bridge.as_ref().and_then(|bridge| self.bridges.get(bridge)) else {
            return self.destroy(id, 16, None, Place::Party, around);
        };
        let others: Vec<String> = bridge.members.iter().filter(|member| *member != id).cloned().collect();
        others.iter().for_each(|client| self.party_hangs_up(client, around));
        self.linger(id, around);
    }

    /// Notes that a channel is on its way out, and by whom.
    fn left(&self, id: &str, by: Place, around: &mut Around<'_>) {
        match self.channels.get(id).map(|c| c.role) {
            Some(Role::Caller(call)) => around.truth.caller_left(call, by, around.now),
            Some(Role::Leg { call, n, .. }) => around.truth.leg_left(call, n, by, around.now),
            None => {}
        }
    }

    /// A channel ends, with all that is told of it.
    fn destroy(&mut self, id: &str, cause: i16, sip: Option<i16>, by: Place, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get(id) else { return };
        let (in_stasis, watched) = (chan.in_stasis, chan.watched);
        let channel = Subject::from(self.view(id));
        let timestamp = self.wall(around.now);
        self.remove(id, by, around);
        if in_stasis {
            around.acts.push(Act::Tell(Event::StasisEnd { timestamp, channel: channel.clone() }));
        }
        if watched {
            let cause_txt = String::new();
            around.acts.push(Act::Tell(Event::ChannelDestroyed {
                timestamp,
                channel,
                cause,
                cause_txt,
                tech_cause: sip,
            }));
        }
    }

    fn remove(&mut self, id: &str, by: Place, around: &mut Around<'_>) {
        self.left(id, by, around);
        let Some(chan) = self.channels.remove(id) else { return };
        if let Some(bridge) = chan.bridge.and_then(|bridge| self.bridges.get_mut(&bridge)) {
            bridge.members.retain(|member| member != id);
        }
        match chan.role {
            Role::Caller(call) => around.truth.caller_gone(call, around.now),
            Role::Leg { call, n, .. } => around.truth.leg_gone(call, n, around.now),
        }
    }

    fn limit(&mut self, id: &str, after: Duration, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id) else { return };
        chan.limits_set += 1;
        chan.limit_at = Some(around.now + after);
        let serial = chan.limits_set;
        around.later(after, Due::Limit(id.to_owned(), serial));
    }

    fn dial(&mut self, id: &str, timeout: Duration, around: &mut Around<'_>) {
        let Some(chan) = self.channels.get_mut(id) else { return };
        chan.dialled = true;
        if let Role::Leg { call, n, permit } = chan.role {
            around.truth.dialled(call, n, permit, around.now);
        }
        if timeout > Duration::ZERO {
            around.later(timeout, Due::DialTimeout(id.to_owned()));
        }
        let answering = Answering::draw(around.chance);
        for (after, due) in answering.calendar(id, around.chance) {
            around.later(after, due);
        }
        // Some callers give up just when they are answered.
        if let (Answering::Answers { after, .. }, Some((call, _))) = (answering, CallId::parse_leg(id))
            && around.chance.percent(6)
            && let Some(caller) = around.truth.index(call).map(|call| around.truth.call(call).channel.clone())
        {
            let about = after.saturating_sub(Duration::from_millis(6)) + around.chance.millis(0, 12);
            around.later(about, Due::GivesUp(caller));
        }
    }

    /// The channel as events and lists show it.
    fn view(&self, id: &str) -> Channel {
        let chan = &self.channels[id];
        Channel {
            id: id.to_owned(),
            name: format!("PJSIP/{id}"),
            state: chan.state,
            protocol_id: String::new(),
            caller: CallerId { number: "+447700900123".into(), name: String::new() },
            exten: chan.exten.clone(),
            app_name: if chan.in_stasis { "Stasis".into() } else { String::new() },
            app_data: chan.app_data.clone(),
            creationtime: chan.created,
        }
    }

    fn tell_start(&self, id: &str, around: &mut Around<'_>) {
        let channel = self.view(id);
        let args = channel.app_data.split(',').skip(1).map(str::to_owned).collect();
        let (timestamp, app) = (self.wall(around.now), self.app.clone());
        around.acts.push(Act::Tell(Event::StasisStart { timestamp, app, args, channel, replaced: None }));
    }

    fn tell_state(&self, id: &str, around: &mut Around<'_>) {
        let event = Event::ChannelStateChange { timestamp: self.wall(around.now), channel: self.view(id).into() };
        around.acts.push(Act::Tell(event));
    }

    fn tell_dial(&self, id: &str, dialstatus: &str, around: &mut Around<'_>) {
        let (timestamp, peer) = (self.wall(around.now), self.view(id).into());
        around.acts.push(Act::Tell(Event::Dial { timestamp, peer, dialstatus: dialstatus.to_owned() }));
    }

    fn tell_hangup(&self, id: &str, cause: Option<i16>, soft: bool, tech_cause: Option<i16>, around: &mut Around<'_>) {
        let (timestamp, channel) = (self.wall(around.now), self.view(id).into());
        around.acts.push(Act::Tell(Event::ChannelHangupRequest { timestamp, channel, cause, soft, tech_cause }));
    }

    /// Channels in the application, and bridges of its name: what must be none when all calls are over.
    pub(super) fn left_over(&self) -> Vec<String> {
        let channels = self.channels.iter().filter(|(_, chan)| chan.in_stasis || matches!(chan.role, Role::Leg { .. }));
        channels.map(|(id, _)| id.clone()).chain(self.bridges.keys().cloned()).collect()
    }
}

/// Reads back what an attempt's channel says it holds.
fn permit_in(channel: &Channel) -> Option<Permit> {
    permit_of(channel)
}
