//! DIDs.

use std::collections::HashMap;

use poem::web::Data;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::MaybeUndefined;
use poem_openapi::{Object, OpenApi};

use super::answers::{self, Created, Done};
use super::body::Body;
use super::changes::{Caller, Merge, keyset};
use super::did_rows::DidRows;
use super::error::{ApiError, FieldError, is_full};
use super::page::{Page, Window};
use super::security::Auth;
use super::words::Life;
use super::{State, Tag};
use crate::auth::roles::Operation;
use crate::id::{CampaignId, DidId, UserId};
use crate::routing::number::written::{self, Number};
use crate::routing::snapshot::Status;
use crate::store::change::{Owner, Refusal};
use crate::store::dids::{self, DidFilter, DidValues, StoredDid};

/// DID endpoints.
#[derive(Debug)]
pub(super) struct Dids;

/// An inbound number.
#[derive(Debug, Object)]
pub(super) struct Did {
    /// Id.
    id: i64,
    /// E.164 (`+` and digits), or the raw text of what is not such a number.
    number: String,
    /// Whether it is no E.164 number: calls find it by its text alone, after the numbers.
    raw: bool,
    /// Its seller.
    seller_id: i64,
    /// Life.
    status: Life,
    /// The campaigns it is tied to; at most one of them is active, and that one it feeds.
    campaign_ids: Vec<i64>,
    /// Grows with every change; send it as `If-Match`.
    version: i64,
}

impl From<StoredDid> for Did {
    fn from(did: StoredDid) -> Self {
        Self {
            id: did.id.0,
            number: did.number,
            raw: did.raw,
            seller_id: did.values.seller.0,
            status: did.values.status.into(),
            campaign_ids: did.campaigns.iter().map(|campaign| campaign.0).collect(),
            version: did.version,
        }
    }
}

/// A DID to make.
#[derive(Debug, Object)]
pub(super) struct NewDid {
    /// E.164, country code first: `+442071234567`, in any spelling that has one meaning (separators and what spreadsheets add are
    /// dropped). Or, with `raw`, as carriers send what is no such number: 1 to 64 visible ASCII characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub(super) number: String,
    /// True for what is no E.164 number. Default `false`. Admins and staff only; to sellers it is not known.
    pub(super) raw: MaybeUndefined<bool>,
    /// Its seller. Admins and staff must send it; to sellers it is not known, they make their own.
    pub(super) seller_id: MaybeUndefined<i64>,
    /// Default `active`.
    pub(super) status: MaybeUndefined<Life>,
}

/// DIDs to make, all or none.
#[derive(Debug, Object)]
pub(super) struct NewDids {
    /// 1 to 1000 of them.
    #[oai(validator(min_items = 1, max_items = 1000))]
    pub(super) items: Vec<NewDid>,
}

/// The DIDs that were made, in the order they were sent.
#[derive(Debug, Object)]
struct DidsMade {
    /// The DIDs.
    items: Vec<Did>,
}

/// What to change of a DID: absent keeps.
#[derive(Debug, Object)]
struct DidPatch {
    /// Another seller, while no campaign has the DID; records of old calls stay with the old one. Admins and staff only.
    seller_id: MaybeUndefined<i64>,
    /// Life. An archived DID must be in no campaign.
    status: MaybeUndefined<Life>,
}

#[OpenApi(prefix_path = "/api/v1/dids", tag = "Tag::Dids")]
impl Dids {
    /// List DIDs
    ///
    /// By id. Archived ones only with `status=archived`. Sellers see their own.
    #[oai(path = "/", method = "get", operation_id = "listDids")]
    #[allow(clippy::too_many_arguments, reason = "each is a parameter of the request")]
    async fn list(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Only with this status.
        status: Query<Option<Life>>,
        /// Only of this seller.
        seller_id: Query<Option<i64>>,
        /// Only those tied to this campaign.
        campaign_id: Query<Option<i64>>,
        /// Only the one of this number, spelt as for making one.
        number: Query<Option<String>>,
        /// Items of a page, 1 to 200; default 50.
        limit: Query<Option<u32>>,
        /// `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> Result<Json<Page<Did>>, ApiError> {
        let caller = Caller::new(auth, Operation::ListDids)?;
        let filter = DidFilter {
            status: status.0.map(Into::into),
            seller: seller_id.0.map(UserId),
            campaign: campaign_id.0.map(CampaignId),
            number: number.0.map(|given| written::read(&given).map_or(given, |number| number.text().to_owned())),
        };
        let window = Window::new(limit.0, cursor.0.as_deref(), &format!("dids {filter:?}"))?;
        let rows = dids::list(&state.db, caller.owner, &filter, keyset(&window)).await?;
        Ok(Json(window.page(rows, |did| did.id.0, Did::from)?))
    }

    /// Make a DID
    ///
    /// Numbers are unique over all sellers, in whatever spelling: one that cannot be had, or that a node in some country may take for
    /// another seller's, is 409 `did_unavailable`, whoever has it. 403 `sellers_create_no_dids` for sellers where DIDs are made for them (`policy.sellers_may_create_dids = false`).
    /// Example: `{"number": "+442071234567"}`.
    #[oai(path = "/", method = "post", operation_id = "createDid")]
    async fn create(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        Body(new): Body<NewDid>,
    ) -> Result<Created<Did>, ApiError> {
        let caller = Caller::new(auth, Operation::CreateDid)?;
        sellers_may_create(&caller, state)?;
        let wanted = checked(&caller, vec![(String::new(), new)])?;
        let made = dids::create(&caller.editor(state), &state.config.now().readers(), &wanted).await;
        let made = made.map_err(|refusal| match refusal {
            Refusal::Taken(rows) => unavailable(&rows, |_| String::new()),
            other => other.into(),
        });
        let made = made?.pop().ok_or_else(ApiError::not_found)?;
        Ok(Created::Made(Json(made.into())))
    }

    /// Make many DIDs
    ///
    /// All or none, 1 to 1000: `errors` names each row that is wrong or cannot be had, such as `items[3].number`.
    /// Example: `{"items": [{"number": "+442071234567"}, {"number": "+442071234568"}]}`.
    /// Or as CSV (`Content-Type: text/csv`, UTF-8, or UTF-16 with its mark), as a spreadsheet writes it, with commas, semicolons or tabs:
    /// the first row names the columns `number`, `seller_id`, `status` and `raw`, of which all but `number` may be left out or empty. A
    /// row is then named as the spreadsheet counts it, such as `row[4].number`; rows without anything are left out.
    #[oai(path = "/bulk", method = "post", operation_id = "createDids")]
    async fn create_many(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        DidRows(rows): DidRows,
    ) -> Result<Created<DidsMade>, ApiError> {
        let caller = Caller::new(auth, Operation::CreateDids)?;
        sellers_may_create(&caller, state)?;
        let names: Vec<String> = rows.iter().map(|(name, _)| name.clone()).collect();
        let wanted = checked(&caller, rows)?;
        let made = dids::create(&caller.editor(state), &state.config.now().readers(), &wanted).await;
        let made = made.map_err(|refusal| match refusal {
            Refusal::Taken(rows) => unavailable(&rows, |row| names.get(row).cloned().unwrap_or_default()),
            other => other.into(),
        })?;
        Ok(Created::Made(Json(DidsMade { items: made.into_iter().map(Did::from).collect() })))
    }

    /// Read a DID
    ///
    /// With the campaigns it is tied to.
    #[oai(path = "/:id", method = "get", operation_id = "getDid")]
    async fn get(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the DID.
        id: Path<i64>,
    ) -> Result<Json<Did>, ApiError> {
        let caller = Caller::new(auth, Operation::GetDid)?;
        Ok(Json(dids::get(&state.db, caller.owner, DidId(id.0)).await?.into()))
    }

    /// Change a DID
    ///
    /// Example: `{"status": "paused"}`. 409 `in_use` where it is to be archived, or to go to another seller, while a campaign has it; 409
    /// `did_unavailable` where it is to go to a seller though some node may take it for a DID of another.
    #[oai(path = "/:id", method = "patch", operation_id = "updateDid")]
    async fn update(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the DID.
        id: Path<i64>,
        /// The version that the change is meant for, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
        Body(patch): Body<DidPatch>,
    ) -> Result<Json<Did>, ApiError> {
        let caller = Caller::new(auth, Operation::UpdateDid)?;
        caller.may_set(&[("seller_id", !patch.seller_id.is_undefined())])?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        let edit = |values: &mut DidValues| {
            let mut merge = Merge::default();
            merge.set("status", patch.status, &mut values.status);
            let mut seller = values.seller.0;
            merge.set("seller_id", patch.seller_id, &mut seller);
            values.seller = UserId(seller);
            merge.end()
        };
        let changed =
            dids::change(&caller.editor(state), &state.config.now().readers(), DidId(id.0), expected, edit).await?;
        Ok(Json(changed.into()))
    }

    /// Delete a DID
    ///
    /// 409 `in_use` where a campaign has it or records of calls name it: archive it instead.
    #[oai(path = "/:id", method = "delete", operation_id = "deleteDid")]
    async fn delete(
        &self,
        auth: Auth,
        Data(state): Data<&State>,
        /// Id of the DID.
        id: Path<i64>,
        /// The version that is meant, such as `"3"`.
        #[oai(name = "If-Match")]
        if_match: Header<Option<String>>,
    ) -> Result<Done, ApiError> {
        let caller = Caller::new(auth, Operation::DeleteDid)?;
        let expected = answers::if_match(if_match.0.as_deref())?;
        dids::delete(&caller.editor(state), DidId(id.0), expected).await?;
        Ok(Done::Done)
    }
}

/// Refuses sellers where the configuration (`policy.sellers_may_create_dids`) leaves making DIDs to admins and staff.
fn sellers_may_create(caller: &Caller, state: &State) -> Result<(), ApiError> {
    match caller.owner {
        Owner::Only(_) if !state.config.now().policy.sellers_may_create_dids => {
            Err(ApiError::forbidden("sellers_create_no_dids", "DIDs are made for you here: ask an admin or staff."))
        }
        _ => Ok(()),
    }
}

/// Numbers that cannot be had, each by what its row is called.
pub(super) fn unavailable(rows: &[usize], name: impl Fn(usize) -> String) -> ApiError {
    let error = |row: &usize| FieldError::new(format!("{}number", name(*row)), "did_unavailable", "cannot be had");
    ApiError::conflict("did_unavailable", "this number, or one of these, cannot be had: see errors")
        .with_errors(rows.iter().map(error).collect())
}

/// Rows to make, each with the path of its fields.
fn checked(caller: &Caller, rows: Vec<(String, NewDid)>) -> Result<Vec<(Number, DidValues)>, ApiError> {
    let fields = |(path, did): &(String, NewDid)| {
        let given = [("seller_id", !did.seller_id.is_undefined()), ("raw", !did.raw.is_undefined())];
        given.map(|(field, given)| (format!("{path}{field}"), given))
    };
    let given: Vec<_> = rows.iter().flat_map(fields).collect();
    caller.may_set(&given.iter().map(|(field, given)| (field.as_str(), *given)).collect::<Vec<_>>())?;
    let mut errors = Vec::new();
    let mut seen: HashMap<Number, String> = HashMap::new();
    let mut wanted = Vec::with_capacity(rows.len());
    for (path, did) in rows {
        if is_full(&errors) {
            break;
        }
        let field = format!("{path}number");
        let number = match written::read_marked(&did.number, did.raw.take().unwrap_or_default()) {
            Ok(number) => Some(number),
            Err(fault) => {
                errors.push(FieldError::new(&field, "invalid", fault.to_string()));
                None
            }
        };
        if let Some(first) = number.clone().and_then(|number| seen.insert(number, field.clone())) {
            errors.push(FieldError::new(&field, "duplicate", format!("is the same number as {first}")));
        }
        let seller = match (caller.owner, did.seller_id) {
            (Owner::Only(own), _) => own,
            (Owner::Anyone, MaybeUndefined::Value(seller)) => UserId(seller),
            (Owner::Anyone, _) => {
                errors.push(FieldError::new(format!("{path}seller_id"), "required", "is missing"));
                continue;
            }
        };
        let status: Status = did.status.take().map_or(Status::Active, Into::into);
        if status == Status::Archived {
            errors.push(FieldError::new(format!("{path}status"), "invalid", "use active or paused"));
        }
        wanted.extend(number.map(|number| (number, DidValues { seller, status })));
    }
    if errors.is_empty() { Ok(wanted) } else { Err(ApiError::invalid(errors)) }
}
