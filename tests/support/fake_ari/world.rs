//! Channels, bridges, globals and applications, and the events their changes make.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Weak;
use std::time::Duration;

use capconduit::clock::Clock;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::behaviour::{Behaviour, Step};
use super::caller::CallerEnd;
use super::faults::Faults;

/// How a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Via {
    WebSocket,
    Http,
}

/// A request that was understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub via: Via,
    pub method: String,
    /// Decoded, below `/ari/`.
    pub path: String,
    pub query: BTreeMap<String, String>,
    pub body: Value,
}

impl Seen {
    /// `METHOD path`.
    pub fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }
}

/// What one endpoint has seen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Channels created.
    pub created: u32,
    /// INVITEs.
    pub dialled: u32,
    /// 200s.
    pub answered: u32,
    /// Dialled channels that live now.
    pub live: u32,
    /// The most that ever lived at once.
    pub max_live: u32,
}

#[derive(Debug, Default)]
pub(super) struct Endpoint {
    pub(super) behaviour: Behaviour,
    pub(super) stats: Stats,
}

#[derive(Debug)]
pub(super) struct Socket {
    pub(super) outbox: mpsc::UnboundedSender<String>,
    pub(super) generation: u64,
}

#[derive(Debug, Default)]
pub(super) struct App {
    pub(super) socket: Option<Socket>,
    pub(super) disallowed: Vec<String>,
    pub(super) filter_sets: u32,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: String,
    name: String,
    state: &'static str,
    caller: String,
    exten: String,
    app: String,
    args: Vec<String>,
    created: DateTime<Utc>,
    /// The scripted callee; `None` for an inbound channel.
    pub(super) endpoint: Option<String>,
    pub(super) in_stasis: bool,
    pub(super) dialled: bool,
    /// Someone subscribed to it beyond Stasis (`originator`), so its `ChannelDestroyed` is told.
    subscribed: bool,
    pub(super) hears_ringing: bool,
    pub(super) hears_media: bool,
    /// Its far end is heard.
    sounds: bool,
    /// The bridge it is in.
    pub(super) bridge: Option<String>,
    /// How long its far end talks before it hangs up.
    talks_for: Option<Duration>,
    pub(super) variables: BTreeMap<String, String>,
}

impl Channel {
    pub(super) fn is_up(&self) -> bool {
        self.state == "Up"
    }

    pub(super) fn json(&self) -> Value {
        let app_data = std::iter::once(&self.app).chain(&self.args).cloned().collect::<Vec<_>>().join(",");
        json!({
            "id": self.id, "name": self.name, "state": self.state, "protocol_id": format!("{}@fake", self.id),
            "caller": {"name": "", "number": self.caller}, "connected": {"name": "", "number": ""}, "accountcode": "",
            "dialplan": {"context": "from-carrier", "exten": self.exten, "priority": 4, "app_name": "Stasis",
                "app_data": app_data},
            "creationtime": asterisk_time(self.created), "language": "en",
        })
    }
}

/// Asterisk writes no colon in the offset.
pub(super) fn asterisk_time(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%dT%H:%M:%S%.3f%z").to_string()
}

#[derive(Debug)]
pub(crate) struct World {
    pub(super) myself: Weak<Shared>,
    pub(super) version: String,
    pub(super) started: DateTime<Utc>,
    clock: Clock,
    next_id: u64,
    pub(super) endpoints: BTreeMap<String, Endpoint>,
    pub(super) apps: BTreeMap<String, App>,
    pub(super) channels: BTreeMap<String, Channel>,
    pub(super) bridges: BTreeMap<String, Vec<String>>,
    pub(super) bridge_names: BTreeMap<String, String>,
    pub(super) globals: BTreeMap<String, String>,
    /// Globals that its dialplan sets, whenever it starts.
    pub(super) dialplan: BTreeMap<String, String>,
    pub(super) ends: BTreeMap<String, CallerEnd>,
    pub(super) seen: Vec<Seen>,
    pub(super) faults: Faults,
    held: Option<(String, String)>,
    /// Created channels whose `StasisStart` waits for the response to be sent.
    entering: BTreeSet<String>,
    pub(super) kill: CancellationToken,
    pub(super) freeze: CancellationToken,
}

impl World {
    pub(super) fn new(version: &str) -> Self {
        let clock = Clock::start();
        Self {
            myself: Weak::new(),
            version: version.to_owned(),
            started: clock.now().wall,
            clock,
            next_id: 0,
            endpoints: BTreeMap::new(),
            apps: BTreeMap::new(),
            channels: BTreeMap::new(),
            bridges: BTreeMap::new(),
            bridge_names: BTreeMap::new(),
            globals: BTreeMap::new(),
            dialplan: BTreeMap::new(),
            ends: BTreeMap::new(),
            seen: Vec::new(),
            faults: Faults::default(),
            held: None,
            entering: BTreeSet::new(),
            kill: CancellationToken::new(),
            freeze: CancellationToken::new(),
        }
    }

    /// For the message of a test that waited in vain.
    pub(super) fn summary(&self) -> String {
        let requests: Vec<_> = self.seen.iter().map(Seen::line).collect();
        let apps: Vec<_> = self.apps.iter().map(|(name, app)| (name, app.socket.is_some(), app.filter_sets)).collect();
        format!(
            "apps {apps:?}\nchannels {:#?}\nbridges {:?}\nends {:?}\nlast requests {:?}",
            self.channels.values().collect::<Vec<_>>(),
            self.bridges,
            self.ends,
            &requests[requests.len().saturating_sub(30)..]
        )
    }

    /// The node's own time, in seconds since 1970.
    pub(super) fn epoch(&self) -> i64 {
        self.clock.now().wall.timestamp()
    }

    pub(super) fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Does something to the world a little later, unless the fake is gone by then.
    fn later(&self, after: Duration, act: impl FnOnce(&mut Self) + Send + 'static) {
        let myself = Weak::clone(&self.myself);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(shared) = myself.upgrade() {
                shared.with(act);
            }
        });
    }

    // ---- events

    fn event(&mut self, app: &str, kind: &str, mut fields: Value) {
        fields["type"] = json!(kind);
        fields["timestamp"] = json!(asterisk_time(self.clock.now().wall));
        fields["application"] = json!(app);
        fields["asterisk_id"] = json!("02:00:00:00:00:01");
        if self.apps.get(app).is_some_and(|app| app.disallowed.iter().any(|name| name == kind)) {
            return;
        }
        let text = fields.to_string();
        if self.faults.duplicate {
            self.send_text(app, text.clone());
        }
        if !self.faults.reorder {
            self.send_text(app, text);
        } else if let Some((other, earlier)) = self.held.take() {
            self.send_text(app, text);
            self.send_text(&other, earlier);
        } else {
            self.held = Some((app.to_owned(), text));
        }
    }

    pub(super) fn set_reorder(&mut self, on: bool) {
        self.faults.reorder = on;
        if let Some((app, text)) = self.held.take() {
            self.send_text(&app, text);
        }
    }

    /// Without a socket events are discarded, as Asterisk does.
    pub(super) fn send_text(&self, app: &str, text: String) {
        if let Some(socket) = self.apps.get(app).and_then(|app| app.socket.as_ref()) {
            drop(socket.outbox.send(text));
        }
    }

    /// An event whose object is one channel, sent to the channel's application.
    fn channel_event(&mut self, id: &str, kind: &str, mut fields: Value) {
        let Some(channel) = self.channels.get(id) else { return };
        fields["channel"] = channel.json();
        let app = channel.app.clone();
        self.event(&app, kind, fields);
    }

    fn dial_event(&mut self, id: &str, dialstatus: &str) {
        let Some(channel) = self.channels.get(id) else { return };
        let (app, peer) = (channel.app.clone(), channel.json());
        let dialstring = channel.endpoint.clone();
        self.event(
            &app,
            "Dial",
            json!({"peer": peer, "dialstatus": dialstatus, "dialstring": dialstring, "forward": ""}),
        );
    }

    // ---- sockets

    /// A WebSocket for `app`; an earlier one is told that it was replaced.
    pub(super) fn connect(&mut self, app: &str, outbox: mpsc::UnboundedSender<String>) -> u64 {
        self.event(app, "ApplicationReplaced", json!({}));
        let generation = self.next_id();
        self.apps.entry(app.to_owned()).or_default().socket = Some(Socket { outbox, generation });
        generation
    }

    /// The filter lives on while the application has channels.
    pub(super) fn disconnect(&mut self, name: &str, generation: u64) {
        let busy = self.channels.values().any(|channel| channel.app == name);
        let Some(app) = self.apps.get_mut(name) else { return };
        if app.socket.as_ref().is_some_and(|socket| socket.generation == generation) {
            app.socket = None;
            if !busy {
                app.disallowed.clear();
            }
        }
    }

    pub(super) fn drop_sockets(&mut self) {
        std::mem::take(&mut self.kill).cancel();
        self.freeze = CancellationToken::new();
        for app in self.apps.values_mut() {
            app.socket = None;
        }
    }

    pub(super) fn freeze_sockets(&mut self) {
        std::mem::take(&mut self.freeze).cancel();
    }

    pub(super) fn restart(&mut self) {
        for (id, channel) in std::mem::take(&mut self.channels) {
            match channel.endpoint {
                None => drop(self.ends.insert(id, CallerEnd::Lost)),
                Some(endpoint) => self.note(&endpoint, |stats| stats.live -= u32::from(channel.dialled)),
            }
        }
        self.bridges.clear();
        self.globals = self.dialplan.clone();
        self.apps.values_mut().for_each(|app| app.disallowed.clear());
        self.started = self.clock.now().wall;
        self.drop_sockets();
    }

    fn note(&mut self, endpoint: &str, change: impl FnOnce(&mut Stats)) {
        let stats = &mut self.endpoints.entry(endpoint.to_owned()).or_default().stats;
        change(stats);
        stats.max_live = stats.max_live.max(stats.live);
    }

    // ---- channels

    pub(super) fn incoming(&mut self, app: &str, did: &str, caller: &str, args: &[&str]) -> String {
        let n = self.next_id();
        let id = format!("{}.{n}", self.clock.now().wall.timestamp());
        let mut channel = self.new_channel(&id, app, args, format!("PJSIP/carrier-{n:08x}"));
        channel.state = "Ring";
        did.clone_into(&mut channel.exten);
        caller.clone_into(&mut channel.caller);
        if self.apps.get(app).is_none_or(|app| app.socket.is_none()) {
            self.ends.insert(id.clone(), CallerEnd::Fallback);
            return id;
        }
        self.channels.insert(id.clone(), channel);
        self.enter_stasis(&id);
        id
    }

    pub(super) fn create(&mut self, id: &str, endpoint: &str, app: &str, args: &str, originator: Option<&str>) {
        let n = self.next_id();
        let args: Vec<&str> = args.split(',').filter(|arg| !arg.is_empty()).collect();
        let mut channel = self.new_channel(id, app, &args, format!("PJSIP/{endpoint}-{n:08x}"));
        channel.endpoint = Some(endpoint.to_owned());
        self.channels.insert(id.to_owned(), channel);
        self.note(endpoint, |stats| stats.created += 1);
        if let Some(originator) = originator.and_then(|originator| self.channels.get_mut(originator)) {
            originator.subscribed = true;
        }
        self.entering.insert(id.to_owned());
        if self.faults.stasis_start_first {
            self.after_response();
        }
    }

    /// What happens once the response to a request has been sent.
    pub(super) fn after_response(&mut self) {
        for id in std::mem::take(&mut self.entering) {
            self.enter_stasis(&id);
        }
    }

    fn new_channel(&self, id: &str, app: &str, args: &[&str], name: String) -> Channel {
        Channel {
            id: id.to_owned(),
            name,
            state: "Down",
            caller: String::new(),
            exten: "s".to_owned(),
            app: app.to_owned(),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            created: self.clock.now().wall,
            endpoint: None,
            in_stasis: false,
            dialled: false,
            subscribed: false,
            hears_ringing: false,
            hears_media: false,
            sounds: false,
            bridge: None,
            talks_for: None,
            variables: BTreeMap::new(),
        }
    }

    fn enter_stasis(&mut self, id: &str) {
        let Some(channel) = self.channels.get_mut(id) else { return };
        channel.in_stasis = true;
        let args = json!({"args": channel.args});
        self.channel_event(id, "StasisStart", args);
    }

    pub(super) fn dial(&mut self, id: &str, endpoint: &str, timeout: Duration) {
        let behaviour = self.endpoints.entry(endpoint.to_owned()).or_default().behaviour;
        self.note(endpoint, |stats| {
            stats.dialled += 1;
            stats.live += 1;
        });
        if let Some(channel) = self.channels.get_mut(id) {
            channel.dialled = true;
        }
        self.dial_event(id, "");
        let (myself, id) = (Weak::clone(&self.myself), id.to_owned());
        // One task for all steps, so that a busy machine cannot swap them.
        tokio::spawn(async move {
            let mut waited = Duration::ZERO;
            for (after, step) in behaviour.steps(timeout) {
                tokio::time::sleep(after.saturating_sub(waited)).await;
                waited = after;
                let Some(shared) = myself.upgrade() else { return };
                shared.with(|world| world.take_step(&id, step));
            }
        });
    }

    fn take_step(&mut self, id: &str, step: Step) {
        match step {
            Step::Ring => self.progress(id, "Ringing", "RINGING"),
            Step::Play => {
                self.progress(id, "Down", "PROGRESS");
                self.sound(id);
            }
            Step::Answer { talks_for } => self.answer(id, talks_for),
            Step::Fail { cause, sip } => self.fail(id, cause, sip),
        }
    }

    /// The far end is heard: by whoever shares the bridge, and by who asked to be told.
    fn sound(&mut self, id: &str) {
        if let Some(channel) = self.channels.get_mut(id) {
            channel.sounds = true;
        }
        self.pass_sound(id);
        self.tell_sound(id);
    }

    /// Where a channel's audio is sent to (`CHANNEL(rtp,dest)`).
    pub(super) fn media_address(&self, id: &str) -> &'static str {
        let endpoint = self.channels.get(id).and_then(|channel| channel.endpoint.as_ref());
        let behaviour = endpoint.and_then(|endpoint| self.endpoints.get(endpoint)).map(|endpoint| endpoint.behaviour);
        if behaviour.is_none_or(|behaviour| behaviour.media) { "127.0.0.1:4000" } else { "(null)" }
    }

    pub(super) fn tell_sound(&mut self, id: &str) {
        let told = |channel: &Channel| channel.sounds && channel.variables.contains_key("TALK_DETECT(set)");
        if self.channels.get(id).is_some_and(told) {
            self.channel_event(id, "ChannelTalkingStarted", json!({}));
        }
    }

    /// Whoever is in a bridge with a channel that is heard hears it.
    pub(super) fn pass_sound(&mut self, id: &str) {
        if self.channels.get(id).is_some_and(|channel| channel.sounds && !channel.is_up()) {
            for peer in self.peers(id) {
                if let Some(peer) = self.channels.get_mut(&peer) {
                    peer.hears_media = true;
                }
            }
        }
    }

    /// A provisional answer; whoever shares the bridge hears it.
    fn progress(&mut self, id: &str, state: &'static str, dialstatus: &str) {
        let Some(channel) = self.channels.get_mut(id).filter(|channel| !channel.is_up()) else { return };
        if channel.state != state {
            channel.state = state;
            self.channel_event(id, "ChannelStateChange", json!({}));
        }
        self.dial_event(id, dialstatus);
        for peer in self.peers(id) {
            if let Some(peer) = self.channels.get_mut(&peer).filter(|_| dialstatus == "RINGING") {
                peer.hears_ringing = true;
            }
        }
    }

    /// 200 from the callee; the core answers a caller in the same bridge by itself.
    fn answer(&mut self, id: &str, talks_for: Option<Duration>) {
        let Some(channel) = self.channels.get(id).filter(|channel| !channel.is_up()) else { return };
        if let Some(endpoint) = channel.endpoint.clone() {
            self.note(&endpoint, |stats| stats.answered += 1);
        }
        self.bring_up(id);
        self.dial_event(id, "ANSWER");
        for peer in self.peers(id) {
            self.bring_up(&peer);
        }
        if let Some(channel) = self.channels.get_mut(id) {
            channel.talks_for = talks_for;
        }
        self.meet(id);
    }

    /// A talk begins once both parties are up, in one bridge: only then does the time of the one who will hang up run.
    fn meet(&mut self, id: &str) {
        let parties: Vec<String> = self.peers(id).into_iter().chain([id.to_owned()]).collect();
        let up = |id: &String| self.channels.get(id).is_some_and(Channel::is_up);
        if parties.iter().filter(|id| up(id)).count() < 2 {
            return;
        }
        for id in parties {
            if let Some(talk) = self.channels.get_mut(&id).and_then(|channel| channel.talks_for.take()) {
                self.later(talk, move |world| world.far_end_hangs_up(&id));
            }
        }
    }

    pub(super) fn bring_up(&mut self, id: &str) {
        let Some(channel) = self.channels.get_mut(id).filter(|channel| !channel.is_up()) else { return };
        channel.state = "Up";
        self.channel_event(id, "ChannelStateChange", json!({}));
        self.meet(id);
    }

    fn fail(&mut self, id: &str, cause: i16, sip: i16) {
        if self.channels.get(id).is_some_and(|channel| !channel.is_up()) {
            self.end_channel(id, json!({"cause": cause, "tech_cause": sip}), cause, Some(sip));
        }
    }

    fn peers(&self, id: &str) -> Vec<String> {
        let bridge = self.channels.get(id).and_then(|channel| channel.bridge.as_ref());
        let members = bridge.and_then(|bridge| self.bridges.get(bridge));
        members.into_iter().flatten().filter(|member| *member != id).cloned().collect()
    }

    /// The far end of a channel hangs up: CANCEL before the answer, else BYE.
    pub(super) fn far_end_hangs_up(&mut self, id: &str) {
        let Some(channel) = self.channels.get(id) else { return };
        let inbound = channel.endpoint.is_none();
        let (request, cause, sip) = match (inbound, channel.is_up()) {
            (true, false) => (json!({"cause": 127, "tech_cause": 487}), 127, Some(487)),
            _ => (json!({}), 16, None),
        };
        if inbound {
            self.ends.insert(id.to_owned(), CallerEnd::HungUp);
        }
        self.end_channel(id, request, cause, sip);
    }

    /// `DELETE /channels/{id}`: 32 with `soft` is Asterisk's soft-hangup flag.
    pub(super) fn hang_up(&mut self, id: &str, cause: Option<i16>) {
        let Some(channel) = self.channels.get(id) else { return };
        if channel.endpoint.is_none() {
            let sip = if channel.is_up() { 200 } else { sip_status(cause) };
            self.ends.insert(id.to_owned(), CallerEnd::Ended { sip, cause: cause.unwrap_or(16) });
        }
        self.end_channel(id, json!({"cause": 32, "soft": true}), cause.unwrap_or(16), None);
    }

    pub(super) fn continue_in_dialplan(&mut self, id: &str, end: CallerEnd) {
        self.ends.insert(id.to_owned(), end);
        self.leave_bridges(id);
        self.channel_event(id, "StasisEnd", json!({}));
        self.channels.remove(id);
    }

    /// A channel is in one bridge at most. With thousands of them, none is searched for.
    pub(super) fn enter_bridge(&mut self, id: &str, bridge: &str) {
        self.leave_bridges(id);
        if let Some(channel) = self.channels.get_mut(id) {
            channel.bridge = Some(bridge.to_owned());
            self.bridges.entry(bridge.to_owned()).or_default().push(id.to_owned());
        }
        self.meet(id);
    }

    /// Whether there was one.
    pub(super) fn remove_bridge(&mut self, id: &str) -> bool {
        let members = self.bridges.remove(id);
        for member in members.iter().flatten() {
            if let Some(channel) = self.channels.get_mut(member) {
                channel.bridge = None;
            }
        }
        members.is_some()
    }

    fn leave_bridges(&mut self, id: &str) {
        let bridge = self.channels.get_mut(id).and_then(|channel| channel.bridge.take());
        if let Some(members) = bridge.and_then(|bridge| self.bridges.get_mut(&bridge)) {
            members.retain(|member| member != id);
        }
    }

    /// A channel that is watched beyond Stasis tells of its own soft hang-up after `StasisEnd`, then of its end.
    fn end_channel(&mut self, id: &str, request: Value, cause: i16, sip: Option<i16>) {
        self.channel_event(id, "ChannelHangupRequest", request);
        self.leave_bridges(id);
        if self.channels.get(id).is_some_and(|channel| channel.in_stasis) {
            self.channel_event(id, "StasisEnd", json!({}));
        }
        if self.channels.get(id).is_some_and(|channel| channel.endpoint.is_some() || channel.subscribed) {
            self.channel_event(id, "ChannelHangupRequest", json!({"cause": cause, "soft": true}));
            let mut fields = json!({"cause": cause, "cause_txt": cause_text(cause)});
            if let Some(sip) = sip {
                fields["tech_cause"] = json!(sip);
            }
            self.channel_event(id, "ChannelDestroyed", fields);
        }
        let Some(gone) = self.channels.remove(id) else { return };
        if let Some(endpoint) = gone.endpoint {
            self.note(&endpoint, |stats| stats.live -= u32::from(gone.dialled));
        }
    }
}

/// What a ringing carrier is told for the Q.850 cause of a hang-up.
fn sip_status(cause: Option<i16>) -> u16 {
    match cause {
        Some(1..=3) => 404,
        Some(17) => 486,
        Some(18 | 102) => 408,
        Some(19 | 20 | 31) => 480,
        Some(21) => 403,
        Some(22) => 410,
        Some(27) => 502,
        Some(28) => 484,
        Some(29) => 501,
        Some(34 | 42) => 503,
        Some(38 | 127) => 500,
        Some(58) => 488,
        _ => 603,
    }
}

fn cause_text(cause: i16) -> &'static str {
    match cause {
        1 => "Unallocated (unassigned) number",
        16 => "Normal Clearing",
        17 => "User busy",
        19 => "User alerting, no answer",
        21 => "Call Rejected",
        34 => "Circuit/channel congestion",
        58 => "Bearer capability not available",
        127 => "Interworking, unspecified",
        _ => "Unknown",
    }
}
