//! ARI's requests, as the real one answers them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::caller::CallerEnd;
use super::world::{Seen, World, asterisk_time};

/// Status and JSON body (`Null` = none).
pub(super) type Answer = (u16, Value);

const DONE: Answer = (204, Value::Null);

fn refuse(status: u16, message: &str) -> Answer {
    (status, json!({"message": message}))
}

/// Carries one request out.
pub(super) fn handle(world: &mut World, request: &Seen) -> Answer {
    let path: Vec<&str> = request.path.split('/').collect();
    let query = |name: &str| request.query.get(name).map(String::as_str);
    match (request.method.as_str(), path.as_slice()) {
        ("GET", ["asterisk", "info"]) => (200, info(world)),
        ("GET", ["asterisk", "modules"]) => (200, modules()),
        ("GET", ["asterisk", "variable"]) if query("variable") == Some("EPOCH") => {
            (200, json!({"value": world.epoch().to_string()}))
        }
        (_, ["asterisk", "variable"]) => variable(&request.method, &mut world.globals, &request.query),
        ("GET", ["applications", app]) => application(world, app),
        ("PUT", ["applications", app, "eventFilter"]) => set_filter(world, app, &request.body),
        ("GET", ["endpoints", "PJSIP", name]) => match world.endpoints.get(*name) {
            Some(endpoint) => {
                let state = if endpoint.behaviour.registered { "online" } else { "offline" };
                (200, json!({"technology": "PJSIP", "resource": name, "state": state, "channel_ids": []}))
            }
            None => refuse(404, "Endpoint not found"),
        },
        ("GET", ["channels"]) => (200, world.channels.values().map(|channel| channel.json()).collect()),
        ("GET", ["bridges"]) => (200, world.bridges.keys().map(|id| bridge(world, id)).collect()),
        ("POST", ["channels", "create"]) => create(world, &request.body),
        ("POST", ["bridges", id]) => {
            world.bridges.entry((*id).to_owned()).or_default();
            world.bridge_names.insert((*id).to_owned(), request.query.get("name").cloned().unwrap_or_default());
            (200, bridge(world, id))
        }
        ("DELETE", ["bridges", id]) => match world.remove_bridge(id) {
            true => DONE,
            false => refuse(404, "Bridge not found"),
        },
        ("POST", ["bridges", id, "addChannel"]) => add_channel(world, id, &request.body),
        (_, ["channels", id, ..]) if !world.channels.contains_key(*id) => refuse(404, "Channel not found"),
        ("GET", ["channels", id]) => (200, world.channels[*id].json()),
        ("DELETE", ["channels", id]) => {
            let code = query("reason_code").and_then(|code| code.parse().ok());
            world.hang_up(id, code.or_else(|| query("reason").and_then(cause_of)));
            DONE
        }
        (_, ["channels", id, verb]) => on_channel(world, id, verb, request),
        _ => refuse(404, "Resource not found"),
    }
}

fn on_channel(world: &mut World, id: &str, verb: &str, request: &Seen) -> Answer {
    let text = |name: &str| request.query.get(name).cloned().unwrap_or_default();
    if verb == "dial" {
        return dial(world, id, &text("timeout"));
    }
    let Some(channel) = world.channels.get_mut(id) else { return refuse(404, "Channel not found") };
    match verb {
        "variable" if text("variable") == "CHANNEL(rtp,dest)" => {
            return (200, json!({"value": world.media_address(id)}));
        }
        "variable" => {
            let answer = variable(&request.method, &mut channel.variables, &request.query);
            if text("variable") == "TALK_DETECT(set)" {
                world.tell_sound(id);
            }
            return answer;
        }
        _ if !channel.in_stasis => return refuse(409, "Channel not in Stasis application"),
        "ring" if request.method == "DELETE" => {}
        "ring" => channel.hears_ringing = true,
        "progress" | "mute" => {}
        "answer" => world.bring_up(id),
        "continue" => {
            let (context, exten, priority) = (text("context"), text("extension"), text("priority"));
            world.continue_in_dialplan(id, CallerEnd::Continued { context, exten, priority });
        }
        _ => return refuse(404, "Resource not found"),
    }
    DONE
}

/// Those that the delivered file loads.
fn modules() -> Value {
    let lines =
        include_str!("../../../asterisk/etc/modules.conf").lines().filter_map(|line| line.strip_prefix("load = "));
    let names = lines.filter_map(|line| line.split([' ', ';']).next());
    names.map(|name| json!({"name": name, "description": "", "use_count": 0, "status": "Running", "support_level": "core"})).collect()
}

fn info(world: &World) -> Value {
    json!({
        "system": {"version": world.version, "entity_id": "02:00:00:00:00:01"},
        "status": {"startup_time": asterisk_time(world.started), "last_reload_time": asterisk_time(world.started)},
        "config": {"name": "", "default_language": "en"},
    })
}

fn bridge(world: &World, id: &str) -> Value {
    let (members, name) = (&world.bridges[id], &world.bridge_names[id]);
    json!({"id": id, "technology": "simple_bridge", "bridge_type": "mixing", "bridge_class": "stasis", "creator": "Stasis",
        "name": name, "channels": members, "video_mode": "none"})
}

fn variable(method: &str, variables: &mut BTreeMap<String, String>, query: &BTreeMap<String, String>) -> Answer {
    let Some(name) = query.get("variable") else { return refuse(400, "Variable name is required") };
    if method == "GET" {
        return (200, json!({"value": variables.get(name).cloned().unwrap_or_default()}));
    }
    variables.insert(name.clone(), query.get("value").cloned().unwrap_or_default());
    DONE
}

fn application(world: &World, name: &str) -> Answer {
    match world.apps.get(name).filter(|app| app.socket.is_some()) {
        Some(app) => {
            let disallowed: Vec<Value> = app.disallowed.iter().map(|kind| json!({"type": kind})).collect();
            (
                200,
                json!({"name": name, "channel_ids": [], "bridge_ids": [], "endpoint_ids": [], "device_names": [],
                "events_allowed": [], "events_disallowed": disallowed}),
            )
        }
        None => refuse(404, "Application not found"),
    }
}

fn set_filter(world: &mut World, name: &str, body: &Value) -> Answer {
    let Some(app) = world.apps.get_mut(name).filter(|app| app.socket.is_some()) else {
        return refuse(404, "Application not found");
    };
    let types = body["disallowed"].as_array().into_iter().flatten();
    app.disallowed = types.filter_map(|entry| entry["type"].as_str()).map(str::to_owned).collect();
    app.filter_sets += 1;
    application(world, name)
}

fn create(world: &mut World, body: &Value) -> Answer {
    let text = |name: &str| body[name].as_str().unwrap_or_default();
    let (id, app) = (text("channelId"), text("app"));
    let Some(endpoint) = text("endpoint").strip_prefix("PJSIP/") else {
        return refuse(400, "Endpoint must be specified");
    };
    if world.channels.contains_key(id) {
        return refuse(409, "Channel with given unique ID already exists");
    }
    if !world.endpoints.get(endpoint).is_some_and(|endpoint| endpoint.behaviour.registered) {
        return (500, json!({"error": "Allocation failed"}));
    }
    world.create(id, endpoint, app, text("appArgs"), body["originator"].as_str());
    let Some(channel) = world.channels.get_mut(id) else { return refuse(500, "Channel creation failed") };
    let variables = body["variables"].as_object().into_iter().flatten();
    channel.variables = variables.map(|(k, v)| (k.clone(), v.as_str().unwrap_or_default().to_owned())).collect();
    (200, channel.json())
}

fn dial(world: &mut World, id: &str, timeout: &str) -> Answer {
    let Some(channel) = world.channels.get(id) else { return refuse(404, "Channel not found") };
    match channel.endpoint.clone() {
        Some(endpoint) if channel.in_stasis && !channel.dialled && !channel.is_up() => {
            world.dial(id, &endpoint, Duration::from_secs(timeout.parse().unwrap_or(0)));
            DONE
        }
        _ => refuse(409, "Channel cannot be dialed"),
    }
}

fn add_channel(world: &mut World, id: &str, body: &Value) -> Answer {
    // A string instead of an array is read as one channel's id, commas and all.
    let asked = match &body["channel"] {
        Value::Array(ids) => ids.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        Value::String(id) => vec![id.clone()],
        _ => Vec::new(),
    };
    if !world.bridges.contains_key(id) {
        return refuse(404, "Bridge not found");
    }
    for channel in &asked {
        match world.channels.get(channel) {
            None => return refuse(400, "Channel not found"),
            Some(channel) if !channel.in_stasis => return refuse(422, "Channel not in Stasis application"),
            Some(_) => {}
        }
    }
    if asked.is_empty() {
        return refuse(400, "No channels specified");
    }
    asked.iter().for_each(|channel| world.enter_bridge(channel, id));
    asked.iter().for_each(|channel| world.pass_sound(channel));
    DONE
}

/// Asterisk's words for `reason`.
fn cause_of(word: &str) -> Option<i16> {
    Some(match word {
        "normal" => 16,
        "busy" => 17,
        "congestion" => 34,
        "no_answer" => 19,
        "timeout" => 102,
        "rejected" => 21,
        "unallocated" => 1,
        "normal_unspecified" => 31,
        "number_incomplete" => 28,
        "codec_mismatch" => 58,
        "interworking" => 127,
        "failure" => 38,
        "answered_elsewhere" => 26,
        _ => return None,
    })
}
