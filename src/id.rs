//! Identifiers: typed row ids, the call id, and the names of the Asterisk objects derived from it.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

macro_rules! row_id {
    ($($(#[$doc:meta])* $name:ident),+ $(,)?) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub i64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )+};
}

row_id! {
    /// Row of `users`.
    UserId,
    /// Row of `clients`.
    ClientId,
    /// Row of `dids`.
    DidId,
    /// Row of `campaigns`.
    CampaignId,
    /// Row of `campaign_client_settings`.
    LinkId,
}

/// Identity of one inbound call: a `UUIDv8` (RFC 9562) that sorts by the inbound channel's creation time
/// and is computed from that time, the node and the channel id, so that whoever lists Asterisk's
/// channels arrives at the same call, and a call seen twice is the same call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CallId(pub Uuid);

impl CallId {
    /// Computes the id of the call whose inbound channel was created at `created` on `node`.
    #[must_use]
    pub fn derive(created: DateTime<Utc>, node: &str, channel_id: &str) -> Self {
        let millis = u64::try_from(created.timestamp_millis()).unwrap_or(0);
        let mut hash = Sha256::new();
        hash.update(node.as_bytes());
        hash.update([0]);
        hash.update(channel_id.as_bytes());
        let digest = hash.finalize();
        let mut bytes = [0_u8; 16];
        bytes[..6].copy_from_slice(&millis.to_be_bytes()[2..]);
        bytes[6..].copy_from_slice(&digest[..10]);
        Self(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// Channel id of the `n`-th attempt's outbound channel (n counts from 1): `<call>-<n>`.
    #[must_use]
    pub fn leg(self, n: u32) -> String {
        format!("{self}-{n}")
    }

    /// Id of this call's bridge of that kind: `br-<call>`, and `br-<call>-early` where media passes through Asterisk's core.
    #[must_use]
    pub fn bridge(self, kind: BridgeKind) -> String {
        match kind {
            BridgeKind::Native => format!("br-{self}"),
            BridgeKind::Proxied => format!("br-{self}{EARLY}"),
        }
    }

    /// Reads `<call>-<n>` back; `None` for a channel that is not one of our outbound legs.
    #[must_use]
    pub fn parse_leg(channel_id: &str) -> Option<(Self, u32)> {
        let (call, n) = channel_id.split_at_checked(36)?;
        let n: u32 = n.strip_prefix('-')?.parse().ok()?;
        Some((call.parse().ok()?, n))
    }

    /// Reads a bridge's id back; `None` for a bridge that is not one of ours.
    #[must_use]
    pub fn parse_bridge(bridge_id: &str) -> Option<Self> {
        let call = bridge_id.strip_prefix("br-")?;
        call.strip_suffix(EARLY).unwrap_or(call).parse().ok()
    }
}

/// Ends the id of a bridge whose parties met before the answer.
const EARLY: &str = "-early";

/// How media passes through a call's bridge. A leg never changes it: each change gives its packets another SSRC and sequence, and phones
/// were measured to hear nothing any more when that happens after their first packet or two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BridgeKind {
    /// For parties who meet at the answer: Asterisk hands packets on as they are (`native_rtp`), where it can.
    Native,
    /// For parties who meet before the answer: packets pass through Asterisk's core from the first to the last (ARI `proxy_media`).
    Proxied,
}

impl BridgeKind {
    /// All that a call may have.
    pub const ALL: [Self; 2] = [Self::Native, Self::Proxied];
}

impl fmt::Display for CallId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl std::str::FromStr for CallId {
    type Err = uuid::Error;

    /// Accepts the hyphenated form only, as it appears in channel ids, logs and `calls`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(s).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(millis).expect("a time in range")
    }

    #[test]
    fn the_same_channel_is_the_same_call_and_ids_sort_by_time() {
        let a = CallId::derive(at(1_700_000_000_123), "pbx-1", "1700000000.1");
        assert_eq!(a, CallId::derive(at(1_700_000_000_123), "pbx-1", "1700000000.1"));
        assert_ne!(a, CallId::derive(at(1_700_000_000_123), "pbx-2", "1700000000.1"));
        assert!(a < CallId::derive(at(1_700_000_000_124), "pbx-1", "1700000000.0"));
        assert_eq!(a.0.get_version_num(), 8);
    }

    #[test]
    fn legs_and_bridges_name_their_call() {
        let call = CallId::derive(at(1), "n", "c");
        assert_eq!(CallId::parse_leg(&call.leg(12)), Some((call, 12)));
        for kind in BridgeKind::ALL {
            assert_eq!(CallId::parse_bridge(&call.bridge(kind)), Some(call));
        }
        assert_eq!(CallId::parse_bridge(&format!("br-{call}-other")), None);
        for foreign in ["1700000000.1", "", "x-1", "ünïcode-but-longer-than-thirty-six-bytes-1"] {
            assert_eq!(CallId::parse_leg(foreign), None, "{foreign}");
        }
        assert_eq!(CallId::parse_leg(&format!("{call}-x")), None);
    }
}
