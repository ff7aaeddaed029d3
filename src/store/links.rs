//! Links, one by one.

use chrono::{DateTime, SubsecRound, Utc};
use entity::{call_attempts, campaign_client_settings};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::sea_query::{Expr, ExprTrait};
use sea_orm::{ActiveModelTrait, ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter};
use serde::Serialize;
use serde_json::json;

use super::audit::Object;
use super::change::{self, Editor, Keyset, Owner, Refusal};
use super::clients::StoredClient;
use super::{Db, StoreError, campaigns, clients, number, optional, word};
use crate::id::{CampaignId, ClientId, LinkId, UserId};
use crate::routing::snapshot::{CountOn, Status};

/// A stored link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredLink {
    /// Row.
    pub id: LinkId,
    /// Its campaign; never changes.
    #[serde(rename = "campaign_id")]
    pub campaign: CampaignId,
    /// Its client; never changes.
    #[serde(rename = "client_id")]
    pub client: ClientId,
    /// The client's name as the caller may see it; `None` where it may not see the client (any more).
    #[serde(skip)]
    pub client_name: Option<String>,
    /// The client is not for the campaign's seller (any more): the link gets no calls.
    #[serde(skip)]
    pub client_withdrawn: bool,
    /// Counted calls since `counted_since`; grows with records and is no part of the version.
    #[serde(skip)]
    pub current_total_calls: u64,
    /// Calls counted before that.
    #[serde(skip)]
    pub counted_before: u64,
    /// When the count was last reset: dials that ended before are not in it. `None` = never.
    #[serde(skip)]
    pub counted_since: Option<DateTime<Utc>>,
    /// Grows with every change.
    pub version: i64,
    /// What can change.
    #[serde(flatten)]
    pub values: LinkValues,
}

/// What can change of a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LinkValues {
    /// Calls at once; `None` = no limit.
    pub max_concurrency: Option<u32>,
    /// Counted calls ever; `None` = no limit.
    pub total_calls_allowed: Option<u64>,
    /// Lower is tried first.
    pub forwarding_priority: i32,
    /// Share, 1 to 10000.
    pub weight: u32,
    /// Seconds; `None` = the campaign's.
    pub ring_timeout_seconds: Option<u32>,
    /// What counts.
    pub count_on: CountOn,
    /// Life.
    pub status: Status,
}

/// The links of a campaign that `owner` sees, with one status; `None` = all that are not archived.
///
/// # Errors
/// [`Refusal::NotFound`] for the campaign, or the database's.
pub async fn list(
    db: &Db,
    owner: Owner,
    campaign: CampaignId,
    status: Option<Status>,
    keyset: Keyset,
) -> Result<Vec<StoredLink>, Refusal> {
    use campaign_client_settings::Column;
    let transaction = db.read().await?;
    let seller = campaigns::find(&transaction, owner, campaign).await?.seller;
    let select = campaign_client_settings::Entity::find().filter(Column::CampaignId.eq(campaign.0));
    let select = select.filter(match status {
        Some(status) => Column::Status.eq(status.as_str()),
        None => Column::Status.ne(Status::Archived.as_str()),
    });
    let rows = change::slice(&transaction, select, Column::Id, keyset).await?;
    let items = read(&transaction, owner, seller, rows).await?;
    transaction.commit().await?;
    Ok(items)
}

/// One link of a campaign that `owner` sees.
///
/// # Errors
/// [`Refusal::NotFound`], or the database's.
pub async fn get(db: &Db, owner: Owner, campaign: CampaignId, id: LinkId) -> Result<StoredLink, Refusal> {
    let transaction = db.read().await?;
    let link = find(&transaction, owner, campaign, id).await?;
    transaction.commit().await?;
    Ok(link)
}

/// Links a client to a campaign.
///
/// # Errors
/// [`Refusal::NotFound`] for the campaign; [`Refusal::Unknown`] for a client that is not there, not for the caller, or not for the
/// campaign's seller; `archived` where the campaign or client is; `link_exists`.
pub async fn create(
    editor: &Editor<'_>,
    campaign: CampaignId,
    client: ClientId,
    values: LinkValues,
) -> Result<StoredLink, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let seller = alive(&transaction, editor.owner, campaign).await?;
    let client = usable(&transaction, seller, client).await?;
    may_use(client.values.status)?;
    let same = campaign_client_settings::Entity::find()
        .filter(campaign_client_settings::Column::CampaignId.eq(campaign.0))
        .filter(campaign_client_settings::Column::ClientId.eq(client.id.0));
    if same.one(&transaction).await?.is_some() {
        let detail = "the campaign has a link to this client, possibly archived";
        return Err(Refusal::conflict("link_exists", detail));
    }
    let mut model = model(&values)?;
    model.campaign_id = Set(campaign.0);
    model.client_id = Set(client.id.0);
    let row = model.insert(&transaction).await?;
    let made = read(&transaction, editor.owner, seller, vec![row]).await?.pop().ok_or(Refusal::NotFound)?;
    editor.commit(transaction, "link.create", object(made.id), None, Some(change::view(&made)?)).await?;
    Ok(made)
}

/// Changes a link by what `edit` makes of it; nothing is written when that is nothing.
///
/// # Errors
/// What `edit` says; [`Refusal::NotFound`]; [`Refusal::Stale`] where its version is not the expected one; `archived`.
pub async fn change(
    editor: &Editor<'_>,
    campaign: CampaignId,
    id: LinkId,
    expected: Option<i64>,
    edit: impl FnOnce(&mut LinkValues) -> Result<(), Refusal>,
) -> Result<StoredLink, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, campaign, id).await?;
    let mut after = before.clone();
    edit(&mut after.values)?;
    change::may_change(before.version, expected, before.values.status, Some(after.values.status))?;
    if after == before {
        return Ok(before);
    }
    let seller = alive(&transaction, editor.owner, campaign).await?;
    if before.values.status == Status::Archived {
        // As when it was made: a client that is not for the seller (any more) is not there, and nothing is told of its state.
        may_use(usable(&transaction, seller, before.client).await?.values.status)?;
    }
    after.version += 1;
    let mut model = model(&after.values)?;
    model.id = Unchanged(id.0);
    model.version = Set(after.version);
    model.update(&transaction).await?;
    let views = (Some(change::view(&before)?), Some(change::view(&after)?));
    editor.commit(transaction, "link.update", object(id), views.0, views.1).await?;
    Ok(after)
}

/// Sets the count of a link to 0. What was counted so far stays known as counted before, so that a running controller, which counts on
/// meanwhile, loses nothing: it takes the difference over with the next configuration. `now` is asked once nothing can be counted until
/// the end, so that whatever is counted already ended before it.
///
/// # Errors
/// [`Refusal::NotFound`]; [`Refusal::Counter`] where the count is not the expected one; `archived`.
pub async fn reset_counter(
    editor: &Editor<'_>,
    campaign: CampaignId,
    id: LinkId,
    expected: u64,
    now: impl FnOnce() -> DateTime<Utc>,
) -> Result<StoredLink, Refusal> {
    use campaign_client_settings::Column;
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, campaign, id).await?;
    alive(&transaction, editor.owner, campaign).await?;
    change::may_change(before.version, None, before.values.status, Some(before.values.status))?;
    if before.current_total_calls != expected {
        return Err(Refusal::Counter { actual: before.current_total_calls });
    }
    let since = now().trunc_subsecs(6);
    campaign_client_settings::Entity::update_many()
        .col_expr(Column::CountedBefore, Expr::col(Column::CountedBefore).add(Expr::col(Column::CurrentTotalCalls)))
        .col_expr(Column::CurrentTotalCalls, Expr::val(0))
        .col_expr(Column::CountedSince, Expr::val(since))
        .filter(Column::Id.eq(id.0))
        .exec(&transaction)
        .await?;
    let view =
        |count: u64, since: Option<DateTime<Utc>>| json!({ "current_total_calls": count, "counted_since": since });
    let views = (Some(view(before.current_total_calls, before.counted_since)), Some(view(0, Some(since))));
    editor.commit(transaction, "link.counter.reset", object(id), views.0, views.1).await?;
    let counted_before = before.counted_before + before.current_total_calls;
    Ok(StoredLink { current_total_calls: 0, counted_before, counted_since: Some(since), ..before })
}

/// Deletes a link.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Stale`], or `in_use` where it has counted calls or records refer to it.
pub async fn delete(
    editor: &Editor<'_>,
    campaign: CampaignId,
    id: LinkId,
    expected: Option<i64>,
) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, campaign, id).await?;
    change::may_change(before.version, expected, before.values.status, None)?;
    let mut uses = Vec::new();
    change::note(&mut uses, before.current_total_calls + before.counted_before, "counted call");
    if change::any::<call_attempts::Entity>(&transaction, call_attempts::Column::LinkId, id.0).await? {
        uses.push("records of calls".to_owned());
    }
    change::unless_used(&uses, "archive it instead")?;
    campaign_client_settings::Entity::delete_by_id(id.0).exec(&transaction).await?;
    editor.commit(transaction, "link.delete", object(id), Some(change::view(&before)?), None).await
}

fn object(id: LinkId) -> Object {
    Object::new("link", id)
}

/// The seller of a campaign that is not archived.
async fn alive(connection: &impl ConnectionTrait, owner: Owner, campaign: CampaignId) -> Result<UserId, Refusal> {
    let campaign = campaigns::find(connection, owner, campaign).await?;
    if campaign.values.status == Status::Archived {
        return Err(Refusal::conflict("archived", "the campaign is archived, and its links are read-only with it"));
    }
    Ok(campaign.seller)
}

/// A client that is for the campaign's seller, whoever makes or revives the link.
async fn usable(connection: &impl ConnectionTrait, seller: UserId, client: ClientId) -> Result<StoredClient, Refusal> {
    match clients::find(connection, Owner::Only(seller), client).await {
        Err(Refusal::NotFound) => Err(Refusal::Unknown { field: "client_id" }),
        found => found,
    }
}

fn may_use(client: Status) -> Result<(), Refusal> {
    if client == Status::Archived {
        return Err(Refusal::conflict("archived", "the client is archived and takes no links"));
    }
    Ok(())
}

async fn find(
    connection: &impl ConnectionTrait,
    owner: Owner,
    campaign: CampaignId,
    id: LinkId,
) -> Result<StoredLink, Refusal> {
    let seller = campaigns::find(connection, owner, campaign).await?.seller;
    let row = campaign_client_settings::Entity::find_by_id(id.0).one(connection).await?;
    let row = row.filter(|row| row.campaign_id == campaign.0).ok_or(Refusal::NotFound)?;
    read(connection, owner, seller, vec![row]).await?.pop().ok_or(Refusal::NotFound)
}

/// All columns but the keys, the count and the version.
fn model(values: &LinkValues) -> Result<campaign_client_settings::ActiveModel, DbErr> {
    let weight = i32::try_from(values.weight);
    let total = values.total_calls_allowed.map(i64::try_from).transpose();
    Ok(campaign_client_settings::ActiveModel {
        id: NotSet,
        campaign_id: NotSet,
        client_id: NotSet,
        max_concurrency: Set(values.max_concurrency.map(i64::from)),
        total_calls_allowed: Set(total.map_err(|error| DbErr::Custom(format!("total_calls_allowed: {error}")))?),
        current_total_calls: NotSet,
        counted_before: NotSet,
        counted_since: NotSet,
        forwarding_priority: Set(values.forwarding_priority),
        weight: Set(weight.map_err(|error| DbErr::Custom(format!("weight: {error}")))?),
        ring_timeout_seconds: Set(values.ring_timeout_seconds.map(i64::from)),
        count_on: Set(values.count_on.to_string()),
        status: Set(values.status.to_string()),
        version: NotSet,
        legacy_id: NotSet,
    })
}

async fn read(
    connection: &impl ConnectionTrait,
    owner: Owner,
    seller: UserId,
    rows: Vec<campaign_client_settings::Model>,
) -> Result<Vec<StoredLink>, StoreError> {
    const TABLE: &str = "campaign_client_settings";
    let of_rows = || rows.iter().map(|row| row.client_id);
    let clients = clients::seen(connection, owner, of_rows()).await?;
    let of_seller = clients::seen(connection, Owner::Only(seller), of_rows()).await?;
    let read = |row: campaign_client_settings::Model| {
        let client = clients.iter().find(|client| client.id.0 == row.client_id);
        let values = LinkValues {
            max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
            total_calls_allowed: optional(TABLE, "total_calls_allowed", row.total_calls_allowed)?,
            forwarding_priority: row.forwarding_priority,
            weight: number(TABLE, "weight", i64::from(row.weight))?,
            ring_timeout_seconds: optional(TABLE, "ring_timeout_seconds", row.ring_timeout_seconds)?,
            count_on: word(TABLE, "count_on", &row.count_on)?,
            status: word(TABLE, "status", &row.status)?,
        };
        Ok(StoredLink {
            id: LinkId(row.id),
            campaign: CampaignId(row.campaign_id),
            client: ClientId(row.client_id),
            client_name: client.map(|client| client.name_for(owner).to_owned()),
            client_withdrawn: of_seller.iter().all(|client| client.id.0 != row.client_id),
            current_total_calls: number(TABLE, "current_total_calls", row.current_total_calls)?,
            counted_before: number(TABLE, "counted_before", row.counted_before)?,
            counted_since: row.counted_since,
            version: row.version,
            values,
        })
    };
    rows.into_iter().map(read).collect()
}
