//! Links of campaigns to clients.

use chrono::{DateTime, Utc};
use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};

use super::answers::{self, Created, Done};
use super::body::Body;
use super::changes::{Caller, Merge, keyset};
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::security::Auth;
use super::words::{Counting, Life};
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::id::{CampaignId, ClientId, LinkId};
use crate::routing::snapshot::{CountOn, Status};
use crate::store::change::Refusal;
use crate::store::links::{self, LinkValues, StoredLink};

/// Link endpoints.
#[derive(Debug)]
pub(super) struct Links;

/// A link of a campaign to a client, with its own caps.
#[derive(Debug, Object)]
struct Link {
    /// Id.
    id: i64,
    /// Its campaign.
    campaign_id: i64,
    /// Its client.
    client_id: i64,
    /// The client's name; null where the caller may not see the client any more.
    client_name: Option<String>,
    /// The client is not for the campaign's seller (any more): the link gets no calls, whatever its status.
    client_withdrawn: bool,
    /// Calls ringing or talking at once; null = no limit, 0 = none.
    max_concurrency: Option<u32>,
    /// Counted calls since `counted_since`; null = no limit, 0 = none.
    total_calls_allowed: Option<u64>,
    /// Counted calls since `counted_since`, with those that only may have been answered; grows with calls and leaves `version` as it is.
    current_total_calls: u64,
    /// When an admin last set the count to 0: dials that ended before are not in it. Null = never, all are in it.
    counted_since: Option<DateTime<Utc>>,
    /// Lower is tried first.
    forwarding_priority: i32,
    /// Share, 1 to 10000.
    weight: u32,
    /// How long its attempts ring, in seconds; null = the campaign's `dial_timeout_seconds`.
    ring_timeout_seconds: Option<u32>,
    /// What counts.
    count_on: Counting,
    /// Life.
    status: Life,
    /// Grows with every change; send it as `If-Match`.
    version: i64,
}

impl From<StoredLink> for Link {
    fn from(link: StoredLink) -> Self {
        let values = link.values;
        Self {
            id: link.id.0,
            campaign_id: link.campaign.0,
            client_id: link.client.0,
            client_name: link.client_name,
            client_withdrawn: link.client_withdrawn,
            max_concurrency: values.max_concurrency,
            total_calls_allowed: values.total_calls_allowed,
            current_total_calls: link.current_total_calls,
            counted_since: link.counted_since,
            forwarding_priority: values.forwarding_priority,
            weight: values.weight,
            ring_timeout_seconds: values.ring_timeout_seconds,
            count_on: values.count_on.into(),
            status: values.status.into(),
            version: link.version,
        }
    }
}

/// A link to make.
#[derive(Debug, Object)]
struct NewLink {
    /// The client; once per campaign.
    client_id: i64,
    /// The rest, as in a change; `max_concurrency` must be there.
    #[oai(flatten)]
    rest: LinkPatch,
}

/// What to change of a link: absent keeps, null clears. Staff may set `status` only.
#[derive(Debug, Object)]
struct LinkPatch {
    /// Calls ringing or talking at once; null = no limit, 0 = none.
    #[oai(validator(minimum(value = "0"), maximum(value = "4294967295")))]
    max_concurrency: MaybeUndefined<i64>,
    /// Counted calls since the count was last reset; null (at first) = no limit, 0 = none.
    #[oai(validator(minimum(value = "0")))]
    total_calls_allowed: MaybeUndefined<i64>,
    /// Lower is tried first; at first 1.
    #[oai(validator(minimum(value = "-2147483648"), maximum(value = "2147483647")))]
    forwarding_priority: MaybeUndefined<i64>,
    /// Share; at first 1.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    weight: MaybeUndefined<i64>,
    /// How long its attempts ring, in seconds; null (at first) = the campaign's `dial_timeout_seconds`.
    #[oai(validator(minimum(value = "1"), maximum(value = "600")))]
    ring_timeout_seconds: MaybeUndefined<i64>,
    /// What counts; at first `answered`.
    count_on: MaybeUndefined<Counting>,
    /// Life; at first `paused`.
    status: MaybeUndefined<Life>,
}

impl LinkPatch {
    /// Which fields besides `status` are there.
    fn given(&self) -> [(&'static str, bool); 6] {
        [
            ("max_concurrency", !self.max_concurrency.is_undefined()),
            ("total_calls_allowed", !self.total_calls_allowed.is_undefined()),
            ("forwarding_priority", !self.forwarding_priority.is_undefined()),
            ("weight", !self.weight.is_undefined()),
            ("ring_timeout_seconds", !self.ring_timeout_seconds.is_undefined()),
            ("count_on", !self.count_on.is_undefined()),
        ]
    }

    fn merge(self, values: &mut LinkValues) -> Result<(), Refusal> {
        let mut merge = Merge::default();
        merge.limit("max_concurrency", self.max_concurrency, &mut values.max_concurrency);
        merge.limit("total_calls_allowed", self.total_calls_allowed, &mut values.total_calls_allowed);
        merge.number("forwarding_priority", self.forwarding_priority, &mut values.forwarding_priority);
        merge.number("weight", self.weight, &mut values.weight);
        merge.limit("ring_timeout_seconds", self.ring_timeout_seconds, &mut values.ring_timeout_seconds);
        merge.set("count_on", self.count_on, &mut values.count_on);
        merge.set("status", self.status, &mut values.status);
        merge.end()
    }
}

/// What the count is believed to be.
#[derive(Debug, Object)]
struct CounterReset {
    /// `current_total_calls` as it was read.
    expected: u64,
}

#[OpenApi(prefix_path = "/api/v1/campaigns", tag = "Tag::Links")]
impl Links {
    /// List a campaign's links
    ///
    /// By id. Archived ones only with `status=archived`.
    #[oai(path = "/:id/links", method = "get", operation_id = "listLinks")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Only with this status.
        status: Query<Option<Life>>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Link>>, ApiError> {
        let caller = Caller::new(auth, Operation::ListLinks)?;
        let (campaign, status) = (CampaignId(id.0), status.0.map(Into::into));
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("links of {campaign} {status:?}"))?;
        let rows = links::list(&state.db, caller.owner, campaign, status, keyset(&window)).await?;
        Ok(Json(window.page(rows, |link| link.id.0, Link::from)?))
    }

    /// Link a client to a campaign
    ///
    /// It is made `paused`: look at it, then set its status to `active`. `max_concurrency` must be there (null = no limit).
    /// Example: `{"client_id": 7, "max_concurrency": 5, "total_calls_allowed": 1000}`.
    /// 404 also for a client that is not for the campaign's seller; 409 `link_exists`.
    #[oai(path = "/:id/links", method = "post", operation_id = "createLink")]
    async fn create(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        Body(new): Body<NewLink>,
    ) -> Result<Created<Link>, ApiError> {
        let caller = Caller::new(auth, Operation::CreateLink)?;
        if new.rest.max_concurrency.is_undefined() {
            let missing = FieldError::new("max_concurrency", "required", "is missing: a number, or null for no limit");
            return Err(ApiError::invalid(vec![missing]));
        }
        let mut values = LinkValues {
            max_concurrency: None,
            total_calls_allowed: None,
            forwarding_priority: 1,
            weight: 1,
            ring_timeout_seconds: None,
            count_on: CountOn::Answered,
            status: Status::Paused,
        };
        new.rest.merge(&mut values)?;
        let (campaign, client) = (CampaignId(id.0), ClientId(new.client_id));
        let made = links::create(&caller.editor(state), campaign, client, values).await?;
        Ok(Created::Made(Json(made.into())))
    }

    /// Read a link
    ///
    /// With its count of calls so far.
    #[oai(path = "/:id/links/:link_id", method = "get", operation_id = "getLink")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the link.
        link_id: Path<i64>,
    ) -> Result<Json<Link>, ApiError> {
        let caller = Caller::new(auth, Operation::GetLink)?;
        Ok(Json(links::get(&state.db, caller.owner, CampaignId(id.0), LinkId(link_id.0)).await?.into()))
    }

    /// Change a link
    ///
    /// Lowering a cap below its use drops no call; new attempts wait. Example: `{"status": "active", "weight": 3}`.
    #[oai(path = "/:id/links/:link_id", method = "patch", operation_id = "updateLink")]
    async fn update(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the link.
        link_id: Path<i64>,
        /// The version that the change is meant for, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        Body(patch): Body<LinkPatch>,
    ) -> Result<Json<Link>, ApiError> {
        let caller = Caller::new(auth, Operation::UpdateLink)?;
        caller.may_set(&patch.given())?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        let (campaign, link) = (CampaignId(id.0), LinkId(link_id.0));
        let edit = |values: &mut LinkValues| patch.merge(values);
        Ok(Json(links::change(&caller.editor(state), campaign, link, expected, edit).await?.into()))
    }

    /// Reset a link's count
    ///
    /// Sets `current_total_calls` to 0 and `counted_since` to now, and routing counts by that within a second; `version` stays. Calls in
    /// flight count when they end. Admins only. Example: `{"expected": 1000}`.
    /// 409 `counter_changed` where the count is another by now; `errors[0].detail` is that count.
    #[oai(path = "/:id/links/:link_id/reset-counter", method = "post", operation_id = "resetLinkCounter")]
    async fn reset_counter(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the link.
        link_id: Path<i64>,
        Body(reset): Body<CounterReset>,
    ) -> Result<Json<Link>, ApiError> {
        let caller = Caller::new(auth, Operation::ResetLinkCounter)?;
        let (campaign, link) = (CampaignId(id.0), LinkId(link_id.0));
        let now = || state.clock.now().wall;
        Ok(Json(links::reset_counter(&caller.editor(state), campaign, link, reset.expected, now).await?.into()))
    }

    /// Delete a link
    ///
    /// 409 `in_use` where it has counted calls or records name it: archive it instead.
    #[oai(path = "/:id/links/:link_id", method = "delete", operation_id = "deleteLink")]
    async fn delete(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the link.
        link_id: Path<i64>,
        /// The version that is meant, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::DeleteLink)?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        links::delete(&caller.editor(state), CampaignId(id.0), LinkId(link_id.0), expected).await?;
        Ok(Done::Done)
    }
}
