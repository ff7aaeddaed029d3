//! DIDs, one by one.

use std::collections::BTreeSet;

use entity::{call_logs, campaign_dids, dids};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::{
    ActiveModelTrait, ColumnTrait, ConnectionTrait, DatabaseTransaction, EntityTrait, QueryFilter, QueryOrder,
};
use serde::Serialize;

use super::audit::Object;
use super::change::{self, Editor, Keyset, Owner, Refusal};
use super::{Db, StoreError, numbers, word};
use crate::id::{CampaignId, DidId, UserId};
use crate::routing::number::readers::Readers;
use crate::routing::number::written::Number;
use crate::routing::snapshot::Status;

/// A stored DID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoredDid {
    /// Row.
    pub id: DidId,
    /// E.164, or the raw text of what is not a number; never changes.
    pub number: String,
    /// Whether it is no E.164 number; never changes.
    pub raw: bool,
    /// Grows with every change.
    pub version: i64,
    /// The campaigns that it is tied to, ascending; at most one of them is active.
    #[serde(skip)]
    pub campaigns: Vec<CampaignId>,
    /// What can change.
    #[serde(flatten)]
    pub values: DidValues,
}

/// What can change of a DID.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DidValues {
    /// Owner.
    #[serde(rename = "seller_id")]
    pub seller: UserId,
    /// Life.
    pub status: Status,
}

/// Which DIDs a list shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DidFilter {
    /// Only with this status; `None` = all that are not archived.
    pub status: Option<Status>,
    /// Only this seller's.
    pub seller: Option<UserId>,
    /// Only those tied to this campaign.
    pub campaign: Option<CampaignId>,
    /// Only the one of exactly this number.
    pub number: Option<String>,
}

/// The DIDs that `owner` sees.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn list(db: &Db, owner: Owner, filter: &DidFilter, keyset: Keyset) -> Result<Vec<StoredDid>, StoreError> {
    use dids::Column;
    let mut select = dids::Entity::find();
    select = match filter.status {
        Some(status) => select.filter(Column::Status.eq(status.as_str())),
        None => select.filter(Column::Status.ne(Status::Archived.as_str())),
    };
    for seller in [owner.id(), filter.seller.map(|seller| seller.0)].into_iter().flatten() {
        select = select.filter(Column::SellerId.eq(seller));
    }
    if let Some(number) = &filter.number {
        select = select.filter(Column::Number.eq(number));
    }
    if let Some(campaign) = filter.campaign {
        select = select.filter(Column::Id.in_subquery(fed_by(campaign)));
    }
    let transaction = db.read().await?;
    let rows = change::slice(&transaction, select, Column::Id, keyset).await?;
    let items = read(&transaction, rows).await?;
    transaction.commit().await?;
    Ok(items)
}

fn fed_by(campaign: CampaignId) -> sea_orm::sea_query::SelectStatement {
    let mut tied = sea_orm::sea_query::Query::select();
    tied.column(campaign_dids::Column::DidId).from(campaign_dids::Entity);
    tied.and_where(campaign_dids::Column::CampaignId.eq(campaign.0));
    tied
}

/// One DID that `owner` sees.
///
/// # Errors
/// [`Refusal::NotFound`], or the database's.
pub async fn get(db: &Db, owner: Owner, id: DidId) -> Result<StoredDid, Refusal> {
    let transaction = db.read().await?;
    let did = find(&transaction, owner, id).await?;
    transaction.commit().await?;
    Ok(did)
}

/// Makes DIDs, all or none. Returns them in the order given.
///
/// # Errors
/// [`Refusal::Taken`] where numbers are taken, whoever has them, or where some node may read one as another seller's or the other way
/// round (audited, too); [`Refusal::Unknown`] for a seller that is none.
pub async fn create(
    editor: &Editor<'_>,
    readers: &Readers,
    wanted: &[(Number, DidValues)],
) -> Result<Vec<StoredDid>, Refusal> {
    let transaction = change::begin(editor.db).await?;
    for seller in wanted.iter().map(|(_, values)| values.seller).collect::<BTreeSet<_>>() {
        if !editor.owner.sees(seller) {
            return Err(Refusal::Unknown { field: "seller_id" });
        }
        change::seller_exists(&transaction, seller).await?;
    }
    let taken = taken(&transaction, readers, wanted).await?;
    if !taken.is_empty() {
        return refuse_taken(editor, transaction, wanted, taken).await;
    }
    let mut made = Vec::with_capacity(wanted.len());
    for (number, values) in wanted {
        let model = dids::ActiveModel {
            id: NotSet,
            number: Set(number.text().to_owned()),
            raw: Set(number.is_raw()),
            seller_id: Set(values.seller.0),
            status: Set(values.status.to_string()),
            version: NotSet,
            legacy_id: NotSet,
        };
        let did = read_one(model.insert(&transaction).await?, Vec::new())?;
        let after = Some(change::view(&did)?);
        editor.note(&transaction, "did.create", object(did.id), None, after).await?;
        made.push(did);
    }
    change::bump(&transaction).await?;
    transaction.commit().await?;
    Ok(made)
}

/// Positions of the numbers that exist already, or that some node may take for another seller's.
async fn taken(
    transaction: &DatabaseTransaction,
    readers: &Readers,
    wanted: &[(Number, DidValues)],
) -> Result<Vec<usize>, Refusal> {
    /// Bound values per statement.
    const CHUNK: usize = 10_000;
    let mut stored = std::collections::HashSet::new();
    for chunk in wanted.chunks(CHUNK) {
        let numbers = chunk.iter().map(|(number, _)| number.text());
        let rows = dids::Entity::find().filter(dids::Column::Number.is_in(numbers)).all(transaction).await?;
        stored.extend(rows.into_iter().map(|row| row.number));
    }
    let claims: Vec<_> =
        wanted.iter().map(|(number, values)| (number.text(), number.is_raw(), values.seller.0)).collect();
    let mut taken: BTreeSet<usize> = numbers::contested(transaction, readers, &claims).await?.into_iter().collect();
    taken.extend(wanted.iter().enumerate().filter(|(_, (number, _))| stored.contains(number.text())).map(|(at, _)| at));
    Ok(taken.into_iter().collect())
}

/// Says which numbers cannot be had, and leaves a line in the audit: asking for numbers tells who else is here.
async fn refuse_taken<T>(
    editor: &Editor<'_>,
    transaction: DatabaseTransaction,
    wanted: &[(Number, DidValues)],
    taken: Vec<usize>,
) -> Result<T, Refusal> {
    let numbers: Vec<&str> = taken.iter().map(|position| wanted[*position].0.text()).collect();
    let asked = Some(serde_json::json!({ "numbers": numbers }));
    editor.note(&transaction, "did.unavailable", Object::new("did", "*"), None, asked).await?;
    transaction.commit().await?;
    Err(Refusal::Taken(taken))
}

/// Changes a DID by what `edit` makes of it; nothing is written when that is nothing.
///
/// # Errors
/// What `edit` says; [`Refusal::NotFound`]; [`Refusal::Stale`] where its version is not the expected one; a conflict where it is to
/// change hands or be archived while a campaign has it, or to go where some node may take it for another seller's.
pub async fn change(
    editor: &Editor<'_>,
    readers: &Readers,
    id: DidId,
    expected: Option<i64>,
    edit: impl FnOnce(&mut DidValues) -> Result<(), Refusal>,
) -> Result<StoredDid, Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    let mut after = before.clone();
    edit(&mut after.values)?;
    change::may_change(before.version, expected, before.values.status, Some(after.values.status))?;
    if after == before {
        return Ok(before);
    }
    let mut uses = Vec::new();
    change::note(&mut uses, before.campaigns.len() as u64, "campaign");
    if after.values.seller != before.values.seller {
        change::seller_exists(&transaction, after.values.seller).await?;
        change::unless_used(&uses, "take it out of them before it goes to another seller")?;
        let claim = (before.number.as_str(), before.raw, after.values.seller.0);
        if !numbers::contested(&transaction, readers, &[claim]).await?.is_empty() {
            let detail = "a node may read this number as another seller's DID, or that one as this number";
            return Err(Refusal::conflict("did_unavailable", detail));
        }
    }
    if after.values.status == Status::Archived {
        change::unless_used(&uses, "take it out of them before it is archived")?;
    }
    after.version += 1;
    let model = dids::ActiveModel {
        id: Unchanged(id.0),
        number: NotSet,
        raw: NotSet,
        seller_id: Set(after.values.seller.0),
        status: Set(after.values.status.to_string()),
        version: Set(after.version),
        legacy_id: NotSet,
    };
    model.update(&transaction).await?;
    let views = (Some(change::view(&before)?), Some(change::view(&after)?));
    editor.commit(transaction, "did.update", object(id), views.0, views.1).await?;
    Ok(after)
}

/// Deletes a DID.
///
/// # Errors
/// [`Refusal::NotFound`], [`Refusal::Stale`], or `in_use` with what refers to it.
pub async fn delete(editor: &Editor<'_>, id: DidId, expected: Option<i64>) -> Result<(), Refusal> {
    let transaction = change::begin(editor.db).await?;
    let before = find(&transaction, editor.owner, id).await?;
    change::may_change(before.version, expected, before.values.status, None)?;
    let mut uses = Vec::new();
    change::note(&mut uses, before.campaigns.len() as u64, "campaign");
    if change::any::<call_logs::Entity>(&transaction, call_logs::Column::DidId, id.0).await? {
        uses.push("records of calls".to_owned());
    }
    change::unless_used(&uses, "archive it instead")?;
    dids::Entity::delete_by_id(id.0).exec(&transaction).await?;
    editor.commit(transaction, "did.delete", object(id), Some(change::view(&before)?), None).await
}

fn object(id: DidId) -> Object {
    Object::new("did", id)
}

pub(super) async fn find(connection: &impl ConnectionTrait, owner: Owner, id: DidId) -> Result<StoredDid, Refusal> {
    let row = dids::Entity::find_by_id(id.0).one(connection).await?;
    let row = row.filter(|row| owner.sees(UserId(row.seller_id))).ok_or(Refusal::NotFound)?;
    read(connection, vec![row]).await?.pop().ok_or(Refusal::NotFound)
}

async fn read(connection: &impl ConnectionTrait, rows: Vec<dids::Model>) -> Result<Vec<StoredDid>, StoreError> {
    let ids = rows.iter().map(|row| row.id);
    let tied = campaign_dids::Entity::find()
        .filter(campaign_dids::Column::DidId.is_in(ids))
        .order_by_asc(campaign_dids::Column::CampaignId)
        .all(connection)
        .await?;
    let campaigns = |id| tied.iter().filter(|tie| tie.did_id == id).map(|tie| CampaignId(tie.campaign_id)).collect();
    rows.into_iter()
        .map(|row| {
            let campaigns = campaigns(row.id);
            read_one(row, campaigns)
        })
        .collect()
}

fn read_one(row: dids::Model, campaigns: Vec<CampaignId>) -> Result<StoredDid, StoreError> {
    let values = DidValues { seller: UserId(row.seller_id), status: word("dids", "status", &row.status)? };
    Ok(StoredDid { id: DidId(row.id), number: row.number, raw: row.raw, version: row.version, campaigns, values })
}
