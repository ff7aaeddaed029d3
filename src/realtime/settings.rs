//! PURE: how a client is reached: as written, and checked.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer, Serialize};

use crate::routing::snapshot::{ClientIdentifier, words};

/// The digest realm of registering clients: what Asterisk challenges with unless `default_realm` in pjsip.conf says otherwise.
pub const REALM: &str = "asterisk";

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
    /// IP addresses that the client's own requests come from (they reach a context that refuses every call).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identify_by_ip: Option<Vec<String>>,
    /// The client registers with us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registration: Option<RegistrationForm>,
}

/// Credentials of a client that registers (as SIP user `client_identifier`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistrationForm {
    /// Authentication user name.
    pub username: String,
    /// Its password; absent = keep the stored one. Never written out.
    #[serde(default, skip_serializing)]
    pub password: Option<Password>,
}

/// A password as read; shown nowhere.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }
}

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.0.expose_secret() == other.0.expose_secret()
    }
}

impl Eq for Password {}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// MD5 of `username:realm:password`, in hex: what a registering client is checked against, and as good as its password.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Cred(String);

impl Md5Cred {
    /// Computes it for [`REALM`].
    #[must_use]
    pub fn new(username: &SipName, password: &Password) -> Self {
        let text = format!("{username}:{REALM}:{}", password.0.expose_secret());
        Self(Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Takes a stored one; `None` when it is not 32 lower-case hex digits.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (text.len() == 32 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// The hex digits, for the database only.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Md5Cred {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Md5Cred([REDACTED])")
    }
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
    /// Addresses that the client's own requests come from.
    pub identify_by_ip: Vec<IpAddr>,
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

/// An IPv4 or IPv6 address, or a host name of letters, digits, `-` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr),
    /// Host name, checked by RFC 1123.
    Name(String),
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => return Ok(Self::V4(address)),
            Ok(IpAddr::V6(address)) => return Ok(Self::V6(address)),
            Err(_) => {}
        }
        let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(in_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits only is a mistyped address, which resolvers read in surprising ways.
        let last_is_a_name =
            text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && text.split('.').all(label) && last_is_a_name {
            Ok(Self::Name(text.to_ascii_lowercase()))
        } else {
            Err("use an IPv4 address, an IPv6 address without brackets, or a host name of letters, digits, - and .")
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// An authentication user name: `[A-Za-z0-9_.@-]{1,80}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipName(String);

impl FromStr for SipName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@-".contains(&byte);
        if (1..=80).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("use 1 to 80 of A-Z a-z 0-9 _ . @ -")
        }
    }
}

impl fmt::Display for SipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
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

impl SipForm {
    /// Checks every value. Problems go to `report` as (field, what is wrong); `None` when there were any.
    pub fn check(&self, report: &mut dyn FnMut(&str, String)) -> Option<SipSettings> {
        let reach = self.check_reach(report);
        let codecs = self.check_codecs(report);
        let dtmf_mode = self.dtmf_mode.as_deref().unwrap_or(DtmfMode::Rfc4733.as_str()).parse();
        let dtmf_mode = dtmf_mode.map_err(|error| report("dtmf_mode", error)).ok();
        let mut identify_by_ip = Some(Vec::new());
        for text in self.identify_by_ip.iter().flatten() {
            match (text.parse::<IpAddr>(), &mut identify_by_ip) {
                (Ok(address), Some(all)) if all.contains(&address) => {
                    report("identify_by_ip", format!("{text:?} is there twice"))
                }
                (Ok(address), Some(all)) => all.push(address),
                (Ok(_), None) => {}
                (Err(_), _) => {
                    report("identify_by_ip", format!("{text:?} is not an IPv4 or IPv6 address"));
                    identify_by_ip = None;
                }
            }
        }
        Some(SipSettings {
            reach: reach?,
            codecs: codecs?,
            direct_media: self.direct_media.unwrap_or(false),
            dtmf_mode: dtmf_mode?,
            identify_by_ip: identify_by_ip?,
        })
    }

    fn check_reach(&self, report: &mut dyn FnMut(&str, String)) -> Option<Reach> {
        match (&self.host, &self.registration) {
            (Some(host), None) => self.check_address(host, report),
            (None, Some(registration)) => {
                for (field, given) in [
                    ("port", self.port.is_some()),
                    ("transport", self.transport.is_some()),
                    ("qualify_seconds", self.qualify_seconds.is_some()),
                ] {
                    if given {
                        report(field, "is allowed only beside host".to_owned());
                    }
                }
                if registration.password.as_ref().is_some_and(|password| password.0.expose_secret().is_empty()) {
                    report("registration.password", "is empty: leave it out to keep the stored one".to_owned());
                }
                let username: Result<SipName, _> = registration.username.parse();
                let wrong =
                    |allowed| report("registration.username", format!("{:?}: {allowed}", registration.username));
                Some(Reach::Registration { username: username.map_err(wrong).ok()? })
            }
            _ => {
                report("host", "exactly one of host and registration is needed".to_owned());
                None
            }
        }
    }

    fn check_address(&self, host: &str, report: &mut dyn FnMut(&str, String)) -> Option<Reach> {
        let transport: Result<SipTransport, _> =
            self.transport.as_deref().unwrap_or(SipTransport::Udp.as_str()).parse();
        let transport = transport.map_err(|error| report("transport", error)).ok();
        let default_port = if transport == Some(SipTransport::Tls) { 5061 } else { 5060 };
        let port = u16::try_from(self.port.unwrap_or(default_port)).ok().filter(|port| *port > 0);
        if port.is_none() {
            report("port", format!("{} is not allowed: 1 to 65535", self.port.unwrap_or(default_port)));
        }
        let qualify = self.qualify_seconds.unwrap_or(0);
        let qualify_seconds = u32::try_from(qualify).ok().filter(|seconds| *seconds <= 3600);
        if qualify_seconds.is_none() {
            report("qualify_seconds", format!("{qualify} is not allowed: 0 (never) to 3600"));
        }
        let host = host.parse::<Host>().map_err(|allowed| report("host", format!("{host:?}: {allowed}"))).ok();
        Some(Reach::Address { host: host?, port: port?, transport: transport?, qualify_seconds: qualify_seconds? })
    }

    fn check_codecs(&self, report: &mut dyn FnMut(&str, String)) -> Option<Vec<Codec>> {
        let Some(given) = &self.codecs else { return Some(vec![Codec::Alaw, Codec::Ulaw]) };
        let mut codecs = Vec::new();
        let mut sound = true;
        for text in given {
            match text.parse() {
                Ok(codec) if codecs.contains(&codec) => {
                    report("codecs", format!("{text:?} is there twice"));
                    sound = false;
                }
                Ok(codec) => codecs.push(codec),
                Err(error) => {
                    report("codecs", error);
                    sound = false;
                }
            }
        }
        if given.is_empty() {
            report("codecs", "is empty: name at least one".to_owned());
        }
        (sound && !given.is_empty()).then_some(codecs)
    }
}

impl From<&SipSettings> for SipForm {
    /// The form that [`SipForm::check`] reads back to the same settings, defaults left out, without a password.
    fn from(settings: &SipSettings) -> Self {
        let mut form = Self {
            codecs: (settings.codecs != [Codec::Alaw, Codec::Ulaw])
                .then(|| settings.codecs.iter().map(ToString::to_string).collect()),
            direct_media: settings.direct_media.then_some(true),
            dtmf_mode: (settings.dtmf_mode != DtmfMode::Rfc4733).then(|| settings.dtmf_mode.to_string()),
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
                form.registration = Some(RegistrationForm { username: username.to_string(), password: None });
            }
        }
        form
    }
}
