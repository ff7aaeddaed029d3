//! What authentication needs besides the database: the key of access tokens, the hasher, the throttle.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::access::{AccessKey, KeyError};
use super::hasher::{HashError, Hasher};
use super::throttle::{Throttle, Try};
use crate::config::Config;

/// Keys and limits of authentication; one per process.
#[derive(Debug)]
pub struct Authority {
    /// Signs and reads access tokens.
    pub key: AccessKey,
    /// Hashes and compares passwords.
    pub hasher: Hasher,
    /// Sessions of one user at most.
    pub sessions_per_user: u64,
    throttle: Mutex<Throttle>,
}

/// Why authentication cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// There is no key to sign with.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Hasher(#[from] HashError),
}

impl Authority {
    /// From the configuration and the data folder.
    ///
    /// # Errors
    /// When there is no key to sign with, or passwords cannot be hashed.
    pub fn new(config: &Config) -> Result<Self, AuthorityError> {
        let key = AccessKey::load(config.auth.key.as_ref(), &config.data_dir)?;
        let sessions_per_user = config.auth.sessions_per_user;
        Ok(Self { key, hasher: Hasher::new()?, sessions_per_user, throttle: Mutex::default() })
    }

    /// Counts a try to guess the password of `account`.
    ///
    /// # Errors
    /// How long to wait until one may come.
    pub fn begin_try(&self, account: &str, address: Option<IpAddr>, now: Duration) -> Result<Try, Duration> {
        self.throttle().begin(account, address, now)
    }

    /// The password was right: the try does not count.
    pub fn succeed(&self, right: &Try, now: Duration) {
        self.throttle().succeed(right, now);
    }

    /// Counts a refused log-in. Where the audit is to have a line of it: how many there were since the last line that have none.
    pub fn note_refusal(&self, now: Duration) -> Option<u64> {
        self.throttle().note(now)
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
