//! Access tokens: JSON Web Tokens that name a session. They live 15 minutes, and every request asks whether the session still does.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, encode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock;

/// Life of an access token.
pub const LIFE: Duration = Duration::from_secs(15 * 60);
/// The one algorithm that is signed with and accepted.
const ALGORITHM: Algorithm = Algorithm::HS256;
const ISSUER: &str = "capconduit";
const KEY_FILE: &str = "token.key";

/// Signs and reads access tokens.
#[derive(Clone)]
pub struct AccessKey {
    signing: EncodingKey,
    reading: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for AccessKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AccessKey(secret)")
    }
}

/// Why there is no key to sign with.
#[derive(Debug, thiserror::Error)]
#[error("the key of access tokens cannot be kept in {path}: {source}; or set auth.key", path = path.display())]
pub struct KeyError {
    path: std::path::PathBuf,
    source: std::io::Error,
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    iss: String,
    /// The session.
    sid: Uuid,
    iat: i64,
    exp: i64,
}

impl AccessKey {
    /// The configured key, else the one in `data_dir`, made there (mode 0600) by the first start.
    ///
    /// # Errors
    /// When the file cannot be read or made.
    pub fn load(configured: Option<&SecretString>, data_dir: &Path) -> Result<Self, KeyError> {
        match configured {
            Some(key) => Ok(Self::new(key.expose_secret().as_bytes())),
            None => {
                let path = data_dir.join(KEY_FILE);
                let key = kept(&path).map_err(|source| KeyError { path, source })?;
                Ok(Self::new(&key))
            }
        }
    }

    fn new(key: &[u8]) -> Self {
        let mut validation = Validation::new(ALGORITHM);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss"]);
        // Checked by our own clock in `read`.
        validation.validate_exp = false;
        Self { signing: EncodingKey::from_secret(key), reading: DecodingKey::from_secret(key), validation }
    }

    /// An access token for `session`, good for [`LIFE`].
    ///
    /// # Errors
    /// When the library cannot sign, which it can with any key of bytes.
    pub fn sign(&self, session: Uuid, now: DateTime<Utc>) -> Result<SecretString, jsonwebtoken::errors::Error> {
        let iat = now.timestamp();
        let exp = iat.saturating_add_unsigned(LIFE.as_secs());
        let claims = Claims { iss: ISSUER.to_owned(), sid: session, iat, exp };
        Ok(encode(&Header::new(ALGORITHM), &claims, &self.signing)?.into())
    }

    /// Of `text` what nobody without the key can make or compare (HMAC-SHA256). No access token begins with a `purpose`.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn mark(&self, purpose: &str, text: &str) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::crypto::sign(format!("{purpose}\0{text}").as_bytes(), &self.signing, ALGORITHM)
    }

    /// The session that a token names; `None` when it is not ours, was changed, or is too old.
    #[must_use]
    pub fn read(&self, token: &str, now: DateTime<Utc>) -> Option<Uuid> {
        self.read_until(token, now).map(|(session, _)| session)
    }

    /// The same, and until when the token is good.
    #[must_use]
    pub fn read_until(&self, token: &str, now: DateTime<Utc>) -> Option<(Uuid, DateTime<Utc>)> {
        let claims = decode::<Claims>(token, &self.reading, &self.validation).ok()?.claims;
        let until = DateTime::from_timestamp(claims.exp, 0).unwrap_or(DateTime::<Utc>::MAX_UTC);
        (now < until).then_some((claims.sid, until))
    }
}

/// The key in the file, which is made when it is missing.
fn kept(path: &Path) -> std::io::Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(key) if key.len() >= 32 => return Ok(key),
        Ok(_) => return Err(std::io::Error::other("it holds less than 32 bytes: remove it, and a new one is made")),
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let key = clock::random_bytes::<64>().to_vec();
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(&key)?;
    file.sync_all()?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).expect("a time")
    }

    #[test]
    fn a_token_is_good_for_a_quarter_of_an_hour_under_its_own_key() {
        let folder = tempfile::tempdir().unwrap();
        let key = AccessKey::load(None, folder.path()).unwrap();
        let session = crate::auth::secrets::session_id();
        let token = key.sign(session, at(0)).unwrap();
        let again = AccessKey::load(None, folder.path()).unwrap();
        assert_eq!(again.read(token.expose_secret(), at(899)), Some(session), "the key is kept");
        assert_eq!(again.read(token.expose_secret(), at(900)), None);
        let other = AccessKey::load(Some(&"another key that is long enough to use".into()), folder.path()).unwrap();
        assert_eq!(other.read(token.expose_secret(), at(0)), None);
        let mode = std::fs::metadata(folder.path().join(KEY_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_mark_is_its_keys_own() {
        let mark = |key: &str, purpose, text| AccessKey::new(key.as_bytes()).mark(purpose, text).unwrap();
        assert_eq!(mark("one", "a", "b"), mark("one", "a", "b"), "processes that share the key agree");
        for (key, purpose, text) in [("two", "a", "b"), ("one", "b", "b"), ("one", "a", "c"), ("one", "ab", "")] {
            assert_ne!(mark(key, purpose, text), mark("one", "a", "b"));
        }
    }

    #[test]
    fn no_other_algorithm_is_taken() {
        let secret = b"a key that both sides know, 32 bytes+";
        let key = AccessKey::new(secret);
        let claims = Claims { iss: ISSUER.to_owned(), sid: Uuid::nil(), iat: 0, exp: i64::MAX };
        for algorithm in [Algorithm::HS384, Algorithm::HS512] {
            let token = encode(&Header::new(algorithm), &claims, &EncodingKey::from_secret(secret)).unwrap();
            assert_eq!(key.read(&token, at(0)), None, "{algorithm:?}");
        }
        // {"alg":"none"} with the same claims and no signature.
        let payload = encode(&Header::new(ALGORITHM), &claims, &EncodingKey::from_secret(secret)).unwrap();
        let body = payload.split('.').nth(1).unwrap();
        assert_eq!(key.read(&format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}."), at(0)), None);
        assert_eq!(key.read(&payload, at(0)), Some(Uuid::nil()), "the claims themselves are good");
    }
}
