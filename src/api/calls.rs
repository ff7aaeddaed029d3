//! Finished calls: lists, one call with everything that is known of it, and figures.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, FixedOffset, Utc};
use chrono_tz::Tz;
use poem::Body;
use poem::endpoint::BoxEndpoint;
use poem::http::Method;
use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::{Binary, Json};
use poem_openapi::registry::{MetaApi, Registry};
use poem_openapi::{ApiResponse, Enum, Object, OpenApi, ResponseContent};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::call_filter::{CallFilter, storable};
use super::error::{ApiError, FieldError};
use super::export::{self, Format};
use super::page::{Page, Window};
use super::render::{Call, CallDetail, Viewer};
use super::reports::Range;
use super::security::Auth;
use super::visits::Kind;
use super::{State, Tag};
use crate::auth::principal::Principal;
use crate::auth::roles::{Operation, Reach, Role};
use crate::id::{CallId, ClientId};
use crate::store::calls::{self, By, Figures, Group, Key, Position};
use crate::store::clients;

/// Endpoints of finished calls.
#[derive(Debug)]
pub(super) struct Api;

/// The same, but for the filters in their document: the library has one parameter for each argument only.
struct Operations;

/// Which of them take a [`CallFilter`].
const FILTERED: [&str; 3] = ["listCalls", "summarizeCalls", "exportCalls"];

impl OpenApi for Api {
    fn meta() -> Vec<MetaApi> {
        let mut meta = Operations::meta();
        let operations = meta.iter_mut().flat_map(|api| &mut api.paths).flat_map(|path| &mut path.operations);
        for operation in operations.filter(|operation| operation.operation_id.is_some_and(|id| FILTERED.contains(&id)))
        {
            operation.params.extend(CallFilter::parameters());
        }
        meta
    }

    fn register(registry: &mut Registry) {
        Operations::register(registry);
    }

    fn add_routes(self, routes: &mut HashMap<String, HashMap<Method, BoxEndpoint<'static>>>) {
        Operations.add_routes(routes);
    }
}

/// What calls are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum GroupBy {
    /// Hours of the time zone's clock; one that a clock change repeats is two groups.
    Hour,
    /// Days of the time zone's calendar.
    Day,
    /// Owner of the DID.
    Seller,
    /// The campaign.
    Campaign,
    /// The number dialled.
    Did,
    /// Each client that was dialled.
    Client,
    /// Each link that was dialled.
    Link,
    /// Why calls ended.
    Ending,
}

impl From<GroupBy> for By {
    fn from(by: GroupBy) -> Self {
        match by {
            GroupBy::Hour => Self::Hour,
            GroupBy::Day => Self::Day,
            GroupBy::Seller => Self::Seller,
            GroupBy::Campaign => Self::Campaign,
            GroupBy::Did => Self::Did,
            GroupBy::Client => Self::Client,
            GroupBy::Link => Self::Link,
            GroupBy::Ending => Self::Ending,
        }
    }
}

/// How calls are written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
enum ExportFormat {
    /// Comma-separated values (RFC 4180) with a heading.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

#[derive(ApiResponse)]
enum ExportResponse {
    /// The calls, and how many they are.
    #[oai(status = 200)]
    Ok(ExportBody),
}

#[derive(ResponseContent)]
enum ExportBody {
    #[oai(content_type = "text/csv; charset=utf-8")]
    Csv(Binary<Body>),
    #[oai(content_type = "application/x-ndjson")]
    Ndjson(Binary<Body>),
}

/// Figures of some calls.
#[derive(Debug, Object)]
struct CallFigures {
    /// How many.
    calls: u64,
    /// How many of them a client answered; by client or link: this one. Not those that only may have been answered.
    answered: u64,
    /// `answered` divided by `calls`, 0 to 1; null where there are no calls.
    answer_rate: Option<f64>,
    /// Talk time of the answered ones, in milliseconds, as is likely: the sum of `talk_ms` of each.
    talk_ms: i64,
    /// Talk time at least, in milliseconds: the sum of `talk_min_ms` of each, which is certain.
    talk_min_ms: i64,
    /// Talk time at most, in milliseconds: the sum of `talk_max_ms` of each, of calls that may have been answered, too.
    talk_max_ms: i64,
}

impl From<Figures> for CallFigures {
    #[allow(clippy::cast_precision_loss, reason = "a rate; counts stay far below 2^53")]
    fn from(Figures { calls, answered, talk_ms, talk_min_ms, talk_max_ms }: Figures) -> Self {
        let answer_rate = (calls > 0).then(|| answered as f64 / calls as f64);
        Self { calls, answered, answer_rate, talk_ms, talk_min_ms, talk_max_ms }
    }
}

/// Calls that have something in common.
#[derive(Debug, Object)]
struct CallGroup {
    /// Begin of the hour or day, with the offset in force then; null for other groups.
    begins_at: Option<DateTime<FixedOffset>>,
    /// Row id of the seller, campaign, client or link; null for other groups, and for calls that reached none.
    id: Option<i64>,
    /// Row id of the link's client; null for other groups.
    client_id: Option<i64>,
    /// Name of the seller, campaign or client; the number dialled; the ending.
    name: Option<String>,
    /// Their figures.
    figures: CallFigures,
}

/// Figures of calls, grouped.
#[derive(Debug, Object)]
struct CallSummary {
    /// What they are grouped by.
    group_by: GroupBy,
    /// The time zone of hours and days.
    time_zone: String,
    /// The first moment that it covers.
    from: Option<DateTime<Utc>>,
    /// The first one after that; null = it goes on.
    to: Option<DateTime<Utc>>,
    /// Over all calls that match, each counted once.
    total: CallFigures,
    /// Groups that have calls: hours and days in their order, others the largest first. At most 10,000.
    groups: Vec<CallGroup>,
    /// Whether there are more groups, which are left out: ask for less time, or for fewer calls, to see them.
    groups_truncated: bool,
}

/// Place of a call in a list.
#[derive(Debug, Serialize, Deserialize)]
struct At {
    at: DateTime<Utc>,
    id: Uuid,
}

/// The eyes of a principal.
pub(super) async fn viewer(state: &State, principal: &Principal) -> Result<Viewer, ApiError> {
    let withdrawn = match principal.role {
        Role::Seller => clients::withdrawn(&state.db, principal.user).await?,
        Role::Admin | Role::Staff => HashSet::new(),
    };
    Ok(Viewer::new(principal.role, calls::aliases(&state.db).await?, withdrawn))
}

#[OpenApi(prefix_path = "/api/v1/calls", tag = "Tag::Calls")]
impl Operations {
    /// List calls
    ///
    /// Newest arrival first. All filters that are given must hold. Any role; sellers get their own calls. Without `caller` it takes a place
    /// among the user's reports, as a summary does, and waits up to 2 seconds for it: 429 `too_many_reports` where the user has 2 summaries or
    /// lists under way, 503 `reports_busy` where all users together have 7 (by default), one of which summaries cannot take. 422
    /// `report_too_long` where it took longer than 20 seconds (by default) and was ended.
    #[oai(path = "/", method = "get", operation_id = "listCalls")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        filter: CallFilter,
        /// Calls per page, 1 to 200.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before, with the same filters.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Call>>, ApiError> {
        let (principal, reach) = auth.may(Operation::ListCalls)?;
        let filter = filter.of(&principal, reach)?;
        let window = Window::<At>::new(limit.0, cursor.0.as_deref(), &format!("{filter:?}"))?;
        let after = window.after.as_ref().map(|at| Position { arrived_at: at.at, call: CallId(at.id) });
        if after.as_ref().is_some_and(|after| !storable(after.arrived_at)) {
            return Err(ApiError::invalid(vec![FieldError::new("cursor", "value", "send a cursor as a list gave it")]));
        }
        let found = calls::page(&state.reports.now(), principal.user, &filter, after, window.read).await?;
        let viewer = viewer(state, &principal).await?;
        let place = |call: &crate::cdr::record::CallRecord| At { at: call.arrived_at, id: call.call_id.0 };
        Ok(Json(window.page(found, place, |call| viewer.call(&call))?))
    }

    /// Summarise calls
    ///
    /// Counts, answer rate and talk time of the calls that match, over all and by group. By client and link, each one that was dialled
    /// for a call counts it. It covers 400 days at most (by default); without `from` the last 400 before `to`. Any role; sellers get their
    /// own calls. 429 `too_many_reports` where the user has 2 summaries or lists under way, 503 `reports_busy` where all users together have
    /// 6 (by default); 422 `report_too_long` where it took longer than 20 seconds (by default) and was ended. Of groups it gives the first
    /// 10,000, and says in `groups_truncated` whether there are more; `total` counts all calls all the same.
    #[oai(path = "/summary", method = "get", operation_id = "summarizeCalls")]
    async fn summary(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// What to group by.
        group_by: Query<GroupBy>,
        /// IANA time zone of hours and days, such as `Europe/London`; UTC where absent.
        time_zone: Query<Option<String>>,
        filter: CallFilter,
    ) -> Result<Json<CallSummary>, ApiError> {
        let (principal, reach) = auth.may(Operation::SummarizeCalls)?;
        let range = Range { now: state.clock.now().wall, days: state.config.now().limits.report_days };
        let filter = range.of(filter.of(&principal, reach)?)?;
        let zone = read_zone(time_zone.0.as_deref())?;
        let found = calls::summary(&state.reports.now(), principal.user, &filter, group_by.0.into(), zone).await?;
        let viewer = viewer(state, &principal).await?;
        let group = |group| shown(group, group_by.0, &viewer);
        Ok(Json(CallSummary {
            group_by: group_by.0,
            time_zone: zone.name().to_owned(),
            from: filter.from,
            to: filter.to,
            total: found.total.into(),
            groups: found.groups.into_iter().map(group).collect(),
            groups_truncated: found.truncated,
        }))
    }

    /// Export calls
    ///
    /// All calls that match, newest arrival first, as a stream without a limit. CSV has a heading, and its last line is `rows,<count>`;
    /// NDJSON is one JSON object per line as in the list, and its last line is `{"rows": <count>}`: without that line the file is not
    /// whole. It is cut off when it takes longer than an hour (by default), and within a second when the session or API token ends or
    /// the user changes. In CSV, text that a spreadsheet could take for a formula begins with `'`. Any role; sellers get their own calls.
    /// 429 `too_many_exports` where the user has 2 under way, or all users together 4 (by default).
    #[oai(path = "/export", method = "get", operation_id = "exportCalls")]
    async fn export(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// How calls are written out.
        format: Query<ExportFormat>,
        filter: CallFilter,
    ) -> Result<ExportResponse, ApiError> {
        let (principal, reach) = auth.may(Operation::ExportCalls)?;
        let filter = filter.of(&principal, reach)?;
        // A long file may outlast its access token, but not the session.
        let visit = state.visits.begin(Kind::Export, &principal, None).await?;
        let body = |format| Binary(export::body(state, principal, filter, format, visit));
        Ok(ExportResponse::Ok(match format.0 {
            ExportFormat::Csv => ExportBody::Csv(body(Format::Csv)),
            ExportFormat::Ndjson => ExportBody::Ndjson(body(Format::Ndjson)),
        }))
    }

    /// Get a call
    ///
    /// With every dial, the timeline, and why it went where it went. Any role; sellers get their own calls. 503 `reports_busy` where single
    /// calls take long at present.
    #[oai(path = "/:call_id", method = "get", operation_id = "getCall")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// The call's id.
        call_id: Path<String>,
    ) -> Result<Json<CallDetail>, ApiError> {
        let (principal, reach) = auth.may(Operation::GetCall)?;
        let id = call_id.0.parse::<CallId>().map_err(|_| ApiError::not_found())?;
        let found = calls::one(&state.reports.now(), principal.user, id).await?;
        let visible = found.filter(|call| reach == Reach::All || call.seller_id == Some(principal.user));
        let call = visible.ok_or_else(ApiError::not_found)?;
        Ok(Json(viewer(state, &principal).await?.detail(&call)))
    }
}

fn read_zone(name: Option<&str>) -> Result<Tz, ApiError> {
    name.map_or(Ok(Tz::UTC), str::parse).map_err(|_| {
        let detail = "use a time zone of the IANA database, such as Europe/London";
        ApiError::invalid(vec![FieldError::new("time_zone", "value", detail)])
    })
}

fn shown(group: Group, by: GroupBy, viewer: &Viewer) -> CallGroup {
    let none = CallGroup { begins_at: None, id: None, client_id: None, name: None, figures: group.figures.into() };
    let alias = |id, name: &str| viewer.client_name(ClientId(id), name).to_owned();
    match group.key {
        Key::Time(begins) => CallGroup { begins_at: Some(begins), ..none },
        Key::Text(text) => CallGroup { name: Some(text), ..none },
        Key::Link { id, client, client_name } => {
            CallGroup { id: Some(id), client_id: Some(client), name: Some(alias(client, &client_name)), ..none }
        }
        Key::Object { id: Some(id), name: Some(name) } if by == GroupBy::Client => {
            CallGroup { id: Some(id), name: Some(alias(id, &name)), ..none }
        }
        Key::Object { id, name } => CallGroup { id, name, ..none },
    }
}
