//! Who changed what.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::Value;

use super::call_filter::unstorable;
use super::error::ApiError;
use super::page::{Page, Window};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::roles::{Operation, Reach};
use crate::id::UserId;
use crate::store::audit::{self, Filter, Line};

/// The audit.
#[derive(Debug)]
pub(super) struct Api;

/// One thing that was done.
#[derive(Debug, Object)]
struct AuditLine {
    /// Its id; grows.
    id: i64,
    /// When (UTC).
    at: DateTime<Utc>,
    /// Row id of the user who did it; null for the command line, and for log-ins under a name that nobody has.
    user_id: Option<i64>,
    /// Username, or `apply`, `cli` or `start`.
    actor: String,
    /// `session:<id>` or `token:<id>` that it was done with.
    credential: Option<String>,
    /// Address of the client, where it came over the API.
    address: Option<String>,
    /// What was done, such as `call.hang_up`.
    action: String,
    /// To what, such as `call:<id>`.
    object: String,
    /// The object before, without secrets.
    before: Option<Value>,
    /// The object after, without secrets.
    after: Option<Value>,
}

impl From<Line> for AuditLine {
    fn from(line: Line) -> Self {
        Self {
            id: line.id,
            at: line.at,
            user_id: line.user.map(|user| user.0),
            actor: line.actor,
            credential: line.credential,
            address: line.address,
            action: line.action,
            object: line.object,
            before: line.before,
            after: line.after,
        }
    }
}

#[OpenApi(prefix_path = "/api/v1/audit", tag = "Tag::Audit")]
impl Api {
    /// List the audit
    ///
    /// Newest first. Admins see everything, sellers what they did themselves as sellers; staff may not. It takes a place among the user's
    /// reports, as a list of calls does, and waits up to 2 seconds for it: 429 `too_many_reports` or 503 `reports_busy` where there is none,
    /// 422 `report_too_long` where it took longer than 20 seconds (by default) and was ended.
    #[oai(path = "/", method = "get", operation_id = "listAudit")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// What this user did (row id).
        user_id: Query<Option<i64>>,
        /// What was done to this object, such as `call:<id>`.
        object: Query<Option<String>>,
        /// What was done, such as `call.hang_up`.
        action: Query<Option<String>>,
        /// Then or later (RFC 3339 with offset).
        from: Query<Option<DateTime<Utc>>>,
        /// Before then (RFC 3339 with offset).
        to: Query<Option<DateTime<Utc>>>,
        /// Lines per page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before, with the same filters.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<AuditLine>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListAudit)?;
        let errors: Vec<_> = [("from", from.0), ("to", to.0)].into_iter().filter_map(unstorable).collect();
        if !errors.is_empty() {
            return Err(ApiError::invalid(errors));
        }
        let owner = (reach != Reach::All).then_some(principal.user);
        // Whoever was staff has seen what a seller may not.
        let after = match owner {
            Some(user) => audit::role_given(&state.reports.now(), user).await?,
            None => None,
        };
        let filter = Filter {
            owner,
            after,
            user: user_id.0.map(UserId),
            object: object.0,
            action: action.0,
            from: from.0,
            to: to.0,
        };
        let window = Window::<i64>::new(limit.0, cursor.0.as_deref(), &format!("{filter:?}"))?;
        let lines = audit::list(&state.reports.now(), principal.user, &filter, window.after, window.read).await?;
        Ok(Json(window.page(lines, |line| line.id, AuditLine::from)?))
    }
}
