//! PURE: what a client's SIP settings need to be kept secret. Shown nowhere: not in answers, audit, logs or exports.

use std::fmt;

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::{OutboundAuth, Reach, SipForm, SipName, SipSettings};

/// The digest realm of registering clients: what Asterisk challenges with unless `default_realm` in pjsip.conf says otherwise.
pub const REALM: &str = "asterisk";

/// A password as read; shown nowhere.
#[derive(Debug, Clone)]
pub struct Password(SecretString);

impl Password {
    /// Wraps a text.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(SecretString::from(text))
    }

    /// The text, for the database and Asterisk only.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// What is allowed, when it is not: as a password that is hashed before it is stored.
    pub(super) fn problem(&self) -> Option<&'static str> {
        let text = self.expose();
        let sound = (1..=128).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        (!sound).then_some("is not allowed (not shown): 1 to 128 characters, none of them a control character")
    }

    /// What is allowed, when it is not: as a text that Asterisk's drivers hand through unchanged.
    pub(super) fn plaintext_problem(&self) -> Option<&'static str> {
        let sound = |byte: u8| byte.is_ascii_alphanumeric() || PLAIN.contains(&byte);
        (!self.expose().bytes().all(sound)).then_some(
            "is not allowed without realm (not shown): use A-Z a-z 0-9 and ! # $ % & ( ) * + , - . / : = ? @ _ ~",
        )
    }
}

/// What a password that is stored readably may hold besides letters and digits.
pub(super) const PLAIN: &[u8] = b"!#$%&()*+,-./:=?@_~";

impl PartialEq for Password {
    fn eq(&self, other: &Self) -> bool {
        self.expose() == other.expose()
    }
}

impl Eq for Password {}

impl<'de> Deserialize<'de> for Password {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

/// MD5 of `username:realm:password`, in hex: what digest is checked against or answered with, and as good as the password in that realm.
#[derive(Clone, PartialEq, Eq)]
pub struct Md5Cred(String);

impl Md5Cred {
    /// Computes it for [`REALM`].
    #[must_use]
    pub fn new(username: &SipName, password: &Password) -> Self {
        Self::within(REALM, username, password)
    }

    /// Computes it for any realm.
    #[must_use]
    pub fn within(realm: &str, username: &SipName, password: &Password) -> Self {
        let text = format!("{username}:{realm}:{}", password.expose());
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

/// What our side answers a client's challenge with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboundSecret {
    /// For the realm of the settings.
    Digest(Md5Cred),
    /// Readable, for whatever realm the client names; only where the configuration allows it.
    Plain(Password),
}

/// All secrets of one client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// What it registers with.
    pub registration: Option<Md5Cred>,
    /// What we answer its challenges with.
    pub outbound: Option<OutboundSecret>,
}

/// Which passwords settings need that are neither given nor kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Of the registration.
    pub registration: bool,
    /// Of the answers to challenges.
    pub outbound: bool,
}

impl Secrets {
    /// The secrets of the passwords that `form`, which was checked to be `sip`, gives.
    #[must_use]
    pub fn given(sip: &SipSettings, form: &SipForm) -> Self {
        let password = form.registration.as_ref().and_then(|registration| registration.password.as_ref());
        let registration = match &sip.reach {
            Reach::Registration { username } => password.map(|password| Md5Cred::new(username, password)),
            Reach::Address { .. } => None,
        };
        let password = form.outbound_auth.as_ref().and_then(|auth| auth.password.clone());
        let outbound = sip.outbound_auth.as_ref().zip(password).map(|(auth, password)| auth.secret(password));
        Self { registration, outbound }
    }

    /// What `sip` will have: of these (the given ones) those it needs, else the stored ones as long as what they belong to stays.
    ///
    /// # Errors
    /// Which are needed and not to be had.
    pub fn settle(self, before: Option<(&SipSettings, &Self)>, sip: &SipSettings) -> Result<Self, Missing> {
        let registers = matches!(sip.reach, Reach::Registration { .. });
        let kept = before.filter(|(before, _)| before.reach == sip.reach);
        let registration = self.registration.or_else(|| kept?.1.registration.clone()).filter(|_| registers);
        let kept = before.filter(|(before, _)| before.outbound_auth == sip.outbound_auth);
        let outbound = self.outbound.or_else(|| kept?.1.outbound.clone()).filter(|_| sip.outbound_auth.is_some());
        let missing = Missing {
            registration: registers && registration.is_none(),
            outbound: sip.outbound_auth.is_some() && outbound.is_none(),
        };
        if missing.registration || missing.outbound { Err(missing) } else { Ok(Self { registration, outbound }) }
    }
}

impl OutboundAuth {
    fn secret(&self, password: Password) -> OutboundSecret {
        match &self.realm {
            Some(realm) => OutboundSecret::Digest(Md5Cred::within(&realm.to_string(), &self.username, &password)),
            None => OutboundSecret::Plain(password),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::realtime::{OutboundAuthForm, RegistrationForm};

    fn checked(form: &SipForm) -> SipSettings {
        form.check(&mut |field, problem| panic!("{field}: {problem}")).expect("sound")
    }

    fn challenging(realm: Option<&str>, password: Option<&str>) -> SipForm {
        let password = password.map(|text| Password::new(text.into()));
        let realm = realm.map(str::to_owned);
        let auth = OutboundAuthForm { username: "us".into(), password, realm, ..OutboundAuthForm::default() };
        SipForm { host: Some("a.example".into()), outbound_auth: Some(auth), ..SipForm::default() }
    }

    #[test]
    fn with_a_realm_only_the_digest_is_kept() {
        let form = challenging(Some("pbx.example"), Some("hunter2"));
        let sip = checked(&form);
        // printf 'us:pbx.example:hunter2' | md5sum
        let digest = Md5Cred::stored("6e2ea5e9325b150708b0f1f8d4af9c61").map(OutboundSecret::Digest);
        let secrets = Secrets::given(&sip, &form).settle(None, &sip).expect("given");
        assert!(digest.is_some() && secrets.outbound == digest);
        assert!(!format!("{secrets:?}{form:?}").contains("hunter2"));
        let form = challenging(None, Some("hunter2"));
        let plain = Secrets::given(&checked(&form), &form).outbound;
        assert_eq!(plain, Some(OutboundSecret::Plain(Password::new("hunter2".into()))));
        assert!(!format!("{plain:?}").contains("hunter2"));
    }

    #[test]
    fn a_stored_secret_stays_with_what_it_belongs_to() {
        let (form, kept) = (challenging(Some("a"), Some("x")), challenging(Some("a"), None));
        let (sip, other) = (checked(&form), checked(&challenging(Some("b"), None)));
        let stored = Secrets::given(&sip, &form);
        let again = Secrets::given(&checked(&kept), &kept).settle(Some((&sip, &stored)), &checked(&kept));
        assert_eq!(again.as_ref(), Ok(&stored));
        let missing = Missing { registration: false, outbound: true };
        assert_eq!(Secrets::default().settle(Some((&sip, &stored)), &other), Err(missing), "another realm");
        let gone = checked(&SipForm { outbound_auth: None, ..kept });
        assert_eq!(Secrets::default().settle(Some((&sip, &stored)), &gone), Ok(Secrets::default()));
        let registration = Some(RegistrationForm { username: "r".into(), ..RegistrationForm::default() });
        let registers = checked(&SipForm { registration, ..SipForm::default() });
        let missing = Missing { registration: true, outbound: false };
        assert_eq!(Secrets::default().settle(Some((&sip, &stored)), &registers), Err(missing));
    }
}
