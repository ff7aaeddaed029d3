//! PURE: what a client's SIP settings need to be kept secret. Shown nowhere: not in answers, audit, logs or exports.

use std::fmt;

use md5::{Digest, Md5};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};

use super::{OutboundAuth, Reach, SipForm, SipName, SipSettings};

/// The digest realm of clients whose password was set before every password had a realm of its own: what Asterisk challenges with unless
/// `default_realm` in pjsip.conf says otherwise.
pub const REALM: &str = "asterisk";

/// The digest realm of one password of one client: `asterisk.` and 16 hex digits. Asterisk keeps what registers with it in an AOR of its
/// own, so that a client whose password is another one is not looked for where it registered with the old one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnRealm(String);

impl OwnRealm {
    /// The realm of a number that was drawn at random, for this password alone.
    #[must_use]
    pub fn new(drawn: u64) -> Self {
        Self(format!("{REALM}.{drawn:016x}"))
    }

    /// Takes a stored one; `None` when it is none.
    #[must_use]
    pub fn stored(text: &str) -> Option<Self> {
        let realm = Self(text.to_owned());
        let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (realm.drawn().len() == 16 && realm.drawn().bytes().all(hex)).then_some(realm)
    }

    /// As in a challenge, and in the database.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What tells it from the others.
    #[must_use]
    pub fn drawn(&self) -> &str {
        self.0.strip_prefix(REALM).and_then(|rest| rest.strip_prefix('.')).unwrap_or_default()
    }
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
    /// Computes it for a realm.
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

/// All secrets of one client, as stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Secrets {
    /// What it registers with.
    pub registration: Option<Md5Cred>,
    /// The realm of that, `None` for [`REALM`]. A client that registers no more has one, too: what registered before is not looked for.
    pub realm: Option<OwnRealm>,
    /// What we answer its challenges with.
    pub outbound: Option<OutboundSecret>,
}

impl Secrets {
    /// The digest realm of what it registers with.
    #[must_use]
    pub fn realm(&self) -> &str {
        self.realm.as_ref().map_or(REALM, OwnRealm::as_str)
    }
}

/// The secrets that somebody gives for a client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// What it shall register with.
    pub registration: Option<Password>,
    /// What we shall answer its challenges with.
    pub outbound: Option<OutboundSecret>,
    /// The file that shall hold the first, and is not there.
    pub registration_file: Option<String>,
    /// The file that shall hold the second, and is not there.
    pub outbound_file: Option<String>,
}

/// Which passwords settings need that are neither given nor kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// Of the registration.
    pub registration: bool,
    /// Of the answers to challenges.
    pub outbound: bool,
}

impl Given {
    /// The passwords that `form`, which was checked to be `sip`, gives.
    #[must_use]
    pub fn new(sip: &SipSettings, form: &SipForm) -> Self {
        let registration = form.registration.as_ref().and_then(|registration| registration.password.clone());
        let password = form.outbound_auth.as_ref().and_then(|auth| auth.password.clone());
        let outbound = sip.outbound_auth.as_ref().zip(password).map(|(auth, password)| auth.secret(password));
        let registration_file = form.registration.as_ref().and_then(|registration| registration.password_file.clone());
        let outbound_file = form.outbound_auth.as_ref().and_then(|auth| auth.password_file.clone());
        Self { registration, outbound, registration_file, outbound_file }
    }

    /// What `sip` will have: of these those it needs, else the stored ones as long as what they belong to stays. A password that is not
    /// the stored one gets the realm `fresh`, which was never used, and with it an AOR in which nobody is registered.
    ///
    /// # Errors
    /// Which are needed and not to be had.
    pub fn settle(
        self,
        before: Option<(&SipSettings, &Secrets)>,
        sip: &SipSettings,
        fresh: OwnRealm,
    ) -> Result<Secrets, Missing> {
        let kept = before.filter(|(before, _)| before.outbound_auth == sip.outbound_auth);
        let outbound = self.outbound.or_else(|| kept?.1.outbound.clone()).filter(|_| sip.outbound_auth.is_some());
        let registration = match &sip.reach {
            Reach::Registration { username } => {
                let kept = before.filter(|(before, _)| before.reach == sip.reach).map(|(_, secrets)| secrets);
                register(username, self.registration.as_ref(), kept, fresh).map(|(cred, realm)| (Some(cred), realm))
            }
            Reach::Address { .. } => Some((None, realm_of_address(before, fresh))),
        };
        let missing = Missing {
            registration: registration.is_none(),
            outbound: sip.outbound_auth.is_some() && outbound.is_none(),
        };
        match registration {
            Some((registration, realm)) if !missing.outbound => Ok(Secrets { registration, realm, outbound }),
            _ => Err(missing),
        }
    }
}

/// What a client registers with from now on, and its realm; `None` where no password is known.
fn register(
    username: &SipName,
    given: Option<&Password>,
    kept: Option<&Secrets>,
    fresh: OwnRealm,
) -> Option<(Md5Cred, Option<OwnRealm>)> {
    let stored = kept.and_then(|kept| Some((kept.registration.clone()?, kept.realm.clone())));
    let Some(password) = given else { return stored };
    // Who says the password that is stored makes nobody register anew.
    let same = kept.map(|kept| Md5Cred::within(kept.realm(), username, password));
    match stored {
        Some((cred, realm)) if same.as_ref() == Some(&cred) => Some((cred, realm)),
        _ => Some((Md5Cred::within(fresh.as_str(), username, password), Some(fresh))),
    }
}

/// The realm by which a client with a fixed address is told from what registered in its name before.
fn realm_of_address(before: Option<(&SipSettings, &Secrets)>, fresh: OwnRealm) -> Option<OwnRealm> {
    match before? {
        (SipSettings { reach: Reach::Registration { .. }, .. }, _) => Some(fresh),
        (_, secrets) => secrets.realm.clone(),
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

    fn fresh(drawn: u64) -> OwnRealm {
        OwnRealm::new(drawn)
    }

    fn registering(username: &str, password: Option<&str>) -> SipForm {
        let password = password.map(|text| Password::new(text.into()));
        let registration = RegistrationForm { username: username.into(), password, ..RegistrationForm::default() };
        SipForm { registration: Some(registration), ..SipForm::default() }
    }

    fn settled(form: &SipForm, before: Option<(&SipSettings, &Secrets)>, drawn: u64) -> Result<Secrets, Missing> {
        let sip = checked(form);
        Given::new(&sip, form).settle(before, &sip, fresh(drawn))
    }

    #[test]
    fn every_new_password_has_a_realm_of_its_own_and_the_stored_one_keeps_its() {
        let (form, kept) = (registering("n", Some("hunter2")), registering("n", None));
        let sip = checked(&form);
        let first = settled(&form, None, 1).expect("given");
        assert_eq!((first.realm(), first.realm.as_ref()), ("asterisk.0000000000000001", Some(&fresh(1))));
        // printf 'n:asterisk.0000000000000001:hunter2' | md5sum
        assert_eq!(first.registration, Md5Cred::stored("611d261e6089723d4f9faf152dd0070c"));
        for again in [&form, &kept] {
            assert_eq!(settled(again, Some((&sip, &first)), 2).as_ref(), Ok(&first), "the same password");
        }
        let second = settled(&registering("n", Some("hunter3")), Some((&sip, &first)), 2).expect("given");
        assert_eq!(second.realm, Some(fresh(2)));
        // From before there were realms.
        let cred = Md5Cred::within(REALM, &"n".parse().expect("allowed"), &Password::new("hunter2".into()));
        let old = Secrets { registration: Some(cred), ..Secrets::default() };
        assert_eq!(old.realm(), "asterisk");
        for again in [&form, &kept] {
            assert_eq!(settled(again, Some((&sip, &old)), 2).as_ref(), Ok(&old));
        }
        let renamed = settled(&registering("m", Some("hunter2")), Some((&sip, &old)), 2).expect("given");
        assert_eq!(renamed.realm, Some(fresh(2)), "another user name");
    }

    #[test]
    fn a_fixed_address_after_a_registration_is_told_from_it() {
        let at = |host: &str| SipForm { host: Some(host.into()), ..SipForm::default() };
        let registered = registering("n", Some("hunter2"));
        let (fixed, sip) = (checked(&at("a.example")), checked(&registered));
        assert_eq!(settled(&at("a.example"), None, 1), Ok(Secrets::default()), "nothing registered in its name before");
        for before in [Secrets::default(), settled(&registered, None, 1).expect("given")] {
            let after = settled(&at("a.example"), Some((&sip, &before)), 2).expect("nothing is needed");
            assert_eq!((after.realm.clone(), after.registration.clone()), (Some(fresh(2)), None));
            let moved = settled(&at("b.example"), Some((&fixed, &after)), 3).expect("nothing is needed");
            assert_eq!(moved.realm, Some(fresh(2)), "as long as it does not register");
            let back = settled(&registered, Some((&fixed, &moved)), 4).expect("given");
            assert_eq!(back.realm, Some(fresh(4)));
        }
    }

    #[test]
    fn only_realms_of_ours_are_read_back() {
        let realm = fresh(u64::MAX);
        assert_eq!(OwnRealm::stored(realm.as_str()), Some(realm));
        for text in [
            "",
            "asterisk",
            "asterisk.",
            "asterisk.01",
            "asterisk.000000000000000g",
            "asterisk.0000000000000001@",
            "0000000000000001",
        ] {
            assert_eq!(OwnRealm::stored(text), None, "{text}");
        }
    }

    #[test]
    fn with_a_realm_only_the_digest_is_kept() {
        let form = challenging(Some("pbx.example"), Some("hunter2"));
        let sip = checked(&form);
        // printf 'us:pbx.example:hunter2' | md5sum
        let digest = Md5Cred::stored("6e2ea5e9325b150708b0f1f8d4af9c61").map(OutboundSecret::Digest);
        let secrets = Given::new(&sip, &form).settle(None, &sip, fresh(1)).expect("given");
        assert!(digest.is_some() && secrets.outbound == digest);
        assert!(!format!("{secrets:?}{form:?}").contains("hunter2"));
        let form = challenging(None, Some("hunter2"));
        let plain = Given::new(&checked(&form), &form).outbound;
        assert_eq!(plain, Some(OutboundSecret::Plain(Password::new("hunter2".into()))));
        assert!(!format!("{plain:?}").contains("hunter2"));
    }

    #[test]
    fn a_stored_secret_stays_with_what_it_belongs_to() {
        let (form, kept) = (challenging(Some("a"), Some("x")), challenging(Some("a"), None));
        let (sip, other) = (checked(&form), checked(&challenging(Some("b"), None)));
        let stored = Given::new(&sip, &form).settle(None, &sip, fresh(1)).expect("given");
        assert_eq!(settled(&kept, Some((&sip, &stored)), 2).as_ref(), Ok(&stored));
        let missing = Missing { registration: false, outbound: true };
        assert_eq!(Given::default().settle(Some((&sip, &stored)), &other, fresh(2)), Err(missing), "another realm");
        let gone = checked(&SipForm { outbound_auth: None, ..kept });
        assert_eq!(Given::default().settle(Some((&sip, &stored)), &gone, fresh(2)), Ok(Secrets::default()));
        let missing = Missing { registration: true, outbound: false };
        assert_eq!(settled(&registering("r", None), Some((&sip, &stored)), 2), Err(missing));
    }
}
