//! Typed events. Only the fields in use are read; unknown types and fields pass.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use super::model::{Channel, ChannelState, Subject, timestamp};

/// One event of a Stasis application.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "short-lived, and moved a few times; a box would be one allocation more")]
pub enum Event {
    /// A channel entered the application.
    StasisStart {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The application it entered.
        app: String,
        /// The arguments given to `Stasis()` or `appArgs`.
        args: Vec<String>,
        /// The channel.
        channel: Channel,
        /// Id of the channel it took the place of (attended transfer), if any.
        replaced: Option<String>,
    },
    /// A channel left the application: hung up, or sent back to the dialplan.
    StasisEnd {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel.
        channel: Subject,
    },
    /// A channel's state changed, to `channel.state`.
    ChannelStateChange {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel.
        channel: Subject,
    },
    /// Someone asked for the channel to end; it ends soon.
    ChannelHangupRequest {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel.
        channel: Subject,
        /// Q.850 cause as far as known; 32 with `soft` is a soft-hangup flag, not Q.850.
        cause: Option<i16>,
        /// Whether the hang-up was asked for inside Asterisk.
        soft: bool,
        /// The technology's own cause: for PJSIP the SIP status.
        tech_cause: Option<i16>,
    },
    /// The channel is gone.
    ChannelDestroyed {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel.
        channel: Subject,
        /// Q.850 cause; 0 when there was none.
        cause: i16,
        /// The cause in Asterisk's words.
        cause_txt: String,
        /// The technology's own cause: for PJSIP the SIP status.
        tech_cause: Option<i16>,
    },
    /// Progress of a dial.
    Dial {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel that is being dialled.
        peer: Subject,
        /// Empty at first, then `RINGING`, `PROGRESS`, `ANSWER`, and so on (Asterisk's `DIALSTATUS`).
        dialstatus: String,
    },
    /// The channel's far end is heard, for the first time or after silence: told where `TALK_DETECT(set)` asked for it.
    ChannelTalkingStarted {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The channel.
        channel: Subject,
    },
    /// Another socket took this application over: this one gets no more events of it.
    ApplicationReplaced {
        /// Asterisk's time of the event.
        timestamp: DateTime<Utc>,
        /// The application.
        application: String,
    },
    /// Any other event.
    Other {
        /// Asterisk's time of the event, where it had one.
        timestamp: Option<DateTime<Utc>>,
        /// Its type.
        kind: String,
    },
}

/// What [`Event::kind`] can say.
pub const EVENT_KINDS: &[&str] = &[
    "StasisStart",
    "StasisEnd",
    "ChannelStateChange",
    "ChannelHangupRequest",
    "ChannelDestroyed",
    "Dial",
    "ChannelTalkingStarted",
    "ApplicationReplaced",
    "other",
];

impl Event {
    /// The event's type, or `other`: a closed set, fit for a metric's label.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::StasisStart { .. } => "StasisStart",
            Self::StasisEnd { .. } => "StasisEnd",
            Self::ChannelStateChange { .. } => "ChannelStateChange",
            Self::ChannelHangupRequest { .. } => "ChannelHangupRequest",
            Self::ChannelDestroyed { .. } => "ChannelDestroyed",
            Self::Dial { .. } => "Dial",
            Self::ChannelTalkingStarted { .. } => "ChannelTalkingStarted",
            Self::ApplicationReplaced { .. } => "ApplicationReplaced",
            Self::Other { .. } => "other",
        }
    }

    /// Asterisk's time of the event; `None` only for an unknown event without one.
    #[must_use]
    pub fn timestamp(&self) -> Option<DateTime<Utc>> {
        match self {
            Self::StasisStart { timestamp, .. }
            | Self::StasisEnd { timestamp, .. }
            | Self::ChannelStateChange { timestamp, .. }
            | Self::ChannelHangupRequest { timestamp, .. }
            | Self::ChannelDestroyed { timestamp, .. }
            | Self::Dial { timestamp, .. }
            | Self::ChannelTalkingStarted { timestamp, .. }
            | Self::ApplicationReplaced { timestamp, .. } => Some(*timestamp),
            Self::Other { timestamp, .. } => *timestamp,
        }
    }

    /// Whether the channel of an event of its going is up: it was answered.
    #[must_use]
    pub fn shows_answered(&self) -> bool {
        let (Self::StasisEnd { channel, .. }
        | Self::ChannelHangupRequest { channel, .. }
        | Self::ChannelDestroyed { channel, .. }) = self
        else {
            return false;
        };
        channel.state == ChannelState::Up
    }

    /// The channel the event is about, by its id: for `Dial` the dialled one.
    #[must_use]
    pub fn channel_id(&self) -> Option<&str> {
        match self {
            Self::StasisStart { channel, .. } => Some(&channel.id),
            Self::StasisEnd { channel, .. }
            | Self::ChannelStateChange { channel, .. }
            | Self::ChannelHangupRequest { channel, .. }
            | Self::ChannelDestroyed { channel, .. }
            | Self::ChannelTalkingStarted { channel, .. }
            | Self::Dial { peer: channel, .. } => Some(&channel.id),
            Self::ApplicationReplaced { .. } | Self::Other { .. } => None,
        }
    }
}

/// One text frame of the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "short-lived and on the stack; a box would be one allocation per event")]
pub(super) enum Frame {
    /// An event for the consumer.
    Event(Event),
    /// The answer to a request sent over the same socket.
    Response(RestResponse),
}

/// The answer to a request sent over the WebSocket.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct RestResponse {
    /// The id the request carried.
    pub(super) request_id: String,
    /// HTTP status.
    pub(super) status_code: u16,
    /// HTTP reason phrase.
    #[serde(default)]
    pub(super) reason_phrase: String,
    /// The JSON body as text; empty where there is none.
    #[serde(default)]
    pub(super) message_body: Option<String>,
}

/// First look at a frame: what is it?
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
}

/// The fields of a `StasisStart` in use.
#[derive(Deserialize)]
struct StartBody {
    #[serde(deserialize_with = "timestamp")]
    timestamp: DateTime<Utc>,
    #[serde(default)]
    application: String,
    channel: Channel,
    #[serde(default)]
    args: Vec<String>,
    replace_channel: Option<IdOnly>,
}

#[derive(Deserialize)]
struct IdOnly {
    id: String,
}

/// The fields of every other event of a channel; those an event has not are absent.
#[derive(Deserialize)]
struct Body {
    #[serde(deserialize_with = "timestamp")]
    timestamp: DateTime<Utc>,
    channel: Subject,
    cause: Option<i16>,
    #[serde(default)]
    cause_txt: String,
    #[serde(default)]
    soft: bool,
    tech_cause: Option<i16>,
}

#[derive(Deserialize)]
struct DialBody {
    #[serde(deserialize_with = "timestamp")]
    timestamp: DateTime<Utc>,
    peer: Subject,
    #[serde(default)]
    dialstatus: String,
}

#[derive(Deserialize)]
struct ApplicationBody {
    #[serde(deserialize_with = "timestamp")]
    timestamp: DateTime<Utc>,
    application: String,
}

/// An unknown event may carry anything under any name, so a time that cannot be read is no error.
#[derive(Deserialize)]
struct OtherBody {
    #[serde(default)]
    timestamp: Lenient,
}

#[derive(Default)]
struct Lenient(Option<DateTime<Utc>>);

impl<'de> Deserialize<'de> for Lenient {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let value = serde_json::Value::deserialize(from)?;
        Ok(Self(timestamp(value).ok()))
    }
}

/// Reads one text frame.
///
/// # Errors
/// The JSON error when the text is not JSON, has no `type`, or lacks a field that its type must have.
pub(super) fn decode(text: &str) -> Result<Frame, serde_json::Error> {
    let kind = match leading_kind(text) {
        Some(kind) => Cow::Borrowed(kind),
        None => serde_json::from_str::<Head<'_>>(text)?.kind,
    };
    let event = match kind.as_ref() {
        "RESTResponse" => return serde_json::from_str(text).map(Frame::Response),
        "Dial" => {
            let DialBody { timestamp, peer, dialstatus } = serde_json::from_str(text)?;
            Event::Dial { timestamp, peer, dialstatus }
        }
        "ApplicationReplaced" => {
            let ApplicationBody { timestamp, application } = serde_json::from_str(text)?;
            Event::ApplicationReplaced { timestamp, application }
        }
        "StasisStart" => {
            let StartBody { timestamp, application, channel, args, replace_channel } = serde_json::from_str(text)?;
            let replaced = replace_channel.map(|channel| channel.id);
            Event::StasisStart { timestamp, app: application, args, channel, replaced }
        }
        "StasisEnd" | "ChannelStateChange" | "ChannelHangupRequest" | "ChannelDestroyed" | "ChannelTalkingStarted" => {
            of_channel(&kind, serde_json::from_str(text)?)
        }
        _ => Event::Other { timestamp: serde_json::from_str::<OtherBody>(text)?.timestamp.0, kind: kind.into_owned() },
    };
    Ok(Frame::Event(event))
}

/// The type where it comes first, as Asterisk writes it: that spares reading the text twice.
fn leading_kind(text: &str) -> Option<&str> {
    let (kind, _) = text.strip_prefix(r#"{"type":""#)?.split_once('"')?;
    kind.bytes().all(|byte| byte.is_ascii_alphanumeric()).then_some(kind)
}

fn of_channel(kind: &str, body: Body) -> Event {
    let Body { timestamp, channel, cause, cause_txt, soft, tech_cause } = body;
    match kind {
        "StasisEnd" => Event::StasisEnd { timestamp, channel },
        "ChannelStateChange" => Event::ChannelStateChange { timestamp, channel },
        "ChannelTalkingStarted" => Event::ChannelTalkingStarted { timestamp, channel },
        "ChannelHangupRequest" => Event::ChannelHangupRequest { timestamp, channel, cause, soft, tech_cause },
        _ => Event::ChannelDestroyed { timestamp, channel, cause: cause.unwrap_or(0), cause_txt, tech_cause },
    }
}

#[cfg(test)]
mod fuzz;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const CHANNEL: &str = r#"{"id":"1.1","name":"PJSIP/a-1","state":"Up","caller":{"name":"","number":""},
        "dialplan":{"context":"c","exten":"e","priority":1},"creationtime":"2026-11-22T12:00:00.000+0000"}"#;

    fn event(kind: &str, more: &str) -> Event {
        let text = format!(
            r#"{{"application":"cc-1","timestamp":"2026-11-22T12:00:00.123+0000",{more}"type":"{kind}","channel":{CHANNEL}}}"#
        );
        match decode(&text).expect("an event") {
            Frame::Event(event) => event,
            Frame::Response(response) => panic!("{response:?}"),
        }
    }

    #[test]
    fn the_fields_in_use_are_read() {
        match event("StasisStart", r#""args":["inbound","x,y"],"replace_channel":{"id":"0.9","more":1},"#) {
            Event::StasisStart { timestamp, app, args, channel, replaced } => {
                assert_eq!(timestamp.timestamp_subsec_millis(), 123);
                assert_eq!((app.as_str(), channel.id.as_str(), replaced.as_deref()), ("cc-1", "1.1", Some("0.9")));
                assert_eq!(args, ["inbound", "x,y"]);
            }
            other => panic!("{other:?}"),
        }
        match event("ChannelDestroyed", r#""cause":17,"cause_txt":"User busy","tech_cause":486,"#) {
            Event::ChannelDestroyed { cause, cause_txt, tech_cause, .. } => {
                assert_eq!((cause, cause_txt.as_str(), tech_cause), (17, "User busy", Some(486)));
            }
            other => panic!("{other:?}"),
        }
        match event("ChannelHangupRequest", r#""cause":32,"soft":true,"#) {
            Event::ChannelHangupRequest { cause, soft, tech_cause, .. } => {
                assert_eq!((cause, soft, tech_cause), (Some(32), true, None));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(event("StasisEnd", ""), Event::StasisEnd { .. }));
        assert!(matches!(event("ChannelTalkingStarted", ""), Event::ChannelTalkingStarted { .. }));
        assert!(matches!(event("ChannelStateChange", r#""unknown":{"deep":[1]},"#), Event::ChannelStateChange { .. }));
    }

    #[test]
    fn a_known_name_with_another_shape_in_an_unknown_event_is_no_error() {
        let text = r#"{"type":"PeerStatusChange","peer":{"peer_status":"x"},"cause":"words","timestamp":7}"#;
        let expected = Event::Other { timestamp: None, kind: "PeerStatusChange".to_owned() };
        assert_eq!(decode(text).expect("an event"), Frame::Event(expected));
    }

    fn word() -> impl Strategy<Value = serde_json::Value> {
        prop_oneof![
            Just(json!(null)),
            any::<i64>().prop_map(|n| json!(n)),
            any::<bool>().prop_map(|b| json!(b)),
            ".{0,12}".prop_map(|s| json!(s)),
            Just(serde_json::from_str(CHANNEL).expect("JSON")),
            Just(json!("2026-11-22T12:00:00.123+0000")),
            Just(json!(["a", 1, {}])),
        ]
    }

    proptest! {
        #[test]
        fn no_text_makes_decoding_panic(text in ".{0,300}") {
            drop(decode(&text));
        }

        #[test]
        fn no_shape_of_an_event_makes_decoding_panic_and_unknown_types_always_pass(
            kind in prop_oneof![
                Just("StasisStart"), Just("StasisEnd"), Just("ChannelStateChange"), Just("ChannelHangupRequest"),
                Just("ChannelDestroyed"), Just("Dial"), Just("ApplicationReplaced"), Just("RESTResponse"), Just("New"),
            ],
            fields in proptest::collection::hash_map(prop_oneof![
                Just("timestamp"), Just("channel"), Just("args"), Just("cause"), Just("tech_cause"), Just("soft"),
                Just("peer"), Just("dialstatus"), Just("application"), Just("request_id"), Just("status_code"),
                Just("replace_channel"), Just("anything"),
            ], word(), 0..10),
        ) {
            let mut event = serde_json::to_value(fields).expect("JSON");
            event["type"] = json!(kind);
            let decoded = decode(&event.to_string());
            if kind == "New" {
                prop_assert!(decoded.is_ok(), "{decoded:?}");
            }
        }
    }
}
