//! Campaigns, one by one, and which DIDs feed them.

use chrono::{DateTime, Utc};
use entity::{call_logs, campaign_client_settings, campaign_dids, campaigns};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;
use serde_json::json;

use super::audit::Object;
use super::change::{self, Editor, Keyset, Owner, Refusal, grow};
use super::{Db, StoreError, audit, dids, number, optional, word};
use crate::auth::principal::Actor;
use crate::id::{CampaignId, DidId, UserId};
use crate::routing::snapshot::{CampaignRejections, Status, Strategy};

/// A stored campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredCampaign {
    /// Row.
    pub id: CampaignId,
    /// Owner; never changes.
    #[serde(rename = "seller_id")]
    pub seller: UserId,
    /// Grows with every change, also of the DIDs that feed it.
    pub version: i64,
    /// What can change.
    #[serde(flatten)]
    pub values: CampaignValues,
}

/// What can change of a campaign.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CampaignValues {
    /// Unique per seller.
    pub name: String,
    /// Order of links.
    #[serde(rename = "routing_strategy")]
    pub strategy: Strategy,
    /// Seconds.
    pub dial_timeout_seconds: u32,
    /// Seconds; `None` = configured default.
    pub setup_budget_seconds: Option<u32>,
    /// Seconds; `None` = configured default.
    pub max_duration_seconds: Option<u32>,
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Whether the caller hears what a client sends before it answers.
    pub early_media: bool,
    /// What its callers are given who reach nobody.
    pub rejections: CampaignRejections,
    /// Life.
    pub status: Status,
}

/// Which campaigns a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CampaignFilter {
    /// Only with this status; `None` = all that are not archived.
    pub status: Option<Status>,
    /// Only this seller's.
    pub seller: Option<UserId>,
}

/// The campaigns that `owner` sees.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn list(
    db: &Db,
    owner: Owner,
    filter: &CampaignFilter,
    keyset: Keyset,
) -> Result<Vec<StoredCampaign>, StoreError> {
    use campaigns::Column;
    let mut select = campaigns::Entity::find().filter(match filter.status {
        Some(status) => Column::Status.eq(status.as_str()),
        None => Column::Status.ne(Status::Archived.as_str()),
    });
    for seller in [owner.id(), filter.seller.map(|seller| seller.0)].into_iter().flatten() {
        select = select.filter(Column::SellerId.eq(seller));
    }
    let rows = change::slice(&db.connection, select, Column::Id, keyset).await?;
    rows.into_iter().map(read).collect()
}

/// One campaign that `owner` sees.
///
/// # Errors
/// [`Refusal::NotFound`], or the database's.
pub async fn get(db: &Db, owner: Owner, id: CampaignId) -> Result<StoredCampaign, Refusal> {
    find(&db.connection, owner, id).await
}

/// Makes a campaign of a seller.
///
/// # Errors
/// [`Refusal::Unknown`] for a seller that is none; `name_taken`.
pub async fn create(editor: &Editor<'_>, seller: UserId, values: CampaignValues) -> Result<StoredCampaign, Refusal> {
    let transaction = change::begin(editor.db).await?;
    if !editor.owner.sees(seller) {
        return Err(Refusal::Unknown { field: "seller_id" });
    }
    change::seller_exists(&transaction, seller).await?;
    name_is_free(&transaction, seller, &values.name).await?;
    let mut model = model(&values)?;
    model.seller_id = Set(seller.0);
    let made = read(model.insert(&transaction).await?)?;
    editor.commit(transaction, "campaign.create", object(made.id), None, Some(change::view(&made)?)).await?;
    Ok(made)
}

/// Changes a campaign by what `edit` makes of it; nothing is written when that is nothing. An archived campaign lets go of its DIDs.
///
/// # Errors
/// What `edit` says; [`Refusal::NotFound`]; [`Refusal::Stale`] where its version is not the expected one; `name_taken`;
/// `did_in_active_campaign` where it is to become active and another active campaign has one of its DIDs.
pub async fn change(
    editor: &Editor<'_>,
    id: CampaignId,
    expected: Option<i64>,
    edit: impl FnOnce(&mut CampaignValues) -> Result<(), Refusal>,
) -> Result<StoredCampaign, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    let mut after = before.clone();
    edit(&mut after.values)?;
    change::may_change(before.version, expected, before.values.status, Some(after.values.status))?;
    if after == before {
        return Ok(before);
    }
    if after.values.name != before.values.name {
        name_is_free(&transaction, before.seller, &after.values.name).await?;
    }
    match after.values.status {
        Status::Active => {
            let tied = campaign_dids::Entity::find().filter(campaign_dids::Column::CampaignId.eq(id.0));
            for tie in tied.all(&transaction).await? {
                feeds_no_other(&transaction, tie.did_id, id).await?;
            }
        }
        Status::Archived => {
            let of_campaign = campaign_dids::Column::CampaignId.eq(id.0);
            campaign_dids::Entity::delete_many().filter(of_campaign).exec(&transaction).await?;
        }
        Status::Paused => {}
    }
    after.version += 1;
    let mut model = model(&after.values)?;
    model.id = Unchanged(id.0);
    model.version = Set(after.version);
    model.update(&transaction).await?;
    let views = (Some(change::view(&before)?), Some(change::view(&after)?));
    editor.commit(transaction, "campaign.update", object(id), views.0, views.1).await?;
    Ok(after)
}

/// Deletes a campaign.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Stale`], or `in_use` with what refers to it.
pub async fn delete(editor: &Editor<'_>, id: CampaignId, expected: Option<i64>) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    change::may_change(before.version, expected, before.values.status, None)?;
    let mut uses = Vec::new();
    let links = campaign_client_settings::Column::CampaignId;
    let links = change::count::<campaign_client_settings::Entity>(&transaction, links, id.0).await?;
    change::note(&mut uses, links, "link");
    let dids = campaign_dids::Column::CampaignId;
    change::note(&mut uses, change::count::<campaign_dids::Entity>(&transaction, dids, id.0).await?, "DID");
    if change::any::<call_logs::Entity>(&transaction, call_logs::Column::CampaignId, id.0).await? {
        uses.push("records of calls".to_owned());
    }
    change::unless_used(&uses, "archive it instead")?;
    campaigns::Entity::delete_by_id(id.0).exec(&transaction).await?;
    editor.commit(transaction, "campaign.delete", object(id), Some(change::view(&before)?), None).await
}

/// Lets a DID feed a campaign, or no longer. Repeating changes nothing.
///
/// # Errors
/// [`Refusal::NotFound`] for the campaign or the DID; `archived`; `did_of_other_seller`; `did_in_active_campaign`.
pub async fn tie(editor: &Editor<'_>, id: CampaignId, did: DidId, tied: bool) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let campaign = find(&transaction, editor.owner, id).await?;
    let did = dids::find(&transaction, editor.owner, did).await?;
    change::may_change(campaign.version, None, campaign.values.status, Some(campaign.values.status))?;
    if did.campaigns.contains(&id) == tied {
        return Ok(());
    }
    let line = json!({ "did_id": did.id, "number": did.number });
    let (action, before, after) = if tied {
        if did.values.seller != campaign.seller {
            let detail = "the DID and the campaign belong to different sellers";
            return Err(Refusal::conflict("did_of_other_seller", detail));
        }
        change::may_change(did.version, None, did.values.status, Some(did.values.status))?;
        if campaign.values.status == Status::Active {
            feeds_no_other(&transaction, did.id.0, id).await?;
        }
        let model = campaign_dids::ActiveModel {
            campaign_id: Set(id.0),
            did_id: Set(did.id.0),
            seller_id: Set(campaign.seller.0),
            campaign_status: Set(campaign.values.status.to_string()),
        };
        campaign_dids::Entity::insert(model).exec_without_returning(&transaction).await?;
        ("campaign.did.add", None, Some(line))
    } else {
        campaign_dids::Entity::delete_by_id((id.0, did.id.0)).exec(&transaction).await?;
        ("campaign.did.remove", Some(line), None)
    };
    grow!(&transaction, campaigns, id.0);
    editor.commit(transaction, action, object(id), before, after).await
}

/// Pauses every active campaign of a seller, each as if it were changed by itself: no new call is routed, running ones go on.
pub(super) async fn pause_all(
    transaction: &DatabaseTransaction,
    seller: UserId,
    actor: Actor<'_>,
    at: DateTime<Utc>,
) -> Result<(), StoreError> {
    use campaigns::Column;
    let active = campaigns::Entity::find().filter(Column::SellerId.eq(seller.0));
    let active = active.filter(Column::Status.eq(Status::Active.as_str())).order_by_asc(Column::Id);
    for row in active.all(transaction).await? {
        let before = read(row)?;
        let mut after = before.clone();
        after.values.status = Status::Paused;
        after.version += 1;
        let paused = campaigns::ActiveModel {
            id: Unchanged(before.id.0),
            status: Set(after.values.status.to_string()),
            version: Set(after.version),
            ..Default::default()
        };
        paused.update(transaction).await?;
        let views = (Some(change::view(&before)?), Some(change::view(&after)?));
        audit::write(transaction, at, actor, "campaign.update", object(before.id), views.0, views.1).await?;
    }
    Ok(())
}

fn object(id: CampaignId) -> Object {
    Object::new("campaign", id)
}

/// Refuses a second active campaign for a DID. The database's own index stands behind it.
async fn feeds_no_other(transaction: &DatabaseTransaction, did: i64, campaign: CampaignId) -> Result<(), Refusal> {
    use campaign_dids::Column;
    let other = campaign_dids::Entity::find()
        .filter(Column::DidId.eq(did))
        .filter(Column::CampaignId.ne(campaign.0))
        .filter(Column::CampaignStatus.eq(Status::Active.as_str()))
        .one(transaction)
        .await?;
    match other {
        None => Ok(()),
        Some(other) => Err(Refusal::conflict(
            "did_in_active_campaign",
            format!("DID {did} feeds the active campaign {} already: pause that one first", other.campaign_id),
        )),
    }
}

async fn name_is_free(transaction: &DatabaseTransaction, seller: UserId, name: &str) -> Result<(), Refusal> {
    let same = campaigns::Entity::find().filter(campaigns::Column::SellerId.eq(seller.0));
    match same.filter(campaigns::Column::Name.eq(name)).one(transaction).await? {
        None => Ok(()),
        Some(_) => Err(Refusal::conflict("name_taken", "the seller has a campaign of this name, possibly archived")),
    }
}

pub(super) async fn find(
    connection: &impl ConnectionTrait,
    owner: Owner,
    id: CampaignId,
) -> Result<StoredCampaign, Refusal> {
    let row = campaigns::Entity::find_by_id(id.0).one(connection).await?;
    let row = row.filter(|row| owner.sees(UserId(row.seller_id))).ok_or(Refusal::NotFound)?;
    Ok(read(row)?)
}

/// All columns but the key, the owner and the version.
fn model(values: &CampaignValues) -> Result<campaigns::ActiveModel, DbErr> {
    Ok(campaigns::ActiveModel {
        id: NotSet,
        seller_id: NotSet,
        name: Set(values.name.clone()),
        routing_strategy: Set(values.strategy.to_string()),
        dial_timeout_seconds: Set(i64::from(values.dial_timeout_seconds)),
        setup_budget_seconds: Set(values.setup_budget_seconds.map(i64::from)),
        max_duration_seconds: Set(values.max_duration_seconds.map(i64::from)),
        max_concurrency: Set(values.max_concurrency.map(i64::from)),
        early_media: Set(values.early_media),
        reject_inactive_campaign: Set(sip(values.rejections.inactive_campaign)?),
        reject_no_active_link: Set(sip(values.rejections.no_active_link)?),
        reject_all_full: Set(sip(values.rejections.all_full)?),
        reject_nobody_answered: Set(sip(values.rejections.nobody_answered)?),
        status: Set(values.status.to_string()),
        version: NotSet,
    })
}

/// A SIP status as it is stored.
pub(super) fn sip(status: Option<u16>) -> Result<Option<i16>, DbErr> {
    let narrow = |status| i16::try_from(status).map_err(|error| DbErr::Custom(format!("SIP status {status}: {error}")));
    status.map(narrow).transpose()
}

/// The SIP statuses of a campaign, read back.
pub(super) fn rejections(row: &campaigns::Model) -> Result<CampaignRejections, StoreError> {
    let read = |column, value: Option<i16>| optional("campaigns", column, value.map(i64::from));
    Ok(CampaignRejections {
        inactive_campaign: read("reject_inactive_campaign", row.reject_inactive_campaign)?,
        no_active_link: read("reject_no_active_link", row.reject_no_active_link)?,
        all_full: read("reject_all_full", row.reject_all_full)?,
        nobody_answered: read("reject_nobody_answered", row.reject_nobody_answered)?,
    })
}

fn read(row: campaigns::Model) -> Result<StoredCampaign, StoreError> {
    const TABLE: &str = "campaigns";
    let values = CampaignValues {
        rejections: rejections(&row)?,
        early_media: row.early_media,
        name: row.name,
        strategy: word(TABLE, "routing_strategy", &row.routing_strategy)?,
        dial_timeout_seconds: number(TABLE, "dial_timeout_seconds", row.dial_timeout_seconds)?,
        setup_budget_seconds: optional(TABLE, "setup_budget_seconds", row.setup_budget_seconds)?,
        max_duration_seconds: optional(TABLE, "max_duration_seconds", row.max_duration_seconds)?,
        max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
        status: word(TABLE, "status", &row.status)?,
    };
    Ok(StoredCampaign { id: CampaignId(row.id), seller: UserId(row.seller_id), version: row.version, values })
}
