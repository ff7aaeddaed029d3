//! Ids that objects had on the old platform, by which its dialplan's reports name them.

use poem::web::Data;
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Enum, Object, OpenApi};

use super::body::Body;
use super::changes::{Caller, keyset};
use super::error::{ApiError, FieldError};
use super::page::{Page, Window};
use super::security::Auth;
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::store::legacy_ids;

/// Endpoints of old ids.
#[derive(Debug)]
pub(super) struct LegacyIds;

/// What has an id on the old platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case", remote = "legacy_ids::Kind")]
enum Kind {
    /// Users: `user_id` in reports.
    Users,
    /// DIDs: `did_id`.
    Dids,
    /// Campaigns: `campaign_id`.
    Campaigns,
    /// Links: `effective_ccs_id`.
    Links,
}

/// An object and its id on the old platform.
#[derive(Debug, Object)]
struct OldId {
    /// Id of the object here.
    id: i64,
    /// Its id on the old platform: 1 to 64 visible ASCII characters, unique among its kind; null = none.
    #[oai(validator(min_length = 1, max_length = 64))]
    legacy_id: Option<String>,
}

/// Objects of one kind and their ids on the old platform.
#[derive(Debug, Object)]
struct OldIds {
    /// 1 to 1000 of them.
    #[oai(validator(min_items = 1, max_items = 1000))]
    items: Vec<OldId>,
}

#[OpenApi(prefix_path = "/api/v1/legacy_ids", tag = "Tag::Internal")]
impl LegacyIds {
    /// List old ids
    ///
    /// The objects of a kind that have an id on the old platform, by their id here. Admins only.
    #[oai(path = "/:kind", method = "get", operation_id = "listLegacyIds")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// What the objects are.
        kind: Path<Kind>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<OldId>>, ApiError> {
        auth.may(Operation::ListLegacyIds)?;
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("legacy ids of {:?}", kind.0))?;
        let rows = legacy_ids::list(&state.db, kind.0.into(), keyset(&window)).await?;
        Ok(Json(window.page(rows, |(id, _)| *id, |(id, legacy_id)| OldId { id, legacy_id: Some(legacy_id) })?))
    }

    /// Set old ids
    ///
    /// For a site that moves over: reports of its old dialplan (`POST /api/internal/log_call`) name links, campaigns, DIDs and users by
    /// these. All or none; null takes one away; what is not named stays. Example, for `links`:
    /// `{"items": [{"id": 7, "legacy_id": "123"}, {"id": 8, "legacy_id": null}]}`, answered with the same.
    /// 409 `legacy_id_taken` where another object of the kind has one. Admins only.
    #[oai(path = "/:kind", method = "put", operation_id = "setLegacyIds")]
    async fn set(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// What the objects are.
        kind: Path<Kind>,
        Body(ids): Body<OldIds>,
    ) -> Result<Json<OldIds>, ApiError> {
        let caller = Caller::new(auth, Operation::SetLegacyIds)?;
        let visible = |id: &str| id.bytes().all(|byte| byte.is_ascii_graphic());
        let wrong = ids.items.iter().enumerate().filter(|(_, item)| !item.legacy_id.as_deref().is_none_or(visible));
        let wrong: Vec<_> = wrong
            .map(|(n, _)| FieldError::new(format!("items[{n}].legacy_id"), "invalid", "use visible ASCII characters"))
            .collect();
        super::answers::none_or(wrong)?;
        let wanted: Vec<_> = ids.items.iter().map(|item| (item.id, item.legacy_id.clone())).collect();
        legacy_ids::set(&caller.editor(state), kind.0.into(), &wanted).await?;
        Ok(Json(ids))
    }
}
