//! The objects Asterisk speaks of, reduced to the fields that are used. Unknown fields pass.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

/// A channel as it was when the event happened (ARI `Channel`): so much of it as is used, for lists have tens of thousands.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RawChannel")]
pub struct Channel {
    /// Asterisk's unique id, or the one that was chosen at its creation.
    pub id: String,
    /// Such as `PJSIP/acme-00000001`.
    pub name: String,
    /// Where the channel is in its life.
    pub state: ChannelState,
    /// The technology's id: for PJSIP the SIP Call-ID; empty before there is one.
    pub protocol_id: String,
    /// The party at the far end of this channel.
    pub caller: CallerId,
    /// The extension it is in or came through: for an inbound channel the dialled number.
    pub exten: String,
    /// The running dialplan application, such as `Stasis`.
    pub app_name: String,
    /// Its arguments, such as `myapp-1,inbound`.
    pub app_data: String,
    /// When Asterisk made the channel (millisecond precision).
    pub creationtime: DateTime<Utc>,
}

/// The channel that an event is about: most events tell nothing new of it but its state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Subject {
    /// As [`Channel::id`].
    pub id: String,
    /// Where the channel is in its life.
    #[serde(default = "unknown_state")]
    pub state: ChannelState,
}

impl From<Channel> for Subject {
    fn from(channel: Channel) -> Self {
        Self { id: channel.id, state: channel.state }
    }
}

/// A party's number and name, either empty when absent or withheld.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct CallerId {
    /// Number as the channel driver gave it.
    pub number: String,
    /// Display name.
    pub name: String,
}

/// ARI's spelling of a channel's state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(from = "std::borrow::Cow<'_, str>")]
#[allow(missing_docs, reason = "the words are Asterisk's own")]
pub enum ChannelState {
    Down,
    Rsrved,
    OffHook,
    Dialing,
    Ring,
    Ringing,
    Up,
    Busy,
    DialingOffhook,
    PreRing,
    /// A word this client does not know.
    Unknown,
}

impl From<std::borrow::Cow<'_, str>> for ChannelState {
    fn from(word: std::borrow::Cow<'_, str>) -> Self {
        match word.as_ref() {
            "Down" => Self::Down,
            "Rsrved" => Self::Rsrved,
            "OffHook" => Self::OffHook,
            "Dialing" => Self::Dialing,
            "Ring" => Self::Ring,
            "Ringing" => Self::Ringing,
            "Up" => Self::Up,
            "Busy" => Self::Busy,
            "Dialing Offhook" => Self::DialingOffhook,
            "Pre-ring" => Self::PreRing,
            _ => Self::Unknown,
        }
    }
}

/// A bridge and who is in it (ARI `Bridge`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bridge {
    /// Asterisk's unique id, or the one that was chosen at its creation.
    pub id: String,
    /// Given at creation.
    #[serde(default)]
    pub name: String,
    /// The mixing technology in use, such as `native_rtp`.
    #[serde(default)]
    pub technology: String,
    /// Ids of the channels in it.
    #[serde(default)]
    pub channels: Vec<String>,
}

/// A Stasis application (ARI `Application`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Application {
    /// Its name.
    pub name: String,
    /// Channels it is subscribed to.
    #[serde(default)]
    pub channel_ids: Vec<String>,
    /// Bridges it is subscribed to.
    #[serde(default)]
    pub bridge_ids: Vec<String>,
}

/// A configured endpoint (ARI `Endpoint`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct EndpointState {
    /// Such as `PJSIP`.
    pub technology: String,
    /// Its name, as in `pjsip.conf`.
    pub resource: String,
    /// `online`, `offline` or `unknown`.
    #[serde(default)]
    pub state: String,
    /// Channels to or from it.
    #[serde(default)]
    pub channel_ids: Vec<String>,
}

/// Value of a variable (ARI `Variable`).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Variable {
    /// Empty when the variable is not set.
    #[serde(default)]
    pub value: String,
}

/// Who this Asterisk is (ARI `AsteriskInfo`, only what is used).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "RawInfo")]
pub struct Info {
    /// As Asterisk spells it, such as `22.10.1~dfsg-1`.
    pub version: String,
    /// The host's entity id (`EID`); the same after a restart.
    pub entity_id: String,
    /// When this Asterisk process started; changes when channels were lost.
    pub startup_time: Option<DateTime<Utc>>,
}

impl Info {
    /// The numbers at the front of the version; `None` for a development build (`GIT-…`).
    #[must_use]
    pub fn version_numbers(&self) -> Option<(u32, u32, u32)> {
        let numeric = self.version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
        let mut parts = numeric.split('.').map(|part| part.parse().ok());
        let major = parts.next()??;
        Some((major, parts.next().flatten().unwrap_or(0), parts.next().flatten().unwrap_or(0)))
    }

    /// Whether it takes REST requests over the events' WebSocket: 20.14, 22.4, 23.0 and later.
    #[must_use]
    pub fn has_rest_over_websocket(&self) -> bool {
        match self.version_numbers() {
            Some((20, minor, _)) => minor >= 14,
            Some((22, minor, _)) => minor >= 4,
            Some((major, _, _)) => major >= 23,
            None => false,
        }
    }

    /// Whether it can be asked to tell a caller of early media (`POST /channels/{id}/progress`): 20.16, 21.11, 22.6, 23.0 and later.
    #[must_use]
    pub fn has_progress(&self) -> bool {
        match self.version_numbers() {
            Some((20, minor, _)) => minor >= 16,
            Some((21, minor, _)) => minor >= 11,
            Some((22, minor, _)) => minor >= 6,
            Some((major, _, _)) => major >= 23,
            None => false,
        }
    }
}

#[derive(Deserialize)]
struct RawChannel {
    id: String,
    #[serde(default)]
    name: String,
    #[serde(default = "unknown_state")]
    state: ChannelState,
    #[serde(default)]
    protocol_id: String,
    #[serde(default)]
    caller: CallerId,
    #[serde(default)]
    dialplan: RawDialplan,
    #[serde(deserialize_with = "timestamp")]
    creationtime: DateTime<Utc>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawDialplan {
    exten: String,
    app_name: String,
    app_data: String,
}

#[derive(Deserialize)]
struct RawInfo {
    system: RawSystem,
    #[serde(default)]
    status: RawStatus,
}

#[derive(Deserialize)]
struct RawSystem {
    version: String,
    #[serde(default)]
    entity_id: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct RawStatus {
    #[serde(deserialize_with = "some_timestamp")]
    startup_time: Option<DateTime<Utc>>,
}

fn unknown_state() -> ChannelState {
    ChannelState::Unknown
}

impl From<RawChannel> for Channel {
    fn from(raw: RawChannel) -> Self {
        Self {
            id: raw.id,
            name: raw.name,
            state: raw.state,
            protocol_id: raw.protocol_id,
            caller: raw.caller,
            exten: raw.dialplan.exten,
            app_name: raw.dialplan.app_name,
            app_data: raw.dialplan.app_data,
            creationtime: raw.creationtime,
        }
    }
}

impl From<RawInfo> for Info {
    fn from(raw: RawInfo) -> Self {
        Self { version: raw.system.version, entity_id: raw.system.entity_id, startup_time: raw.status.startup_time }
    }
}

/// Reads Asterisk's spelling of a time, `2026-11-22T10:00:00.123+0100` (no colon in the offset).
pub(super) fn timestamp<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    struct Time;
    impl Visitor<'_> for Time {
        type Value = DateTime<Utc>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a time such as 2026-11-22T10:00:00.123+0100")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            // Asterisk's spelling is RFC 3339's but for the colon, and that one is read several times faster than one by a format.
            let minutes = text.len().saturating_sub(2);
            let (head, tail) = text.split_at_checked(minutes).unwrap_or((text, ""));
            DateTime::parse_from_rfc3339(&format!("{head}:{tail}"))
                .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%#z"))
                .map(|time| time.with_timezone(&Utc))
                .map_err(|_| E::invalid_value(serde::de::Unexpected::Str(text), &self))
        }
    }
    from.deserialize_str(Time)
}

fn some_timestamp<'de, D: Deserializer<'de>>(from: D) -> Result<Option<DateTime<Utc>>, D::Error> {
    timestamp(from).map(Some).map_err(D::Error::custom)
}

/// A module of Asterisk's.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(super) struct Module {
    /// Such as `func_rand.so`.
    pub name: String,
    /// `Running`, or `Not Running`.
    pub status: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(version: &str) -> Info {
        Info { version: version.into(), entity_id: String::new(), startup_time: None }
    }

    #[test]
    fn rest_over_websocket_is_known_by_version() {
        for (version, expected) in [
            ("22.10.1~dfsg+~cs6.15.60671435-1", true),
            ("22.4.0", true),
            ("22.3.9", false),
            ("20.14.0", true),
            ("20.13.1", false),
            ("21.12.0", false),
            ("23.0.0", true),
            ("24", true),
            ("GIT-master-0ab1c2d", false),
            ("", false),
        ] {
            assert_eq!(info(version).has_rest_over_websocket(), expected, "{version}");
        }
        assert_eq!(info("22.10.1~dfsg").version_numbers(), Some((22, 10, 1)));
    }

    #[test]
    fn whether_a_caller_can_be_told_of_early_media_is_known_by_version() {
        for (version, expected) in [
            ("22.10.1~dfsg+~cs6.15.60671435-1", true),
            ("22.6.0", true),
            ("22.5.2", false),
            ("21.11.0", true),
            ("21.10.9", false),
            ("20.16.0", true),
            ("20.6.0~dfsg+~cs6.13.40431414-2build5", false),
            ("23.0.0", true),
            ("18.26.4", false),
            ("GIT-master-0ab1c2d", false),
        ] {
            assert_eq!(info(version).has_progress(), expected, "{version}");
        }
    }

    #[test]
    fn a_channel_is_read_as_asterisk_writes_it() {
        let text = r#"{"id":"1700000000.1","name":"PJSIP/carrier-00000000","state":"Ring","protocol_id":"a@b","caller":
            {"name":"","number":"+15550001"},"connected":{"name":"","number":""},"accountcode":"","dialplan":{"context":"in",
            "exten":"+442079460000","priority":4,"app_name":"Stasis","app_data":"cc-1,inbound"},
            "creationtime":"2026-11-22T12:00:00.123+0100","language":"en"}"#;
        let channel: Channel = serde_json::from_str(text).expect("a channel");
        assert_eq!(channel.state, ChannelState::Ring);
        assert_eq!(channel.exten, "+442079460000");
        assert_eq!(channel.creationtime.to_rfc3339(), "2026-11-22T11:00:00.123+00:00");
    }
}
