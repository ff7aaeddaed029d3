//! Random secrets that are handed out once and stored as a hash only.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock;

/// How every API token begins, so that scanners of repositories and logs know one.
pub const TOKEN_PREFIX: &str = "cck_";
/// How every refresh token begins.
const REFRESH_PREFIX: &str = "ccr_";

/// A new API token: 256 random bits.
#[must_use]
pub fn api_token() -> SecretString {
    format!("{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(clock::random_bytes::<32>())).into()
}

/// Whether a text can be an API token: begins and is as long as one. Anything else need not be looked up.
#[must_use]
pub fn is_api_token(text: &str) -> bool {
    let random = text.strip_prefix(TOKEN_PREFIX).map(|random| URL_SAFE_NO_PAD.decode(random));
    matches!(random, Some(Ok(bytes)) if bytes.len() == 32)
}

/// A number by which one SIP password is told from every other (`realtime::OwnRealm`); no secret.
#[must_use]
pub fn drawn() -> u64 {
    u64::from_ne_bytes(clock::random_bytes())
}

/// What all refresh tokens of one session share: whoever sends it has held one of them.
#[derive(Debug, Clone)]
pub struct Family {
    /// The session.
    pub session: Uuid,
    secret: SecretString,
}

impl Family {
    /// A new session's.
    #[must_use]
    pub fn new() -> Self {
        Self { session: session_id(), secret: URL_SAFE_NO_PAD.encode(clock::random_bytes::<16>()).into() }
    }

    /// The family that a refresh token says it is of; `None` for anything else.
    #[must_use]
    pub fn of(refresh_token: &SecretString) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(refresh_token.expose_secret().strip_prefix(REFRESH_PREFIX)?).ok()?;
        let secret = || URL_SAFE_NO_PAD.encode(&bytes[16..32]).into();
        (bytes.len() == 64)
            .then(|| Uuid::from_slice(&bytes[..16]).ok())
            .flatten()
            .map(|session| Self { session, secret: secret() })
    }

    /// What is stored of its secret.
    #[must_use]
    pub fn hash(&self) -> String {
        hash(&self.secret)
    }

    /// A new token of it: the session's id, the secret of the family, and 256 random bits.
    #[must_use]
    pub fn refresh_token(&self) -> SecretString {
        let mut bytes = self.session.as_bytes().to_vec();
        bytes.extend(URL_SAFE_NO_PAD.decode(self.secret.expose_secret()).unwrap_or_default());
        bytes.extend(clock::random_bytes::<32>());
        format!("{REFRESH_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes)).into()
    }
}

impl Default for Family {
    fn default() -> Self {
        Self::new()
    }
}

/// Whether what was sent is the secret that is configured. Takes as long wherever they differ.
#[must_use]
pub fn same(given: &str, wanted: &SecretString) -> bool {
    let (given, wanted) = (Sha256::digest(given.as_bytes()), Sha256::digest(wanted.expose_secret().as_bytes()));
    given.iter().zip(wanted.iter()).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

/// A new random id for a session.
#[must_use]
pub fn session_id() -> Uuid {
    uuid::Builder::from_random_bytes(clock::random_bytes()).into_uuid()
}

/// What is stored of a secret and looked up by. Enough for 256 random bits; passwords take argon2.
#[must_use]
pub fn hash(secret: &SecretString) -> String {
    Sha256::digest(secret.expose_secret().as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `given` is the secret, in a time that does not tell how much of it is: what is compared are digests, and all of them.
#[must_use]
pub fn is(given: &[u8], secret: &SecretString) -> bool {
    let (given, secret) = (Sha256::digest(given), Sha256::digest(secret.expose_secret().as_bytes()));
    given.iter().zip(secret).fold(0, |differs, (one, other)| differs | (one ^ other)) == 0
}

/// A password for somebody who has none yet: 24 letters and digits, without those that look alike.
#[must_use]
pub fn password() -> SecretString {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    clock::random_bytes::<24>().into_iter().map(letter).collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_itself_and_nothing_else() {
        let secret = SecretString::from("a secret of some length");
        assert!(is(b"a secret of some length", &secret));
        for other in ["", "a", "a secret of some lengtH", "a secret of some length ", "A secret of some length"] {
            assert!(!is(other.as_bytes(), &secret), "{other:?}");
        }
    }

    #[test]
    fn a_refresh_token_names_its_session_and_nothing_else_does() {
        let family = Family::new();
        let token = family.refresh_token();
        let found = Family::of(&token).unwrap();
        assert_eq!((found.session, found.hash()), (family.session, family.hash()));
        assert_ne!(hash(&token), hash(&family.refresh_token()));
        assert_ne!(Family::new().hash(), family.hash());
        let key = api_token();
        for foreign in ["", "ccr_", "ccr_AAAA", "cck_AAAA", key.expose_secret()] {
            assert!(Family::of(&foreign.to_owned().into()).is_none(), "{foreign}");
        }
    }

    #[test]
    fn what_cannot_be_an_api_token_is_known_by_its_shape() {
        let key = api_token();
        let key = key.expose_secret();
        assert!(is_api_token(key));
        let long = format!("{key}A");
        for other in ["", "cck_", "cck_x", &key[1..], &key[..key.len() - 1], &long, &key.replace("cck_", "ccr_")] {
            assert!(!is_api_token(other), "{other}");
        }
    }

    #[test]
    fn only_the_same_text_is_the_same() {
        let wanted = SecretString::from("canary");
        assert!(same("canary", &wanted));
        assert!(!same("canarz", &wanted) && !same("", &wanted) && !same("canary ", &wanted));
    }

    #[test]
    fn passwords_are_long_and_differ() {
        assert_eq!(password().expose_secret().len(), 24);
        assert_ne!(password().expose_secret(), password().expose_secret());
    }
}
