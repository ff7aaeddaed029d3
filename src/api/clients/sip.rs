//! How a client is reached: as sent and as shown. Secrets go in only; one that was generated is shown once.

use poem_openapi::Object;
use poem_openapi::types::MaybeUndefined;
use secrecy::{ExposeSecret, SecretString};

use crate::api::changes::Merge;
use crate::api::secret::Secret;
use crate::realtime::{Md5Cred, Password, Reach, RegistrationForm, SipForm, SipSettings};
use crate::store::clients::ClientValues;

/// How a client is reached: either a fixed address (`host`), or it registers with us (`registration`). Absent keeps, null clears.
#[derive(Debug, Clone, Default, Object)]
pub(super) struct SipChange {
    /// Fixed address: IPv4, IPv6 (no brackets) or a host name.
    #[oai(validator(max_length = 253))]
    host: MaybeUndefined<String>,
    /// Its port; null (at first) = 5060, or 5061 for `tls`.
    #[oai(validator(minimum(value = "1"), maximum(value = "65535")))]
    port: MaybeUndefined<i64>,
    /// `udp` (at first), `tcp` or `tls`.
    transport: MaybeUndefined<String>,
    /// How often Asterisk asks by OPTIONS whether the address answers, in seconds; 0 (at first) = never.
    #[oai(validator(minimum(value = "0"), maximum(value = "3600")))]
    qualify_seconds: MaybeUndefined<i64>,
    /// Codecs in order of preference; at first `["alaw", "ulaw"]`.
    #[oai(validator(min_items = 1, max_items = 9))]
    codecs: MaybeUndefined<Vec<String>>,
    /// Whether RTP may flow past Asterisk; at first false.
    direct_media: MaybeUndefined<bool>,
    /// `rfc4733` (at first), `inband`, `info` or `auto`.
    dtmf_mode: MaybeUndefined<String>,
    /// IP addresses that the client's own requests come from.
    #[oai(validator(max_items = 32))]
    identify_by_ip: MaybeUndefined<Vec<String>>,
    /// The client registers with us, as SIP user `client_identifier`.
    registration: MaybeUndefined<RegistrationChange>,
}

/// Credentials of a client that registers.
#[derive(Debug, Clone, Object)]
struct RegistrationChange {
    /// Authentication user name: 1 to 80 of `A-Z a-z 0-9 _ . @ -`.
    #[oai(validator(min_length = 1, max_length = 80))]
    username: MaybeUndefined<String>,
    /// Its password, 12 to 128 characters. Where it is needed and absent, one is generated and shown once. Never shown otherwise.
    #[oai(validator(min_length = 12, max_length = 128))]
    password: MaybeUndefined<Secret>,
}

/// How a client is reached.
#[derive(Debug, Object)]
pub(super) struct Sip {
    /// Fixed address; null where the client registers.
    host: Option<String>,
    /// Its port.
    port: Option<u16>,
    /// Its transport.
    transport: Option<String>,
    /// How often Asterisk asks by OPTIONS whether the address answers, in seconds; 0 = never.
    qualify_seconds: Option<u32>,
    /// Codecs in order of preference.
    codecs: Vec<String>,
    /// Whether RTP may flow past Asterisk.
    direct_media: bool,
    /// How key presses travel.
    dtmf_mode: String,
    /// IP addresses that the client's own requests come from.
    identify_by_ip: Vec<String>,
    /// With what the client registers; null where it has a fixed address.
    registration: Option<Registration>,
}

/// With what a client registers.
#[derive(Debug, Object)]
struct Registration {
    /// Authentication user name.
    username: String,
}

impl From<&SipSettings> for Sip {
    fn from(sip: &SipSettings) -> Self {
        let mut view = Self {
            host: None,
            port: None,
            transport: None,
            qualify_seconds: None,
            codecs: sip.codecs.iter().map(ToString::to_string).collect(),
            direct_media: sip.direct_media,
            dtmf_mode: sip.dtmf_mode.to_string(),
            identify_by_ip: sip.identify_by_ip.iter().map(ToString::to_string).collect(),
            registration: None,
        };
        match &sip.reach {
            Reach::Address { host, port, transport, qualify_seconds } => {
                view.host = Some(host.to_string());
                view.port = Some(*port);
                view.transport = Some(transport.to_string());
                view.qualify_seconds = Some(*qualify_seconds);
            }
            Reach::Registration { username } => {
                view.registration = Some(Registration { username: username.to_string() });
            }
        }
        view
    }
}

impl SipChange {
    /// The settings that a change leads to; what is wrong goes to `merge`. `spare` is a password at hand for a client that is to
    /// register and has none; returns whether it was used.
    pub(super) fn merge(
        self,
        merge: &mut Merge,
        before: Option<&ClientValues>,
        spare: &SecretString,
    ) -> Option<(SipSettings, Option<Md5Cred>, bool)> {
        let mut form = before.map(|before| SipForm::from(&before.sip)).unwrap_or_default();
        merge.clearable(self.host, &mut form.host);
        merge.clearable(self.port, &mut form.port);
        merge.clearable(self.transport, &mut form.transport);
        merge.clearable(self.qualify_seconds, &mut form.qualify_seconds);
        merge.clearable(self.codecs, &mut form.codecs);
        merge.clearable(self.direct_media, &mut form.direct_media);
        merge.clearable(self.dtmf_mode, &mut form.dtmf_mode);
        merge.clearable(self.identify_by_ip, &mut form.identify_by_ip);
        match self.registration {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => form.registration = None,
            MaybeUndefined::Value(change) => {
                let was = form.registration.take().map(|registration| registration.username);
                let mut username = was.unwrap_or_default();
                merge.set("sip.registration.username", change.username, &mut username);
                let password = change.password.take().map(|password| Password::new(password.expose().to_owned()));
                form.registration = Some(RegistrationForm { username, password });
            }
        }
        let sip = form.check(&mut |field, problem| merge.wrong(&format!("sip.{field}"), problem))?;
        let Reach::Registration { username } = &sip.reach else { return Some((sip, None, false)) };
        if let Some(password) = form.registration.as_ref().and_then(|registration| registration.password.as_ref()) {
            let credential = Md5Cred::new(username, password);
            return Some((sip, Some(credential), false));
        }
        // The stored one is bound to its username.
        let kept = before.filter(|before| before.sip.reach == sip.reach).and_then(|before| before.md5_cred.clone());
        let generated = kept.is_none();
        let credential =
            kept.unwrap_or_else(|| Md5Cred::new(username, &Password::new(spare.expose_secret().to_owned())));
        Some((sip, Some(credential), generated))
    }
}
