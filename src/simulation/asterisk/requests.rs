//! What the model answers to each request.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Around, Asterisk, Bridge, Chan, Due, Role, permit_in};
use crate::ari::simulated::Asked;
use crate::ari::{ChannelState, Event};
use crate::calls::dispatcher::DRAINED;
use crate::id::CallId;

/// Status and body.
pub(in crate::simulation) type Answer = (u16, String);

const DONE: u16 = 204;

fn refused(status: u16, why: &str) -> Answer {
    (status, json!({ "message": why }).to_string())
}

fn done() -> Answer {
    (DONE, String::new())
}

impl Asterisk {
    /// Carries a request out.
    pub(in crate::simulation) fn ask(&mut self, asked: &Asked, around: &mut Around<'_>) -> Answer {
        let path: Vec<&str> = asked.path.split('/').collect();
        match (asked.method, &path[..]) {
            ("POST", ["channels", "create"]) => self.create(asked, around),
            ("POST", ["channels", id, "dial"]) => self.ask_dial(id, asked, around),
            ("POST", ["channels", id, "ring" | "progress" | "mute"])
            | ("DELETE", ["channels", id, "ring" | "mute"]) => self.in_stasis(id).map_or_else(|no| no, |_| done()),
            ("POST", ["channels", id, "answer"]) => self.ask_answer(id, around),
            ("POST", ["channels", id, "continue"]) => self.go_on(id, asked, around),
            ("POST", ["channels", id, "variable"]) => self.set_variable(id, asked, around),
            ("GET", ["channels", id, "variable"]) => self.variable(id, asked, around),
            ("DELETE", ["channels", id]) => self.hang_up(id, asked, around),
            ("POST", ["bridges", id]) => self.create_bridge(id, asked),
            ("POST", ["bridges", id, "addChannel"]) => self.add(id, asked, around),
            ("DELETE", ["bridges", id]) => self.delete_bridge(id),
            ("GET", ["asterisk", "info"]) => (200, self.info().to_string()),
            ("GET", ["channels"]) => (200, self.list_channels().to_string()),
            ("GET", ["bridges"]) => (200, self.list_bridges().to_string()),
            // How a node is listed whose lists are refused.
            ("GET", ["applications", name]) => {
                let (channels, bridges): (Vec<_>, Vec<_>) =
                    (self.channels.keys().collect(), self.bridges.keys().collect());
                (200, json!({ "name": name, "channel_ids": channels, "bridge_ids": bridges }).to_string())
            }
            ("GET", ["channels", id]) => one_of(&self.list_channels(), id),
            ("GET", ["bridges", id]) => one_of(&self.list_bridges(), id),
            ("GET", ["asterisk", "variable"]) => {
                let value = match asked.parameter("variable") {
                    "CAPCONDUIT_HOLD_SECONDS" => super::HOLD_SECONDS,
                    DRAINED => i64::from(self.drained),
                    _ => self.wall(around.now).timestamp(),
                };
                (200, json!({ "value": value.to_string() }).to_string())
            }
            ("POST", ["asterisk", "variable"]) => {
                let value = asked.parameter("value");
                match asked.parameter("variable") {
                    "CAPCONDUIT_HEARTBEAT" => self.heartbeat = value.parse().ok(),
                    // With three digits behind the point, or 0.
                    "CAPCONDUIT_HANDOVER" => self.handover = value.replace('.', "").parse().unwrap_or_default(),
                    _ => {}
                }
                done()
            }
            _ => refused(404, "no such resource"),
        }
    }

    fn in_stasis(&mut self, id: &str) -> Result<&mut Chan, Answer> {
        let chan = self.channels.get_mut(id).ok_or_else(|| refused(404, "Channel not found"))?;
        if chan.in_stasis { Ok(chan) } else { Err(refused(409, "Channel not in Stasis application")) }
    }

    fn create(&mut self, asked: &Asked, around: &mut Around<'_>) -> Answer {
        let (id, originator) = (asked.text("channelId"), asked.text("originator"));
        let Some((call, n)) = CallId::parse_leg(id) else { return refused(400, "not a leg") };
        if self.channels.contains_key(id) {
            return refused(409, "Channel with given unique ID already exists");
        }
        if around.chance.percent(2) {
            return refused(500, "Allocation failed");
        }
        match self.channels.get_mut(originator) {
            Some(caller) => caller.watched = true,
            None if around.chance.percent(50) => return refused(400, "Provided originator channel was not found"),
            None => {}
        }
        let app_data = format!("{},{}", asked.text("app"), asked.text("appArgs"));
        let role = Role::Leg { call, n, permit: None };
        let created = self.wall(around.now);
        let chan = Chan { watched: true, ..Chan::new(role, ChannelState::Down, "s", app_data, created) };
        self.channels.insert(id.to_owned(), chan);
        let permit = permit_in(&self.view(id));
        if let Some(chan) = self.channels.get_mut(id) {
            chan.role = Role::Leg { call, n, permit };
        }
        let limit = asked.body.as_ref().map(|body| &body["variables"]["TIMEOUT(absolute)"]).and_then(Value::as_str);
        if let Some(seconds) = limit.and_then(|text| text.parse().ok()) {
            self.limit(id, Duration::from_secs(seconds), around);
        }
        around.soon(0, 8, Due::Enter(id.to_owned()));
        (200, "{}".to_owned())
    }

    fn ask_dial(&mut self, id: &str, asked: &Asked, around: &mut Around<'_>) -> Answer {
        let chan = match self.in_stasis(id) {
            Ok(chan) => chan,
            Err(no) => return no,
        };
        if chan.dialled || chan.state != ChannelState::Down {
            return refused(409, "Channel is not in the 'Down' state");
        }
        let timeout = asked.parameter("timeout").parse().unwrap_or(0);
        self.dial(id, Duration::from_secs(timeout), around);
        done()
    }

    fn ask_answer(&mut self, id: &str, around: &mut Around<'_>) -> Answer {
        if let Err(no) = self.in_stasis(id) {
            return no;
        }
        self.caller_up(id, around);
        self.meet_apart(id, around);
        done()
    }

    fn go_on(&mut self, id: &str, asked: &Asked, around: &mut Around<'_>) -> Answer {
        let chan = match self.in_stasis(id) {
            Ok(chan) => chan,
            Err(no) => return no,
        };
        if !matches!(chan.role, Role::Caller(_)) {
            return refused(400, "not a caller");
        }
        if !asked.parameter("context").is_empty() {
            self.fall_back(id, around);
            return done();
        }
        // Given back. What is in a bridge leaves it.
        let channel = self.view(id).into();
        around.acts.push(super::Act::Tell(Event::StasisEnd { timestamp: self.wall(around.now), channel }));
        if let Some(chan) = self.channels.get_mut(id) {
            chan.in_stasis = false;
        }
        self.send_on(id, around);
        done()
    }

    fn set_variable(&mut self, id: &str, asked: &Asked, around: &mut Around<'_>) -> Answer {
        if !self.channels.contains_key(id) {
            return refused(404, "Provided channel was not found");
        }
        if asked.parameter("variable") == "TIMEOUT(absolute)"
            && let Ok(seconds) = asked.parameter("value").parse()
        {
            self.limit(id, Duration::from_secs(seconds), around);
        }
        if let Some(listening) = asked.parameter("variable").strip_prefix("TALK_DETECT") {
            self.listen(id, listening == "(set)", around);
        }
        done()
    }

    fn variable(&self, id: &str, asked: &Asked, around: &Around<'_>) -> Answer {
        let Some(chan) = self.channels.get(id) else { return refused(404, "Channel not found") };
        let left = chan.limit_at.filter(|_| asked.parameter("variable") == "TIMEOUT(absolute)");
        let value = match asked.parameter("variable") {
            "CHANNEL(rtp,dest)" => "127.0.0.1:4000".to_owned(),
            _ => left.map_or(String::new(), |at| format!("{:.3}", at.saturating_sub(around.now).as_secs_f64())),
        };
        (200, json!({ "value": value }).to_string())
    }

    fn hang_up(&mut self, id: &str, asked: &Asked, around: &mut Around<'_>) -> Answer {
        let Some(chan) = self.channels.get_mut(id) else { return refused(404, "Channel not found") };
        if !chan.going || matches!(chan.role, Role::Caller(_)) {
            chan.going = true;
            self.left(id, super::Place::Controller, around);
            self.tell_hangup(id, Some(32), true, None, around);
            let cause = asked.parameter("reason_code").parse().unwrap_or(16);
            around.soon(0, 15, Due::Destroy { channel: id.to_owned(), cause, sip: None });
        }
        done()
    }

    fn create_bridge(&mut self, id: &str, asked: &Asked) -> Answer {
        if self.bridges.contains_key(id) {
            return refused(409, "Bridge with this id exists already");
        }
        let bridge = Bridge { name: asked.parameter("name").to_owned(), members: Vec::new() };
        self.bridges.insert(id.to_owned(), bridge);
        (200, "{}".to_owned())
    }

    fn add(&mut self, bridge: &str, asked: &Asked, around: &mut Around<'_>) -> Answer {
        if !self.bridges.contains_key(bridge) {
            return refused(404, "Bridge not found");
        }
        let body = asked.body.as_ref().map(|body| &body["channel"]).and_then(Value::as_array);
        let ids: Vec<&str> = body.into_iter().flatten().filter_map(Value::as_str).collect();
        for id in &ids {
            match self.channels.get(*id) {
                None => return refused(400, "Channel not found"),
                Some(chan) if !chan.in_stasis => return refused(422, "Channel not in Stasis application"),
                Some(_) => {}
            }
        }
        for id in &ids {
            self.move_to(id, bridge);
            self.meet(id, around);
        }
        done()
    }

    /// Who is in another bridge leaves it.
    fn move_to(&mut self, id: &str, bridge: &str) {
        let Some(chan) = self.channels.get_mut(id) else { return };
        let before = chan.bridge.replace(bridge.to_owned());
        if before.as_deref() == Some(bridge) {
            return;
        }
        if let Some(before) = before.and_then(|before| self.bridges.get_mut(&before)) {
            before.members.retain(|member| member != id);
        }
        if let Some(bridge) = self.bridges.get_mut(bridge) {
            bridge.members.push(id.to_owned());
        }
    }

    fn delete_bridge(&mut self, id: &str) -> Answer {
        let Some(bridge) = self.bridges.remove(id) else { return refused(404, "Bridge not found") };
        for member in bridge.members {
            if let Some(chan) = self.channels.get_mut(&member) {
                chan.bridge = None;
            }
        }
        done()
    }

    fn info(&self) -> Value {
        let startup_time = self.started.format("%Y-%m-%dT%H:%M:%S%.9f+0000").to_string();
        json!({ "system": { "version": "22.10.1", "entity_id": self.name }, "status": { "startup_time": startup_time } })
    }

    fn list_channels(&self) -> Value {
        let channels = self.channels.iter().map(|(id, chan)| {
            let time = chan.created.format("%Y-%m-%dT%H:%M:%S%.3f+0000").to_string();
            let app = if chan.in_stasis { "Stasis" } else { "" };
            json!({
                "id": id, "name": format!("PJSIP/{id}"), "state": word(chan.state), "protocol_id": "",
                "caller": { "number": "+447700900123", "name": "" },
                "dialplan": { "context": "capconduit-inbound", "exten": chan.exten, "app_name": app, "app_data": chan.app_data },
                "creationtime": time,
            })
        });
        channels.collect()
    }

    fn list_bridges(&self) -> Value {
        let bridge = |(id, bridge): (&String, &Bridge)| json!({ "id": id, "name": bridge.name, "technology": "simple_bridge", "channels": bridge.members });
        self.bridges.iter().map(bridge).collect()
    }
}

fn one_of(list: &Value, id: &str) -> Answer {
    let found = list.as_array().into_iter().flatten().find(|one| one["id"] == id);
    found.map_or_else(|| refused(404, "not found"), |one| (200, one.to_string()))
}

fn word(state: ChannelState) -> &'static str {
    match state {
        ChannelState::Down => "Down",
        ChannelState::Ring => "Ring",
        ChannelState::Ringing => "Ringing",
        ChannelState::Up => "Up",
        _ => "Unknown",
    }
}
