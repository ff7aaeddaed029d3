//! What sellers may see of clients, and whose each campaign is.

use std::collections::{HashMap, HashSet};

use entity::{campaigns, client_sellers, clients};
use sea_orm::{ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter, QuerySelect};

use super::clients::Access;
use super::{Db, StoreError};
use crate::id::{CampaignId, ClientId, UserId};

/// Of one moment; archived clients and campaigns included, which calls still name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sight {
    /// The names that sellers read instead of clients' own.
    pub aliases: HashMap<ClientId, String>,
    /// Clients that are for selected sellers, with these.
    selected: HashMap<ClientId, HashSet<UserId>>,
    owners: HashMap<CampaignId, UserId>,
}

impl Sight {
    /// Clients that are not for this seller (any more).
    #[must_use]
    pub fn withdrawn_from(&self, seller: UserId) -> HashSet<ClientId> {
        let without = self.selected.iter().filter(|(_, sellers)| !sellers.contains(&seller));
        without.map(|(client, _)| *client).collect()
    }

    /// The seller of a campaign.
    #[must_use]
    pub fn owner(&self, campaign: CampaignId) -> Option<UserId> {
        self.owners.get(&campaign).copied()
    }
}

/// Reads it.
///
/// # Errors
/// When the database cannot be read.
pub async fn load(db: &Db) -> Result<Sight, StoreError> {
    let transaction = db.read().await?;
    let masked = clients::Entity::find().filter(clients::Column::MaskName.is_not_null()).select_only();
    let masked = masked.columns([clients::Column::Id, clients::Column::MaskName]);
    let aliases: Vec<(i64, String)> = masked.into_tuple().all(&transaction).await?;
    let owners = campaigns::Entity::find().select_only().columns([campaigns::Column::Id, campaigns::Column::SellerId]);
    let owners: Vec<(i64, i64)> = owners.into_tuple().all(&transaction).await?;
    let selected = selected(&transaction).await?;
    transaction.commit().await?;
    Ok(Sight {
        aliases: aliases.into_iter().map(|(client, alias)| (ClientId(client), alias)).collect(),
        selected,
        owners: owners.into_iter().map(|(campaign, seller)| (CampaignId(campaign), UserId(seller))).collect(),
    })
}

async fn selected(connection: &impl ConnectionTrait) -> Result<HashMap<ClientId, HashSet<UserId>>, StoreError> {
    let clients = clients::Entity::find().filter(clients::Column::Access.eq(Access::Selected.as_str())).select_only();
    let clients: Vec<i64> = clients.column(clients::Column::Id).into_tuple().all(connection).await?;
    let mut selected: HashMap<_, HashSet<_>> = clients.into_iter().map(|id| (ClientId(id), HashSet::new())).collect();
    let columns = [client_sellers::Column::ClientId, client_sellers::Column::SellerId];
    let named: Vec<(i64, i64)> =
        client_sellers::Entity::find().select_only().columns(columns).into_tuple().all(connection).await?;
    for (client, seller) in named {
        if let Some(sellers) = selected.get_mut(&ClientId(client)) {
            sellers.insert(UserId(seller));
        }
    }
    Ok(selected)
}
