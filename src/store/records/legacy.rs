//! Calls that the old dialplan reports: each written once, and counted with its record.

use chrono::{DateTime, Utc};
use entity::{call_logs, campaign_client_settings, campaigns, clients, dids, users};
use sea_orm::{ColumnTrait, ConnectionTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter};

use super::{Batch, count, insert_attempts, insert_calls, with_attempts};
use crate::cdr::legacy::{self, DialledLink, Ids, Parties, Reported};
use crate::cdr::record::CallRecord;
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::number::Dialled;
use crate::store::{Db, StoreError, word};

/// What became of a report.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    /// The call's one record: the report's, that of an earlier report, or that of a call handled here.
    pub record: CallRecord,
    /// Whether it was written now.
    pub new: bool,
}

impl Logged {
    /// The link whose total has grown by this report.
    #[must_use]
    pub fn counted_now(&self) -> Option<LinkId> {
        self.record.attempts.iter().find(|attempt| self.new && attempt.counted).map(|attempt| attempt.link_id)
    }
}

/// Why a report was not logged, as far as that is known.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The database refuses or is away: nothing was written.
    #[error(transparent)]
    Refused(#[from] StoreError),
    /// The database was lost while it committed: this was written, or nothing was.
    #[error("whether the report was written is not known: {1}")]
    Unknown(Box<Logged>, StoreError),
}

/// Writes the record of a reported call and grows its link's `current_total_calls`, in one transaction. What has a record already, of
/// the same node and channel, is left as it is and counted no second time. Against a reset of the count it stands where it was
/// `received`: the times in it are another machine's.
///
/// # Errors
/// [`LogError`]; repeating is safe.
pub async fn log(db: &Db, call: &Reported, received: DateTime<Utc>) -> Result<Logged, LogError> {
    let transaction = db.write().await.map_err(StoreError::from)?;
    let logged = insert(db, &transaction, call, received).await?;
    if !logged.new {
        return Ok(logged);
    }
    match transaction.commit().await {
        Ok(()) => Ok(logged),
        Err(error) => Err(LogError::Unknown(Box::new(logged), error.into())),
    }
}

async fn insert(
    db: &Db,
    transaction: &DatabaseTransaction,
    call: &Reported,
    received: DateTime<Utc>,
) -> Result<Logged, StoreError> {
    if let Some(record) = find(transaction, call).await? {
        return Ok(Logged { record, new: false });
    }
    let parties = parties(transaction, &call.report.ids, &call.dialled).await?;
    let record = legacy::record(call, parties);
    let batch = Batch::of([&record]);
    if insert_calls(transaction, &batch).await? == 0 {
        // Another report of the same call has come in between, and is committed: inserting waited for it.
        let record = find(transaction, call).await?.ok_or(DbErr::RecordNotInserted)?;
        return Ok(Logged { record, new: false });
    }
    let mut counted = insert_attempts(transaction, &batch).await?;
    if !counted.is_empty() {
        counted.values_mut().for_each(|at| at.fill(received));
        count(db, transaction, counted).await?;
    }
    Ok(Logged { record, new: true })
}

async fn find(transaction: &DatabaseTransaction, call: &Reported) -> Result<Option<CallRecord>, StoreError> {
    use call_logs::Column;
    let select = call_logs::Entity::find()
        .filter(Column::Node.eq(call.node.as_str()))
        .filter(Column::Uniqueid.eq(call.report.uniqueid.as_str()));
    let row = select.one(transaction).await?;
    Ok(with_attempts(transaction, row.into_iter().collect()).await?.pop())
}

/// Finds the objects that the ids stand for. The link decides whose call it was, then the campaign, the DID, the user; an id that names
/// nothing, or something of somebody else's, is noted and left out, so that no seller reads of another's objects.
async fn parties(transaction: &DatabaseTransaction, ids: &Ids, dialled: &Dialled) -> Result<Parties, StoreError> {
    let mut unknown_ids = Vec::new();
    let mut unknown = |field: &str, id: &Option<String>, known: bool| {
        if let Some(id) = id.as_ref().filter(|_| !known) {
            unknown_ids.push(format!("{field}={id}"));
        }
    };
    let link = by_legacy_id::<campaign_client_settings::Entity>(transaction, LINK, &ids.link).await?;
    unknown("effective_ccs_id", &ids.link, link.is_some());
    let named = by_legacy_id::<campaigns::Entity>(transaction, campaigns::Column::LegacyId, &ids.campaign).await?;
    let campaign = match &link {
        Some(link) => campaigns::Entity::find_by_id(link.campaign_id).one(transaction).await?,
        None => named.clone(),
    };
    unknown("campaign_id", &ids.campaign, named.is_some() && named == campaign);
    let did = match &ids.did {
        Some(_) => by_legacy_id::<dids::Entity>(transaction, dids::Column::LegacyId, &ids.did).await?,
        None => by_number(transaction, dialled).await?,
    };
    let user = by_legacy_id::<users::Entity>(transaction, users::Column::LegacyId, &ids.user).await?;
    let user = user.filter(|user| user.role == "seller");
    let owner = campaign.as_ref().map(|it| it.seller_id).or(did.as_ref().map(|it| it.seller_id));
    let seller = match owner {
        Some(owner) => users::Entity::find_by_id(owner).one(transaction).await?,
        None => user.clone(),
    };
    unknown("user_id", &ids.user, user.is_some() && user == seller);
    let did = did.filter(|did| Some(did.seller_id) == seller.as_ref().map(|seller| seller.id));
    unknown("did_id", &ids.did, did.is_some());
    Ok(Parties {
        link: match link {
            Some(link) => Some(dialled_link(transaction, link).await?),
            None => None,
        },
        campaign: campaign.map(|campaign| (CampaignId(campaign.id), campaign.name)),
        seller: seller.map(|seller| (UserId(seller.id), seller.name)),
        did: did.map(|did| DidId(did.id)),
        unknown_ids,
    })
}

const LINK: campaign_client_settings::Column = campaign_client_settings::Column::LegacyId;

async fn by_legacy_id<E: EntityTrait>(
    connection: &impl ConnectionTrait,
    column: E::Column,
    id: &Option<String>,
) -> Result<Option<E::Model>, DbErr> {
    match id {
        Some(id) => E::find().filter(column.eq(id.as_str())).one(connection).await,
        None => Ok(None),
    }
}

/// The DID by its number, as routing finds it.
async fn by_number(connection: &impl ConnectionTrait, dialled: &Dialled) -> Result<Option<dids::Model>, DbErr> {
    for (text, raw) in dialled.keys() {
        let number = dids::Entity::find().filter(dids::Column::Number.eq(text)).filter(dids::Column::Raw.eq(raw));
        let found = number.one(connection).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

async fn dialled_link(
    connection: &impl ConnectionTrait,
    link: campaign_client_settings::Model,
) -> Result<DialledLink, StoreError> {
    let client = clients::Entity::find_by_id(link.client_id).one(connection).await?;
    let (client_name, client_identifier) =
        client.map_or_else(Default::default, |client| (client.name, client.client_identifier));
    Ok(DialledLink {
        id: LinkId(link.id),
        count_on: word("campaign_client_settings", "count_on", &link.count_on)?,
        client: ClientId(link.client_id),
        client_name,
        client_identifier,
    })
}
