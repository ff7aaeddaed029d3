//! Passwords at rest: argon2id, 19 MiB and two passes (OWASP's first choice), off the async threads and only so many at once.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Semaphore;

use super::secrets;
use crate::clock;

const KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// A password that waits longer for its turn is refused: the machine is being flooded.
const TURN_WITHIN: Duration = Duration::from_secs(5);
/// So many wait at most: each holds a connection of the API's, and what is not reached within [`TURN_WITHIN`] would wait for nothing.
const WAITING_AT_MOST: usize = 64;

/// Hashes and compares passwords.
#[derive(Debug)]
pub struct Hasher {
    turns: Arc<Semaphore>,
    waiting: Semaphore,
    /// Hash of a password that nobody has: what a password is compared with where there is no user, so that it takes as long.
    decoy: SecretString,
}

/// Why a password could be neither hashed nor compared.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// Too many others wait.
    #[error("too many passwords wait to be compared")]
    Busy,
    /// The library refused, or its thread died.
    #[error("a password cannot be hashed: {0}")]
    Failed(String),
}

impl Hasher {
    /// As many at once as there are processors.
    ///
    /// # Errors
    /// When the library refuses its parameters.
    pub fn new() -> Result<Self, HashError> {
        let turns = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let (turns, waiting) = (Arc::new(Semaphore::new(turns)), Semaphore::new(WAITING_AT_MOST));
        Ok(Self { turns, waiting, decoy: hash(&secrets::password())? })
    }

    /// The hash of a password, with a salt of its own.
    ///
    /// # Errors
    /// When too many wait.
    pub async fn hash(&self, password: SecretString) -> Result<SecretString, HashError> {
        self.take_turn(move || hash(&password)).await?
    }

    /// Whether `hash` is of `password`; takes as long without any hash, and is false then.
    ///
    /// # Errors
    /// When too many wait, or `hash` is no hash.
    pub async fn verify(&self, password: SecretString, hash: Option<SecretString>) -> Result<bool, HashError> {
        let known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        Ok(self.take_turn(move || verify(&password, &hash)).await?? && known)
    }

    async fn take_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, HashError> {
        let waits = self.waiting.try_acquire().map_err(|_| HashError::Busy)?;
        let turn = tokio::time::timeout(TURN_WITHIN, Arc::clone(&self.turns).acquire_owned());
        let turn = turn.await.map_err(|_| HashError::Busy)?.map_err(|error| HashError::Failed(error.to_string()))?;
        drop(waits);
        let work = move || {
            // The turn ends with the work, not with whoever waits for it.
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| HashError::Failed(error.to_string()))
    }
}

/// The hash of a password, at once: for the command line.
///
/// # Errors
/// When the library refuses.
pub fn hash(password: &SecretString) -> Result<SecretString, HashError> {
    let failed = |error: &dyn std::fmt::Display| HashError::Failed(error.to_string());
    let salt = clock::random_bytes::<16>();
    let hashed = argon2().map_err(|error| failed(&error))?;
    let hashed = hashed.hash_password_with_salt(password.expose_secret().as_bytes(), &salt);
    Ok(hashed.map_err(|error| failed(&error))?.to_string().into())
}

fn verify(password: &SecretString, hash: &SecretString) -> Result<bool, HashError> {
    let hash = PasswordHash::new(hash.expose_secret()).map_err(|error| HashError::Failed(error.to_string()))?;
    let argon2 = argon2().map_err(|error| HashError::Failed(error.to_string()))?;
    Ok(argon2.verify_password(password.expose_secret().as_bytes(), &hash).is_ok())
}

fn argon2() -> Result<Argon2<'static>, argon2::Error> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(KIB, PASSES, 1, None)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_known_by_its_hash_and_no_hash_knows_none() {
        let hasher = Hasher::new().unwrap();
        let password = SecretString::from("violet tractor hums low");
        let hash = hasher.hash(password.clone()).await.unwrap();
        assert!(hash.expose_secret().starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{}", hash.expose_secret());
        assert!(hasher.verify(password.clone(), Some(hash.clone())).await.unwrap());
        assert!(!hasher.verify("violet tractor hums loW".into(), Some(hash)).await.unwrap());
        assert!(!hasher.verify(password, None).await.unwrap());
    }

    #[tokio::test]
    async fn who_comes_when_too_many_wait_is_told_so_at_once() {
        let hasher = Hasher::new().unwrap();
        let turns = u32::try_from(hasher.turns.available_permits()).unwrap();
        let all = hasher.turns.acquire_many(turns).await.unwrap();
        let ask = || Box::pin(hasher.take_turn(|| ()));
        let mut waiting: Vec<_> = (0..WAITING_AT_MOST).map(|_| ask()).collect();
        for one in &mut waiting {
            assert!(futures_util::poll!(one).is_pending());
        }
        assert!(matches!(ask().await, Err(HashError::Busy)));
        drop(all);
        futures_util::future::try_join_all(waiting).await.unwrap();
    }
}
