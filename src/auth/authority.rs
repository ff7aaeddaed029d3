//! What log-in needs besides the database.

use super::access::{AccessKey, KeyError};
use crate::config::Config;

/// Keys and limits of authentication; one per process.
#[derive(Debug)]
pub struct Authority {
    /// Signs and reads access tokens.
    pub key: AccessKey,
}

impl Authority {
    /// From the configuration and the data folder.
    ///
    /// # Errors
    /// When there is no key to sign with.
    pub fn new(config: &Config) -> Result<Self, KeyError> {
        Ok(Self { key: AccessKey::load(config.auth.key.as_ref(), &config.data_dir)? })
    }
}
