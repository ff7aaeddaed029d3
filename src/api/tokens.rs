//! API tokens for scripts.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use secrecy::ExposeSecret;

use super::answers::{Created, Done, check_name, none_or};
use super::body::Body;
use super::call_filter::unstorable;
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::secret::Secret;
use super::security::Auth;
use super::words::Scope;
use super::{State, Tag};
use crate::auth::principal::{Actor, Principal};
use crate::auth::roles::{Operation, Reach};
use crate::auth::secrets;
use crate::id::UserId;
use crate::store::tokens::{self, NewToken, TokenError};

/// API tokens.
#[derive(Debug)]
pub(super) struct Api;

/// A token to make.
#[derive(Debug, Object)]
struct TokenRequest {
    /// What it is for; 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// What it may do, within what its owner may.
    scope: Scope,
    /// Until when it is good; absent or null: until it is revoked.
    expires_at: Option<DateTime<Utc>>,
}

/// A token, without itself.
#[derive(Debug, Object)]
struct Token {
    /// Its id.
    id: i64,
    /// Username of its owner, whose role it has.
    username: String,
    /// What it is for.
    name: String,
    /// What it may do, within what its owner may.
    scope: Scope,
    /// When it was made (UTC).
    created_at: DateTime<Utc>,
    /// Until when it is good (UTC); null: until it is revoked.
    expires_at: Option<DateTime<Utc>>,
    /// Last use (UTC), to the minute; null: never.
    last_used_at: Option<DateTime<Utc>>,
}

/// A token that was just made.
#[derive(Debug, Object)]
struct NewlyMade {
    /// What is kept of it.
    token: Token,
    /// The secret itself: send it as `X-API-Key`. It is shown this once, and absent where the request is repeated with its
    /// `Idempotency-Key`.
    #[oai(skip_serializing_if_is_none)]
    secret: Option<Secret>,
}

#[OpenApi(prefix_path = "/api/v1/auth/tokens", tag = "Tag::Auth")]
impl Api {
    /// Make an API token
    ///
    /// For scripts: sent as `X-API-Key`. It has its owner's role, and never manages users, tokens or passwords. 409 `too_many_tokens`
    /// where the user has as many that are good as the site allows (`auth.tokens_per_user`, 100 unless configured).
    #[oai(path = "/", method = "post", operation_id = "createToken")]
    async fn create(
        &self,
        state: Data<&State>,
        auth: Auth,
        body: Body<TokenRequest>,
    ) -> Result<Created<NewlyMade>, ApiError> {
        let (principal, _) = auth.may(Operation::CreateToken)?;
        let TokenRequest { name, scope, expires_at } = body.0;
        let now = state.clock.now().wall;
        let mut errors = Vec::new();
        check_name("name", &name, &mut errors);
        if expires_at.is_some_and(|end| end <= now) {
            errors.push(FieldError::new("expires_at", "past", "must lie in the future"));
        } else {
            errors.extend(unstorable(("expires_at", expires_at)));
        }
        none_or(errors)?;
        let secret = secrets::api_token();
        let hash = secrets::hash(&secret);
        let new = NewToken { user: principal.user, name, hash, scope: scope.into(), expires_at };
        let at_most = state.config.now().auth.tokens_per_user;
        let token = tokens::create(&state.db, Actor::from(&principal), new, at_most, now).await?;
        let made = NewlyMade { token: token.into(), secret: Some(secret.expose_secret().to_owned().into()) };
        Ok(Created::Made(Json(made)))
    }

    /// List API tokens
    ///
    /// One's own that are good; an admin sees everybody's.
    #[oai(path = "/", method = "get", operation_id = "listTokens")]
    async fn list(
        &self,
        state: Data<&State>,
        auth: Auth,
        /// Items at most, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Token>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListTokens)?;
        let window = Window::new(limit.0, cursor.0.as_deref(), "")?;
        let now = state.clock.now().wall;
        let rows = tokens::list(&state.db, of(&principal, reach), window.after, window.read, now).await?;
        Ok(Json(window.page(rows, |row| row.id, Token::from)?))
    }

    /// Revoke an API token
    ///
    /// It is good no more from the next request on.
    #[oai(path = "/:id", method = "delete", operation_id = "revokeToken")]
    async fn revoke(&self, state: Data<&State>, auth: Auth, id: Path<i64>) -> Result<Done, ApiError> {
        let (principal, reach) = auth.may(Operation::RevokeToken)?;
        let now = state.clock.now().wall;
        let revoked = tokens::revoke(&state.db, Actor::from(&principal), id.0, of(&principal, reach), now).await?;
        if revoked { Ok(Done::Done) } else { Err(ApiError::not_found()) }
    }
}

/// Whose tokens it is about; `None` = anybody's.
fn of(principal: &Principal, reach: Reach) -> Option<UserId> {
    (reach != Reach::All).then_some(principal.user)
}

impl From<tokens::Token> for Token {
    fn from(token: tokens::Token) -> Self {
        Self {
            id: token.id,
            username: token.username,
            name: token.name,
            scope: token.scope.into(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            last_used_at: token.last_used_at,
        }
    }
}

impl From<TokenError> for ApiError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooMany(has) => {
                let detail = format!("You have {has} API tokens that are good, and no more are allowed: revoke one.");
                Self::conflict("too_many_tokens", detail)
            }
            TokenError::Store(error) => error.into(),
        }
    }
}
