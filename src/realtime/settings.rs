//! PURE: how a client is reached: as written, and checked.

use serde::{Deserialize, Serialize};

use super::{Host, Password, Realm, SipName};
use crate::config::Network;
use crate::routing::snapshot::{CallerId, ClientIdentifier, words};

/// SIP settings as written in a document and as stored (JSON, without the password). Either `host` or `registration`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SipForm {
    /// Fixed address: IPv4, IPv6 (no brackets) or a host name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Its port, 1 to 65535; default 5060, or 5061 for `tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<i64>,
    /// `udp` (default), `tcp` or `tls`; the node needs a transport of that kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<String>,
    /// How often Asterisk asks by OPTIONS whether the address answers, 0 to 3600 seconds; 0 (default) = never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub qualify_seconds: Option<i64>,
    /// Codecs in order of preference; default `["alaw", "ulaw"]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codecs: Option<Vec<String>>,
    /// Whether RTP may flow past Asterisk; default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub direct_media: Option<bool>,
    /// `rfc4733` (default), `inband`, `info` or `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dtmf_mode: Option<String>,
    /// What the client is shown of the caller: `pass` (default), `withhold` or `did`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caller_id: Option<String>,
    /// Addresses, or ranges no wider than /24 (IPv4) or /64 (IPv6), that the client's own requests come from (they reach a context that
    /// refuses every call).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identify_by_ip: Option<Vec<String>>,
    /// How we answer a client that challenges our calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outbound_auth: Option<OutboundAuthForm>,
    /// The client registers with us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationForm>,
}

/// Credentials of a client that registers (as SIP user `client_identifier`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationForm {
    /// Authentication user name.
    pub username: String,
    /// Its password; absent = keep the stored one. Never written out.
    #[serde(default, skip_serializing)]
    pub password: Option<Password>,
    /// In a document only: the file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
}

/// Credentials for a client that challenges us (401 or 407).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundAuthForm {
    /// User name that the client knows us by.
    pub username: String,
    /// Its password; absent = keep the stored one. Never written out.
    #[serde(default, skip_serializing)]
    pub password: Option<Password>,
    /// In a document only: the file that holds the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_file: Option<String>,
    /// The realm of the client's challenge: with it only a digest is stored, without it the password itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
}

/// SIP settings, every value checked. Everything that is not here (context, transfers, redirects) is fixed by us.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipSettings {
    /// Fixed address, or registration.
    pub reach: Reach,
    /// Codecs in order of preference; at least one.
    pub codecs: Vec<Codec>,
    /// Whether RTP may flow past Asterisk.
    pub direct_media: bool,
    /// How key presses travel.
    pub dtmf_mode: DtmfMode,
    /// What the client is shown of the caller.
    pub caller_id: CallerId,
    /// Addresses that the client's own requests come from.
    pub identify_by_ip: Vec<Network>,
    /// How we answer its challenges.
    pub outbound_auth: Option<OutboundAuth>,
}

/// How we answer a client that challenges us; the secret lies beside it ([`super::Secrets`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboundAuth {
    /// User name that the client knows us by.
    pub username: SipName,
    /// The realm that the digest is for; `None` = any, and the password is stored readably.
    pub realm: Option<Realm>,
}

impl OutboundAuth {
    fn form(&self) -> OutboundAuthForm {
        let realm = self.realm.as_ref().map(ToString::to_string);
        OutboundAuthForm { username: self.username.to_string(), realm, ..OutboundAuthForm::default() }
    }
}

impl SipSettings {
    /// The host of a client with a fixed address.
    #[must_use]
    pub fn host(&self) -> Option<&Host> {
        match &self.reach {
            Reach::Address { host, .. } => Some(host),
            Reach::Registration { .. } => None,
        }
    }
}

/// Where the client's SIP lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// A fixed address.
    Address {
        /// Host.
        host: Host,
        /// Port.
        port: u16,
        /// Transport.
        transport: SipTransport,
        /// Seconds between OPTIONS; 0 = none.
        qualify_seconds: u32,
    },
    /// The client registers with us.
    Registration {
        /// Authentication user name.
        username: SipName,
    },
}

words! {
    /// SIP transports.
    SipTransport {
        /// UDP.
        Udp = "udp",
        /// TCP.
        Tcp = "tcp",
        /// TLS.
        Tls = "tls",
    }
}

words! {
    /// How key presses travel.
    DtmfMode {
        /// RTP events (RFC 4733).
        Rfc4733 = "rfc4733",
        /// Tones in the audio.
        Inband = "inband",
        /// SIP INFO.
        Info = "info",
        /// RTP events if offered, else tones.
        Auto = "auto",
    }
}

words! {
    /// Codecs that a client may be given, by Asterisk's names.
    Codec {
        /// G.711 A-law.
        Alaw = "alaw",
        /// G.711 µ-law.
        Ulaw = "ulaw",
        /// G.722.
        G722 = "g722",
        /// G.726.
        G726 = "g726",
        /// G.729 (passes through unless the node can transcode it).
        G729 = "g729",
        /// GSM full rate.
        Gsm = "gsm",
        /// iLBC.
        Ilbc = "ilbc",
        /// Opus.
        Opus = "opus",
        /// Speex.
        Speex = "speex",
    }
}

/// Whether an identifier is kept for the node's own objects in pjsip.conf: Asterisk reads clients first, so a client of that name
/// would take the carrier's place; `anonymous` would let in whoever Asterisk does not know.
#[must_use]
pub fn reserved(identifier: &ClientIdentifier) -> bool {
    let lower = identifier.as_str().to_ascii_lowercase();
    ["anonymous", "default_outbound_endpoint", "overflow"].contains(&lower.as_str())
        || ["carrier", "capconduit"].iter().any(|start| lower.starts_with(start))
}

impl From<&SipSettings> for SipForm {
    /// The form that [`SipForm::check`] reads back to the same settings, defaults left out, without a password.
    fn from(settings: &SipSettings) -> Self {
        let mut form = Self {
            codecs: (settings.codecs != [Codec::Alaw, Codec::Ulaw])
                .then(|| settings.codecs.iter().map(ToString::to_string).collect()),
            direct_media: settings.direct_media.then_some(true),
            dtmf_mode: (settings.dtmf_mode != DtmfMode::Rfc4733).then(|| settings.dtmf_mode.to_string()),
            caller_id: (settings.caller_id != CallerId::Pass).then(|| settings.caller_id.to_string()),
            outbound_auth: settings.outbound_auth.as_ref().map(OutboundAuth::form),
            identify_by_ip: (!settings.identify_by_ip.is_empty())
                .then(|| settings.identify_by_ip.iter().map(ToString::to_string).collect()),
            ..Self::default()
        };
        match &settings.reach {
            Reach::Address { host, port, transport, qualify_seconds } => {
                let default_port = if *transport == SipTransport::Tls { 5061 } else { 5060 };
                form.host = Some(host.to_string());
                form.port = (*port != default_port).then_some(i64::from(*port));
                form.transport = (*transport != SipTransport::Udp).then(|| transport.to_string());
                form.qualify_seconds = (*qualify_seconds != 0).then_some(i64::from(*qualify_seconds));
            }
            Reach::Registration { username } => {
                form.registration =
                    Some(RegistrationForm { username: username.to_string(), ..RegistrationForm::default() });
            }
        }
        form
    }
}
