//! How a client is reached: as sent and as shown. Secrets go in only; one that was generated is shown once.

use poem_openapi::Object;
use poem_openapi::types::MaybeUndefined;
use secrecy::{ExposeSecret, SecretString};

use crate::api::changes::Merge;
use crate::api::secret::Secret;
use crate::realtime::{
    Given, Host, OutboundAuth, OutboundAuthForm, OwnRealm, Password, Policy, Reach, RegistrationForm, Secrets, SipForm,
    SipSettings,
};
use crate::screen::{Screen, Verdict};
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
    /// What the client is shown of the caller in From and P-Asserted-Identity: `pass` (at first) the number and name, `withhold` nobody
    /// (`anonymous`), `did` the DID that was dialled. A caller who withholds the number is never shown.
    caller_id: MaybeUndefined<String>,
    /// Addresses, or ranges no wider than /24 (IPv4) or /64 (IPv6), that the client's own requests come from. None of a carrier's
    /// (`sip.carriers`) or another client's.
    #[oai(validator(max_items = 32))]
    identify_by_ip: MaybeUndefined<Vec<String>>,
    /// The client registers with us, as SIP user `client_identifier`.
    registration: MaybeUndefined<RegistrationChange>,
    /// For a client that challenges our calls (401 or 407).
    outbound_auth: MaybeUndefined<OutboundAuthChange>,
}

/// With what we answer a client that challenges our calls.
#[derive(Debug, Clone, Object)]
struct OutboundAuthChange {
    /// User name that the client knows us by: 1 to 80 of `A-Z a-z 0-9 _ . @ + -`.
    #[oai(validator(min_length = 1, max_length = 80))]
    username: MaybeUndefined<String>,
    /// Its password, 1 to 128 characters; needed where username or realm change. Never shown.
    #[oai(validator(min_length = 1, max_length = 128))]
    password: MaybeUndefined<Secret>,
    /// The realm of the client's challenge: with it only a digest is stored. Null (at first) = any realm; then the password itself is
    /// stored, which `sip.allow_plaintext_outbound_auth` must allow.
    #[oai(validator(min_length = 1, max_length = 128))]
    realm: MaybeUndefined<String>,
}

/// Credentials of a client that registers.
#[derive(Debug, Clone, Object)]
struct RegistrationChange {
    /// Authentication user name: 1 to 80 of `A-Z a-z 0-9 _ . @ + -`.
    #[oai(validator(min_length = 1, max_length = 80))]
    username: MaybeUndefined<String>,
    /// Its password, 12 to 128 characters. Where it is needed and absent, or null, one is generated and shown once. Never shown otherwise.
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
    /// What the client is shown of the caller: `pass`, `withhold` or `did`.
    caller_id: String,
    /// Addresses and ranges that the client's own requests come from.
    identify_by_ip: Vec<String>,
    /// With what the client registers; null where it has a fixed address.
    registration: Option<Registration>,
    /// As whom we answer its challenges; null where there is no password for them.
    outbound_auth: Option<OutboundAuthView>,
}

/// As whom we answer a client that challenges our calls.
#[derive(Debug, Object)]
#[oai(rename = "OutboundAuth")]
struct OutboundAuthView {
    /// User name that the client knows us by.
    username: String,
    /// The realm that the stored digest is for; null = any.
    realm: Option<String>,
}

impl From<&OutboundAuth> for OutboundAuthView {
    fn from(auth: &OutboundAuth) -> Self {
        Self { username: auth.username.to_string(), realm: auth.realm.as_ref().map(ToString::to_string) }
    }
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
            caller_id: sip.caller_id.to_string(),
            outbound_auth: sip.outbound_auth.as_ref().map(OutboundAuthView::from),
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

/// What a change is judged by: where the host it names leads is asked before the database is.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    policy: &'a Policy,
    /// A host that the change names and that is not allowed, and why.
    forbidden: Option<(Host, String)>,
}

impl<'a> Judge<'a> {
    /// Looks the name of a change's host up.
    pub(super) async fn of(screen: &'a Screen, change: &SipChange) -> Self {
        let mut judge = Self::without_look_up(screen);
        let MaybeUndefined::Value(text) = &change.host else { return judge };
        // What is wrong with the text itself is said elsewhere.
        if let Ok(host) = text.parse::<Host>()
            && judge.policy.host(&host).is_ok()
            && let Verdict::Forbidden(why) = screen.judge(&host).await
        {
            judge.forbidden = Some((host, why));
        }
        judge
    }

    /// For a change that names no host.
    pub(super) fn without_look_up(screen: &'a Screen) -> Self {
        Self { policy: screen.policy(), forbidden: None }
    }

    /// What is not allowed of settings that were others before.
    fn problems(&self, before: Option<&SipSettings>, sip: &SipSettings) -> Vec<(String, String)> {
        if before == Some(sip) {
            return Vec::new();
        }
        let mut problems = self.policy.problems(sip);
        if let Some((host, why)) = &self.forbidden
            && sip.host() == Some(host)
            && before.and_then(SipSettings::host) != Some(host)
        {
            problems.push(("host".to_owned(), why.clone()));
        }
        problems
    }
}

impl SipChange {
    /// The settings that a change leads to, with their secrets; what is wrong goes to `merge`. `spare` is a password at hand for a
    /// client that is to register and has none, or shall have another, `fresh` the realm of a new one; returns whether it was used.
    pub(super) fn merge(
        self,
        merge: &mut Merge,
        before: Option<&ClientValues>,
        judge: &Judge<'_>,
        (spare, fresh): (&SecretString, OwnRealm),
    ) -> Option<(SipSettings, Secrets, bool)> {
        let anew = matches!(&self.registration, MaybeUndefined::Value(change) if change.password.is_null());
        let form = self.form(merge, before);
        let sip = form.check(&mut |field, problem| merge.wrong(&format!("sip.{field}"), problem))?;
        for (field, problem) in judge.problems(before.map(|before| &before.sip), &sip) {
            merge.wrong(&format!("sip.{field}"), problem);
        }
        let mut given = Given::new(&sip, &form);
        let kept = before.map(|before| (&before.sip, &before.secrets));
        let missing = given.clone().settle(kept, &sip, fresh.clone()).err();
        if missing.is_some_and(|missing| missing.outbound) {
            merge.wrong("sip.outbound_auth.password", "is needed: none is stored for this username and realm");
        }
        let generated = anew || missing.is_some_and(|missing| missing.registration);
        if let (true, Reach::Registration { .. }) = (generated, &sip.reach) {
            given.registration = Some(Password::new(spare.expose_secret().to_owned()));
        }
        let secrets = given.settle(kept, &sip, fresh).ok()?;
        Some((sip, secrets, generated))
    }

    fn form(self, merge: &mut Merge, before: Option<&ClientValues>) -> SipForm {
        let mut form = before.map(|before| SipForm::from(&before.sip)).unwrap_or_default();
        merge.clearable(self.host, &mut form.host);
        merge.clearable(self.port, &mut form.port);
        merge.clearable(self.transport, &mut form.transport);
        merge.clearable(self.qualify_seconds, &mut form.qualify_seconds);
        merge.clearable(self.codecs, &mut form.codecs);
        merge.clearable(self.direct_media, &mut form.direct_media);
        merge.clearable(self.dtmf_mode, &mut form.dtmf_mode);
        merge.clearable(self.caller_id, &mut form.caller_id);
        merge.clearable(self.identify_by_ip, &mut form.identify_by_ip);
        match self.registration {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => form.registration = None,
            MaybeUndefined::Value(change) => {
                let mut username = form.registration.take().unwrap_or_default().username;
                merge.set("sip.registration.username", change.username, &mut username);
                let password = change.password.take().map(|password| Password::new(password.expose().to_owned()));
                form.registration = Some(RegistrationForm { username, password, password_file: None });
            }
        }
        match self.outbound_auth {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => form.outbound_auth = None,
            MaybeUndefined::Value(change) => {
                let OutboundAuthForm { mut username, mut realm, .. } = form.outbound_auth.take().unwrap_or_default();
                merge.set("sip.outbound_auth.username", change.username, &mut username);
                merge.clearable(change.realm, &mut realm);
                if change.password.is_null() {
                    merge.wrong("sip.outbound_auth.password", "cannot be null");
                }
                let password = change.password.take().map(|password| Password::new(password.expose().to_owned()));
                form.outbound_auth = Some(OutboundAuthForm { username, password, password_file: None, realm });
            }
        }
        form
    }
}
