//! Users, for admins.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};

use super::answers::{Created, check_name, if_match, none_or};
use super::auth::check_password;
use super::body::Body;
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::secret::Secret;
use super::security::Auth;
use super::words::{Role, UserStatus};
use super::{State, Tag};
use crate::auth::principal::Actor;
use crate::auth::roles::{self, Operation};
use crate::id::UserId;
use crate::plan;
use crate::store::users::{self, Account, Changes, NewUser, UserError};

/// Users.
#[derive(Debug)]
pub(super) struct Api;

/// A user.
#[derive(Debug, Object)]
pub(super) struct User {
    /// Its id.
    id: i64,
    /// Unique; lower case; never changes.
    username: String,
    /// For people.
    name: String,
    /// What it is.
    role: Role,
    /// Whether it may sign in.
    status: UserStatus,
    /// Whether it has a password; without, it cannot sign in.
    has_password: bool,
    /// Somebody else has set the password: it must be changed before anything else.
    must_change_password: bool,
    /// When it was made (UTC); null where that was not noted.
    created_at: Option<DateTime<Utc>>,
    /// Grows with every change; for `If-Match`.
    version: i64,
}

/// A user to make.
#[derive(Debug, Object)]
struct UserRequest {
    /// 1 to 64 of `a-z 0-9 . _ -`; unique.
    #[oai(validator(min_length = 1, max_length = 64))]
    username: String,
    /// For people; 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// What it is.
    role: Role,
    /// 15 to 128 characters; the user must change it at the first log-in. Absent or null: it cannot sign in until it gets one.
    #[oai(validator(max_length = 512))]
    password: Option<Secret>,
}

/// What to change; what is absent stays.
#[derive(Debug, Object)]
struct UserPatch {
    /// For people; 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: Option<String>,
    /// What it is. A seller that owns DIDs or campaigns stays a seller.
    role: Option<Role>,
    /// Whether it may sign in. Disabling ends its sessions at once and its API tokens while it is disabled.
    status: Option<UserStatus>,
    /// Needed when a seller is disabled, and only then: true pauses its active campaigns, so that no new call is routed for it (running
    /// ones go on); false lets its routing go on.
    stop_routing: Option<bool>,
    /// 15 to 128 characters; ends the user's sessions, and the user must change it at the next log-in.
    #[oai(validator(max_length = 512))]
    password: Option<Secret>,
    /// With `password`: whether the user's API tokens end as well. Absent: they stay.
    revoke_tokens: Option<bool>,
}

#[OpenApi(prefix_path = "/api/v1/users", tag = "Tag::Users")]
impl Api {
    /// List users
    ///
    /// By id. Admins only.
    #[oai(path = "/", method = "get", operation_id = "listUsers")]
    async fn list(
        &self,
        state: Data<&State>,
        auth: Auth,
        /// Only of this role.
        role: Query<Option<Role>>,
        /// Only of this status.
        status: Query<Option<UserStatus>>,
        /// Items at most, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<User>>, ApiError> {
        auth.may(Operation::ListUsers)?;
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("{:?} {:?}", role.0, status.0))?;
        let (role, status) = (role.0.map(Into::into), status.0.map(Into::into));
        let rows = users::list(&state.db, role, status, window.after, window.read).await?;
        Ok(Json(window.page(rows, |row| row.id.0, User::from)?))
    }

    /// Make a user
    ///
    /// Admins only. A seller that `capconduit apply` made has no password until `PATCH` gives it one.
    #[oai(path = "/", method = "post", operation_id = "createUser")]
    async fn create(
        &self,
        state: Data<&State>,
        auth: Auth,
        body: Body<UserRequest>,
    ) -> Result<Created<User>, ApiError> {
        let (principal, _) = auth.may(Operation::CreateUser)?;
        let UserRequest { username, name, role, password } = body.0;
        let mut errors = Vec::new();
        if !plan::is_username(&username) {
            errors.push(FieldError::new("username", "username", "use 1 to 64 of a-z 0-9 . _ -"));
        }
        check_name("name", &name, &mut errors);
        if let Some(password) = &password {
            check_password("password", password.expose(), &username, &mut errors);
        }
        none_or(errors)?;
        let must_change_password = password.is_some();
        let password_hash = match password {
            Some(password) => Some(state.authority.hasher.hash(password.into()).await?),
            None => None,
        };
        let new = NewUser { username, name, role: role.into(), password_hash, must_change_password };
        let account = users::create(&state.db, Actor::from(&principal), new, state.clock.now().wall).await?;
        Ok(Created::Made(Json(account.into())))
    }

    /// Read a user
    ///
    /// Admins only.
    #[oai(path = "/:id", method = "get", operation_id = "getUser")]
    async fn get(&self, state: Data<&State>, auth: Auth, id: Path<i64>) -> Result<Json<User>, ApiError> {
        auth.may(Operation::GetUser)?;
        let account = users::get(&state.db, UserId(id.0)).await?.ok_or_else(ApiError::not_found)?;
        Ok(Json(account.into()))
    }

    /// Change a user
    ///
    /// Admins only. A new role, status or password counts for the user's next request. The last active admin stays one (409
    /// `last_admin`). One's own password is changed with `POST /auth/password`.
    #[oai(path = "/:id", method = "patch", operation_id = "updateUser")]
    async fn update(
        &self,
        state: Data<&State>,
        auth: Auth,
        id: Path<i64>,
        /// The version that the change is made for, such as `"3"`; another one is 412.
        #[oai(name = "If-Match")]
        version: Header<Option<String>>,
        body: Body<UserPatch>,
    ) -> Result<Json<User>, ApiError> {
        let (principal, _) = auth.may(Operation::UpdateUser)?;
        let id = UserId(id.0);
        let if_version = if_match(version.0.as_deref())?;
        let account = users::get(&state.db, id).await?.ok_or_else(ApiError::not_found)?;
        let patch = body.0;
        if patch.password.is_some() && id == principal.user {
            return Err(ApiError::conflict("own_password", "Change your own password with POST /auth/password."));
        }
        patch.check(&account)?;
        let password_hash = match patch.password {
            Some(password) => Some(state.authority.hasher.hash(password.into()).await?),
            None => None,
        };
        let changes = Changes {
            name: patch.name,
            role: patch.role.map(Into::into),
            status: patch.status.map(Into::into),
            password_hash,
            revoke_tokens: patch.revoke_tokens.unwrap_or(false),
            stop_routing: patch.stop_routing,
            if_version,
        };
        let now = state.clock.now().wall;
        Ok(Json(users::update(&state.db, Actor::from(&principal), id, changes, now).await?.into()))
    }
}

impl UserPatch {
    fn check(&self, account: &Account) -> Result<(), ApiError> {
        let mut errors = Vec::new();
        if let Some(name) = self.name.as_ref().filter(|name| **name != account.name) {
            check_name("name", name, &mut errors);
        }
        if let Some(password) = &self.password {
            check_password("password", password.expose(), &account.username, &mut errors);
        }
        if self.revoke_tokens.is_some() && self.password.is_none() {
            errors.push(FieldError::new("revoke_tokens", "not_now", "belongs to a new password"));
        }
        let disables = self.status == Some(UserStatus::Disabled) && account.status == plan::UserStatus::Active;
        let disables_seller = disables && account.role == roles::Role::Seller;
        match self.stop_routing {
            None if disables_seller => errors.push(routing_unsaid()),
            Some(_) if !disables_seller => {
                errors.push(FieldError::new("stop_routing", "not_now", "belongs to disabling an active seller"));
            }
            _ => {}
        }
        none_or(errors)
    }
}

fn routing_unsaid() -> FieldError {
    FieldError::new("stop_routing", "required", "say whether the seller's routing stops (true) or goes on (false)")
}

impl From<Account> for User {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.0,
            username: account.username,
            name: account.name,
            role: account.role.into(),
            status: account.status.into(),
            has_password: account.has_password,
            must_change_password: account.must_change_password,
            created_at: account.created_at,
            version: account.version,
        }
    }
}

impl From<UserError> for ApiError {
    fn from(error: UserError) -> Self {
        match error {
            UserError::Unknown => Self::not_found(),
            UserError::Taken => Self::conflict("username_taken", "Another user has this username."),
            UserError::LastAdmin => Self::conflict("last_admin", "The last active admin must stay one."),
            UserError::Owns => {
                Self::conflict("owns_objects", "The seller owns DIDs or campaigns: nobody but a seller can.")
            }
            UserError::RoutingUnsaid => Self::invalid(vec![routing_unsaid()]),
            UserError::Outdated => {
                Self::unauthorized("credential", "The password or session has changed: log in again.")
            }
            UserError::Stale { current } => Self::precondition_failed(current),
            UserError::Store(error) => error.into(),
        }
    }
}
