//! The first admin: somebody must be able to let the others in.

use std::io::{IsTerminal as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};

use super::hasher::{self, HashError};
use super::principal::Actor;
use super::roles::Role;
use super::secrets;
use crate::clock::Clock;
use crate::config::Config;
use crate::store::users::{self, NewUser, UserError};
use crate::store::{Db, StoreError};

const FILE: &str = "first-admin-password";

/// Why there is no first admin.
#[derive(Debug, thiserror::Error)]
pub enum FirstAdminError {
    /// The name is a seller's or a staff member's.
    #[error("auth.admin_username = {0:?} is the name of a user who is no admin: choose another for the first admin")]
    Taken(String),
    /// The password cannot be told.
    #[error("the first admin's password cannot be written to {path}: {source}", path = path.display())]
    Tell {
        /// Where.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The password cannot be hashed.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The database could not make the user.
    #[error(transparent)]
    User(#[from] UserError),
}

/// Makes the admin of the configuration where there is no admin yet. A password that is not configured is random, must be changed at the
/// first log-in, and is told once: on a terminal, else in a file (mode 0600) in `data.dir`; never in a log.
///
/// # Errors
/// Why not; then no admin was made.
pub async fn ensure(db: &Db, config: &Config, clock: Clock) -> Result<(), FirstAdminError> {
    if users::any_of_role(db, Role::Admin).await? {
        return Ok(());
    }
    let username = config.auth.admin_username.clone();
    let (password, random) = match &config.auth.admin_password {
        Some(password) => (password.clone(), false),
        None => (secrets::password(), true),
    };
    let admin = NewUser {
        username: username.clone(),
        name: "Administrator".to_owned(),
        role: Role::Admin,
        password_hash: Some(hasher::hash(&password)?),
        must_change_password: random,
    };
    // Told before others can see it: an admin whose password nobody knows would keep the next start from making one.
    let announce = || if random { tell(&username, &password, &config.data_dir) } else { Ok(()) };
    match users::create_first(db, Actor::System("start"), admin, clock.now().wall, announce).await {
        Ok(Some(_)) => tracing::info!(username, "the first admin is made"),
        // Another process that starts on the same database was first, and tells its password.
        Ok(None) => {}
        Err(FirstAdminError::User(UserError::Taken)) => return Err(FirstAdminError::Taken(username)),
        Err(error) => return Err(error),
    }
    Ok(())
}

fn tell(username: &str, password: &SecretString, data_dir: &Path) -> Result<(), FirstAdminError> {
    let text = format!("username {username}\npassword {}\n", password.expose_secret());
    let mut terminal = std::io::stdout();
    let path = data_dir.join(FILE);
    let failed = |source| FirstAdminError::Tell { path: path.clone(), source };
    if terminal.is_terminal() {
        let words = "The first admin, shown this once; the password must be changed at the first log-in:";
        return terminal.write_all(format!("\n{words}\n{text}\n").as_bytes()).map_err(failed);
    }
    // Removed first: a file that is there may have wider rights.
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    tracing::warn!(file = %path.display(), "the first admin's password is in a file: log in, change it, remove the file");
    Ok(())
}
