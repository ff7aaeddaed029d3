//! Campaigns, and the DIDs that feed them.

use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};

use super::answers::{self, Created, Done};
use super::body::Body;
use super::changes::{Caller, Merge, keyset};
use super::dids::Did;
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::security::Auth;
use super::words::{Life, RoutingStrategy};
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::config::REJECTION_CODES;
use crate::id::{CampaignId, DidId, UserId};
use crate::plan;
use crate::routing::snapshot::{CampaignRejections, Status, Strategy};
use crate::store::campaigns::{self, CampaignFilter, CampaignValues, StoredCampaign};
use crate::store::change::{Owner, Refusal};
use crate::store::dids::{self, DidFilter};

/// Campaign endpoints.
#[derive(Debug)]
pub(super) struct Campaigns;

/// A seller's offer: where the calls of its DIDs may go.
#[derive(Debug, Object)]
struct Campaign {
    /// Id.
    id: i64,
    /// Its seller.
    seller_id: i64,
    /// For people; unique per seller; kept in records.
    name: String,
    /// Order of links.
    routing_strategy: RoutingStrategy,
    /// How long an attempt rings, in seconds.
    dial_timeout_seconds: u32,
    /// From arrival to answer at most, in seconds; null = the site's default.
    setup_budget_seconds: Option<u32>,
    /// Talk time at most, in seconds; null = the site's default.
    max_duration_seconds: Option<u32>,
    /// Calls ringing or talking at once over all links; null = no limit, 0 = none.
    max_concurrency: Option<u32>,
    /// Whether the caller hears what a client sends before it answers; else it hears ringing that Asterisk makes.
    early_media: bool,
    /// What its callers are given who reach nobody.
    rejections: Rejections,
    /// Life.
    status: Life,
    /// Grows with every change, also of the DIDs tied to it; send it as `If-Match`.
    version: i64,
}

impl From<StoredCampaign> for Campaign {
    fn from(campaign: StoredCampaign) -> Self {
        let values = campaign.values;
        Self {
            id: campaign.id.0,
            seller_id: campaign.seller.0,
            name: values.name,
            routing_strategy: values.strategy.into(),
            dial_timeout_seconds: values.dial_timeout_seconds,
            setup_budget_seconds: values.setup_budget_seconds,
            max_duration_seconds: values.max_duration_seconds,
            max_concurrency: values.max_concurrency,
            early_media: values.early_media,
            rejections: values.rejections.into(),
            status: values.status.into(),
            version: campaign.version,
        }
    }
}

/// SIP statuses (RFC 3261) that callers are given who reach nobody; null = the site's.
#[derive(Debug, Object)]
struct Rejections {
    /// The campaign is not active.
    inactive_campaign: Option<u16>,
    /// No link is active.
    no_active_link: Option<u16>,
    /// Every link is at a cap.
    all_full: Option<u16>,
    /// Every client that was tried failed to answer.
    nobody_answered: Option<u16>,
}

impl From<CampaignRejections> for Rejections {
    fn from(rejections: CampaignRejections) -> Self {
        let CampaignRejections { inactive_campaign, no_active_link, all_full, nobody_answered } = rejections;
        Self { inactive_campaign, no_active_link, all_full, nobody_answered }
    }
}

/// SIP statuses to set: one of 403, 404, 408, 410, 480, 484, 486, 488, 500 and 503. Absent keeps, null means the site's.
#[derive(Debug, Object)]
struct RejectionsPatch {
    /// The campaign is not active.
    #[oai(validator(minimum(value = "403"), maximum(value = "503")))]
    inactive_campaign: MaybeUndefined<i64>,
    /// No link is active.
    #[oai(validator(minimum(value = "403"), maximum(value = "503")))]
    no_active_link: MaybeUndefined<i64>,
    /// Every link is at a cap.
    #[oai(validator(minimum(value = "403"), maximum(value = "503")))]
    all_full: MaybeUndefined<i64>,
    /// Every client that was tried failed to answer.
    #[oai(validator(minimum(value = "403"), maximum(value = "503")))]
    nobody_answered: MaybeUndefined<i64>,
}

impl RejectionsPatch {
    fn merge(self, merge: &mut Merge, into: &mut CampaignRejections) {
        let mut code = |field: &str, given: MaybeUndefined<i64>, into: &mut Option<u16>| {
            merge.limit(field, given, into);
            if into.is_some_and(|code| !REJECTION_CODES.contains(&code)) {
                merge.wrong(field, plan::rejection_problem());
            }
        };
        code("rejections.inactive_campaign", self.inactive_campaign, &mut into.inactive_campaign);
        code("rejections.no_active_link", self.no_active_link, &mut into.no_active_link);
        code("rejections.all_full", self.all_full, &mut into.all_full);
        code("rejections.nobody_answered", self.nobody_answered, &mut into.nobody_answered);
    }
}

/// A campaign to make.
#[derive(Debug, Object)]
struct NewCampaign {
    /// For people; unique per seller; kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: String,
    /// Its seller. Admins must send it; to sellers it is not known, they make their own.
    seller_id: MaybeUndefined<i64>,
    /// The rest, as in a change.
    #[oai(flatten)]
    rest: CampaignSettings,
}

/// What to change of a campaign: absent keeps, null clears. Staff may set `status` only.
#[derive(Debug, Object)]
struct CampaignPatch {
    /// For people; unique per seller; kept in records.
    #[oai(validator(min_length = 1, max_length = 100))]
    name: MaybeUndefined<String>,
    /// The rest.
    #[oai(flatten)]
    rest: CampaignSettings,
}

/// Settings of a campaign.
#[derive(Debug, Object)]
struct CampaignSettings {
    /// Order of links; at first `priority`.
    routing_strategy: MaybeUndefined<RoutingStrategy>,
    /// How long an attempt rings, in seconds; at first 20.
    #[oai(validator(minimum(value = "1"), maximum(value = "600")))]
    dial_timeout_seconds: MaybeUndefined<i64>,
    /// From arrival to answer at most, in seconds; null (at first) = the site's default.
    #[oai(validator(minimum(value = "1"), maximum(value = "3600")))]
    setup_budget_seconds: MaybeUndefined<i64>,
    /// Talk time at most, in seconds; null (at first) = the site's default.
    #[oai(validator(minimum(value = "1"), maximum(value = "86400")))]
    max_duration_seconds: MaybeUndefined<i64>,
    /// Calls ringing or talking at once over all links; null (at first) = no limit, 0 = none.
    #[oai(validator(minimum(value = "0"), maximum(value = "4294967295")))]
    max_concurrency: MaybeUndefined<i64>,
    /// Whether the caller hears what a client sends before it answers (at first true); else it hears ringing that Asterisk makes.
    early_media: MaybeUndefined<bool>,
    /// What its callers are given who reach nobody; null (at first) = the site's.
    rejections: MaybeUndefined<RejectionsPatch>,
    /// Life; at first `active`. An archived campaign lets go of its DIDs.
    status: MaybeUndefined<Life>,
}

impl CampaignSettings {
    /// Which fields besides `status` are there.
    fn given(&self) -> [(&'static str, bool); 7] {
        [
            ("routing_strategy", !self.routing_strategy.is_undefined()),
            ("dial_timeout_seconds", !self.dial_timeout_seconds.is_undefined()),
            ("setup_budget_seconds", !self.setup_budget_seconds.is_undefined()),
            ("max_duration_seconds", !self.max_duration_seconds.is_undefined()),
            ("max_concurrency", !self.max_concurrency.is_undefined()),
            ("early_media", !self.early_media.is_undefined()),
            ("rejections", !self.rejections.is_undefined()),
        ]
    }

    fn merge(self, mut merge: Merge, values: &mut CampaignValues) -> Result<(), Refusal> {
        merge.set("routing_strategy", self.routing_strategy, &mut values.strategy);
        merge.number("dial_timeout_seconds", self.dial_timeout_seconds, &mut values.dial_timeout_seconds);
        merge.limit("setup_budget_seconds", self.setup_budget_seconds, &mut values.setup_budget_seconds);
        merge.limit("max_duration_seconds", self.max_duration_seconds, &mut values.max_duration_seconds);
        merge.limit("max_concurrency", self.max_concurrency, &mut values.max_concurrency);
        merge.set("early_media", self.early_media, &mut values.early_media);
        match self.rejections {
            MaybeUndefined::Undefined => {}
            MaybeUndefined::Null => values.rejections = CampaignRejections::default(),
            MaybeUndefined::Value(patch) => patch.merge(&mut merge, &mut values.rejections),
        }
        merge.set("status", self.status, &mut values.status);
        merge.end()
    }
}

#[OpenApi(prefix_path = "/api/v1/campaigns", tag = "Tag::Campaigns")]
impl Campaigns {
    /// List campaigns
    ///
    /// By id. Archived ones only with `status=archived`. Sellers see their own.
    #[oai(path = "/", method = "get", operation_id = "listCampaigns")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Only with this status.
        status: Query<Option<Life>>,
        /// Only of this seller.
        seller_id: Query<Option<i64>>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Campaign>>, ApiError> {
        let caller = Caller::new(auth, Operation::ListCampaigns)?;
        let filter = CampaignFilter { status: status.0.map(Into::into), seller: seller_id.0.map(UserId) };
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("campaigns {filter:?}"))?;
        let rows = campaigns::list(&state.db, caller.owner, &filter, keyset(&window)).await?;
        Ok(Json(window.page(rows, |campaign| campaign.id.0, Campaign::from)?))
    }

    /// Make a campaign
    ///
    /// Example: `{"name": "Solar UK", "routing_strategy": "weighted", "dial_timeout_seconds": 15, "rejections": {"all_full": 503}}`.
    /// 409 `name_taken` where the seller has one of that name.
    #[oai(path = "/", method = "post", operation_id = "createCampaign")]
    async fn create(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        Body(new): Body<NewCampaign>,
    ) -> Result<Created<Campaign>, ApiError> {
        let caller = Caller::new(auth, Operation::CreateCampaign)?;
        caller.may_set(&[("seller_id", !new.seller_id.is_undefined())])?;
        let seller = match (caller.owner, new.seller_id) {
            (Owner::Only(own), _) => own,
            (Owner::Anyone, MaybeUndefined::Value(seller)) => UserId(seller),
            (Owner::Anyone, _) => {
                return Err(ApiError::invalid(vec![FieldError::new("seller_id", "required", "is missing")]));
            }
        };
        let mut values = CampaignValues {
            name: new.name,
            strategy: Strategy::Priority,
            dial_timeout_seconds: 20,
            setup_budget_seconds: None,
            max_duration_seconds: None,
            max_concurrency: None,
            early_media: true,
            rejections: CampaignRejections::default(),
            status: Status::Active,
        };
        let mut merge = Merge::default();
        merge.name("name", &values.name);
        new.rest.merge(merge, &mut values)?;
        let made = campaigns::create(&caller.editor(state), seller, values).await?;
        Ok(Created::Made(Json(made.into())))
    }

    /// Read a campaign
    ///
    /// Without its links and DIDs, which have lists of their own.
    #[oai(path = "/:id", method = "get", operation_id = "getCampaign")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
    ) -> Result<Json<Campaign>, ApiError> {
        let caller = Caller::new(auth, Operation::GetCampaign)?;
        Ok(Json(campaigns::get(&state.db, caller.owner, CampaignId(id.0)).await?.into()))
    }

    /// Change a campaign
    ///
    /// Lowering a cap below its use drops no call; new attempts wait. Example: `{"max_concurrency": 10, "setup_budget_seconds": null}`.
    /// 409 `did_in_active_campaign` where it is to become active and another active campaign has one of its DIDs.
    #[oai(path = "/:id", method = "patch", operation_id = "updateCampaign")]
    async fn update(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// The version that the change is meant for, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        Body(patch): Body<CampaignPatch>,
    ) -> Result<Json<Campaign>, ApiError> {
        let caller = Caller::new(auth, Operation::UpdateCampaign)?;
        caller.may_set(&[("name", !patch.name.is_undefined())])?;
        caller.may_set(&patch.rest.given())?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        let edit = |values: &mut CampaignValues| {
            let mut merge = Merge::default();
            merge.rename("name", patch.name, &mut values.name);
            patch.rest.merge(merge, values)
        };
        Ok(Json(campaigns::change(&caller.editor(state), CampaignId(id.0), expected, edit).await?.into()))
    }

    /// Delete a campaign
    ///
    /// 409 `in_use` where it has links or DIDs, or records of calls name it: archive it instead.
    #[oai(path = "/:id", method = "delete", operation_id = "deleteCampaign")]
    async fn delete(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// The version that is meant, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::DeleteCampaign)?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        campaigns::delete(&caller.editor(state), CampaignId(id.0), expected).await?;
        Ok(Done::Done)
    }

    /// List a campaign's DIDs
    ///
    /// By id.
    #[oai(path = "/:id/dids", method = "get", operation_id = "listCampaignDids")]
    async fn list_dids(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Did>>, ApiError> {
        let caller = Caller::new(auth, Operation::ListCampaignDids)?;
        let campaign = campaigns::get(&state.db, caller.owner, CampaignId(id.0)).await?.id;
        let filter = DidFilter { campaign: Some(campaign), ..DidFilter::default() };
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("dids of {campaign}"))?;
        let rows = dids::list(&state.db, caller.owner, &filter, keyset(&window)).await?;
        Ok(Json(window.page(rows, |did| did.id.0, Did::from)?))
    }

    /// Let a DID feed a campaign
    ///
    /// Repeating changes nothing. 409 `did_in_active_campaign` where another active campaign has it, `did_of_other_seller` where it is
    /// another seller's than the campaign.
    #[oai(path = "/:id/dids/:did_id", method = "put", operation_id = "addCampaignDid")]
    async fn add_did(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the DID.
        did_id: Path<i64>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::AddCampaignDid)?;
        campaigns::tie(&caller.editor(state), CampaignId(id.0), DidId(did_id.0), true).await?;
        Ok(Done::Done)
    }

    /// Take a DID out of a campaign
    ///
    /// Its calls go on, new ones do not come. Repeating changes nothing.
    #[oai(path = "/:id/dids/:did_id", method = "delete", operation_id = "removeCampaignDid")]
    async fn remove_did(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the campaign.
        id: Path<i64>,
        /// Id of the DID.
        did_id: Path<i64>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::RemoveCampaignDid)?;
        campaigns::tie(&caller.editor(state), CampaignId(id.0), DidId(did_id.0), false).await?;
        Ok(Done::Done)
    }
}
