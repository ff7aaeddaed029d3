//! Reading what routing needs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use entity::{
    campaign_client_settings, campaign_dids, campaigns, client_sellers, clients, dids, routing_revision, users,
};
use rustc_hash::FxHashMap;
use sea_orm::sea_query::{Expr, ExprTrait, Query};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::campaigns::rejections;
use super::clients::Access;
use super::{Db, StoreError, number, optional, plan, word};
use crate::id::{CampaignId, ClientId, DidId, LinkId, UserId};
use crate::routing::snapshot::{Campaign, Client, Did, Link, Snapshot, Status};

/// Reads everything routing may know, all of one moment. Archived objects are left out.
///
/// # Errors
/// When the database cannot be read or holds what this version does not know.
pub async fn load(db: &Db) -> Result<Snapshot, StoreError> {
    let transaction = db.read().await?;
    let snapshot = Snapshot {
        revision: read_revision(&transaction).await?,
        dids: load_dids(&transaction).await?,
        campaigns: load_campaigns(&transaction).await?,
        clients: load_clients(&transaction).await?,
    };
    transaction.commit().await?;
    Ok(snapshot)
}

/// The number that grows with every change of configuration.
///
/// # Errors
/// When the database cannot be read.
pub async fn revision(db: &Db) -> Result<i64, StoreError> {
    read_revision(&db.connection).await
}

/// Calls that every link ever counted, those before the last reset of its count included; archived links too: one that comes back
/// keeps its total.
///
/// # Errors
/// When the database cannot be read.
pub async fn totals(db: &Db) -> Result<HashMap<LinkId, u64>, StoreError> {
    use campaign_client_settings::Column;
    const TABLE: &str = "campaign_client_settings";
    let rows: Vec<(i64, i64, i64)> = campaign_client_settings::Entity::find()
        .select_only()
        .columns([Column::Id, Column::CurrentTotalCalls, Column::CountedBefore])
        .into_tuple()
        .all(&db.connection)
        .await?;
    let read = |(id, total, before)| {
        let total: u64 = number(TABLE, "current_total_calls", total)?;
        Ok((LinkId(id), total.saturating_add(number(TABLE, "counted_before", before)?)))
    };
    rows.into_iter().map(read).collect()
}

async fn read_revision(connection: &impl ConnectionTrait) -> Result<i64, StoreError> {
    let row = routing_revision::Entity::find_by_id(1).one(connection).await?;
    row.map(|row| row.revision).ok_or(StoreError::Corrupt {
        table: "routing_revision",
        column: "id",
        value: "no row".to_owned(),
    })
}

async fn load_dids(connection: &impl ConnectionTrait) -> Result<HashMap<String, Did>, StoreError> {
    let names: HashMap<i64, String> = users::Entity::find()
        .select_only()
        .columns([users::Column::Id, users::Column::Name])
        .into_tuple::<(i64, String)>()
        .all(connection)
        .await?
        .into_iter()
        .collect();
    let feeds = load_feeds(connection).await?;
    // The largest tables, by far: only what is used, and by place, for looking each value up by its name takes the most.
    let rows = dids::Entity::find()
        .select_only()
        .columns([
            dids::Column::Id,
            dids::Column::Number,
            dids::Column::Raw,
            dids::Column::SellerId,
            dids::Column::Status,
        ])
        .filter(dids::Column::Status.ne(Status::Archived.as_str()))
        .into_tuple::<(i64, String, bool, i64, String)>()
        .all(connection)
        .await?;
    let read = |(id, dialled, raw, seller, status): (i64, String, bool, i64, String)| {
        let did = Did {
            id: DidId(id),
            raw,
            seller: UserId(seller),
            seller_name: names.get(&seller).cloned().unwrap_or_default(),
            status: word("dids", "status", &status)?,
            campaign: feeds.get(&id).copied(),
        };
        Ok((dialled, did))
    };
    rows.into_iter().map(read).collect()
}

/// The campaign each DID feeds: its active one, else the oldest that is only paused, so that a trace can name it.
async fn load_feeds(connection: &impl ConnectionTrait) -> Result<HashMap<i64, CampaignId>, StoreError> {
    use campaign_dids::Column;
    let rows = campaign_dids::Entity::find()
        .select_only()
        .columns([Column::DidId, Column::CampaignId, Column::CampaignStatus])
        .filter(Column::CampaignStatus.ne(Status::Archived.as_str()))
        .order_by_asc(Column::CampaignId)
        .into_tuple::<(i64, i64, String)>()
        .all(connection)
        .await?;
    let mut feeds = HashMap::new();
    for (did, campaign, status) in rows {
        let campaign = CampaignId(campaign);
        if status == Status::Active.as_str() {
            feeds.insert(did, campaign);
        } else {
            feeds.entry(did).or_insert(campaign);
        }
    }
    Ok(feeds)
}

async fn load_clients(connection: &impl ConnectionTrait) -> Result<FxHashMap<ClientId, Arc<Client>>, StoreError> {
    let rows =
        clients::Entity::find().filter(clients::Column::Status.ne(Status::Archived.as_str())).all(connection).await?;
    let read = |row: clients::Model| {
        let (id, suspended) = (ClientId(row.id), row.suspended_reason.is_some());
        let client = plan::read_client(row)?;
        let client = Client {
            id,
            name: client.name,
            identifier: client.identifier,
            // One whose host may not be called gets no new attempts; its calls go on.
            status: if suspended { Status::Paused } else { client.status },
            max_concurrency: client.max_concurrency,
            send_headers: client.send_headers,
            caller_id: client.sip.caller_id,
        };
        Ok((client.id, Arc::new(client)))
    };
    rows.into_iter().map(read).collect()
}

async fn load_campaigns(connection: &impl ConnectionTrait) -> Result<FxHashMap<CampaignId, Arc<Campaign>>, StoreError> {
    const TABLE: &str = "campaigns";
    let mut links = load_links(connection).await?;
    let rows = campaigns::Entity::find()
        .filter(campaigns::Column::Status.ne(Status::Archived.as_str()))
        .all(connection)
        .await?;
    let read = |row: campaigns::Model| {
        let campaign = Campaign {
            id: CampaignId(row.id),
            name: row.name.clone(),
            status: word(TABLE, "status", &row.status)?,
            strategy: word(TABLE, "routing_strategy", &row.routing_strategy)?,
            dial_timeout: Duration::from_secs(number(TABLE, "dial_timeout_seconds", row.dial_timeout_seconds)?),
            setup_budget: seconds(TABLE, "setup_budget_seconds", row.setup_budget_seconds)?,
            max_duration: seconds(TABLE, "max_duration_seconds", row.max_duration_seconds)?,
            max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
            early_media: row.early_media,
            rejections: rejections(&row)?,
            links: links.remove(&row.id).unwrap_or_default(),
        };
        Ok((campaign.id, Arc::new(campaign)))
    };
    rows.into_iter().map(read).collect()
}

/// Links by campaign, each list ordered by id.
async fn load_links(connection: &impl ConnectionTrait) -> Result<HashMap<i64, Vec<Link>>, StoreError> {
    const TABLE: &str = "campaign_client_settings";
    use campaign_client_settings::Column;
    let rows = campaign_client_settings::Entity::find()
        .filter(Column::Status.ne(Status::Archived.as_str()))
        .order_by_asc(Column::Id)
        .all(connection)
        .await?;
    let barred = load_barred(connection).await?;
    let mut links: HashMap<i64, Vec<Link>> = HashMap::new();
    for row in rows {
        links.entry(row.campaign_id).or_default().push(Link {
            id: LinkId(row.id),
            client: ClientId(row.client_id),
            status: word(TABLE, "status", &row.status)?,
            withdrawn: barred.contains(&row.id),
            max_concurrency: optional(TABLE, "max_concurrency", row.max_concurrency)?,
            total_calls_allowed: optional(TABLE, "total_calls_allowed", row.total_calls_allowed)?,
            counted_before: number(TABLE, "counted_before", row.counted_before)?,
            forwarding_priority: row.forwarding_priority,
            weight: number(TABLE, "weight", i64::from(row.weight))?,
            ring_timeout: seconds(TABLE, "ring_timeout_seconds", row.ring_timeout_seconds)?,
            count_on: word(TABLE, "count_on", &row.count_on)?,
        });
    }
    Ok(links)
}

/// Links to clients that are for selected sellers, of sellers who are none of these.
async fn load_barred(connection: &impl ConnectionTrait) -> Result<HashSet<i64>, StoreError> {
    let (links, sellers) = (campaign_client_settings::Entity, client_sellers::Entity);
    let client = (links, campaign_client_settings::Column::ClientId);
    let mut named = Query::select();
    named.expr(Expr::value(1)).from(sellers);
    named.and_where(Expr::col((sellers, client_sellers::Column::ClientId)).equals(client));
    named.and_where(
        Expr::col((sellers, client_sellers::Column::SellerId)).equals((campaigns::Entity, campaigns::Column::SellerId)),
    );
    let mut barred = Query::select();
    barred
        .column((links, campaign_client_settings::Column::Id))
        .from(links)
        .inner_join(
            campaigns::Entity,
            Expr::col((campaigns::Entity, campaigns::Column::Id))
                .equals((links, campaign_client_settings::Column::CampaignId)),
        )
        .inner_join(clients::Entity, Expr::col((clients::Entity, clients::Column::Id)).equals(client))
        .and_where(Expr::col((clients::Entity, clients::Column::Access)).eq(Access::Selected.as_str()))
        .and_where(Expr::exists(named).not());
    let rows = connection.query_all(&barred).await?;
    rows.iter().map(|row| Ok(row.try_get("", "id")?)).collect()
}

fn seconds(table: &'static str, column: &'static str, value: Option<i64>) -> Result<Option<Duration>, StoreError> {
    Ok(optional(table, column, value)?.map(Duration::from_secs))
}
