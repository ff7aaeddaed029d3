//! Log-in, refresh, log-out, one's own password.

use poem::Request;
use poem::web::Data;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use secrecy::{ExposeSecret, SecretString};

use super::answers::{Done, none_or};
use super::body::Body;
use super::error::{ApiError, FieldError};
use super::secret::Secret;
use super::security::{Auth, client_address};
use super::users::User;
use super::{State, Tag};
use crate::auth::hasher::HashError;
use crate::auth::principal::{Actor, Credential, Principal};
use crate::auth::roles::Operation;
use crate::auth::sign_in::{self, Entered, SignInError};
use crate::auth::{access, password};
use crate::store::users::OwnPassword;
use crate::store::{sessions, users};

/// Sessions.
#[derive(Debug)]
pub(super) struct Api;

/// Who wants to log in.
#[derive(Debug, Object)]
#[oai(example)]
struct Login {
    /// Case does not matter.
    #[oai(validator(max_length = 64))]
    username: String,
    /// As it was set.
    #[oai(validator(max_length = 512))]
    password: Secret,
}

impl poem_openapi::types::Example for Login {
    fn example() -> Self {
        Self { username: "acme".to_owned(), password: "violet tractor hums low".to_owned().into() }
    }
}

/// A refresh token.
#[derive(Debug, Object)]
struct RefreshRequest {
    /// From the last log-in or refresh; good once.
    #[oai(validator(max_length = 512))]
    refresh_token: Secret,
}

/// What a log-in or refresh hands out.
#[derive(Debug, Object)]
struct Tokens {
    /// Send it as `Authorization: Bearer …`.
    access_token: Secret,
    /// Always `Bearer`.
    token_type: String,
    /// Life of the access token in seconds.
    expires_in: u64,
    /// For `POST /auth/refresh`; good once. Using an older one ends the session. 30 days after the log-in none is good.
    refresh_token: Secret,
    /// Who logged in.
    user: User,
}

/// A new password for oneself.
#[derive(Debug, Object)]
struct PasswordChange {
    /// The one that is good now.
    #[oai(validator(max_length = 512))]
    current_password: Secret,
    /// 15 to 128 characters, any; refused when it is common, regular or holds the username.
    #[oai(validator(max_length = 512))]
    new_password: Secret,
    /// Whether one's API tokens end as well: true where somebody else may have learnt the password. Absent: they stay.
    revoke_tokens: Option<bool>,
}

/// Who calls, and with what.
#[derive(Debug, Object)]
struct Me {
    /// The user.
    user: User,
    /// `session`, or `token` for an API token.
    credential: String,
    /// Of an API token: `read` or `write`.
    scope: Option<super::words::Scope>,
}

#[OpenApi(prefix_path = "/api/v1/auth", tag = "Tag::Auth")]
impl Api {
    /// Log in
    ///
    /// Gives an access token for 15 minutes and a refresh token. An unknown user, a disabled one and a wrong password are told alike: 401
    /// `credentials`. Too many wrong ones are slowed down (429 with `Retry-After`), by account and address; nobody is locked out for good.
    /// While `user.must_change_password` is true, nothing but `POST /auth/password` is allowed.
    #[oai(path = "/login", method = "post", operation_id = "login")]
    async fn login(&self, state: Data<&State>, request: &Request, body: Body<Login>) -> Result<Json<Tokens>, ApiError> {
        let address = client_address(request, &state.config.now().api.trusted_proxies);
        let Body(Login { username, password }) = body;
        let now = state.clock.now();
        let entered = sign_in::sign_in(&state.db, &state.authority, &username, password.into(), address, now).await?;
        Ok(Json(entered.into()))
    }

    /// Get a new access token
    ///
    /// The refresh token is replaced by a new one. A refresh token that was used before ends the whole session (401): it may be stolen.
    #[oai(path = "/refresh", method = "post", operation_id = "refreshSession")]
    async fn refresh(&self, state: Data<&State>, body: Body<RefreshRequest>) -> Result<Json<Tokens>, ApiError> {
        let token = SecretString::from(body.0.refresh_token);
        let now = state.clock.now().wall;
        Ok(Json(sign_in::refresh(&state.db, &state.authority, &token, now).await?.into()))
    }

    /// Log out
    ///
    /// Ends the session: its access and refresh tokens are good no more.
    #[oai(path = "/logout", method = "post", operation_id = "logout")]
    async fn logout(&self, state: Data<&State>, auth: Auth) -> Result<Done, ApiError> {
        let (principal, _) = auth.may(Operation::Logout)?;
        if let Credential::Session(session) = principal.credential {
            let now = state.clock.now().wall;
            sessions::close(&state.db, Actor::from(&principal), session, Some(principal.user), now).await?;
        }
        Ok(Done::Done)
    }

    /// Who am I?
    ///
    /// The user and the kind of credential.
    #[oai(path = "/me", method = "get", operation_id = "getMe")]
    async fn me(&self, state: Data<&State>, auth: Auth) -> Result<Json<Me>, ApiError> {
        let (principal, _) = auth.may(Operation::GetMe)?;
        let account = users::get(&state.db, principal.user).await?.ok_or_else(ApiError::not_found)?;
        let (credential, scope) = match principal.credential {
            Credential::Session(_) => ("session", None),
            Credential::Token { scope, .. } => ("token", Some(scope.into())),
        };
        Ok(Json(Me { user: account.into(), credential: credential.to_owned(), scope }))
    }

    /// Change one's own password
    ///
    /// Ends all other sessions of the user, and with `revoke_tokens` its API tokens. A wrong current password is 422 and counts like one at log-in.
    #[oai(path = "/password", method = "post", operation_id = "changePassword")]
    async fn change_password(
        &self,
        state: Data<&State>,
        auth: Auth,
        body: Body<PasswordChange>,
    ) -> Result<Done, ApiError> {
        let (principal, _) = auth.may(Operation::ChangePassword)?;
        let Body(PasswordChange { current_password, new_password, revoke_tokens }) = body;
        let verified = require_password(&state, &principal, current_password.clone().into()).await?;
        let mut errors = Vec::new();
        check_password("new_password", new_password.expose(), &principal.username, &mut errors);
        if new_password == current_password {
            errors.push(FieldError::new("new_password", "same", "must be another one than now"));
        }
        none_or(errors)?;
        let hash = state.authority.hasher.hash(new_password.into()).await?;
        let session = match principal.credential {
            Credential::Session(session) => Some(session),
            Credential::Token { .. } => None,
        };
        let (actor, now) = (Actor::from(&principal), state.clock.now().wall);
        let revoke_tokens = revoke_tokens.unwrap_or(false);
        let new = OwnPassword { verified: Some(&verified), hash: &hash, session, revoke_tokens };
        users::change_password(&state.db, actor, principal.user, new, now).await?;
        Ok(Done::Done)
    }
}

/// Whoever found an open session does not have the password with it. The hash of the password that was given.
async fn require_password(state: &State, principal: &Principal, given: SecretString) -> Result<SecretString, ApiError> {
    let now = state.clock.now().mono;
    let counted = state.authority.begin_try(&principal.username, principal.address, now);
    let counted = counted.map_err(SignInError::Throttled)?;
    let stored = users::credentials(&state.db, &principal.username).await?.and_then(|(_, hash)| hash);
    let right = state.authority.hasher.verify(given, stored.clone()).await?;
    let Some(verified) = stored.filter(|_| right) else {
        let wrong = FieldError::new("current_password", "wrong", "is not the current password");
        return Err(ApiError::invalid(vec![wrong]));
    };
    state.authority.succeed(&counted, now);
    Ok(verified)
}

/// Notes what is wrong with a new password.
pub(super) fn check_password(field: &str, given: &str, username: &str, errors: &mut Vec<FieldError>) {
    if let Err(allowed) = password::check(given, username) {
        errors.push(FieldError::new(field, "password", allowed));
    }
}

impl From<Entered> for Tokens {
    fn from(entered: Entered) -> Self {
        Self {
            access_token: entered.access_token.expose_secret().to_owned().into(),
            token_type: "Bearer".to_owned(),
            expires_in: access::LIFE.as_secs(),
            refresh_token: entered.refresh_token.expose_secret().to_owned().into(),
            user: entered.account.into(),
        }
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Refused => {
                Self::unauthorized("credentials", "They are not good: log in with username and password.")
            }
            SignInError::Throttled(wait) => {
                Self::too_many("throttled", "Too many wrong passwords: wait a little.", wait)
            }
            SignInError::Hash(error) => error.into(),
            SignInError::Store(error) => error.into(),
            SignInError::Sign(error) => Self::internal(&error),
        }
    }
}

impl From<HashError> for ApiError {
    fn from(error: HashError) -> Self {
        match error {
            HashError::Busy => {
                let wait = std::time::Duration::from_secs(5);
                Self::too_many("busy", "Too many log-ins at once: wait a little.", wait)
            }
            HashError::Failed(_) => Self::internal(&error),
        }
    }
}
