//! One's own sessions, and for an admin everybody's.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::answers::Done;
use super::call_filter::storable;
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::principal::{Actor, Credential, Principal};
use crate::auth::roles::{Operation, Reach};
use crate::id::UserId;
use crate::store::sessions;

/// Sessions.
#[derive(Debug)]
pub(super) struct Api;

/// A session that lives.
#[derive(Debug, Object)]
struct Session {
    /// Its id; no secret.
    id: String,
    /// Username of whose it is.
    username: String,
    /// Whether it is the one that asks.
    current: bool,
    /// Address it was opened from; null where that was not noted.
    address: Option<String>,
    /// Log-in (UTC).
    created_at: DateTime<Utc>,
    /// Log-in or last refresh (UTC).
    refreshed_at: DateTime<Utc>,
    /// When it ends at the latest (UTC).
    expires_at: DateTime<Utc>,
}

#[OpenApi(prefix_path = "/api/v1/auth/sessions", tag = "Tag::Auth")]
impl Api {
    /// List sessions
    ///
    /// One's own that live, newest first; an admin sees everybody's. A user has 50 at most unless the site is configured otherwise
    /// (`auth.sessions_per_user`): with one more log-in the oldest ends.
    #[oai(path = "/", method = "get", operation_id = "listSessions")]
    async fn list(
        &self,
        state: Data<&State>,
        auth: Auth,
        /// Only of this user (row id).
        user_id: Query<Option<i64>>,
        /// Items at most, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Session>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListSessions)?;
        let window = Window::<sessions::Key>::new(limit.0, cursor.0.as_deref(), &format!("{:?}", user_id.0))?;
        if window.after.is_some_and(|(at, _)| !storable(at)) {
            return Err(ApiError::invalid(vec![FieldError::new("cursor", "value", "send a cursor as a list gave it")]));
        }
        let (own, wanted) = (of(&principal, reach), user_id.0.map(UserId));
        if own.is_some() && wanted.is_some() && own != wanted {
            return Ok(Json(window.page(Vec::new(), key, |row| Session::new(row, &principal))?));
        }
        let now = state.clock.now().wall;
        let rows = sessions::list(&state.db, own.or(wanted), window.after, window.read, now).await?;
        Ok(Json(window.page(rows, key, |row| Session::new(row, &principal))?))
    }

    /// End a session
    ///
    /// Its access and refresh tokens are good no more from the next request on. API tokens stay: see `DELETE /auth/tokens/{id}`.
    #[oai(path = "/:session_id", method = "delete", operation_id = "closeSession")]
    async fn close(&self, state: Data<&State>, auth: Auth, session_id: Path<String>) -> Result<Done, ApiError> {
        let (principal, reach) = auth.may(Operation::CloseSession)?;
        let session = session_id.0.parse().map_err(|_| ApiError::not_found())?;
        let now = state.clock.now().wall;
        let closed = sessions::close(&state.db, Actor::from(&principal), session, of(&principal, reach), now).await?;
        if closed { Ok(Done::Done) } else { Err(ApiError::not_found()) }
    }
}

fn key(row: &sessions::Session) -> sessions::Key {
    (row.created_at, row.id)
}

/// Whose sessions it is about; `None` = anybody's.
fn of(principal: &Principal, reach: Reach) -> Option<UserId> {
    (reach != Reach::All).then_some(principal.user)
}

impl Session {
    fn new(session: sessions::Session, reader: &Principal) -> Self {
        Self {
            current: reader.credential == Credential::Session(session.id),
            id: session.id.to_string(),
            username: session.username,
            address: session.address,
            created_at: session.created_at,
            refreshed_at: session.refreshed_at,
            expires_at: session.expires_at,
        }
    }
}
