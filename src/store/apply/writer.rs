//! Writes a plan's changes, in sets where there are many.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, Utc};
use entity::{campaign_client_settings, campaign_dids, campaigns, client_sellers, clients, dids, users};
use sea_orm::ActiveValue::{NotSet, Set, Unchanged};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait, ActiveValue, ColumnTrait, Condition, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, SqlErr,
};

use super::ApplyError;
use crate::auth::principal::Actor;
use crate::plan::{
    Access, Action, Campaign, CampaignKey, Change, Client, Current, Kind, Link, Plan, Problems, UserStatus,
};
use crate::realtime::{Host, SipForm};
use crate::routing::snapshot::Status;
use crate::store::audit::{self, Object};
use crate::store::campaigns::sip;
use crate::store::change::{self, grow};
use crate::store::{plan, sessions, suspensions};

/// Rows in one statement at most.
const ROWS: usize = 1000;

/// Writes the changes of a plan in their order, resolving names to rows as they come to be.
pub(super) struct Writer<'a> {
    transaction: &'a DatabaseTransaction,
    current: &'a Current,
    /// Rows that are yet to be inserted, together.
    new_dids: Vec<dids::ActiveModel>,
    new_links: Vec<campaign_client_settings::ActiveModel>,
    /// DIDs that changed campaigns are to be tied to, with the campaign's status.
    to_tie: BTreeMap<CampaignKey, (Status, BTreeSet<String>)>,
    now: DateTime<Utc>,
    sellers: HashMap<String, i64>,
    clients: HashMap<String, i64>,
    /// Where stored clients are, by row.
    hosts: HashMap<i64, Option<Host>>,
    dids: HashMap<String, i64>,
    campaigns: BTreeMap<CampaignKey, i64>,
}

/// An old id that the document leaves with another object, or that an archived one has, is the document's problem.
fn not_unique(change: &Change, error: DbErr) -> ApplyError {
    match error.sql_err() {
        Some(SqlErr::UniqueConstraintViolation(_)) => {
            let problem = "its legacy_id is that of a stored object of its kind, which keeps it";
            Problems(vec![format!("{}: {problem}", change.subject)]).into()
        }
        _ => error.into(),
    }
}

/// The row of a name that a checked plan refers to.
fn row<K: std::fmt::Debug>(id: Option<&i64>, name: &K) -> Result<i64, DbErr> {
    id.copied().ok_or_else(|| DbErr::Custom(format!("the plan refers to {name:?}, which has no row")))
}

/// Whether writers of records touch the same rows, or what is deleted must stay without records: they have to wait for it.
fn holds_up(action: &Action) -> bool {
    match action {
        // A new one with an old id may have it from one that gives it up.
        Action::Link { id, link, .. } => id.is_some() || link.legacy_id.is_some(),
        Action::Remove { .. } => true,
        _ => false,
    }
}

/// The row of this kind that is written or deleted.
fn gives_up(action: &Action, kind: Kind) -> Option<i64> {
    match (action, kind) {
        (Action::Seller { id, .. }, Kind::Seller)
        | (Action::Did { id, .. }, Kind::Did)
        | (Action::Campaign { id, .. }, Kind::Campaign)
        | (Action::Link { id, .. }, Kind::Link) => *id,
        (Action::Remove { kind: of, id, archive: false }, _) if *of == kind => Some(*id),
        _ => None,
    }
}

/// Whether a record refers by now to what is to be deleted, or a link that is has counted calls.
async fn has_records(transaction: &DatabaseTransaction, changes: &[&Change]) -> Result<bool, DbErr> {
    for (kind, reference) in [
        (Kind::Seller, plan::SELLERS),
        (Kind::Client, plan::CLIENTS),
        (Kind::Did, plan::DIDS),
        (Kind::Campaign, plan::CAMPAIGNS),
        (Kind::Link, plan::LINKS),
    ] {
        let deleted = changes.iter().filter_map(|change| match change.action {
            Action::Remove { kind: of, id, archive: false } if of == kind => Some(id),
            _ => None,
        });
        let deleted: Vec<i64> = deleted.collect();
        for ids in deleted.chunks(ROWS) {
            if !plan::referenced(transaction, &reference, Some(ids)).await?.is_empty() {
                return Ok(true);
            }
            use campaign_client_settings::Column;
            let counted = Condition::any().add(Column::CurrentTotalCalls.gt(0)).add(Column::CountedBefore.gt(0));
            let these = campaign_client_settings::Entity::find().filter(Column::Id.is_in(ids.iter().copied()));
            if kind == Kind::Link && these.filter(counted).one(transaction).await?.is_some() {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A key column: the row's own, or made by the database.
fn key(id: Option<i64>) -> ActiveValue<i64> {
    id.map_or(NotSet, Unchanged)
}

/// Inserts or updates by whether the row has a key; returns the key.
macro_rules! save {
    ($transaction:expr, $id:expr, $model:expr) => {
        match $id {
            None => $model.insert($transaction).await?.id,
            Some(id) => {
                $model.update($transaction).await?;
                id
            }
        }
    };
    ($transaction:expr, $id:expr, $model:expr, $versioned:ident) => {{
        let id = save!($transaction, $id, $model);
        if $id.is_some() {
            grow!($transaction, $versioned, id);
        }
        id
    }};
}

impl<'a> Writer<'a> {
    pub(super) fn new(transaction: &'a DatabaseTransaction, current: &'a Current, now: DateTime<Utc>) -> Self {
        Self {
            transaction,
            current,
            new_dids: Vec::new(),
            new_links: Vec::new(),
            to_tie: BTreeMap::new(),
            now,
            sellers: current.sellers.iter().map(|(name, stored)| (name.clone(), stored.id)).collect(),
            clients: current.clients.iter().map(|(name, stored)| (name.clone(), stored.id)).collect(),
            hosts: current.clients.values().map(|stored| (stored.id, stored.value.sip.host().cloned())).collect(),
            dids: current.dids.iter().map(|(name, stored)| (name.clone(), stored.id)).collect(),
            campaigns: current.campaigns.iter().map(|(key, stored)| (key.clone(), stored.campaign.id)).collect(),
        }
    }

    /// `false` where what is to be deleted has records by now; nothing of it may be committed then.
    pub(super) async fn write(mut self, plan: &Plan) -> Result<bool, ApplyError> {
        // First every changed campaign lets go of the DIDs that it loses, last it is tied to new ones: on the way no DID is in two active
        // campaigns, and a DID may change hands.
        for change in &plan.changes {
            self.untie(&change.action).await?;
        }
        // Writers of records touch no row of all this.
        self.free_legacy_ids(&plan.changes, &[Kind::Seller, Kind::Did, Kind::Campaign]).await?;
        for change in plan.changes.iter().filter(|change| !holds_up(&change.action)) {
            self.change(change).await.map_err(|error| not_unique(change, error))?;
        }
        self.insert_dids().await?;
        self.insert_links().await?;
        for change in &plan.changes {
            if let Action::Campaign { key, .. } = &change.action {
                self.tie(key).await?;
            }
        }
        let last: Vec<&Change> = plan.changes.iter().filter(|change| holds_up(&change.action)).collect();
        if last.is_empty() {
            return Ok(true);
        }
        change::hold_up_records(self.transaction).await?;
        if has_records(self.transaction, &last).await? {
            return Ok(false);
        }
        self.free_legacy_ids(&plan.changes, &[Kind::Link]).await?;
        for change in last {
            self.change(change).await.map_err(|error| not_unique(change, error))?;
        }
        Ok(true)
    }

    /// Takes a campaign's ties away that it is not to have; all of them where it becomes active, or goes.
    async fn untie(&mut self, action: &Action) -> Result<(), DbErr> {
        let (id, key, campaign) = match action {
            Action::Campaign { id: Some(id), key, campaign } => (*id, Some(key), Some(campaign)),
            Action::Campaign { id: None, key, campaign } => {
                self.to_tie.insert(key.clone(), (campaign.status, campaign.dids.clone()));
                return Ok(());
            }
            Action::Remove { kind: Kind::Campaign, id, .. } => (*id, None, None),
            _ => return Ok(()),
        };
        let of_campaign = || campaign_dids::Column::CampaignId.eq(id);
        let stored = key.and_then(|key| self.current.campaigns.get(key)).map(|stored| &stored.campaign.value);
        let (Some(key), Some(campaign), Some(stored)) = (key, campaign, stored) else {
            campaign_dids::Entity::delete_many().filter(of_campaign()).exec(self.transaction).await?;
            return Ok(());
        };
        let activated = campaign.status == Status::Active && stored.status != Status::Active;
        let kept: BTreeSet<String> =
            if activated { BTreeSet::new() } else { stored.dids.intersection(&campaign.dids).cloned().collect() };
        if kept.is_empty() {
            campaign_dids::Entity::delete_many().filter(of_campaign()).exec(self.transaction).await?;
        } else {
            let lost: Vec<i64> =
                stored.dids.difference(&kept).filter_map(|number| self.dids.get(number).copied()).collect();
            for lost in lost.chunks(ROWS) {
                let these = campaign_dids::Column::DidId.is_in(lost.iter().copied());
                let delete = campaign_dids::Entity::delete_many().filter(of_campaign()).filter(these);
                delete.exec(self.transaction).await?;
            }
        }
        let new = campaign.dids.difference(&kept).cloned().collect();
        self.to_tie.insert(key.clone(), (campaign.status, new));
        Ok(())
    }

    /// Every row of these kinds that is to be written or deleted gives its old id up first: on the way no two rows have the same.
    async fn free_legacy_ids(&self, changes: &[Change], kinds: &[Kind]) -> Result<(), DbErr> {
        macro_rules! free {
            ($table:ident, $ids:expr) => {
                for ids in $ids.chunks(ROWS) {
                    let none = Expr::value(None::<String>);
                    let update = $table::Entity::update_many().col_expr($table::Column::LegacyId, none);
                    let these = update.filter($table::Column::Id.is_in(ids.iter().copied()));
                    these.filter($table::Column::LegacyId.is_not_null()).exec(self.transaction).await?;
                }
            };
        }
        for kind in kinds {
            let ids: Vec<i64> = changes.iter().filter_map(|change| gives_up(&change.action, *kind)).collect();
            match kind {
                Kind::Seller => free!(users, ids),
                Kind::Did => free!(dids, ids),
                Kind::Campaign => free!(campaigns, ids),
                Kind::Link => free!(campaign_client_settings, ids),
                Kind::Client => {}
            }
        }
        Ok(())
    }

    /// New DIDs that wait, many in a statement; their ids are known from then on.
    async fn insert_dids(&mut self) -> Result<(), DbErr> {
        let waiting = std::mem::take(&mut self.new_dids);
        for rows in waiting.chunks(ROWS) {
            dids::Entity::insert_many(rows.to_vec()).exec_without_returning(self.transaction).await?;
            let numbers = rows.iter().filter_map(|row| row.number.try_as_ref().cloned());
            let made = dids::Entity::find().filter(dids::Column::Number.is_in(numbers)).all(self.transaction).await?;
            self.dids.extend(made.into_iter().map(|row| (row.number, row.id)));
        }
        Ok(())
    }

    /// New links that wait, likewise.
    async fn insert_links(&mut self) -> Result<(), DbErr> {
        let waiting = std::mem::take(&mut self.new_links);
        for rows in waiting.chunks(ROWS) {
            campaign_client_settings::Entity::insert_many(rows.to_vec())
                .exec_without_returning(self.transaction)
                .await?;
        }
        Ok(())
    }

    async fn change(&mut self, change: &Change) -> Result<(), DbErr> {
        match &change.action {
            Action::Seller { id, username, seller } => {
                let model = users::ActiveModel {
                    id: key(*id),
                    username: Set(username.clone()),
                    name: Set(seller.name.clone()),
                    role: Set("seller".to_owned()),
                    status: Set(seller.status.to_string()),
                    legacy_id: Set(seller.legacy_id.clone()),
                    ..Default::default()
                };
                let id = save!(self.transaction, *id, model, users);
                if seller.status == UserStatus::Disabled {
                    sessions::close_others(self.transaction, id, None, self.now).await?;
                }
                self.sellers.insert(username.clone(), id);
            }
            Action::Client { id, client } => self.client(*id, client).await?,
            Action::Did { id, number, did } => {
                let model = dids::ActiveModel {
                    id: key(*id),
                    number: Set(number.clone()),
                    raw: Set(did.raw),
                    seller_id: Set(row(self.sellers.get(&did.seller), &did.seller)?),
                    status: Set(did.status.to_string()),
                    version: NotSet,
                    legacy_id: Set(did.legacy_id.clone()),
                };
                // With an old id it is written by itself, so that one that another has is told of this DID.
                if id.is_none() && did.legacy_id.is_none() {
                    self.new_dids.push(model);
                    return Ok(());
                }
                let id = save!(self.transaction, *id, model, dids);
                self.dids.insert(number.clone(), id);
            }
            Action::Campaign { id, key, campaign } => self.campaign(*id, key, campaign).await?,
            Action::Link { id, campaign, client, link } => self.link(*id, campaign, client, link).await?,
            Action::Remove { kind, id, archive } => self.remove(*kind, *id, *archive).await?,
        }
        Ok(())
    }

    async fn client(&mut self, id: Option<i64>, client: &Client) -> Result<(), DbErr> {
        let sip = serde_json::to_string(&SipForm::from(&client.sip)).map_err(|error| DbErr::Json(error.to_string()))?;
        let [registration, realm, outbound, plain] = plan::secret_columns(&client.secrets);
        let moved = id.is_some_and(|id| self.hosts.get(&id).is_none_or(|host| host.as_ref() != client.sip.host()));
        if let Some(id) = id.filter(|_| moved) {
            self.note_resumed(id).await?;
        }
        let model = clients::ActiveModel {
            id: key(id),
            client_identifier: Set(client.identifier.to_string()),
            name: Set(client.name.clone()),
            status: Set(client.status.to_string()),
            max_concurrency: Set(client.max_concurrency.map(i64::from)),
            send_headers: Set(client.send_headers),
            sip: Set(sip),
            md5_cred: Set(registration),
            registration_realm: Set(realm),
            outbound_md5_cred: Set(outbound),
            outbound_password: Set(plain),
            // Of another host nothing bad is known: it was judged before.
            suspended_reason: if moved { Set(None) } else { NotSet },
            access: Set(client.access.unwrap_or(Access::All).to_string()),
            mask_name: Set(client.mask_name.clone()),
            contact: Set(client.contact.clone()),
            time_zone: Set(client.time_zone.clone()),
            version: NotSet,
        };
        let id = save!(self.transaction, id, model, clients);
        self.name_sellers(id, client).await?;
        self.clients.insert(client.identifier.as_str().to_ascii_lowercase(), id);
        Ok(())
    }

    async fn name_sellers(&self, id: i64, client: &Client) -> Result<(), DbErr> {
        let of_client = client_sellers::Column::ClientId.eq(id);
        client_sellers::Entity::delete_many().filter(of_client).exec(self.transaction).await?;
        for username in client.sellers.iter().flatten() {
            let seller_id = row(self.sellers.get(username), username)?;
            let model = client_sellers::ActiveModel { client_id: Set(id), seller_id: Set(seller_id) };
            client_sellers::Entity::insert(model).exec_without_returning(self.transaction).await?;
        }
        Ok(())
    }

    /// Tells the audit that a client's suspension ends with the host that it was for, where it has one.
    async fn note_resumed(&self, id: i64) -> Result<(), DbErr> {
        let stored = clients::Entity::find_by_id(id).one(self.transaction).await?;
        let Some(reason) = stored.and_then(|stored| stored.suspended_reason) else { return Ok(()) };
        let (before, after) = suspensions::views(Some(&reason), None);
        let object = Object::new("client", id);
        let by = Actor::System("apply");
        audit::write(self.transaction, self.now, by, "client.resume", object, Some(before), Some(after)).await
    }

    async fn campaign(&mut self, id: Option<i64>, name: &CampaignKey, campaign: &Campaign) -> Result<(), DbErr> {
        let model = campaigns::ActiveModel {
            id: key(id),
            seller_id: Set(row(self.sellers.get(&name.0), &name.0)?),
            name: Set(name.1.clone()),
            routing_strategy: Set(campaign.strategy.to_string()),
            dial_timeout_seconds: Set(i64::from(campaign.dial_timeout_seconds)),
            setup_budget_seconds: Set(campaign.setup_budget_seconds.map(i64::from)),
            max_duration_seconds: Set(campaign.max_duration_seconds.map(i64::from)),
            max_concurrency: Set(campaign.max_concurrency.map(i64::from)),
            early_media: Set(campaign.early_media),
            reject_inactive_campaign: Set(sip(campaign.rejections.inactive_campaign)?),
            reject_no_active_link: Set(sip(campaign.rejections.no_active_link)?),
            reject_all_full: Set(sip(campaign.rejections.all_full)?),
            reject_nobody_answered: Set(sip(campaign.rejections.nobody_answered)?),
            status: Set(campaign.status.to_string()),
            version: NotSet,
            legacy_id: Set(campaign.legacy_id.clone()),
        };
        let id = save!(self.transaction, id, model, campaigns);
        self.campaigns.insert(name.clone(), id);
        Ok(())
    }

    async fn link(
        &mut self,
        id: Option<i64>,
        campaign: &CampaignKey,
        client: &String,
        link: &Link,
    ) -> Result<(), DbErr> {
        let number =
            |value: u32| i32::try_from(value).map_err(|error| DbErr::Custom(format!("weight {value}: {error}")));
        let model = campaign_client_settings::ActiveModel {
            id: key(id),
            campaign_id: Set(row(self.campaigns.get(campaign), campaign)?),
            client_id: Set(row(self.clients.get(client), client)?),
            max_concurrency: Set(link.max_concurrency.map(i64::from)),
            total_calls_allowed: Set(link.total_calls_allowed.map(|total| i64::try_from(total).unwrap_or(i64::MAX))),
            // Belongs to the writer of records; a new row starts at the database's 0.
            current_total_calls: NotSet,
            counted_before: NotSet,
            counted_since: NotSet,
            forwarding_priority: Set(link.forwarding_priority),
            weight: Set(number(link.weight)?),
            ring_timeout_seconds: Set(link.ring_timeout_seconds.map(i64::from)),
            count_on: Set(link.count_on.to_string()),
            status: Set(link.status.to_string()),
            version: NotSet,
            legacy_id: Set(link.legacy_id.clone()),
        };
        if id.is_none() && link.legacy_id.is_none() {
            self.new_links.push(model);
            return Ok(());
        }
        let _row = save!(self.transaction, id, model, campaign_client_settings);
        Ok(())
    }

    /// Ties a changed campaign to the DIDs that are new to it.
    async fn tie(&mut self, name: &CampaignKey) -> Result<(), DbErr> {
        let Some((status, numbers)) = self.to_tie.remove(name) else { return Ok(()) };
        let campaign_id = row(self.campaigns.get(name), name)?;
        let seller_id = row(self.sellers.get(&name.0), &name.0)?;
        let tie = |number: &String| {
            Ok::<_, DbErr>(campaign_dids::ActiveModel {
                campaign_id: Set(campaign_id),
                did_id: Set(row(self.dids.get(number), number)?),
                seller_id: Set(seller_id),
                campaign_status: Set(status.to_string()),
            })
        };
        let rows: Vec<_> = numbers.iter().map(tie).collect::<Result<_, _>>()?;
        for rows in rows.chunks(ROWS) {
            campaign_dids::Entity::insert_many(rows.to_vec()).exec_without_returning(self.transaction).await?;
        }
        Ok(())
    }

    async fn remove(&self, kind: Kind, id: i64, archive: bool) -> Result<(), DbErr> {
        macro_rules! take_away {
            ($table:ident, $status:expr) => {
                if archive {
                    let status = Expr::value($status);
                    let update = $table::Entity::update_many().col_expr($table::Column::Status, status);
                    update.filter($table::Column::Id.eq(id)).exec(self.transaction).await?;
                } else {
                    $table::Entity::delete_by_id(id).exec(self.transaction).await?;
                }
            };
            ($table:ident) => {{
                take_away!($table, Status::Archived.as_str());
                grow!(self.transaction, $table, id);
            }};
        }
        match kind {
            Kind::Seller => {
                sessions::close_others(self.transaction, id, None, self.now).await?;
                take_away!(users, "disabled");
                grow!(self.transaction, users, id);
            }
            Kind::Client => {
                if !archive {
                    crate::store::clients::retire(self.transaction, id).await?;
                }
                take_away!(clients);
            }
            Kind::Did => take_away!(dids),
            Kind::Campaign => take_away!(campaigns),
            Kind::Link => take_away!(campaign_client_settings),
        }
        Ok(())
    }
}
