//! What any node may send: real frames, changed.

use serde_json::{Value, json};

use super::*;
use crate::ari::{Bridge, Info, Variable};
use crate::calls::intake::Intake;
use crate::calls::reconcile::{Belief, Finding, Ours, compare};
use crate::config::Config;
use crate::mutations::{TEXTS, any_value, changed, changed_text};
use proptest::prelude::*;

fn channel(id: &str, app_data: &str) -> Value {
    json!({
        "id": id, "name": "PJSIP/carrier-00000001", "state": "Ring", "protocol_id": "a84b4c76e66710@127.0.0.2",
        "caller": {"name": "Ann \"A\" <x>", "number": "+447700900123"}, "connected": {"name": "", "number": ""}, "accountcode": "",
        "dialplan": {"context": "capconduit-inbound", "exten": "+442071234567", "priority": 8, "app_name": "Stasis", "app_data": app_data},
        "creationtime": "2026-11-22T12:00:00.123+0000", "language": "en",
    })
}

/// One frame of each kind, as Asterisk 22.10 sends them.
fn frames() -> Vec<Value> {
    let leg = "0196f1a2-8b3c-8d4e-9f50-617283940a1b-1";
    let caller =
        channel("1795349909.10", "capconduit-1,inbound,allowed_not_screened,%3Csip%3A%2B442071234567%40pbx%3E");
    let (outbound, head) =
        (channel(leg, "capconduit-1,leg,1,2,3"), json!({"timestamp": "2026-11-22T12:00:00.124+0000"}));
    let with = |kind: &str, fields: Value| {
        let mut event = head.clone();
        event["type"] = json!(kind);
        event["application"] = json!("capconduit-1");
        event["asterisk_id"] = json!("02:00:00:00:00:01");
        for (key, value) in fields.as_object().into_iter().flatten() {
            event[key] = value.clone();
        }
        event
    };
    vec![
        with(
            "StasisStart",
            json!({"channel": caller, "args": ["inbound", "allowed_not_screened", "%3Csip%3Ax%40y%3E"]}),
        ),
        with(
            "StasisStart",
            json!({"channel": outbound, "args": ["leg", "1", "2", "3"], "replace_channel": {"id": "1.9"}}),
        ),
        with("StasisEnd", json!({"channel": caller})),
        with("ChannelStateChange", json!({"channel": outbound})),
        with("ChannelHangupRequest", json!({"channel": caller, "cause": 127, "tech_cause": 487})),
        with("ChannelHangupRequest", json!({"channel": outbound, "cause": 32, "soft": true})),
        with(
            "ChannelDestroyed",
            json!({"channel": outbound, "cause": 17, "cause_txt": "User busy", "tech_cause": 486}),
        ),
        with("Dial", json!({"peer": outbound, "dialstatus": "RINGING", "dialstring": "north", "forward": ""})),
        with("Dial", json!({"peer": outbound, "caller": caller, "dialstatus": "ANSWER"})),
        with("ApplicationReplaced", json!({})),
        json!({"type": "RESTResponse", "request_id": "7", "status_code": 404, "reason_phrase": "Not Found", "message_body": "{}"}),
        with(
            "ContactStatusChange",
            json!({"endpoint": {"technology": "PJSIP", "resource": "x"}, "contact_info": {"uri": "sip:x"}}),
        ),
    ]
}

/// What is done with an event that was read.
fn handle(event: &Event) {
    let config = Config::from_layers(None, []).expect("the defaults are valid");
    let intake = Intake::new(&config.nodes[0]);
    if let Event::StasisStart { channel, args, .. } = event {
        let facts = intake.facts(channel, args);
        assert_eq!(facts, intake.facts(channel, args), "a call seen twice is the same call");
        assert!(!facts.dialled.raw.contains(char::is_control), "{facts:?}");
        drop(intake.facts_of_listed(channel));
    }
}

proptest! {
    #[test]
    fn a_changed_frame_is_read_as_what_it_says_or_refused(text in changed_text(frames())) {
        let Ok(frame) = decode(&text) else { return Ok(()) };
        // What is not looked at may be nested deeper than a value can be.
        let Ok(told) = serde_json::from_str::<Value>(&text) else { return Ok(()) };
        // serde reads lists as objects whose fields have no names, here and in a frame's channel: no frame of Asterisk's, and nothing that
        // could be taken for one of ours.
        if !told.is_object() {
            return Ok(());
        }
        match frame {
            Frame::Event(event) => {
                let kind = told["type"].as_str().expect("it has a type");
                prop_assert!(event.kind() == kind || event.kind() == "other", "{} for {kind}", event.kind());
                let key = if kind == "Dial" { "peer" } else { "channel" };
                if let Some(channel) = event.channel_id()
                    && !told[key].is_array()
                {
                    prop_assert_eq!(Some(channel), told[key]["id"].as_str());
                }
                handle(&event);
            }
            Frame::Response(response) => {
                prop_assert_eq!(Some(response.request_id.as_str()), told["request_id"].as_str());
                prop_assert_eq!(Some(u64::from(response.status_code)), told["status_code"].as_u64());
            }
        }
    }

    #[test]
    fn fields_that_are_not_known_change_nothing(
        frame in prop::sample::select(frames()),
        extra in prop::collection::vec(("x_[a-z]{1,8}", any_value()), 1..4),
    ) {
        let plain = decode(&frame.to_string()).expect("a sound frame");
        let mut more = frame;
        for (key, value) in extra {
            for place in ["", "/channel", "/channel/dialplan", "/channel/caller", "/peer"] {
                if let Some(Value::Object(fields)) = more.pointer_mut(place) {
                    fields.insert(key.clone(), value.clone());
                }
            }
        }
        prop_assert_eq!(decode(&more.to_string()).expect("it is tolerated"), plain);
    }

    #[test]
    fn what_an_event_must_have_is_asked_for(frame in prop::sample::select(frames()), odd in any_value()) {
        let kind = frame["type"].as_str().expect("a type").to_owned();
        let needed: &[&str] = match kind.as_str() {
            "ContactStatusChange" => &[],
            "RESTResponse" => &["/request_id", "/status_code"],
            "ApplicationReplaced" => &["/timestamp", "/application"],
            "Dial" => &["/timestamp", "/peer", "/peer/id"],
            "StasisStart" => &["/timestamp", "/channel", "/channel/id", "/channel/creationtime"],
            _ => &["/timestamp", "/channel", "/channel/id"],
        };
        for place in needed {
            let (parent, key) = place.rsplit_once('/').expect("a place");
            let mut less = frame.clone();
            less.pointer_mut(parent).and_then(Value::as_object_mut).expect("it is there").remove(key);
            prop_assert!(decode(&less.to_string()).is_err(), "{kind} without {place}");
            // serde reads a list as an object whose fields have no names.
            if !odd.is_string() && !odd.is_object() && !odd.is_number() && !odd.is_array() {
                less.pointer_mut(parent).expect("it is there")[key] = odd.clone();
                prop_assert!(decode(&less.to_string()).is_err(), "{kind} with {odd} for {place}");
            }
        }
    }

    /// Lists decide what is hung up: whatever stands in them, channels of others are left alone.
    #[test]
    fn whatever_a_list_says_only_our_own_is_touched(
        listed in prop::collection::vec(
            changed(vec![
                channel("1795349909.10", "capconduit-1,inbound,allowed,x"),
                channel("1795349909.11", "queues,inbound"),
                channel("0196f1a2-8b3c-8d4e-9f50-617283940a1b-1", "capconduit-1,leg,1,2,3"),
                channel("0196f1a2-8b3c-8d4e-9f50-617283940a1b-2", "other,leg,1,2,3"),
            ]),
            0..6,
        ),
        bridges in changed(vec![json!([
            {"id": "br-0196f1a2-8b3c-8d4e-9f50-617283940a1b", "name": "capconduit-1", "technology": "x", "channels": []},
            {"id": "conference", "name": "capconduit-1", "channels": []},
        ])]),
    ) {
        let channels: Vec<Channel> = listed.into_iter().filter_map(|it| serde_json::from_value(it).ok()).collect();
        let bridges: Vec<Bridge> = serde_json::from_value(bridges).unwrap_or_default();
        let apps = ["capconduit-1".to_owned()];
        let ours = |id: &str| {
            channels.iter().any(|c| c.id == id && c.app_name == "Stasis" && c.app_data.split(',').next() == Some("capconduit-1"))
        };
        for finding in compare(Ours { node: "pbx", apps: &apps }, &Belief::default(), &channels, &bridges) {
            match finding {
                Finding::HangUp { channel_id, .. } => prop_assert!(ours(&channel_id), "{channel_id}"),
                Finding::Arrive { caller, .. } => prop_assert!(ours(&caller.id)),
                Finding::DeleteBridge(id) => prop_assert!(id.starts_with("br-"), "{id}"),
                _ => {}
            }
        }
    }

    #[test]
    fn answers_of_other_shapes_are_refused_or_read(
        text in changed_text(vec![
            json!({"system": {"version": "22.10.1~dfsg", "entity_id": "02:00:00:00:00:01"}, "status": {"startup_time": "2026-11-22T12:00:00.000+0000"}}),
            json!({"value": "1795349909"}),
        ]),
        odd in prop::sample::select(&TEXTS[..]),
    ) {
        if let Ok(info) = serde_json::from_str::<Info>(&text) {
            let (_, _) = (info.version_numbers(), info.has_rest_over_websocket());
        }
        drop(serde_json::from_str::<Variable>(&text));
        let info = Info { version: odd.to_owned(), entity_id: String::new(), startup_time: None };
        prop_assert!(!info.has_rest_over_websocket() || odd.starts_with(|c: char| c.is_ascii_digit()), "{odd}");
    }
}
