//! Log-in and refresh. An unknown user, a disabled one, one without password and a wrong password are told and timed alike.

use std::net::IpAddr;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use secrecy::SecretString;

use super::authority::Authority;
use super::hasher::HashError;
use super::principal::Actor;
use super::secrets::{self, Family};
use crate::clock::Now;
use crate::id::UserId;
use crate::plan::UserStatus;
use crate::store::sessions::{self, NewSession, Refresh};
use crate::store::users::{self, Account};
use crate::store::{Db, StoreError};

/// Absolute life of a session, however often it is refreshed.
const SESSION_LIFE: TimeDelta = TimeDelta::days(30);

/// What a log-in or refresh hands out.
#[derive(Debug)]
pub struct Entered {
    /// Who.
    pub account: Account,
    /// Lives [`super::access::LIFE`].
    pub access_token: SecretString,
    /// Good for one refresh.
    pub refresh_token: SecretString,
}

/// Why nobody was let in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// Whatever was sent is not good; deliberately no word more.
    #[error("the credentials are not good")]
    Refused,
    /// Too many tries; one may come after this.
    #[error("too many tries; the next one after {} s", .0.as_secs())]
    Throttled(Duration),
    /// Passwords cannot be compared now.
    #[error(transparent)]
    Hash(#[from] HashError),
    /// The token cannot be signed.
    #[error("an access token cannot be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
    /// The database could not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens a session for whoever knows the password.
///
/// # Errors
/// Why not.
pub async fn sign_in(
    db: &Db,
    authority: &Authority,
    username: &str,
    password: SecretString,
    address: Option<IpAddr>,
    now: Now,
) -> Result<Entered, SignInError> {
    let username = username.trim().to_lowercase();
    let counted = authority.begin_try(&username, address, now.mono).map_err(SignInError::Throttled)?;
    let (account, hash) = users::credentials(db, &username).await?.map_or((None, None), |(a, h)| (Some(a), h));
    let right = authority.hasher.verify(password, hash.clone()).await?;
    let user = account.as_ref().map(|account| account.id);
    let account = account.filter(|account| right && account.status == UserStatus::Active);
    let Some((account, verified)) = account.zip(hash) else {
        note_refusal(db, authority, user, address, now).await?;
        return Err(SignInError::Refused);
    };
    let family = Family::new();
    let refresh_token = family.refresh_token();
    let session = NewSession {
        id: family.session,
        user: account.id,
        verified,
        refresh_hash: secrets::hash(&refresh_token),
        family_hash: family.hash(),
        created_at: now.wall,
        expires_at: now.wall + SESSION_LIFE,
        address,
    };
    let actor = Actor::Claimed { user: Some(account.id), username: &account.username, address };
    if !sessions::open(db, actor, session, authority.sessions_per_user).await? {
        note_refusal(db, authority, user, address, now).await?;
        return Err(SignInError::Refused);
    }
    authority.succeed(&counted, now.mono);
    let access_token = authority.key.sign(family.session, now.wall)?;
    Ok(Entered { account, access_token, refresh_token })
}

async fn note_refusal(
    db: &Db,
    authority: &Authority,
    user: Option<UserId>,
    address: Option<IpAddr>,
    now: Now,
) -> Result<(), StoreError> {
    match authority.note_refusal(now.mono) {
        Some(unnoted) => sessions::note_refusal(db, user, address, unnoted, now.wall).await,
        None => Ok(()),
    }
}

/// Hands out new tokens for a refresh token, which is good no more; one that was used before ends its session.
///
/// # Errors
/// Why not.
pub async fn refresh(
    db: &Db,
    authority: &Authority,
    token: &SecretString,
    now: DateTime<Utc>,
) -> Result<Entered, SignInError> {
    let family = Family::of(token).ok_or(SignInError::Refused)?;
    let account = sessions::owner(db, family.session, now).await?.ok_or(SignInError::Refused)?;
    let refresh_token = family.refresh_token();
    let (old, new) = (secrets::hash(token), secrets::hash(&refresh_token));
    match sessions::refresh(db, family.session, &family.hash(), &old, new, now).await? {
        Refresh::Rotated => {
            let access_token = authority.key.sign(family.session, now)?;
            Ok(Entered { account, access_token, refresh_token })
        }
        Refresh::Reused => {
            tracing::warn!(user = account.id.0, "a refresh token was used twice: its session has ended");
            Err(SignInError::Refused)
        }
        Refresh::Ended => Err(SignInError::Refused),
    }
}
