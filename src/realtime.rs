//! PURE: a client's SIP settings and the `ps_*` rows that Asterisk reads.

use serde::{Deserialize, Serialize};

/// How a client is reached over SIP. Everything that is not here (context, transfers, redirects) is fixed by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipSettings {
    /// Fixed address, or registration.
    #[serde(flatten)]
    pub reach: Reach,
    /// Codecs in order of preference; default `["alaw", "ulaw"]`.
    pub codecs: Vec<String>,
    /// Whether RTP may flow past Asterisk; default false.
    pub direct_media: bool,
}

/// Where the client's SIP lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// A fixed address: `host`, `port`, `transport` (`udp`), `qualify_seconds`.
    Address,
    /// The client registers with us.
    Registration,
}
